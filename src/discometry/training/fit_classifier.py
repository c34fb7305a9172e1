"""Train the narrowing classifier, and say honestly how good it is: folds by patient, baselines beside it.

Everything is fitted inside the fold. The calibration of a fold's model comes from an inner cross-validation
of the fold's own training patients, so that no reported number has seen its test patients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from discometry.core.errors import InputError
from discometry.core.scores import Interval, auroc, balanced_accuracy, bootstrap_interval, brier, f1
from discometry.io.bundle import check_bundle_folder, write_component
from discometry.networks.classifier import Classifier, calibrated, classifier_component, margins
from discometry.stages.classify import FEATURES
from discometry.training.graded_discs import GradedDiscs, read_graded_discs

if TYPE_CHECKING:
    from xgboost import Booster

__all__ = [
    "ClassifierScores",
    "ClassifierTraining",
    "cross_validate",
    "fit_classifier",
    "train_classifier",
]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
IndexArray = NDArray[np.intp]

_NOTE = (
    "Learnt from slabs of the middle 12 to 27 mm: lateral width, volume, footprint, coronal and transverse "
    "angle and the latents are not used, since slabs cut them off."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierTraining:
    """Options of :func:`fit_classifier`; depth, trees and rate are the paper's."""

    depth: int = 3
    """Depth of a tree."""
    trees: int = 200
    """Number of trees."""
    rate: float = 0.1
    """Learning rate."""
    falling: tuple[str, ...] = ("height_mean_mm", "height_over_width_ap", "height_over_neighbours")
    """Features in which the probability may only fall: a higher disc is never the more narrowed for it."""
    folds: int = 5
    """Folds of the cross-validations; a patient's discs are all in one."""
    draws: int = 2000
    """Bootstrap draws of patients for the confidence intervals."""
    left_out: tuple[str, ...] = ("18", "55", "57", "98")
    """SPIDER patients whose gradings and mask number the discs differently."""
    seed: int = 0
    """Of the folds and the bootstrap."""


@dataclass(frozen=True, slots=True)
class ClassifierScores:
    """Scores of out-of-fold probabilities, with 95 % intervals by bootstrap over patients.

    F1 is that of the narrowed class; it and the balanced accuracy call a disc narrowed from one half up.
    """

    auroc: Interval
    f1: Interval
    balanced_accuracy: Interval
    brier: Interval

    def as_json(self) -> dict[str, list[float | None]]:
        """Give value, low and high of each score, null where it has no value."""
        return {
            name: [_rounded(number) for number in (score.value, score.low, score.high)]
            for name, score in (
                ("auroc", self.auroc),
                ("f1", self.f1),
                ("balanced_accuracy", self.balanced_accuracy),
                ("brier", self.brier),
            )
        }


def fit_classifier(data: Path | None, bundle: Path, config: ClassifierTraining | None = None) -> Path:
    """Train on graded discs, cross-validate, and put the classifier with its scores into a bundle.

    Parameters
    ----------
    data
        Folder laid out as SPIDER: ``masks`` and ``radiological_gradings.csv``.
    bundle
        Bundle folder to create or to update.
    config
        All options.

    Returns
    -------
    The bundle folder.

    Raises
    ------
    InputError
        If there are no gradings, too few patients, or discs of one class only.
    """
    config = config or ClassifierTraining()
    if data is None:
        raise InputError(
            "phantoms, which no radiologist has graded",
            expected="a folder with masks and gradings",
            action="give a folder laid out as SPIDER",
        )
    check_bundle_folder(bundle)
    discs = read_graded_discs(data, left_out=config.left_out)
    scores = cross_validate(discs, config)
    component = classifier_component(
        train_classifier(discs, config),
        trained_on=f"{len(discs.narrowed)} discs of {len(set(discs.patients))} patients",
        narrowed=int(discs.narrowed.sum()),
        left_out=list(config.left_out),
        trees={"depth": config.depth, "number": config.trees, "rate": config.rate},
        cross_validation={name: score.as_json() for name, score in scores.items()},
        note=_NOTE,
    )
    return write_component(bundle, component)


def train_classifier(discs: GradedDiscs, config: ClassifierTraining) -> Classifier:
    """Train on all discs given, and calibrate on the margins of a cross-validation of them."""
    _check(discs, config)
    slope, offset = _fit_calibration(_margins_out_of_fold(discs, FEATURES, config), discs.narrowed)
    return Classifier(_fit_trees(discs, FEATURES, config), FEATURES, slope, offset)


