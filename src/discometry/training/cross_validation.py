"""How well discs are told apart: folds by patient, scores with intervals by patient, paired comparisons.

A learner sees nothing of the patients that it is tested on. Whatever is fitted to discs without their
outcome, such as a shape model, is fitted anew in every fold by the function that gives the fold's features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from discometry.core.errors import InputError
from discometry.core.scores import (
    Interval,
    accuracy,
    auprc,
    auroc,
    balanced_accuracy,
    bootstrap_interval,
    brier,
    calibration_slope,
    f1,
)

__all__ = [
    "Folds",
    "Learner",
    "Outcomes",
    "Predictor",
    "Scores",
    "auroc_interval",
    "difference",
    "out_of_fold",
    "rounded",
    "score",
]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IndexArray = NDArray[np.intp]


class Predictor(Protocol):
    """What a learner has learnt."""

    def probabilities(self, features: FloatArray) -> FloatArray:
        """Give the probability of a positive, N, from features, NxF; NaN where a feature is not known."""
        ...


class Learner(Protocol):
    """What learns from discs with outcomes."""

    def fit(self, features: FloatArray, outcomes: Outcomes) -> Predictor:
        """Learn from features, NxF, and the outcomes of the same discs."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """What is to be predicted of each disc, (N,), and whose disc it is."""

    positive: BoolArray
    patients: NDArray[np.str_]

    def __post_init__(self) -> None:
        if len(self.positive) != len(self.patients):
            raise InputError(
                f"{len(self.positive)} outcomes and {len(self.patients)} patients",
                expected="one of each a disc",
                action="give the same discs in both",
            )

    def of(self, rows: IndexArray) -> Outcomes:
        """Keep some discs."""
        return Outcomes(self.positive[rows], self.patients[rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """How discs are split."""

    folds: int = 5
    """Parts; each is tested on once a repeat."""
    repeats: int = 5
    """Times that the discs are split anew."""
    by_patient: bool = True
    """All discs of a patient lie in one part; without it, as in the paper, they may lie on both sides."""
    seed: int = 0
    """Of the splits."""

    def __post_init__(self) -> None:
        for name, least in (("folds", 2), ("repeats", 1)):
            if getattr(self, name) < least:
                raise InputError(
                    f"{name} = {getattr(self, name)}", expected=f"at least {least}", action=f"raise {name}"
                )

    def split(self, outcomes: Outcomes) -> Iterator[tuple[int, IndexArray, IndexArray]]:
        """Give number of repeat, rows to learn from and rows to test on.

        Raises
        ------
        InputError
            If the classes or the patients are too few to be in every part.
        """
        from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

        self._check(outcomes)
        kind = StratifiedGroupKFold if self.by_patient else StratifiedKFold
        groups = outcomes.patients if self.by_patient else None
        none = np.zeros((len(outcomes.positive), 1))
        for repeat in range(self.repeats):
            folds = kind(self.folds, shuffle=True, random_state=self.seed + repeat)
            for rows, held in folds.split(none, outcomes.positive, groups):
                yield repeat, rows, held

    def _check(self, outcomes: Outcomes) -> None:
        groups = outcomes.patients if self.by_patient else np.arange(len(outcomes.patients))
        count = [len(set(groups[outcomes.positive == value])) for value in (True, False)]
        if min(count) < self.folds:
            kind = "patients" if self.by_patient else "discs"
            raise InputError(
                f"{count[0]} {kind} with a positive disc and {count[1]} with a negative one",
                expected=f"at least {self.folds} of each, one for each fold",
                action="give more graded discs, use fewer folds, or choose another target",
            )


def out_of_fold(features: FloatArray, outcomes: Outcomes, learner: Learner, folds: Folds) -> FloatArray:
    """Give the probability of each disc by learners that have not seen its part, discs x repeats.

    ``features`` (discs x features) must be known of each disc by itself, fitted to nothing; what a learner
    fits, such as a scale, it fits to the rows of its folds.
    """
    found = np.full((len(outcomes.positive), folds.repeats), np.nan)
    for repeat, rows, held in folds.split(outcomes):
        fitted = learner.fit(features[rows], outcomes.of(rows))
        found[held, repeat] = fitted.probabilities(features[held])
    return found


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores with 95 % intervals by bootstrap over patients, each the mean over repeats.

    A disc is called positive from one half up. ``f1`` is that of the positive class; ``accuracy`` is what
    the paper calls F1 (micro-averaged).
    """

    auroc: Interval
    auprc: Interval
    f1: Interval
    balanced_accuracy: Interval
    brier: Interval
    calibration_slope: Interval
    accuracy: Interval

    def as_json(self) -> dict[str, list[float | None]]:
        """Give value, low and high of each score, null where it has no value."""
        found = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: [rounded(n) for n in (one.value, one.low, one.high)] for name, one in found.items()}


_OF_PROBABILITIES: Mapping[str, Callable[..., float]] = {
    "auroc": auroc,
    "auprc": auprc,
    "brier": brier,
    "calibration_slope": calibration_slope,
}
_OF_CALLS: Mapping[str, Callable[..., float]] = {
    "f1": f1,
    "balanced_accuracy": balanced_accuracy,
    "accuracy": accuracy,
}


def score(outcomes: Outcomes, probabilities: FloatArray, *, draws: int = 2000, seed: int = 0) -> Scores:
    """Score probabilities, discs x repeats."""
    calls = probabilities >= 0.5
    found = {
        name: _interval(one, outcomes, values, draws=draws, seed=seed)
        for table, values in ((_OF_PROBABILITIES, probabilities), (_OF_CALLS, calls))
        for name, one in table.items()
    }
    return Scores(**found)


def auroc_interval(
    outcomes: Outcomes, probabilities: FloatArray, *, draws: int = 2000, seed: int = 0
) -> Interval:
    """Give the AUROC alone, as :func:`score` does."""
    return _interval(auroc, outcomes, probabilities, draws=draws, seed=seed)


def difference(
    outcomes: Outcomes, first: FloatArray, second: FloatArray, *, draws: int = 2000, seed: int = 0
) -> Interval:
    """Give the AUROC of one set of probabilities minus that of another, on the same discs and draws."""
    score_of = _mean_over_repeats(auroc)
    return bootstrap_interval(
        lambda truth, a, b: score_of(truth, a) - score_of(truth, b),
        *(outcomes.positive, first, second),
        groups=outcomes.patients,
        n=draws,
        seed=seed,
    )


def _interval(
    one: Callable[..., float], outcomes: Outcomes, values: NDArray[Any], *, draws: int, seed: int
) -> Interval:
    return bootstrap_interval(
        _mean_over_repeats(one), outcomes.positive, values, groups=outcomes.patients, n=draws, seed=seed
    )


def _mean_over_repeats(one: Callable[..., float]) -> Callable[..., float]:
    return lambda truth, values: float(np.mean([one(truth, column) for column in values.T]))


def rounded(value: Any) -> float | None:
    """Give a number to four digits for JSON, None where it has no value."""
    return round(float(value), 4) if np.isfinite(value) else None
