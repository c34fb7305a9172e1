"""Many studies: planned, run on dask.distributed, gathered. Whatever dies meanwhile, the next call goes on.

The client keeps nothing but the names of the studies: what is done and what failed stands in the output
folder (:mod:`discometry.io.cohort_folder`), written by whoever did it. So there is nothing to lose.
"""

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
from typing import TYPE_CHECKING, Any

from discometry import __version__
from discometry.cohort_study import Outcome, StudyTask, analyse_for_cohort
from discometry.cohort_worker import Limits, run_study
from discometry.core.errors import InputError, OutputError
from discometry.io.bundle import read_bundle
from discometry.io.cohort_folder import ASSETS, Failure, StudyKey, claim, write_failure
from discometry.io.manifest import FoundStudies, StudySource, find_studies
from discometry.isolation import end_idle

if TYPE_CHECKING:
    from distributed import Client, Future, LocalCluster

__all__ = ["CohortOptions", "CohortSummary", "Standing", "run_cohort"]

_log = logging.getLogger(__name__)

ANSWER_S = 10.0
"""Longest time that a scheduler may take to answer a first call."""

ROUNDS = 3
"""How often dask may give up on a study; each time some workers died that had it, which may be chance."""

NO_WORKERS_S = 60.0
"""After so long without one of its workers this machine starts new ones: dask may fail to restart them."""

_LOOK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortOptions:
    """What holds for every study of a run."""

    masks: bool = False
    """Whether files that lie beside no mask are masks themselves."""
    convention: str | None = None
    """Label convention of the masks; None recognises it."""
    series: str | None = None
    """Which series of a DICOM folder."""
    bundle: Path | None = None
    """Folder of models; None takes the shipped ones."""
    device: str = "cpu"
    """Where the networks run, as torch names it."""
    keep_all: bool = False
    """Whether study folders keep the image in 8 bits and the meshes."""
    retry_failed: bool = False
    """Whether studies that failed are tried again, though nothing has changed."""
    limits: Limits = field(default_factory=Limits)
    """What one study may take."""
    bids: bool = False
    """Whether the results are laid out as a BIDS derivative too."""
    patience_s: float = 600.0
    """How long a scheduler that went away is waited for."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a run is."""

    total: int
    done: int = 0
    kept: int = 0
    failed: int = 0
    workers: int = 0


@dataclass(frozen=True, slots=True)
class CohortSummary:
    """How a run ended: studies newly done, those found done, and those that failed."""

    out: Path
    done: int
    kept: int
    failures: tuple[Failure, ...]


@dataclass(slots=True)
class _Run:
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
        self.watch(Standing(self.total, self.done, self.kept, len(self.failures), self.workers))


def run_cohort(
    source: Path,
    out: Path,
    options: CohortOptions | None = None,
    *,
    scheduler: str | None = None,
    workers: int | None = None,
    watch: Callable[[Standing], None] = lambda standing: None,
    say: Callable[[str], None] = _log.info,
    analyse: Callable[..., None] = analyse_for_cohort,
) -> CohortSummary:
    """Analyse every study of a folder, a BIDS dataset or a table; skip those that are done.

    Parameters
    ----------
    source
        As :func:`~discometry.io.manifest.find_studies` takes it.
    out
        Folder of results, of the tables and of ``index.html``; every worker must see it at this path.
    options
        For every study.
    scheduler
        Address of a dask scheduler; None starts workers on this machine.
    workers
        How many then; None: as many as the processors have threads for.
    watch
        Called with the standing whenever it changes, and every second.
    say
        Called with lines worth reading, such as the dashboard's address.
    analyse
        Does one study, as :func:`~discometry.cohort_study.analyse_for_cohort`; workers find it by name.

    Raises
    ------
    InputError
        If there is nothing to analyse, or the scheduler cannot be reached.
    BundleError
        If the models cannot be read.
    OutputError
        If the output folder is in use by another run, or cannot be written; what is done is kept.
    """
    from discometry.cohort_tables import read_columns, write_tables
    from discometry.io.bids import write_bids
    from discometry.report.overview import write_overview
    from discometry.report.page import write_assets

    options = options or CohortOptions()
    out = Path(out).resolve()
    found = find_studies(Path(source).resolve(), masks=options.masks, leave_out=out)
    bundle = read_bundle(options.bundle)
    with claim(out) as token:
        run = _Run(out, len(found.studies) + len(found.refused), watch)
        write_assets(out / ASSETS)
        _refuse(found, run)
        shared = {
            "out": str(out),
            "run": token,
            "bundle": None if options.bundle is None else str(options.bundle.resolve()),
            "bundle_sha256": bundle.sha256,
            "version": __version__,
            "analyse": f"{analyse.__module__}:{analyse.__qualname__}",
            **{name: getattr(options, name) for name in _PASSED_ON},
        }
        tasks = (_task(study, shared) for study in found.studies)
        _work_off(tasks, run, options, scheduler=scheduler, workers=workers, say=say)
        done = [study.study for study in found.studies if study.study not in run.failures]
        failures = write_tables(out, done, tuple(run.failures.values()))
        write_overview(out)
        if options.bids:
            gone = {failure.study for failure in failures}
            write_bids(out, (study for study in done if study not in gone), read_columns(out))
    return CohortSummary(out, run.done, run.kept, failures)


