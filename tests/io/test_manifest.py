"""Finding studies: every layout, every wrong row, and names that are safe and unique."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discometry.core.errors import InputError
from discometry.io.manifest import LONGEST_NAME, StudySource, find_studies


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"something")
    return root


def table(root: Path, text: str, name: str = "studies.csv") -> Path:
    (root / name).write_text(text, encoding="utf-8")
    return root / name


def shown(studies: tuple[StudySource, ...], root: Path) -> dict[str, tuple[str | None, str | None]]:
    def place(path: Path | None) -> str | None:
        return None if path is None else path.relative_to(root).as_posix()

    return {item.study: (place(item.image), place(item.mask)) for item in studies}


# -- folders ---------------------------------------------------------------------------------------------


def test_masks_beside_images_in_any_layout(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *("images/1_t2.mha", "masks/1_t2.mha", "images/2_t1.mha"),  # as SPIDER
        *("site/a/scan.nii.gz", "site/a/scan_mask.nii.gz"),
        *("imagesTr/c.nrrd", "labelsTr/c.nrrd"),
        *("only-seg.nii", ".hidden.mha", ".cache/x.mha", "notes.txt"),
    )
    assert shown(find_studies(tmp_path).studies, tmp_path) == {
        "1_t2": ("images/1_t2.mha", "masks/1_t2.mha"),
        "2_t1": ("images/2_t1.mha", None),
        "c": ("imagesTr/c.nrrd", "labelsTr/c.nrrd"),
        "only": (None, "only-seg.nii"),
        "site_a_scan": ("site/a/scan.nii.gz", "site/a/scan_mask.nii.gz"),
    }


def test_everything_a_mask_if_said(tmp_path: Path) -> None:
    touch(tmp_path, "a.mha", "b.mha", "b_seg.mha")
    assert shown(find_studies(tmp_path, masks=True).studies, tmp_path) == {
        "a": (None, "a.mha"),
        "b": ("b.mha", "b_seg.mha"),
    }


def test_a_folder_of_slices_is_one_study(tmp_path: Path) -> None:
    for name in ("p1/I0001", "p1/I0002", "p2/1.dcm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    assert shown(find_studies(tmp_path).studies, tmp_path) == {"p1": ("p1", None), "p2": ("p2", None)}


def test_results_are_no_input(tmp_path: Path) -> None:
    touch(tmp_path, "a.mha", "out/a/discs.nii.gz", "elsewhere/b/discs.nii.gz", "c/study.json", "c/image.mha")
    (tmp_path / "elsewhere/b/study.json").write_text(json.dumps({"format": "discometry-study"}))
    found = find_studies(tmp_path, leave_out=tmp_path / "out")
    assert shown(found.studies, tmp_path) == {"a": ("a.mha", None), "c_image": ("c/image.mha", None)}


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    touch(tmp_path, "store/a.mha", "in/b.mha")
    (tmp_path / "in/more").symlink_to(tmp_path / "store")
    (tmp_path / "in/again").symlink_to(tmp_path / "in")
    assert [item.study for item in find_studies(tmp_path / "in").studies] == ["b", "more_a"]


def test_two_masks_of_one_image_are_refused_by_name(tmp_path: Path) -> None:
    touch(tmp_path, "a.mha", "a_seg.mha", "a_mask.mha", "b.mha")
    found = find_studies(tmp_path)
    assert [item.study for item in found.studies] == ["b"]
    assert [item.study for item in found.refused] == ["a"]
    assert "'a_mask.mha'" in found.refused[0].error.found


def test_names_stay_apart_where_capitals_and_endings_do_not_count(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "x.mha",
        "x.nii.gz",
        "X.nrrd",
        "a/b.mha",
        "a_b.mha",
        "index.mha",
        "cohort.mha",
        f"{'n' * 200}.mha",
    )
    names = [item.study for item in find_studies(tmp_path).studies]
    assert len({name.casefold() for name in names}) == len(names) == 8
    assert not {"index", "cohort"} & set(names)
    assert max(len(name) for name in names) <= LONGEST_NAME
    assert names == [item.study for item in find_studies(tmp_path).studies]


@given(
    st.lists(
        st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40)
    )
)
def test_any_file_name_gives_a_safe_study_name(tmp_path: Path, stems: list[str]) -> None:
    from discometry.io.manifest import _named, _safe

    pairs = [(stem, tmp_path / f"{n}.mha", None) for n, stem in enumerate(stems)]
    names = [item.study for item in _named(pairs, tmp_path)]
    assert len({name.casefold() for name in names}) == len(names)
    for name in names:
        assert name == _safe(name)
        assert (tmp_path / name).parent == tmp_path
        assert not name.startswith(".")
        assert len(name.encode()) <= LONGEST_NAME


@pytest.mark.parametrize("name", ["missing", "empty", "scan.mha"])
def test_nothing_usable_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    touch(tmp_path, "scan.mha")
    with pytest.raises(InputError, match=r"does not exist|holds no study|is neither"):
        find_studies(tmp_path / name)


# -- BIDS ------------------------------------------------------------------------------------------------


def test_bids_dataset(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "dataset_description.json",
        *("sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T2w.nii.gz", "sub-01/anat/sub-01_PDw.nii.gz"),
        "derivatives/manual/sub-01/anat/sub-01_T2w_desc-discs_dseg.nii.gz",
        "derivatives/manual/sub-02/ses-b/anat/sub-02_ses-b_acq-sag_space-orig_dseg.nii.gz",
        *("sub-02/ses-b/anat/sub-02_ses-b_acq-sag_T2w.nii", "sub-02/ses-b/dwi/sub-02_ses-b_dwi.nii.gz"),
    )
    assert shown(find_studies(tmp_path).studies, tmp_path) == {
        "sub-01_T1w": ("sub-01/anat/sub-01_T1w.nii.gz", None),
        "sub-01_T2w": (
            "sub-01/anat/sub-01_T2w.nii.gz",
            "derivatives/manual/sub-01/anat/sub-01_T2w_desc-discs_dseg.nii.gz",
        ),
        "sub-02_ses-b_acq-sag_T2w": (
            "sub-02/ses-b/anat/sub-02_ses-b_acq-sag_T2w.nii",
            "derivatives/manual/sub-02/ses-b/anat/sub-02_ses-b_acq-sag_space-orig_dseg.nii.gz",
        ),
    }


def test_two_segmentations_in_bids_are_refused_by_name(tmp_path: Path) -> None:
    touch(
        tmp_path,
        *("sub-1/anat/sub-1_T2w.nii.gz", "sub-1/anat/sub-1_dseg.nii.gz"),
        "derivatives/x/sub-1/anat/sub-1_dseg.nii.gz",
    )
    found = find_studies(tmp_path)
    assert not found.studies
    assert found.refused[0].study == "sub-1_T2w"


# -- tables ----------------------------------------------------------------------------------------------


def test_rows_of_discs_are_one_study(tmp_path: Path) -> None:
    touch(tmp_path, "scans/a.mha", "scans/a_seg.mha", "b.mha")
    csv = table(
        tmp_path,
        "study,image,mask,level,narrowing\n"
        "a,scans/a.mha,scans/a_seg.mha,L5/S1,0\n"
        "a,scans/a.mha,scans/a_seg.mha,L4/L5,1\n"
        "007,b.mha,,L5/S1,0\n"
        ",,,,\n",
    )
    found = find_studies(csv)
    assert not found.refused
    assert shown(found.studies, tmp_path) == {"007": ("b.mha", None), "a": ("scans/a.mha", "scans/a_seg.mha")}


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators_and_byte_order_mark(tmp_path: Path, separator: str) -> None:
    touch(tmp_path, "a.mha")
    path = tmp_path / "studies.tsv"
    path.write_bytes(b"\xef\xbb\xbf" + separator.join(("study", "image")).encode() + b"\r\n")
    path.write_bytes(path.read_bytes() + separator.join(("a", "a.mha")).encode() + b"\r\n")
    assert [item.study for item in find_studies(path).studies] == ["a"]


def test_parquet_with_numbered_studies(tmp_path: Path) -> None:
    touch(tmp_path, "a.mha", "b.mha")
    pd.DataFrame({"study": [1.0, 2.0], "mask": ["a.mha", "b.mha"]}).to_parquet(tmp_path / "studies.parquet")
    assert shown(find_studies(tmp_path / "studies.parquet").studies, tmp_path) == {
        "1": (None, "a.mha"),
        "2": (None, "b.mha"),
    }


def test_studies_without_a_name_are_named_after_their_file(tmp_path: Path) -> None:
    touch(tmp_path, "my scan.nii.gz")
    assert [item.study for item in find_studies(table(tmp_path, "image\nmy scan.nii.gz\n")).studies] == [
        "my scan"
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("../../evil,a.mha,", "names the study"),
        ("..,a.mha,", "names the study"),
        (".hidden,a.mha,", "names the study"),
        ("a/b,a.mha,", "names the study"),
        ("index,a.mha,", "names the study"),
        (f"{'n' * 101},a.mha,", "names the study"),
        ("x,gone.mha,", "names the image .*gone.mha', which does not exist"),
        ("x,a.mha,gone.mha", "names the mask"),
        ("x,,", "names neither image nor mask"),
        ("good,a_seg.mha,", "gives study 'good' other files"),
        ("GOOD,a.mha,", "gives study 'GOOD' other files"),
    ],
)
def test_wrong_rows_are_named_and_the_rest_goes_on(tmp_path: Path, row: str, words: str) -> None:
    touch(tmp_path, "a.mha", "a_seg.mha", "b.mha")
    csv = table(tmp_path, f"study,image,mask\nfine,b.mha,\ngood,a.mha,\n{row}\n")
    found = find_studies(csv)
    assert "fine" in [item.study for item in found.studies]
    (refused,) = found.refused
    with pytest.raises(InputError, match=rf"row 4 of .*{words}"):
        raise refused.error
    both = [item.study.casefold() for item in (*found.studies, *found.refused)]
    assert len(set(both)) == len(both)


@pytest.mark.parametrize("text", ["", "patient,file\n1,2\n", 'study,image\n"a,b\n'])
def test_a_table_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"cannot be read|has the columns"):
        find_studies(table(tmp_path, text))
