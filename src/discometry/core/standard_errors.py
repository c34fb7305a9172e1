"""Standard errors: what a voxel mask leaves unknown of every measure.

A measure comes with its *spread*, which follows from what the fits leave unknown, and a *step*, the change that
one voxel would make. Its standard error is ``hypot(a * spread, b * step)``. The two factors of each measure
are the only things calibrated: by ``benchmarks/standard_errors.py``, on phantom discs that no other benchmark
uses, with and without ragged boundaries, so that about 95 % of the intervals of 1.96 standard errors on
either side hold the truth.
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


FACTORS: dict[str, tuple[float, float]] = {}
"""Factors of spread and step by measure."""


def standard_error(name: str, estimate: Estimate) -> float:
    """Standard error of a measure; NaN where its value is not known."""
    if not math.isfinite(estimate.value):
        return math.nan
    of_spread, of_step = FACTORS[name]
    return math.hypot(of_spread * estimate.spread, of_step * estimate.step)
