from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from discometry.training.cross_validation import Outcomes
from discometry.training.learners import Logistic, Trees


def data(seed: int = 0, discs: int = 200) -> tuple[np.ndarray, Outcomes]:
    """Three features on scales of their own; the first two tell the outcome."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(discs, 3)) * (2.0, 0.1, 30.0) + (8.0, 0.3, 100.0)
    odds = 1.5 * (8 - features[:, 0]) + 10 * (features[:, 1] - 0.3)
    return features, Outcomes(rng.random(discs) < 1 / (1 + np.exp(-odds)), np.arange(discs).astype(str))


def test_logistic_equals_scikit_learn_on_standardised_features() -> None:
    features, outcomes = data()
    found = Logistic(features=("a", "b", "c"), strength=0.3).fit(features, outcomes)
    assert found.features == ("a", "b", "c")
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    model = LogisticRegression(C=0.3, max_iter=5000).fit(standard, outcomes.positive)
    np.testing.assert_allclose(
        found.probabilities(features), model.predict_proba(standard)[:, 1], rtol=0, atol=1e-9
    )


def test_contributions_and_offset_are_the_log_odds() -> None:
    features, outcomes = data()
    found = Logistic().fit(features, outcomes)
    probability = found.probabilities(features)
    total = found.offset + found.contributions(features).sum(axis=1)
    np.testing.assert_allclose(np.log(probability / (1 - probability)), total, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.contributions(features).mean(axis=0), 0.0, rtol=0, atol=1e-9)


def test_units_do_not_matter() -> None:
    features, outcomes = data()
    scale, shift = np.array([10.0, -3.0, 0.01]), np.array([5.0, 0.0, -7.0])
    one, other = Logistic().fit(features, outcomes), Logistic().fit(features * scale + shift, outcomes)
    np.testing.assert_allclose(
        other.probabilities(features * scale + shift), one.probabilities(features), rtol=0, atol=1e-6
    )


def test_a_feature_that_is_not_known_counts_as_its_mean() -> None:
    features, outcomes = data()
    features[::7, 0] = np.nan
    mean = np.nanmean(features[:, 0])
    found = Logistic().fit(features, outcomes)
    filled = np.where(np.isnan(features), mean, features)
    assert found.middle[0] == pytest.approx(mean, abs=1e-12)
    np.testing.assert_allclose(found.probabilities(features), found.probabilities(filled), rtol=0, atol=1e-12)


def test_a_feature_that_tells_nothing_apart_gets_no_weight() -> None:
    features, outcomes = data()
    features[:, 1], features[:, 2] = np.nan, 5.0
    found = Logistic().fit(features, outcomes)
    np.testing.assert_allclose(found.weights[1:], 0.0, rtol=0, atol=1e-9)
    assert found.weights[0] < 0
    assert np.isfinite(found.probabilities(features)).all()


def test_a_stronger_ridge_gives_smaller_weights() -> None:
    features, outcomes = data()
    weights = [
        np.abs(Logistic(strength=one).fit(features, outcomes).weights[:2]) for one in (0.001, 0.1, 10.0)
    ]
    assert (np.diff(weights, axis=0) > 0).all()


def test_trees_learn_and_come_out_the_same() -> None:
    features, outcomes = data()
    fresh, truth = data(seed=1)
    one, other = (Trees(trees=30).fit(features, outcomes).probabilities(fresh) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert one.dtype == np.float64
    assert ((one > 0) & (one < 1)).all()
    assert one[truth.positive].mean() > one[~truth.positive].mean() + 0.3


def test_trees_answer_though_a_feature_is_not_known() -> None:
    features, outcomes = data()
    features[::7, 0] = np.nan
    found = Trees(trees=10).fit(features, outcomes).probabilities(np.full((2, 3), np.nan))
    assert np.isfinite(found).all()


def test_the_papers_settings_of_the_trees() -> None:
    assert (Trees().depth, Trees().trees, Trees().rate) == (3, 200, 0.1)
    features, outcomes = data()
    booster = Trees(depth=2, trees=7).fit(features, outcomes).booster
    assert booster.num_boosted_rounds() == 7
    assert booster.trees_to_dataframe()["Node"].max() <= 6
