"""Contrast and flaws for training images: tissue signals, tones, endplates, thick slices, ghosts, noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from discometry.core.anatomy import Tissue
from discometry.core.phantom_anatomy import Structure
from discometry.core.phantom_mri import CONTRASTS
from discometry.core.phantom_paint import DISC_CODE, MARROW_CODE, structure_of_code
from discometry.training.scans import MAYBE_SACRUM

__all__ = ["colour_codes", "degrade", "endplate_changes", "recolour", "smooth_noise", "textured"]

FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.uint8]

_DISC_PARTS = 4
_DISCS = 12


def colour_codes(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Draw a signal and an unevenness for every painted code (two tables of 256 entries).

    Signals lie near a real contrast or anywhere at all; each disc has a nucleus of its own brightness, from
    as dark as its annulus to bright, and each body its own marrow.
    """
    names = list(CONTRASTS)
    choice = int(rng.integers(len(names) + 1))
    if choice < len(names):
        table = CONTRASTS[names[choice]]
        levels = np.array([table[item] for item in Structure]) + rng.normal(0, 0.08, len(Structure))
    else:
        levels = rng.random(len(Structure))
    levels[Structure.AIR] = rng.uniform(0, 0.05)
    structures = structure_of_code()
    signal = levels[structures]
    for first in range(DISC_CODE, DISC_CODE + 8 * _DISCS, 8):
        parts = slice(first, first + _DISC_PARTS)
        annulus = signal[first] + rng.normal(0, 0.06)
        signal[parts] = annulus + rng.random() * (signal[parts] - signal[first])
    signal[MARROW_CODE:] *= rng.uniform(0.85, 1.15, 256 - MARROW_CODE)
    unevenness = rng.uniform(0.0, 0.12, len(Structure))[structures]
    return signal.astype(np.float32), unevenness.astype(np.float32)


def textured(image: FloatArray, unevenness: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Add unevenness of a fine and a coarse grain, and blur a little."""
    image = image + unevenness * smooth_noise(image.shape, rng, rng.uniform(1.5, 4))
    image += unevenness * smooth_noise(image.shape, rng, rng.uniform(6, 16))
    blurred: FloatArray = ndimage.gaussian_filter(image, (0.3, *rng.uniform(0.3, 0.8, 2)))
    return blurred


def recolour(image: FloatArray, target: LabelArray, rng: np.random.Generator) -> FloatArray:
    """Change a real scan's contrast: a random tone curve, and a shift of whole tissues."""
    if rng.random() < 0.6:
        low, high = np.percentile(image[::2, ::4, ::4], (1, 99))
        knots = np.linspace(low, high, int(rng.integers(4, 8)))
        tones = np.linspace(0, 1, knots.size) + rng.normal(0, 0.25, knots.size)
        if rng.random() < 0.3:
            tones = tones[::-1]
        image = np.interp(image, knots, tones).astype(np.float32)
    if rng.random() < 0.3:
        shift = np.zeros(256, dtype=np.float32)
        shift[: len(Tissue)] = rng.normal(0, 0.4, len(Tissue)) * image.std()
        # No step where a mask stops telling background from sacrum.
        shift[MAYBE_SACRUM] = shift[Tissue.BACKGROUND]
        image = image + ndimage.gaussian_filter(shift[target], 0.7)
    return image


def endplate_changes(
    image: FloatArray, target: LabelArray, rng: np.random.Generator, spacing_mm: tuple[float, float, float]
) -> FloatArray:
    """Brighten or darken the marrow beside some discs, here and there, as Modic changes do."""
    reach = rng.uniform(2.0, 6.0) / np.array(spacing_mm)
    # One at a flat endplate, and less with the distance from it.
    near = 2 * ndimage.gaussian_filter((target == Tissue.DISC).astype(np.float32), reach)
    spots = np.clip(smooth_noise(image.shape, rng, 25.0 / np.array(spacing_mm)), 0, 1)
    shift = rng.normal(0, 1.0) * image.std()
    changed: FloatArray = image + shift * near * spots * (target == Tissue.VERTEBRA)
    return changed


def degrade(
    image: FloatArray, rng: np.random.Generator, spacing_mm: tuple[float, float, float]
) -> FloatArray:
    """Add what a scanner adds: thick slices with gaps, blur, ghosts of motion, a bias field, noise."""
    if rng.random() < 0.6:
        image = _thick_slices(image, rng.uniform(1.5, 5.0) / spacing_mm[0], rng, axis=0)
    elif rng.random() < 0.2:
        axis = int(rng.integers(1, 3))
        image = _thick_slices(image, rng.uniform(1.5, 4.0) / spacing_mm[axis], rng, axis=axis)
    if rng.random() < 0.4:
        image = ndimage.gaussian_filter(image, (0, *(rng.uniform(0, 1.0, 2) / spacing_mm[1:])))
    if rng.random() < 0.1:
        axis = int(rng.integers(1, 3))
        ghost = np.roll(image, int(image.shape[axis] * rng.uniform(0.1, 0.5)), axis=axis)
        image = image + rng.uniform(0.03, 0.15) * ghost
    if rng.random() < 0.5:
        image = image * np.exp(rng.uniform(0.05, 0.4) * smooth_noise(image.shape, rng, 40))
    noise = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(0, 0.15) * image.std()
    noisy: FloatArray = (image + noise).astype(np.float32)
    return noisy


def smooth_noise(
    shape: tuple[int, ...], rng: np.random.Generator, scale: float | NDArray[np.float64]
) -> FloatArray:
    """Noise of unit spread whose features are about ``scale`` voxels wide, along each axis or all."""
    coarse = np.maximum(2, np.rint(np.array(shape) / scale)).astype(int)
    field: FloatArray = rng.standard_normal(coarse).astype(np.float32)
    for axis, side in enumerate(shape):
        field = _stretched(field, side, axis)
    field /= field.std() + 1e-6
    return field


def _stretched(array: FloatArray, side: int, axis: int) -> FloatArray:
    """Interpolate linearly to ``side`` samples along one axis."""
    places = np.linspace(0, array.shape[axis] - 1, side)
    low = np.minimum(places.astype(int), array.shape[axis] - 2)
    share = (places - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(array.ndim)])
    first, second = np.take(array, low, axis), np.take(array, low + 1, axis)
    stretched: FloatArray = first + share * (second - first)
    return stretched


def _thick_slices(image: FloatArray, step: float, rng: np.random.Generator, *, axis: int) -> FloatArray:
    """Average over slices at most ``step`` thick and ``step`` apart; interpolate between their centres."""
    if step <= 1:
        return image
    thickness = max(1, round(step * rng.uniform(0.7, 1.0)))
    blurred = np.moveaxis(ndimage.uniform_filter1d(image, thickness, axis=axis), axis, 0)
    places = np.arange(blurred.shape[0], dtype=np.float64)
    centres = np.arange(rng.uniform(0, step) - step, blurred.shape[0] + step, step)
    # Each slice is the linear blend of its two neighbours among the thick slices.
    right = np.clip(np.searchsorted(centres, places, side="right"), 1, centres.size - 1)
    weight = ((places - centres[right - 1]) / step).astype(np.float32)[:, None, None]
    index = np.clip(np.round(centres), 0, blurred.shape[0] - 1).astype(int)
    mixed = (1 - weight) * blurred[index[right - 1]] + weight * blurred[index[right]]
    thick: FloatArray = np.ascontiguousarray(np.moveaxis(mixed, 0, axis)).astype(np.float32)
    return thick
