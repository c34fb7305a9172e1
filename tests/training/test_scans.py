from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from discometry.core.anatomy import Tissue
from discometry.core.errors import InputError
from discometry.core.phantom import phantom_grid, render_discs, sample_phantom
from discometry.core.volume import Grid, Volume
from discometry.io.images import write_volume
from discometry.training.scans import (
    MAYBE_SACRUM,
    Scan,
    phantom_scans,
    read_scans,
    split_patients,
    tissue_of_mask,
)

SPACING = (4.0, 3.0, 3.0)  # coarse: quick


def test_phantoms_hold_every_tissue_and_are_reproducible() -> None:
    phantoms = phantom_scans(2, seed=3, spacing_mm=SPACING)
    for scan in phantoms:
        assert set(np.unique(scan.tissue)) == {int(tissue) for tissue in Tissue}
        assert scan.spacing_mm == pytest.approx((3.2, 2.4, 2.4))
    again = phantom_scans(2, seed=3, spacing_mm=SPACING)
    assert all(np.array_equal(a.tissue, b.tissue) for a, b in zip(phantoms, again, strict=True))
    assert phantom_scans(1, seed=4, spacing_mm=SPACING)[0].tissue.sum() != phantoms[0].tissue.sum()


def test_no_patient_is_on_both_sides() -> None:
    tissue = np.zeros((2, 2, 2), dtype=np.uint8)
    scans = [
        Scan(f"{patient}_t2", str(patient), SPACING, tissue, image=tissue.astype(np.float32))
        for patient in (1, 1, 2, 3, 4, 4, 5)
    ]
    train, valid = split_patients(scans, part=0.4, seed=0)
    assert len(train) + len(valid) == len(scans)
    assert {s.patient for s in train}.isdisjoint({s.patient for s in valid})
    assert len({s.patient for s in valid}) == 2
    assert split_patients([], part=0.4, seed=0) == ([], [])


def test_background_below_the_lowest_disc_may_be_sacrum_unless_the_mask_knows_it() -> None:
    array = np.zeros((4, 12, 30), dtype=np.int16)
    array[:, 2:8, 10:13] = 201
    array[:, 2:8, 14:20] = 1
    array[:, 2:8, 21:24] = 202
    mask = Volume(Grid.from_spacing(array.shape, (1, 1, 1)), array)
    tissue = tissue_of_mask(mask)
    assert (tissue[:, :, 13:][array[:, :, 13:] == 0] == Tissue.BACKGROUND).all()
    assert (tissue[:, :, :10] == MAYBE_SACRUM).all()
    assert set(np.unique(tissue)) == {0, int(Tissue.VERTEBRA), int(Tissue.DISC), MAYBE_SACRUM}
    array[:] = np.where(array == 201, 100, np.where(array == 202, 95, np.where(array == 1, 45, 0)))
    array[:, 2:8, 2:9] = 50  # TotalSpineSeg's sacrum
    assert set(np.unique(tissue_of_mask(mask))) == {0, 1, 3, int(Tissue.SACRUM)}


@pytest.mark.parametrize("flaw", ["none", "speck", "fragment", "bridge"])
def test_discs_without_names_begin_the_sacrum_where_named_ones_do(flaw: str) -> None:
    phantom = sample_phantom(3, n_discs=5)
    named = render_discs(phantom, phantom_grid(phantom, spacing_mm=(2.0, 1.0, 1.0))).oriented()
    unnamed = (named.array > 0).astype(np.uint8)
    middles = [np.argwhere(named.array == label).mean(axis=0).round().astype(int) for label in (201, 202)]
    (i, j, k), (_, _, above) = middles
    if flaw == "speck":
        unnamed[i : i + 2, j, :2] = 1
    elif flaw == "fragment":
        unnamed[i : i + 2][named.array[i : i + 2] == 201] = 0
    elif flaw == "bridge":
        unnamed[i, j - 1 : j + 1, k:above] = 1
    truth = tissue_of_mask(named) == MAYBE_SACRUM
    found = tissue_of_mask(Volume(named.grid, unnamed)) == MAYBE_SACRUM
    tops = [int(np.flatnonzero(array.any(axis=(0, 1))).max()) for array in (truth, found)]
    assert abs(tops[0] - tops[1]) <= (0 if flaw in ("none", "speck") else 2), tops  # voxels of 1 mm


def test_a_scan_has_intensities_or_codes() -> None:
    tissue = np.zeros((2, 2, 2), dtype=np.uint8)
    with pytest.raises(InputError, match="neither"):
        Scan("a", "a", SPACING, tissue)


def test_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image with a mask"):
        read_scans(tmp_path, spacing_mm=SPACING)


def test_folder_that_does_not_exist_is_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"the folder '.*nowhere' does not exist"):
        read_scans(tmp_path / "nowhere", spacing_mm=SPACING)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file' is no folder"):
        read_scans(tmp_path / "file", spacing_mm=SPACING)


def test_patients_held_out_are_not_read_and_must_be_there(tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    array = np.zeros((4, 12, 30), dtype=np.uint8)
    array[:, 2:8, 10:13] = 201
    volume = Volume(Grid.from_spacing(array.shape, SPACING), array)
    for patient in (1, 2, 3):
        for kind in ("images", "masks"):
            write_volume(volume, tmp_path / kind / f"{patient}_t2.nii.gz")
    (tmp_path / "images" / "2_t2.nii.gz").write_text("no image")
    scans = read_scans(tmp_path, spacing_mm=SPACING, held_out=("2",))
    assert [scan.patient for scan in scans] == ["1", "3"]
    with pytest.raises(InputError, match="no scan of '002', '01' to hold out; expected some of 1, 2, 3"):
        read_scans(tmp_path, spacing_mm=SPACING, held_out=("01", "002", "3"))


def test_real_slabs_are_read_with_their_tissues(shared_data: Path, tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "5_t2_SPACE.mha").symlink_to(
            (shared_data / "spider" / kind / "5_t2_SPACE.mha").resolve()
        )
    (scan,) = read_scans(tmp_path, spacing_mm=(2.0, 0.9, 0.9))
    assert scan.patient == "5"
    assert scan.image is not None
    assert scan.image.shape == scan.tissue.shape
    assert set(np.unique(scan.tissue)) == {0, 1, 2, 3, MAYBE_SACRUM}
