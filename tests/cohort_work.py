"""Studies that behave as their input file says: the work that tests of the cohort have its workers do.

The file of a study is a text: a first word, and seconds or bytes after it.
"""

from __future__ import annotations

import ctypes
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from discometry.cohort_study import StudyTask
from discometry.core.errors import InputError
from discometry.io.atomic import new_folder
from discometry.io.cohort_folder import StudyKey
from discometry.io.disc_table import disc_columns
from discometry.io.results import FORMAT, Manifest

MIB = 2**20
WORKER = os.getppid()


def behave(task: StudyTask, key: StudyKey, reach: Callable[[str], None]) -> None:
    """Do what the input says, then write a small result."""
    reach("measure")
    word, _, detail = Path(task.source).read_text().partition(" ")
    _ACTS[word](task, detail)
    reach("write")
    size = int(detail) if word == "fill" else 0
    write_result(Path(task.out), task.study, key, weight=len(word), size=size)


def _eat(task: StudyTask, detail: str) -> None:
    hoard = [b"x" * (8 * MIB) for _ in range(int(detail))]
    time.sleep(1e6 if hoard else 0)


def _refuse(task: StudyTask, detail: str) -> None:
    raise InputError("a study of no use", expected="one of some use", action="leave it out")


def _bug(task: StudyTask, detail: str) -> None:
    raise ZeroDivisionError("never seen before")


def _vanish(task: StudyTask, detail: str) -> None:
    Path(task.source).unlink()
    Path(task.source).read_bytes()


def _kill_worker_once(task: StudyTask, detail: str) -> None:
    """Kill the dask worker that has this study, the first time only."""
    mark = Path(detail)
    if not mark.exists():
        mark.touch()
        _kill_worker(task, detail)


def _kill_worker(task: StudyTask, detail: str) -> None:
    os.kill(WORKER, 9)
    time.sleep(60)


_ACTS: dict[str, Callable[[StudyTask, str], object]] = {
    "fine": lambda task, detail: None,
    "fill": lambda task, detail: None,
    "slow": lambda task, detail: time.sleep(float(detail)),
    "hang": lambda task, detail: time.sleep(1e6),
    "crash": lambda task, detail: ctypes.string_at(0),
    "exit": lambda task, detail: os._exit(7),
    "eat": _eat,
    "refuse": _refuse,
    "bug": _bug,
    "vanish": _vanish,
    "kill-worker": _kill_worker,
    "kill-worker-once": _kill_worker_once,
}


def write_result(out: Path, study: str, key: StudyKey, *, weight: float = 1.0, size: int = 0) -> None:
    """Write what a result folder must have, and ``size`` bytes more."""
    manifest = Manifest(
        study=study,
        input=f"{study}.mha",
        input_sha256=str(key.input_sha256),
        bundle="starter",
        bundle_sha256=key.bundle_sha256,
        versions={"discometry": key.version},
        options=key.options,
        device="cpu",
        timings_s={},
    )
    columns = disc_columns(latents=2, poses=False)
    cells = {"study": study, "level": "L5/S1", "flags": "", "label": "201"}
    row = [cells.get(name, f"{weight + n / 7!r}") for n, name in enumerate(columns)]
    with new_folder(out / study, ours=lambda path: (path / "study.json").is_file()) as fresh:
        (fresh / "study.json").write_text(json.dumps({"format": FORMAT} | asdict(manifest)))
        (fresh / "discs.csv").write_text(",".join(columns) + "\n" + ",".join(row) + "\n")
        (fresh / "discs.nii.gz").write_bytes(b"0" * (size + 1))
        (fresh / "report.html").write_text("a report")
