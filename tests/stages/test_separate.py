"""Discs told apart: instances, levels, flags, cubes."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discometry.core.anatomy import CONVENTIONS, LEVELS, Tissue, label_of_level
from discometry.core.errors import InputError, LabelError
from discometry.core.phantom import phantom_grid, render_discs, render_tissue, sample_phantom
from discometry.core.records import CUBE_SHAPE, CUBE_SPACING_MM, Spine
from discometry.core.volume import Grid, Volume
from discometry.disc_parts import Part
from discometry.stages.separate import SeparateConfig, _one_spine, separate

SPINE = sample_phantom(5, n_discs=6, narrowed=["L4/L5"])
GRID = phantom_grid(SPINE, spacing_mm=(4.0, 1.0, 1.0), anterior_mm=10, posterior_mm=12, inferior_mm=45)
LABELS = render_discs(SPINE, GRID)
BINARY = LABELS.with_array((LABELS.array > 0).astype(np.uint8))


def same_discs(found: Spine, expected: Spine) -> bool:
    """Whether two spines have the same voxels in the same discs."""
    return np.array_equal(found.labels.array, expected.labels.array) and [d.level for d in found.discs] == [
        d.level for d in expected.discs
    ]


def of_disc(label: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last voxel of a disc along each axis."""
    index = np.argwhere(LABELS.array == label)
    return index.min(axis=0), index.max(axis=0)


def bridged(array: np.ndarray, labels: list[int], *, value: int) -> np.ndarray:
    """The array with a bridge of 2 x 3 voxels from the middle of each of the discs to that of the next."""
    array = array.copy()
    middles = [np.argwhere(LABELS.array == label).mean(axis=0) for label in labels]
    for lower, upper in itertools.pairwise(middles):
        for share in np.linspace(0, 1, 100):
            x, y, z = np.rint(lower + share * (upper - lower)).astype(int)
            array[x - 1 : x + 1, y - 1 : y + 2, z] = value
    return array


def ellipsoids(centres: list[tuple[float, float, float]], half: tuple[float, float, float]) -> Volume:
    """Binary mask of ellipsoids in a field of 160 x 80 x 180 mm, voxels of 2 x 1 x 1 mm."""
    grid = Grid.from_spacing((80, 80, 180), (2.0, 1.0, 1.0))
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1).astype(float))
    inside = np.zeros(grid.shape, dtype=np.uint8)
    for centre in centres:
        inside |= (((points - centre) / half) ** 2).sum(axis=-1) < 1
    return Volume(grid, inside)


def test_named_discs_keep_their_labels_voxels_and_order() -> None:
    spine = separate(LABELS)
    assert [disc.level for disc in spine.discs] == list(LEVELS[:6])
    assert [disc.label for disc in spine.discs] == list(range(201, 207))
    assert np.array_equal(spine.labels.array, LABELS.array)
    assert spine.labels.array.dtype == np.int16
    assert spine.labels.grid == LABELS.grid
    for disc in spine.discs:
        assert disc.flags == ()
        assert disc.mask.array.dtype == np.bool_
        assert disc.mask.array.sum() == (LABELS.array == disc.label).sum()
        index = np.argwhere(disc.mask.array)
        assert index.min() >= 1
        places = GRID.to_index(disc.mask.grid.to_world(index.astype(float)))
        assert np.all(LABELS.array[tuple(np.rint(places).astype(int).T)] == disc.label)


def test_a_binary_mask_is_counted_from_the_lowest_disc() -> None:
    spine = separate(BINARY)
    assert same_discs(spine, separate(LABELS))
    assert all(disc.flags == ("ambiguous_level",) for disc in spine.discs)


def renamed(names: dict[int, int]) -> Volume:
    """The labels with some of them changed."""
    table = np.arange(300, dtype=np.int16)
    table[list(names)] = list(names.values())
    return LABELS.with_array(table[LABELS.array])


def flagged(spine: Spine, flag: str) -> list[str]:
    """Levels of the discs with a flag."""
    return [disc.level for disc in spine.discs if flag in disc.flags]


