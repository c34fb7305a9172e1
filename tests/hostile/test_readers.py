"""Every reader against damaged and made-up files; how many, DISCOMETRY_FUZZ_CASES says (conftest.py)."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_folders import bundle_folders, small_bundle
from dicom_folders import (
    PACKINGS,
    SLICES,
    dicom_folders,
    packed_folders,
    packed_slices,
    slice_elements,
    written,
)
from tables_and_results import (
    cohort_folders,
    cohort_tables,
    result_folders,
    small_study,
    study_lists,
    whole_tables,
)
from volumes_on_disk import Case, metaimages, nifti, niftis, nrrds, whole_volumes
from worker import Worker, read_case

Attack = Callable[..., None]
WorkerOf = Callable[[str], Worker]


def test_metaimages(attack: Attack) -> None:
    attack("image", metaimages(), share=0.2)


def test_niftis(attack: Attack) -> None:
    attack("image", niftis(), share=0.2)


def test_nrrds(attack: Attack) -> None:
    attack("image", nrrds(), share=0.2)


def test_dicom_folders(attack: Attack) -> None:
    attack("dicom", dicom_folders(), share=0.18)


def test_compressed_dicom_folders(attack: Attack) -> None:
    attack("dicom", packed_folders(), share=0.02)


def test_cohort_folders(attack: Attack) -> None:
    attack("gradings", cohort_folders(), share=0.03)


def test_cohort_tables(attack: Attack) -> None:
    attack("gradings", cohort_tables(), share=0.03)


def test_lists_of_studies(attack: Attack) -> None:
    attack("studies", study_lists(), share=0.04)


def test_bundles(attack: Attack) -> None:
    attack("bundle", bundle_folders(), share=0.1)


def test_result_folders(attack: Attack) -> None:
    attack("study", result_folders(), share=0.04)


def test_reports_of_result_folders(attack: Attack) -> None:
    attack("report", result_folders(), share=0.01)


# What is not damaged is read, or nothing above would tell anything -----------------------------------------


@pytest.mark.parametrize("name", sorted(whole_volumes()))
def test_whole_volumes_are_read(worker_of: WorkerOf, tmp_path: Path, name: str) -> None:
    assert read_case(worker_of("image"), whole_volumes()[name], tmp_path / "case") == ("result", "")


@pytest.mark.parametrize("name", sorted(whole_tables()))
def test_whole_tables_are_read(worker_of: WorkerOf, tmp_path: Path, name: str) -> None:
    reader, case = whole_tables()[name]
    assert read_case(worker_of(reader), case, tmp_path / "case") == ("result", "")


def test_whole_folders_are_read(worker_of: WorkerOf, tmp_path: Path) -> None:
    for way in PACKINGS:
        packed = Case(packed_slices(way))
        assert read_case(worker_of("dicom"), packed, tmp_path / "case") == ("result", ""), way
    slices = {f"slice {number}": written(slice_elements(number)) for number in range(SLICES)}
    assert read_case(worker_of("dicom"), Case(slices), tmp_path / "case") == ("result", "")
    assert read_case(worker_of("bundle"), Case(small_bundle()), tmp_path / "case") == ("result", "")
    assert read_case(worker_of("study"), Case(small_study()), tmp_path / "case") == ("result", "")
    assert read_case(worker_of("report"), Case(small_study()), tmp_path / "case") == ("result", "")


def test_the_watch_sees_what_it_is_there_for(worker_of: WorkerOf, tmp_path: Path) -> None:
    worker = worker_of("trap")
    for name, outcome in {
        "result": "result",
        "refused": "refused",
        "unclear": "unclear",
        "segfault": "died",
        "memory": "crash",
        "write": "reached out",
        "pickle": "reached out",
        "shell": "reached out",
        "noise": "noise",
        "loop": "too slow",
    }.items():
        worker.limit_s = 1.0 if name == "loop" else 30.0
        assert worker.ask(tmp_path / name)[0] == outcome, name


# Bombs, and files that are none ----------------------------------------------------------------------------


@pytest.mark.parametrize("claimed", [False, True])
def test_gzip_bombs_end_soon(worker_of: WorkerOf, tmp_path: Path, claimed: bool) -> None:
    """Four hundred megabytes of zeros: a large image where they are claimed, and else not worth unpacking."""
    zeros = zlib.compressobj(9, zlib.DEFLATED, 31)
    head = nifti("<", shape=(2048, 1024, 96)) if claimed else nifti("<")
    parts = [zeros.compress(head), *(zeros.compress(bytes(1 << 24)) for _ in range(24)), zeros.flush()]
    case = Case({"bomb.nii.gz": b"".join(parts)}, "bomb.nii.gz")
    assert len(case.files["bomb.nii.gz"]) < 10**6
    outcome, line = read_case(worker_of("image"), case, tmp_path / "case")
    assert outcome == ("result" if claimed else "refused")
    assert claimed or "unpacks to more" in line


def test_a_gzip_bomb_within_a_gzip_bomb_is_no_image(worker_of: WorkerOf, tmp_path: Path) -> None:
    case = Case({"bomb.nii.gz": gzip.compress(gzip.compress(bytes(1 << 27)))}, "bomb.nii.gz")
    assert read_case(worker_of("image"), case, tmp_path / "case")[0] == "refused"


def test_pipes_devices_and_loops_are_not_waited_for(worker_of: WorkerOf, tmp_path: Path) -> None:
    folder = tmp_path / "scans"
    (folder / "meshes").mkdir(parents=True)
    for number in range(SLICES):
        (folder / f"slice {number}").write_bytes(written(slice_elements(number)))
    os.mkfifo(folder / "pipe")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "loop").symlink_to(folder)
    (folder / "nothing").symlink_to(folder / "nowhere")
    assert worker_of("dicom").ask(folder) == ("result", "")
    for name in (
        "a.mha",
        "a.nii",
        "a.nrrd",
        "own.csv",
        "list.tsv",
        "list.parquet",
        "bundle.json",
        "study.json",
        "discs.csv",
    ):
        os.mkfifo(folder / name)
    for reader, name in (
        *(("image", "a.mha"), ("gradings", "own.csv"), ("studies", "list.tsv"), ("studies", "list.parquet")),
        *(("bundle", ""), ("study", "")),
    ):
        assert worker_of(reader).ask(folder / name)[0] == "refused", reader


def test_a_pipe_that_a_header_names_is_not_opened(worker_of: WorkerOf, tmp_path: Path) -> None:
    case = whole_volumes()["detached.mhd"]
    os.mkfifo(tmp_path / "other.raw")
    (tmp_path / "a.mhd").write_bytes(case.files["detached.mhd"])
    assert worker_of("image").ask(tmp_path / "a.mhd")[0] == "refused"
