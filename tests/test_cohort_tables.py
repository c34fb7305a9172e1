"""The tables of a cohort: one schema, units told, nothing lost between CSV and Parquet."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from cohort_work import write_result
from discometry.cohort_tables import STUDY_COLUMNS, read_columns, write_tables
from discometry.io.cohort_folder import Failure, StudyKey
from discometry.io.disc_table import disc_columns

KEY = StudyKey(input_sha256="ab", bundle_sha256="cd", version="1", options={})
OLD = Path(__file__).parent / "old_results" / "version_1" / "spine"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two results of this version, and one of the first."""
    for study in ("a", "b"):
        write_result(tmp_path, study, KEY)
    shutil.copytree(OLD, tmp_path / "spine")
    return tmp_path


def test_one_row_a_disc_in_the_order_asked_for(out: Path) -> None:
    assert write_tables(out, ["spine", "b", "a"], []) == ()
    table = pd.read_parquet(out / "cohort.parquet")
    assert list(zip(table["study"], table["label"], strict=True)) == [
        ("spine", 201),
        ("spine", 202),
        ("b", 201),
        ("a", 201),
    ]
    assert list(table.columns) == [*disc_columns(latents=8, poses=True), *STUDY_COLUMNS]
    assert table["lordosis_deg"].iloc[0] == pytest.approx(19.169675487212878)
    assert table["input"].tolist() == ["spine.mha", "spine.mha", "b.mha", "a.mha"]


def test_csv_and_parquet_hold_the_same(out: Path) -> None:
    write_tables(out, ["a", "spine"], [])
    table = pd.read_parquet(out / "cohort.parquet")
    lines = pd.read_csv(
        out / "cohort.csv",
        dtype={name: str for name in ("study", "flags", "study_flags")},
        keep_default_na=False,
        na_values={name: [""] for name in table.select_dtypes("float").columns},
    )
    pd.testing.assert_frame_equal(lines, table, check_dtype=False)
    original = pd.read_csv(OLD / "discs.csv")
    ours = table[table["study"] == "spine"].reset_index(drop=True)
    for name in original.select_dtypes("float").columns:
        assert ours[name].tolist() == pytest.approx(original[name].tolist(), nan_ok=True, abs=0), name


def test_the_schema_does_not_depend_on_which_studies_are_there(out: Path) -> None:
    write_tables(out, ["a"], [])
    one = pq.read_schema(out / "cohort.parquet")
    write_tables(out, ["a", "b"], [])
    assert pq.read_schema(out / "cohort.parquet").equals(one, check_metadata=True)
    write_tables(out, [], [])
    assert set(pq.read_schema(out / "cohort.parquet").names) <= set(one.names)
    assert len(pd.read_csv(out / "cohort.csv")) == 0


def test_every_column_is_told_with_its_unit(out: Path) -> None:
    write_tables(out, ["spine"], [])
    columns = {column["name"]: column for column in read_columns(out)}
    assert list(columns) == list(pd.read_csv(out / "cohort.csv", nrows=0).columns)
    assert all(column["meaning"] for column in columns.values())
    units = {
        name: columns[name]["unit"]
        for name in ("height_mean_mm", "wedge_deg", "volume_mm3_se", "z_wedge", "narrowing_probability")
    }
    assert units == {
        "height_mean_mm": "mm",
        "wedge_deg": "°",
        "volume_mm3_se": "mm³",
        "z_wedge": "",
        "narrowing_probability": "probability from 0 to 1",
    }
    assert json.loads((out / "columns.json").read_text())["format_version"] == 1


def test_failures_say_what_to_do_and_lost_folders_are_failures(out: Path) -> None:
    shutil.rmtree(out / "b")
    known = Failure(
        study="x", input="x.mha", stage="read", found="no, discs", expected="discs", action="look", attempts=2
    )
    together = write_tables(out, ["a", "b"], [known, replace(known, study="aa")])
    assert [failure.study for failure in together] == ["aa", "b", "x"]
    with (out / "failures.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["stage"] for row in rows] == ["read", "gather", "read"]
    assert rows[2]["error"] == "no, discs; expected discs"
    assert pd.read_csv(out / "cohort.csv")["study"].tolist() == ["a"]
