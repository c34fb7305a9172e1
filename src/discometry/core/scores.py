"""How well masks, surfaces and probabilities agree with the truth, with confidence intervals by patient.

Where a score has no meaning (two empty masks, one class only) it is NaN, never a flattering number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from discometry.core.volume import Volume

__all__ = [
    "Interval",
    "accuracy",
    "auprc",
    "auroc",
    "average_symmetric_surface_distance",
    "balanced_accuracy",
    "bootstrap_interval",
    "brier",
    "calibration_curve",
    "calibration_slope",
    "dice",
    "f1",
    "hausdorff95",
    "iou",
    "surface_points",
]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_CHUNK = 512


@dataclass(frozen=True, slots=True)
class Interval:
    """A value with the bounds of its confidence interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}-{self.high:.3f})"


# Masks ---------------------------------------------------------------------------------------------------


def dice(a: ArrayLike, b: ArrayLike) -> float:
    """Twice the overlap of two masks of one shape over the sum of their sizes; NaN if both are empty.

    Examples
    --------
    >>> dice([1, 1, 0, 0], [1, 0, 0, 0])
    0.6666666666666666
    """
    first, second = _masks(a, b)
    total = int(first.sum()) + int(second.sum())
    return 2 * int((first & second).sum()) / total if total else float("nan")


def iou(a: ArrayLike, b: ArrayLike) -> float:
    """Intersection over union of two masks of one shape; NaN if both are empty.

    Examples
    --------
    >>> iou([1, 1, 0, 0], [1, 0, 0, 0])
    0.5
    """
    first, second = _masks(a, b)
    union = int((first | second).sum())
    return int((first & second).sum()) / union if union else float("nan")


def _masks(a: ArrayLike, b: ArrayLike) -> tuple[BoolArray, BoolArray]:
    first, second = np.asarray(a).astype(bool), np.asarray(b).astype(bool)
    if first.shape != second.shape:
        raise ValueError(f"masks of shapes {first.shape} and {second.shape}")
    return first, second


# Surfaces ------------------------------------------------------------------------------------------------


def surface_points(mask: Volume) -> FloatArray:
    """Centres of a mask's boundary voxels, (n, 3) LPS mm: those with a face neighbour outside the mask."""
    inside = np.pad(mask.array.astype(bool), 1)
    core = inside.copy()
    for axis in range(3):
        core &= np.roll(inside, 1, axis) & np.roll(inside, -1, axis)
    return mask.grid.to_world(np.argwhere(inside & ~core).astype(np.float64) - 1)


def average_symmetric_surface_distance(a: ArrayLike, b: ArrayLike) -> float:
    """Mean distance, mm, from every point of each surface to the nearest of the other.

    Parameters
    ----------
    a, b
        Points (n, 3) and (m, 3) in mm, such as :func:`surface_points` gives; NaN if one has none.
    """
    there, back = _distances(a, b)
    return float(np.concatenate([there, back]).mean()) if there.size and back.size else float("nan")


