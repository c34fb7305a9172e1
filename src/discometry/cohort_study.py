"""One study of a cohort, where it is analysed: seen whether it is done, analysed, completed, judged."""

from __future__ import annotations

import os
import shutil
import socket
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from discometry.core.errors import BundleError, DiscometryError, InputError, OutputError
from discometry.io.cohort_folder import (
    ASSETS,
    Failure,
    StudyKey,
    check_run,
    drop_failure,
    is_done,
    read_failure,
)
from discometry.io.results import check_output, read_manifest, read_study
from discometry.io.study_input import StudyInput

if TYPE_CHECKING:
    from discometry.isolation import Answer, Tell
    from discometry.pipeline import Models

__all__ = ["Outcome", "StudyTask", "analyse_for_cohort", "one_study"]

Kind = Literal["done", "kept", "failed", "stop"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyTask:
    """All that a worker must know of a study; plain values, so that it travels as JSON."""

    study: str
    source: str
    """Path of the image, or of the mask if ``mask``."""
    mask: bool = False
    image: str | None = None
    """Path of the image beside a mask."""
    out: str
    run: str
    """Token of the run, see :func:`~discometry.io.cohort_folder.claim`."""
    bundle: str | None
    bundle_sha256: str
    version: str
    convention: str | None = None
    series: str | None = None
    device: str = "cpu"
    keep_all: bool = False
    retry_failed: bool = False
    analyse: str
    """``MODULE:FUNCTION`` that does the work, such as :func:`analyse_for_cohort`."""

    def input(self) -> StudyInput:
        """Give what to analyse."""
        return StudyInput(
            source=Path(self.source),
            mask=self.mask,
            image=None if self.image is None else Path(self.image),
            convention=self.convention if self.mask else None,
            series=self.series,
            name=self.study,
        )

    def key(self) -> StudyKey:
        """Give what the study's result depends on, as it is on the disk now.

        Raises
        ------
        OSError
            If the input cannot be read.
        """
        sha256, options = self.input().fingerprint()
        return StudyKey(
            input_sha256=sha256,
            bundle_sha256=self.bundle_sha256,
            version=self.version,
            options=options | self.further_options(),
        )

    def further_options(self) -> dict[str, Any]:
        """Give the options that a manifest names beside those of any study."""
        return {"keep_all": self.keep_all}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a study ended: newly done, kept from before, failed, or with a reason to stop the whole run."""

    kind: Kind
    failure: Failure | None = None
    """For ``failed`` and ``stop``."""
    known: bool = False
    """Whether the failure is one of an earlier run that was not tried again."""

    def as_json(self) -> Answer:
        """Turn into JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, answer: Answer) -> Outcome:
        """Take back what :meth:`as_json` gave."""
        failure = answer["failure"]
        if failure is not None:
            key = failure["key"]
            failure = Failure(**failure | {"key": None if key is None else StudyKey(**key)})
        return cls(kind=answer["kind"], failure=failure, known=answer["known"])


@dataclass(slots=True)
class _Place:
    """How far a study is, for whoever has to say where it failed."""

    tell: Tell
    stage: str = "check"
    key: StudyKey | None = None

    def reach(self, stage: str) -> None:
        if stage != self.stage:
            self.stage = stage
            self.tell({"stage": stage})


def one_study(request: Answer, tell: Tell) -> Answer:
    """Do one study, unless it is done or known to fail; nothing that can go wrong is raised."""
    task = StudyTask(**request)
    place = _Place(tell)
    tell({"stage": place.stage})
    try:
        return _one_study(task, place).as_json()
    except Exception as error:  # whatever it is, it is this study's alone, and is kept with its traceback
        return _judged(error, task, place).as_json()


def _one_study(task: StudyTask, place: _Place) -> Outcome:
    out = Path(task.out)
    _check_version(task)
    check_run(out, task.run)
    key = task.key()
    place.key = key
    place.tell({"key": asdict(key)})
    if is_done(out, task.study, key):
        drop_failure(out, task.study)
        return Outcome(kind="kept")
    failure = read_failure(out, task.study)
    if failure is not None and failure.key == key and not task.retry_failed:
        return Outcome(kind="failed", failure=failure, known=True)
    place.reach("place")
    check_output(out, task.study)
    module, _, name = task.analyse.partition(":")
    analyse: Callable[[StudyTask, StudyKey, Callable[[str], None]], None]
    analyse = getattr(import_module(module), name)
    analyse(task, key, place.reach)
    drop_failure(out, task.study)
    return Outcome(kind="done")


