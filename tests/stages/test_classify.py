from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discometry.core.anatomy import LEVELS
from discometry.core.errors import BundleError, InputError, LabelError
from discometry.core.records import Geometry, Intensity
from discometry.networks.classifier import Classifier
from discometry.stages.classify import FEATURE_GROUPS, FEATURES, classify, features

NAN = float("nan")


def shape(height: float = 8.0, width: float = 32.0) -> Geometry:
    return Geometry(
        height_mean_mm=height,
        width_ap_mm=width,
        angle_sagittal_deg=-3.0,
        wedge_deg=5.0,
        height_anterior_mm=9.0,
        height_middle_mm=10.0,
        height_posterior_mm=6.0,
        height_dabbs_mm=7.5,
        disc_height_index=0.3,
    )


def column(table: np.ndarray, name: str) -> list[float]:
    return list(table[:, FEATURES.index(name)])


# The log-odds grow by one for each mm of height that is missing.
CLASSIFIER = Classifier(("height_mean_mm", "level_place"), np.array([8.0, 2.0]), np.array([-1.0, 0.0]), 0.0)


def test_every_feature_stands_once_and_in_one_group() -> None:
    assert len(set(FEATURES)) == len(FEATURES) == sum(map(len, FEATURE_GROUPS.values()))


def test_features_by_hand() -> None:
    found = features(["L5/S1", "L4/L5", "L2/L3"], [shape(6.0), shape(9.0, 36.0), shape(10.0)])
    assert found.shape == (3, len(FEATURES))
    expected = {
        "level_place": [0, 1, 3],
        "height_mean_mm": [6, 9, 10],
        "height_anterior_mm": [9, 9, 9],
        "height_middle_mm": [10, 10, 10],
        "height_posterior_mm": [6, 6, 6],
        "width_ap_mm": [32, 36, 32],
        "wedge_deg": [5, 5, 5],
        "angle_sagittal_deg": [-3, -3, -3],
        "height_over_width_ap": [6 / 32, 0.25, 10 / 32],
        "height_over_neighbours": [6 / 9, 9 / 6, NAN],
        "height_over_patient": [6 / 9.5, 9 / 8, 10 / 7.5],
        "width_ap_over_patient": [32 / 34, 36 / 32, 32 / 34],
        "disc_height_index": [0.3, 0.3, 0.3],
        "endplate_concavity_mm": [2.5, 2.5, 2.5],
        **dict.fromkeys(Intensity.meanings(), [NAN] * 3),
        **dict.fromkeys(("age_years", "sex_female"), [NAN] * 3),
    }
    assert set(expected) == set(FEATURES)
    for name, values in expected.items():
        np.testing.assert_allclose(column(found, name), values, rtol=0, atol=1e-12, err_msg=name)


def test_height_over_both_neighbours() -> None:
    found = features(["L4/L5", "L3/L4", "L2/L3"], [shape(6.0), shape(9.0), shape(12.0)])
    assert column(found, "height_over_neighbours")[1] == pytest.approx(1.0, abs=1e-12)
    unknown = features(["L4/L5", "L3/L4", "L2/L3"], [shape(6.0), shape(9.0), shape(NAN)])
    assert column(unknown, "height_over_neighbours")[1] == pytest.approx(1.5, abs=1e-12)
    for name in ("height_mean_mm", "height_over_width_ap", "height_over_neighbours", "height_over_patient"):
        assert np.isnan(column(unknown, name)[2]), name


def test_signal_and_person_are_taken_as_they_are() -> None:
    signal = Intensity(signal_over_vertebrae=0.5, signal_over_canal=0.25, signal_nucleus_over_annulus=1.5)
    for sex, female in (("F", 1.0), ("m", 0.0), ("", NAN), ("other", NAN)):
        row = features(["L4/L5"], [shape()], [signal], age_years=61.0, sex=sex)[0]
        np.testing.assert_array_equal(row[-5:], [0.5, 0.25, 1.5, 61.0, female])


def test_only_what_a_slab_supports() -> None:
    full = replace(shape(), width_lateral_mm=50.0, volume_mm3=1e4, footprint_mm2=1e3, angle_coronal_deg=9.0)
    np.testing.assert_array_equal(features(["L4/L5"], [full]), features(["L4/L5"], [shape()]))


@given(st.permutations(range(5)), st.lists(st.floats(1, 15), min_size=5, max_size=5))
def test_the_order_of_discs_does_not_matter(order: list[int], heights: list[float]) -> None:
    shapes = [shape(height) for height in heights]
    whole = features(LEVELS[:5], shapes)
    turned = features([LEVELS[n] for n in order], [shapes[n] for n in order])
    np.testing.assert_array_equal(turned, whole[list(order)])


def test_low_discs_are_the_likelier_narrowed() -> None:
    table = features(LEVELS[:3], [shape(4.0), shape(9.0), shape(NAN, NAN)])
    low, high, unknown = classify(table, CLASSIFIER)
    assert low[0] == pytest.approx(1 / (1 + np.exp(-4.0)), abs=1e-12)
    assert low[1] == {"height_mean_mm": 4.0, "level_place": 0.0}
    assert high[0] == pytest.approx(1 / (1 + np.exp(1.0)), abs=1e-12)
    assert np.isnan(unknown[0])
    assert unknown[1] == {}, "no height, no answer and no reason for one"


def test_no_disc_no_answer() -> None:
    assert classify(features([], []), CLASSIFIER) == ()


def test_a_classifier_of_unknown_features_is_refused() -> None:
    strange = replace(CLASSIFIER, features=("height_mean_mm", "shoe_size"))
    with pytest.raises(BundleError, match="shoe_size"):
        classify(features(LEVELS[:1], [shape()]), strange)


def test_wrong_levels_are_refused() -> None:
    with pytest.raises(InputError, match="2 levels, 1 geometries and 2 intensities"):
        features(["L4/L5", "L5/S1"], [shape()])
    with pytest.raises(InputError, match="1 levels, 1 geometries and 2 intensities"):
        features(["L4/L5"], [shape()], [Intensity()] * 2)
    with pytest.raises(LabelError, match="L9/S1"):
        features(["L9/S1"], [shape()])
