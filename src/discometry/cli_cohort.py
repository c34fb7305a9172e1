"""The command ``discometry cohort``: its options, its progress bar, its last words."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from discometry.core.errors import DiscometryError

if TYPE_CHECKING:
    from discometry.cohort import CohortOptions, CohortSummary, Standing

__all__ = ["Cohort"]

INTERRUPTED = 130
"""Exit code of a run that Ctrl-C ended, as shells have it."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """Analyse many studies. The same call again goes on where it was interrupted, and redoes what changed."""

    source: tyro.conf.Positional[Path]
    """Folder of scans, BIDS dataset, or table (CSV, TSV, Parquet) with the columns study, image, mask."""
    out: Path
    """Folder of results, tables and index.html."""
    scheduler: str | None = None
    """Address of a running dask scheduler, such as tcp://host:8786; default: workers on this machine."""
    workers: int | None = None
    """Workers to start on this machine; default: one for each processor, or fewer with --threads."""
    threads: int = 1
    """Processor threads for each study."""
    retry_failed: bool = False
    """Try studies again that failed before, though nothing has changed."""
    mask: bool = False
    """Files that lie beside no mask are segmentations, not MRIs."""
    labels: str | None = None
    """Label convention of the masks, if it should not be recognised."""
    series: str | None = None
    """Which series of DICOM folders: its UID or how that begins, its number, or its description."""
    bundle: Path | None = None
    """Folder of models, or "paper" for the paper's SwinUNETR-V2, which comes along. Default: the starter."""
    device: str = "cpu"
    """Where the networks run: cpu, cuda, .."""
    time_limit_min: float = 30.0
    """Longest time for one study; one that hangs is ended and counts as failed."""
    memory_gb: float | None = None
    """Most memory (GiB) for one study; default: what dask allows a worker."""
    keep_all: bool = False
    """Keep image and meshes in each study's folder, which stays below 2 MB beside its mask without them."""
    bids: bool = False
    """Lay the results out as a BIDS derivative too, in OUT/bids."""

    def run(self) -> int:
        """Run the cohort, and say how it ended."""
        try:
            from discometry.cohort import run_cohort
        except ModuleNotFoundError as error:
            raise DiscometryError(
                f"the module {error.name} is not installed",
                expected="what many studies need",
                action="install it with `pip install discometry[cluster]`",
            ) from error
        options = self._options()
        # What becomes of workers and schedulers is told in our own words; dask's tracebacks add nothing.
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        try:
            with _bar() as (watch, say):
                summary = run_cohort(
                    self.source,
                    self.out,
                    options,
                    scheduler=self.scheduler,
                    workers=self.workers,
                    watch=watch,
                    say=say,
                )
        except KeyboardInterrupt:
            print("discometry: stopped; the same call goes on from here", file=sys.stderr)  # noqa: T201
            return INTERRUPTED
        _print_summary(summary)
        return 1 if summary.failures else 0

    def _options(self) -> CohortOptions:
        from discometry.cohort import CohortOptions
        from discometry.cohort_worker import Limits

        for name, value in (("--workers", self.workers), ("--threads", self.threads)):
            _check(name, value, value is None or value >= 1)
        for name, limit in (("--time-limit-min", self.time_limit_min), ("--memory-gb", self.memory_gb)):
            _check(name, limit, limit is None or limit > 0)
        if self.scheduler and self.workers:
            raise DiscometryError(
                "--workers beside --scheduler",
                expected="one of them",
                action="leave --workers out: a running scheduler has workers of its own",
            )
        return CohortOptions(
            masks=self.mask,
            convention=self.labels,
            series=self.series,
            bundle=self.bundle,
            device=self.device,
            keep_all=self.keep_all,
            retry_failed=self.retry_failed,
            bids=self.bids,
            limits=Limits(
                time_limit_s=60 * self.time_limit_min, memory_gb=self.memory_gb, threads=self.threads
            ),
        )


def _check(name: str, value: object, good: bool) -> None:
    if not good:
        raise DiscometryError(
            f"{name} {value}", expected="a number above zero", action="see discometry cohort --help"
        )


def _print_summary(summary: CohortSummary) -> None:
    lines = [
        f"{summary.done + summary.kept} studies done ({summary.kept} of them found done), "
        f"{len(summary.failures)} failed"
    ]
    lines += [f"  {failure.study}: {failure.found} ({failure.stage})" for failure in summary.failures[:10]]
    if len(summary.failures) > 10:
        lines.append(f"  and {len(summary.failures) - 10} more")
    if summary.failures:
        lines.append(f"why, and what to do: {summary.out / 'failures.csv'}")
    lines.append(f"overview: {summary.out / 'index.html'}")
    print("\n".join(lines))  # noqa: T201


@contextlib.contextmanager
def _bar() -> Iterator[tuple[Callable[[Standing], None], Callable[[str], None]]]:
    """Show rate, failures and time left where a person watches; give what moves the bar, and what prints."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns: tuple[Any, ...] = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("[red]{task.fields[failed]} failed"),
        TextColumn("{task.fields[workers]} workers"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("studies", total=None, rate="", failed=0, workers=0)

        def watch(standing: Standing) -> None:
            completed = standing.done + standing.kept + standing.failed
            speed = bar.tasks[0].finished_speed or bar.tasks[0].speed
            bar.update(
                task,
                total=standing.total,
                completed=completed,
                rate=f"{60 * speed:.1f} a minute" if speed else "",
                failed=standing.failed,
                workers=standing.workers,
            )

        def say(line: str) -> None:
            console.print(line, soft_wrap=True, highlight=False)

        yield watch, say
