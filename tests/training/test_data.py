from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from discometry.core.anatomy import Tissue
from discometry.core.errors import InputError
from discometry.training.data import (
    IGNORED,
    PatchConfig,
    Scan,
    draw_patch,
    phantom_scans,
    read_scans,
    split_patients,
)

SPACING = (2.8, 2.4, 3.0)  # twice the working voxel: quick


@pytest.fixture(scope="module")
def phantoms() -> list[Scan]:
    return phantom_scans(2, seed=3, spacing_mm=SPACING)


def slab(patient: str = "7", shape: tuple[int, int, int] = (12, 40, 48)) -> Scan:
    """A made-up scan: a stack of discs and bodies, brighter by tissue."""
    tissue = np.zeros(shape, dtype=np.uint8)
    tissue[:, 8:24] = Tissue.VERTEBRA
    tissue[:, 26:32] = Tissue.CANAL
    for low in (6, 22, 38):
        tissue[:, 8:24, low : low + 5] = Tissue.DISC
    noise = np.random.default_rng(0).normal(0, 0.1, shape)
    return Scan(f"{patient}_t2", patient, tissue, image=(tissue + noise).astype(np.float32))


def test_phantoms_hold_every_tissue_and_are_reproducible(phantoms: list[Scan]) -> None:
    for scan in phantoms:
        assert set(np.unique(scan.tissue)) == {int(tissue) for tissue in Tissue}
    again = phantom_scans(2, seed=3, spacing_mm=SPACING)
    assert all(np.array_equal(a.tissue, b.tissue) for a, b in zip(phantoms, again, strict=True))
    assert phantom_scans(1, seed=4, spacing_mm=SPACING)[0].tissue.sum() != phantoms[0].tissue.sum()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["phantom", "slab"])
def test_patches_are_standardised_and_repeatable(kind: str, seed: int, phantoms: list[Scan]) -> None:
    scan = phantoms[0] if kind == "phantom" else slab()
    config = PatchConfig(patch=(16, 32, 32), spacing_mm=SPACING)
    image, target = draw_patch(scan, np.random.default_rng(seed), config)
    again, _ = draw_patch(scan, np.random.default_rng(seed), config)
    assert np.array_equal(image, again)
    assert image.shape == (1, *target.shape)
    assert image.dtype == np.float32
    assert np.isfinite(image).all()
    inside = target != IGNORED
    assert inside.mean() > 0.3
    assert set(np.unique(target[inside])) <= {int(tissue) for tissue in Tissue}
    assert (image[0][~inside] == 0).all()
    assert abs(image[0][inside].mean()) < 1.5
    assert 0.4 < image[0][inside].std() < 2.5


def test_thin_scans_give_thin_patches() -> None:
    _, target = draw_patch(slab(shape=(6, 40, 48)), np.random.default_rng(0), PatchConfig(patch=(32, 32, 32)))
    assert target.shape == (16, 32, 32)


def test_most_patches_hold_disc() -> None:
    config = PatchConfig(patch=(16, 16, 16), disc_share=1.0)
    held = [(draw_patch(slab(), np.random.default_rng(s), config)[1] == Tissue.DISC).any() for s in range(20)]
    assert np.mean(held) >= 0.9


def test_no_patient_is_on_both_sides() -> None:
    scans = [slab(str(patient)) for patient in (1, 1, 2, 3, 4, 4, 5)]
    train, valid = split_patients(scans, part=0.4, seed=0)
    assert len(train) + len(valid) == len(scans)
    assert {s.patient for s in train}.isdisjoint({s.patient for s in valid})
    assert len({s.patient for s in valid}) == 2


def test_folder_without_pairs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image with a mask"):
        read_scans(tmp_path, spacing_mm=SPACING)


def test_real_slabs_are_read_with_their_tissues(shared_data: Path, tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / "5_t2_SPACE.mha").symlink_to(
            (shared_data / "spider" / kind / "5_t2_SPACE.mha").resolve()
        )
    (scan,) = read_scans(tmp_path, spacing_mm=(1.4, 1.2, 1.5))
    assert scan.patient == "5"
    assert scan.image is not None
    assert scan.image.shape == scan.tissue.shape
    assert set(np.unique(scan.tissue)) == {0, 1, 2, 3}
