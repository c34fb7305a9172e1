"""Cohorts: SPIDER's folder and tables of one's own, read or refused by file and row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from discometry.core.errors import InputError
from discometry.io.spider import GRADING_COLUMNS, GRADINGS_FILE, Cohort, read_cohort

GRADINGS = f"Patient,IVD label,{','.join(GRADING_COLUMNS)}\n"


def make_folder(
    place: Path, *, images: str = "", masks: str = "", gradings: str = "", overview: str = ""
) -> Path:
    """Lay out a folder as SPIDER; scans are named by what stands before ``.mha``, and are empty."""
    for part, names in (("images", images), ("masks", masks)):
        (place / part).mkdir(parents=True)
        for name in names.split():
            (place / part / f"{name}.mha").touch()
    for name, text in ((GRADINGS_FILE, gradings), ("overview.csv", overview)):
        if text:
            (place / name).write_text(text, encoding="utf-8")
    return place


def make_table(place: Path, text: str) -> Path:
    """Write a table of one's own, with the scans it may name beside it."""
    (place / "scans").mkdir()
    for name in ("a.mha", "b.nii.gz", "c.mha"):
        (place / "scans" / name).touch()
    (place / "mine.csv").write_text(text, encoding="utf-8")
    return place / "mine.csv"


def refused(source: Path, *words: str) -> None:
    with pytest.raises(InputError) as caught:
        read_cohort(source)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


# A folder laid out as SPIDER --------------------------------------------------------------------------------


def test_a_whole_folder(tmp_path: Path) -> None:
    make_folder(
        tmp_path,
        images="10_t1 2_t2 2_t1 2_t2_SPACE",
        masks="10_t1 2_t1 2_t2",
        gradings=GRADINGS + "2,1,0,1,0,0,1,1,0,5\n2,2,,0,0,0,0,0,1,3\n",
        overview="new_file_name,subset,sex,birth_date\n2_t1,training,F,61.5\n2_t2,training, M ,\n",
    )
    cohort = read_cohort(tmp_path)
    assert [one.study for one in cohort.studies] == ["2_t1", "2_t2", "2_t2_SPACE", "10_t1"], "by number"
    first, second, third, _ = cohort.studies
    assert (first.patient, first.sequence, first.age, first.sex) == ("2", "t1", 61.5, "F")
    assert first.image == tmp_path / "images" / "2_t1.mha"
    assert first.mask == tmp_path / "masks" / "2_t1.mha"
    assert (second.sex, np.isnan(second.age)) == ("M", True)
    assert (third.sequence, third.mask, third.sex) == ("t2_SPACE", None, "")
    assert [(one.study, one.found) for one in cohort.mismatches] == [
        ("2_t2_SPACE", "an image without a mask")
    ]
    assert list(cohort.gradings) == ["patient", "study", "label", *GRADING_COLUMNS.values()]
    assert cohort.gradings["label"].tolist() == [201, 202]
    assert cohort.gradings["pfirrmann"].tolist() == [5, 3]
    np.testing.assert_array_equal(cohort.gradings["modic"], [0, np.nan])


def test_a_folder_of_images_alone_or_of_masks_alone(tmp_path: Path) -> None:
    images = read_cohort(make_folder(tmp_path / "one", images="1_t1 2_t1"))
    assert [(one.mask, one.image is not None) for one in images.studies] == [(None, True)] * 2
    assert images.mismatches == (), "no mask at all is no mistake"
    masks = read_cohort(make_folder(tmp_path / "two", masks="1_t1"))
    assert [(one.image, one.mask is not None) for one in masks.studies] == [(None, True)]
    assert len(masks.gradings) == 0
    assert "narrowing" in masks.gradings


def test_what_is_no_scan_is_passed_by(tmp_path: Path) -> None:
    make_folder(tmp_path, masks="1_t1")
    for name in (".hidden.mha", "notes.txt", "2_t1.png"):
        (tmp_path / "masks" / name).touch()
    assert [one.study for one in read_cohort(tmp_path).studies] == ["1_t1"]


