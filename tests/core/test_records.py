from __future__ import annotations

import math

import numpy as np
import pytest

from discometry.core.anatomy import Tissue
from discometry.core.errors import GridError, LabelError
from discometry.core.records import (
    CUBE_SHAPE,
    CUBE_SPACING_MM,
    Disc,
    Geometry,
    Prepared,
    Region,
    Segmentation,
)
from discometry.core.volume import Grid, Volume

SMALL = Volume(Grid.from_spacing((3, 3, 3), (1, 1, 1)), np.ones((3, 3, 3), bool))
CUBE = Volume(Grid.from_spacing(CUBE_SHAPE, CUBE_SPACING_MM), np.zeros(CUBE_SHAPE, bool))


def test_measures_come_in_the_promised_order_and_start_unknown() -> None:
    assert Geometry.names()[:8] == (
        "height_mean_mm",
        "width_ap_mm",
        "width_lateral_mm",
        "angle_sagittal_deg",
        "angle_coronal_deg",
        "angle_transverse_deg",
        "wedge_deg",
        "volume_mm3",
    )
    assert all(math.isnan(value) for value in Geometry().values().values())
    assert list(Geometry(volume_mm3=3.0).values()) == list(Geometry.names())
    assert Geometry(volume_mm3=3.0).values()["volume_mm3"] == 3.0


def test_a_disc_needs_a_known_label_and_a_cube_of_the_fixed_shape() -> None:
    assert Disc(202, "L4/L5", SMALL, CUBE).flags == ()
    with pytest.raises(LabelError, match="disc label 7"):
        Disc(7, "L4/L5", SMALL, CUBE)
    with pytest.raises(GridError, match="64"):
        Disc(202, "L4/L5", SMALL, SMALL)


def test_a_prepared_image_runs_along_lps() -> None:
    assert Prepared(SMALL, SMALL.grid, SMALL.grid).image is SMALL
    with pytest.raises(GridError, match="expected LPS"):
        Prepared(SMALL.flipped(1), SMALL.grid, SMALL.grid)


def test_a_region_crops_whatever_the_axis_order_and_the_border() -> None:
    volume = Volume(Grid.from_spacing((10, 12, 14), (2.0, 1.0, 1.0)), np.arange(1680).reshape(10, 12, 14))
    region = Region(np.array([6.2, 14.0, -1.5]), np.array([6.0, 12.0, 7.0]), np.eye(3))
    part = region.crop(volume)
    np.testing.assert_array_equal(part.array, volume.array[2:6, 8:, :3])
    turned = region.crop(volume.transposed((2, 0, 1)).flipped(1))
    np.testing.assert_array_equal(turned.oriented().array, part.array)
    assert turned.oriented().grid.same_as(part.grid)


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.0, -1.25, 0.5)])
def test_the_voxels_of_a_region_cover_it_evenly_or_moved(shift: tuple[float, float, float]) -> None:
    cos, sin = np.cos(0.3), np.sin(0.3)
    axes = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    region = Region(np.array([6.0, 14.0, -1.5]), np.array([6.1, 12.0, 20.0]), axes)
    grid = region.grid((2.0, 0.9, 1.5), shift)
    assert grid.spacing_mm == pytest.approx((2.0, 0.9, 1.5))
    np.testing.assert_allclose(grid.direction, axes, atol=1e-12)
    middle = grid.to_index(region.middle_mm)
    np.testing.assert_allclose(middle, (np.array(grid.shape) - 1) / 2 - shift, atol=1e-9)
    for corner in (-0.5, 0.5):
        index = grid.to_index(region.middle_mm + axes @ (corner * region.size_mm))
        assert (index >= -0.5 - 1e-5).all()
        assert (index <= np.array(grid.shape) - 0.5 + 1e-5).all()


def test_a_segmentation_gives_the_mask_of_a_tissue() -> None:
    tissue = SMALL.with_array(np.arange(27).reshape(3, 3, 3) % 4)
    np.testing.assert_array_equal(Segmentation(tissue).mask(Tissue.DISC), tissue.array == 3)
