"""A cohort's dask client: studies handed out, counted, handed out again when workers or schedulers die."""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from discometry.cohort_study import Outcome, StudyTask
from discometry.cohort_worker import Limits, run_study
from discometry.core.errors import InputError, OutputError
from discometry.io.cohort_folder import Failure, StudyKey, write_failure
from discometry.isolation import end_idle

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

__all__ = ["Run", "Standing", "work_off"]

_Made = TypeVar("_Made")

_log = logging.getLogger(__name__)

ANSWER_S = 10.0
"""Longest time that a scheduler may take to answer a first call."""

ROUNDS = 3
"""How often dask may give up on a study; each time some workers died that had it, which may be chance."""

NO_WORKERS_S = 60.0
"""After so long without one of its workers this machine starts new ones: dask may fail to restart them."""

_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is."""

    total: int
    done: int = 0
    kept: int = 0
    failed: int = 0
    workers: int = 0


@dataclass(slots=True)
class Run:
    """The one thing that changes while a run lasts."""

    out: Path
    total: int
    watch: Callable[[Standing], None]
    done: int = 0
    kept: int = 0
    workers: int = 0
    failures: dict[str, Failure] = field(default_factory=dict)
    rounds: Counter[str] = field(default_factory=Counter)

    def take(self, study: str, outcome: Outcome) -> None:
        """Count an outcome.

        Raises
        ------
        OutputError
            If the outcome is a reason to stop.
        """
        if outcome.kind == "stop" and outcome.failure is not None:
            lost = outcome.failure
            raise OutputError(
                lost.found, expected=lost.expected, action=f"{lost.action}; what is done is kept"
            )
        if outcome.failure is not None:
            self.failures[study] = outcome.failure
        self.done += outcome.kind == "done"
        self.kept += outcome.kind == "kept"
        self.tell()

    def may_be_chance(self, task: StudyTask, future: Future[Any]) -> bool:
        """Tell whether a study whose workers died should have another round, once all others are done."""
        from distributed import KilledWorker

        self.rounds[task.study] += 1
        return isinstance(future.exception(), KilledWorker) and self.rounds[task.study] < ROUNDS

    def tell(self) -> None:
        """Show how far the run is to whoever watches."""
        self.watch(Standing(self.total, self.done, self.kept, len(self.failures), self.workers))


def work_off(
    tasks: Iterator[StudyTask],
    run: Run,
    limits: Limits,
    *,
    patience_s: float,
    scheduler: str | None,
    workers: int | None,
    say: Callable[[str], None],
) -> None:
    """Hand out every task; wait for a scheduler that goes away, and hand out again what it had not done."""
    left: Iterable[StudyTask] = tasks
    wait_s = 0.0
    while True:
        with _connected(scheduler, workers, limits.threads, wait_s) as client:
            say(f"dashboard: {client.dashboard_link}")
            lost = _hand_out(client, iter(left), run, limits, local=scheduler is None, say=say)
            if not lost:
                with contextlib.suppress(Exception):  # the models' memory is a courtesy, the work is done
                    client.run(end_idle)
                return
        say(f"lost the scheduler; waiting for it at {scheduler}" if scheduler else "starting new workers")
        left, wait_s = chain(lost, left), patience_s


@contextmanager
def _connected(
    scheduler: str | None, workers: int | None, threads: int, patience_s: float
) -> Iterator[Client]:
    """Start workers on this machine, or reach those of a scheduler within ``patience_s``."""
    from distributed import Client

    if scheduler is None:
        with _local_cluster(workers, threads) as local, Client(local) as client:
            yield client
        return
    end = time.monotonic() + patience_s
    while True:
        try:
            client = _started(lambda: Client(scheduler, timeout=ANSWER_S, set_as_default=False))
            break
        except (OSError, ValueError) as error:
            if time.monotonic() > end or isinstance(error, ValueError):
                raise InputError(
                    f"no dask scheduler answers at '{scheduler}'",
                    expected="the address of a running scheduler, such as tcp://host:8786",
                    action="start one with `dask scheduler`, or leave --scheduler out to use this machine",
                ) from error
            time.sleep(_LOOK_S)
    with contextlib.closing(client):
        yield client


def _local_cluster(workers: int | None, threads: int) -> LocalCluster:
    """Start workers that share this machine's processors, at so many threads a study, and its memory."""
    from dask.system import CPU_COUNT
    from distributed import LocalCluster
    from distributed.system import MEMORY_LIMIT

    count = workers or max(1, CPU_COUNT // threads)
    return _started(
        lambda: LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            memory_limit=MEMORY_LIMIT // count,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,
        )
    )


