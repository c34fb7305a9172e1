"""Signal of a disc: known ratios of a painted volume, and what must not change them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discometry.core.records import CUBE_SHAPE, CUBE_SPACING_MM, Disc, Intensity
from discometry.core.volume import Grid, Volume
from discometry.stages.intensity import intensity
from discometry.stages.separate import separate

SHAPE, SPACING = (10, 50, 40), (4.0, 1.0, 1.0)
GRID = Grid.from_spacing(SHAPE, SPACING, origin_mm=(-20.0, 5.0, 100.0))
DISC, BONE, CANAL = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
DISC[2:8, 5:35, 16:23] = True
BONE[2:8, 5:35, 5:15] = True
CANAL[3:7, 38:45, :] = True


def painted() -> Volume:
    """Disc 60, its middle third 120, bone 200, canal 300, all else 7."""
    array = np.full(SHAPE, 7.0, np.float32)
    array[DISC] = 60
    array[2:8, 14:26, 16:23] = 120
    array[BONE], array[CANAL] = 200, 300
    return Volume(GRID, array)


def disc_of(mask: Volume) -> Disc:
    """Cut the mask out with a margin, as separate does."""
    inside = np.argwhere(mask.array)
    low, high = inside.min(axis=0) - 2, inside.max(axis=0) + 3
    cut = mask.cropped(np.maximum(low, 0).tolist(), np.minimum(high, mask.grid.shape).tolist())
    cube = Volume(Grid.from_spacing(CUBE_SHAPE, CUBE_SPACING_MM), np.zeros(CUBE_SHAPE, bool))
    return Disc(202, "L4/L5", cut, cube)


THE_DISC = disc_of(Volume(GRID, DISC))
VERTEBRAE, DURAL_SAC = Volume(GRID, BONE), Volume(GRID, CANAL)


def test_known_ratios() -> None:
    found = intensity(painted(), THE_DISC, VERTEBRAE, DURAL_SAC)
    assert found.signal_over_vertebrae == pytest.approx(60 / 200, abs=1e-6)
    assert found.signal_over_canal == pytest.approx(60 / 300, abs=1e-6)
    assert found.signal_nucleus_over_annulus == pytest.approx(2.0, abs=1e-6)


@given(st.floats(1e-3, 1e3))
def test_the_scale_of_the_signal_does_not_matter(scale: float) -> None:
    one, other = painted(), painted()
    other = other.with_array(other.array * np.float32(scale))
    expected = intensity(one, THE_DISC, VERTEBRAE, DURAL_SAC).values()
    found = intensity(other, THE_DISC, VERTEBRAE, DURAL_SAC).values()
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("turn", ["left", "back", "up", "order"])
def test_how_the_file_stores_its_axes_does_not_matter(turn: str) -> None:
    def stored(volume: Volume) -> Volume:
        if turn == "order":
            return volume.transposed((2, 0, 1))
        return volume.flipped(["left", "back", "up"].index(turn))

    def read(volume: Volume) -> Volume:
        return stored(volume).oriented()

    rng = np.random.default_rng(0)
    noisy = painted().with_array(painted().array + rng.normal(0, 5, SHAPE).astype(np.float32))
    mask, bone, sac = (read(one) for one in (Volume(GRID, DISC), VERTEBRAE, DURAL_SAC))
    found = intensity(read(noisy), disc_of(mask), bone, sac)
    assert found.values() == pytest.approx(
        intensity(noisy, THE_DISC, VERTEBRAE, DURAL_SAC).values(), abs=1e-9
    )


def test_a_mirrored_disc_has_the_same_signal() -> None:
    """Front and back count alike: annulus is both."""
    mirrored = painted().with_array(painted().array[:, ::-1].copy())
    parts = (Volume(GRID, part[:, ::-1].copy()) for part in (BONE, CANAL))
    found = intensity(mirrored, disc_of(Volume(GRID, DISC[:, ::-1].copy())), *parts)
    assert found.values() == pytest.approx(
        intensity(painted(), THE_DISC, VERTEBRAE, DURAL_SAC).values(), abs=1e-9
    )


def test_what_lies_far_away_does_not_count() -> None:
    grid = Grid.from_spacing((10, 50, 120), SPACING)
    array = np.full(grid.shape, 100.0, np.float32)
    bone = np.zeros(grid.shape, bool)
    bone[2:8, 5:35, [10, 11, 12, 100, 101, 102]] = True
    array[..., 90:] = 900
    inside = np.zeros(grid.shape, bool)
    inside[2:8, 5:35, 16:23] = True
    found = intensity(Volume(grid, array), disc_of(Volume(grid, inside)), Volume(grid, bone))
    assert found.signal_over_vertebrae == 1.0


def unknown(found: Intensity) -> list[str]:
    return [name for name, value in found.values().items() if np.isnan(value)]


def test_no_image_no_signal() -> None:
    assert unknown(intensity(None, THE_DISC, VERTEBRAE, DURAL_SAC)) == list(Intensity.meanings())


def test_what_is_not_labelled_gives_no_ratio() -> None:
    assert unknown(intensity(painted(), THE_DISC)) == ["signal_over_vertebrae", "signal_over_canal"]
    assert unknown(intensity(painted(), THE_DISC, VERTEBRAE)) == ["signal_over_canal"]


def test_nineteen_voxels_are_too_few() -> None:
    for count, missing in ((19, ["signal_over_canal"]), (20, [])):
        few = np.zeros(SHAPE, bool)
        few[5, 40, :count] = True
        assert unknown(intensity(painted(), THE_DISC, VERTEBRAE, Volume(GRID, few))) == missing


def test_a_neighbour_without_signal_gives_no_ratio() -> None:
    dark = painted()
    array = dark.array.copy()
    array[CANAL] = 0
    assert unknown(intensity(dark.with_array(array), THE_DISC, VERTEBRAE, DURAL_SAC)) == ["signal_over_canal"]


def test_the_masks_own_parts_give_the_same_answer() -> None:
    labels = np.zeros(SHAPE, np.int16)
    labels[DISC], labels[BONE], labels[CANAL] = 202, 2, 100
    spine = separate(Volume(GRID, labels))
    assert spine.canal is not None
    np.testing.assert_array_equal(spine.canal.array, CANAL)
    found = intensity(painted(), spine.discs[0], spine.vertebrae, spine.canal)
    expected = intensity(painted(), THE_DISC, VERTEBRAE, DURAL_SAC)
    assert found.values() == pytest.approx(expected.values(), abs=1e-9)
