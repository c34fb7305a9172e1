"""The whole spine: its order and closeness, fields of view, label maps against the truth, and seeds."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discometry.core.anatomy import LEVELS, Tissue
from discometry.core.errors import GridError, InputError, LabelError
from discometry.core.phantom import (
    Phantom,
    PhantomConfig,
    Structure,
    disc_fraction,
    phantom_grid,
    render_discs,
    render_structures,
    render_tissue,
    rotation_from_angles,
    sample_phantom,
)
from discometry.core.phantom_anatomy import TISSUE_OF
from discometry.core.phantom_paint import Canvas, paint
from discometry.core.volume import Grid


@pytest.fixture(scope="module")
def spine() -> Phantom:
    return sample_phantom(3, n_discs=6, narrowed=("L4/L5",), tilt_deg=(12.0, 8.0, -6.0))


@pytest.fixture(scope="module")
def grid(spine: Phantom) -> Grid:
    return phantom_grid(spine, spacing_mm=(2.0, 1.2, 1.2), slice_axis="lps", lateral_mm=88.0)


@given(st.integers(0, 2**31), st.integers(1, 8), st.integers(0, 255))
@settings(max_examples=30)
def test_discs_stack_upwards_from_the_sacrum(seed: int, count: int, narrowed: int) -> None:
    labels = [201 + place for place in range(count) if narrowed >> place & 1]
    spine = sample_phantom(seed, n_discs=count, narrowed=labels)
    assert [disc.label for disc in spine.discs] == list(range(201, 201 + count))
    assert spine.levels == LEVELS[:count]
    assert [disc.label for disc in spine.discs if disc.narrowed] == labels
    heights = np.array([disc.centre_lps[2] for disc in spine.discs])
    assert (np.diff(heights) > 20).all()
    for disc in spine.discs:
        assert 1.2 < disc.geometry().height_mean_mm < 18
        assert disc.half_lateral_mm > disc.half_ap_mm


@given(st.tuples(*[st.floats(-25.0, 25.0)] * 3), st.tuples(*[st.floats(-200.0, 200.0)] * 3))
@settings(max_examples=15)
def test_the_truth_follows_a_rigid_tilt(
    tilt: tuple[float, float, float], origin: tuple[float, float, float]
) -> None:
    upright = sample_phantom(11)
    tilted = sample_phantom(11, tilt_deg=tilt, origin_lps=origin)
    rotation = rotation_from_angles(tilt)
    for before, after in zip(upright.discs, tilted.discs, strict=True):
        np.testing.assert_allclose(after.rotation, rotation @ before.rotation, atol=1e-12)
        np.testing.assert_allclose(after.centre_lps - origin, rotation @ before.centre_lps, atol=1e-9)
        assert after.geometry().volume_mm3 == before.geometry().volume_mm3
    middle = np.mean([disc.centre_lps for disc in tilted.discs], axis=0)
    np.testing.assert_allclose(middle, origin, atol=1e-9)
    np.testing.assert_allclose(tilted.bodies[-1].frame.rotation, rotation @ upright.bodies[-1].frame.rotation)


def test_tilting_turns_the_picture() -> None:
    """A spine tilted on a grid is the upright spine on the grid turned back."""
    tilt = (10.0, -7.0, 5.0)
    upright, tilted = sample_phantom(5), sample_phantom(5, tilt_deg=tilt)
    grid = Grid.from_spacing((40, 60, 50), (2.1, 2.3, 3.1), origin_mm=(-41, -60, -80))
    turned = Grid.from_spacing(
        grid.shape,
        grid.spacing_mm,
        origin_mm=rotation_from_angles(tilt) @ np.array(grid.origin_mm),
        direction=rotation_from_angles(tilt),
    )
    same = render_structures(upright, grid).array == render_structures(tilted, turned).array
    assert same.mean() > 0.999  # single precision, at surfaces


def test_narrowing_lowers_a_disc_and_leaves_the_others(spine: Phantom) -> None:
    plain = sample_phantom(3, n_discs=6)
    factors = [
        low.geometry().height_mean_mm / high.geometry().height_mean_mm
        for low, high in zip(spine.discs, plain.discs, strict=True)
    ]
    assert 0.35 < factors[1] < 0.85
    assert np.delete(factors, 1) == pytest.approx(1.0)


def test_same_seed_same_spine(spine: Phantom, grid: Grid) -> None:
    again = sample_phantom(3, n_discs=6, narrowed=(202,), tilt_deg=(12.0, 8.0, -6.0))
    assert again.discs[2].geometry().values() == pytest.approx(
        spine.discs[2].geometry().values(), nan_ok=True
    )
    np.testing.assert_array_equal(paint(again, grid), paint(spine, grid))
    other = sample_phantom(4, n_discs=6)
    assert other.discs[0].height_mm != spine.discs[0].height_mm


def test_without_spread_spines_have_the_same_sizes() -> None:
    config = PhantomConfig(spread=0.0)
    first, second = (sample_phantom(seed, config=config) for seed in (1, 2))
    for one, two in zip(first.discs, second.discs, strict=True):
        assert one.half_ap_mm == two.half_ap_mm
        assert one.wedge_deg == pytest.approx(two.wedge_deg, abs=1e-9)
        assert one.geometry().angle_coronal_deg == pytest.approx(0.0, abs=1e-9)


def test_label_map_agrees_with_the_truth(spine: Phantom, grid: Grid) -> None:
    labels = render_discs(spine, grid)
    assert labels.array.dtype == np.int16
    for disc in spine.discs:
        voxels = np.argwhere(labels.array == disc.label)
        truth = disc.geometry()
        assert len(voxels) * grid.voxel_volume_mm3 == pytest.approx(truth.volume_mm3, rel=0.025)
        share = disc_fraction(disc, grid).array
        assert share.sum() * grid.voxel_volume_mm3 == pytest.approx(truth.volume_mm3, rel=3e-3)
        local = (grid.to_world(voxels) - disc.centre_lps) @ disc.rotation
        assert np.abs(local).max(axis=0) == pytest.approx(disc.reach_mm, abs=1.8)


def test_tissue_is_whole_and_agrees_with_the_discs(spine: Phantom, grid: Grid) -> None:
    tissue = render_tissue(spine, grid).array
    assert tissue.dtype == np.uint8
    assert set(np.unique(tissue)) == {int(item) for item in Tissue}
    np.testing.assert_array_equal(tissue == Tissue.DISC, render_discs(spine, grid).array > 0)
    centres = np.array([TISSUE_OF[Structure(item)] for item in range(len(Structure))])
    sampled = centres[render_structures(spine, grid).array]
    assert (sampled == tissue).mean() > 0.98  # they differ within half a voxel of a surface


def test_discs_lie_between_bodies_and_the_canal_behind(spine: Phantom) -> None:
    """Along a disc's own axis through its middle come body, disc, body; behind the disc comes the canal."""
    tissues = np.array([TISSUE_OF[Structure(item)] for item in range(len(Structure))])
    for disc in spine.discs:
        line = Grid.from_spacing(
            (1, 1, 240),
            (1, 1, 0.1),
            origin_mm=disc.centre_lps - 12 * disc.rotation[:, 2],
            direction=disc.rotation,
        )
        structures = render_structures(spine, line).array[0, 0]
        inside = tissues[structures] == Tissue.DISC
        assert inside.sum() * 0.1 == pytest.approx(disc.height_max_mm, abs=0.3)
        runs = np.flatnonzero(np.diff(inside.astype(int)))
        assert len(runs) == 2
        assert structures[runs[1] + 1] == Structure.ENDPLATE
        below = Structure.SACRUM_CORTEX if disc.label == 201 else Structure.ENDPLATE
        assert structures[runs[0]] == below
        back = Grid.from_spacing((1, 120, 1), (1, 0.4, 1), origin_mm=disc.centre_lps, direction=disc.rotation)
        behind = tissues[render_structures(spine, back).array[0, :, 0]]
        first = np.flatnonzero(behind == Tissue.CANAL)[0]
        assert disc.half_ap_mm < first * 0.4 < disc.half_ap_mm + 12


