"""Geometry against analytic discs: how near it comes, and what it must not depend on."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discometry.core.phantom import (
    PhantomDisc,
    phantom_grid,
    render_disc_mask,
    rotation_from_angles,
    sample_phantom,
    single_disc,
)
from discometry.core.records import CUBE_SHAPE, CUBE_SPACING_MM, Disc, Geometry
from discometry.core.volume import Grid, Volume
from discometry.stages.measure import lordosis, measure, measure_mask

FITTED = tuple(
    name for name in Geometry.names() if name != "disc_height_index" and not name.startswith("paper_")
)
CLINICAL = [(4.4, 0.43, 0.43), (3.3, 0.6, 0.5)]


def render(disc: PhantomDisc, spacing_mm: tuple[float, float, float], **options: object) -> Volume:
    """Mask of a disc on a grid with a narrow margin; spacing along L, P, S."""
    margin = 2.0 + max(spacing_mm)
    lateral = 2.0 * float((np.abs(disc.rotation) @ disc.reach_mm)[0]) + 2.0 * margin
    grid = phantom_grid(
        disc,
        spacing_mm=spacing_mm,
        lateral_mm=lateral,
        anterior_mm=margin,
        posterior_mm=margin,
        inferior_mm=margin,
        superior_mm=margin,
        **options,  # type: ignore[arg-type]
    )
    return render_disc_mask(disc, grid)


def thin_edge_mm(disc: PhantomDisc) -> float:
    """Height of a disc's thinnest edge."""
    return disc.height_mm - 2.0 * disc.half_ap_mm * math.tan(math.radians(abs(disc.wedge_deg)) / 2.0)


def population(count: int, seed: int) -> list[PhantomDisc]:
    """Discs of sampled spines, each tilted by up to 25 degrees in any plane and put anywhere on the grid.

    Discs that taper to less than 1.5 mm are left out: their edge falls between the voxels, and with it the
    width.
    """
    rng = np.random.default_rng(seed)
    spines = (sample_phantom(seed * 100 + number, narrowed=["L4/L5"]) for number in itertools.count())
    drawn = (disc for spine in spines for disc in spine.discs if thin_edge_mm(disc) >= 1.5)
    discs = itertools.islice(drawn, count)
    return [
        replace(
            disc,
            rotation=rotation_from_angles(tuple(rng.uniform(-25, 25, 3) * (rng.random(3) < 0.6))),
            centre_lps=rng.uniform(-40, 40, 3),
        )
        for disc in discs
    ]


def errors(
    discs: list[PhantomDisc], spacing_mm: tuple[float, float, float], **options: object
) -> dict[str, np.ndarray]:
    """Measured minus true, by measure; volume and area relative."""
    rows = []
    for disc in discs:
        true = disc.geometry().values()
        found = measure_mask(render(disc, spacing_mm, **options)).values()
        rows.append([found[name] - true[name] for name in FITTED])
        for place, name in enumerate(FITTED):
            if name.endswith(("mm2", "mm3")):
                rows[-1][place] /= true[name]
    return dict(zip(FITTED, np.array(rows).T, strict=True))


@pytest.mark.parametrize("spacing_mm", [*CLINICAL, (1.0, 1.0, 1.0)], ids=str)
def test_measures_are_true_to_a_tenth_of_a_millimetre(spacing_mm: tuple[float, float, float]) -> None:
    error = errors(population(10, seed=1), spacing_mm)
    size = {name: np.abs(value) for name, value in error.items()}
    assert abs(error["height_mean_mm"].mean()) <= 0.05
    assert size["height_mean_mm"].mean() <= 0.10
    for name in ("anterior", "middle", "posterior", "dabbs", "fyllos", "hurxthal"):
        assert size[f"height_{name}_mm"].mean() <= 0.15
    assert size["asymmetry_mm"].mean() <= 0.25
    assert size["bulge_mm"].mean() <= 0.4
    assert size["surface_mm2"].mean() <= 0.015
    for name in ("width_ap_mm", "width_lateral_mm"):
        assert size[name].mean() <= 0.5
        assert size[name].max() <= max(spacing_mm)
    for name in ("angle_sagittal_deg", "angle_coronal_deg", "angle_transverse_deg"):
        assert size[name].max() <= 1.0
        assert size[name].mean() <= 0.25
    assert size["wedge_deg"].mean() <= 0.5
    assert abs(error["volume_mm3"].mean()) <= 0.01
    assert size["volume_mm3"].mean() <= 0.015
    assert size["footprint_mm2"].mean() <= 0.01