@pytest.mark.parametrize("kind", ["empty", "absent", "text"])
def test_a_place_without_a_cohort_is_refused(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "place"
    if kind == "empty":
        make_folder(place)
        refused(place, str(place), "no scan")
        return
    if kind == "text":
        place.write_text("hello")
    refused(place, str(place), "neither a folder nor a CSV table")


def test_sequences(tmp_path: Path) -> None:
    cohort = read_cohort(make_folder(tmp_path, images="1_t1 1_t2 2_t1 3_t2_SPACE", masks="1_t2 2_t2 1_t1"))
    assert [one.study for one in cohort.chosen("t1").studies] == ["1_t1", "2_t1"]
    assert [one.study for one in cohort.chosen(None).studies] == ["1_t2", "2_t2"], "of which most masks are"
    said = [(one.study, one.left_out) for one in cohort.chosen("t1").mismatches if "without t1" in one.found]
    assert said == [("3_t2_SPACE", "the patient")]
    with pytest.raises(InputError, match="'flair'; expected one of t1, t2, t2_SPACE"):
        cohort.chosen("flair")


def test_without_masks_the_commonest_sequence_is_chosen(tmp_path: Path) -> None:
    cohort = read_cohort(make_folder(tmp_path, images="1_t2 2_t2 1_t1"))
    assert {one.sequence for one in cohort.chosen(None).studies} == {"t2"}


def test_gradings_of_a_disc_below_the_sacrum_keep_their_place(tmp_path: Path) -> None:
    cohort = read_cohort(
        make_folder(tmp_path, masks="1_t1", gradings=GRADINGS + "1,0,0,0,0,0,0,0,0,1\n1,1,0,0,0,0,0,0,0,1\n")
    )
    assert cohort.gradings["label"].tolist() == [200, 201]


def test_a_table_with_some_gradings_only(tmp_path: Path) -> None:
    table = "\ufeffPatient,IVD label,Disc narrowing,Remark\n 12 ,1, 1 ,odd\n12,2,,\n"
    cohort = read_cohort(make_folder(tmp_path, masks="12_t1", gradings=table))
    assert list(cohort.gradings) == ["patient", "study", "label", "narrowing"]
    assert cohort.gradings["patient"].tolist() == ["12", "12"]
    np.testing.assert_array_equal(cohort.gradings["narrowing"], [1, np.nan])


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("1,1,0\n1,one,0\n", ["row 3", "IVD label 'one'", "a disc's number"]),
        ("1,1,0\n1,,0\n", ["row 3", "no IVD label"]),
        (" ,1,0\n", ["row 2", "no Patient"]),
        ("1,-1,0\n", ["row 2", "IVD label '-1'"]),
        ("1,99,0\n", ["row 2", "IVD label '99'"]),
        ("1,1.5,0\n", ["row 2", "IVD label '1.5'"]),
        ("1,1,yes\n", ["row 2", "Disc narrowing 'yes'", "whole number"]),
        ("1,1,0.5\n", ["row 2", "Disc narrowing '0.5'"]),
        ("1,1,10\n", ["row 2", "Disc narrowing '10'"]),
        ("1,1,inf\n", ["row 2", "Disc narrowing 'inf'"]),
        ("1,1,nan\n", ["row 2", "Disc narrowing 'nan'"]),
        ("1,1,0\n\n1,2,x\n", ["row 4", "Disc narrowing 'x'"]),
        ("1,1,0\n1,2,0\n1,1,1\n", ["row 4", "disc 201 of patient 1 a second time"]),
        ("1,1,0\n1,2,0,7,8\n", ["cannot be read as a table"]),
        ("1,1,0,7\n1,2,0,8\n", ["more cells than the header"]),
        ("", ["lacks rows"]),
    ],
)
def test_a_wrong_row_of_the_gradings_is_named(tmp_path: Path, rows: str, words: list[str]) -> None:
    make_folder(tmp_path, masks="1_t1", gradings="Patient,IVD label,Disc narrowing\n" + rows)
    refused(tmp_path, GRADINGS_FILE, *words)


@pytest.mark.parametrize("header", ["Patient,Disc narrowing", "IVD label,Disc narrowing", "hello"])
def test_gradings_of_other_columns_are_refused(tmp_path: Path, header: str) -> None:
    make_folder(tmp_path, masks="1_t1", gradings=f"{header}\n1{',1' * header.count(',')}\n")
    refused(tmp_path, GRADINGS_FILE, "lacks", "the columns Patient, IVD label")


def test_gradings_in_another_encoding_are_refused(tmp_path: Path) -> None:
    make_folder(tmp_path, masks="1_t1")
    (tmp_path / GRADINGS_FILE).write_bytes(b"Patient,IVD label\nM\xfcller,1\n")
    refused(tmp_path, GRADINGS_FILE, "UTF-8")


def test_an_overview_of_other_columns_is_refused(tmp_path: Path) -> None:
    make_folder(tmp_path, masks="1_t1", overview="name,sex\n1_t1,F\n")
    refused(tmp_path, "overview.csv", "lacks new_file_name, birth_date")


# A table of one's own ---------------------------------------------------------------------------------------


