"""Many studies: planned, run on dask.distributed, gathered. Whatever dies meanwhile, the next call goes on.

The client keeps nothing but the names of the studies: what is done and what failed stands in the output
folder (:mod:`discometry.io.cohort_folder`), written by whoever did it. So there is nothing to lose.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from discometry.cohort_client import Run, Standing, work_off
from discometry.cohort_study import Outcome, StudyTask, analyse_for_cohort
from discometry.cohort_worker import Limits
from discometry.io.bundle import bundle_folder, read_bundle
from discometry.io.cohort_folder import ASSETS, Failure, claim
from discometry.io.manifest import FoundStudies, StudySource, find_studies

__all__ = ["CohortOptions", "CohortSummary", "Standing", "run_cohort"]

_log = logging.getLogger(__name__)


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
    """Folder of models, or the name of one that comes along; None takes the starter."""
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
class CohortSummary:
    """How a run ended: studies newly done, those found done, and those that failed."""

    out: Path
    done: int
    kept: int
    failures: tuple[Failure, ...]


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
        run = Run(out, len(found.studies) + len(found.refused), watch)
        write_assets(out / ASSETS)
        _refuse(found, run)
        shared = {
            "out": str(out),
            "run": token,
            "bundle": None if options.bundle is None else str(bundle_folder(options.bundle).resolve()),
            "bundle_sha256": bundle.sha256,
            "version": version("discometry"),
            "analyse": f"{analyse.__module__}:{analyse.__qualname__}",
            **{name: getattr(options, name) for name in _PASSED_ON},
        }
        tasks = (_task(study, shared) for study in found.studies)
        work_off(
            tasks,
            run,
            options.limits,
            patience_s=options.patience_s,
            scheduler=scheduler,
            workers=workers,
            say=say,
        )
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


def _refuse(found: FoundStudies, run: Run) -> None:
    """Count what was listed but is no study as failures, which stand in the table but need no file."""
    for item in found.refused:
        error = item.error
        failure = Failure(
            study=item.study, stage="list", found=error.found, expected=error.expected, action=error.action
        )
        run.take(item.study, Outcome(kind="failed", failure=failure))
