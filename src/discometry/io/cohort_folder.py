"""The state of a cohort, which lives in its output folder only: whose run it is, what is done, what failed.

``OUT/<study>/`` is a result, ``OUT/.cohort/failures/<study>.json`` a failure, ``OUT/.cohort/lock`` the run.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from discometry.core.errors import InputError, OutputError
from discometry.io.atomic import new_file
from discometry.io.results import is_whole, read_manifest

__all__ = [
    "TABLE_NAMES",
    "Failure",
    "StudyKey",
    "check_run",
    "claim",
    "drop_failure",
    "is_done",
    "read_failure",
    "write_failure",
]

TABLE_NAMES = ("cohort.parquet", "cohort.csv", "columns.json", "failures.csv", "index.html")
"""What a cohort writes beside its studies' folders."""

_STATE, _LOCK, _FAILURES = ".cohort", "lock", "failures"
_FORMAT = "discometry-failure"
_FORMAT_VERSION = 1
_LEFT_OVER = re.compile(r"^\.(?:.+\.[0-9a-f]{8}|[0-9a-f]{8}\..+)$")
"""Hidden names under which :mod:`discometry.io.atomic` builds what it renames at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyKey:
    """What decides whether a study must be done again."""

    input_sha256: str | None
    """Hash of the input; None where it could not be read."""
    bundle_sha256: str
    """Hash of the models."""
    version: str
    """Version of discometry."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The options as the manifest of a result holds them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A study that could not be analysed: at which stage, why, and what to do."""

    study: str
    stage: str
    found: str
    expected: str
    action: str
    input: str = ""
    """Path of the input."""
    attempts: int = 1
    """How often it was tried."""
    log: str = ""
    """The end of what the process or the traceback said, where the error is not a person's."""
    key: StudyKey | None = None
    """None: tried again by every run, as nothing of the study itself was seen to be wrong."""

    @property
    def error(self) -> str:
        """What was found, and what was expected."""
        return f"{self.found}; expected {self.expected}"


@contextmanager
def claim(out: Path) -> Iterator[str]:
    """Make an output folder and hold it for one run; give its token, and clear away what a dead one left.

    The lock is the operating system's (``flock``): it ends with the process that holds it, however that dies.

    Raises
    ------
    OutputError
        If another run holds the folder, something foreign is in the way, or it cannot be written.
    """
    try:
        lock, run = _taken(out)
    except OSError as error:
        raise _unwritable(out, error) from error
    with lock:
        yield run


def _taken(out: Path) -> tuple[IO[str], str]:
    """Lock a folder, and write into the lock who holds it."""
    state = out / _STATE
    known = state.is_dir()
    foreign = [] if known else [name for name in TABLE_NAMES if (out / name).exists()]
    if foreign:
        raise OutputError(
            f"'{out}' holds a {foreign[0]} that no cohort run wrote",
            expected="a new folder, or one of an earlier run",
            action="choose another folder",
        )
    (state / _FAILURES).mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context((state / _LOCK).open("a+", encoding="utf-8"))
        _hold(lock, out)
        for folder in (out, state / _FAILURES) if known else ():
            _sweep(folder)
        holder = {
            "run": secrets.token_hex(8),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": time.strftime("%F %T"),
        }
        lock.truncate(0)
        lock.write(json.dumps(holder))
        lock.flush()
        os.fsync(lock.fileno())
        stack.pop_all()
    return lock, str(holder["run"])


def _hold(lock: IO[str], out: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _read_json(out / _STATE / _LOCK) or {}
        told = (
            f"process {holder.get('pid', '?')} on {holder.get('host', '?')} since {holder.get('since', '?')}"
        )
        raise OutputError(
            f"'{out}' is in use by another cohort run ({told})",
            expected="one run at a time in a folder",
            action="wait for it to end, or choose another folder",
        ) from error


def _sweep(folder: Path) -> None:
    """Delete what was being written when an earlier run was killed."""
    with os.scandir(folder) as entries:
        left = [entry for entry in entries if _LEFT_OVER.match(entry.name)]
    for entry in left:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


def check_run(out: Path, run: str) -> None:
    """See, where a study is analysed, that the output folder is there and still belongs to this run.

    Raises
    ------
    OutputError
        If it is not.
    """
    holder = _read_json(out / _STATE / _LOCK)
    if holder is None or holder.get("run") != run:
        raise OutputError(
            f"'{out}' on {socket.gethostname()} "
            + ("does not hold this run" if holder is None else "was taken over by a newer run"),
            expected="one output folder, at the same path for the caller and for every worker",
            action="choose a folder on a file system that all workers share",
        )


def is_done(out: Path, study: str, key: StudyKey) -> bool:
    """Tell whether a study has a whole result of the same input, models, version and options."""
    try:
        manifest = read_manifest(out / study)
    except InputError:
        return False
    found = StudyKey(
        input_sha256=manifest.input_sha256,
        bundle_sha256=manifest.bundle_sha256 or "",
        version=manifest.versions.get("discometry", ""),
        options=dict(manifest.options),
    )
    return found == key and is_whole(out / study)


def write_failure(out: Path, failure: Failure) -> None:
    """Keep a failure, so that later runs know of it and tables name it.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    content = {"format": _FORMAT, "format_version": _FORMAT_VERSION} | asdict(failure)
    with new_file(_failure_file(out, failure.study)) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_failure(out: Path, study: str) -> Failure | None:
    """Read a study's failure; None if there is none that can be read."""
    content = _read_json(_failure_file(out, study))
    if content is None or content.pop("format", None) != _FORMAT:
        return None
    try:
        if content.pop("format_version") != _FORMAT_VERSION:
            return None
        key = content.pop("key")
        return Failure(**content, key=None if key is None else StudyKey(**key))
    except (KeyError, TypeError):
        return None


def drop_failure(out: Path, study: str) -> None:
    """Forget a study's failure, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        _failure_file(out, study).unlink()


def _failure_file(out: Path, study: str) -> Path:
    return out / _STATE / _FAILURES / f"{study}.json"


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _unwritable(out: Path, error: OSError) -> OutputError:
    return OutputError(
        f"'{out}' cannot be written ({error.strerror or error})",
        expected="a folder with room and with permission to write",
        action="choose another folder, or make room, and run again: what is done is kept",
    )
