"""Train the narrowing classifier, and say honestly how good it is: folds by patient, baselines beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from discometry.core.errors import InputError
from discometry.io.bundle import check_bundle_folder, write_component
from discometry.networks.classifier import Classifier, classifier_component
from discometry.stages.classify import FEATURE_GROUPS
from discometry.training.cross_validation import Folds, Scores, out_of_fold, score
from discometry.training.graded_discs import GradedDiscs, read_graded_discs
from discometry.training.learners import Logistic

__all__ = ["ClassifierTraining", "cross_validate", "fit_classifier", "train_classifier"]

_NOTE = (
    "Learnt from slabs of the middle 12 to 27 mm: lateral width, volume, footprint, coronal and transverse "
    "angle and the latents are not used, since slabs cut them off."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierTraining:
    """Options of :func:`fit_classifier`."""

    features: tuple[str, ...] = (*FEATURE_GROUPS["level"], *FEATURE_GROUPS["geometry"])
    """What the classifier sees; more was no better on the discs there are (docs/decisions.md)."""
    strength: float = Logistic().strength
    """Inverse of the ridge, see :class:`~discometry.training.learners.Logistic`."""
    folds: Folds = field(default_factory=Folds)
    """Of the cross-validation that its scores come from."""
    draws: int = 2000
    """Bootstrap draws of patients for the confidence intervals."""


def fit_classifier(data: Path | None, bundle: Path, config: ClassifierTraining | None = None) -> Path:
    """Train on graded discs, cross-validate, and put the classifier with its scores into a bundle.

    Parameters
    ----------
    data
        A cohort with masks and gradings, see :func:`~discometry.io.spider.read_cohort`.
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
    discs = read_graded_discs(data)
    scores = cross_validate(discs, config)
    outcomes = discs.outcomes
    component = classifier_component(
        train_classifier(discs, config),
        trained_on=f"{len(outcomes.positive)} discs of {len(set(outcomes.patients))} patients",
        positive=int(outcomes.positive.sum()),
        strength=config.strength,
        cross_validation={name: one.as_json() for name, one in scores.items()},
        note=_NOTE,
    )
    return write_component(bundle, component)


def train_classifier(discs: GradedDiscs, config: ClassifierTraining) -> Classifier:
    """Train on all discs given."""
    learner = Logistic(features=config.features, strength=config.strength)
    return learner.fit(discs.columns(config.features), discs.outcomes)


def cross_validate(discs: GradedDiscs, config: ClassifierTraining) -> dict[str, Scores]:
    """Score the classifier (``model``) beside what knows less.

    Returns
    -------
    Scores of ``model``, ``level_only``, ``height_only`` (the same learner on one feature) and ``majority``
    (every disc gets the share of positive discs).
    """
    outcomes, learner = discs.outcomes, Logistic(strength=config.strength)
    rivals = {
        "model": config.features,
        "level_only": ("level_place",),
        "height_only": ("height_mean_mm",),
    }
    answers = {}
    for name, features in rivals.items():
        table = discs.columns(features)
        answers[name] = out_of_fold(table, outcomes, learner, config.folds)
    answers["majority"] = np.full_like(answers["model"], outcomes.positive.mean())
    return {name: score(outcomes, values, draws=config.draws) for name, values in answers.items()}