def _started(make: Callable[[], _Made]) -> _Made:
    """Make what dask runs on a thread of its own, asked three times at most.

    It asserts that the thread starts in ten seconds, which are too few where a machine stalls.
    """
    for _ in range(2):
        with contextlib.suppress(AssertionError):
            return make()
    return make()


def _hand_out(
    client: Client,
    tasks: Iterator[StudyTask],
    run: Run,
    limits: Limits,
    *,
    local: bool,
    say: Callable[[str], None],
) -> list[StudyTask]:
    """Keep a bounded number of tasks with the scheduler until all are done; give what was lost with it."""
    flying: dict[Future[Any], StudyTask] = {}
    held: deque[StudyTask] = deque()
    later: deque[StudyTask] = deque()
    landed: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
    crew = _Crew(client, run, say)
    plain = asdict(limits)
    try:
        while crew.look() or not local:
            held.extend(islice(tasks, max(0, crew.window - len(flying))))
            if not held and not flying:
                held, later = later, deque()
            while held:
                future = _submitted(client, held[0], plain)
                flying[future] = held.popleft()
                future.add_done_callback(landed.put)
            if not flying:
                return []
            ready = _landed(landed)
            if client.status != "running" or any(future.status in ("cancelled", "lost") for future in ready):
                break
            answers = client.gather([future for future in ready if future.status == "finished"])
            for future in ready:
                task = flying[future]
                if future.status == "finished":
                    run.take(task.study, Outcome.from_json(answers.pop(0)))
                elif run.may_be_chance(task, future):
                    later.append(task)
                else:
                    run.take(task.study, _lost(task, future))
                del flying[future]
    except (OSError, CancelledError) as error:  # what dask's calls raise once their scheduler is gone
        _log.info("the scheduler does not answer: %s", error)
    return [*flying.values(), *held, *later]


@dataclass(slots=True)
class _Crew:
    """The workers that a scheduler has, looked at every second."""

    client: Client
    run: Run
    say: Callable[[str], None]
    window: int = 0
    """How many tasks to have with the scheduler: some for each thread, so that none waits for the client."""
    looked: float = -_LOOK_S
    seen: float = field(default_factory=time.monotonic)
    missed: bool = False

    def look(self) -> bool:
        """Count the workers; tell whether there were any within a minute, and say so once if not."""
        now = time.monotonic()
        if now - self.looked > _LOOK_S:
            threads = self.client.nthreads()
            self.run.workers, self.window, self.looked = len(threads), 4 * sum(threads.values()) + 16, now
            self.run.tell()
            if threads:
                self.seen, self.missed = now, False
            elif now - self.seen >= NO_WORKERS_S and not self.missed:
                self.missed = True
                self.say(f"no workers for {NO_WORKERS_S:.0f} s; the run goes on as soon as there are some")
        return not self.missed


def _submitted(client: Client, task: StudyTask, limits: dict[str, Any]) -> Future[Any]:
    # dask keeps a record of every first part of a key that it ever saw, so that is one for all.
    key = ("study", task.study, task.run)
    return client.submit(run_study, asdict(task), limits, key=key, pure=False)


def _landed(landed: queue.SimpleQueue[Future[Any]]) -> list[Future[Any]]:
    """Wait a moment for futures that ended; give all that did."""
    ready = []
    with contextlib.suppress(queue.Empty):
        ready.append(landed.get(timeout=_LOOK_S))
        while True:
            ready.append(landed.get_nowait())
    return ready


def _lost(task: StudyTask, future: Future[Any]) -> Outcome:
    """Judge a study that dask gave up on, as its workers died again and again, or could not begin it."""
    from distributed import KilledWorker

    error = future.exception()
    lost = partial(Failure, study=task.study, stage="run", input=task.source)
    if not isinstance(error, KilledWorker):
        failure = lost(
            found=f"a dask worker could not begin a study ({type(error).__name__}: {error})",
            expected="workers with the same discometry as here, and room to start a process",
            action="mend the workers, and run again",
        )
        return Outcome(kind="stop", failure=failure)
    key: StudyKey | None = None
    with contextlib.suppress(OSError):
        key = task.key()
    failure = lost(
        found="every dask worker that took this study died",
        expected="workers that outlive a study",
        action="see in the workers' logs what ended them, often memory; run again with --retry-failed",
        attempts=ROUNDS * (error.allowed_failures + 1),
        key=key,
    )
    write_failure(Path(task.out), failure)
    return Outcome(kind="failed", failure=failure)
