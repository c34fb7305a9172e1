"""Render a phantom as a T1- or T2-like MRI."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from discometry.core.errors import InputError
from discometry.core.phantom_anatomy import Phantom, Structure
from discometry.core.phantom_paint import DISC_CODE, MARROW_CODE, paint, structure_of_code
from discometry.core.phantom_slabs import SUBSAMPLE_MM, fine_slabs
from discometry.core.volume import Grid, Volume

__all__ = ["CONTRASTS", "render_mri"]

Floats = NDArray[np.float32]

_S = Structure
_BOTH: Mapping[Structure, tuple[float, float]] = {
    _S.AIR: (0.0, 0.0),
    _S.SKIN: (0.35, 0.3),
    _S.FAT: (0.95, 0.72),
    _S.MUSCLE: (0.33, 0.17),
    _S.FASCIA: (0.15, 0.10),
    _S.CORTEX: (0.12, 0.08),
    _S.MARROW: (0.55, 0.36),
    _S.ENDPLATE: (0.15, 0.10),
    _S.ANNULUS: (0.20, 0.08),
    _S.INNER_ANNULUS: (0.32, 0.20),
    _S.NUCLEUS: (0.36, 0.62),
    _S.CLEFT: (0.35, 0.45),
    _S.LIGAMENT: (0.14, 0.07),
    _S.EPIDURAL_FAT: (0.92, 0.72),
    _S.CSF: (0.17, 1.0),
    _S.CORD: (0.37, 0.42),
    _S.NERVE: (0.33, 0.42),
    _S.SACRUM_CORTEX: (0.13, 0.09),
    _S.SACRUM_MARROW: (0.58, 0.38),
    _S.SACRUM_DISC: (0.30, 0.22),
    _S.VEIN: (0.40, 0.55),
    _S.AORTA: (0.08, 0.05),
    _S.VENA_CAVA: (0.12, 0.10),
    _S.BOWEL_WALL: (0.34, 0.26),
    _S.BOWEL_CONTENT: (0.42, 0.50),
    _S.BOWEL_GAS: (0.03, 0.03),
    _S.ORGAN: (0.42, 0.34),
    _S.POSTERIOR_CORTEX: (0.13, 0.09),
    _S.POSTERIOR_MARROW: (0.58, 0.38),
    _S.ILIUM_CORTEX: (0.13, 0.09),
    _S.ILIUM_MARROW: (0.65, 0.45),
    _S.FACET_JOINT: (0.30, 0.70),
    _S.BOWEL_FLUID: (0.25, 0.85),
    _S.DURA: (0.18, 0.25),
    _S.MESENTERY: (0.80, 0.60),
    _S.INTERSPINOUS: (0.48, 0.34),
}

CONTRASTS: Mapping[str, Mapping[Structure, float]] = MappingProxyType(
    {
        "t1": MappingProxyType({structure: pair[0] for structure, pair in _BOTH.items()}),
        "t2": MappingProxyType({structure: pair[1] for structure, pair in _BOTH.items()}),
    }
)
"""Signal of every structure, 1 = brightest, for spin-echo-like contrasts."""

_TEXTURE: Mapping[Structure, float] = {
    _S.MUSCLE: 0.15,
    _S.FAT: 0.06,
    _S.MESENTERY: 0.22,
    _S.INTERSPINOUS: 0.3,
    _S.MARROW: 0.10,
    _S.POSTERIOR_MARROW: 0.2,
    _S.SACRUM_MARROW: 0.11,
    _S.ILIUM_MARROW: 0.15,
    _S.NUCLEUS: 0.12,
    _S.INNER_ANNULUS: 0.25,
    _S.ANNULUS: 0.25,
    _S.ORGAN: 0.1,
    _S.BOWEL_CONTENT: 0.4,
    _S.BOWEL_WALL: 0.25,
    _S.CSF: 0.05,
    _S.CORD: 0.05,
    _S.EPIDURAL_FAT: 0.06,
    _S.BOWEL_FLUID: 0.15,
}

_FAT_IN_MUSCLE = 0.25
"""Share of fat in a streak of a muscle."""


def render_mri(
    phantom: Phantom,
    grid: Grid,
    *,
    contrast: str | Mapping[Structure, float] = "t2",
    seed: int = 0,
    noise: float = 0.02,
    bias: float = 0.2,
    coil: float = 0.5,
    texture: float = 1.0,
    variation: float = 0.05,
    subsample_mm: float = SUBSAMPLE_MM,
) -> Volume:
    """Render a phantom as an MRI (float32, brightest tissue about 1).

    Parameters
    ----------
    contrast
        ``"t1"``, ``"t2"``, or a signal for each structure; those left out are black.
    seed
        Seed of texture, fields and noise; together with the phantom it fixes the image.
    noise
        Standard deviation of each of the Rician noise's two channels.
    bias
        Size of the smooth bias field: the logarithm of the gain has about this standard deviation.
    coil
        Logarithm of the gain that a surface coil at the back loses over each 100 mm towards the front.
    texture
        Factor on the tissues' own unevenness and the fat in the muscles.
    variation
        Spread of the logarithm of each structure's signal: scanners and patients differ.
    subsample_mm
        Largest distance between the samples that make up a voxel (partial volume).

    Raises
    ------
    InputError
        If the contrast is unknown or a strength is negative.
    """
    if min(noise, bias, coil, texture, variation) < 0:
        raise InputError(
            f"noise {noise}, bias {bias}, coil {coil}, texture {texture}, variation {variation}",
            expected="none below 0",
            action="give 0 for none",
        )
    rng = np.random.default_rng(np.random.SeedSequence([seed, phantom.seed, 0x3A17]))
    tables = _signals(phantom, _contrast(contrast), variation, rng)
    image, uneven, streaked = (np.empty(grid.shape, dtype=np.float32) for _ in tables)
    for rows, fine, merge in fine_slabs(grid, subsample_mm):
        codes = paint(phantom, fine)
        for array, table in zip((image, uneven, streaked), tables, strict=True):
            array[rows] = merge(table[codes])
    if texture:
        image += texture * uneven * _texture_field(rng, grid)
        image += texture * streaked * np.maximum(_smooth_field(rng, grid, (4.0, 4.0, 20.0)) - 0.6, 0.0)
    if bias:
        image *= np.exp(bias * _smooth_field(rng, grid, (110.0, 110.0, 110.0)))
    if coil:
        image *= np.exp(0.01 * coil * _towards_back(phantom, grid))
    return Volume(grid, _with_noise(np.maximum(image, 0.0), noise, rng))


def _with_noise(image: Floats, noise: float, rng: np.random.Generator) -> Floats:
    """Give the image Rician noise: the size of a complex signal with normal noise in both channels."""
    if not noise:
        return image
    real, imaginary = (noise * rng.standard_normal(image.shape, dtype=np.float32) for _ in range(2))
    noisy: Floats = np.hypot(image + real, imaginary)
    return noisy


def _contrast(contrast: str | Mapping[Structure, float]) -> Mapping[Structure, float]:
    if not isinstance(contrast, str):
        return contrast
    if contrast not in CONTRASTS:
        raise InputError(
            f"contrast {contrast!r}", expected=f"one of {', '.join(CONTRASTS)}", action="name one of these"
        )
    return CONTRASTS[contrast]


def _signals(
    phantom: Phantom, contrast: Mapping[Structure, float], variation: float, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """Signal, unevenness, and gain by streaks of fat, of every painted code."""
    table = structure_of_code()
    factors = np.exp(variation * rng.standard_normal(len(Structure)))
    by_structure = np.array([contrast.get(item, 0.0) for item in Structure]) * factors
    signal = by_structure.astype(np.float32)[table]
    rough = np.array([_TEXTURE.get(Structure(s), 0.0) for s in table], dtype=np.float32)
    fat = by_structure[Structure.FAT] - by_structure[Structure.MUSCLE]
    streaks = np.where(table == Structure.MUSCLE, _FAT_IN_MUSCLE * fat, 0.0).astype(np.float32)
    for index, disc in enumerate(phantom.discs):
        # A dry disc loses the contrast between nucleus and annulus.
        first = DISC_CODE + 8 * index
        for part in (1, 2, 3):
            signal[first + part] = signal[first] + disc.hydration * (signal[first + part] - signal[first])
    for index, body in enumerate(phantom.bodies):
        signal[MARROW_CODE + index] *= body.marrow
    return signal, rough * signal, streaks


def _towards_back(phantom: Phantom, grid: Grid) -> Floats:
    """Distance of every voxel behind the middle of the discs along the phantom's own axis, mm."""
    axis = phantom.pose.rotation[:, 1]
    middle = np.mean([disc.centre_lps for disc in phantom.discs], axis=0)
    steps = axis @ grid.affine[:3, :3]
    i, j, k = (np.arange(n) * step for n, step in zip(grid.shape, steps, strict=True))
    offset = float(axis @ (grid.affine[:3, 3] - middle))
    away = (i + offset)[:, None, None] + j[None, :, None] + k[None, None, :]
    clipped: Floats = np.clip(away, -150.0, 60.0).astype(np.float32)
    return clipped


