"""The fitted shape of plain bodies."""

from __future__ import annotations

import numpy as np
import pytest

from discometry.core.disc_shape import DiscShape, fit_disc_shape
from discometry.core.volume import Grid, Volume
from discometry.core.voxel_surface import voxel_surface


def solid(inside: object, spacing_mm: tuple[float, float, float] = (2.0, 0.5, 0.5)) -> Volume:
    """Mask of what a function of points (x, y, z; mm from the middle) says, with nothing around it."""
    count = np.ceil(np.array([60.0, 46.0, 40.0]) / spacing_mm).astype(int)
    grid = Grid.from_spacing(tuple(count), spacing_mm)
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) - (29.7, 22.9, 20.1)
    array = inside(*np.moveaxis(points, -1, 0))  # type: ignore[operator]
    index = np.argwhere(array)
    return Volume(grid, array).cropped(index.min(axis=0), index.max(axis=0) + 1)


def fitted(mask: Volume) -> DiscShape | None:
    return fit_disc_shape(mask, voxel_surface(mask))


def test_an_elliptic_cylinder_has_its_area_widths_and_no_tilt() -> None:
    mask = solid(lambda x, y, z: ((x / 24) ** 2 + (y / 16) ** 2 < 1) & (np.abs(z) < 4))
    shape = fitted(mask)
    assert shape is not None
    assert shape.plausible(mask)
    assert shape.footprint.area_mm2 == pytest.approx(np.pi * 24 * 16, rel=0.01)
    assert np.ptp(shape.footprint.outline, axis=0) == pytest.approx((48.0, 32.0), abs=0.4)
    assert shape.next_frame().axes == pytest.approx(np.eye(3), abs=0.01)
    superior, inferior = shape.planes
    assert superior[0] - inferior[0] == pytest.approx(8.0, abs=0.3)
    assert shape.shift_mm == pytest.approx((0.0, 0.0), abs=0.5)


def test_a_wedge_is_the_angle_between_its_faces() -> None:
    slope = np.tan(np.radians(5.0))
    mask = solid(lambda x, y, z: ((x / 24) ** 2 + (y / 16) ** 2 < 1) & (np.abs(z) < 5 - slope * y))
    shape = fitted(mask)
    assert shape is not None
    superior, inferior = shape.planes
    assert (superior - inferior)[1:] @ shape.posterior == pytest.approx(-2 * slope, abs=0.006)
    assert shape.next_frame().axes[1, 2] == pytest.approx(0.0, abs=0.004)
    for side in (1.0, -1.0):
        middle, axes = shape.endplate_frame(side)
        expected = np.array([0.0, slope, side]) / np.hypot(1.0, slope)
        assert axes[:, 2] == pytest.approx(expected, abs=0.01)
        assert middle[2] - (mask.grid.spacing_mm[2] * (mask.grid.shape[2] - 1)) / 2 == pytest.approx(
            5 * side, abs=0.3
        )


def test_a_slab_thinner_than_high_still_stands_upright() -> None:
    mask = solid(lambda x, y, z: (np.abs(x) < 4.5) & (np.abs(y) < 16) & (np.abs(z) < 6), (1.0, 0.5, 0.5))
    shape = fitted(mask)
    assert shape is not None
    assert shape.next_frame().axes == pytest.approx(np.eye(3), abs=0.02)
    assert np.ptp(shape.footprint.outline, axis=0) == pytest.approx((9.0, 32.0), abs=0.7)


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
    assert fitted(solid(inside)) is None


def test_two_plates_far_apart_are_not_plausible_or_have_no_shape() -> None:
    mask = solid(lambda x, y, z: (np.abs(x) > 25) & (np.abs(y) < 4) & (np.abs(z) < 4))
    shape = fitted(mask)
    assert shape is None or not shape.plausible(mask)
