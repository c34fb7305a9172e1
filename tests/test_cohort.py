"""Many studies on dask: what comes out, what is kept, and what dies on the way."""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import distributed
import pandas as pd
import pytest

from cohort_work import behave
from discometry import cohort_client
from discometry.cohort import CohortOptions, CohortSummary, Standing, run_cohort
from discometry.cohort_worker import Limits
from discometry.core.errors import InputError, OutputError
from discometry.io.cohort_folder import claim

HERE = Path(__file__).parent
LIMITS = Limits(time_limit_s=1.5, memory_gb=0.35, attempts=2)


def python_path() -> str:
    """Where a new process finds this package and the tests' work."""
    return os.pathsep.join(filter(None, (str(HERE), str(HERE.parent / "src"), os.environ.get("PYTHONPATH"))))


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """Address of a scheduler with two workers, which all tests of this module share."""
    from distributed import LocalCluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", python_path())
        with LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
        ) as cluster:
            yield cluster.scheduler_address


def inputs(folder: Path, **words: str) -> Path:
    """Write a folder of studies that behave as the words say, beside three that are fine."""
    folder.mkdir(exist_ok=True)
    for name, word in (words | {f"a{n}": "fine" for n in range(3)}).items():
        (folder / f"{name}.mha").write_text(word)
    return folder


def run(source: Path, out: Path, scheduler: str | None, **options: object) -> CohortSummary:
    given = CohortOptions(**{"limits": LIMITS} | options)
    return run_cohort(source, out, given, scheduler=scheduler, analyse=behave)