def test_bodies_and_discs_do_not_overlap(spine: Phantom) -> None:
    grid = phantom_grid(spine, spacing_mm=(2.3, 1.1, 0.5), slice_axis="lps", lateral_mm=60.0)
    bodies, discs = Canvas(grid), Canvas(grid)
    for index, body in enumerate(spine.bodies):
        bodies.body(body, spine.discs, index)
    for index, disc in enumerate(spine.discs):
        discs.disc(disc, index)
    assert (discs.codes > 0).sum() > 10_000
    assert not ((bodies.codes > 0) & (discs.codes > 0)).any()


def test_neighbouring_bodies_touch_their_disc(spine: Phantom) -> None:
    """No gap opens between a disc and the bodies: right above and below its surfaces there is bone."""
    for index, disc in enumerate(spine.discs):
        for side, dome in ((1, disc.dome_superior_mm), (-1, disc.dome_inferior_mm)):
            x, y = 0.3 * disc.half_lateral_mm, -0.4 * disc.half_ap_mm
            rho = disc.radius(np.array(x), np.array(y))
            z = side * (disc.half_height(np.array(x), np.array(y), rho) + dome * (1 - rho**2) + 0.05)
            place = disc.centre_lps + disc.rotation @ np.array([x, y, float(z)])
            point = Grid.from_spacing((1, 1, 1), (1, 1, 1), origin_mm=place)
            codes = Canvas(point)
            for number, body in enumerate(spine.bodies):
                codes.body(body, spine.discs, number)
            assert codes.codes[0, 0, 0] > 0, (index, side)


