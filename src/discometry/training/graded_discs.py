"""Measured discs with a radiologist's grading, to train the classifier on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from discometry.core.errors import InputError
from discometry.io.images import check_same_grid, read_image, read_mask
from discometry.io.spider import Cohort, CohortStudy, read_cohort
from discometry.stages.classify import FEATURES, features
from discometry.stages.intensity import intensity
from discometry.stages.measure import measure
from discometry.stages.separate import separate
from discometry.training.cross_validation import Outcomes

__all__ = ["TARGETS", "GradedDiscs", "graded_rows", "outcome_of", "read_graded_discs"]

_LOG = logging.getLogger(__name__)

TARGETS: Mapping[str, tuple[str, int]] = MappingProxyType(
    {
        "narrowing": ("narrowing", 1),
        "bulging": ("bulging", 1),
        "herniation": ("herniation", 1),
        "pfirrmann": ("pfirrmann", 4),
        "modic": ("modic", 1),
        "endplate_upper": ("endplate_upper", 1),
        "endplate_lower": ("endplate_lower", 1),
        "spondylolisthesis": ("spondylolisthesis", 1),
    }
)
"""What can be predicted: a column of gradings, and the grade from which on a disc is positive."""


@dataclass(frozen=True, slots=True, eq=False)
class GradedDiscs:
    """Discs x features (:data:`~discometry.stages.classify.FEATURES`), and the outcome of each."""

    features: NDArray[np.float64]
    outcomes: Outcomes

    def columns(self, names: tuple[str, ...]) -> NDArray[np.float64]:
        """Give some features, in the order of the names."""
        return np.ascontiguousarray(self.features[:, [FEATURES.index(name) for name in names]])


def outcome_of(discs: pd.DataFrame, target: str) -> pd.Series[float]:
    """Give 1 where a disc has the finding, 0 where it has not, NaN where it was not graded.

    Raises
    ------
    InputError
        If there is no such target, or no grading of it.
    """
    column, least = TARGETS.get(target, ("", 0))
    if column not in discs:
        raise InputError(
            f"no grading of {target!r}",
            expected=f"one of {', '.join(name for name in TARGETS if name in discs) or 'SPIDER gradings'}",
            action="choose one of these, or add its column to the table",
        )
    grades = discs[column]
    return (grades >= least).astype(float).where(grades.notna())


def graded_rows(discs: pd.DataFrame, target: str) -> pd.DataFrame:
    """Keep the discs with a grading and a height, with their outcome in the column ``positive``.

    Raises
    ------
    InputError
        If there is no such target, or no grading of it.
    """
    outcome = outcome_of(discs, target)
    known = outcome.notna() & discs["height_mean_mm"].notna()
    return discs[known].copy().assign(positive=outcome[known] > 0).reset_index(drop=True)


def read_graded_discs(source: Path, *, target: str = "narrowing") -> GradedDiscs:
    """Measure the discs of a cohort's masks that readers have graded.

    Parameters
    ----------
    source
        A cohort, see :func:`~discometry.io.spider.read_cohort`.
    target
        One of :data:`TARGETS`.

    Raises
    ------
    InputError
        If no disc has a mask and a grading.
    """
    cohort = read_cohort(source).chosen(None)
    measured = [_measured(one, one.mask) for one in cohort.studies if one.mask]
    discs, mismatches = cohort.graded(pd.concat(measured, ignore_index=True)) if measured else _none(cohort)
    for one in mismatches:
        _LOG.warning("%s: %s; left out: %s", one.study, one.found, one.left_out)
    rows = graded_rows(discs, target)
    if rows.empty:
        raise InputError(
            f"no graded disc in '{source}'",
            expected="masks/PATIENT_SEQUENCE.mha beside radiological_gradings.csv, or a table with both",
            action="give a folder laid out as SPIDER",
        )
    return GradedDiscs(
        rows[list(FEATURES)].to_numpy(dtype=np.float64),
        Outcomes(rows["positive"].to_numpy(dtype=bool), rows["patient"].to_numpy(dtype=str)),
    )


def _measured(study: CohortStudy, mask: Path) -> pd.DataFrame:
    """Measure the discs of one mask, with the signal of its image if there is one."""
    labels = read_mask(mask)
    image = None if study.image is None else read_image(study.image)
    if image is not None:
        check_same_grid(image, labels)
        image = image.oriented()
    spine = separate(labels)
    geometries = [measure(disc, spine.vertebrae) for disc in spine.discs]
    signals = [intensity(image, disc, spine.vertebrae, spine.canal) for disc in spine.discs]
    levels = [disc.level for disc in spine.discs]
    table = features(levels, geometries, signals, age_years=study.age, sex=study.sex)
    return pd.DataFrame(table, columns=list(FEATURES)).assign(
        study=study.study, patient=study.patient, label=[disc.label for disc in spine.discs]
    )


def _none(cohort: Cohort) -> tuple[pd.DataFrame, tuple[()]]:
    return cohort.gradings.iloc[:0].assign(height_mean_mm=np.nan), ()
