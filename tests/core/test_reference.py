"""The reference table and z-scores by it."""

from __future__ import annotations

import math

import pytest

from discometry.core.anatomy import LEVELS
from discometry.core.records import Geometry
from discometry.core.reference import LEAST_DISCS, REFERENCE_MEASURES, reference, z_scores


def test_the_table_holds_plausible_norms_of_known_levels() -> None:
    table = reference()
    assert {level for level, _ in table} <= set(LEVELS)
    assert {measure for _, measure in table} == set(REFERENCE_MEASURES)
    for (_, measure), norm in table.items():
        assert norm.sd > 0
        assert 2 <= norm.n <= 29
        if measure.startswith("height_"):
            assert 2.5 < norm.mean < 13
    # Lumbar discs are the lower the higher they stand.
    heights = [table[level, "height_fyllos_mm"].mean for level in ("L4/L5", "L3/L4", "L2/L3", "L1/L2")]
    assert heights == sorted(heights, reverse=True)


def test_the_mean_is_zero_and_one_deviation_above_is_one() -> None:
    norm = reference()["L4/L5", "height_middle_mm"]
    assert norm.n >= LEAST_DISCS
    for steps in (0.0, 1.0, -2.5):
        scores = z_scores("L4/L5", Geometry(height_middle_mm=norm.mean + steps * norm.sd))
        assert tuple(scores) == REFERENCE_MEASURES
        assert scores["height_middle_mm"] == pytest.approx(steps)
        assert math.isnan(scores["wedge_deg"])


def test_no_score_without_enough_discs_of_the_level() -> None:
    few = {level for (level, _), norm in reference().items() if norm.n < LEAST_DISCS}
    for level in (*few, "C5/C6"):
        scores = z_scores(level, Geometry(**dict.fromkeys(REFERENCE_MEASURES, 1.0)))
        assert all(math.isnan(score) for score in scores.values())
