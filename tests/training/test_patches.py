from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from discometry.core.anatomy import Tissue
from discometry.training.patches import PatchConfig, draw_patch, whole_scan
from discometry.training.scans import IGNORED, Scan, phantom_scans

SPACING = (4.0, 3.0, 3.0)  # coarse: quick
SMALL = PatchConfig(patch=(16, 32, 32), divisor=(8, 8, 8), spacing_mm=SPACING, cut_share=0.0)


@pytest.fixture(scope="module")
def phantoms() -> list[Scan]:
    return phantom_scans(2, seed=3, spacing_mm=SPACING)


def slab(shape: tuple[int, int, int] = (12, 40, 48)) -> Scan:
    """A made-up scan: a stack of discs and bodies, brighter by tissue."""
    tissue = np.zeros(shape, dtype=np.uint8)
    tissue[:, 8:24] = Tissue.VERTEBRA
    tissue[:, 26:32] = Tissue.CANAL
    for low in (6, 22, 38):
        tissue[:, 8:24, low : low + 5] = Tissue.DISC
    noise = np.random.default_rng(0).normal(0, 0.1, shape)
    return Scan("7_t2", "7", SPACING, tissue, image=(tissue + noise).astype(np.float32))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["phantom", "slab"])
def test_patches_are_standardised_and_repeatable(kind: str, seed: int, phantoms: list[Scan]) -> None:
    scan = phantoms[0] if kind == "phantom" else slab()
    image, target = draw_patch(scan, np.random.default_rng(seed), SMALL)
    again, _ = draw_patch(scan, np.random.default_rng(seed), SMALL)
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
    config = PatchConfig(patch=(32, 32, 32), divisor=(8, 16, 16), spacing_mm=SPACING)
    _, target = draw_patch(slab((6, 40, 48)), np.random.default_rng(0), config)
    assert target.shape == (8, 32, 32)


def test_most_patches_hold_disc() -> None:
    config = PatchConfig(patch=(16, 16, 16), divisor=(8, 8, 8), spacing_mm=SPACING, disc_share=1.0)
    held = [(draw_patch(slab(), np.random.default_rng(s), config)[1] == Tissue.DISC).any() for s in range(20)]
    assert np.mean(held) >= 0.9


def test_the_field_of_view_may_end_within_a_patch() -> None:
    config = PatchConfig(patch=(16, 32, 32), divisor=(8, 8, 8), spacing_mm=SPACING, cut_share=1.0)
    shares = [
        (draw_patch(slab((40, 90, 90)), np.random.default_rng(s), config)[1] == IGNORED).mean()
        for s in range(12)
    ]
    assert max(shares) > 0.1


def test_anatomy_is_bent_smoothly() -> None:
    def edges(bend_mm: float) -> NDArray[np.int_]:
        """Where disc begins on a flat endplate, voxels, over the slices and from front to back."""
        config = replace(
            SMALL, bend_mm=bend_mm, rotation_deg=(0, 0, 0), shear=0.0, scale=(1.0, 1.0), disc_share=0.0
        )
        scan = slab((16, 32, 32))
        scan.tissue[:] = np.where(np.arange(32) < 16, Tissue.VERTEBRA, Tissue.DISC)
        _, target = draw_patch(scan, np.random.default_rng(1), config)
        return (target == Tissue.DISC).argmax(axis=2)[4:-4, 8:-8]  # beside what lies beyond the scan

    assert np.ptp(edges(0.0)) == 0
    bent = edges(9.0)
    assert np.ptp(bent) >= 2
    assert np.abs(np.diff(bent, axis=0)).max() <= 2
    assert np.abs(np.diff(bent, axis=1)).max() <= 2


def test_tissue_and_intensities_stay_together() -> None:
    """Where nothing is recoloured the tissue can be read off the intensities at its middle."""
    whole = whole_scan(slab(), (2.0, 3.0, 1.5))
    assert whole.image is not None
    assert whole.tissue.shape == (24, 40, 96)
    for tissue in (Tissue.DISC, Tissue.VERTEBRA):
        assert np.median(whole.image[whole.tissue == tissue]) == pytest.approx(tissue, abs=0.15)


def test_a_whole_phantom_gets_a_contrast_that_the_seed_fixes(phantoms: list[Scan]) -> None:
    first, again, other = (whole_scan(phantoms[0], SPACING, seed=seed) for seed in (1, 1, 2))
    assert first.image is not None
    assert other.image is not None
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, other.image)
    assert first.image.mean() == pytest.approx(0, abs=1e-3)
