"""Folds by patient, honest scores, and comparisons on the same discs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discometry.core.errors import InputError
from discometry.core.scores import auroc
from discometry.training.cross_validation import Folds, Outcomes, difference, out_of_fold, score
from discometry.training.learners import Logistic

NAN = float("nan")


def planted(patients: int = 30, *, effect: float = 3.0, seed: int = 0) -> tuple[np.ndarray, Outcomes]:
    """Six discs a patient, the second of three features tells the outcome."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(6 * patients, 3))
    positive = rng.random(6 * patients) < 1 / (1 + np.exp(1.0 - effect * features[:, 1]))
    return features, Outcomes(positive, np.repeat([f"p{n}" for n in range(patients)], 6))


@dataclass
class Watched:
    """A learner that keeps what it was shown, and answers with the share of positive discs."""

    seen: list[tuple[np.ndarray, Outcomes]] = field(default_factory=list)
    asked: list[np.ndarray] = field(default_factory=list)

    def fit(self, features: np.ndarray, outcomes: Outcomes) -> Watched:
        self.seen.append((features, outcomes))
        return self

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        self.asked.append(features)
        return np.full(len(features), self.seen[-1][1].positive.mean())


# Folds ------------------------------------------------------------------------------------------------------


@given(st.integers(2, 6), st.integers(0, 20))
def test_patients_are_never_on_both_sides_and_every_disc_is_tested_once_a_repeat(
    parts: int, seed: int
) -> None:
    _, outcomes = planted()
    tested = np.zeros((2, len(outcomes.positive)), int)
    for repeat, rows, held in Folds(folds=parts, repeats=2, seed=seed).split(outcomes):
        assert not set(outcomes.patients[rows]) & set(outcomes.patients[held])
        assert sorted([*rows, *held]) == list(range(len(outcomes.positive)))
        tested[repeat, held] += 1
    assert (tested == 1).all()


def test_without_grouping_patients_lie_on_both_sides_as_in_the_paper() -> None:
    _, outcomes = planted()
    shared = [
        set(outcomes.patients[rows]) & set(outcomes.patients[held])
        for _, rows, held in Folds(by_patient=False, repeats=1).split(outcomes)
    ]
    assert all(shared)


def test_the_same_seed_gives_the_same_folds_and_repeats_differ() -> None:
    _, outcomes = planted()
    first, again = (
        [held.tolist() for _, _, held in Folds(repeats=2, seed=3).split(outcomes)] for _ in range(2)
    )
    assert first == again
    assert sorted(first[:5]) != sorted(first[5:])
    assert [held.tolist() for _, _, held in Folds(repeats=1, seed=4).split(outcomes)] == first[5:]


def test_one_class_is_refused() -> None:
    _, outcomes = planted()
    for value, words in ((False, "0 patients with a positive disc"), (True, "and 0 with a negative one")):
        only = replace(outcomes, positive=np.full_like(outcomes.positive, value))
        with pytest.raises(InputError, match=words):
            list(Folds().split(only))


def test_too_few_patients_are_refused_though_their_discs_are_many() -> None:
    _, outcomes = planted(4)
    outcomes = replace(outcomes, positive=np.arange(24) % 3 == 0)
    with pytest.raises(InputError, match=r"4 patients .* at least 5 of each"):
        list(Folds().split(outcomes))
    assert len(list(Folds(by_patient=False, repeats=1).split(outcomes))) == 5
    few = replace(outcomes, positive=np.arange(len(outcomes.positive)) < 3)
    with pytest.raises(InputError, match="3 discs with a positive disc"):
        list(Folds(by_patient=False).split(few))


def test_outcomes_and_patients_go_together() -> None:
    with pytest.raises(InputError, match="2 outcomes and 1 patients"):
        Outcomes(np.ones(2, bool), np.array(["a"]))


# Out of fold ------------------------------------------------------------------------------------------------


def test_a_learner_sees_the_rows_of_its_folds_and_no_other() -> None:
    table, outcomes = planted()
    folds, learner = Folds(folds=3, repeats=2), Watched()
    found = out_of_fold(table, outcomes, learner, folds)
    assert found.shape == (len(outcomes.positive), 2)
    for (repeat, rows, held), (shown, told), asked in zip(
        folds.split(outcomes), learner.seen, learner.asked, strict=True
    ):
        np.testing.assert_array_equal(shown, table[rows])
        np.testing.assert_array_equal(told.positive, outcomes.positive[rows])
        np.testing.assert_array_equal(told.patients, outcomes.patients[rows])
        np.testing.assert_array_equal(asked, table[held])
        assert (found[held, repeat] == outcomes.positive[rows].mean()).all()


