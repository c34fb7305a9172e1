"""Heights of the vertebral bodies beside a disc, from a mask of the vertebrae."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from discometry.core.volume import Volume

__all__ = ["body_height_mm"]

FloatArray = NDArray[np.float64]

_STEP_MM = 0.2
_REACH_MM = 70.0
_GAP_MM = 5.0
"""The body begins at most this far from the disc: endplates are often left unlabelled."""
_HOLE_MM = 3.0
"""Gaps up to this long are veins in the body, not its end."""
_LIMITS_MM = (10.0, 50.0)
"""What else is found is no vertebral body: a cut vertebra, or two without the disc between them."""
_OFFSETS_MM = (-4.0, -2.0, 0.0, 2.0, 4.0)
_LEAST_RAYS = 5


def body_height_mm(vertebrae: Volume, start: FloatArray, axes: FloatArray) -> float:
    """Height of the body that begins at an endplate of a disc, at its middle.

    It is the median over 25 rays within 4 mm of the endplate's middle.

    Parameters
    ----------
    vertebrae
        Boolean.
    start
        Middle of the endplate, LPS mm.
    axes
        3x3; columns are two directions along the endplate and that of the rays, away from the disc.

    Returns
    -------
    Height in mm; NaN where there is no body, or where the image ends before it does.
    """
    steps = np.arange(0.0, _REACH_MM, _STEP_MM)
    across = np.array([(x, y) for x in _OFFSETS_MM for y in _OFFSETS_MM])
    points = start + across[:, None] @ axes[:, :2].T + steps[:, None] * axes[:, 2]
    index = np.rint(vertebrae.grid.to_index(points.reshape(-1, 3))).astype(np.intp)
    seen = ((index >= 0) & (index < vertebrae.grid.shape)).all(axis=1)
    bone = np.zeros(len(index), dtype=bool)
    bone[seen] = vertebrae.array[tuple(index[seen].T)] != 0
    rays = zip(bone.reshape(len(across), -1), seen.reshape(len(across), -1), strict=True)
    heights = [height for height in (_height_along(*ray) for ray in rays) if math.isfinite(height)]
    if len(heights) < _LEAST_RAYS:
        return math.nan
    height = float(np.median(heights))
    return height if _LIMITS_MM[0] <= height <= _LIMITS_MM[1] else math.nan


def _height_along(bone: NDArray[np.bool_], seen: NDArray[np.bool_]) -> float:
    """Length of the first stretch of bone along one ray, holes included; NaN if its end is not seen."""
    places = np.flatnonzero(bone)
    if places.size == 0 or places[0] * _STEP_MM > _GAP_MM:
        return math.nan
    after = np.flatnonzero(np.diff(places) * _STEP_MM > _HOLE_MM)
    end = places[after[0]] if after.size else places[-1]
    beyond = end + int(_HOLE_MM / _STEP_MM)
    if beyond >= len(seen) or not seen[beyond]:
        return math.nan
    return float(end + 1 - places[0]) * _STEP_MM
