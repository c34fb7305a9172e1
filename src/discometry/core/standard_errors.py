"""Standard errors: what a voxel mask leaves unknown of every measure.

A measure comes with its *spread*, which follows from what the fits leave unknown, and a *step*, the change
that one voxel would make. Its standard error is ``hypot(a * spread, b * step)``. The two factors of each
measure are the only things calibrated: by ``benchmarks/standard_errors.py``, on phantom discs that no other
benchmark uses, with and without ragged boundaries, so that about 95 % of the intervals of 1.96 standard
errors on either side hold the truth.
"""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["FACTORS", "Estimate", "standard_error"]


class Estimate(NamedTuple):
    """A value, its spread and its step, all in the measure's unit."""

    value: float
    spread: float
    step: float = 0.0


FACTORS: dict[str, tuple[float, float]] = {
    "paper_height_mm": (0.114, 0.0205),
    "paper_width_ap_mm": (0.629, 0.106),
    "paper_width_lateral_mm": (0.516, 1.4),
    "paper_angle_sagittal_deg": (0.722, 0),
    "paper_angle_coronal_deg": (0.273, 0.0767),
    "paper_angle_transverse_deg": (0, 3.13),
    "volume_mm3": (2.95, 0.579),
    "height_mean_mm": (3.65, 0.0732),
    "surface_mm2": (0.701, 1.32),
    "width_lateral_mm": (0.35, 0.189),
    "width_ap_mm": (0.589, 0.175),
    "footprint_mm2": (0.626, 0.168),
    "bulge_mm": (1.34, 0.344),
    "angle_transverse_deg": (0.537, 0),
    "angle_sagittal_deg": (0.819, 0.0357),
    "angle_coronal_deg": (0.706, 0.0309),
    "wedge_deg": (1.07, 0.0623),
    "height_middle_mm": (0.953, 0.0153),
    "height_anterior_mm": (1.01, 0.0696),
    "height_posterior_mm": (1.26, 0.0193),
    "height_dabbs_mm": (1.18, 0.0284),
    "height_fyllos_mm": (1.13, 0.0278),
    "asymmetry_mm": (0.804, 0.0649),
    "height_hurxthal_mm": (0.951, 0.0151),
    "disc_height_index": (1.71, 0.221),
}
"""Factors of spread and step by measure."""


def standard_error(name: str, estimate: Estimate) -> float:
    """Give the standard error of a measure; NaN where its value is not known."""
    if not math.isfinite(estimate.value):
        return math.nan
    of_spread, of_step = FACTORS[name]
    return math.hypot(of_spread * estimate.spread, of_step * estimate.step)
