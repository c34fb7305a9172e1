from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from discometry.core.errors import BundleError
from discometry.io.bundle import read_bundle, write_component
from discometry.networks.classifier import (
    Classifier,
    calibrated,
    classifier_component,
    load_classifier,
    margins,
)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """Trees that say whether the first feature is below zero."""
    from xgboost import DMatrix, train

    x = np.random.default_rng(0).normal(size=(200, 2))
    trees = train({"objective": "binary:logistic", "nthread": 1}, DMatrix(x, x[:, 0] < 0), num_boost_round=10)
    return Classifier(trees, ("height", "width"), slope=0.5, offset=0.25)


def test_calibration_is_a_logistic_map() -> None:
    found = calibrated(np.array([0.0, 2.0, -2.0]), 0.5, 0.0)
    np.testing.assert_allclose(found, [0.5, 1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))], rtol=0, atol=1e-12)
    np.testing.assert_allclose(calibrated(np.zeros(1), 1.0, np.log(3)), 0.75, rtol=0, atol=1e-12)


def test_probabilities_are_the_calibrated_margins(classifier: Classifier) -> None:
    x = np.array([[-2.0, 0.0], [2.0, 0.0], [np.nan, np.nan]])
    found = classifier.probabilities(x)
    assert found[0] > 0.8 > 0.3 > found[1]
    assert np.isfinite(found).all()
    odds = np.log(found / (1 - found))
    np.testing.assert_allclose(odds, 0.5 * margins(classifier.trees, x) + 0.25, rtol=0, atol=1e-9)


def test_no_disc_no_probability(classifier: Classifier) -> None:
    assert classifier.probabilities(np.empty((0, 2))).shape == (0,)


def test_a_bundle_gives_the_classifier_back(tmp_path: Path, classifier: Classifier) -> None:
    write_component(tmp_path / "bundle", classifier_component(classifier, note="here"))
    component = read_bundle(tmp_path / "bundle").component("classifier")
    loaded = load_classifier(component)
    assert component.config["note"] == "here"
    assert (loaded.features, loaded.slope, loaded.offset) == (("height", "width"), 0.5, 0.25)
    x = np.random.default_rng(1).normal(size=(20, 2))
    np.testing.assert_array_equal(loaded.probabilities(x), classifier.probabilities(x))


@pytest.mark.parametrize(
    "change",
    [
        {"payload": b"not trees"},
        {"config": {}},
        {"config": {"features": ["a"], "calibration": {"slope": 1, "offset": 0}}},
        {"config": {"features": ["a", "b"], "calibration": {"slope": "x", "offset": 0}}},
        {"config": {"features": ["a", "b"], "calibration": None}},
    ],
)
def test_what_cannot_be_read_is_refused(classifier: Classifier, change: dict[str, Any]) -> None:
    with pytest.raises(BundleError, match="classifier"):
        load_classifier(replace(classifier_component(classifier), **change))
