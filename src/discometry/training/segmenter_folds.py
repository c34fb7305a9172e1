"""Segmenters for a cohort: trained on some of its patients, for the scans of the others."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from discometry.core.errors import InputError
from discometry.io.bundle import read_bundle, write_component
from discometry.io.spider import Cohort, CohortStudy
from discometry.training.fit_segmenter import PRESETS, fit_segmenter

__all__ = ["SegmenterBudget", "file_safe", "train_segmenters"]

_ENDINGS = (".mha", ".nii.gz", ".nii", ".nrrd")
"""Of files that hold their voxels themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmenterBudget:
    """How to train the segmenters of a cohort."""

    preset: Literal["fast", "paper"] = "paper"
    """Recipe, see :data:`~discometry.training.fit_segmenter.PRESETS`."""
    epochs: int | None = None
    """Most epochs; the recipe's own if None."""
    minutes: float | None = None
    """End after the first epoch that passes this much time, for each segmenter."""
    test_part: float = 0.2
    """Part of the patients that the paper's protocol keeps to test on."""
    parts: int = 2
    """Parts that the strict protocol makes of the patients; each is segmented by a network of the others."""
    seed: int = 0
    """Of the split and of the training."""


def train_segmenters(
    cohort: Cohort, folder: Path, budget: SegmenterBudget, *, protocol: Literal["strict", "paper"]
) -> list[tuple[Path, Sequence[CohortStudy]]]:
    """Train segmenters, or go on with it.

    Parameters
    ----------
    cohort
        Studies with images and masks learn; all are segmented, or those of the test patients.
    folder
        Gets a bundle and a run folder for each segmenter.

    Returns
    -------
    Each bundle, and the studies of the patients that it has not seen.
    """
    parts = _parts(cohort, budget, protocol)
    plan: list[tuple[Path, Sequence[CohortStudy]]] = []
    for number, held in enumerate(parts):
        place = folder / f"part{number}"
        own = [one for one in cohort.studies if one.patient in held]
        if not (place / "done").exists():
            others = [one for one in cohort.studies if one.patient not in held]
            _train(_links(others, place / "scans"), place, budget)
            (place / "done").touch()
        plan.append((place / "bundle", own))
    return plan


def _parts(cohort: Cohort, budget: SegmenterBudget, protocol: str) -> list[set[str]]:
    whole = {one.patient for one in cohort.studies if one.image is not None and one.mask is not None}
    patients = np.random.default_rng(budget.seed).permutation(sorted(whole))
    if protocol == "paper":
        return [set(patients[: max(1, round(budget.test_part * len(patients)))].tolist())]
    return [set(part.tolist()) for part in np.array_split(patients, budget.parts)]


def file_safe(patient: str) -> str:
    """Give a patient's name as the training reads it out of the names of files."""
    return re.sub(r"[^A-Za-z0-9-]", "-", patient)


def _links(studies: Sequence[CohortStudy], folder: Path) -> Path:
    """Lay out images and masks as the training reads them, wherever they are.

    Raises
    ------
    InputError
        If an image and its mask are not files of one kind, each with its voxels in it.
    """
    for number, one in enumerate(studies):
        if one.image is None or one.mask is None:
            continue
        endings = [
            next((end for end in _ENDINGS if path.name.lower().endswith(end)), "")
            for path in (one.image, one.mask)
        ]
        if endings[0] != endings[1] or not endings[0]:
            raise InputError(
                f"'{one.image}' and '{one.mask}', to train a segmenter on",
                expected=f"an image and a mask with the same ending, one of {', '.join(_ENDINGS)}",
                action="convert one of them, or give a trained bundle with --segmenter",
            )
        for kind, path in (("images", one.image), ("masks", one.mask)):
            link = folder / kind / f"{file_safe(one.patient)}_{number:05d}{endings[0]}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            link.symlink_to(path.resolve())
    return folder


def _train(scans: Path, place: Path, budget: SegmenterBudget) -> None:
    """Train into a bundle that has the shipped shape model and classifier beside it, and no locator."""
    shipped = read_bundle(None)
    for name in ("autoencoder", "classifier"):
        write_component(place / "bundle", shipped.component(name))
    recipe = PRESETS[budget.preset]
    loop = replace(
        recipe.loop,
        seed=budget.seed,
        epochs=budget.epochs or recipe.loop.epochs,
        time_limit_s=None if budget.minutes is None else 60 * budget.minutes,
    )
    fit_segmenter(scans, place / "bundle", place / "run", replace(recipe, loop=loop))