_PASSED_ON = ("convention", "series", "device", "keep_all", "retry_failed")


def _task(study: StudySource, shared: dict[str, Any]) -> StudyTask:
    mask, image = study.mask, study.image
    return StudyTask(
        study=study.study,
        source=str(mask or image),
        mask=mask is not None,
        image=None if mask is None or image is None else str(image),
        **shared,
    )


def _refuse(found: FoundStudies, run: _Run) -> None:
    """Count what was listed but is no study as failures, which stand in the table but need no file."""
    for item in found.refused:
        error = item.error
        failure = Failure(
            study=item.study, stage="list", found=error.found, expected=error.expected, action=error.action
        )
        run.take(item.study, Outcome(kind="failed", failure=failure))


# -- the client ------------------------------------------------------------------------------------------


def _work_off(
    tasks: Iterator[StudyTask],
    run: _Run,
    options: CohortOptions,
    *,
    scheduler: str | None,
    workers: int | None,
    say: Callable[[str], None],
) -> None:
    """Hand out every task; wait for a scheduler that goes away, and hand out again what it had not done."""
    left: Iterable[StudyTask] = tasks
    patience_s = 0.0
    while True:
        with _connected(scheduler, workers, options.limits.threads, patience_s) as client:
            say(f"dashboard: {client.dashboard_link}")
            lost = _hand_out(client, iter(left), run, options, local=scheduler is None)
            if not lost:
                with contextlib.suppress(Exception):  # the models' memory is a courtesy, the work is done
                    client.run(end_idle)
                return
        say(f"lost the scheduler; waiting for it at {scheduler}" if scheduler else "starting new workers")
        left, patience_s = chain(lost, left), options.patience_s


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
            client = Client(scheduler, timeout=ANSWER_S, set_as_default=False)
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
    return LocalCluster(
        n_workers=count,
        threads_per_worker=1,
        processes=True,
        memory_limit=MEMORY_LIMIT // count,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    )


def _hand_out(
    client: Client, tasks: Iterator[StudyTask], run: _Run, options: CohortOptions, *, local: bool
) -> list[StudyTask]:
    """Keep a bounded number of tasks with the scheduler until all are done; give what was lost with it."""
    flying: dict[Future[Any], StudyTask] = {}
    held: deque[StudyTask] = deque()
    later: deque[StudyTask] = deque()
    landed: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()
    crew = _Crew(client, run)
    limits = asdict(options.limits)
    try:
        while crew.look() or not local:
            held.extend(islice(tasks, max(0, crew.window - len(flying))))
            if not held and not flying:
                held, later = later, deque()
            while held:
                future = _submitted(client, held[0], limits)
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
    run: _Run
    window: int = 0
    """How many tasks to have with the scheduler: some for each thread, so that none waits for the client."""
    looked: float = -_LOOK_S
    seen: float = field(default_factory=time.monotonic)

    def look(self) -> bool:
        """Count the workers; tell whether there were any within a minute."""
        now = time.monotonic()
        if now - self.looked > _LOOK_S:
            threads = self.client.nthreads()
            self.run.workers, self.window, self.looked = len(threads), 4 * sum(threads.values()) + 16, now
            self.run.tell()
            if threads:
                self.seen = now
        return now - self.seen < NO_WORKERS_S


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
