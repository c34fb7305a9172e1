from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

import discometry
from discometry.core.errors import BundleError
from discometry.io.bundle import read_bundle, write_component
from discometry.networks.classifier import Classifier, classifier_component, load_classifier
from discometry.stages.classify import FEATURES

CLASSIFIER = Classifier(("height", "width"), np.array([8.0, 30.0]), np.array([-0.5, 0.1]), -1.0)


def log_odds(probability: np.ndarray) -> np.ndarray:
    return np.log(probability / (1 - probability))


def test_an_answer_by_hand() -> None:
    x = np.array([[6.0, 40.0], [8.0, 30.0]])
    np.testing.assert_allclose(CLASSIFIER.contributions(x), [[1.0, 1.0], [0.0, 0.0]], rtol=0, atol=1e-12)
    expected = [1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(1.0))]
    np.testing.assert_allclose(CLASSIFIER.probabilities(x), expected, rtol=0, atol=1e-12)


@given(arrays(np.float64, (5, 2), elements={"min_value": -20, "max_value": 20}))
def test_contributions_and_offset_add_up_to_the_log_odds(x: np.ndarray) -> None:
    total = CLASSIFIER.contributions(x).sum(axis=1) + CLASSIFIER.offset
    np.testing.assert_allclose(log_odds(CLASSIFIER.probabilities(x)), total, rtol=0, atol=1e-8)


@pytest.mark.parametrize("unknown", [np.nan, np.inf, -np.inf])
def test_a_feature_that_is_not_known_adds_nothing(unknown: float) -> None:
    x = np.array([[unknown, 40.0], [8.0, 40.0]])
    assert CLASSIFIER.contributions(x)[0].tolist() == [0.0, 1.0]
    first, second = CLASSIFIER.probabilities(x)
    assert first == second


def test_no_disc_no_probability() -> None:
    assert CLASSIFIER.probabilities(np.empty((0, 2))).shape == (0,)


def test_a_bundle_gives_the_classifier_back(tmp_path: Path) -> None:
    write_component(tmp_path / "bundle", classifier_component(CLASSIFIER, note="here"))
    component = read_bundle(tmp_path / "bundle").component("classifier")
    loaded = load_classifier(component)
    assert component.config["note"] == "here"
    assert (loaded.features, loaded.offset) == (("height", "width"), -1.0)
    x = np.random.default_rng(1).normal(size=(20, 2))
    np.testing.assert_array_equal(loaded.probabilities(x), CLASSIFIER.probabilities(x))


def config(**changes: object) -> dict[str, Any]:
    return {"kind": "logistic", "features": ["a", "b"], "offset": 0.5} | changes


@pytest.mark.parametrize(
    "change",
    [
        {"config": {}},
        {"config": config(kind="trees")},
        {"config": config(features=["a"])},
        {"config": config(features=None)},
        {"config": config(features="ab")},
        {"config": config(features=[1, 2])},
        {"config": config(offset="x")},
        {"config": config(offset=10**400)},
        {"config": config(offset=float("nan"))},
        {"tensors": {}},
        {"tensors": {"middle": np.zeros(2)}},
        {"tensors": {"middle": np.zeros(2), "weights": np.zeros((2, 1))}},
        {"tensors": {"middle": np.zeros(2), "weights": np.array([1.0, np.inf])}},
    ],
)
def test_what_cannot_be_read_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="classifier"):
        load_classifier(replace(classifier_component(CLASSIFIER), **change))


def test_the_shipped_classifier_says_what_it_is_and_what_it_reaches() -> None:
    component = read_bundle().component("classifier")
    classifier = load_classifier(component)
    assert set(classifier.features) <= set(FEATURES)
    place = classifier.features.index("height_mean_mm")
    assert classifier.weights[place] < 0, "the lower, the likelier narrowed"
    scores = component.config["cross_validation"]
    assert set(scores) == {"model", "level_only", "height_only", "majority"}
    value, low, high = scores["model"]["auroc"]
    assert scores["level_only"]["auroc"][0] < low < value < high <= 1
    card = (Path(discometry.__file__).parent / "bundles" / "starter" / "MODEL_CARD.md").read_text("utf-8")
    assert f"AUROC {value:.3f}" in card