def test_a_named_disc_too_close_to_the_next_is_flagged_and_so_is_the_gap_it_leaves() -> None:
    # 203 lies 4 mm above 202, where 203 should be is nothing.
    array = np.where(LABELS.array == 203, 0, LABELS.array)
    moved = np.roll(LABELS.array == 202, int(of_disc(202)[1][2] - of_disc(202)[0][2]) + 4, axis=2)
    array[moved & (array == 0)] = 203
    spine = separate(LABELS.with_array(array))
    assert flagged(spine, "duplicate") == ["L4/L5", "L3/L4"]
    assert flagged(spine, "missing_below") == ["L2/L3"]
    assert [disc.level for disc in spine.discs] == list(LEVELS[:6])


def test_a_level_that_a_named_mask_skips_is_flagged() -> None:
    gone = separate(renamed({203: 0}))
    assert flagged(gone, "missing_below") == ["L2/L3"]
    assert all(disc.flags == () for disc in gone.discs if disc.level != "L2/L3")
    # All discs are there, but the names jump; or the names go on where a disc is not.
    jump = separate(renamed({205: 206, 206: 207}))
    assert flagged(jump, "missing_below") == ["T12/L1"]
    assert flagged(separate(renamed({203: 0, 204: 203, 205: 204, 206: 205})), "missing_below") == ["L3/L4"]


def test_a_named_disc_out_of_line_is_flagged() -> None:
    array = np.where(LABELS.array == 203, 0, LABELS.array)
    moved = np.roll(LABELS.array == 203, 20, axis=1) & (array == 0)
    assert moved[:, :15].sum() == 0
    array[moved] = 203
    spine = separate(LABELS.with_array(array))
    assert flagged(spine, "out_of_line") == ["L3/L4"]


def test_a_name_that_two_discs_share_is_flagged_and_kept() -> None:
    array = bridged(LABELS.array, [202, 203], value=202)
    array[array == 203] = 202
    spine = separate(LABELS.with_array(array))
    assert flagged(spine, "merged") == ["L4/L5"]
    assert np.array_equal(spine.labels.array, array)


def test_two_conventions_name_the_same_discs() -> None:
    expected = separate(LABELS)
    for name in ("spineps", "totalspineseg"):
        value_of = {level: value for value, level in CONVENTIONS[name].discs.items()}
        array = np.zeros_like(LABELS.array)
        for level in LEVELS[:6]:
            array[LABELS.array == label_of_level(level)] = value_of[level]
        assert same_discs(separate(LABELS.with_array(array)), expected)


@given(order=st.permutations(list(range(6))))
@settings(max_examples=6)
def test_any_naming_of_the_levels_is_kept(order: list[int]) -> None:
    table = np.zeros(300, dtype=np.int16)
    table[201:207] = 201 + np.array(order)
    spine = separate(LABELS.with_array(table[LABELS.array]))
    assert np.array_equal(spine.labels.array, table[LABELS.array])
    assert [disc.label for disc in spine.discs] == list(range(201, 207))


@given(axes=st.permutations([0, 1, 2]), flips=st.sets(st.sampled_from([0, 1, 2])))
@settings(max_examples=6)
def test_axis_order_and_direction_change_nothing(axes: list[int], flips: set[int]) -> None:
    turned = BINARY.transposed(axes)
    for axis in sorted(flips):
        turned = turned.flipped(axis)
    spine, expected = separate(turned), separate(BINARY)
    assert spine.labels.grid == turned.grid
    assert np.array_equal(spine.labels.oriented().array, expected.labels.oriented().array)
    for disc, other in zip(spine.discs, expected.discs, strict=True):
        assert np.array_equal(disc.mask.array, other.mask.array)
        assert np.array_equal(disc.cube.array, other.cube.array)
        assert disc.cube.grid.same_as(other.cube.grid)
        assert disc.flags == other.flags


def test_the_segmenters_classes_use_the_vertebrae() -> None:
    tissue = render_tissue(SPINE, GRID)
    # A second "disc" in the sacrum, where no vertebra is above it.
    first, last = of_disc(201)
    moved = np.roll(LABELS.array == 201, -(int(last[2] - first[2]) + 12), axis=2)
    assert not (moved & (LABELS.array > 0)).any()
    tissue.array[moved] = Tissue.DISC
    found = separate(tissue, SeparateConfig(convention="tissue"))
    assert same_discs(found, separate(BINARY))
    # Without the vertebrae it is the lowest disc.
    bare = tissue.with_array((tissue.array == Tissue.DISC).astype(np.uint8))
    assert len(separate(bare).discs) == 7