def test_coronal_slices_do_as_well() -> None:
    discs = [disc for disc in population(8, seed=2) if not disc.narrowed]
    error = errors(discs, (3.3, 0.6, 0.6), slice_axis="coronal")
    assert np.abs(error["height_mean_mm"]).mean() <= 0.10
    assert np.abs(error["width_ap_mm"]).mean() <= 0.5
    assert np.abs(error["angle_sagittal_deg"]).max() <= 1.0


def test_angles_are_the_worlds_on_an_oblique_grid() -> None:
    disc = single_disc(8.0, tilt_deg=(10.0, -6.0, 8.0), wedge_deg=6.0, centre_lps=(3.1, -2.7, 11.9))
    error = errors([disc], (3.3, 0.6, 0.5), oblique_deg=(12.0, 7.0, -9.0))
    assert abs(error["height_mean_mm"][0]) <= 0.15
    for name in ("angle_sagittal_deg", "angle_coronal_deg", "angle_transverse_deg", "wedge_deg"):
        assert abs(error[name][0]) <= 0.5


@pytest.mark.parametrize(
    ("name", "up", "over"),
    [
        ("angle_sagittal_deg", (0.0, 0.0, 1.0), (0.0, -1.0, 0.0)),
        ("angle_coronal_deg", (0.0, 0.0, 1.0), (1.0, 0.0, 0.0)),
    ],
)
def test_a_plane_that_rises_one_in_five_has_its_angle(
    name: str, up: tuple[float, ...], over: tuple[float, ...]
) -> None:
    # Without the phantom: the half space between two parallel planes, in an upright elliptic cylinder.
    grid = Grid.from_spacing((60, 50, 45), (1.0, 1.0, 0.8), origin_mm=(-29.7, -24.6, -18.1))
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    rise = points @ np.array(up) - 0.2 * (points @ np.array(over))
    inside = (np.abs(rise) < 4.0) & ((points[..., 0] / 24) ** 2 + (points[..., 1] / 17) ** 2 < 1)
    found = measure_mask(Volume(grid, inside))
    assert getattr(found, name) == pytest.approx(math.degrees(math.atan(0.2)), abs=0.3)
    assert getattr(found, f"paper_{name}") == pytest.approx(math.degrees(math.atan(0.2)), abs=1.5)
    assert found.wedge_deg == pytest.approx(0.0, abs=0.3)


def test_a_left_end_that_lies_posterior_turns_the_long_axis_positively() -> None:
    found = measure_mask(render(single_disc(8.0, tilt_deg=(0.0, 0.0, 20.0)), (3.3, 0.6, 0.5)))
    assert found.angle_transverse_deg == pytest.approx(20.0, abs=1.0)
    assert found.paper_angle_transverse_deg == pytest.approx(20.0, abs=1.5)


def test_a_turn_of_fifty_degrees_does_not_swap_the_widths() -> None:
    found = measure_mask(render(single_disc(8.0, tilt_deg=(0.0, 0.0, 50.0)), (1.0, 1.0, 1.0)))
    assert found.width_lateral_mm == pytest.approx(50.0, abs=0.5)
    assert found.width_ap_mm == pytest.approx(36.0, abs=0.5)
    assert found.angle_transverse_deg == pytest.approx(50.0, abs=0.5)


