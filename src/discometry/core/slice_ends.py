"""What thick slices add to a disc's volume, or take from it, at the disc's ends across the slices.

A slice's voxel belongs to a mask where the disc fills about half of it, so the last slices count whole or not
at all. How much that adds follows from the fitted outline, whose ends the chords of all slices know better:
the area that the outline has is compared with the area that the rule leaves of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from discometry.core.disc_shape import DiscShape
from discometry.core.volume import Volume

__all__ = ["volume_lost_mm3"]

FloatArray = NDArray[np.float64]

_THICK = 1.5
"""Slices are thick from this times the finest voxel size on."""
_LEVELS, _LINES = 5, 9
"""How many levels of the disc are looked at, and how many lines in every slice."""
_FAR = 1e9


def volume_lost_mm3(shape: DiscShape, inside: Volume, rim_height_mm: float) -> float:
    """Give what the disc's volume is more than its mask's, by the rule of one half.

    Parameters
    ----------
    shape
        The fitted disc.
    inside
        Its mask, boolean.
    rim_height_mm
        Height of the disc at its outline.
    """
    spacing = np.asarray(inside.grid.spacing_mm)
    axis = int(spacing.argmax())
    if spacing[axis] < _THICK * spacing.min():
        return 0.0
    direction = inside.grid.direction[:, axis]
    along = direction @ shape.frame.axes
    in_plane = float(np.hypot(along[0], along[1]))
    if in_plane < 0.5:  # Slices along the disc's plane end at the endplates, where no outline helps.
        return 0.0
    one_side, other_side = _branches(shape.footprint.outline, along[:2] / in_plane)
    levels = ((np.arange(_LEVELS) + 0.5) / _LEVELS - 0.5) * rim_height_mm
    slices = np.arange(-1, inside.array.shape[axis] + 1)
    lines = (slices[:, None] - 0.5 + (np.arange(_LINES) + 0.5) / _LINES) * spacing[axis]
    start = float(direction @ shape.frame.origin) + float(np.mean(shape.planes, axis=0)[0]) * along[2]
    places = (lines - start - levels[:, None, None] * along[2]) / in_plane
    first, second = (
        np.interp(places, *branch, left=np.nan, right=np.nan) for branch in (one_side, other_side)
    )
    hit = np.isfinite(first)
    chord = np.where(hit, np.abs(first - second), 0.0).mean(axis=2)
    # What at least half of a slice's lines contain.
    top = np.median(np.where(hit, np.maximum(first, second), -_FAR), axis=2)
    bottom = np.median(np.where(hit, np.minimum(first, second), _FAR), axis=2)
    counted = np.maximum(top - bottom, 0.0)
    lost = float((chord - counted).sum()) / _LEVELS  # mm of chord, in slices
    return lost * float(spacing[axis]) / in_plane * rim_height_mm


def _branches(
    outline: FloatArray, direction: FloatArray
) -> tuple[tuple[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]:
    """Cut a closed outline (m, 2) at its ends along a direction: place along it, which rises, and across."""
    along = outline @ direction
    across = outline @ np.array([-direction[1], direction[0]])
    order = np.roll(np.arange(len(outline)), -int(along.argmin()))
    last = int(along[order].argmax())
    there, back = order[: last + 1], np.append(order[last:], order[0])[::-1]
    first, second = ((np.maximum.accumulate(along[part]), across[part]) for part in (there, back))
    return first, second
