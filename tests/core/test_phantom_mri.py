"""The MRI of a phantom: contrast, partial volume, noise, fields and seeds."""

from __future__ import annotations

import numpy as np
import pytest

from discometry.core.errors import InputError
from discometry.core.phantom import (
    Phantom,
    Structure,
    phantom_grid,
    render_mri,
    render_structures,
    sample_phantom,
)
from discometry.core.phantom_mri import CONTRASTS, _smooth_field
from discometry.core.volume import Grid

CLEAN = {"noise": 0.0, "bias": 0.0, "coil": 0.0, "texture": 0.0, "variation": 0.0}


@pytest.fixture(scope="module")
def spine() -> Phantom:
    return sample_phantom(2, n_discs=2)


@pytest.fixture(scope="module")
def grid(spine: Phantom) -> Grid:
    return phantom_grid(spine, spacing_mm=(3.0, 1.5, 1.5), lateral_mm=60.0)


@pytest.mark.parametrize("contrast", ["t1", "t2"])
def test_tissues_have_their_signal(spine: Phantom, grid: Grid, contrast: str) -> None:
    """With one sample a voxel and nothing disturbed, every voxel shows the signal of its structure."""
    image = render_mri(spine, grid, contrast=contrast, subsample_mm=9.0, **CLEAN)
    structures = render_structures(spine, grid).array
    assert image.array.dtype == np.float32
    for structure in (Structure.FAT, Structure.CSF, Structure.MUSCLE, Structure.CORTEX, Structure.AIR):
        values = image.array[structures == structure]
        assert len(values) > 0
        np.testing.assert_allclose(values, CONTRASTS[contrast][structure], rtol=1e-6)


def test_partial_volume_is_the_mean_of_finer_voxels(spine: Phantom) -> None:
    coarse = Grid.from_spacing((4, 10, 9), (4.0, 3.0, 3.5), origin_mm=(-8, -20, -15))
    fine = Grid.from_spacing((16, 30, 36), (1.0, 1.0, 0.875), origin_mm=(-9.5, -21.0, -16.3125))
    whole = render_mri(spine, coarse, subsample_mm=1.0, **CLEAN).array
    parts = render_mri(spine, fine, subsample_mm=9.0, **CLEAN).array
    means = parts.reshape(4, 4, 10, 3, 9, 4).mean(axis=(1, 3, 5))
    assert (np.abs(whole - means) < 1e-5).mean() > 0.98  # single precision moves a sample over a surface


def test_own_contrast_draws_one_structure(spine: Phantom, grid: Grid) -> None:
    image = render_mri(spine, grid, contrast={Structure.CSF: 1.0}, subsample_mm=9.0, **CLEAN)
    np.testing.assert_array_equal(image.array == 1.0, render_structures(spine, grid).array == Structure.CSF)


def test_the_image_does_not_depend_on_the_order_of_axes(spine: Phantom, grid: Grid) -> None:
    image = render_mri(spine, grid, subsample_mm=1.5, **CLEAN)
    turned = image.transposed((2, 0, 1)).flipped(1)
    again = render_mri(spine, turned.grid, subsample_mm=1.5, **CLEAN)
    assert (np.abs(again.array - turned.array) < 1e-5).mean() > 0.999


def test_seeds_fix_the_image(spine: Phantom, grid: Grid) -> None:
    first, again, other = (render_mri(spine, grid, seed=seed, subsample_mm=3.0).array for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.005
    assert (first >= 0).all()
    assert np.isfinite(first).all()


def test_noise_is_rician(spine: Phantom) -> None:
    """In air its mean is sigma times the root of pi / 2, and its mean square 2 sigma squared."""
    air = Grid.from_spacing((40, 40, 40), (1, 1, 1), origin_mm=(600, 0, 0))
    values = render_mri(spine, air, **{**CLEAN, "noise": 0.05}).array
    assert values.mean() == pytest.approx(0.05 * np.sqrt(np.pi / 2), rel=0.01)
    assert (values**2).mean() == pytest.approx(2 * 0.05**2, rel=0.01)


def test_coil_brightens_the_back(spine: Phantom, grid: Grid) -> None:
    plain = render_mri(spine, grid, subsample_mm=9.0, **CLEAN).array
    coil = render_mri(spine, grid, subsample_mm=9.0, **{**CLEAN, "coil": 0.7}).array
    bright = plain > 0.05
    y = grid.to_world(np.argwhere(bright).astype(float))[:, 1]
    near = np.abs(y) < 50
    gain = np.log(coil[bright][near] / plain[bright][near])
    slope, _ = np.polyfit(y[near], gain, 1)
    assert slope == pytest.approx(0.007, rel=1e-3)


def test_bias_is_smooth(spine: Phantom, grid: Grid) -> None:
    plain = render_mri(spine, grid, subsample_mm=9.0, **CLEAN).array
    image = render_mri(spine, grid, subsample_mm=9.0, **{**CLEAN, "bias": 0.2}).array
    bright = plain > 0.02
    field = np.log(np.where(bright, image / np.maximum(plain, 1e-6), 1.0))
    steps = np.abs(np.diff(field, axis=1))[bright[:, 1:] & bright[:, :-1]]
    assert 0.0 < steps.max() < 0.02


def test_fields_have_unit_spread() -> None:
    point = Grid.from_spacing((1, 2, 1), (1, 1, 1))
    rng = np.random.default_rng(0)
    values = np.stack([_smooth_field(rng, point, (110.0, 30.0, 5.0)) for _ in range(4000)])
    assert values.mean() == pytest.approx(0.0, abs=0.05)
    assert values.std() == pytest.approx(1.0, rel=0.06)


def test_texture_roughens_muscle_more_than_fluid(spine: Phantom, grid: Grid) -> None:
    image = render_mri(spine, grid, subsample_mm=9.0, **{**CLEAN, "texture": 1.0}).array
    structures = render_structures(spine, grid).array
    muscle, fluid = (image[structures == item] for item in (Structure.MUSCLE, Structure.CSF))
    assert muscle.std() / muscle.mean() > 2 * fluid.std() / fluid.mean() > 0


def test_variation_changes_contrast_not_structure(spine: Phantom, grid: Grid) -> None:
    structures = render_structures(spine, grid).array
    means = [
        render_mri(spine, grid, seed=seed, subsample_mm=9.0, **{**CLEAN, "variation": 0.3}).array[
            structures == Structure.FAT
        ]
        for seed in (1, 2)
    ]
    assert means[0].std() < 1e-6
    assert abs(means[0].mean() - means[1].mean()) > 0.01


def test_dry_discs_lose_their_nucleus() -> None:
    """On T2 the middle of a disc is the brighter the more water it holds; its rim stays dark."""
    spine = sample_phantom(6, n_discs=5, narrowed=(201, 202))
    middles = []
    for disc in spine.discs:
        point = Grid.from_spacing(
            (1, 1, 1), (1, 1, 1), origin_mm=disc.centre_lps + 0.2 * disc.height_mm * disc.rotation[:, 2]
        )
        middles.append(float(render_mri(spine, point, subsample_mm=9.0, **CLEAN).array[0, 0, 0]))
    water = [disc.hydration for disc in spine.discs]
    assert np.argsort(middles).tolist() == np.argsort(water).tolist()


def test_wrong_options_are_refused(spine: Phantom, grid: Grid) -> None:
    with pytest.raises(InputError, match="one of t1, t2"):
        render_mri(spine, grid, contrast="pd")
    with pytest.raises(InputError, match="none below 0"):
        render_mri(spine, grid, noise=-0.1)