def test_a_top_disc_cut_off_from_the_body_above_stays() -> None:
    tissue = render_tissue(SPINE, GRID)
    top = int(of_disc(206)[1][2])
    cut = tissue.cropped((0, 0, 0), (*tissue.array.shape[:2], top))
    spine = separate(cut, SeparateConfig(convention="tissue"))
    assert [disc.level for disc in spine.discs] == list(LEVELS[:6])
    assert "truncated" in spine.discs[-1].flags
    assert "truncated" not in spine.discs[0].flags


def test_a_body_that_the_segmenter_missed_costs_no_disc() -> None:
    tissue = render_tissue(SPINE, GRID)
    low, high = int(of_disc(203)[1][2]), int(of_disc(204)[0][2])
    between = tissue.array[:, :, low:high]
    between[between == Tissue.VERTEBRA] = Tissue.BACKGROUND
    assert same_discs(separate(tissue, SeparateConfig(convention="tissue")), separate(BINARY))


def test_levels_are_sure_where_the_sacrum_is_seen() -> None:
    tissue = render_tissue(SPINE, GRID)
    assert all(disc.flags == () for disc in separate(tissue, SeparateConfig(convention="tissue")).discs)
    without = tissue.with_array(np.where(tissue.array == Tissue.SACRUM, 0, tissue.array))
    found = separate(without, SeparateConfig(convention="tissue"))
    assert all(disc.flags == ("ambiguous_level",) for disc in found.discs)


def test_a_large_disc_within_the_sacrum_is_left_out_and_flagged() -> None:
    tissue = render_tissue(SPINE, GRID)
    # What was L5/S1 now lies between sacrum and sacrum.
    low, _ = of_disc(202)
    below = tissue.array[:, :, : int(low[2]) - 4]
    below[below == Tissue.VERTEBRA] = Tissue.SACRUM
    spine = separate(tissue, SeparateConfig(convention="tissue"))
    assert [disc.level for disc in spine.discs] == list(LEVELS[:5])
    assert all("transitional" in disc.flags for disc in spine.discs)


def test_a_missing_disc_leaves_its_level_out() -> None:
    array = np.where(LABELS.array == 203, 0, LABELS.array > 0).astype(np.uint8)
    spine = separate(BINARY.with_array(array))
    assert [disc.level for disc in spine.discs] == [level for level in LEVELS[:6] if level != "L3/L4"]
    assert ["missing_below" in disc.flags for disc in spine.discs] == [False, False, True, False, False]


def test_two_discs_in_one_gap_and_one_out_of_line_are_flagged() -> None:
    centres = [(60.0, 40.0, 15.0 + 30.0 * place) for place in range(6)]
    spine = separate(ellipsoids([*centres, (60.0, 40.0, 86.0)], (16.0, 14.0, 4.0)))
    assert [disc.level for disc in spine.discs if "duplicate" in disc.flags] == ["L3/L4", "L2/L3"]
    moved = [*centres[:2], (60.0, 54.0, 75.0), *centres[3:]]
    spine = separate(ellipsoids(moved, (16.0, 14.0, 4.0)))
    assert [disc.level for disc in spine.discs if "out_of_line" in disc.flags] == ["L3/L4"]


@pytest.mark.parametrize(("axis", "words"), [(1, "canal lies in front"), (2, "sacrum lies above")])
def test_a_spine_that_lies_wrongly_is_refused(axis: int, words: str) -> None:
    tissue = render_tissue(SPINE, GRID)
    turned = tissue.with_array(np.flip(tissue.array, axis))
    with pytest.raises(InputError, match=words):
        separate(turned, SeparateConfig(convention="tissue"))


def test_specks_are_left_out() -> None:
    array = BINARY.array.copy()
    array[0, 0, 0] = array[-1, -3:, -2:] = 1
    assert same_discs(separate(BINARY.with_array(array)), separate(BINARY))
    named = LABELS.array.copy()
    named[0, 0, :2] = 203
    assert same_discs(separate(LABELS.with_array(named)), separate(LABELS))


