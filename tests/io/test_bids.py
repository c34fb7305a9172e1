"""Results under the names of BIDS."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from cohort_work import write_result
from discometry import __version__
from discometry.core.errors import OutputError
from discometry.io.bids import bids_stem, write_bids
from discometry.io.cohort_folder import StudyKey

COLUMNS = [
    {"name": "height_mean_mm", "unit": "mm", "meaning": "Height."},
    {"name": "flags", "unit": "", "meaning": "Flags."},
]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for study in ("sub-01_ses-a_T2w", "p-1"):
        write_result(tmp_path, study, StudyKey(input_sha256="a", bundle_sha256="b", version="1"))
    return tmp_path


def test_a_derivative_dataset(out: Path) -> None:
    folder = write_bids(out, ["sub-01_ses-a_T2w"], COLUMNS)
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "dataset_description.json",
        "desc-discs_dseg.tsv",
        "desc-discs_morph.json",
        "sub-01/ses-a/anat/sub-01_ses-a_rec-T2w_desc-discs_morph.tsv",
        "sub-01/ses-a/anat/sub-01_ses-a_rec-T2w_space-orig_desc-discs_dseg.nii.gz",
    ]
    told = json.loads((folder / "dataset_description.json").read_text())
    assert told["DatasetType"] == "derivative"
    assert told["GeneratedBy"][0]["Name"] == "discometry"
    assert told["GeneratedBy"][0]["Version"] == __version__
    assert json.loads((folder / "desc-discs_morph.json").read_text())["height_mean_mm"]["Units"] == "mm"
    with next(folder.rglob("*_morph.tsv")).open(newline="") as stream:
        (row,) = csv.DictReader(stream, delimiter="\t")
    assert (row["level"], row["flags"]) == ("L5/S1", "n/a")
    with (folder / "desc-discs_dseg.tsv").open(newline="") as stream:
        assert {"index": "201", "name": "L5/S1"} in list(csv.DictReader(stream, delimiter="\t"))


def test_made_anew_each_time_and_copied_where_links_are_not_possible(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    write_bids(out, ["sub-01_ses-a_T2w", "p-1"], COLUMNS)
    monkeypatch.setattr("os.link", no_links)
    folder = write_bids(out, ["p-1"], COLUMNS)
    (labels,) = folder.rglob("*.nii.gz")
    assert not labels.samefile(out / "p-1" / "discs.nii.gz")
    assert labels.read_bytes() == (out / "p-1" / "discs.nii.gz").read_bytes()


def test_something_else_in_the_way(out: Path) -> None:
    (out / "bids").mkdir()
    (out / "bids" / "thesis.docx").touch()
    with pytest.raises(OutputError, match="not an earlier result"):
        write_bids(out, ["p-1"], COLUMNS)


def test_names_that_differ_stay_apart() -> None:
    names = ["a-b", "ab", "a_b", "sub-1_T1w", "sub-1_T2w", "sub-1", "sub-1_acq-x_T2w", "sub-1_odd_name_T2w"]
    stems = [bids_stem(name) for name in names]
    assert len({stem for _, stem in stems}) == len(names)
    assert all(place.as_posix().startswith("sub-") for place, _ in stems)


def test_old_results_have_a_place_too(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parents[1] / "old_results/version_1/spine", tmp_path / "spine")
    assert len(list(write_bids(tmp_path, ["spine"], COLUMNS).rglob("*_morph.tsv"))) == 1
