from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial import cKDTree
from sklearn import metrics

from discometry.core import scores
from discometry.core.volume import Grid, Volume

masks = arrays(bool, (3, 4, 5))
labels = st.lists(st.booleans(), min_size=2, max_size=40)


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Truth and probabilities with ties."""
    truth = np.array(draw(labels))
    values = draw(st.lists(st.integers(0, 10), min_size=len(truth), max_size=len(truth)))
    return truth, np.array(values) / 10


@given(masks, masks)
def test_overlaps_agree_with_scikit_learn_and_stay_in_bounds(a: np.ndarray, b: np.ndarray) -> None:
    assume((a | b).any())
    assert scores.dice(a, b) == pytest.approx(metrics.f1_score(a.ravel(), b.ravel()), abs=1e-12)
    assert scores.iou(a, b) == pytest.approx(metrics.jaccard_score(a.ravel(), b.ravel()), abs=1e-12)
    assert 0 <= scores.iou(a, b) <= scores.dice(a, b) <= 1
    assert scores.dice(a, b) == scores.dice(b, a)
    assert scores.dice(a | b, a | b) == 1


def test_two_empty_masks_have_no_overlap_score() -> None:
    empty = np.zeros(4, bool)
    assert math.isnan(scores.dice(empty, empty))
    assert math.isnan(scores.iou(empty, empty))
    assert scores.dice(empty, ~empty) == 0


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="shapes"):
        scores.dice(np.ones(3), np.ones(4))


def test_the_surface_of_a_box_is_its_outer_layer() -> None:
    array = np.zeros((7, 7, 7), bool)
    array[1:6, 1:6, 1:6] = True
    grid = Grid.from_spacing((7, 7, 7), (2.0, 1.0, 0.5), origin_mm=(10, 0, 0))
    points = scores.surface_points(Volume(grid, array))
    assert len(points) == 5**3 - 3**3
    np.testing.assert_allclose(points.min(axis=0), (12, 1, 0.5), atol=1e-9)
    np.testing.assert_allclose(points.max(axis=0), (20, 5, 2.5), atol=1e-9)


def test_a_mask_that_fills_its_volume_still_has_a_surface() -> None:
    full = Volume(Grid.from_spacing((3, 3, 3), (1, 1, 1)), np.ones((3, 3, 3), bool))
    assert len(scores.surface_points(full)) == 26


@given(st.integers(0, 1000), st.integers(1, 40), st.integers(1, 700))
def test_surface_distances_agree_with_a_search_tree(seed: int, n: int, m: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(n, 3)) * 30, random.normal(size=(m, 3)) * 30
    there, back = cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]
    expected = np.concatenate([there, back]).mean()
    assert scores.average_symmetric_surface_distance(b, a) == pytest.approx(expected, rel=1e-9)
    expected = max(np.percentile(there, 95), np.percentile(back, 95))
    assert scores.hausdorff95(a, b) == pytest.approx(expected, rel=1e-9)


SHIFT = np.array([0, 0, 3])


def test_parallel_planes_are_their_distance_apart() -> None:
    x, y = np.meshgrid(np.arange(30.0), np.arange(30.0))
    plane = np.column_stack([x.ravel(), y.ravel(), np.zeros(900)])
    assert scores.average_symmetric_surface_distance(plane, plane + SHIFT) == pytest.approx(3, abs=1e-12)
    assert scores.hausdorff95(plane, plane + SHIFT) == pytest.approx(3, abs=1e-12)
    assert math.isnan(scores.hausdorff95(plane, np.empty((0, 3))))
    assert math.isnan(scores.average_symmetric_surface_distance(np.empty((0, 3)), plane))


@given(scored())
def test_ranking_scores_agree_with_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    truth, values = case
    assume(truth.any() and not truth.all())
    assert scores.auroc(truth, values) == pytest.approx(metrics.roc_auc_score(truth, values), abs=1e-12)
    expected = metrics.average_precision_score(truth, values)
    assert scores.auprc(truth, values) == pytest.approx(expected, abs=1e-12)
    assert scores.brier(truth, values) == pytest.approx(metrics.brier_score_loss(truth, values), abs=1e-12)
    assert scores.auroc(truth, values) + scores.auroc(~truth, values) == pytest.approx(1, abs=1e-12)
    for score in (scores.auroc, scores.auprc, scores.brier):
        assert 0 <= score(truth, values) <= 1 + 1e-12


@given(scored())
def test_decision_scores_agree_with_scikit_learn(case: tuple[np.ndarray, np.ndarray]) -> None:
    truth, values = case
    called = values > 0.5
    assume(truth.any() and not truth.all())
    assert scores.f1(truth, called) == pytest.approx(metrics.f1_score(truth, called), abs=1e-12)
    expected = metrics.balanced_accuracy_score(truth, called)
    assert scores.balanced_accuracy(truth, called) == pytest.approx(expected, abs=1e-12)


def test_scores_without_meaning_are_nan() -> None:
    ones, half = np.ones(3, bool), np.full(3, 0.5)
    assert math.isnan(scores.auroc(ones, half))
    assert math.isnan(scores.auprc(~ones, half))
    assert math.isnan(scores.balanced_accuracy(ones, ones))
    assert math.isnan(scores.balanced_accuracy(~ones, ones))
    assert math.isnan(scores.f1(~ones, ~ones))
    assert math.isnan(scores.brier([], []))


def test_scores_that_cannot_be_ranked_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        scores.auroc([0, 1], [0.5, np.nan])
    with pytest.raises(ValueError, match="shape"):
        scores.brier([0, 1], [0.5])


def mean(values: np.ndarray) -> float:
    return float(np.mean(values))


def test_an_interval_of_the_mean_matches_theory_when_every_disc_is_its_own_patient() -> None:
    values = np.random.default_rng(1).normal(5, 2, size=400)
    found = scores.bootstrap_interval(mean, values, groups=np.arange(400), seed=3)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean(), abs=1e-12)
    assert found.low == pytest.approx(values.mean() - half, abs=0.03)
    assert found.high == pytest.approx(values.mean() + half, abs=0.03)


def test_discs_of_one_patient_do_not_count_as_new_evidence() -> None:
    values = np.random.default_rng(1).normal(size=30)
    one_each = scores.bootstrap_interval(mean, values, groups=np.arange(30), seed=3)
    five_each = scores.bootstrap_interval(
        mean, np.repeat(values, 5), groups=np.repeat(np.arange(30), 5), seed=3
    )
    assert (five_each.low, five_each.high) == pytest.approx((one_each.low, one_each.high), abs=1e-12)


def test_the_seed_fixes_the_interval_and_the_level_widens_it() -> None:
    truth, values = np.arange(60) % 3 == 0, np.random.default_rng(0).random(60)
    groups = np.array([f"patient {n // 5}" for n in range(60)])
    first, again, other = (
        scores.bootstrap_interval(scores.auroc, truth, values, groups=groups, n=200, seed=seed)
        for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other
    wide = scores.bootstrap_interval(scores.auroc, truth, values, groups=groups, n=200, seed=7, level=0.99)
    assert wide.low <= first.low <= first.value <= first.high <= wide.high


def test_draws_of_one_class_do_not_count() -> None:
    found = scores.bootstrap_interval(scores.auroc, [0, 1], [0.2, 0.8], groups=[0, 1], n=50)
    assert found == scores.Interval(1.0, 1.0, 1.0)
    never = scores.bootstrap_interval(scores.auroc, [1, 1], [0.2, 0.8], groups=[0, 1], n=10)
    assert all(math.isnan(bound) for bound in (never.value, never.low, never.high))


def test_values_and_groups_go_together() -> None:
    for values, groups in (([], []), ([1, 2], [1])):
        with pytest.raises(ValueError, match="length"):
            scores.bootstrap_interval(mean, values, groups=groups)


def test_an_interval_reads_well() -> None:
    assert str(scores.Interval(0.75, 0.7, 0.8001)) == "0.750 (0.700-0.800)"


# Calls and calibration -----------------------------------------------------------------------------------


@given(scored())
def test_accuracy_agrees_with_scikit_learn_and_is_the_micro_averaged_f1(
    given: tuple[np.ndarray, np.ndarray],
) -> None:
    truth, values = given
    called = values >= 0.5
    assert scores.accuracy(truth, called) == pytest.approx(metrics.accuracy_score(truth, called), abs=1e-12)
    micro = metrics.f1_score(truth, called, average="micro")
    assert scores.accuracy(truth, called) == pytest.approx(micro, abs=1e-12)


def test_no_disc_has_no_accuracy() -> None:
    assert math.isnan(scores.accuracy([], []))


def simulated(slope: float, *, count: int = 20_000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes whose log-odds are ``slope`` times what is predicted."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(-0.5, 1.2, count)
    return rng.random(count) < 1 / (1 + np.exp(-slope * logit)), 1 / (1 + np.exp(-logit))


@pytest.mark.parametrize("slope", [0.5, 1.0, 1.8, -0.7])
def test_the_calibration_slope_is_found(slope: float) -> None:
    assert scores.calibration_slope(*simulated(slope)) == pytest.approx(slope, abs=0.06)


@pytest.mark.parametrize("seed", range(4))
def test_the_calibration_slope_agrees_with_scikit_learn(seed: int) -> None:
    from sklearn.linear_model import LogisticRegression

    truth, probability = simulated(0.8, count=60, seed=seed)
    logit = np.log(probability / (1 - probability))
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000).fit(logit[:, None], truth)
    assert scores.calibration_slope(truth, probability) == pytest.approx(model.coef_[0, 0], abs=1e-4)


def test_the_calibration_slope_of_turned_about_answers_is_the_same() -> None:
    truth, probability = simulated(0.8, count=300)
    one, other = (
        scores.calibration_slope(truth, probability),
        scores.calibration_slope(~truth, 1 - probability),
    )
    assert other == pytest.approx(one, abs=1e-6)


@pytest.mark.parametrize(
    ("truth", "probability"),
    [
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]),
        ([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.9]),
        ([0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0]),
        ([0, 1, 0, 1], [0.3, 0.3, 0.3, 0.3]),
        ([1, 1, 1], [0.1, 0.5, 0.9]),
        ([0, 0, 0], [0.1, 0.5, 0.9]),
        ([], []),
    ],
    ids=["parted", "parted but for a tie", "certain", "alike", "all positive", "none positive", "no disc"],
)
def test_where_there_is_no_calibration_slope(truth: list[int], probability: list[float]) -> None:
    assert math.isnan(scores.calibration_slope(truth, probability))


def test_a_calibration_curve_by_hand() -> None:
    truth = [0, 1, 0, 1, 1, 1]
    found = scores.calibration_curve(truth, [0.1, 0.2, 0.3, 0.6, 0.8, 0.9], bins=2)
    np.testing.assert_allclose(found, [[0.2, 1 / 3, 3], [(0.6 + 0.8 + 0.9) / 3, 1.0, 3]], rtol=0, atol=1e-12)


@given(scored(), st.integers(1, 8))
def test_a_calibration_curve_holds_every_disc_once(given: tuple[np.ndarray, np.ndarray], bins: int) -> None:
    truth, values = given
    predicted, observed, number = scores.calibration_curve(truth, values, bins=bins).T
    assert len(number) == min(bins, len(truth))
    assert number.sum() == len(truth)
    assert number.max() - number.min() <= 1
    assert (np.diff(predicted) >= -1e-12).all()
    assert (observed * number).sum() == pytest.approx(truth.sum(), abs=1e-9)
    assert (predicted * number).sum() == pytest.approx(values.sum(), abs=1e-9)


def test_a_calibrated_forecast_lies_on_the_diagonal() -> None:
    predicted, observed, _ = scores.calibration_curve(*simulated(1.0)).T
    np.testing.assert_allclose(observed, predicted, rtol=0, atol=0.03)


def test_a_calibration_curve_of_no_disc_is_empty() -> None:
    assert scores.calibration_curve([], []).shape == (0, 3)
