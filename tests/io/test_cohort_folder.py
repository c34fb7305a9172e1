"""The state of a cohort on disk: one run at a time, what is done, what failed, what a dead run left."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from cohort_work import write_result
from discometry.core.errors import OutputError
from discometry.io.cohort_folder import (
    Failure,
    StudyKey,
    check_run,
    claim,
    drop_failure,
    is_done,
    read_failure,
    write_failure,
)

KEY = StudyKey(input_sha256="ab", bundle_sha256="cd", version="1", options={"mask": True, "image": None})
FAILURE = Failure(study="a", stage="read", found="no discs", expected="discs", action="look", key=KEY)


def test_a_second_run_is_refused_and_told_whose_the_first_is(tmp_path: Path) -> None:
    with claim(tmp_path / "out"):
        with pytest.raises(OutputError, match=rf"in use by another cohort run \(process {os.getpid()} on "):
            claim(tmp_path / "out").__enter__()
        assert not (tmp_path / "out" / "index.html").exists()
    with claim(tmp_path / "out"):
        pass


def test_the_lock_of_a_killed_run_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom discometry.io.cohort_folder import claim\n"
        "with claim(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(OutputError, match=f"process {holder.pid}"):
            claim(tmp_path).__enter__()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with claim(tmp_path):
            pass


def test_what_a_dead_run_left_half_written_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    with claim(tmp_path):
        pass
    left = [
        tmp_path / ".a.0123abcd",
        tmp_path / ".cohort/failures/.0123abcd.a.json",
        tmp_path / ".89abcdef.cohort.csv",
    ]
    kept = [tmp_path / "a", tmp_path / ".profile", tmp_path / "b.0123abcd", tmp_path / ".git"]
    for path in (*left, *kept):
        path.mkdir()
    left[1].rmdir()
    left[1].touch()
    with claim(tmp_path):
        assert not any(path.exists() for path in left)
        assert all(path.exists() for path in kept)


def test_tables_of_someone_else_are_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "cohort.csv").write_text("mine")
    with pytest.raises(OutputError, match=r"cohort\.csv that no cohort run wrote"):
        claim(tmp_path).__enter__()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cohort.csv"]


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        claim(tmp_path / "out").__enter__()


def test_a_run_that_was_taken_over_is_told(tmp_path: Path) -> None:
    with claim(tmp_path) as first:
        check_run(tmp_path, first)
    with claim(tmp_path) as second:
        check_run(tmp_path, second)
        with pytest.raises(OutputError, match="taken over by a newer run"):
            check_run(tmp_path, first)
    with pytest.raises(OutputError, match="does not hold this run"):
        check_run(tmp_path / "elsewhere", first)


@pytest.mark.parametrize(
    "change",
    [
        {"input_sha256": "xx"},
        {"bundle_sha256": "xx"},
        {"version": "2"},
        {"options": {"mask": True, "image": "a.mha"}},
    ],
)
def test_done_means_the_same_in_everything(tmp_path: Path, change: dict[str, object]) -> None:
    write_result(tmp_path, "a", KEY)
    assert is_done(tmp_path, "a", KEY)
    assert not is_done(tmp_path, "a", replace(KEY, **change))
    assert not is_done(tmp_path, "b", KEY)


@pytest.mark.parametrize("name", ["discs.csv", "discs.nii.gz", "report.html", "study.json"])
def test_done_means_whole(tmp_path: Path, name: str) -> None:
    write_result(tmp_path, "a", KEY)
    (tmp_path / "a" / name).write_bytes(b"")
    assert not is_done(tmp_path, "a", KEY)


def test_failures_are_kept_and_forgotten(tmp_path: Path) -> None:
    with claim(tmp_path):
        assert read_failure(tmp_path, "a") is None
        for failure in (FAILURE, replace(FAILURE, key=None, log="said\nso")):
            write_failure(tmp_path, failure)
            assert read_failure(tmp_path, "a") == failure
        drop_failure(tmp_path, "a")
        drop_failure(tmp_path, "a")
        assert read_failure(tmp_path, "a") is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", json.dumps({"format": "discometry-failure", "format_version": 9, "key": None})]
)
def test_a_failure_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    with claim(tmp_path):
        (tmp_path / ".cohort/failures/a.json").write_text(text)
        assert read_failure(tmp_path, "a") is None


def test_a_failure_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with claim(tmp_path):
        shutil.rmtree(tmp_path / ".cohort/failures")
        with pytest.raises(OutputError):
            write_failure(tmp_path, FAILURE)