@pytest.mark.parametrize("labels", [LABELS, BINARY], ids=["named", "binary"])
def test_fragments_of_one_disc_are_one_disc(labels: Volume) -> None:
    array = labels.array.copy()
    low, high = of_disc(203)
    middle = int(low[1] + high[1]) // 2
    array[:, middle : middle + 2, int(low[2]) : int(high[2]) + 1] = 0
    spine = separate(labels.with_array(array))
    assert len(spine.discs) == 6
    assert np.count_nonzero(spine.labels.array) == np.count_nonzero(array)
    assert ["fragmented" in disc.flags for disc in spine.discs] == [False, False, True, False, False, False]


def test_slices_that_do_not_touch_are_still_one_disc() -> None:
    # Two millimetres high, tilted by 25 degrees in the coronal plane: each 4 mm slice stands alone.
    grid = Grid.from_spacing((20, 60, 60), (4.0, 0.5, 0.5))
    x, y, z = np.moveaxis(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1).astype(float)), -1, 0)
    x, y, z = x - 38.0, y - 14.8, z - 14.9
    inside = ((x / 24) ** 2 + (y / 13) ** 2 < 1) & (np.abs(z - np.tan(np.radians(25.0)) * x) < 0.9)
    spine = separate(Volume(grid, inside.astype(np.uint8)))
    assert len(spine.discs) == 1
    assert spine.discs[0].mask.array.sum() == inside.sum()
    assert "fragmented" in spine.discs[0].flags


def test_two_discs_that_touch_are_cut_apart() -> None:
    low, _ = of_disc(202)
    first, last = of_disc(203)
    array = BINARY.array.copy()
    x, y = int(first[0] + last[0]) // 2, int(last[1]) - 3
    array[x, y : y + 2, int(low[2]) : int(last[2])] = 1
    spine = separate(BINARY.with_array(array))
    assert [disc.level for disc in spine.discs] == list(LEVELS[:6])
    assert ["merged" in disc.flags for disc in spine.discs] == [False, True, True, False, False, False]
    expected = separate(BINARY)
    for disc, other in zip(spine.discs, expected.discs, strict=True):
        assert disc.mask.array.sum() == pytest.approx(other.mask.array.sum(), rel=0.03)


@pytest.mark.parametrize(("first", "count"), [(1, 3), (2, 3), (4, 3), (2, 4), (1, 6)])
def test_three_and_more_discs_that_touch_are_cut_apart(first: int, count: int) -> None:
    labels = list(range(200 + first, 200 + first + count))
    tissue = render_tissue(SPINE, GRID)
    whole = tissue.with_array(bridged(tissue.array, labels, value=Tissue.DISC))
    spine = separate(whole, SeparateConfig(convention="tissue"))
    assert [disc.level for disc in spine.discs] == list(LEVELS[:6])
    for disc in spine.discs:
        assert disc.flags == (("merged",) if disc.label in labels else ())
        true = np.count_nonzero(LABELS.array == disc.label)
        # Half a bridge at either side: up to 2 x 6 x 15 voxels of the smallest disc's 1800.
        assert np.count_nonzero(spine.labels.array == disc.label) == pytest.approx(true, rel=0.12)
        assert set(np.unique(LABELS.array[spine.labels.array == disc.label])) <= {0, disc.label}


@pytest.mark.parametrize("labels", [[202, 203], [202, 203, 204]], ids=["two", "three"])
def test_touching_discs_with_nothing_else_in_view_are_cut_apart(labels: list[int]) -> None:
    alone = np.isin(LABELS.array, labels).astype(np.uint8)
    spine = separate(LABELS.with_array(bridged(alone, labels, value=1)))
    assert [disc.level for disc in spine.discs] == list(LEVELS[: len(labels)])
    assert all(disc.flags == ("ambiguous_level", "merged") for disc in spine.discs)


def test_a_steep_disc_with_nothing_else_in_view_is_one() -> None:
    grid = Grid.from_spacing((30, 90, 90), (2.0, 0.75, 0.75))
    x, y, z = np.moveaxis(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1).astype(float)), -1, 0)
    x, y, z = x - 29.0, y - 33.4, z - 33.4
    along, across = 0.5 * y + 0.87 * z, 0.87 * y - 0.5 * z
    disc = (((x / 25) ** 2 + (along / 22) ** 2) < 1) & (np.abs(across) < 4)
    spine = separate(Volume(grid, disc.astype(np.uint8)))
    assert [one.flags for one in spine.discs] == [("ambiguous_level",)]


