from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from discometry.core.errors import InputError
from discometry.core.scores import brier
from discometry.io.bundle import read_bundle
from discometry.networks.classifier import load_classifier
from discometry.stages.classify import FEATURES
from discometry.training import fit_classifier as module
from discometry.training.fit_classifier import (
    ClassifierTraining,
    cross_validate,
    fit_classifier,
    train_classifier,
)
from discometry.training.graded_discs import GradedDiscs, read_graded_discs

QUICK = ClassifierTraining(trees=20, folds=3, draws=100)
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
    return GradedDiscs(features, narrowed, np.repeat([f"p{n}" for n in range(patients)], 6))


def test_the_classifier_finds_what_there_is() -> None:
    scores = cross_validate(graded(), QUICK)
    assert scores["model"].auroc.value > 0.8
    assert scores["model"].brier.value < scores["level_only"].brier.value
    assert 0.3 < scores["level_only"].auroc.value < 0.7
    assert scores["model"].auroc.low < scores["model"].auroc.value < scores["model"].auroc.high
    assert scores["model"].f1.value > 0.6 > scores["level_only"].f1.value
    assert scores["model"].balanced_accuracy.value > 0.7


def test_majority_is_what_it_must_be() -> None:
    discs = graded()
    share = discs.narrowed.mean()
    majority = cross_validate(discs, QUICK)["majority"]
    assert majority.auroc.value == 0.5
    assert majority.balanced_accuracy.value == 0.5
    assert majority.f1.value == 0.0
    assert majority.brier.value == pytest.approx(share * (1 - share), abs=1e-12)


def test_noise_is_not_called_signal() -> None:
    values = [cross_validate(graded(seed=n, informative=False), QUICK)["model"].auroc.value for n in range(4)]
    assert np.mean(values) == pytest.approx(0.5, abs=0.1)


def test_patients_are_never_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[str]] = []
    fitted = module._fit_trees

    def watched(discs: GradedDiscs, *rest: object) -> object:
        seen.append(set(discs.patients))
        return fitted(discs, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "_fit_trees", watched)
    discs = graded(12)
    for training, held in module._folds(discs, QUICK):
        assert not set(discs.patients[training]) & set(discs.patients[held])
    module._probabilities_out_of_fold(discs, FEATURES, QUICK)
    outer = [patients for patients in seen if len(patients) == 8]
    inner = [patients for patients in seen if len(patients) < 8]
    assert len(outer) == 3
    assert len(inner) == 9
    for number, patients in enumerate(outer):
        assert all(part < patients for part in inner[3 * number : 3 * number + 3])


def test_a_higher_disc_is_never_likelier_narrowed() -> None:
    classifier = train_classifier(graded(), QUICK)
    rows = np.random.default_rng(1).normal(size=(20, len(FEATURES)))
    for row in rows:
        ladder = np.tile(row, (30, 1))
        ladder[:, HEIGHT] = np.linspace(1, 14, 30)
        assert (np.diff(classifier.probabilities(ladder)) <= 1e-12).all()


def test_calibration_tempers_trees_that_know_their_discs_by_heart() -> None:
    classifier = train_classifier(graded(60), replace(QUICK, trees=200))
    assert 0 < classifier.slope < 1
    fresh = graded(400, seed=5)
    found = classifier.probabilities(fresh.features)
    raw = replace(classifier, slope=1.0, offset=0.0).probabilities(fresh.features)
    assert brier(fresh.narrowed, found) < brier(fresh.narrowed, raw) - 0.005
    assert found.mean() == pytest.approx(fresh.narrowed.mean(), abs=0.05)
    for chosen in (found < 0.2, found > 0.8):
        assert fresh.narrowed[chosen].mean() == pytest.approx(found[chosen].mean(), abs=0.1)


def test_margins_that_mislead_are_not_turned_round() -> None:
    narrowed = np.array([True] * 10 + [False] * 30)
    slope, offset = module._fit_calibration(np.where(narrowed, -1.0, 1.0), narrowed)
    assert slope == 0.0
    assert offset == pytest.approx(np.log(10 / 30), abs=1e-12)


def test_the_bundle_holds_the_classifier_and_its_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Path, tuple[str, ...]]] = []

    def read(folder: Path, *, left_out: tuple[str, ...]) -> GradedDiscs:
        asked.append((folder, left_out))
        return graded()

    monkeypatch.setattr(module, "read_graded_discs", read)
    bundle = fit_classifier(tmp_path / "data", tmp_path / "bundle", QUICK)
    assert asked == [(tmp_path / "data", ("18", "55", "57", "98"))]
    component = read_bundle(bundle).component("classifier")
    assert component.config["trained_on"] == "144 discs of 24 patients"
    assert set(component.config["cross_validation"]) == {"model", "level_only", "majority"}
    value, low, high = component.config["cross_validation"]["model"]["auroc"]
    assert low < value < high
    expected = train_classifier(graded(), QUICK).probabilities(graded().features)
    np.testing.assert_array_equal(load_classifier(component).probabilities(graded().features), expected)


def test_scores_without_a_value_are_null() -> None:
    nowhere = module.Interval(float("nan"), float("nan"), 0.5)
    scores = module.ClassifierScores(nowhere, nowhere, nowhere, nowhere)
    assert scores.as_json()["f1"] == [None, None, 0.5]


def test_phantoms_have_no_gradings(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="graded"):
        fit_classifier(None, tmp_path / "bundle")


def test_too_few_patients_are_refused() -> None:
    with pytest.raises(InputError, match="at least 5 of each"):
        cross_validate(graded(4), QUICK)
    discs = graded()
    with pytest.raises(InputError, match="0 patients with"):
        train_classifier(replace(discs, narrowed=np.zeros_like(discs.narrowed)), QUICK)


def test_real_slabs_tell_narrowing_better_than_the_level(shared_data: Path) -> None:
    discs = read_graded_discs(shared_data / "spider", left_out=ClassifierTraining().left_out)
    assert len(discs.narrowed) == 197
    assert len(set(discs.patients)) == 26
    scores = cross_validate(discs, ClassifierTraining(draws=100))
    assert scores["model"].auroc.value > scores["level_only"].auroc.value + 0.1
    assert scores["model"].brier.value < scores["majority"].brier.value - 0.05