def table(out: Path) -> list[dict[str, str]]:
    with (out / "cohort.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_what_fails_is_named_and_the_rest_is_done(scheduler: str, tmp_path: Path) -> None:
    words = {"bug": "bug", "refuse": "refuse", "vanish": "vanish"}
    source, out = inputs(tmp_path / "in", **words), tmp_path / "out"
    standings: list[Standing] = []
    summary = run_cohort(source, out, scheduler=scheduler, analyse=behave, watch=standings.append)
    assert (summary.done, summary.kept) == (3, 0)
    assert [failure.study for failure in summary.failures] == ["bug", "refuse", "vanish"]
    assert [row["study"] for row in table(out)] == ["a0", "a1", "a2"]
    last = standings[-1]
    assert (last.total, last.done, last.failed, last.workers) == (6, 3, 3, 2)
    with (out / "failures.csv").open(newline="") as stream:
        failures = list(csv.DictReader(stream))
    assert [(row["study"], row["stage"]) for row in failures] == [(name, "measure") for name in sorted(words)]
    assert all(row["error"] and row["what_to_do"] for row in failures)
    assert len(pd.read_parquet(out / "cohort.parquet")) == 3
    assert "3 failed" in (out / "index.html").read_text()


def test_the_next_call_does_what_is_left_or_changed(scheduler: str, tmp_path: Path) -> None:
    source, out = inputs(tmp_path / "in", refuse="refuse"), tmp_path / "out"
    run(source, out, scheduler)
    before = {name: (out / name).read_bytes() for name in ("cohort.csv", "failures.csv", "index.html")}
    shutil.rmtree(out / "a0")
    for summary, done in ((run(source, out, scheduler), 1), (run(source, out, scheduler), 0)):
        assert (summary.done, summary.kept, len(summary.failures)) == (done, 3 - done, 1)
        assert {name: (out / name).read_bytes() for name in before} == before
    (source / "a1.mha").write_text("slow 0.01")
    (source / "refuse.mha").write_text("fine")
    (source / "a2.mha").unlink()
    summary = run(source, out, scheduler)
    assert (summary.done, summary.kept, summary.failures) == (2, 1, ())
    assert [row["study"] for row in table(out)] == ["a0", "a1", "refuse"]


def test_wrong_rows_of_a_table_are_failures(scheduler: str, tmp_path: Path) -> None:
    inputs(tmp_path / "in")
    studies = tmp_path / "studies.csv"
    studies.write_text("study,image\nx,in/a0.mha\ny,in/gone.mha\n")
    summary = run(studies, tmp_path / "out", scheduler)
    assert summary.done == 1
    (failure,) = summary.failures
    assert (failure.study, failure.stage) == ("y", "list")
    assert "row 3 of" in failure.found


def test_bids_derivative(scheduler: str, tmp_path: Path) -> None:
    run(inputs(tmp_path / "in"), tmp_path / "out", scheduler, bids=True)
    names = {
        path.relative_to(tmp_path / "out/bids").as_posix() for path in (tmp_path / "out/bids").rglob("*.tsv")
    }
    assert "sub-a0/anat/sub-a0_desc-discs_morph.tsv" in names


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort_client, "ANSWER_S", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    for wrong in (address, "nonsense://x"):
        with pytest.raises(InputError, match="no dask scheduler answers"):
            run(inputs(tmp_path / "in"), tmp_path / "out", wrong)


def test_workers_that_are_late_are_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import LocalCluster

    monkeypatch.setattr(cohort_client, "NO_WORKERS_S", 0.5)
    monkeypatch.setenv("PYTHONPATH", python_path())
    said: list[str] = []
    with LocalCluster(
        n_workers=0, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
    ) as cluster:

        def say(line: str) -> None:
            if line.startswith("no workers"):
                said.append(line)
                cluster.scale(1)

        address = cluster.scheduler_address
        source = inputs(tmp_path / "in")
        summary = run_cohort(source, tmp_path / "out", scheduler=address, analyse=behave, say=say)
    assert (summary.done, len(said)) == (3, 1)


def test_a_folder_in_use_is_refused_before_any_work(tmp_path: Path) -> None:
    with claim(tmp_path / "out"), pytest.raises(OutputError, match="in use by another cohort run"):
        run(inputs(tmp_path / "in"), tmp_path / "out", "tcp://127.0.0.1:9")


# -- faults ----------------------------------------------------------------------------------------------


def test_a_machine_that_stalls_is_waited_for(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalls = [AssertionError(), AssertionError()]

    def slow(*args: Any, **options: Any) -> distributed.Client:
        if stalls:
            raise stalls.pop()
        return client(*args, **options)

    client = distributed.Client
    monkeypatch.setattr(distributed, "Client", slow)
    assert run(inputs(tmp_path / "in"), tmp_path / "out", scheduler).failures == ()
    assert not stalls


@pytest.mark.faults
def test_poison_is_quarantined_and_nothing_else_suffers(scheduler: str, tmp_path: Path) -> None:
    poison = {"crash": "crash", "exit": "exit", "eat": "eat 60", "hang": "hang"}
    source, out = inputs(tmp_path / "in", **poison), tmp_path / "out"
    summary = run(source, out, scheduler)
    assert summary.done == 3
    found = {failure.study: failure for failure in summary.failures}
    assert {name: failure.attempts for name, failure in found.items()} == dict.fromkeys(poison, 2)
    assert "SIGSEGV" in found["crash"].found
    assert "exit code 7" in found["exit"].found
    assert "GiB of memory" in found["eat"].found
    assert "no answer within 1.5 s" in found["hang"].found
    started = time.monotonic()
    again = run(source, out, scheduler)
    assert (again.done, again.kept, len(again.failures)) == (0, 3, 4)
    assert time.monotonic() - started < 10, "known poison was tried again"


@pytest.mark.faults
def test_a_worker_killed_mid_study_costs_nothing(scheduler: str, tmp_path: Path) -> None:
    source = inputs(tmp_path / "in", k=f"kill-worker-once {tmp_path / 'mark'}")
    summary = run(source, tmp_path / "out", scheduler, limits=Limits(time_limit_s=30))
    assert (tmp_path / "mark").exists()
    # A study whose result was written, but whose worker died before it said so, is found done.
    assert (summary.done + summary.kept, summary.failures) == (4, ())


@pytest.mark.faults
def test_a_study_that_kills_every_worker_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohort_client, "ROUNDS", 1)
    monkeypatch.setattr(cohort_client, "NO_WORKERS_S", 15.0)
    monkeypatch.setenv("PYTHONPATH", python_path())
    source, out = inputs(tmp_path / "in", k="kill-worker"), tmp_path / "out"
    summary = run(source, out, None, limits=Limits(time_limit_s=30))
    assert summary.done + summary.kept == 3
    (failure,) = summary.failures
    assert (failure.study, failure.found) == ("k", "every dask worker that took this study died")
    assert failure.attempts == 4
    assert failure.key is not None
    marks = [standing for standing in watched(source, out) if standing.workers]
    assert (marks[-1].kept, marks[-1].failed) == (3, 1)


def watched(source: Path, out: Path) -> list[Standing]:
    standings: list[Standing] = []
    run_cohort(source, out, workers=1, analyse=behave, watch=standings.append)
    return standings


def test_workers_that_cannot_begin_stop_the_run(
    scheduler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distributed import Client

    def begin_nothing(request: dict[str, object], limits: dict[str, object]) -> dict[str, object]:
        raise ModuleNotFoundError("No module named 'discometry'")

    submit = Client.submit

    def submit_nothing(client: Client, function: object, *arguments: object, **options: object) -> object:
        return submit(client, begin_nothing, *arguments, **options)

    monkeypatch.setattr(Client, "submit", submit_nothing)
    with pytest.raises(OutputError, match=r"could not begin a study .*No module named"):
        run(inputs(tmp_path / "in"), tmp_path / "out", scheduler)


_RUN = """
import sys
from pathlib import Path
from cohort_work import behave
from discometry import cohort_client
from discometry.cohort import CohortOptions, run_cohort
from discometry.core.errors import DiscometryError
if __name__ == "__main__":
    try:
        summary = run_cohort(
            Path(sys.argv[1]), Path(sys.argv[2]), workers=int(sys.argv[3]), scheduler=sys.argv[4] or None,
            analyse=behave, say=lambda line: print(line, flush=True),
        )
        print("done", summary.done, summary.kept, len(summary.failures))
    except DiscometryError as error:
        print("stopped:", error)
"""


@contextmanager
def started(
    folder: Path, source: Path, out: Path, *, workers: int, scheduler: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """Run a cohort in a process group of its own."""
    script = folder / "run.py"
    script.write_text(_RUN)
    process = subprocess.Popen(
        [sys.executable, str(script), str(source), str(out), str(workers), scheduler],
        env=os.environ | {"PYTHONPATH": python_path()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def until(true: Callable[[], bool], *, within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


@pytest.mark.faults
def test_killed_at_any_moment_the_table_is_that_of_an_undisturbed_run(scheduler: str, tmp_path: Path) -> None:
    source = inputs(tmp_path / "in", refuse="refuse", **{f"b{n}": f"slow 0.{n}" for n in range(6)})
    run(source, tmp_path / "calm", scheduler)
    out = tmp_path / "out"
    chance = random.Random(2)
    for least, everyone in ((1, False), (4, True)):
        with started(tmp_path, source, out, workers=1) as process:
            until(lambda least=least: sum(path.is_dir() for path in out.glob("[ab]*")) >= least)
            time.sleep(chance.random() / 3)
            os.killpg(process.pid, signal.SIGKILL) if everyone else process.kill()
    summary = run(source, out, scheduler)
    assert summary.kept >= 4
    for name in ("cohort.csv", "cohort.parquet", "columns.json"):
        assert (out / name).read_bytes() == (tmp_path / "calm" / name).read_bytes()
    assert not [path for path in out.iterdir() if path.name.startswith(".") and path.name != ".cohort"]


def answers(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0


def dask(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "dask", *words, "--no-dashboard"],
        env=os.environ | {"PYTHONPATH": python_path()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.mark.faults
def test_a_scheduler_that_is_restarted_is_waited_for(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    source, out = inputs(tmp_path / "in", **{f"b{n}": "slow 0.3" for n in range(8)}), tmp_path / "out"
    begin = ("scheduler", "--host", "127.0.0.1", "--port", port)
    others = [dask(*begin), dask("worker", address, "--nthreads", "1")]
    try:
        until(lambda: answers(int(port)))
        with started(tmp_path, source, out, workers=1, scheduler=address) as process:
            until(lambda: len(list(out.glob("[ab]*"))) >= 2)
            others[0].kill()
            others[0].wait()
            others += [dask(*begin), dask("worker", address, "--nthreads", "1")]
            said, _ = process.communicate(timeout=90)
        assert "lost the scheduler" in said
        assert said.splitlines()[-1].startswith("done ")
        assert len(table(out)) == 11
    finally:
        for other in others:
            if other.poll() is None:
                os.killpg(other.pid, signal.SIGKILL)
            other.wait()


def in_small_room(folder: Path, script: str) -> str:
    """Run a shell script as root of a mount space of its own, where ``folder/room`` is 400 kB of memory."""
    (folder / "room").mkdir()
    mount = f"mount -t tmpfs -o size=400k none {folder}/room && "
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", mount + script],
        env=os.environ | {"PYTHONPATH": python_path()},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


needs_mounts = pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(
        ["unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"], check=False, capture_output=True
    ).returncode,
    reason="this machine lets nobody mount",
)


@pytest.mark.faults
@needs_mounts
def test_full_disk_and_read_only_output_stop_the_run_and_keep_what_is_done(tmp_path: Path) -> None:
    source = inputs(tmp_path / "in", zz="fill 600000")
    (tmp_path / "run.py").write_text(_RUN)
    call = f"{sys.executable} {tmp_path}/run.py {source} {tmp_path}/room/out 1 ''"
    said = in_small_room(
        tmp_path,
        f"{call}; echo -- ; ls {tmp_path}/room/out; printf fine > {source}/zz.mha; {call};"
        f"mount -o remount,ro {tmp_path}/room && {call}",
    )
    full, again = said.split("--\n")
    assert "stopped:" in full
    assert "No space left on device" in full
    assert "what is done is kept" in full
    assert again.startswith("a0\na1\na2\nassets\n")
    assert "done 1 3 0" in again
    assert "Read-only file system" in again
    assert again.count("stopped:") == 1