def test_what_is_planted_is_found() -> None:
    table, outcomes = planted(60)
    folds = Folds(repeats=2)
    scores = score(outcomes, out_of_fold(table, outcomes, Logistic(), folds), draws=200)
    assert scores.auroc.low > 0.85
    assert scores.auroc.value < auroc(outcomes.positive, table[:, 1]) + 0.01, (
        "no better than what was planted"
    )
    assert scores.calibration_slope.low < 1.1
    assert scores.calibration_slope.high > 0.9
    blind = out_of_fold(table[:, [0, 2]], outcomes, Logistic(), folds)
    gain = difference(outcomes, out_of_fold(table, outcomes, Logistic(), folds), blind, draws=200)
    assert gain.low > 0.2


def test_shuffled_outcomes_give_chance() -> None:
    table, outcomes = planted(60)
    for seed in range(3):
        shuffled = replace(outcomes, positive=np.random.default_rng(seed).permutation(outcomes.positive))
        found = score(shuffled, out_of_fold(table, shuffled, Logistic(), Folds(repeats=2)), draws=200)
        assert found.auroc.low < 0.5 < found.auroc.high
        assert 0.35 < found.auroc.value < 0.65


def test_a_leak_through_patients_is_what_grouping_prevents() -> None:
    """Discs with their patient's mark and outcomes by patient: only ungrouped folds can look that up."""
    rng = np.random.default_rng(0)
    sick = rng.random(40) < 0.5
    mark = np.repeat(rng.normal(size=(40, 40)), 5, axis=0)
    outcomes = Outcomes(np.repeat(sick, 5), np.repeat([f"p{n}" for n in range(40)], 5))
    by_patient, by_disc = (
        score(outcomes, out_of_fold(mark, outcomes, Logistic(), folds), draws=50).auroc
        for folds in (Folds(repeats=2), Folds(repeats=2, by_patient=False))
    )
    assert by_disc.value > 0.95
    assert by_patient.value < 0.75


# Scores -----------------------------------------------------------------------------------------------------


TRUTH = Outcomes(np.array([True, True, False, False]), np.array(["a", "b", "c", "d"]))


def test_scores_of_known_probabilities() -> None:
    probabilities = np.array([[0.9], [0.3], [0.6], [0.1]])
    found = score(TRUTH, probabilities, draws=50)
    assert found.auroc.value == 0.75
    assert found.auprc.value == pytest.approx((1 + 2 / 3) / 2, abs=1e-12)
    assert found.brier.value == pytest.approx((0.01 + 0.49 + 0.36 + 0.01) / 4, abs=1e-12)
    assert (found.f1.value, found.balanced_accuracy.value, found.accuracy.value) == (0.5, 0.5, 0.5)


def test_one_half_counts_as_positive() -> None:
    assert score(TRUTH, np.full((4, 1), 0.5), draws=5).balanced_accuracy.value == 0.5
    assert score(TRUTH, np.array([[0.5], [0.5], [0.49], [0.49]]), draws=5).accuracy.value == 1.0


def test_a_score_is_the_mean_over_repeats() -> None:
    good, bad = np.array([0.9, 0.8, 0.2, 0.1]), np.array([0.1, 0.2, 0.8, 0.9])
    both = score(TRUTH, np.stack([good, bad], axis=1), draws=20)
    assert (both.auroc.value, both.accuracy.value) == (0.5, 0.5)
    alike = score(TRUTH, np.stack([good, good], axis=1), draws=20)
    assert alike.as_json() == score(TRUTH, good[:, None], draws=20).as_json()


def test_scores_as_json_are_rounded_and_null_where_there_are_none() -> None:
    found = score(TRUTH, np.full((4, 2), 1 / 3), draws=20).as_json()
    assert found["calibration_slope"] == [None, None, None]
    assert found["brier"][0] == round((2 * (2 / 3) ** 2 + 2 * (1 / 3) ** 2) / 4, 4)
    assert list(found) == [
        "auroc",
        "auprc",
        "f1",
        "balanced_accuracy",
        "brier",
        "calibration_slope",
        "accuracy",
    ]


def test_a_thing_differs_from_itself_by_nothing() -> None:
    table, outcomes = planted()
    found = out_of_fold(table, outcomes, Logistic(), Folds(repeats=2))
    same = difference(outcomes, found, found, draws=100)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_a_difference_is_that_of_the_scores_and_turns_with_its_order() -> None:
    table, outcomes = planted()
    one, other = (
        out_of_fold(table[:, columns], outcomes, Logistic(), Folds(repeats=2)) for columns in ([0, 1], [0])
    )
    forth, back = difference(outcomes, one, other, draws=100), difference(outcomes, other, one, draws=100)
    expected = score(outcomes, one, draws=5).auroc.value - score(outcomes, other, draws=5).auroc.value
    assert forth.value == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(
        [forth.value, forth.low, forth.high], [-back.value, -back.high, -back.low], rtol=0, atol=1e-12
    )