def hausdorff95(a: ArrayLike, b: ArrayLike) -> float:
    """95th percentile of the distances, mm, from each surface to the other, the larger of the two directions.

    Parameters are as for :func:`average_symmetric_surface_distance`.
    """
    there, back = _distances(a, b)
    if not (there.size and back.size):
        return float("nan")
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def _distances(a: ArrayLike, b: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Distance from each point of a to the nearest of b, and the other way round; empty if either is."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not (first.size and second.size):
        return np.empty(0), np.empty(0)
    there = np.empty(len(first))
    back = np.full(len(second), np.inf)
    for start in range(0, len(first), _CHUNK):
        part = first[start : start + _CHUNK]
        squared = np.zeros((len(part), len(second)))
        for axis in range(first.shape[1]):
            squared += np.subtract.outer(part[:, axis], second[:, axis]) ** 2
        there[start : start + _CHUNK] = squared.min(axis=1)
        np.minimum(back, squared.min(axis=0), out=back)
    return np.sqrt(there), np.sqrt(back)


# Probabilities -------------------------------------------------------------------------------------------


def auroc(truth: ArrayLike, score: ArrayLike) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counting half.

    Computed from mid-ranks (Mann and Whitney 1947); NaN if only one class is present.

    Examples
    --------
    >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    positive, values = _labelled(truth, score)
    n_positive, n_negative = int(positive.sum()), int((~positive).sum())
    if not (n_positive and n_negative):
        return float("nan")
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    won = float(ranks[positive].sum()) - n_positive * (n_positive + 1) / 2
    return won / (n_positive * n_negative)


def auprc(truth: ArrayLike, score: ArrayLike) -> float:
    """Area under the precision-recall curve as average precision: precision weighted by the steps of recall.

    No interpolation between thresholds (Davis and Goadrich 2006); NaN without a positive.
    """
    positive, values = _labelled(truth, score)
    if not positive.any():
        return float("nan")
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    hits = np.cumsum(positive[order])[ends]
    precision = hits / (ends + 1)
    recall = hits / positive.sum()
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def f1(truth: ArrayLike, predicted: ArrayLike) -> float:
    """F1 of the positive class: harmonic mean of its precision and recall; NaN where it never occurs."""
    positive, called = _masks(truth, predicted)
    return dice(positive, called)


def balanced_accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Mean of sensitivity and specificity; NaN if only one class is present."""
    positive, called = _masks(truth, predicted)
    if positive.all() or not positive.any():
        return float("nan")
    return float((called[positive].mean() + (~called[~positive]).mean()) / 2)


def brier(truth: ArrayLike, probability: ArrayLike) -> float:
    """Mean squared difference between probability and outcome (Brier 1950): 0 is perfect."""
    positive, values = _labelled(truth, probability)
    return float(np.mean((values - positive) ** 2)) if values.size else float("nan")


def accuracy(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Share of right answers, which is also the micro-averaged F1 of both classes; NaN for none."""
    positive, called = _masks(truth, predicted)
    return float((positive == called).mean()) if positive.size else float("nan")


def calibration_slope(truth: ArrayLike, probability: ArrayLike) -> float:
    """Slope of the outcome's log-odds over the predicted log-odds (Cox 1958): 1 is perfect.

    Below 1, probabilities are too extreme; above 1, too timid. By maximum likelihood; NaN where one class is
    missing, where all probabilities are alike, or where they part the classes wholly.
    """
    positive, values = _labelled(truth, probability)
    values = np.clip(values, 1e-6, 1 - 1e-6)
    logit = np.log(values / (1 - values))
    if positive.all() or not positive.any() or np.ptp(logit) < 1e-9:
        return float("nan")
    slope, offset = 0.0, float(np.log(positive.mean() / (~positive).mean()))
    for _ in range(50):  # Newton's steps on two unknowns
        chance = 1 / (1 + np.exp(-np.clip(slope * logit + offset, -30, 30)))
        weight, rest = chance * (1 - chance), positive - chance
        total, first, second = weight.sum(), weight @ logit, weight @ logit**2
        determinant = second * total - first**2
        if determinant < 1e-10 * second * total:
            return float("nan")
        up, right = rest @ logit, rest.sum()
        steps = (total * up - first * right) / determinant, (second * right - first * up) / determinant
        slope, offset = slope + float(np.clip(steps[0], -2, 2)), offset + float(np.clip(steps[1], -2, 2))
        if max(map(abs, steps)) < 1e-8:
            return slope
    return float("nan")


def calibration_curve(truth: ArrayLike, probability: ArrayLike, *, bins: int = 6) -> FloatArray:
    """Mean predicted probability, observed share and number, (b, 3), for bins of about equal number."""
    positive, values = _labelled(truth, probability)
    parts = np.array_split(np.argsort(values, kind="stable"), min(bins, max(1, len(values))))
    rows = [(values[part].mean(), positive[part].mean(), len(part)) for part in parts if len(part)]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _labelled(truth: ArrayLike, score: ArrayLike) -> tuple[BoolArray, FloatArray]:
    positive, values = np.asarray(truth).astype(bool), np.asarray(score, dtype=np.float64)
    if positive.shape != values.shape or positive.ndim != 1:
        raise ValueError(f"truth of shape {positive.shape} and scores of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("scores that are not finite")
    return positive, values


# Confidence ----------------------------------------------------------------------------------------------


def bootstrap_interval(
    statistic: Callable[..., float],
    *values: ArrayLike,
    groups: ArrayLike,
    n: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap that draws patients, not discs (Efron 1979; cluster bootstrap).

    Discs of one patient are alike, so drawing discs would give intervals that are too narrow.

    Parameters
    ----------
    statistic
        Function of the ``values``, such as :func:`auroc`; draws for which it is NaN do not count.
    values
        Arrays with one entry a disc, all of one length.
    groups
        Patient of each disc.
    n
        Number of draws.
    seed
        Of the random generator; the same seed gives the same interval.
    level
        Share of the draws inside the interval.

    Returns
    -------
    Interval
        The statistic of the data itself, and the bounds (NaN if no draw had a value).

    Raises
    ------
    ValueError
        If the arrays differ in length, or are empty.
    """
    arrays: list[NDArray[Any]] = [np.asarray(one) for one in values]
    patients, member = np.unique(np.asarray(groups), return_inverse=True)
    if not arrays or not len(member) or any(len(one) != len(member) for one in arrays):
        raise ValueError("values and groups of different or no length")
    rows = np.split(np.argsort(member, kind="stable"), np.cumsum(np.bincount(member))[:-1])
    random = np.random.default_rng(seed)
    found = np.empty(n)
    for draw in range(n):
        chosen = np.concatenate([rows[k] for k in random.integers(len(patients), size=len(patients))])
        found[draw] = statistic(*(one[chosen] for one in arrays))
    found = found[np.isfinite(found)]
    tail = (1 - level) / 2
    low, high = np.quantile(found, (tail, 1 - tail)) if found.size else (np.nan, np.nan)
    return Interval(float(statistic(*arrays)), float(low), float(high))