def test_a_slab_keeps_height_ap_width_and_sagittal_angle() -> None:
    whole = single_disc(9.0, tilt_deg=(-15.0, 0.0, 0.0), wedge_deg=9.0, exponent=2.5, bulge=0.03)
    mask = render(whole, (0.9, 0.47, 0.47))
    middle = mask.array.shape[0] // 2
    slab = mask.cropped((middle - 11, 0, 0), (middle + 11, *mask.array.shape[1:]))
    found = measure_mask(slab)
    # Truth by counting: fine samples of the slab, in the disc's own frame.
    x, y, z = np.meshgrid(np.arange(-9.7, 9.8, 0.4), np.arange(-22, 22, 0.1), np.arange(-7, 7, 0.1))
    inside = whole.inside(x, y, z)
    height = inside.sum() * 0.1 / inside.any(axis=2).sum()
    assert found.height_mean_mm == pytest.approx(height, abs=0.15)
    assert found.width_ap_mm == pytest.approx(36.0 * 1.03, abs=0.6)
    assert found.width_lateral_mm == pytest.approx(22 * 0.9, abs=0.9)
    assert found.angle_sagittal_deg == pytest.approx(-15.0, abs=0.5)
    assert found.wedge_deg == pytest.approx(9.0, abs=0.6)
    assert abs(found.angle_transverse_deg) < 1.0


TILTED = render(
    single_disc(7.0, tilt_deg=(12.0, -8.0, 5.0), wedge_deg=5.0, dome_superior_mm=1.0, centre_lps=(2, 3, 5)),
    (4.4, 0.6, 0.5),
)
TILTED_MEASURES = measure_mask(TILTED)


@given(
    axes=st.permutations([0, 1, 2]),
    flips=st.sets(st.sampled_from([0, 1, 2])),
    label=st.sampled_from([True, 1, 203, 255, -3]),
)
@settings(max_examples=15)
def test_axis_order_and_direction_and_the_labels_value_change_nothing(
    axes: list[int], flips: set[int], label: int
) -> None:
    other = TILTED.transposed(axes)
    for axis in sorted(flips):
        other = other.flipped(axis)
    found = measure_mask(other.with_array(other.array * np.int16(label)))
    for name, value in TILTED_MEASURES.values().items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-6, nan_ok=True), name


@given(shift=st.tuples(*[st.floats(-500, 500)] * 3), pad=st.integers(0, 3))
@settings(max_examples=15)
def test_place_and_empty_surroundings_change_nothing(shift: tuple[float, float, float], pad: int) -> None:
    affine = TILTED.grid.affine.copy()
    affine[:3, 3] += shift
    array = np.pad(TILTED.array, pad)
    i, j, k = array.shape
    found = measure_mask(Volume(Grid((i, j, k), affine), array))
    for name, value in TILTED_MEASURES.values().items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-6, nan_ok=True), name


def test_turning_the_whole_world_turns_only_the_angles() -> None:
    turn = rotation_from_angles((4.0, -3.0, 6.0))
    affine = TILTED.grid.affine.copy()
    affine[:3] = turn @ affine[:3]
    found = measure_mask(Volume(Grid(TILTED.grid.shape, affine), TILTED.array))
    for name in ("height_mean_mm", "width_ap_mm", "width_lateral_mm", "volume_mm3", "wedge_deg"):
        assert getattr(found, name) == pytest.approx(getattr(TILTED_MEASURES, name), rel=0.005), name
    assert found.angle_sagittal_deg != pytest.approx(TILTED_MEASURES.angle_sagittal_deg, abs=1.0)


def test_the_papers_measures_of_a_box_are_its_edges() -> None:
    array = np.zeros((9, 20, 12), dtype=bool)
    array[1:8, 2:18, 3:9] = True
    found = measure_mask(Volume(Grid.from_spacing(array.shape, (3.0, 0.5, 0.8)), array))
    assert found.volume_mm3 == pytest.approx(7 * 16 * 6 * 3.0 * 0.5 * 0.8)
    assert found.paper_height_mm == pytest.approx(6 * 0.8)
    assert found.paper_width_ap_mm == pytest.approx(16 * 0.5)
    assert found.paper_width_lateral_mm == pytest.approx(7 * 3.0)
    for plane in ("sagittal", "coronal", "transverse"):
        assert getattr(found, f"paper_angle_{plane}_deg") == pytest.approx(0.0, abs=1e-9)