def test_a_table_with_a_row_for_each_disc(tmp_path: Path) -> None:
    text = (
        "study,patient,image,mask,level,narrowing,pfirrmann,age,sex,sequence\n"
        "one,p1,scans/a.mha,scans/b.nii.gz,L5/S1,1,4,61,F,t2\n"
        "one,p1,scans/a.mha,scans/b.nii.gz,202,0,,61,F,t2\n"
        f"two,,,{tmp_path / 'scans' / 'c.mha'},L5/S1,2,5,,,\n"
    )
    cohort = read_cohort(make_table(tmp_path, text))
    first, second = cohort.studies
    assert (first.study, first.patient, first.sequence, first.age, first.sex) == (
        "one",
        "p1",
        "t2",
        61.0,
        "F",
    )
    assert first.image == tmp_path / "scans" / "a.mha", "paths count from the table's folder"
    assert first.mask == tmp_path / "scans" / "b.nii.gz"
    assert (second.study, second.patient, second.image) == ("two", "two", None)
    assert second.mask == tmp_path / "scans" / "c.mha"
    assert np.isnan(second.age)
    assert list(cohort.gradings) == ["patient", "study", "label", "narrowing", "pfirrmann"]
    assert cohort.gradings["patient"].tolist() == ["p1", "p1", "two"]
    assert cohort.gradings["label"].tolist() == [201, 202, 201]
    np.testing.assert_array_equal(cohort.gradings["pfirrmann"], [4, np.nan, 5])


def test_a_table_without_gradings(tmp_path: Path) -> None:
    cohort = read_cohort(make_table(tmp_path, "study,image\n1,scans/a.mha\n2,scans/c.mha\n"))
    assert [one.study for one in cohort.studies] == ["1", "2"]
    assert len(cohort.gradings) == 0
    assert [one.study for one in cohort.chosen(None).studies] == ["1", "2"]


def test_a_study_may_have_rows_without_a_disc(tmp_path: Path) -> None:
    text = "study,mask,level,narrowing\n1,scans/a.mha,,\n1,scans/a.mha,L4/L5,1\n"
    assert read_cohort(make_table(tmp_path, text)).gradings["label"].tolist() == [202]


def test_two_scans_of_one_patient_have_their_own_gradings(tmp_path: Path) -> None:
    rows = "study,patient,mask,level,narrowing\n"
    for study, level, narrowed in (("then", "L5/S1", 0), ("now", "L5/S1", 1), ("plain", "", "")):
        rows += f"{study},p,scans/a.mha,{level},{narrowed}\n"
    cohort = read_cohort(make_table(tmp_path, rows))
    discs = pd.DataFrame({"study": ["then", "now", "plain"], "patient": "p", "label": 201})
    graded, mismatches = cohort.graded(discs)
    np.testing.assert_array_equal(graded["narrowing"], [0, 1, np.nan])
    assert [one.study for one in mismatches] == ["plain"], "which of the two would be its own?"


HEADER = "study,patient,image,mask,level,narrowing,age\n"
GOOD = "1,p,scans/a.mha,scans/a.mha,L5/S1,0,50\n"


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (GOOD + "2,p,scans/nowhere.mha,,,,\n", ["row 3", "nowhere.mha", "which is not there"]),
        (GOOD + "2,q,,,,,\n", ["row 3", "neither image nor mask"]),
        (GOOD + ",q,,scans/c.mha,,,\n", ["row 3", "no study"]),
        (GOOD + "1,p,scans/c.mha,scans/a.mha,L4/L5,0,50\n", ["row 3", "another image for '1'"]),
        (GOOD + "1,p,scans/a.mha,,L4/L5,0,50\n", ["row 3", "another mask for '1'"]),
        (GOOD + "1,q,scans/a.mha,scans/a.mha,L4/L5,0,50\n", ["row 3", "another patient for '1'"]),
        (GOOD + "\n1,p,scans/a.mha,scans/a.mha,L4/L5,0,51\n", ["row 4", "another age for '1'"]),
        ("1,p,scans/a.mha,,,,150\n", ["row 2", "age '150'"]),
        ("1,p,scans/a.mha,,,,-1\n", ["row 2", "age '-1'"]),
        ("1,p,scans/a.mha,,,,old\n", ["row 2", "age 'old'"]),
        (GOOD + "1,p,scans/a.mha,scans/a.mha,L9/S1,0,50\n", ["row 3", "level 'L9/S1'"]),
        (GOOD + "1,p,scans/a.mha,scans/a.mha,200,0,50\n", ["row 3", "level '200'"]),
        (GOOD + "1,p,scans/a.mha,scans/a.mha,2.0,0,50\n", ["row 3", "level '2.0'"]),
        (GOOD + "1,p,scans/a.mha,scans/a.mha,201,1,50\n", ["row 3", "disc 201 of patient p a second time"]),
        (GOOD + "1,p,scans/a.mha,scans/a.mha,202,much,50\n", ["row 3", "narrowing 'much'"]),
        ("", ["lacks rows"]),
    ],
)
def test_a_wrong_row_of_a_table_is_named(tmp_path: Path, rows: str, words: list[str]) -> None:
    refused(make_table(tmp_path, HEADER + rows), "mine.csv", *words)


