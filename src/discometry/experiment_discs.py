"""The discs of a cohort as one table: of readers' masks and of a segmenter's, matched to gradings."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.spatial import cKDTree

from discometry.core.errors import GridError, InputError, LabelError
from discometry.core.records import Geometry, Intensity
from discometry.core.scores import (
    dice,
    iou,
    surface_points,
)
from discometry.core.volume import Grid, Volume
from discometry.io.results import StudyFiles, is_whole, read_discs, read_study
from discometry.io.spider import Cohort, CohortStudy, Mismatch
from discometry.io.study_input import StudyInput
from discometry.pipeline import Models, Progress
from discometry.signed_distance import disc_cube
from discometry.stages.classify import FEATURES, features
from discometry.study import analyse_study

__all__ = ["AnalysedDiscs", "Kind", "analyse_studies", "cubes_of", "gather_discs", "segmentation_scores"]

_LOG = logging.getLogger(__name__)

Kind = Literal["true", "predicted"]
"""Discs of the readers' masks, or of a segmenter's."""

_SAME_DISC = 0.2
"""A predicted disc is the true one that it overlaps by at least this IoU."""


@dataclass(frozen=True, slots=True, eq=False)
class AnalysedDiscs:
    """One row a disc: ``study``, ``patient``, ``label``, all columns of ``discs.csv``, features, gradings."""

    table: pd.DataFrame
    mismatches: tuple[Mismatch, ...]


def analyse_studies(
    studies: Sequence[CohortStudy], out: Path, kind: Kind, models: Models, *, progress: Progress | None = None
) -> tuple[Mismatch, ...]:
    """Analyse studies into result folders, those not done yet, and name those that could not be.

    Parameters
    ----------
    studies
        With masks where ``kind`` is ``true``, with images where it is ``predicted``.
    out
        Folder of result folders.
    models
        Of :func:`~discometry.study.open_models`.
    progress
        Called with what is under way, how much is done, and how much there is.
    """
    failed = []
    for number, one in enumerate(studies):
        if progress is not None:
            progress(f"{kind} masks", number, len(studies))
        source = one.mask if kind == "true" else one.image
        if source is None or _is_done(one, out):
            continue
        image = one.image if kind == "true" else None
        what = StudyInput(source=source, mask=kind == "true", image=image, name=one.study)
        try:
            analyse_study(what, models, out=out)
        except (InputError, LabelError, GridError) as error:  # not what the machine is to blame for
            failed.append(Mismatch(one.study, str(error), f"it from the discs of {kind} masks"))
            _LOG.warning("%s: %s", one.study, error)
    return tuple(failed)


def gather_discs(cohort: Cohort, true: Path, predicted: Path) -> AnalysedDiscs:
    """Put the discs of analysed studies into one table, with features and gradings.

    A predicted disc has the gradings of the true disc that it overlaps; it is left out if there is none.

    Parameters
    ----------
    cohort
        Whose studies were analysed.
    true, predicted
        Folders of result folders; the latter may be empty, or absent.
    """
    if not _done(cohort, true):
        raise InputError(
            "no mask that could be analysed",
            expected="masks of readers that hold discs",
            action="look at what was said of each, and at the label convention",
        )
    found = pd.concat([_described(one, true) for one in _done(cohort, true)], ignore_index=True)
    found, mismatches = cohort.graded(found.assign(kind="true", true_label=found["label"]))
    tables = [found]
    for one in _done(cohort, predicted):
        truth = found[found["study"] == one.study]
        if truth.empty:
            continue
        own = _described(one, predicted)
        own["true_label"] = _matched(read_study(predicted / one.study), read_study(true / one.study))
        graded = [*cohort.gradings.columns.difference(["patient", "study", "label"]), "true_label"]
        merged = own.dropna(subset="true_label").merge(truth[graded], on="true_label", how="left")
        tables.append(merged.assign(kind="predicted"))
    return AnalysedDiscs(pd.concat(tables, ignore_index=True), mismatches)


def cubes_of(cohort: Cohort, folder: Path) -> tuple[NDArray[np.bool_], pd.DataFrame]:
    """Cut the cube of every disc, Nx64x64x64; the table names study, patient and label of each."""
    cubes, rows = [], []
    for one in _done(cohort, folder):
        labels = read_study(folder / one.study).labels.oriented()
        for label in np.unique(labels.array[labels.array > 0]):
            cubes.append(disc_cube(labels.with_array(labels.array == label)).array)
            rows.append({"study": one.study, "patient": one.patient, "label": int(label)})
    return np.array(cubes, dtype=bool), pd.DataFrame(rows)


def segmentation_scores(cohort: Cohort, true: Path, predicted: Path) -> pd.DataFrame:
    """Score predicted masks disc by disc; a true disc that was not found has an overlap of 0."""
    rows = []
    for one in _done(cohort, true):
        if one.image is None:
            continue
        truth = read_study(true / one.study).labels
        found = np.zeros_like(truth.array)
        if _is_done(one, predicted):
            found = read_study(predicted / one.study).labels.array
        for label, _, own, other in _pairs(truth.array, found):
            rows.append(
                {
                    "study": one.study,
                    "patient": one.patient,
                    "label": label,
                    "iou": iou(own, other),
                    "dice": dice(own, other),
                    "surface_distance_mm": _surface_distance(own, other, truth.grid.spacing_mm),
                }
            )
    return pd.DataFrame(rows)


def _pairs(
    truth: NDArray[np.int16], found: NDArray[np.int16]
) -> Iterator[tuple[int, int, NDArray[np.bool_], NDArray[np.bool_]]]:
    """Pair each true disc with the found one that it shares most with (0: none): labels, masks in one box."""
    boxes = find_objects(found)
    for label, box in enumerate(find_objects(truth), start=1):
        if box is None:
            continue
        over = np.bincount(found[box][truth[box] == label], minlength=1)
        over[0] = 0
        best = int(over.argmax())
        if best:
            ends = zip(box, boxes[best - 1], strict=True)
            box = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in ends)
        yield label, best, truth[box] == label, (found[box] == best) & (best > 0)


def _surface_distance(
    own: NDArray[np.bool_], other: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> float:
    """Give the average symmetric surface distance, mm; NaN where one mask is empty."""
    grid = Grid.from_spacing(own.shape, spacing_mm, origin_mm=(0.0, 0.0, 0.0))
    a, b = (surface_points(Volume(grid, one)) for one in (own, other))
    if not (len(a) and len(b)):
        return float("nan")
    return float(np.concatenate([cKDTree(b).query(a)[0], cKDTree(a).query(b)[0]]).mean())


def _described(study: CohortStudy, folder: Path) -> pd.DataFrame:
    known = read_discs(folder / study.study)
    geometries = [Geometry(**{name: row[name] for name in Geometry.names()}) for row in known.rows]
    signals = [Intensity(**{name: row[name] for name in Intensity.meanings()}) for row in known.rows]
    found = features(known["level"], geometries, signals, age_years=study.age, sex=study.sex)
    table = pd.DataFrame(list(known.rows), columns=list(known.columns))
    further = pd.DataFrame(found, columns=list(FEATURES))
    further = further[[name for name in FEATURES if name not in table]]
    return pd.concat([table, further], axis=1).assign(study=study.study, patient=study.patient)


def _matched(predicted: StudyFiles, true: StudyFiles) -> list[float]:
    """Give the label of the true disc that each predicted one overlaps most; NaN where that is too little."""
    same = {
        label: float(best)
        for label, best, own, other in _pairs(predicted.labels.array, true.labels.array)
        if iou(own, other) >= _SAME_DISC
    }
    return [same.get(int(label), float("nan")) for label in predicted.discs["label"]]


def _done(cohort: Cohort, folder: Path) -> list[CohortStudy]:
    return [one for one in cohort.studies if _is_done(one, folder)]


def _is_done(study: CohortStudy, folder: Path) -> bool:
    return is_whole(folder / study.study)