def test_the_papers_height_counts_columns_with_their_holes() -> None:
    array = np.zeros((4, 4, 8), dtype=bool)
    array[:, :, 2:6] = True
    array[0, 0, 2:6] = [True, False, False, True]
    array[1, 0, 2:6] = [True, True, False, False]
    found = measure_mask(Volume(Grid.from_spacing(array.shape, (1.0, 1.0, 2.0)), array))
    assert found.paper_height_mm == pytest.approx(2.0 * (15 * 4 + 2) / 16)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 30, 20), (30, 1, 20), (2, 3, 2)], ids=str)
def test_too_small_or_flat_a_mask_has_volume_but_no_shape(shape: tuple[int, int, int]) -> None:
    found = measure_mask(Volume(Grid.from_spacing(shape, (2.0, 1.0, 1.0)), np.ones(shape, dtype=bool)))
    assert found.volume_mm3 == pytest.approx(2.0 * math.prod(shape))
    assert math.isnan(found.height_mean_mm)
    assert math.isnan(found.angle_sagittal_deg)
    assert found.paper_height_mm == pytest.approx(shape[2])


def test_an_empty_mask_has_no_measures() -> None:
    found = measure_mask(Volume(Grid.from_spacing((4, 4, 4), (1, 1, 1)), np.zeros((4, 4, 4), dtype=bool)))
    assert all(math.isnan(value) for value in found.values().values())


def test_a_middle_slice_without_voxels_leaves_the_papers_width_open() -> None:
    array = np.zeros((5, 6, 6), dtype=bool)
    array[[0, 1, 3, 4]] = True
    found = measure_mask(Volume(Grid.from_spacing(array.shape, (1, 1, 1)), array))
    assert math.isnan(found.paper_width_ap_mm)
    assert math.isnan(found.paper_angle_sagittal_deg)
    assert found.paper_width_lateral_mm == pytest.approx(5.0)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20)
def test_any_mask_gives_finite_or_missing_measures_and_its_volume(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, 25, 3))
    array = rng.random(shape) < rng.uniform(0.05, 1.0)
    grid = Grid.from_spacing(shape, rng.uniform(0.3, 5.0, 3))
    found = measure_mask(Volume(grid, array))
    assert not any(math.isinf(value) for value in found.values().values())
    if array.any():
        assert found.volume_mm3 == pytest.approx(array.sum() * grid.voxel_volume_mm3)


def test_a_disc_is_measured_by_its_mask() -> None:
    cube = Volume(Grid.from_spacing(CUBE_SHAPE, CUBE_SPACING_MM), np.zeros(CUBE_SHAPE, dtype=bool))
    assert measure(Disc(202, "L4/L5", TILTED, cube)) == TILTED_MEASURES


def test_intervals_hold_the_truth_with_and_without_ragged_boundaries() -> None:
    held = []
    for place, disc in enumerate(population(12, seed=6)):
        mask = render(disc, [*CLINICAL, (1.0, 1.0, 1.0)][place % 3])
        rng = np.random.default_rng(place)
        edge = mask.array != np.roll(mask.array, 1, axis=1)
        ragged = mask.with_array(mask.array ^ (edge & (rng.random(edge.shape) < 0.3)))
        true = disc.geometry().values()
        for found in (measure_mask(mask), measure_mask(ragged)):
            assert found.standard_errors is not None
            errors = found.standard_errors.values()
            held.append([abs(found.values()[name] - true[name]) <= 1.96 * errors[name] for name in FITTED])
    assert np.mean(held) >= 0.88
    assert np.mean(held, axis=0).min() >= 0.6


