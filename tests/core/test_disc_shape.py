"""The fitted shape of plain bodies."""

from __future__ import annotations

import numpy as np
import pytest

from discometry.core.disc_shape import fit_disc_shape
from discometry.core.volume import Grid, Volume


def solid(inside: object, spacing_mm: tuple[float, float, float] = (2.0, 0.5, 0.5)) -> Volume:
    """Mask of what a function of points (x, y, z; mm from the middle) says, with nothing around it."""
    count = np.ceil(np.array([60.0, 46.0, 40.0]) / spacing_mm).astype(int)
    grid = Grid.from_spacing(tuple(count), spacing_mm)
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) - (29.7, 22.9, 20.1)
    array = inside(*np.moveaxis(points, -1, 0))  # type: ignore[operator]
    index = np.argwhere(array)
    return Volume(grid, array).cropped(index.min(axis=0), index.max(axis=0) + 1)


def test_an_elliptic_cylinder_has_its_area_widths_and_no_tilt() -> None:
    mask = solid(lambda x, y, z: ((x / 24) ** 2 + (y / 16) ** 2 < 1) & (np.abs(z) < 4))
    shape = fit_disc_shape(mask)
    assert shape is not None
    assert shape.plausible(mask)
    assert shape.footprint.area_mm2 == pytest.approx(np.pi * 24 * 16, rel=0.01)
    assert shape.widths_mm() == pytest.approx((48.0, 32.0), abs=0.4)
    assert shape.angles_deg() == pytest.approx((0.0, 0.0, 0.0), abs=0.5)
    assert shape.superior[0] - shape.inferior[0] == pytest.approx(8.0, abs=0.3)


def test_a_wedge_is_the_angle_between_its_faces() -> None:
    slope = np.tan(np.radians(5.0))
    mask = solid(lambda x, y, z: ((x / 24) ** 2 + (y / 16) ** 2 < 1) & (np.abs(z) < 5 - slope * y))
    shape = fit_disc_shape(mask)
    assert shape is not None
    assert shape.wedge_deg() == pytest.approx(10.0, abs=0.3)
    assert shape.angles_deg()[0] == pytest.approx(0.0, abs=0.2)


def test_a_slab_thinner_than_high_still_stands_upright() -> None:
    mask = solid(lambda x, y, z: (np.abs(x) < 4.5) & (np.abs(y) < 16) & (np.abs(z) < 6), (1.0, 0.5, 0.5))
    shape = fit_disc_shape(mask)
    assert shape is not None
    assert shape.angles_deg() == pytest.approx((0.0, 0.0, 0.0), abs=1.0)
    assert shape.widths_mm() == pytest.approx((9.0, 32.0), abs=0.7)


@pytest.mark.parametrize(
    "inside",
    [
        lambda x, y, z: (np.abs(x) < 2) & (np.abs(y) < 1) & (np.abs(z) < 1),
        lambda x, y, z: (np.abs(x) < 20) & (np.abs(y) < 15) & (np.abs(z) < 0.3),
        lambda x, y, z: (np.abs(x) < 1) & (np.abs(y) < 15) & (np.abs(z) < 5),
    ],
    ids=["few voxels", "one layer", "one slice"],
)
def test_too_little_has_no_shape(inside: object) -> None:
    assert fit_disc_shape(solid(inside)) is None


def test_two_plates_far_apart_are_not_plausible_or_have_no_shape() -> None:
    mask = solid(lambda x, y, z: (np.abs(x) > 25) & (np.abs(y) < 4) & (np.abs(z) < 4))
    shape = fit_disc_shape(mask)
    assert shape is None or not shape.plausible(mask)
