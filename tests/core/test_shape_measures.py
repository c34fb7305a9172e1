"""Measures that a fitted disc shows, one by one."""

from __future__ import annotations

import numpy as np
import pytest

from discometry.core.disc_shape import fit_disc_shape
from discometry.core.phantom import PhantomDisc, phantom_grid, render_disc_mask, single_disc
from discometry.core.shape_measures import shape_measures
from discometry.core.slice_ends import volume_lost_mm3
from discometry.core.standard_errors import FACTORS, Estimate
from discometry.core.volume import Grid, Volume
from discometry.core.voxel_surface import voxel_surface

MARGINS = dict.fromkeys(("anterior_mm", "posterior_mm", "inferior_mm", "superior_mm"), 8.0)


def tight(mask: Volume) -> Volume:
    mask = mask.oriented()
    index = np.argwhere(mask.array)
    cut = mask.cropped(index.min(axis=0).tolist(), (index.max(axis=0) + 1).tolist())
    return cut.with_array(np.ascontiguousarray(cut.array))


def measured(mask: Volume) -> dict[str, Estimate]:
    surface = voxel_surface(mask)
    shape = fit_disc_shape(mask, surface)
    assert shape is not None
    return shape_measures(shape, surface, mask)


def rendered(disc: PhantomDisc, spacing_mm: tuple[float, float, float]) -> Volume:
    return tight(render_disc_mask(disc, phantom_grid(disc, spacing_mm=spacing_mm, **MARGINS)))


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (3.3, 0.6, 0.5)], ids=str)
def test_heights_by_every_definition(spacing_mm: tuple[float, float, float]) -> None:
    disc = single_disc(
        9.0, wedge_deg=8.0, lateral_wedge_deg=4.0, dome_superior_mm=1.5, bulge=0.04, tilt_deg=(12, -7, 9)
    )
    found, true = measured(rendered(disc, spacing_mm)), disc.geometry().values()
    for name in ("anterior", "middle", "posterior", "dabbs", "fyllos", "hurxthal"):
        assert found[f"height_{name}_mm"].value == pytest.approx(true[f"height_{name}_mm"], abs=0.25), name
    assert found["asymmetry_mm"].value == pytest.approx(true["asymmetry_mm"], abs=0.3)
    assert found["surface_mm2"].value == pytest.approx(true["surface_mm2"], rel=0.02)
    assert found["bulge_mm"].value == pytest.approx(true["bulge_mm"], abs=0.4)


def test_the_right_is_lower_where_the_wedge_opens_to_the_left() -> None:
    disc = single_disc(9.0, lateral_wedge_deg=6.0)
    assert disc.geometry().asymmetry_mm == pytest.approx(2 * 2 * 20.0 * np.tan(np.radians(3.0)))
    assert measured(rendered(disc, (1.0, 1.0, 1.0)))["asymmetry_mm"].value > 3.5


def test_a_slipped_disc_is_higher_by_hurxthal_than_in_its_middle() -> None:
    grid = Grid.from_spacing((60, 110, 30), (1.0, 0.5, 0.5), origin_mm=(-29.7, -27.1, -7.3))
    x, y, z = np.moveaxis(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0)
    inside = ((x / 24) ** 2 + ((y - 0.6 * z) / 17) ** 2 < 1) & (np.abs(z) < 5.1)
    found = measured(tight(Volume(grid, inside)))
    assert found["height_middle_mm"].value == pytest.approx(10.2, abs=0.3)
    # With all of the slip, 6.1 mm, it is 11.9 mm; sharp edges of so slanting a wall hide a quarter of it.
    assert 10.8 < found["height_hurxthal_mm"].value < 12.0


def test_every_measure_has_factors() -> None:
    found = measured(rendered(single_disc(8.0), (1.0, 1.0, 1.0)))
    assert set(found) <= set(FACTORS)
    assert all(one.spread > 0 for one in found.values())


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.0, 3.0, 4.0])
def test_the_last_slices_do_not_change_the_height(shift: float) -> None:
    disc = single_disc(9.0, half_lateral_mm=24.0, exponent=2.4, tilt_deg=(7.0, 0.0, 0.0))
    mask = render_disc_mask(disc, phantom_grid(disc, spacing_mm=(4.8, 0.5, 0.5), **MARGINS))
    affine = mask.grid.affine.copy()
    affine[0, 3] += shift
    mask = tight(render_disc_mask(disc, Grid(mask.grid.shape, affine)))
    assert measured(mask)["height_mean_mm"].value == pytest.approx(disc.geometry().height_mean_mm, abs=0.09)


def test_no_volume_is_lost_without_thick_slices_or_where_they_lie_along_the_disc() -> None:
    for spacing_mm in ((1.0, 1.0, 1.0), (0.6, 0.6, 2.0)):
        disc = single_disc(12.0)
        mask = tight(render_disc_mask(disc, phantom_grid(disc, spacing_mm=spacing_mm, slice_axis="lps")))
        shape = fit_disc_shape(mask, voxel_surface(mask))
        assert shape is not None
        assert volume_lost_mm3(shape, mask, 12.0) == 0.0