def _texture_field(rng: np.random.Generator, grid: Grid) -> Floats:
    """Mixture of unevenness at three grains, about unit standard deviation."""
    field = 0.5 * _smooth_field(rng, grid, (14.0, 14.0, 14.0))
    field += 0.6 * _smooth_field(rng, grid, (5.0, 5.0, 5.0))
    field += 0.6 * _smooth_field(rng, grid, (2.2, 2.2, 2.2))
    return field


def _smooth_field(rng: np.random.Generator, grid: Grid, grain_mm: tuple[float, float, float]) -> Floats:
    """Trilinear noise of about unit standard deviation, its knots ``grain_mm`` apart along L, P, S."""
    grains = [grain_mm[world] for world in grid.world_axes]
    sizes = list(zip(grid.shape, grid.spacing_mm, grains, strict=True))
    knots = [int(np.ceil((n - 1) * step / grain)) + 2 for n, step, grain in sizes]
    field: Floats = rng.standard_normal(knots, dtype=np.float32)
    offset = rng.uniform(0.0, 1.0, 3)
    for axis, (n, step, grain) in enumerate(sizes):
        place = np.arange(n) * (step / grain) + offset[axis]
        low = np.minimum(place.astype(np.intp), knots[axis] - 2)
        share = (place - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        share = np.minimum(share, 1.0)
        low_field, high_field = np.take(field, low, axis), np.take(field, low + 1, axis)
        field = low_field + share * (high_field - low_field)
    # Linear interpolation between knots keeps 2/3 of the variance along each axis.
    scaled: Floats = field * np.float32(1.5**1.5)
    return scaled