def test_a_lone_disc_larger_than_any_is_flagged() -> None:
    small = separate(ellipsoids([(80.0, 40.0, 60.0)], (25.0, 20.0, 8.0)))
    assert flagged(small, "merged") == []
    large = separate(ellipsoids([(80.0, 40.0, 60.0)], (29.0, 25.0, 11.0)))
    assert flagged(large, "merged") == ["L5/S1"]


def test_what_cannot_be_cut_is_flagged() -> None:
    centres = [(40.0, 40.0, 20.0 + 33.0 * place) for place in range(5)]
    mask = ellipsoids(centres, (22.0, 16.0, 5.0))
    mask.array[10:30, 26:54, 86:120] = 1
    spine = separate(mask)
    assert ["merged" in disc.flags for disc in spine.discs] == [False, False, True, False]
    large = ellipsoids(centres, (12.0, 9.0, 4.0))
    large.array[:] |= ellipsoids(centres[2:3], (28.0, 22.0, 5.0)).array
    assert "merged" in separate(large).discs[2].flags


def test_of_very_many_parts_the_larger_group_is_the_spine() -> None:
    places = [(60.0 + 4 * (n % 7), 60.0, 6.0 + 4 * (n // 7)) for n in range(280)]
    far = [(1500.0, 60.0, 20.0 + 20 * n) for n in range(3)]
    parts = [
        Part(0, np.zeros((1, 3), dtype=int), np.array([place]), volume_mm3=1.0, solid_mm3=1.0)
        for place in places + far
    ]
    assert _one_spine(parts, SeparateConfig()) == parts[: len(places)]


def test_what_stands_aside_of_the_spine_is_no_disc() -> None:
    centres = [(30.0, 40.0, 20.0 + 33.0 * place) for place in range(4)]
    mask = ellipsoids(centres, (16.0, 14.0, 5.0))
    aside = ellipsoids([(145.0, 40.0, 60.0)], (8.0, 8.0, 6.0))
    found = separate(mask.with_array(mask.array | aside.array))
    assert same_discs(found, separate(mask))


def test_a_few_slices_and_the_border_are_flagged() -> None:
    first, last = of_disc(201)
    x = int(first[0] + last[0]) // 2
    slab = LABELS.cropped((x, 0, 0), (x + 2, *LABELS.array.shape[1:]))
    assert all({"few_slices", "truncated"} <= set(disc.flags) for disc in separate(slab).discs)


def test_a_disc_too_large_for_its_cube_is_flagged_and_cropped() -> None:
    grid = Grid.from_spacing((60, 50, 30), (2.0, 2.0, 2.0))
    array = np.zeros(grid.shape, dtype=np.uint8)
    array[2:58, 10:40, 10:15] = 1
    disc = separate(Volume(grid, array)).discs[0]
    assert "cropped_cube" in disc.flags
    assert disc.cube.array.any(axis=(1, 2)).all()
    assert disc.cube.array.sum() * np.prod(CUBE_SPACING_MM) == pytest.approx(64 * 1.4 * 60 * 10, rel=0.15)


def test_cubes_are_centred_upright_and_keep_the_volume() -> None:
    for disc in separate(LABELS).discs:
        assert disc.cube.grid.shape == CUBE_SHAPE
        assert disc.cube.grid.spacing_mm == pytest.approx(CUBE_SPACING_MM)
        assert disc.cube.grid.direction == pytest.approx(np.eye(3))
        volume = disc.mask.array.sum() * disc.mask.grid.voxel_volume_mm3
        assert disc.cube.array.sum() * disc.cube.grid.voxel_volume_mm3 == pytest.approx(volume, rel=0.005)
        centroid = disc.mask.grid.to_world(np.argwhere(disc.mask.array).mean(axis=0))
        assert disc.cube.grid.to_world(np.full(3, 31.5)) == pytest.approx(centroid, abs=1e-6)


def test_discs_without_a_level_of_ours_are_left_out(caplog: pytest.LogCaptureFixture) -> None:
    array = np.where(LABELS.array > 0, LABELS.array.astype(int) * 0, 0)
    for place, value in enumerate([125, 124, 123, 122, 121, 120]):
        array[LABELS.array == 201 + place] = value
    with caplog.at_level(logging.WARNING):
        spine = separate(LABELS.with_array(array))
    assert [disc.level for disc in spine.discs] == list(LEVELS[:5])
    assert "125" in caplog.text


@pytest.mark.parametrize(
    ("array", "config", "words"),
    [
        (np.zeros((5, 5, 5), dtype=np.uint8), SeparateConfig(), "empty"),
        (
            np.zeros((5, 5, 5), dtype=np.uint8),
            SeparateConfig(convention="tissue"),
            "no disc among the tissues",
        ),
        (np.full((5, 5, 5), 0.5), SeparateConfig(), "whole numbers"),
        (np.full((5, 5, 5), np.inf), SeparateConfig(), "whole numbers"),
        (np.full((5, 5, 5), np.nan, dtype=np.float32), SeparateConfig(), "whole numbers"),
        (np.ones((5, 5, 5), dtype=np.complex64), SeparateConfig(), "whole numbers"),
        (np.ones((5, 5, 5), dtype=np.uint8), SeparateConfig(convention="other"), "'other'"),
        (np.ones((5, 5, 5), dtype=np.uint8), SeparateConfig(convention="spider"), "no disc"),
        (np.ones((5, 5, 5), dtype=np.uint8), SeparateConfig(), "no disc"),
        (np.full((5, 5, 5), -7, dtype=np.int16), SeparateConfig(), "-7"),
    ],
    ids=str,
)
def test_a_mask_without_discs_is_refused_in_one_line(
    array: np.ndarray, config: SeparateConfig, words: str
) -> None:
    with pytest.raises(LabelError) as caught:
        separate(Volume(Grid.from_spacing(array.shape, (1.0, 1.0, 1.0)), array), config)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_parts_than_levels_are_refused() -> None:
    grid = Grid.from_spacing((8, 8, 250), (2.0, 2.0, 2.0))
    array = np.zeros(grid.shape, dtype=np.uint8)
    for place in range(24):
        array[1:7, 1:7, 10 * place + 2 : 10 * place + 5] = 1
    with pytest.raises(LabelError, match="24 separate parts"):
        separate(Volume(grid, array))


def test_masks_of_floats_and_booleans_are_labels_too() -> None:
    expected = separate(BINARY)
    assert same_discs(separate(BINARY.with_array(BINARY.array.astype(np.float32))), expected)
    assert same_discs(separate(BINARY.with_array(BINARY.array.astype(bool))), expected)


def real_mask(path: Path) -> Volume:
    """A mask as it is in the file."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(path))
    array = sitk.GetArrayFromImage(image).T
    direction = np.array(image.GetDirection()).reshape(3, 3)
    grid = Grid.from_spacing(
        array.shape, image.GetSpacing(), origin_mm=image.GetOrigin(), direction=direction
    )
    return Volume(grid, array)


# The most bent spine, and one with a steep L5/S1.
@pytest.mark.parametrize("name", ["masks/241_t2_SPACE", "masks/209_t2_SPACE"])
def test_no_real_mask_is_out_of_order(shared_data: Path, name: str) -> None:
    mask = real_mask(shared_data / "spider" / f"{name}.mha")
    for labels in (mask, mask.with_array((mask.array > 200).astype(np.uint8))):
        found = {flag for disc in separate(labels).discs for flag in disc.flags}
        assert found <= {"ambiguous_level", "truncated"}


def test_a_real_spine_of_seven_discs(shared_data: Path) -> None:
    mask = real_mask(shared_data / "spider" / "masks_full" / "1_t1.mha")
    array, grid = mask.array, mask.grid
    spine = separate(mask)
    assert all(disc.flags == () for disc in spine.discs)
    assert [disc.level for disc in spine.discs] == list(LEVELS[:7])
    counted = separate(Volume(grid, (array > 200).astype(np.uint8)))
    assert [disc.level for disc in counted.discs] == list(LEVELS[:7])
    assert all(disc.flags == ("ambiguous_level",) for disc in counted.discs)
    assert np.count_nonzero(counted.labels.array != spine.labels.array) <= 20
