from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from discometry.core.errors import InputError
from discometry.io.bundle import read_bundle
from discometry.networks.classifier import load_classifier
from discometry.stages.classify import FEATURES
from discometry.training import fit_classifier as module
from discometry.training.cross_validation import Folds, Outcomes
from discometry.training.fit_classifier import (
    ClassifierTraining,
    cross_validate,
    fit_classifier,
    train_classifier,
)
from discometry.training.graded_discs import GradedDiscs, read_graded_discs

QUICK = ClassifierTraining(folds=Folds(folds=3, repeats=2), draws=100)
HEIGHT = FEATURES.index("height_mean_mm")


def graded(patients: int = 24, *, seed: int = 0, informative: bool = True) -> GradedDiscs:
    """Six discs a patient; the lower, the likelier narrowed (or not); some heights are not known."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(6 * patients, len(FEATURES)))
    features[:, 0] = np.tile(np.arange(6), patients)
    features[:, HEIGHT] = rng.uniform(2, 12, 6 * patients)
    chance = 1 / (1 + np.exp(1.5 * (features[:, HEIGHT] - 6))) if informative else 0.3
    narrowed = rng.random(6 * patients) < chance
    features[::17, HEIGHT] = np.nan
    return GradedDiscs(features, Outcomes(narrowed, np.repeat([f"p{n}" for n in range(patients)], 6)))


def test_the_classifier_finds_what_there_is() -> None:
    scores = cross_validate(graded(), QUICK)
    assert scores["model"].auroc.value > 0.8
    assert scores["height_only"].auroc.value > 0.8
    assert scores["model"].brier.value < scores["level_only"].brier.value
    assert 0.3 < scores["level_only"].auroc.value < 0.7
    assert scores["model"].auroc.low < scores["model"].auroc.value < scores["model"].auroc.high
    assert scores["model"].f1.value > 0.6 > scores["level_only"].f1.value
    assert scores["model"].balanced_accuracy.value > 0.7


def test_majority_is_what_it_must_be() -> None:
    discs = graded()
    share = discs.outcomes.positive.mean()
    majority = cross_validate(discs, QUICK)["majority"]
    assert majority.auroc.value == 0.5
    assert majority.balanced_accuracy.value == 0.5
    assert majority.f1.value == 0.0
    assert majority.accuracy.value == pytest.approx(1 - share, abs=1e-12)
    assert majority.brier.value == pytest.approx(share * (1 - share), abs=1e-12)
    assert np.isnan(majority.calibration_slope.value)


def test_noise_is_not_called_signal() -> None:
    values = [cross_validate(graded(seed=n, informative=False), QUICK)["model"].auroc.value for n in range(4)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.1)


def test_a_higher_disc_of_the_same_shape_is_never_likelier_narrowed() -> None:
    classifier = train_classifier(graded(), QUICK)
    place = classifier.features.index("height_mean_mm")
    for row in np.random.default_rng(1).normal(size=(20, len(classifier.features))):
        ladder = np.tile(row, (30, 1))
        ladder[:, place] = np.linspace(1, 14, 30)
        assert (np.diff(classifier.probabilities(ladder)) < 0).all()


def test_probabilities_are_those_of_fresh_discs() -> None:
    classifier = train_classifier(graded(60), QUICK)
    fresh = graded(400, seed=5)
    found, narrowed = classifier.probabilities(fresh.columns(classifier.features)), fresh.outcomes.positive
    assert found.mean() == pytest.approx(narrowed.mean(), abs=0.05)
    for chosen in (found < 0.2, found > 0.8):
        assert narrowed[chosen].mean() == pytest.approx(found[chosen].mean(), abs=0.1)


def test_the_classifier_sees_the_features_of_its_options_and_no_other() -> None:
    discs, config = graded(), replace(QUICK, features=("wedge_deg", "height_mean_mm"))
    classifier = train_classifier(discs, config)
    assert classifier.features == ("wedge_deg", "height_mean_mm")
    hidden = discs.features.copy()
    others = [n for n, name in enumerate(FEATURES) if name not in classifier.features]
    hidden[:, others] = 0.0
    again = train_classifier(replace(discs, features=hidden), config)
    np.testing.assert_array_equal(again.weights, classifier.weights)


def test_the_bundle_holds_the_classifier_and_its_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path] = []

    def read(folder: Path) -> GradedDiscs:
        asked.append(folder)
        return graded()

    monkeypatch.setattr(module, "read_graded_discs", read)
    bundle = fit_classifier(tmp_path / "data", tmp_path / "bundle", QUICK)
    assert asked == [tmp_path / "data"]
    component = read_bundle(bundle).component("classifier")
    assert component.config["trained_on"] == "144 discs of 24 patients"
    assert component.config["positive"] == int(graded().outcomes.positive.sum())
    scores = component.config["cross_validation"]
    assert set(scores) == {"model", "level_only", "height_only", "majority"}
    value, low, high = scores["model"]["auroc"]
    assert low < value < high
    assert scores["majority"]["calibration_slope"] == [None, None, None]
    table = graded().columns(QUICK.features)
    expected = train_classifier(graded(), QUICK).probabilities(table)
    np.testing.assert_array_equal(load_classifier(component).probabilities(table), expected)


def test_phantoms_have_no_gradings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="graded"):
        fit_classifier(None, tmp_path / "bundle")


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(InputError, match="at least 3 of each"):
        cross_validate(graded(2), QUICK)
    discs = graded()
    none = replace(discs.outcomes, positive=np.zeros_like(discs.outcomes.positive))
    with pytest.raises(InputError, match="0 patients with"):
        cross_validate(replace(discs, outcomes=none), QUICK)


def test_real_slabs_tell_narrowing_better_than_the_level(shared_data: Path) -> None:
    discs = read_graded_discs(shared_data / "spider")
    assert len(discs.outcomes.positive) == 197
    assert len(set(discs.outcomes.patients)) == 26
    assert not {"18", "55", "57", "98"} & set(discs.outcomes.patients), "their gradings do not fit"
    scores = cross_validate(discs, ClassifierTraining(draws=100))
    assert scores["model"].auroc.value == pytest.approx(0.908, abs=0.005)
    assert scores["model"].auroc.value > scores["level_only"].auroc.value + 0.1
    assert scores["model"].brier.value < scores["majority"].brier.value - 0.05
