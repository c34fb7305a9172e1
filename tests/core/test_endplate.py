"""Polynomials fitted to faces of known surfaces."""

from __future__ import annotations

import numpy as np
import pytest

from discometry.core.endplate import EndplateFaces, fit_endplate, monomials


def faces_of(height: np.ndarray, unit: np.ndarray, step_mm: float) -> EndplateFaces:
    """Faces across voxels of ``step_mm`` along the disc's axis, as a surface of this height leaves them."""
    return EndplateFaces(
        unit=unit,
        height=(np.floor(height / step_mm) + 0.5) * step_mm,
        known=np.full(len(unit), step_mm),
        shared=np.ones(len(unit)),
        finest_mm=step_mm,
        area_mm2=1400.0,
    )


def places(count: int) -> np.ndarray:
    points = np.random.default_rng(4).uniform(-1, 1, (3 * count, 2))
    return points[np.hypot(*points.T) < 1][:count]


def test_terms_are_all_products_up_to_the_degree() -> None:
    x, y = 0.3, -0.7
    terms = monomials(np.array([[x, y]]), 3)[:, 0]
    assert terms == pytest.approx([1, x, y, x**2, x * y, y**2, x**3, x**2 * y, x * y**2, y**3], abs=1e-12)


def test_a_dome_is_found_within_its_errors() -> None:
    unit = places(2000)
    height = 4.0 + 0.8 * unit[:, 0] - 0.5 * unit[:, 1] + 1.5 * (1 - (unit**2).sum(axis=1))
    found = fit_endplate(faces_of(height, unit, 0.5), 4)
    at = monomials(np.array([[0.0, 0.0], [0.5, -0.5], [0.0, 0.8]]), 4)
    true = np.array([5.5, 5.4, 4.14])
    spread = np.linalg.norm(at.T @ found.errors, axis=1)
    assert at.T @ found.coefficients == pytest.approx(true, abs=0.05)
    assert np.all(np.abs(at.T @ found.coefficients - true) < 3 * spread)
    assert np.all(spread < 0.15)


def test_a_surface_in_one_layer_leaves_an_offset_unseen() -> None:
    unit = places(1000)
    flat = fit_endplate(faces_of(np.full(len(unit), 3.3), unit, 1.0), 4)
    tilted = fit_endplate(faces_of(3.3 + 4.0 * unit[:, 1], unit, 1.0), 4)
    assert flat.unseen_mm == pytest.approx(1.0 / 12.0**0.5, rel=0.01)
    assert tilted.unseen_mm < 0.1