def test_a_table_without_the_needed_columns_is_refused(tmp_path: Path) -> None:
    refused(make_table(tmp_path, "scan,image\n1,scans/a.mha\n"), "mine.csv", "lacks study")


def test_a_table_without_scans_is_refused(tmp_path: Path) -> None:
    refused(make_table(tmp_path, "study,level\n1,L4/L5\n"), "mine.csv", "image or mask among them")


# Discs and gradings -----------------------------------------------------------------------------------------


def cohort_of(gradings: pd.DataFrame) -> Cohort:
    return Cohort((), gradings)


def discs(**labels: list[int]) -> pd.DataFrame:
    """Discs of studies named patient_sequence."""
    rows = [(name, name.split("_")[0], label) for name, own in labels.items() for label in own]
    return pd.DataFrame(rows, columns=["study", "patient", "label"]).assign(height_mean_mm=8.0)


GRADED = pd.DataFrame(
    {
        "patient": ["a", "a", "b", "b", "b"],
        "study": "",
        "label": [201, 202, 201, 202, 203],
        "narrowing": [0, 1, 1, 0, np.nan],
    }
)


def test_discs_meet_the_gradings_of_their_patient() -> None:
    table, mismatches = cohort_of(GRADED).graded(
        discs(b_t1=[203, 201, 202], a_t1=[201, 202], a_t2=[202, 201])
    )
    assert mismatches == ()
    assert table["label"].tolist() == [203, 201, 202, 201, 202, 202, 201], "as they came"
    np.testing.assert_array_equal(table["narrowing"], [np.nan, 1, 0, 0, 1, 1, 0])
    assert table["height_mean_mm"].tolist() == [8.0] * 7


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        ([201], "1 discs (201 to 201), 2 graded (201 to 202)"),
        ([201, 202, 203], "3 discs (201 to 203), 2 graded (201 to 202)"),
        ([202, 203], "2 discs (202 to 203), 2 graded (201 to 202)"),
    ],
)
def test_a_study_that_has_not_the_graded_discs_keeps_no_grading(labels: list[int], found: str) -> None:
    table, mismatches = cohort_of(GRADED).graded(discs(a_t1=labels, b_t1=[201, 202, 203]))
    assert [(one.study, one.found, one.left_out) for one in mismatches] == [("a_t1", found, "its gradings")]
    assert table["label"].tolist() == [*labels, 201, 202, 203]
    assert table["narrowing"].isna().tolist() == [True] * len(labels) + [False, False, True]


def test_a_patient_that_nobody_graded_is_named() -> None:
    table, mismatches = cohort_of(GRADED).graded(discs(c_t1=[201, 202]))
    assert [(one.study, one.found) for one in mismatches] == [("c_t1", "no disc graded")]
    assert table["narrowing"].isna().all()


def test_without_any_grading_nothing_is_a_mismatch() -> None:
    table, mismatches = cohort_of(GRADED.iloc[:0]).graded(discs(c_t1=[201, 202]))
    assert mismatches == ()
    assert table["label"].tolist() == [201, 202]
    assert table["narrowing"].isna().all()


def test_no_disc_at_all() -> None:
    table, mismatches = cohort_of(GRADED).graded(discs())
    assert (len(table), mismatches) == (0, ())


def test_spider_itself(shared_data: Path) -> None:
    from discometry.io.images import read_mask

    cohort = read_cohort(shared_data / "spider").chosen(None)
    rows = [
        (one.study, one.patient, int(label))
        for one in cohort.studies
        if one.mask is not None
        for label in np.unique(read_mask(one.mask).array)
        if label > 200
    ]
    table, mismatches = cohort.graded(pd.DataFrame(rows, columns=["study", "patient", "label"]))
    by_study = {one.study: one.patient for one in cohort.studies}
    assert sorted(by_study[one.study] for one in mismatches) == ["18", "55", "57", "98"]
    assert table["narrowing"].notna().sum() == 197
    assert table[table["narrowing"].notna()]["patient"].nunique() == 26
    assert (table["narrowing"] > 0).sum() == 63