def cross_validate(discs: GradedDiscs, config: ClassifierTraining) -> dict[str, ClassifierScores]:
    """Score the classifier (``model``) beside what knows the level only, and what knows nothing.

    Returns
    -------
    Scores of ``model``, ``level_only`` (the same trees on the level) and ``majority`` (every disc gets the
    share of narrowed discs).
    """
    _check(discs, config)
    share = np.full(len(discs.narrowed), discs.narrowed.mean())
    probabilities = {
        "model": _probabilities_out_of_fold(discs, FEATURES, config),
        "level_only": _probabilities_out_of_fold(discs, FEATURES[:1], config),
        "majority": share,
    }
    return {name: _scores(discs, values, config) for name, values in probabilities.items()}


def _scores(discs: GradedDiscs, probabilities: FloatArray, config: ClassifierTraining) -> ClassifierScores:
    called = probabilities >= 0.5
    found = [
        bootstrap_interval(
            score, discs.narrowed, values, groups=discs.patients, n=config.draws, seed=config.seed
        )
        for score, values in (
            (auroc, probabilities),
            (f1, called),
            (balanced_accuracy, called),
            (brier, probabilities),
        )
    ]
    return ClassifierScores(*found)


def _folds(discs: GradedDiscs, config: ClassifierTraining) -> Iterator[tuple[IndexArray, IndexArray]]:
    """Split into folds by patient, with about as many narrowed discs in each."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(config.folds, shuffle=True, random_state=config.seed)
    yield from folds.split(discs.features, discs.narrowed, discs.patients)


def _margins_out_of_fold(discs: GradedDiscs, names: Sequence[str], config: ClassifierTraining) -> FloatArray:
    found = np.empty(len(discs.narrowed))
    for training, held in _folds(discs, config):
        trees = _fit_trees(_chosen(discs, training), names, config)
        found[held] = margins(trees, _columns(discs.features[held], names))
    return found


def _probabilities_out_of_fold(
    discs: GradedDiscs, names: Sequence[str], config: ClassifierTraining
) -> FloatArray:
    found = np.empty(len(discs.narrowed))
    for training, held in _folds(discs, config):
        own = _chosen(discs, training)
        slope, offset = _fit_calibration(_margins_out_of_fold(own, names, config), own.narrowed)
        trees = _fit_trees(own, names, config)
        found[held] = calibrated(margins(trees, _columns(discs.features[held], names)), slope, offset)
    return found


def _fit_trees(discs: GradedDiscs, names: Sequence[str], config: ClassifierTraining) -> Booster:
    from xgboost import DMatrix, train

    options = {
        "objective": "binary:logistic",
        "max_depth": config.depth,
        "eta": config.rate,
        "monotone_constraints": tuple(-1 if name in config.falling else 0 for name in names),
        "seed": config.seed,
        "nthread": 1,
    }
    matrix = DMatrix(_columns(discs.features, names), discs.narrowed.astype(np.float64))
    return train(options, matrix, num_boost_round=config.trees)


def _fit_calibration(margin: FloatArray, narrowed: BoolArray) -> tuple[float, float]:
    """Fit slope and offset by maximum likelihood, with the softened targets of Platt (1999)."""
    from sklearn.linear_model import LogisticRegression

    positive, negative = int(narrowed.sum()), int((~narrowed).sum())
    target = np.where(narrowed, (positive + 1) / (positive + 2), 1 / (negative + 2))
    both = np.concatenate([margin, margin])[:, None]
    outcome = np.repeat([1, 0], len(margin))
    fitted = LogisticRegression(C=1e6).fit(both, outcome, np.concatenate([target, 1 - target]))
    slope, offset = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    if slope <= 0:  # margins that tell nothing must not be turned round
        return 0.0, float(np.log(positive / negative))
    return slope, offset


def _chosen(discs: GradedDiscs, rows: IndexArray) -> GradedDiscs:
    return GradedDiscs(discs.features[rows], discs.narrowed[rows], discs.patients[rows])


def _columns(features: FloatArray, names: Sequence[str]) -> FloatArray:
    return np.ascontiguousarray(features[:, [FEATURES.index(name) for name in names]])


def _check(discs: GradedDiscs, config: ClassifierTraining) -> None:
    """Refuse discs that the nested cross-validation cannot split."""
    least = config.folds + -(-config.folds // (config.folds - 1))
    by_class = [len(set(discs.patients[discs.narrowed == value])) for value in (False, True)]
    if min(by_class) < least:
        raise InputError(
            f"{by_class[1]} patients with and {by_class[0]} without a narrowed disc",
            expected=f"at least {least} of each",
            action="give more graded masks, or use fewer folds",
        )


def _rounded(value: Any) -> float | None:
    return round(float(value), 4) if np.isfinite(value) else None
