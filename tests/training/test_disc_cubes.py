from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from discometry.core.errors import InputError
from discometry.core.phantom import phantom_grid, render_discs, sample_phantom
from discometry.core.records import CUBE_SHAPE
from discometry.core.volume import Volume
from discometry.io.images import write_volume
from discometry.training.disc_cubes import CubeSet, PhantomCubes, cubes_of_masks, phantom_cubes


@pytest.fixture(scope="module")
def phantoms() -> CubeSet:
    return phantom_cubes(PhantomCubes(discs=12, seed=4, shift_mm=0.0))


def test_phantom_discs_fill_their_cubes_middle(phantoms: CubeSet) -> None:
    assert phantoms.cubes.shape == (12, *CUBE_SHAPE)
    assert phantoms.cubes.dtype == bool
    for cube in phantoms.cubes:
        inside = np.argwhere(cube)
        assert 800 < len(inside) < 12_000  # 2 to 30 cm3
        np.testing.assert_allclose(inside.mean(axis=0), 31.5, rtol=0, atol=0.2)
        assert inside.min() > 0
        assert inside.max() < 63


def test_spines_are_whole_and_in_order(phantoms: CubeSet) -> None:
    first = phantoms.spines.count("phantom0000")
    assert 5 <= first <= 8
    assert phantoms.spines[:first] == ("phantom0000",) * first
    assert phantoms.spines[first] == "phantom0001"


def test_seed_decides_the_discs(phantoms: CubeSet) -> None:
    again = phantom_cubes(PhantomCubes(discs=2, seed=4, shift_mm=0.0))
    np.testing.assert_array_equal(again.cubes, phantoms.cubes[:2])
    other = phantom_cubes(PhantomCubes(discs=2, seed=5, shift_mm=0.0))
    assert (other.cubes != again.cubes).any()


def test_cubes_are_shifted_by_no_more_than_asked(phantoms: CubeSet) -> None:
    shifted = phantom_cubes(PhantomCubes(discs=2, seed=4, shift_mm=4.0))
    for cube, straight in zip(shifted.cubes, phantoms.cubes, strict=False):
        by_mm = (np.argwhere(cube).mean(axis=0) - np.argwhere(straight).mean(axis=0)) * (1.4, 1.2, 1.5)
        assert 0.5 < np.abs(by_mm).max() < 4.5


def test_split_keeps_spines_together() -> None:
    cubes = np.arange(20)[:, None, None, None] * np.ones((1, 1, 1, 1), dtype=bool)
    whole = CubeSet(cubes, tuple(f"s{n // 2}" for n in range(20)))
    training, held = whole.split(part=0.3, seed=0)
    assert len(set(held.spines)) == 3
    assert not set(held.spines) & set(training.spines)
    assert sorted([*training.cubes.ravel(), *held.cubes.ravel()]) == list(range(20))
    for part in (training, held):
        assert [f"s{int(value) // 2}" for value in part.cubes.ravel()] == list(part.spines)
    again, _ = whole.split(part=0.3, seed=0)
    assert again.spines == training.spines


def test_one_spine_cannot_be_split() -> None:
    with pytest.raises(InputError, match="1 spine"):
        CubeSet(np.zeros((2, 1, 1, 1), dtype=bool), ("a", "a")).split(part=0.5, seed=0)


@pytest.fixture(scope="module")
def spine() -> Volume:
    phantom = sample_phantom(3, n_discs=2)
    return render_discs(phantom, phantom_grid(phantom, spacing_mm=(3.0, 1.5, 1.5)))


def test_masks_become_cubes_and_cut_discs_do_not(tmp_path: Path, spine: Volume) -> None:
    (tmp_path / "masks").mkdir()
    write_volume(spine, tmp_path / "masks" / "7_t1.nii.gz")
    sides = spine.oriented()
    middle = sides.grid.shape[0] // 2
    slab = sides.cropped((middle - 3, 0, 0), (middle + 3, *sides.grid.shape[1:]))
    write_volume(slab, tmp_path / "masks" / "8_t1.mha")
    (tmp_path / "masks" / "notes.txt").write_text("not a mask")
    found = cubes_of_masks(tmp_path)
    assert found.spines == ("7", "7")
    assert cubes_of_masks(tmp_path / "masks").spines == ("7", "7")
    for cube, label in zip(found.cubes, (201, 202), strict=True):
        volume = (spine.array == label).sum() * spine.grid.voxel_volume_mm3
        assert cube.sum() * 2.52 == pytest.approx(volume, rel=0.01)


def test_a_folder_without_whole_discs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 masks with no complete disc"):
        cubes_of_masks(tmp_path)