def test_bodies_fill_the_height_between_discs(spine: Phantom) -> None:
    bodies = [body for body in spine.bodies if not body.sacral]
    for index, (low, high) in enumerate(itertools.pairwise(spine.discs)):
        apart = float(np.linalg.norm(high.centre_lps - low.centre_lps))
        expected = 0.5 * (low.height_mm + high.height_mm) + bodies[index].height_mm
        assert apart == pytest.approx(expected, abs=0.3)  # the wedges bend the line between the centres
        middle = 0.5 * (low.centre_lps + high.centre_lps)
        assert np.linalg.norm(bodies[index].frame.centre - middle) < 2.0


def test_no_air_inside_the_body(spine: Phantom, grid: Grid) -> None:
    structures = render_structures(spine, grid)
    air = grid.to_world(np.argwhere(structures.array == Structure.AIR).astype(float))
    middles = np.array([body.frame.centre for body in spine.bodies])
    assert len(air) > 0
    nearest = np.linalg.norm(air[:, None, :] - middles[None], axis=2).min()
    assert nearest > 40.0
    assert (air[:, 1] > 0).all()  # this field of view ends inside the belly


def test_every_structure_is_drawn() -> None:
    seen: set[int] = set()
    for seed in range(4):
        spine = sample_phantom(seed, n_discs=7)
        grid = phantom_grid(
            spine, spacing_mm=(1.7, 1.7, 2.0), slice_axis="lps", lateral_mm=220.0, anterior_mm=110.0
        )
        seen |= set(np.unique(render_structures(spine, grid).array).tolist())
    assert seen == {int(item) for item in Structure}


