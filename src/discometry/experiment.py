"""The paper's experiment on a cohort, step by step, each of which is on the disk before the next begins.

1. Split the patients; train segmenters, or take one that is trained.
2. Analyse every study, by the masks of readers and by those of a segmenter: result folders.
3. Gather all discs with their gradings: ``discs.csv``; score the segmenter: ``segmentation.csv``.
4. Squeeze the discs into fewer and fewer latents: ``bottlenecks.csv``.
5. Tell narrowed discs apart, by latents, geometry and both: ``narrowing.json``, ``probabilities.csv``.
6. Say what the latents mean: ``explained/``.
7. Put it all on one page: ``index.html``, and the tables into ``tables.md``.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from discometry.core.errors import InputError, OutputError
from discometry.experiment_discs import analyse_studies, cubes_of, gather_discs, segmentation_scores
from discometry.explanation import explain_latents
from discometry.io.atomic import new_file
from discometry.io.bundle import Bundle
from discometry.io.spider import Cohort, Mismatch, read_cohort
from discometry.io.study_input import content_hash
from discometry.pipeline import Models, Progress
from discometry.report.experiment_page import write_experiment_page
from discometry.study import open_models
from discometry.training.bottlenecks import (
    ShapeTrainer,
    held_out_ious,
    linear_trainer,
    mean_by_patient,
    paper_trainer,
)
from discometry.training.cross_validation import Folds
from discometry.training.graded_discs import TARGETS, graded_rows
from discometry.training.narrowing import Comparison, compare, rivals
from discometry.training.segmenter_folds import SegmenterBudget, file_safe, train_segmenters
from discometry.training.shape_card import reconstruction_ious

__all__ = ["ExperimentConfig", "reproduce"]

_LOG = logging.getLogger(__name__)

_RECORD = "experiment.json"
_FORMAT = "discometry-experiment"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentConfig:
    """Options of :func:`reproduce`."""

    protocol: Literal["strict", "paper"] = "strict"
    """``paper`` does as the paper says; ``strict`` splits by patient everywhere and adds what it lacks."""
    segmenter: Path | None = None
    """Bundle whose segmenter to take; None trains one."""
    budget: SegmenterBudget = field(default_factory=SegmenterBudget)
    """How to train a segmenter."""
    sequence: str | None = None
    """Which scans: ``t1``, ``t2``, ``t2_SPACE``; None takes those of which there are most masks."""
    target: str = "narrowing"
    """Which grading to predict, one of :data:`~discometry.training.graded_discs.TARGETS`."""
    autoencoder: Literal["linear", "paper"] = "linear"
    """The shape model of the sweep and of the paper's protocol: linear (seconds), or the paper's (hours)."""
    autoencoder_epochs: int = 1000
    """Most epochs of the paper's autoencoder."""
    bottlenecks: tuple[int, ...] = (64, 8, 4, 3)
    """Numbers of latents to try."""
    latents: int = 4
    """Numbers of latents for the paper's protocol; the strict one takes those of the bundle's shape model."""
    folds: Folds = field(default_factory=Folds)
    """How discs are split into those to learn from and those to test on."""
    draws: int = 1000
    """Bootstrap draws of patients for every interval."""


def reproduce(
    data: Path, out: Path, config: ExperimentConfig | None = None, *, progress: Progress | None = None
) -> Path:
    """Run the experiment; called again with the same options it goes on where it stopped.

    Parameters
    ----------
    data
        A cohort with masks, see :func:`~discometry.io.spider.read_cohort`.
    out
        Folder to make or to go on with; see the module for what it holds.
    config
        All options.
    progress
        Called with what is under way, how much is done, and how much there is.

    Returns
    -------
    The page, ``index.html``.

    Raises
    ------
    InputError
        If the cohort cannot be used, or ``out`` holds another experiment.
    OutputError
        If ``out`` cannot be written.
    """
    config = config or ExperimentConfig()
    cohort = read_cohort(data).chosen(config.sequence)
    _check(cohort, config, data)
    models = open_models(config.segmenter, mask=config.segmenter is None)
    record = _claim(out, cohort, config, models.bundle)
    failed = _analyse(cohort, out, config, models, progress)
    unseen = set(_json(out / "unseen.json", lambda: _unseen(cohort, config, models.bundle)))
    discs = _table(out / "discs.csv", lambda: _discs(cohort, out, failed, unseen))
    _table(out / "segmentation.csv", lambda: segmentation_scores(cohort, out / "true", out / "predicted"))
    _table(out / "bottlenecks.csv", lambda: _bottlenecks(cohort, out, config, progress))
    if config.target in discs and discs[config.target].notna().any():
        _json(out / "narrowing.json", lambda: _narrowing(discs, cohort, out, config, progress))
    if not (out / "explained").is_dir():
        try:
            explain_latents(out / "true", out / "explained", bundle=config.segmenter)
        except InputError as error:  # too few discs
            _LOG.warning("the latents are not explained: %s", error)
    _json(out / _RECORD, lambda: record)
    return write_experiment_page(out)


