"""Where a measure stands in a reference population: z-scores by disc level.

The table ``reference.csv`` holds mean, standard deviation and number of discs, each of another patient, by
level and measure. ``benchmarks/reference.py`` computes it from SPIDER (van der Graaf and others 2024,
CC BY 4.0): discs of patients with back pain that a radiologist graded as not narrowed and Pfirrmann 3 or
less, in slabs of the middle 12 to 27 mm, so only of measures that need no more. It is no healthy population.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from importlib import resources

from discometry.core.records import Geometry

__all__ = ["LEAST_DISCS", "REFERENCE_MEASURES", "Norm", "reference", "z_scores"]

REFERENCE_MEASURES: tuple[str, ...] = (
    "width_ap_mm",
    "angle_sagittal_deg",
    "wedge_deg",
    "height_anterior_mm",
    "height_middle_mm",
    "height_posterior_mm",
    "height_dabbs_mm",
    "height_fyllos_mm",
    "height_hurxthal_mm",
    "disc_height_index",
)
"""Measures that a slab around the mid-sagittal plane supports."""

LEAST_DISCS = 10
"""Levels of fewer reference discs have no z-score: their standard deviation is hardly known."""


@dataclass(frozen=True, slots=True)
class Norm:
    """Mean, standard deviation and number of reference discs, of as many patients, at one level."""

    mean: float
    sd: float
    n: int


@cache
def reference() -> dict[tuple[str, str], Norm]:
    """Read the reference table: norms by level and measure."""
    text = resources.files("discometry.core").joinpath("reference.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    return {
        (row["level"], row["measure"]): Norm(float(row["mean"]), float(row["sd"]), int(row["n"]))
        for row in rows
    }


def z_scores(level: str, geometry: Geometry) -> dict[str, float]:
    """Give how many standard deviations each measure lies above the reference population's mean at its level.

    Returns
    -------
    By measure of :data:`REFERENCE_MEASURES`; NaN where value or reference is not known.
    """
    values, norms = geometry.values(), reference()
    scores = {}
    for name in REFERENCE_MEASURES:
        norm = norms.get((level, name))
        known = norm is not None and norm.n >= LEAST_DISCS
        scores[name] = (values[name] - norm.mean) / norm.sd if norm is not None and known else math.nan
    return scores
