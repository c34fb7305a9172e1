"""A dask worker's part in a cohort: a child process does the study, within limits, and a failure is kept."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from discometry.cohort_study import Outcome, one_study
from discometry.core.errors import OutputError
from discometry.io.cohort_folder import Failure, StudyKey, write_failure
from discometry.isolation import Answer, ProcessLost, borrowed

__all__ = ["Limits", "run_study"]

_log = logging.getLogger(__name__)

_WORK = f"{one_study.__module__}:{one_study.__qualname__}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one study may take."""

    time_limit_s: float = 1800.0
    """Longest time."""
    memory_gb: float | None = None
    """Most memory (GiB); None: the dask worker's own limit, shared by its threads."""
    threads: int = 1
    """Processor threads."""
    attempts: int = 3
    """How often a study is tried that ends its process, or passes a limit."""


def run_study(request: Answer, limits: Answer) -> Answer:
    """Have a child process of this worker do one study; keep its failure, if it fails.

    Parameters
    ----------
    request
        A :class:`~discometry.cohort_study.StudyTask` as JSON values.
    limits
        :class:`Limits` as JSON values.

    Returns
    -------
    dict
        An :class:`~discometry.cohort_study.Outcome` as JSON values.
    """
    outcome = _attempts(request, Limits(**limits))
    if outcome.kind == "failed" and outcome.failure is not None and not outcome.known:
        try:
            write_failure(Path(request["out"]), outcome.failure)
        except OutputError as error:
            unwritten = Failure(
                study=request["study"],
                stage="write",
                found=error.found,
                expected=error.expected,
                action=error.action,
            )
            outcome = Outcome(kind="stop", failure=unwritten)
    return outcome.as_json()


def _attempts(request: Answer, limits: Limits) -> Outcome:
    """Ask until there is an answer; after some children lost, the study itself is held to be the reason."""
    memory = limits.memory_gb
    allowed = _memory_of_worker() if memory is None else int(memory * 2**30)
    for attempt in range(1, limits.attempts + 1):
        try:
            with borrowed(_WORK, threads=limits.threads) as child:
                answer = child.ask(request, time_limit_s=limits.time_limit_s, memory_limit_bytes=allowed)
            return Outcome.from_json(answer)
        except ProcessLost as error:
            lost = error
            _log.warning("study %s, attempt %d: %s", request["study"], attempt, lost)
    key = lost.told.get("key")
    failure = Failure(
        study=request["study"],
        stage=lost.told.get("stage", "start"),
        input=request["source"],
        found=lost.why,
        expected="a result within the limits of time and memory",
        action="look at the input; run again with --retry-failed, and higher limits if it is sound",
        attempts=limits.attempts,
        log=lost.log,
        key=None if key is None else StudyKey(**key),
    )
    return Outcome(kind="failed", failure=failure)


def _memory_of_worker() -> int | None:
    """Give the bytes that one task of this dask worker may take; None where the worker has no limit."""
    from distributed import get_worker

    try:
        worker = get_worker()
    except ValueError:  # not in a worker
        return None
    limit = getattr(getattr(worker, "memory_manager", None), "memory_limit", None)
    return None if not limit else int(limit // worker.state.nthreads)
