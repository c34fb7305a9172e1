"""Factors and what they make of spreads."""

from __future__ import annotations

import math

import pytest

from discometry.core.records import Geometry
from discometry.core.standard_errors import FACTORS, Estimate, standard_error


def test_every_measure_has_two_factors_of_which_one_counts() -> None:
    assert set(FACTORS) == set(Geometry.names())
    assert all(min(factors) >= 0 and max(factors) > 0 for factors in FACTORS.values())


def test_spread_and_step_add_in_squares() -> None:
    of_spread, of_step = FACTORS["width_ap_mm"]
    found = standard_error("width_ap_mm", Estimate(35.0, 0.3, 0.4))
    assert found == pytest.approx(math.sqrt((of_spread * 0.3) ** 2 + (of_step * 0.4) ** 2))


def test_what_is_not_known_has_no_standard_error() -> None:
    assert math.isnan(standard_error("width_ap_mm", Estimate(math.nan, 0.3)))
    assert math.isnan(standard_error("volume_mm3", Estimate(500.0, math.nan)))
