"""Measured discs with a radiologist's grading, to train the classifier of narrowing on."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import DISC_LABEL_BASE
from discometry.core.errors import InputError
from discometry.io.images import read_mask
from discometry.stages.classify import features
from discometry.stages.measure import measure
from discometry.stages.separate import separate

__all__ = ["GRADINGS", "GradedDiscs", "read_graded_discs", "read_gradings"]

GRADINGS = "radiological_gradings.csv"
"""Name of SPIDER's table of gradings."""

_LARGEST = 2**26
"""Bytes of a table of gradings that is read; SPIDER's has forty thousand."""

_COLUMNS = ("Patient", "IVD label", "Disc narrowing")


@dataclass(frozen=True, slots=True, eq=False)
class GradedDiscs:
    """Discs x features (:data:`~discometry.stages.classify.FEATURES`), patient and grading of each disc."""

    features: NDArray[np.float64]
    narrowed: NDArray[np.bool_]
    patients: NDArray[np.str_]

    def __post_init__(self) -> None:
        if not len(self.features) == len(self.narrowed) == len(self.patients):
            raise InputError(
                "features, gradings and patients of different length",
                expected="one of each a disc",
                action="give the same discs in all three",
            )


def read_graded_discs(folder: Path, *, left_out: Sequence[str] = ()) -> GradedDiscs:
    """Measure the discs of ``folder/masks`` that ``folder/radiological_gradings.csv`` grades.

    The patient is the mask's file name up to its first underscore; a disc's grading is that of
    ``IVD label`` = mask label - 200, as in SPIDER.

    Parameters
    ----------
    folder
        Folder laid out as SPIDER.
    left_out
        Patients that are not read.

    Raises
    ------
    InputError
        If the folder holds no mask with gradings.
    """
    gradings = read_gradings(folder / GRADINGS)
    rows: list[NDArray[np.float64]] = []
    narrowed: list[bool] = []
    patients: list[str] = []
    known = {patient for patient, _ in gradings} - set(left_out)
    for path in sorted((folder / "masks").glob("*")):
        patient = path.name.split(".")[0].split("_")[0]
        if patient not in known:
            continue
        discs = separate(read_mask(path)).discs
        table = features([disc.level for disc in discs], [measure(disc) for disc in discs])
        for disc, row in zip(discs, table, strict=True):
            grade = gradings.get((patient, disc.label - DISC_LABEL_BASE))
            if grade is not None:
                rows.append(row)
                narrowed.append(grade)
                patients.append(patient)
    if not rows:
        raise InputError(
            f"no graded disc in '{folder}'",
            expected=f"masks/PATIENT_SERIES.mha beside {GRADINGS}",
            action="give a folder laid out as SPIDER",
        )
    return GradedDiscs(np.stack(rows), np.array(narrowed), np.array(patients))


def read_gradings(path: Path) -> dict[tuple[str, int], bool]:
    """Read whether each disc is narrowed, by patient and place of the disc (1 = L5/S1).

    Raises
    ------
    InputError
        If the table cannot be read or lacks a column.
    """
    try:
        if not path.is_file() or path.stat().st_size > _LARGEST:
            raise OSError(f"no file of at most {_LARGEST:,} bytes")
        with path.open(newline="", encoding="utf-8-sig") as file:
            return {
                (row["Patient"].strip(), int(row["IVD label"])): int(row["Disc narrowing"]) > 0
                for row in csv.DictReader(file)
            }
    except (OSError, KeyError, ValueError, AttributeError, TypeError, csv.Error) as error:
        raise InputError(
            f"gradings '{path}' are missing or cannot be read",
            expected=f"a CSV table with whole numbers in {', '.join(_COLUMNS)}",
            action="give a folder laid out as SPIDER",
        ) from error