# Before anything is done ---------------------------------------------------------------------------------


def _check(cohort: Cohort, config: ExperimentConfig, data: Path) -> None:
    """Refuse what could only fail after hours."""
    masked = [one for one in cohort.studies if one.mask is not None]
    patients = {one.patient for one in masked}
    if len(patients) < config.folds.folds:
        raise InputError(
            f"'{data}' has masks of {len(patients)} patients",
            expected=f"{config.folds.folds} or more, one for each fold",
            action="add masks, or use fewer folds",
        )
    if config.segmenter is None and not any(one.image is not None for one in masked):
        raise InputError(
            f"'{data}' has no image beside a mask, to train a segmenter on",
            expected="images and masks of the same scans",
            action="add the images, or give a trained bundle with --segmenter",
        )
    if config.target not in TARGETS:
        raise InputError(
            f"target {config.target!r}", expected=f"one of {', '.join(TARGETS)}", action="choose one of these"
        )
    column, least = TARGETS[config.target]
    graded = cohort.gradings[cohort.gradings["patient"].isin(patients)]
    if column not in graded or graded[column].isna().all():
        return  # The rest of the experiment needs no gradings.
    graded = graded.dropna(subset=column)
    for value in (True, False):
        count = graded[(graded[column] >= least) == value]["patient"].nunique()
        if count < config.folds.folds:
            raise InputError(
                f"{count} patients of '{data}' have a disc that is {'' if value else 'not '}"
                f"positive for {config.target}",
                expected=f"{config.folds.folds} or more, one for each fold",
                action="add graded patients, use fewer folds, or choose another target",
            )


def _claim(out: Path, cohort: Cohort, config: ExperimentConfig, bundle: Bundle) -> dict[str, Any]:
    """Say what experiment a folder holds, and refuse one that holds another.

    The claim is a hidden file; ``experiment.json`` says the same once the experiment is done.
    """
    told = cohort.gradings.to_csv(index=False)
    for one in cohort.studies:  # images are known by their names alone: hashing all takes as long as a study
        mask = content_hash(one.mask) if one.mask else ""
        told += f"{one.study}\t{one.patient}\t{one.age}\t{one.sex}\t{one.image and one.image.name}\t{mask}\n"
    options = {**asdict(config), "segmenter": config.segmenter and bundle.name}
    options = json.loads(json.dumps(options))
    record = {
        "format": _FORMAT,
        "format_version": 1,
        "version": version("discometry"),
        "cohort_sha256": hashlib.sha256(told.encode()).hexdigest(),
        "bundle": bundle.name,
        "bundle_sha256": bundle.sha256,
        "options": options,
        "studies": len(cohort.studies),
        "patients": len({one.patient for one in cohort.studies}),
        "sequence": cohort.studies[0].sequence,
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"'{out}' cannot be made ({error.strerror})",
            expected="a folder, or a free name where one may be made",
            action="choose another --out",
        ) from error
    claim = out / ".experiment.json"
    strange = not claim.exists() and any(out.iterdir())
    if strange or _json(claim, lambda: record) != record:
        raise InputError(
            f"'{out}' holds {'other files' if strange else 'an experiment with other data or options'}",
            expected="an empty folder, or one that the same call began",
            action="choose another --out, or delete that folder",
        )
    return record


# The steps -----------------------------------------------------------------------------------------------


def _analyse(
    cohort: Cohort, out: Path, config: ExperimentConfig, models: Models, progress: Progress | None
) -> tuple[Mismatch, ...]:
    """Analyse all studies by masks, with one shape model, and by the segmenter that has not seen them."""
    plan = [(models, cohort.studies)]
    if config.segmenter is None:
        trained = train_segmenters(cohort, out / "segmenters", config.budget, protocol=config.protocol)
        plan = [(open_models(bundle), tuple(studies)) for bundle, studies in trained]
    failed: tuple[Mismatch, ...] = ()
    for own, studies in plan:
        failed += analyse_studies(studies, out / "true", "true", models, progress=progress)
        failed += analyse_studies(studies, out / "predicted", "predicted", own, progress=progress)
    return failed


def _unseen(cohort: Cohort, config: ExperimentConfig, bundle: Bundle) -> list[str]:
    """Name the patients that the segmenter was surely not trained on; all, where it is trained here."""
    patients = {one.patient for one in cohort.studies}
    if config.segmenter is not None:
        seen = set(bundle.component("segmenter").config.get("patients", patients))
        patients = {one for one in patients if not {one, file_safe(one)} & seen}
    return sorted(patients)


def _discs(cohort: Cohort, out: Path, failed: tuple[Mismatch, ...], unseen: set[str]) -> pd.DataFrame:
    """Gather the discs, and write beside them what was left out and why."""
    found = gather_discs(cohort, out / "true", out / "predicted")
    excluded = [asdict(one) for one in (*cohort.mismatches, *failed, *found.mismatches)]
    _write_table(pd.DataFrame(excluded, columns=["study", "found", "left_out"]), out / "excluded.csv")
    return found.table.assign(unseen=found.table["patient"].isin(unseen))


