"""Where discs stand along a spine: their order, what is missing between them, what stands out of line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import LEVELS

__all__ = [
    "along_the_spine",
    "close_to_the_next",
    "missing_below",
    "out_of_line",
    "support",
    "usual_steps_mm",
]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

USUAL_STEP_MM = 36.0
"""From the middle of a lumbar disc to that of the next, where no other steps tell."""


def usual_steps_mm(levels: Sequence[str]) -> FloatArray:
    """Give the usual step from the disc below to the disc of each level, shorter the higher up: (n,), mm.

    Up to T10/T11 the medians of the SPIDER masks; above, 20 mm for the first thoracic vertebra and 17 mm for
    the cervical ones.

    Examples
    --------
    >>> usual_steps_mm(["L4/L5", "T12/L1", "C3/C4"]).tolist()
    [36.0, 33.5, 17.6]
    """
    places = [LEVELS.index(level) for level in levels]
    known = [LEVELS.index(level) for level in ("L1/L2", "T9/T10", "C7/T1", "C2/C3")]
    steps: FloatArray = np.interp(places, known, [USUAL_STEP_MM, 26.0, 20.0, 17.0])
    return steps


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


def missing_below(
    middles: FloatArray, *, ratio: float = 1.65, usual_mm: float | FloatArray = USUAL_STEP_MM
) -> list[int]:
    """Count the discs that seem to be missing between each disc and the one below it.

    Parameters
    ----------
    middles
        Ordered middles of the discs, (n, 3) in mm, the lowest first.
    ratio
        A step of more than this times the usual one has room for another disc.
    usual_mm
        The usual step, or that to each disc, (n,) as of :func:`usual_steps_mm`. How much the steps of this
        spine are larger or smaller than that, they tell themselves where there are three or more.
    """
    return [max(0, round(step) - 1) if step > ratio else 0 for step in _steps(middles, usual_mm)]


def close_to_the_next(
    middles: FloatArray, *, ratio: float = 0.5, usual_mm: float | FloatArray = USUAL_STEP_MM
) -> list[bool]:
    """Tell for each disc whether it is nearer to a neighbour than ``ratio`` times the usual step.

    Parameters are as for :func:`missing_below`.
    """
    near = [False, *(step < ratio for step in _steps(middles, usual_mm)[1:])]
    return [near[place] or (place + 1 < len(near) and near[place + 1]) for place in range(len(middles))]


def _steps(middles: FloatArray, usual_mm: float | FloatArray) -> list[float]:
    """Give the steps from below as shares of the usual ones and of the others' median; 0 for the lowest."""
    usual = np.broadcast_to(usual_mm, len(middles))
    steps = np.linalg.norm(np.diff(middles, axis=0), axis=1) / usual[1:]
    if len(steps) >= 3:
        others = np.array([np.median(np.delete(steps, place)) for place in range(len(steps))])
        steps = steps / np.maximum(others, 1e-9)
    return [0.0, *steps.tolist()][: len(middles)]


def out_of_line(middles: FloatArray, *, aside_mm: float = 12.0) -> list[bool]:
    """Tell for each disc whether it lies more than ``aside_mm`` off the curve through the others.

    The curve is a parabola in the height through the nearest six; fewer than five discs show none. Where
    these bend in another way, three times their mean distance from it (root of squares) is allowed on top.
    Parameters are as for :func:`missing_below`.
    """
    if len(middles) < 5:
        return [False] * len(middles)
    places = np.arange(len(middles))
    found = []
    for place, point in enumerate(middles):
        nearest = np.argsort(np.abs(places - place), kind="stable")[1:7]
        powers = np.vander(middles[nearest, 2] - point[2], 3)
        curve = np.linalg.lstsq(powers, middles[nearest, :2], rcond=None)[0]
        bent = np.sqrt(np.mean(np.sum((powers @ curve - middles[nearest, :2]) ** 2, axis=1)))
        # At the ends the parabola is continued, and less sure.
        end = place in (0, len(middles) - 1)
        aside = np.linalg.norm(point[:2] - curve[-1])
        found.append(bool(aside > (2 if end else 1) * aside_mm + 3 * bent))
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
