"""One study of a cohort: done once, kept, redone when anything changes, whole whenever it is killed."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cohort_work import write_result
from discometry import __version__
from discometry.cohort_study import Outcome, StudyTask, one_study
from discometry.cohort_tables import write_tables
from discometry.core.phantom import phantom_grid, render_discs, sample_phantom
from discometry.io.bundle import read_bundle
from discometry.io.cohort_folder import Failure, claim, is_done, read_failure, write_failure
from discometry.io.images import write_volume
from discometry.io.results import read_study
from discometry.report.overview import write_overview


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def run(out: Path) -> Iterator[str]:
    with claim(out) as token:
        yield token


@pytest.fixture
def task(tmp_path: Path, out: Path, run: str) -> StudyTask:
    """A study whose input says that all is well."""
    (tmp_path / "a.mha").write_text("fine")
    return StudyTask(
        study="a",
        source=str(tmp_path / "a.mha"),
        out=str(out),
        run=run,
        bundle=None,
        bundle_sha256="cd" * 32,
        version=__version__,
        analyse="cohort_work:behave",
    )


def do(task: StudyTask) -> Outcome:
    told: list[dict[str, object]] = []
    outcome = Outcome.from_json(one_study(asdict(task), told.append))
    if outcome.failure is not None:
        assert outcome.failure.stage in [item.get("stage") for item in told] or outcome.known
    return outcome


def failed(task: StudyTask) -> Failure:
    outcome = do(task)
    assert outcome.kind == "failed"
    assert outcome.failure is not None
    return outcome.failure


def stopped(task: StudyTask) -> Failure:
    outcome = do(task)
    assert outcome.kind == "stop"
    assert outcome.failure is not None
    return outcome.failure


def test_done_once_kept_then_and_redone_when_anything_changes(task: StudyTask) -> None:
    assert [do(task).kind, do(task).kind] == ["done", "kept"]
    Path(task.source).write_text("slow 0")
    assert [do(task).kind, do(task).kind] == ["done", "kept"]
    assert do(replace(task, bundle_sha256="ef" * 32)).kind == "done"
    assert do(replace(task, keep_all=True)).kind == "done"


def test_a_failure_is_known_again_until_asked_for_or_changed(task: StudyTask, out: Path) -> None:
    Path(task.source).write_text("refuse")
    failure = failed(task)
    assert (failure.stage, failure.found, failure.action) == ("measure", "a study of no use", "leave it out")
    assert not do(task).known
    write_failure(out, failure)
    assert do(task).known
    assert not do(replace(task, retry_failed=True)).known
    Path(task.source).write_text("fine")
    assert do(task).kind == "done"
    assert read_failure(out, "a") is None


def test_an_unknown_error_keeps_its_traceback(task: StudyTask) -> None:
    Path(task.source).write_text("bug")
    failure = failed(task)
    assert "ZeroDivisionError: never seen before" in failure.found
    assert "Traceback" in failure.log
    assert failure.key is not None


def test_an_input_that_is_gone_is_tried_again_by_every_run(task: StudyTask) -> None:
    Path(task.source).write_text("vanish")
    assert "No such file" in failed(task).found
    failure = failed(task)
    assert (failure.stage, failure.key) == ("check", None)


def test_a_foreign_folder_is_that_studys_trouble_only(task: StudyTask, out: Path) -> None:
    (out / "a").mkdir()
    (out / "a" / "thesis.docx").touch()
    failure = failed(task)
    assert (failure.stage, failure.key) == ("place", None)
    assert "not an earlier result" in failure.found
    assert (out / "a" / "thesis.docx").exists()


def test_what_every_study_would_meet_stops_the_run(task: StudyTask, out: Path) -> None:
    assert "does not hold this run" in stopped(replace(task, out=str(out / "elsewhere"))).found
    assert "taken over" in stopped(replace(task, run="another")).found
    assert "discometry 99" not in stopped(replace(task, version="99")).found
    real = "discometry.cohort_study:analyse_for_cohort"
    assert "other models" in stopped(replace(task, analyse=real)).found
    assert "device" in stopped(replace(task, analyse=real, device="nonsense")).found


# -- the real work ---------------------------------------------------------------------------------------


@pytest.fixture
def phantom(task: StudyTask, tmp_path: Path) -> StudyTask:
    """The mask of two discs."""
    spine = sample_phantom(3, n_discs=2)
    mask = write_volume(
        render_discs(spine, phantom_grid(spine, spacing_mm=(4.4, 1.5, 1.5))), tmp_path / "m.mha"
    )
    real = "discometry.cohort_study:analyse_for_cohort"
    return replace(task, source=str(mask), mask=True, analyse=real, bundle_sha256=read_bundle().sha256)


def test_a_real_study_has_what_a_cohort_needs_and_no_more(phantom: StudyTask, out: Path) -> None:
    assert [do(phantom).kind, do(phantom).kind] == ["done", "kept"]
    names = {"study.json", "discs.csv", "discs.nii.gz", "report.html", "thumbnail.webp"}
    assert {path.name for path in (out / "a").iterdir()} == names
    beside_mask = sum((out / "a" / name).stat().st_size for name in names - {"discs.nii.gz"})
    assert beside_mask < 2_000_000
    report = (out / "a" / "report.html").read_text()
    assert 'src="../assets/view3d.js"' in report
    assert len(read_study(out / "a").meshes) == 2
    assert do(replace(phantom, keep_all=True)).kind == "done"
    assert len(list((out / "a" / "meshes").iterdir())) == 2


def test_an_input_that_changes_meanwhile_gives_no_result(
    phantom: StudyTask, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from discometry import study as study_module

    def meddled(*arguments: object, **options: object) -> object:
        with Path(phantom.source).open("ab") as stream:
            stream.write(b"\0")
        return analyse_mask(*arguments, **options)

    analyse_mask: Callable[..., object] = study_module.analyse_mask
    monkeypatch.setattr(study_module, "analyse_mask", meddled)
    failure = failed(phantom)
    assert "changed while it was analysed" in failure.found
    assert failure.key is None
    assert not (out / "a").exists()


def test_a_run_that_was_taken_over_meanwhile_writes_nothing(
    phantom: StudyTask, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from discometry import study as study_module

    def overtaken(*arguments: object, **options: object) -> object:
        (out / ".cohort/lock").write_text('{"run": "a newer one"}')
        return analyse_mask(*arguments, **options)

    analyse_mask: Callable[..., object] = study_module.analyse_mask
    monkeypatch.setattr(study_module, "analyse_mask", overtaken)
    assert "taken over" in stopped(phantom).found
    assert not (out / "a").exists()


# -- killed during every write ---------------------------------------------------------------------------

_WRITES = {
    "open",
    "os.rename",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.link",
    "shutil.rmtree",
    "os.truncate",
}


def killed_at(number: int, act: Callable[[], object]) -> bool:
    """Run ``act`` in a forked process that is killed at its n-th touch of a file; tell whether it was."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # later Pythons warn of threads; this child has none
        child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in _WRITES and "/out/" in str(arguments[0]):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        sys.addaudithook(hook)
        act()
    finally:
        os._exit(0)


