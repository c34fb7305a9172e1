"""Why a disc has its probability: the answer in words, and what each feature adds to it or takes from it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from discometry.io.disc_table import SHAP
from discometry.report.wording import (
    format_number,
    measure_of_column,
    number_of,
    per_hundred,
    title_of_feature,
    verdict_of_probability,
)

__all__ = ["Answer", "Reasons", "Share", "reasons_of"]

_PROBABILITY = "narrowing_probability"
_LEAST_SHOWN = 0.005
_NO_BREAK = "\u00a0"


@dataclass(frozen=True, slots=True)
class Share:
    """What one feature adds to a disc's log-odds; ``value`` is the disc's own, with its unit."""

    title: str
    value: str
    amount: str
    side: str
    """``for``, ``against``, or nothing where it comes to nothing."""
    percent: float
    """Length of its bar, of the half to its side."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One disc's probability, in per cent and in words, and its shares, the largest first if any."""

    label: int
    percent: str
    verdict: str
    meaning: str
    total: str
    shares: tuple[Share, ...]


@dataclass(frozen=True, slots=True)
class Reasons:
    """The answers of a study, the highest disc first, and where every sum of shares starts."""

    start: str
    """Log-odds of a disc that is average in all features; empty if no disc tells."""
    start_percent: str
    answers: tuple[Answer, ...]


def reasons_of(records: Sequence[Mapping[str, Any]]) -> Reasons | None:
    """Explain the probabilities of discs, rows of ``discs.csv``; None where no feature's share is told."""
    features = [name.removeprefix(SHAP) for name in (records[0] if records else ()) if name.startswith(SHAP)]
    if not features:
        return None
    shares = [{name: number_of(row.get(SHAP + name)) for name in features} for row in records]
    amounts = [abs(one) for row in shares for one in row.values() if math.isfinite(one)]
    longest = max(amounts, default=0.0) or 1.0
    answers = tuple(_answer(row, own, longest) for row, own in zip(records, shares, strict=True))
    starts = [
        _log_odds(chance) - sum(own.values())
        for row, own in zip(records, shares, strict=True)
        if 0 < (chance := number_of(row.get(_PROBABILITY))) < 1
    ]
    known = [one for one in starts if math.isfinite(one)]
    if not known:
        return Reasons("", "", answers)
    start = median(known)
    return Reasons(_signed(start), per_hundred(1 / (1 + math.exp(-start))), answers)


def _answer(record: Mapping[str, Any], own: Mapping[str, float], longest: float) -> Answer:
    label, chance = record["label"], number_of(record.get(_PROBABILITY))
    if not (math.isfinite(chance) and all(map(math.isfinite, own.values()))):
        return Answer(label, "", "no answer", "The disc’s height is not known.", "", ())
    verdict, meaning = verdict_of_probability(chance)
    ordered = sorted(own.items(), key=lambda item: -abs(item[1]))
    shares = tuple(_share(record, name, amount, longest) for name, amount in ordered)
    return Answer(label, per_hundred(chance), verdict, meaning, _signed(sum(own.values())), shares)


def _share(record: Mapping[str, Any], name: str, amount: float, longest: float) -> Share:
    side = "" if abs(amount) < _LEAST_SHOWN else "for" if amount > 0 else "against"
    percent = round(100 * abs(amount) / longest, 1)
    return Share(title_of_feature(name), _value(record, name), _signed(amount), side, percent)


def _value(record: Mapping[str, Any], name: str) -> str:
    """Write the disc's own value of a feature with its unit, where the table has it."""
    if name == "level_place":
        return str(record["level"])
    if name not in record:
        return ""
    value, measure = number_of(record[name]), measure_of_column(name)
    if not math.isfinite(value):
        return "not known, so it counts as average"
    # A number and its unit stay on one line.
    return f"{measure.show(value)}{'' if measure.unit == '°' else _NO_BREAK}{measure.unit}".strip(_NO_BREAK)


def _signed(amount: float) -> str:
    text = format_number(amount, decimals=2)
    return text if text.startswith("−") or abs(amount) < _LEAST_SHOWN else f"+{text}"


def _log_odds(chance: float) -> float:
    return math.log(chance / (1 - chance))
