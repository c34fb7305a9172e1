from __future__ import annotations

import numpy as np
import pytest

from discometry.core.anatomy import Tissue
from discometry.core.phantom_anatomy import Structure
from discometry.core.phantom_paint import DISC_CODE
from discometry.training.contrast import (
    colour_codes,
    degrade,
    endplate_changes,
    recolour,
    smooth_noise,
    textured,
)
from discometry.training.scans import MAYBE_SACRUM


def test_every_disc_has_a_nucleus_of_its_own_brightness() -> None:
    signal, unevenness = colour_codes(np.random.default_rng(0))
    assert signal.shape == unevenness.shape == (256,)
    assert np.isfinite(signal).all()
    nuclei = signal[DISC_CODE + 2 : DISC_CODE + 2 + 8 * 6 : 8]
    assert np.unique(nuclei).size == nuclei.size
    assert 0 <= signal[Structure.AIR] <= 0.05
    other, _ = colour_codes(np.random.default_rng(1))
    assert not np.allclose(signal, other)


def test_noise_has_the_grain_it_is_asked_for() -> None:
    fine, coarse = (smooth_noise((40, 40, 40), np.random.default_rng(0), grain) for grain in (2.0, 12.0))
    for field in (fine, coarse):
        assert field.std() == pytest.approx(1, abs=1e-3)
    steps = [np.abs(np.diff(field, axis=1)).mean() for field in (fine, coarse)]
    assert steps[0] > 2 * steps[1]


@pytest.mark.parametrize("seed", range(8))
def test_flaws_keep_shape_and_finite_values(seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((10, 24, 20)).astype(np.float32)
    target = rng.integers(0, 5, image.shape).astype(np.uint8)
    for changed in (
        recolour(image, target, rng),
        textured(image, np.full(image.shape, 0.1, np.float32), rng),
        degrade(image, rng, (2.0, 0.9, 0.9)),
    ):
        assert changed.shape == image.shape
        assert np.isfinite(changed).all()


def test_noise_may_have_a_grain_of_its_own_along_each_axis() -> None:
    field = smooth_noise((40, 40, 40), np.random.default_rng(0), np.array([2.0, 12.0, 12.0]))
    assert np.abs(np.diff(field, axis=0)).mean() > 2 * np.abs(np.diff(field, axis=1)).mean()


def test_endplates_change_in_the_marrow_beside_discs_and_less_farther_off() -> None:
    target = np.full((12, 40, 60), Tissue.VERTEBRA, dtype=np.uint8)
    target[:, :, :8] = Tissue.BACKGROUND
    target[:, :, 28:33] = Tissue.DISC
    image = np.random.default_rng(0).standard_normal(target.shape).astype(np.float32)
    changes = np.mean(
        [
            np.abs(endplate_changes(image, target, np.random.default_rng(seed), (2.0, 0.9, 0.9)) - image)
            for seed in range(12)
        ],
        axis=(0, 1, 2),
    )
    assert changes[:8].max() == changes[28:33].max() == 0
    assert changes[33] > 0.1
    assert changes[33] > 4 * changes[45]
    assert changes[27] > 4 * changes[12]


def test_what_may_be_sacrum_is_shifted_as_background_is() -> None:
    image = np.random.default_rng(0).standard_normal((6, 20, 20)).astype(np.float32)
    target = np.zeros(image.shape, dtype=np.uint8)
    unsure, disc = target.copy(), target.copy()
    unsure[:, :, :10] = MAYBE_SACRUM
    disc[:, :, :10] = Tissue.DISC
    shifted = 0
    for seed in range(12):
        changed, same, other = (
            recolour(image, labels, np.random.default_rng(seed)) for labels in (target, unsure, disc)
        )
        np.testing.assert_allclose(same, changed, atol=1e-6)
        shifted += not np.array_equal(other, changed)
    assert shifted > 0
