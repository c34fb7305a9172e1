from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discometry.core.anatomy import LEVELS
from discometry.core.errors import BundleError, InputError, LabelError
from discometry.core.records import Geometry
from discometry.networks.classifier import Classifier
from discometry.stages.classify import FEATURES, classify, features

NAN = float("nan")


def shape(height: float = 8.0, width: float = 32.0) -> Geometry:
    return Geometry(height_mean_mm=height, width_ap_mm=width, angle_sagittal_deg=-3.0, wedge_deg=5.0)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """Trees that call a disc narrowed where it is low."""
    from xgboost import DMatrix, train

    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, len(FEATURES)))
    x[:, 1] = rng.uniform(2, 12, 300)
    trees = train({"objective": "binary:logistic", "nthread": 1}, DMatrix(x, x[:, 1] < 6), num_boost_round=20)
    return Classifier(trees, FEATURES)


def test_features_by_hand() -> None:
    found = features(["L5/S1", "L4/L5", "L2/L3"], [shape(6.0), shape(9.0, 36.0), shape(10.0)])
    expected = [
        [0, 6.0, 32.0, -3.0, 5.0, 6 / 32, 6 / 9],
        [1, 9.0, 36.0, -3.0, 5.0, 0.25, 9 / 6],
        [3, 10.0, 32.0, -3.0, 5.0, 10 / 32, NAN],
    ]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_height_over_both_neighbours() -> None:
    found = features(["L4/L5", "L3/L4", "L2/L3"], [shape(6.0), shape(9.0), shape(12.0)])
    assert found[1, -1] == pytest.approx(1.0, abs=1e-12)
    unknown = features(["L4/L5", "L3/L4", "L2/L3"], [shape(6.0), shape(9.0), shape(NAN)])
    assert unknown[1, -1] == pytest.approx(1.5, abs=1e-12)
    assert np.isnan(unknown[2, [1, 5, 6]]).all()


def test_only_what_a_slab_supports() -> None:
    full = replace(shape(), width_lateral_mm=50.0, volume_mm3=1e4, footprint_mm2=1e3, angle_coronal_deg=9.0)
    np.testing.assert_array_equal(features(["L4/L5"], [full]), features(["L4/L5"], [shape()]))


@given(st.permutations(range(5)), st.lists(st.floats(1, 15), min_size=5, max_size=5))
def test_the_order_of_discs_does_not_matter(order: list[int], heights: list[float]) -> None:
    shapes = [shape(height) for height in heights]
    whole = features(LEVELS[:5], shapes)
    turned = features([LEVELS[n] for n in order], [shapes[n] for n in order])
    np.testing.assert_array_equal(turned, whole[list(order)])


def test_low_discs_are_the_likelier_narrowed(classifier: Classifier) -> None:
    found = classify(LEVELS[:3], [shape(4.0), shape(9.0), shape(NAN, NAN)], classifier)
    assert found[0] > 0.7 > 0.3 > found[1]
    assert np.isnan(found[2]), "no height, no answer"
    assert classify([], [], classifier) == ()


def test_another_bundles_features_are_refused(classifier: Classifier) -> None:
    with pytest.raises(BundleError, match="height_mean_mm"):
        classify(LEVELS[:1], [shape()], replace(classifier, features=FEATURES[:2]))


def test_wrong_levels_are_refused() -> None:
    with pytest.raises(InputError, match="2 levels and 1 geometries"):
        features(["L4/L5", "L5/S1"], [shape()])
    with pytest.raises(LabelError, match="L9/S1"):
        features(["L9/S1"], [shape()])
