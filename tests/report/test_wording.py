"""Numbers and words as people read them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discometry.core.records import Geometry, Intensity
from discometry.report.wording import (
    MAIN_COLUMNS,
    MISSING,
    format_number,
    mark_of_score,
    meaning_of_flag,
    measure_of_column,
    number_of,
    per_hundred,
    reason_missing,
    title_of_feature,
    verdict_of_probability,
)
from discometry.stages.classify import FEATURES


@pytest.mark.parametrize(
    ("value", "decimals", "shown"),
    [
        (8.04, 1, "8.0"),
        (-3.14, 1, "−3.1"),
        (-0.04, 1, "0.0"),
        (9999.4, 0, "9999"),
        (12345.6, 0, "12\u202f346"),
        (-12345.6, 0, "−12\u202f346"),
        (math.nan, 1, MISSING),
        (math.inf, 1, MISSING),
    ],
)
def test_number(value, decimals, shown):
    assert format_number(value, decimals=decimals) == shown


@given(st.floats(-1e6, 1e6), st.integers(0, 3))
def test_number_reads_back(value, decimals):
    text = format_number(value, decimals=decimals).replace("−", "-").replace("\u202f", "")
    assert float(text) == pytest.approx(value, abs=0.5 * 10**-decimals + 1e-9)
    assert text != "-" + "0" * len(text)


@pytest.mark.parametrize(
    ("column", "title", "unit", "value", "shown"),
    [
        ("height_mean_mm", "Mean height", "mm", 8.04, "8.0"),
        ("volume_mm3", "Volume", "mm³", 12345.6, "12\u202f346"),
        ("footprint_mm2", "Footprint", "mm²", 1234.5, "1234"),
        ("wedge_deg", "Wedge angle", "°", -7.25, "−7.2"),
        ("narrowing_probability", "Narrowing", "%", 0.256, "26"),
        ("narrowing_probability", "Narrowing", "%", 0.0004, "< 1"),
        ("narrowing_probability", "Narrowing", "%", 0.9996, "> 99"),
        ("narrowing_probability", "Narrowing", "%", 0.0, "0"),
        ("signal_over_canal", "Signal over dural sac", "", 0.256, "0.26"),
        ("latent_3", "Latent 3", "", 0.1234, "0.12"),
        ("reconstruction_iou", "Latent fit (IoU)", "", 0.91234, "0.912"),
        ("signal_ratio", "Signal ratio", "", 0.5, "0.500"),
        ("herniation_depth_mm", "Herniation depth", "mm", 2.0, "2.0"),
        ("bulge_probability", "Bulge probability", "%", 0.5, "50"),
        ("disc_height_index", "Disc height index", "", 0.3514, "0.351"),
        ("z_height_middle", "Middle height", "", -1.25, "−1.2"),
        ("z_something_new", "Z something new", "", 1.0, "1.0"),
    ],
)
def test_measure_of_a_column(column, title, unit, value, shown):
    measure = measure_of_column(column)
    assert (measure.title, measure.unit, measure.show(value)) == (title, unit, shown)


def test_every_geometry_measure_has_its_own_title_unit_and_meaning():
    measures = [measure_of_column(name) for name in Geometry.names()]
    assert len({measure.title for measure in measures}) == len(measures)
    assert all(measure.meaning and "_" not in measure.title for measure in measures)
    assert [measure.column for measure in measures if not measure.unit] == ["disc_height_index"]
    assert set(MAIN_COLUMNS) <= {*Geometry.names(), "narrowing_probability"}


def test_every_signal_has_its_own_title_and_meaning():
    measures = [measure_of_column(name) for name in Intensity.meanings()]
    assert len({measure.title for measure in measures}) == len(measures) == 3
    assert all(measure.meaning and not measure.unit for measure in measures)
    assert all(not measure.title.startswith("Signal over vertebrae") for measure in measures)


def test_every_feature_of_the_classifier_has_words():
    titles = [title_of_feature(name) for name in FEATURES]
    assert len(set(titles)) == len(titles)
    assert all(title and "_" not in title for title in titles)
    assert title_of_feature("shoe_size_mm") == "Shoe size"


@pytest.mark.parametrize(
    ("score", "word"),
    [(-5.0, "low"), (-2.0, "low"), (-1.96, "low"), (-1.94, ""), (0.0, ""), (1.94, ""), (2.0, "high")],
)
def test_a_score_is_marked_as_it_is_shown(score, word):
    assert mark_of_score(score) == word


@pytest.mark.parametrize(
    ("chance", "percent", "verdict", "number"),
    [
        (0.0004, "under 1 %", "very probably not narrowed", "fewer than 1"),
        (0.05, "5 %", "very probably not narrowed", "about 5"),
        (0.096, "10 %", "probably not narrowed", "about 10"),
        (0.25, "25 %", "probably not narrowed", "about 25"),
        (0.5, "50 %", "undecided", "about 50"),
        (0.64, "64 %", "probably narrowed", "about 64"),
        (0.93, "93 %", "very probably narrowed", "about 93"),
        (0.9996, "over 99 %", "very probably narrowed", "more than 99"),
    ],
)
def test_a_probability_in_words(chance, percent, verdict, number):
    assert per_hundred(chance) == percent
    meaning = f"Of 100 discs with this answer, {number} would be graded as narrowed."
    assert verdict_of_probability(chance) == (verdict, meaning)


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_likelier_disc_never_gets_a_milder_verdict(one, other):
    order = ["very probably not", "probably not", "undecided", "probably narrowed", "very probably narrowed"]

    def place(chance):
        return next(n for n, words in enumerate(order) if verdict_of_probability(chance)[0].startswith(words))

    low, high = sorted((one, other))
    assert place(low) <= place(high)


def test_a_cell_that_is_no_number_is_missing():
    assert [number_of(cell) for cell in ("1.5", 2)] == [1.5, 2.0]
    assert all(math.isnan(number_of(cell)) for cell in (None, "?", ""))


def test_standard_error_stands_beside_the_value_on_its_scale():
    assert measure_of_column("height_mean_mm").show(8.04, 0.21) == "8.0 ± 0.2"
    assert measure_of_column("height_mean_mm").show(8.04, 0.034) == "8.0 ± 0.03"
    assert measure_of_column("narrowing_probability").show(0.25, 0.05) == "25 ± 5"
    assert measure_of_column("height_mean_mm").show(math.nan, 0.21) == MISSING


def test_known_flag_is_explained():
    assert meaning_of_flag("truncated").quality
    assert not meaning_of_flag("ambiguous_level").quality
    assert meaning_of_flag("truncated: left").meaning.endswith("(left)")


def test_unknown_flag_keeps_its_name_and_lowers_the_trust():
    flag = meaning_of_flag("strange_thing")
    assert (flag.title, flag.quality) == ("Strange thing", True)
    assert flag.meaning


@pytest.mark.parametrize(
    ("column", "flags", "words"),
    [
        ("narrowing_probability", (), "height"),
        ("wedge_deg", ("truncated", "not_disc_like"), "not that of a disc"),
        ("latent_1", ("truncated",), "not encoded"),
        ("reconstruction_iou", (), "not encoded"),
        ("width_lateral_mm", ("truncated",), "image ends"),
        ("width_lateral_mm", (), "mask"),
        ("wedge_deg", ("implausible",), "none that a disc has"),
        ("z_wedge", (), "reference"),
        ("disc_height_index", ("truncated",), "vertebra"),
    ],
)
def test_missing_value_has_a_reason(column, flags, words):
    assert words in reason_missing(column, flags)


@pytest.mark.parametrize(
    ("column", "image", "words"),
    [
        ("signal_over_canal", False, "no image was given"),
        ("signal_nucleus_over_annulus", False, "no image was given"),
        ("signal_over_canal", True, "no canal is labelled"),
        ("signal_over_vertebrae", True, "no vertebra is labelled"),
        ("signal_nucleus_over_annulus", True, "too few of its voxels"),
        ("wedge_deg", False, "mask"),
    ],
)
def test_missing_signal_has_a_reason(column, image, words):
    assert words in reason_missing(column, ("truncated",) if image else (), image=image)
