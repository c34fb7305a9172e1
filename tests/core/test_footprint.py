"""Outlines fitted to faces of known curves."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discometry.core.footprint import Footprint, RimFaces, Superellipse, fit_footprint, fourier


def rim_of(outline: Superellipse, *, bump: float = 0.0, bow: float = 0.0, step_mm: float = 0.5) -> RimFaces:
    """Faces that lie exactly on a wall 8 mm high: a superellipse, with a bump at its posterior side."""
    angle = np.linspace(-np.pi, np.pi, 400, endpoint=False)
    n = outline.exponent
    radius = (np.abs(np.cos(angle)) ** n + np.abs(np.sin(angle)) ** n) ** (-1.0 / n)
    radius = radius * (1.0 + bump * np.exp(-(((angle - np.pi / 2) / 0.5) ** 2)))
    unit = np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]
    levels = np.linspace(-0.9, 0.9, 7)
    xy = np.concatenate([outline.from_unit(unit * (1.0 + bow * level**2)) for level in levels])
    outward = np.concatenate([outline.from_unit(unit) - outline.centre] * len(levels))
    along = np.zeros((len(xy), 3))
    along[np.arange(len(xy)), np.abs(outward).argmax(axis=1)] = 1.0
    return RimFaces(
        xy=xy,
        level=np.repeat(levels, len(angle)),
        level_per_mm=np.full(len(xy), 0.25),
        along=along,
        step_mm=np.full(len(xy), step_mm),
        shared=np.ones(len(xy)),
        finest_mm=step_mm,
    )


@given(
    lateral=st.floats(20, 30),
    ap=st.floats(14, 19),
    exponent=st.floats(2.0, 3.2),
    angle=st.floats(-0.4, 0.4),
    shift=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
)
@settings(max_examples=20)
def test_a_superellipse_is_found_again(
    lateral: float, ap: float, exponent: float, angle: float, shift: tuple[float, float]
) -> None:
    true = Superellipse((lateral, ap), shift, angle, exponent)
    found = fit_footprint(rim_of(true), Superellipse((24.0, 17.0)))
    assert found.base.half_mm == pytest.approx(true.half_mm, abs=0.15)
    assert found.base.centre == pytest.approx(true.centre, abs=0.05)
    assert found.base.angle_rad == pytest.approx(angle, abs=0.02)
    area = 4 * lateral * ap * math.gamma(1 + 1 / exponent) ** 2 / math.gamma(1 + 2 / exponent)
    assert found.area_mm2 == pytest.approx(area, rel=0.003)


def test_a_bump_that_no_superellipse_has_is_followed() -> None:
    rim = rim_of(Superellipse((25.0, 17.0)), bump=0.12)
    off = {}
    for rough in (True, False):
        found = fit_footprint(rim, Superellipse((24.0, 17.0)), rough=rough)
        nearest = np.linalg.norm(rim.xy[:400, None] - found.outline, axis=2).min(axis=1)
        off[rough] = float(nearest.max())
    assert off[False] < 0.45 < off[True]


def test_a_bulging_wall_is_outlined_where_it_is_widest() -> None:
    found = fit_footprint(rim_of(Superellipse((25.0, 17.0)), bow=-0.06), Superellipse((24.0, 16.0)))
    assert np.ptp(found.outline[:, 0]) == pytest.approx(50.0, abs=0.3)
    assert np.ptp(found.outline[:, 1]) == pytest.approx(34.0, abs=0.3)


def test_area_moments_and_inside_agree_with_an_ellipse() -> None:
    ellipse = Superellipse((20.0, 10.0), (3.0, -2.0), 0.3, 2.0)
    none = np.zeros((256, 0))
    footprint = Footprint(ellipse, np.ones(256), np.full(256, 0.9), none, none)
    assert footprint.area_mm2 == pytest.approx(math.pi * 200.0)
    assert footprint.rim_area_mm2 == pytest.approx(0.81 * math.pi * 200.0)
    points, weights = footprint.quadrature()
    at = ellipse.from_unit(points)
    assert weights.sum() == pytest.approx(1.0)
    assert weights @ at == pytest.approx([3.0, -2.0], abs=1e-9)
    own = (at - ellipse.centre) @ ellipse.axes
    assert weights @ own**2 == pytest.approx([100.0, 25.0], rel=1e-3)
    assert footprint.contains(np.array([[0.9, 0.0], [1.01, 0.0], [0.0, 1.2]]), margin=0.05).tolist() == [
        True,
        True,
        False,
    ]
    assert ellipse.to_unit(footprint.outline) ** 2 @ np.ones(2) == pytest.approx(np.ones(256))


def test_the_gradient_of_the_radius_is_its_slope() -> None:
    outline = Superellipse((20.0, 10.0), exponent=2.7)
    unit = np.random.default_rng(0).uniform(-1.2, 1.2, (50, 2))
    rho, gradient, by_exponent = outline.radius(unit)
    for axis in range(2):
        step = np.zeros(2)
        step[axis] = 1e-6
        ahead, _, _ = outline.radius(unit + step)
        assert (ahead - rho) / 1e-6 == pytest.approx(gradient[:, axis], abs=1e-4)
    ahead, _, _ = Superellipse((20.0, 10.0), exponent=2.7 + 1e-6).radius(unit)
    assert (ahead - rho) / 1e-6 == pytest.approx(by_exponent, abs=1e-4)


def test_fourier_terms_and_their_slopes() -> None:
    angle = np.array([0.3, -1.2])
    values, slopes = fourier(angle, 2)
    expected = [np.ones(2), np.cos(angle), np.sin(angle), np.cos(2 * angle), np.sin(2 * angle)]
    assert values == pytest.approx(np.stack(expected, axis=1))
    expected = [np.zeros(2), -np.sin(angle), np.cos(angle), -2 * np.sin(2 * angle), 2 * np.cos(2 * angle)]
    assert slopes == pytest.approx(np.stack(expected, axis=1))
