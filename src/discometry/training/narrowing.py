"""What tells narrowed discs apart: the paper's feature sets and better ones, and what knows next to nothing.

Two protocols. ``paper`` splits discs, not patients, and counts right answers, as the paper does; the same
learner on folds by patient stands beside it, which shows how much of its score was leakage. ``strict`` splits
by patient, repeats the split, and scores what the paper leaves out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from discometry.core.scores import Interval
from discometry.stages.classify import FEATURE_GROUPS
from discometry.training.cross_validation import (
    Folds,
    Learner,
    Outcomes,
    Scores,
    auroc_interval,
    difference,
    out_of_fold,
    rounded,
    score,
)
from discometry.training.learners import Logistic, Trees

__all__ = ["PAPER_GEOMETRY", "Comparison", "compare", "rivals"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

PAPER_GEOMETRY = (
    "paper_height_mm",
    "paper_width_ap_mm",
    "paper_width_lateral_mm",
    "paper_angle_sagittal_deg",
    "paper_angle_coronal_deg",
    "paper_angle_transverse_deg",
)
"""The paper's six measures, in mm and degrees."""


@dataclass(frozen=True, slots=True, eq=False)
class Rival:
    """A learner, what it sees of a disc, and how discs are split; without one, the overall share answers."""

    name: str
    columns: tuple[str, ...]
    learner: Learner | None
    folds: Folds


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """One row of the table: out-of-fold ``probabilities``, discs x repeats, and their scores.

    ``above_level`` is the AUROC less that of the level alone, paired; ``unseen`` the AUROC on the discs of
    patients whose images the segmenter has not been trained on. None where it has no meaning.
    """

    name: str
    columns: tuple[str, ...]
    discs: int
    patients: int
    positive: int
    probabilities: FloatArray
    scores: Scores
    above_level: Interval | None
    unseen: Interval | None

    def as_json(self) -> dict[str, Any]:
        """Give everything but the probabilities."""
        return {
            "name": self.name,
            "columns": list(self.columns),
            "discs": self.discs,
            "patients": self.patients,
            "positive": self.positive,
            **self.scores.as_json(),
            "above_level": _numbers(self.above_level),
            "unseen": _numbers(self.unseen),
        }


def rivals(
    discs: pd.DataFrame,
    latents: tuple[str, ...],
    protocol: Literal["paper", "strict"],
    folds: Folds,
    *,
    target: str = "narrowing",
) -> Iterator[Rival]:
    """List what is compared; columns that no disc has are left out, and what is left with none."""
    groups = {name: _known(discs, columns) for name, columns in FEATURE_GROUPS.items()}
    geometry = _known(discs, PAPER_GEOMETRY)
    sets = {"latent": latents, "geometric": geometry, "latent and geometric": (*latents, *geometry)}
    paper_like = {f"{name}, paper's XGBoost": columns for name, columns in sets.items()}
    if protocol == "paper":
        by_disc = replace(folds, repeats=1, by_patient=False)
        for name, columns in paper_like.items():
            yield Rival(f"{name}, folds by disc", columns, Trees(), by_disc)
        for name, columns in paper_like.items():
            yield Rival(f"{name}, folds by patient", columns, Trees(), replace(by_disc, by_patient=True))
        yield Rival("always the more frequent answer", (), None, by_disc)
        return
    yield Rival("always the more frequent answer", (), None, folds)
    yield Rival("level alone", groups["level"], Logistic(), folds)
    yield Rival("mean height alone", ("height_mean_mm",), Logistic(), folds)
    if target != "pfirrmann" and (pfirrmann := _known(discs, ("pfirrmann",))):
        yield Rival("Pfirrmann grade alone", pfirrmann, Logistic(), folds)
    for name, columns in paper_like.items():
        yield Rival(name, columns, Trees(), folds)
    shipped = (*groups["level"], *groups["geometry"])
    yield Rival("level and geometry, XGBoost", shipped, Trees(), folds)
    yield Rival("level and geometry (shipped)", shipped, Logistic(), folds)
    for name in ("relative", "intensity", "person"):
        if groups[name]:
            yield Rival(f".. and {name}", (*shipped, *groups[name]), Logistic(), folds)
    yield Rival(".. and latents", (*shipped, *latents), Logistic(), folds)


def compare(rows: pd.DataFrame, wanted: Iterator[Rival], *, draws: int = 2000) -> Iterator[Comparison]:
    """Let rivals answer, one after the other.

    Parameters
    ----------
    rows
        Discs with the columns that the rivals see, ``positive``, ``patient`` and ``unseen``.
    wanted
        The rivals; that named "level alone", if any, comes before those it is compared with.
    draws
        Bootstrap draws of patients.

    Raises
    ------
    InputError
        If the classes or the patients are too few for the folds.
    """
    outcomes = Outcomes(rows["positive"].to_numpy(dtype=bool), rows["patient"].to_numpy(dtype=str))
    unseen = rows["unseen"].to_numpy(dtype=bool)
    level: FloatArray | None = None
    for one in wanted:
        table = rows[list(one.columns)].to_numpy(dtype=np.float64)
        if one.learner is None:
            values = np.full((len(rows), one.folds.repeats), outcomes.positive.mean())
        else:
            values = out_of_fold(table, outcomes, one.learner, one.folds)
        paired = None if level is None else difference(outcomes, values, level, draws=draws)
        if one.name == "level alone":
            level = values
        yield Comparison(
            name=one.name,
            columns=one.columns,
            discs=len(rows),
            patients=len(set(outcomes.patients)),
            positive=int(outcomes.positive.sum()),
            probabilities=values,
            scores=score(outcomes, values, draws=draws),
            above_level=paired,
            unseen=_on(unseen, outcomes, values, draws=draws),
        )


def _on(some: BoolArray, outcomes: Outcomes, values: FloatArray, *, draws: int) -> Interval | None:
    """Score part of the discs; None if that is all or none of them."""
    rows = np.flatnonzero(some)
    if len(rows) in (0, len(some)):
        return None
    return auroc_interval(outcomes.of(rows), values[rows], draws=draws)


def _known(discs: pd.DataFrame, columns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name for name in columns if name in discs and discs[name].notna().any())


def _numbers(found: Interval | None) -> list[float | None] | None:
    return None if found is None else [rounded(one) for one in (found.value, found.low, found.high)]