def analyse_for_cohort(task: StudyTask, key: StudyKey, reach: Callable[[str], None]) -> None:
    """Analyse a study and write its folder, with models that stay loaded from one study to the next.

    Parameters
    ----------
    task
        The study.
    key
        As the study was when it was looked at.
    reach
        Called with each stage that begins.

    Raises
    ------
    DiscometryError
        As :func:`~discometry.study.analyse_study`; if the models are others than the caller's; if the input
        changed while it was read.
    """
    from discometry.study import analyse_study

    reach("models")
    models = _models(task.bundle, task.device, task.bundle_sha256)
    if not task.mask:
        models.bundle.component("segmenter")
    analyse_study(
        task.input(),
        models,
        out=Path(task.out),
        options=task.further_options(),
        finish=partial(_complete, task=task, key=key),
        progress=lambda stage, _done, _total: reach(stage),
    )


@lru_cache(maxsize=1)
def _models(bundle: str | None, device: str, sha256: str) -> Models:
    from discometry.study import open_models

    models = open_models(bundle, device, mask=True)
    if models.bundle.sha256 != sha256:
        raise BundleError(
            f"other models in '{bundle or 'the shipped bundle'}' on {socket.gethostname()} than at the start",
            expected="the same bundle for the caller and for every worker, unchanged while a run lasts",
            action="put the bundle on a file system that all workers share",
        )
    return models


def _complete(folder: Path, *, task: StudyTask, key: StudyKey) -> None:
    """Add the report, take off what a cohort can do without, and see that the result may take its place."""
    from discometry.report.page import REPORT_NAME, render_report
    from discometry.report.thumbnail import THUMBNAIL_NAME, draw_thumbnail

    study = read_study(folder)
    (folder / REPORT_NAME).write_text(render_report(study, assets=f"../{ASSETS}"), encoding="utf-8")
    (folder / THUMBNAIL_NAME).write_bytes(draw_thumbnail(study))
    if not task.keep_all:
        shutil.rmtree(folder / "meshes", ignore_errors=True)
        (folder / "image.nii.gz").unlink(missing_ok=True)
    manifest = read_manifest(folder)
    if (manifest.input_sha256, manifest.options) != (key.input_sha256, key.options):
        raise InputChanged(
            f"'{task.source}' changed while it was analysed",
            expected="files that stay as they are while a run lasts",
            action="run again once nothing writes to it",
        )
    check_run(Path(task.out), task.run)
    _flush(folder)


class InputChanged(InputError):
    """An input that was written to while it was read."""


def _flush(folder: Path) -> None:
    """Bring every byte to the disk, so that a folder with its name is whole even after a loss of power."""
    for place, _, files in os.walk(folder):
        for path in (*(os.path.join(place, name) for name in files), place):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def _check_version(task: StudyTask) -> None:
    here = version("discometry")
    if task.version != here:
        raise OtherVersion(
            f"discometry {here} on {socket.gethostname()}, and {task.version} where the run began",
            expected="the same version for the caller and for every worker",
            action="install the same version everywhere",
        )


class OtherVersion(DiscometryError):
    """A worker with another version of discometry."""


_STOPPING = {"check": OtherVersion | OutputError, "models": DiscometryError, "write": OutputError}
"""By stage, the errors that every further study would meet too, so that the run had better end."""


def _judged(error: Exception, task: StudyTask, place: _Place) -> Outcome:
    """Tell whether an error is the study's, and whether the next run should try it again."""
    stops = isinstance(error, _STOPPING.get(place.stage, OtherVersion))
    failure = partial(Failure, study=task.study, stage=place.stage, input=task.source)
    if isinstance(error, DiscometryError):
        # Where a result should go and whether an input holds still are no properties of the study.
        key = None if isinstance(error, OutputError | InputChanged) else place.key
        told = failure(found=error.anonymous, expected=error.expected, action=error.action, key=key)
    elif isinstance(error, OSError):
        told = failure(
            found=f"'{error.filename or task.source}' cannot be read ({error.strerror or error})",
            expected="a file that is there and can be read",
            action="check the path and its permissions, and run again",
        )
    else:
        told = failure(
            found=f"an error that discometry does not know, {type(error).__name__}: {error}",
            expected="a result or a named reason",
            action="report it with the log, and run again with --retry-failed once it is mended",
            log="".join(traceback.format_exception(error))[-4000:],
            key=place.key,
        )
    return Outcome(kind="stop" if stops else "failed", failure=told)