def spine_of_boxes() -> tuple[Disc, Volume]:
    """A disc 8 mm high between bodies of 28 and 24 mm."""
    grid = Grid.from_spacing((30, 60, 150), (2.0, 1.0, 0.5), origin_mm=(-29.0, -29.5, -37.2))
    x, y, z = np.moveaxis(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)), -1, 0)
    column = (x / 25) ** 2 + (y / 18) ** 2 < 1
    cube = Volume(Grid.from_spacing(CUBE_SHAPE, CUBE_SPACING_MM), np.zeros(CUBE_SHAPE, dtype=bool))
    disc = Disc(202, "L4/L5", Volume(grid, column & (np.abs(z) < 4)), cube)
    bone = column & (((z > 4) & (z < 32)) | ((z < -4) & (z > -28)))
    return disc, Volume(grid, bone)


def test_the_disc_height_index_is_over_the_bodies_beside_it() -> None:
    disc, bone = spine_of_boxes()
    found = measure(disc, bone)
    assert found.disc_height_index == pytest.approx(8.0 / 26.0, abs=0.012)
    assert found.standard_errors is not None
    assert 0 < found.standard_errors.disc_height_index < 0.02
    lowest = replace(disc, label=201, level="L5/S1")
    assert measure(lowest, bone).disc_height_index == pytest.approx(8.0 / 28.0, abs=0.012)
    assert math.isnan(measure(disc).disc_height_index)
    assert math.isnan(measure(disc, bone.with_array(np.zeros_like(bone.array))).disc_height_index)


def test_what_the_image_cuts_off_is_not_known() -> None:
    disc, _ = spine_of_boxes()
    whole = measure(disc)
    assert math.isfinite(whole.width_lateral_mm)
    at_side = measure(replace(disc, mask=disc.mask.cropped((9, 0, 0), (21, 60, 150))))
    assert math.isnan(at_side.width_lateral_mm)
    assert math.isnan(at_side.volume_mm3)
    assert math.isnan(at_side.asymmetry_mm)
    assert at_side.height_middle_mm == pytest.approx(8.0, abs=0.3)
    assert at_side.width_ap_mm == pytest.approx(36.0, abs=0.6)
    above = measure(replace(disc, mask=disc.mask.cropped((0, 0, 0), (30, 60, 76))))
    assert all(math.isnan(value) for value in above.values().values())


def test_lordosis_is_between_the_outermost_lumbar_discs_known() -> None:
    def at(angle: float) -> Geometry:
        return Geometry.of({"angle_sagittal_deg": angle}, {"angle_sagittal_deg": 0.3})

    discs = [("T12/L1", at(12.0)), ("L1/L2", at(math.nan)), ("L2/L3", at(6.0)), ("L5/S1", at(-31.0))]
    found = lordosis(discs)
    assert found is not None
    assert (found.upper, found.lower) == ("L2/L3", "L5/S1")
    assert found.angle_deg == pytest.approx(37.0)
    assert found.standard_error_deg == pytest.approx(0.3 * 2**0.5)
    assert lordosis(discs[:3]) is None


def test_real_discs_measure_as_discs(shared_data: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(shared_data / "fastcleverseg" / "masks" / "01.nii.gz"))
    array = sitk.GetArrayFromImage(image).T
    direction = np.array(image.GetDirection()).reshape(3, 3)
    grid = Grid.from_spacing(
        array.shape, image.GetSpacing(), origin_mm=image.GetOrigin(), direction=direction
    )
    found = [measure_mask(Volume(grid, array == label)) for label in range(201, 206)]
    assert all(3.0 < one.height_mean_mm < 9.0 for one in found)
    assert all(25.0 < one.width_ap_mm < one.width_lateral_mm < 60.0 for one in found)
    # L5/S1 slopes down anteriorly more than all above it, and each disc lies steeper than the next.
    tilts = [one.angle_sagittal_deg for one in found]
    assert tilts == sorted(tilts)
    assert tilts[0] < -20.0
    assert all(abs(one.angle_coronal_deg) < 5.0 for one in found)
