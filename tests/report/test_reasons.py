"""What each feature adds to a probability, in words and lengths."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discometry.report.reasons import reasons_of

Row = dict[str, Any]
OFFSET = -1.1


def disc(
    label: int = 202, level: str = "L4/L5", *, offset: float = OFFSET, **shares: float
) -> dict[str, Any]:
    """A row of discs.csv whose probability is that of its shares."""
    odds = offset + sum(shares.values())
    return {
        "label": label,
        "level": level,
        "height_mean_mm": 5.94,
        "wedge_deg": -2.06,
        "disc_height_index": math.nan,
        **{f"shap_{name}": value for name, value in shares.items()},
        "narrowing_probability": 1 / (1 + math.exp(-odds)),
    }


def test_shares_by_hand() -> None:
    row = disc(level_place=0.5, height_mean_mm=-2.0, wedge_deg=0.001, disc_height_index=1.0, age_years=0.25)
    found = reasons_of([row])
    assert found is not None
    assert (found.start, found.start_percent) == ("−1.10", "25 %")
    (answer,) = found.answers
    assert (answer.label, answer.percent, answer.total) == (202, "21 %", "−0.25")
    assert answer.verdict == "probably not narrowed"
    assert [(one.title, one.value, one.amount, one.side, one.percent) for one in answer.shares] == [
        ("Mean height", "5.9\u00a0mm", "−2.00", "against", 100.0),
        ("Disc height index", "not known, so it counts as average", "+1.00", "for", 50.0),
        ("Level", "L4/L5", "+0.50", "for", 25.0),
        ("Age", "", "+0.25", "for", 12.5),
        ("Wedge angle", "−2.1°", "0.00", "", 0.1),
    ]


def test_bars_of_all_discs_have_one_scale() -> None:
    found = reasons_of([disc(wedge_deg=-3.0), disc(201, "L5/S1", wedge_deg=1.5)])
    assert found is not None
    assert [answer.shares[0].percent for answer in found.answers] == [100.0, 50.0]
    assert [answer.label for answer in found.answers] == [202, 201]


@given(st.lists(st.floats(-4, 4), min_size=1, max_size=6), st.floats(-3, 3))
def test_the_largest_comes_first_and_all_together_are_the_answer(values: list[float], offset: float) -> None:
    shares = {f"feature_{n}_mm": value for n, value in enumerate(values)}
    found = reasons_of([disc(offset=offset, **shares)])
    assert found is not None
    amounts = [float(one.amount.replace("−", "-")) for one in found.answers[0].shares]
    assert [abs(one) for one in amounts] == sorted((abs(one) for one in amounts), reverse=True)
    assert float(found.start.replace("−", "-")) == pytest.approx(offset, abs=0.0051)
    total = float(found.answers[0].total.replace("−", "-"))
    assert total == pytest.approx(sum(values), abs=0.0051)


def test_no_height_no_answer() -> None:
    unknown = disc(wedge_deg=math.nan) | {"narrowing_probability": math.nan}
    found = reasons_of([unknown, disc(201, "L5/S1", wedge_deg=1.0)])
    assert found is not None
    first, second = found.answers
    assert (first.percent, first.verdict, first.shares) == ("", "no answer", ())
    assert "height is not known" in first.meaning
    assert second.shares
    assert found.start == "−1.10"


def test_a_study_in_which_no_disc_has_an_answer() -> None:
    found = reasons_of([disc(wedge_deg=math.nan) | {"narrowing_probability": math.nan}])
    assert found is not None
    assert (found.start, found.start_percent, found.answers[0].verdict) == ("", "", "no answer")


def test_shares_that_are_all_nothing() -> None:
    found = reasons_of([disc(wedge_deg=0.0)])
    assert found is not None
    assert [(one.amount, one.side, one.percent) for one in found.answers[0].shares] == [("0.00", "", 0.0)]


def test_without_shares_there_is_nothing_to_explain() -> None:
    assert reasons_of([disc()]) is None
    assert reasons_of([]) is None