def _trainer(config: ExperimentConfig, out: Path) -> ShapeTrainer:
    if config.autoencoder == "paper":
        return paper_trainer(out / "autoencoders", epochs=config.autoencoder_epochs)
    return linear_trainer("none" if config.protocol == "paper" else "rigid")


def _bottlenecks(
    cohort: Cohort, out: Path, config: ExperimentConfig, progress: Progress | None
) -> pd.DataFrame:
    """Reconstruct the discs of the readers' masks from few latents; in training, and held out by patient."""
    cubes, names = cubes_of(cohort, out / "true")
    patients, train = names["patient"].tolist(), _trainer(config, out)
    least = len(cubes) - len(cubes) // config.folds.folds
    rows = []
    sizes = [size for size in config.bottlenecks if size < least]
    for number, latents in enumerate(sizes):
        _tell(progress, "bottlenecks", number, len(sizes))
        known = mean_by_patient(reconstruction_ious(cubes, train(cubes, latents)), patients)
        row: dict[str, float] = {"latents": latents, "discs": len(cubes), "patients": len(set(patients))}
        row |= {"train_iou": known.value, "train_low": known.low, "train_high": known.high}
        if config.protocol == "strict":
            ious = held_out_ious(
                cubes, patients, latents, train, folds=config.folds.folds, seed=config.folds.seed
            )
            held = mean_by_patient(ious, patients)
            row |= {"held_out_iou": held.value, "held_out_low": held.low, "held_out_high": held.high}
        rows.append(row)
    return pd.DataFrame(rows)


def _narrowing(
    discs: pd.DataFrame, cohort: Cohort, out: Path, config: ExperimentConfig, progress: Progress | None
) -> dict[str, Any]:
    """Compare what tells discs apart, for either kind of mask; every answer goes to ``probabilities.csv``.

    ``not_compared`` says of the kinds that are missing why.
    """
    found: dict[str, Any] = {}
    refused: dict[str, str] = {}
    answers = []
    for kind in ("true", "predicted"):
        rows = graded_rows(discs[discs["kind"] == kind], config.target)
        if rows.empty:
            continue
        if config.protocol == "paper":
            rows = _with_own_latents(rows, cohort, out / kind, config, out)
        latents = tuple(str(name) for name in rows if str(name).startswith("latent_"))
        comparisons: list[Comparison] = []
        try:
            for one in compare(
                rows,
                rivals(rows, latents, config.protocol, config.folds, target=config.target),
                draws=config.draws,
            ):
                comparisons.append(one)
                _tell(progress, f"narrowing, {kind}", len(comparisons), 16)
        except InputError as error:  # The segmenter may have found too few of the graded discs.
            _LOG.warning("%s masks are not compared: %s", kind, error)
            refused[kind] = str(error)
            continue
        found[kind] = [one.as_json() for one in comparisons]
        shown = rows[["study", "patient", "label", "level", "positive"]].assign(kind=kind)
        means = {one.name: one.probabilities.mean(axis=1).round(5) for one in comparisons}
        answers.append(pd.concat([shown, pd.DataFrame(means)], axis=1))
    if answers:
        _write_table(pd.concat(answers, ignore_index=True), out / "probabilities.csv")
    return found | ({"not_compared": refused} if refused else {})


def _with_own_latents(
    rows: pd.DataFrame, cohort: Cohort, folder: Path, config: ExperimentConfig, out: Path
) -> pd.DataFrame:
    """Replace the bundle's latents by those of a model trained on these very discs, as in the paper."""
    cubes, names = cubes_of(cohort, folder)
    codes = _trainer(config, out)(cubes, config.latents).encode(cubes)
    own = pd.DataFrame(codes.latents, columns=[f"latent_{n + 1}" for n in range(config.latents)])
    kept = rows[[name for name in rows if not str(name).startswith("latent_")]]
    return kept.merge(pd.concat([names[["study", "label"]], own], axis=1), on=["study", "label"], how="left")


# Files ---------------------------------------------------------------------------------------------------


def _table(path: Path, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Read a table, which is made first if it is not there; what is read is the same either way."""
    if not path.is_file():
        _write_table(make(), path)
    text = {name: str for name in ("study", "patient", "level", "flags", "kind")}
    return pd.read_csv(path, dtype=text).copy() if path.stat().st_size > 1 else pd.DataFrame()


def _write_table(table: pd.DataFrame, path: Path) -> None:
    with new_file(path) as fresh:
        table.to_csv(fresh, index=False, lineterminator="\n")


def _json(path: Path, make: Callable[[], Any]) -> Any:
    """Read a JSON file, which is made first if it is not there."""
    if not path.is_file():
        content = json.dumps(make(), indent=1)
        with new_file(path) as fresh:
            fresh.write_text(content + "\n", encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def _tell(progress: Progress | None, stage: str, done: int, total: int) -> None:
    if progress is not None:
        progress(stage, done, total)
