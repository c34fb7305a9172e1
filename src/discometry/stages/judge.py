"""Judge whether the discs, all together, are those of a lumbar spine that lies as its header says.

A disc of a lumbar spine is higher in front than behind, the more so the lower it lies; the spine bends most
at its lower end; the canal is behind it; the next disc follows after 3 to 4 cm, about as far as it is wide. A
file that turns a scan upside down or back to front, tells wrong voxel sizes or shows no spine breaks one of
these rules. Few patients do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from discometry.core.errors import InputError
from discometry.core.records import Geometry, Spine

__all__ = ["JudgeConfig", "canal_depths_mm", "judge"]

_NEAR_MM = 8.0
"""The canal is looked for this far to either side of a disc's middle."""


@dataclass(frozen=True, slots=True)
class JudgeConfig:
    """Options of :func:`judge`; where real scans lie, rightly and wrongly, stands in docs/decisions.md."""

    least_wedge_deg: float = 0.5
    """Discs are higher in front by this angle, in the mean .."""
    wedge_trend_deg: float = -0.3
    """.. which changes from one to the next above by no more than this."""
    bend_trend_deg: float = 0.0
    """The sagittal angle changes from a disc to the next above, and that change by no more than this."""
    least_discs: int = 4
    """Fewer discs say too little of how the spine lies."""
    least_canal_mm: float = 4.5
    """The canal that a segmenter sees behind most discs is this deep; 0 for masks, which may lack it."""
    no_canal_mm: float = 1.0
    """A spine is refused whose canal should be seen, and is no deeper than this behind any disc."""
    steps_mm: tuple[float, float] = (25.0, 47.0)
    """From the middle of a disc to that of the next, in the median."""
    widths_ap_mm: tuple[float, float] = (24.0, 52.0)
    """AP width of the discs, in the median."""
    steps_per_width: tuple[float, float] = (0.7, 1.28)
    """The one as a multiple of the other."""


def judge(spine: Spine, geometries: Sequence[Geometry], config: JudgeConfig | None = None) -> tuple[str, ...]:
    """Give the flags that hold for all discs of a spine.

    Parameters
    ----------
    spine
        Its discs from the lowest up, and its canal if that is known.
    geometries
        The measures of the discs, in the same order.
    config
        Options.

    Returns
    -------
    ``doubtful_orientation``, ``unusual_size``, both or neither.

    Raises
    ------
    InputError
        If no canal is seen behind the discs where one should be.
    """
    config = config or JudgeConfig()
    depths = canal_depths_mm(spine)
    if config.least_canal_mm and depths.max() <= config.no_canal_mm:
        raise InputError(
            "no lumbar spine in the image: what looks like discs has no spinal canal behind it",
            expected="an MRI that shows lumbar discs and the canal",
            action="look at the image, and whether its header says rightly how it lies",
        )
    turned = len(spine.discs) >= config.least_discs and bool(np.median(depths) < config.least_canal_mm)
    places, wedges = _known([one.wedge_deg for one in geometries])
    if places.size >= config.least_discs:
        trend = np.polyfit(places, wedges, 1)[0]
        turned |= bool(wedges.mean() < config.least_wedge_deg or trend > config.wedge_trend_deg)
    places, angles = _known([one.angle_sagittal_deg for one in geometries])
    if places.size > config.least_discs:
        turned |= bool(2 * np.polyfit(places, angles, 2)[0] > config.bend_trend_deg)
    step, width = _median(_steps_mm(spine)), _median([one.width_ap_mm for one in geometries])
    sizes = ((step, config.steps_mm), (width, config.widths_ap_mm), (step / width, config.steps_per_width))
    flags = {
        "doubtful_orientation": turned,
        "unusual_size": any(found < low or found > high for found, (low, high) in sizes),
    }
    return tuple(flag for flag, holds in flags.items() if holds)


def _known(values: Sequence[float] | NDArray[np.float64]) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Give the discs, counted from the lowest, of which a measure is known, and the measure."""
    places = np.flatnonzero(np.isfinite(values))
    return places, np.array(values)[places]


def _steps_mm(spine: Spine) -> NDArray[np.float64]:
    """Give the way from each disc's middle to that of the next above."""
    middles = [disc.mask.grid.to_world(np.argwhere(disc.mask.array).mean(axis=0)) for disc in spine.discs]
    steps: NDArray[np.float64] = np.linalg.norm(np.diff(middles, axis=0), axis=1)
    return steps


def _median(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Give the median of the values that are known; NaN, which keeps to all limits, if there is none."""
    _, known = _known(values)
    return float(np.median(known)) if known.size else math.nan


def canal_depths_mm(spine: Spine) -> NDArray[np.float64]:
    """Give how deep the canal is, from front to back, at the height of each disc: 0 where none is seen."""
    depths = np.zeros(len(spine.discs))
    if spine.canal is None:
        return depths
    grid, canal = spine.canal.grid, spine.canal.array
    near = max(1, round(_NEAR_MM / grid.spacing_mm[0]))
    for number, disc in enumerate(spine.discs):
        at = grid.to_index(disc.mask.grid.to_world(np.argwhere(disc.mask.array).astype(float)))
        low, middle, high = np.rint([at.min(axis=0), np.median(at, axis=0), at.max(axis=0)]).astype(int)
        left, right = max(0, middle[0] - near), middle[0] + near + 1
        columns = canal[left:right, :, low[2] : high[2] + 1].sum(axis=1)
        depths[number] = columns.mean() * grid.spacing_mm[1]
    return depths
