"""How well so many latents hold the discs of a cohort: of discs in training, and of patients never seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from discometry.core.scores import Interval, bootstrap_interval
from discometry.networks.autoencoder import AutoencoderConfig
from discometry.networks.linear_shape import ShapeConfig
from discometry.networks.shape_coder import ShapeCoder
from discometry.training.fit_autoencoder import AutoencoderTraining, train_autoencoder
from discometry.training.fit_linear_shape import train_linear_shape
from discometry.training.shape_card import reconstruction_ious

__all__ = ["ShapeTrainer", "held_out_ious", "linear_trainer", "mean_by_patient", "paper_trainer"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
ShapeTrainer = Callable[[BoolArray, int], ShapeCoder]
"""Trains a shape model of so many latents on cubes, Nx64x64x64."""


def linear_trainer(pose: Literal["rigid", "none"]) -> ShapeTrainer:
    """Give what trains the linear model; with its pose apart, or as the discs lie."""

    def train(cubes: BoolArray, latents: int) -> ShapeCoder:
        config = ShapeConfig(latents=latents, pose=pose, sizes=pose == "rigid", fitted=False)
        return train_linear_shape(cubes, config)[0]

    return train


def paper_trainer(run: Path, *, epochs: int) -> ShapeTrainer:
    """Give what trains the paper's autoencoder, with checkpoints in ``run``."""

    def train(cubes: BoolArray, latents: int) -> ShapeCoder:
        config = AutoencoderTraining(network=AutoencoderConfig(latents=latents))
        config = replace(config, loop=replace(config.loop, epochs=epochs))
        discs = sha256(np.packbits(cubes).tobytes()).hexdigest()[:12]
        return train_autoencoder(cubes, cubes, run / f"{latents}_latents_{discs}", config)[0]

    return train


def held_out_ious(
    cubes: BoolArray, patients: Sequence[str], latents: int, train: ShapeTrainer, *, folds: int, seed: int
) -> FloatArray:
    """IoU of each cube, Nx64x64x64, with its reconstruction by a model of other patients' discs."""
    found = np.full(len(cubes), np.nan)
    for rows, held in _folds(patients, folds=folds, seed=seed):
        found[held] = reconstruction_ious(cubes[held], train(cubes[rows], latents))
    return found


def mean_by_patient(values: FloatArray, patients: Sequence[str]) -> Interval:
    """Mean over discs, with its 95 % interval by bootstrap over patients."""
    return bootstrap_interval(lambda sample: float(np.mean(sample)), values, groups=np.array(patients))


def _folds(
    patients: Sequence[str], *, folds: int, seed: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    names = np.random.default_rng(seed).permutation(sorted(set(patients)))
    for part in np.array_split(names, min(folds, len(names))):
        held = np.isin(patients, part)
        yield np.flatnonzero(~held), np.flatnonzero(held)