def test_left_and_right_balance() -> None:
    """Without scoliosis the skeleton is its own mirror image up to what is drawn at random."""
    spine = sample_phantom(9, config=PhantomConfig(spread=0.0))
    grid = phantom_grid(spine, spacing_mm=(1.5, 1.5, 1.5), slice_axis="lps", lateral_mm=90.0)
    tissue = render_tissue(spine, grid).array
    mirrored = tissue[::-1]
    bone = (tissue == Tissue.VERTEBRA) | (mirrored == Tissue.VERTEBRA)
    assert (tissue == mirrored)[bone].mean() > 0.93
    assert ((tissue == Tissue.DISC) == (mirrored == Tissue.DISC)).mean() > 0.9999


def test_nothing_is_drawn_far_away(spine: Phantom) -> None:
    far = Grid.from_spacing((4, 4, 4), (2, 2, 2), origin_mm=(900, 0, 0))
    assert not render_structures(spine, far).array.any()
    assert not render_tissue(spine, far).array.any()
    assert not render_discs(spine, far).array.any()


@pytest.mark.parametrize(
    ("slice_axis", "codes"), [("sagittal", "LPS"), ("coronal", "PLS"), ("axial", "SLP"), ("lps", "LPS")]
)
def test_fields_of_view_hold_every_disc(spine: Phantom, slice_axis: str, codes: str) -> None:
    grid = phantom_grid(spine, spacing_mm=(4.0, 0.9, 1.1), slice_axis=slice_axis, lateral_mm=90.0)
    assert grid.axis_codes == codes
    assert grid.spacing_mm == pytest.approx((4.0, 0.9, 1.1))
    for disc in spine.discs:
        corners = disc.centre_lps + (disc.rotation * disc.reach_mm).T
        index = grid.to_index(corners)
        assert (index > -0.5).all()
        assert (index < np.array(grid.shape) - 0.5).all()


def test_oblique_field_of_view_sees_the_same_discs(spine: Phantom) -> None:
    turned = phantom_grid(spine, spacing_mm=(3.0, 1.0, 1.0), oblique_deg=(15.0, 10.0, -12.0))
    np.testing.assert_allclose(turned.direction, rotation_from_angles((15.0, 10.0, -12.0)), atol=1e-12)
    labels = render_discs(spine, turned).array
    for disc in spine.discs:
        found = (labels == disc.label).sum() * turned.voxel_volume_mm3
        assert found == pytest.approx(disc.geometry().volume_mm3, rel=0.03)


def test_wrong_fields_of_view_are_refused(spine: Phantom) -> None:
    with pytest.raises(GridError, match="sagittal, coronal, axial or lps"):
        phantom_grid(spine, slice_axis="diagonal")
    with pytest.raises(GridError, match="three positive spacings"):
        phantom_grid(spine, spacing_mm=(1.0, 0.0, 1.0))
    with pytest.raises(GridError, match="three positive spacings"):
        phantom_grid(spine, spacing_mm=(1.0, 1.0))


def test_wrong_spines_are_refused() -> None:
    with pytest.raises(InputError, match="1 to 8"):
        sample_phantom(0, n_discs=9)
    with pytest.raises(InputError, match="labels 201 to 205"):
        sample_phantom(0, narrowed=(206,))
    with pytest.raises(LabelError):
        sample_phantom(0, narrowed=("L9/S1",))


def test_classes_of_the_segmenter() -> None:
    assert TISSUE_OF[Structure.NUCLEUS] == Tissue.DISC
    assert TISSUE_OF[Structure.POSTERIOR_MARROW] == Tissue.VERTEBRA
    assert TISSUE_OF[Structure.CORD] == Tissue.CANAL
    assert TISSUE_OF[Structure.SACRUM_DISC] == TISSUE_OF[Structure.SACRUM_MARROW] == Tissue.SACRUM
    # As in SPIDER: endplates are not labelled, nor is the fat around the sac.
    for structure in (Structure.ENDPLATE, Structure.EPIDURAL_FAT, Structure.MUSCLE):
        assert TISSUE_OF[structure] == Tissue.BACKGROUND
