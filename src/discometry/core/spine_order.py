"""Where discs stand along a spine: their order, what is missing between them, what stands out of line."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["along_the_spine", "close_to_the_next", "missing_below", "out_of_line", "support"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

USUAL_STEP_MM = 36.0
"""From the middle of a lumbar disc to that of the next, where no other steps tell."""


def along_the_spine(middles: FloatArray) -> list[int]:
    """Order disc middles (n, 3; mm) along the spine: from its lower end, each time on to the nearest left."""
    if len(middles) < 2:
        return list(range(len(middles)))
    apart = np.linalg.norm(middles[:, None] - middles, axis=2)
    ends = np.unravel_index(int(np.argmax(apart)), apart.shape)
    chain = [min((int(end) for end in ends), key=lambda end: float(middles[end, 2]))]
    while len(chain) < len(middles):
        nearest = np.argsort(apart[chain[-1]], kind="stable")
        chain.append(next(int(place) for place in nearest if place not in chain))
    return chain


def missing_below(middles: FloatArray, *, ratio: float = 1.65) -> list[int]:
    """Count the discs that seem to be missing between each disc and the one below it.

    Parameters
    ----------
    middles
        Ordered middles of the discs, (n, 3) in mm, the lowest first.
    ratio
        A step of more than this times the usual one has room for another disc.
    """
    return [max(0, round(step) - 1) if step > ratio else 0 for step in _steps(middles)]


def close_to_the_next(middles: FloatArray, *, ratio: float = 0.5) -> list[bool]:
    """Tell for each disc whether it is nearer to a neighbour than ``ratio`` times the usual step."""
    near = [0 < step < ratio for step in _steps(middles)]
    return [near[place] or (place + 1 < len(near) and near[place + 1]) for place in range(len(near))]


def _steps(middles: FloatArray) -> list[float]:
    """Step from the disc below to each disc, as a multiple of the median of the others; 0 for the lowest."""
    lengths = np.linalg.norm(np.diff(middles, axis=0), axis=1)
    if len(lengths) < 3:
        return [0.0, *(float(length) / USUAL_STEP_MM for length in lengths)][: len(middles)]
    others = [float(np.median(np.delete(lengths, place))) for place in range(len(lengths))]
    return [0.0, *(float(length) / other for length, other in zip(lengths, others, strict=True))]


def out_of_line(middles: FloatArray, *, aside_mm: float = 12.0) -> list[bool]:
    """Tell for each disc whether it lies more than ``aside_mm`` off the curve through the others.

    The curve is a parabola in the height; fewer than five discs show none. Parameters are as for
    :func:`missing_below`.
    """
    if len(middles) < 5:
        return [False] * len(middles)
    found = []
    for place, point in enumerate(middles):
        others = np.delete(middles, place, axis=0)
        height = others[:, 2] - point[2]
        curve = np.polyfit(height, others[:, :2], 2)[-1]
        # At the ends the parabola is continued, and less sure.
        end = place in (0, len(middles) - 1)
        found.append(bool(np.linalg.norm(point[:2] - curve) > (2 if end else 1) * aside_mm))
    return found


def support(voxels: NDArray[np.intp], tissue: BoolArray, reach: int) -> tuple[float, float]:
    """Share of a part's columns that find a tissue within ``reach`` voxels below it, and above it.

    Parameters
    ----------
    voxels
        Indices of the part, (n, 3), the third axis running upwards.
    tissue
        Where the tissue is, LxPxS.
    reach
        How far to look, voxels.
    """
    low, high = voxels.min(axis=0), voxels.max(axis=0) + 1
    first = max(int(low[2]) - reach, 0)
    near = tissue[low[0] : high[0], low[1] : high[1], first : high[2] + reach]
    inside = np.zeros(near.shape, dtype=bool)
    inside[tuple((voxels - [low[0], low[1], first]).T)] = True
    height = np.arange(near.shape[2])
    bottom = np.argmax(inside, axis=2)[..., None]
    top = near.shape[2] - 1 - np.argmax(inside[..., ::-1], axis=2)[..., None]
    columns = inside.any(axis=2)
    below = (near & (height < bottom) & (height >= bottom - reach)).any(axis=2) & columns
    above = (near & (height > top) & (height <= top + reach)).any(axis=2) & columns
    count = np.count_nonzero(columns)
    return np.count_nonzero(below) / count, np.count_nonzero(above) / count
