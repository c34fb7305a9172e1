"""How bright a disc is in the MRI, against what lies beside it.

The signal of an MRI has no unit, so every value is a ratio: to the bone marrow and to the dural sac near the
disc, and of the disc's middle to its edges. They depend on the sequence; compare only scans of one kind.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from discometry.core.records import Disc, Intensity
from discometry.core.volume import Volume

__all__ = ["intensity"]

FloatArray = NDArray[np.float64]

_REACH_MM = 40.0
"""Bone marrow and dural sac are looked at within this of the disc's middle."""
_NUCLEUS, _ANNULUS = 0.4, 0.7
"""Parts of the half diameter, anterior to posterior, inside and beyond which lie nucleus and annulus."""
_LEAST_VOXELS = 20


def intensity(
    image: Volume | None, disc: Disc, vertebrae: Volume | None = None, canal: Volume | None = None
) -> Intensity:
    """Give a disc's signal ratios.

    Parameters
    ----------
    image
        The MRI, axes closest to L, P, S; None gives no value at all.
    disc
        The disc, found on the same grid.
    vertebrae, canal
        Boolean masks on the image's grid; None if not labelled.

    Returns
    -------
    The ratios; NaN where a part has fewer than 20 voxels, or no signal.
    """
    if image is None:
        return Intensity()
    inside = np.argwhere(disc.mask.array)
    places = np.rint(image.grid.to_index(disc.mask.grid.to_world(inside.astype(float)))).astype(np.intp)
    values = image.array[tuple(places.T)].astype(np.float64)
    middle = places.mean(axis=0)
    posterior = places[:, 1].astype(float)
    front, back = np.percentile(posterior, (2, 98))
    across = np.abs(2 * (posterior - front) / max(back - front, 1.0) - 1)
    return Intensity(
        signal_over_vertebrae=_ratio(values, _near(image, vertebrae, middle)),
        signal_over_canal=_ratio(values, _near(image, canal, middle)),
        signal_nucleus_over_annulus=_ratio(values[across < _NUCLEUS], values[across > _ANNULUS]),
    )


def _near(image: Volume, mask: Volume | None, middle: FloatArray) -> FloatArray:
    """Give the signal of a mask's voxels in a box around the disc's middle."""
    if mask is None:
        return np.empty(0)
    reach = _REACH_MM / np.array(image.grid.spacing_mm)
    low = np.maximum(0, np.floor(middle - reach)).astype(int)
    high = np.ceil(middle + reach).astype(int) + 1
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    found: FloatArray = image.array[box][mask.array[box] != 0].astype(np.float64)
    return found


def _ratio(first: FloatArray, second: FloatArray) -> float:
    """Give the ratio of two parts' median signal."""
    if min(first.size, second.size) < _LEAST_VOXELS:
        return float("nan")
    below = float(np.median(second))
    return float(np.median(first)) / below if below > 0 else float("nan")
