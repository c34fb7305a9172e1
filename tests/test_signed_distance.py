"""Cubes of masks: volume, place and shape."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discometry.core.errors import LabelError
from discometry.core.phantom import phantom_grid, render_disc_mask, single_disc
from discometry.core.records import CUBE_SPACING_MM
from discometry.core.scores import dice
from discometry.core.volume import Grid, Volume
from discometry.signed_distance import disc_cube, fits_cube

MARGINS = {"anterior_mm": 6.0, "posterior_mm": 6.0, "inferior_mm": 6.0, "superior_mm": 6.0}


@given(
    spacing=st.sampled_from([(4.4, 0.43, 0.43), (3.3, 0.6, 0.5), (1.0, 1.0, 1.0), (0.9, 0.24, 0.24)]),
    height=st.floats(2.0, 12.0),
    tilt=st.tuples(*[st.floats(-25, 25)] * 3),
)
@settings(max_examples=12)
def test_the_volume_is_kept_within_one_percent(
    spacing: tuple[float, float, float], height: float, tilt: tuple[float, float, float]
) -> None:
    disc = single_disc(height, tilt_deg=tilt, centre_lps=(1.3, -0.4, 7.7))
    mask = render_disc_mask(disc, phantom_grid(disc, spacing_mm=spacing, **MARGINS))
    cube = disc_cube(mask)
    before = mask.array.sum() * mask.grid.voxel_volume_mm3
    assert cube.array.sum() * np.prod(CUBE_SPACING_MM) == pytest.approx(before, rel=0.01)


def test_the_cube_is_the_disc_drawn_there() -> None:
    disc = single_disc(9.0, tilt_deg=(-20.0, 5.0, 4.0), wedge_deg=8.0, dome_superior_mm=1.0)
    mask = render_disc_mask(disc, phantom_grid(disc, spacing_mm=(3.3, 0.6, 0.5), **MARGINS))
    cube = disc_cube(mask)
    assert dice(cube.array, render_disc_mask(disc, cube.grid).array) > 0.95


def test_an_oblique_mask_comes_out_upright() -> None:
    disc = single_disc(9.0, tilt_deg=(10.0, 0.0, 0.0))
    grid = phantom_grid(disc, spacing_mm=(1.0, 1.0, 1.0), oblique_deg=(12.0, -8.0, 20.0), **MARGINS)
    cube = disc_cube(render_disc_mask(disc, grid))
    assert dice(cube.array, render_disc_mask(disc, cube.grid).array) > 0.95


def test_a_symmetric_box_keeps_its_volume() -> None:
    # Many voxels of the cube are equally far from the border: none may tip the balance.
    array = np.zeros((30, 30, 20), dtype=bool)
    array[5:25, 5:25, 6:14] = True
    cube = disc_cube(Volume(Grid.from_spacing(array.shape, (1.4, 1.2, 1.5)), array))
    assert cube.array.sum() == pytest.approx(20 * 20 * 8, rel=0.002)


def test_place_and_axes_of_the_mask_do_not_matter() -> None:
    disc = single_disc(7.0, tilt_deg=(8.0, 3.0, 0.0), wedge_deg=5.0)
    mask = render_disc_mask(disc, phantom_grid(disc, spacing_mm=(3.3, 0.6, 0.5), **MARGINS))
    cube = disc_cube(mask)
    assert np.array_equal(disc_cube(mask.transposed([2, 0, 1]).flipped(1)).array, cube.array)
    affine = mask.grid.affine.copy()
    affine[:3, 3] += (100.0, -30.0, 7.0)
    moved = disc_cube(replace(mask, grid=Grid(mask.grid.shape, affine)))
    assert np.array_equal(moved.array, cube.array)
    assert np.subtract(moved.grid.origin_mm, cube.grid.origin_mm) == pytest.approx([100.0, -30.0, 7.0])


def test_what_fits() -> None:
    corner = np.array([[0.0, 0.0, 0.0], [89.0, 76.0, 95.0]])
    assert fits_cube(corner)
    assert not fits_cube(corner * [1.0, 1.0, 1.02])


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(LabelError, match="empty"):
        disc_cube(Volume(Grid.from_spacing((3, 3, 3), (1, 1, 1)), np.zeros((3, 3, 3), dtype=bool)))