@pytest.mark.faults
@pytest.mark.parametrize("older", [False, True])
def test_killed_at_every_write_the_next_call_makes_up_for_it(task: StudyTask, out: Path, older: bool) -> None:
    key = task.key()

    def act() -> None:
        """What a run writes: a result, a failure and the tables."""
        assert do(task).kind in ("done", "kept")
        write_failure(out, Failure(study="b", stage="read", found="x", expected="y", action="z"))
        write_tables(out, ["a"], [Failure(study="b", stage="read", found="x", expected="y", action="z")])
        write_overview(out)

    def state() -> dict[str, bytes]:
        names = [path for path in out.rglob("*") if path.is_file() and path.name != "lock"]
        return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(names)}

    act()
    undisturbed = state()
    number, killed = 0, True
    while killed:
        number += 1
        for name in ("cohort.csv", "cohort.parquet", "columns.json", "failures.csv", "index.html"):
            (out / name).unlink(missing_ok=True)
        if older:
            write_result(out, "a", replace(key, version="older"))
        else:
            for path in (out / "a").iterdir():
                path.unlink()
        killed = killed_at(number, act)
        if is_done(out, "a", key):
            assert state()["a/discs.csv"] == undisturbed["a/discs.csv"]
        _sweep_as_the_next_run_does(out)
        act()
        assert state() == undisturbed, number
    assert number > 20


def _sweep_as_the_next_run_does(out: Path) -> None:
    from discometry.io.cohort_folder import _sweep

    _sweep(out)
    _sweep(out / ".cohort/failures")
