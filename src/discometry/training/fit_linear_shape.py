"""Train a linear shape model on disc cubes: principal components, made into latents that one can use."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from discometry.core.errors import InputError
from discometry.io.bundle import check_bundle_folder, write_component
from discometry.networks.linear_shape import (
    LinearShape,
    ShapeConfig,
    linear_shape_component,
    load_linear_shape,
)
from discometry.networks.shape_space import FieldGrid, cube_field, moments_placement
from discometry.training.disc_cubes import CubeSet, PhantomCubes, cubes_of_masks, phantom_cubes
from discometry.training.latent_order import LatentOrder, order_latents, radius_quantiles
from discometry.training.shape_card import shape_card

__all__ = ["ShapeTraining", "fit_linear_shape", "surface_moves", "train_linear_shape"]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_MODES = 80
"""Principal components of the fields, from which latents are mixed."""
_SURFACE_MM = 1.0
"""Voxels nearer to the mean disc's boundary than this stand for the boundary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeTraining:
    """Options of :func:`fit_linear_shape`."""

    network: ShapeConfig = field(default_factory=ShapeConfig)
    """What to train."""
    discs: int = 600
    """Phantom discs to train on, beside those of the masks."""
    validation_part: float = 0.1
    """Part of the spines that takes no part, to validate on."""
    seed: int = 0
    """Every random draw follows from it."""


def fit_linear_shape(data: Path | None, bundle: Path, config: ShapeTraining | None = None) -> Path:
    """Train a model, and put it into a bundle.

    Parameters
    ----------
    data
        Folder of masks, or with a folder ``masks``; None for phantom discs alone.
    bundle
        Bundle folder to create or to update.
    config
        All options.

    Returns
    -------
    The bundle folder.
    """
    config = config or ShapeTraining()
    check_bundle_folder(bundle)
    found = [] if data is None else [cubes_of_masks(data)]
    if config.discs:
        found.append(phantom_cubes(PhantomCubes(discs=config.discs, seed=config.seed)))
    if not found:
        raise InputError(
            "no phantom and no mask to train on", expected="discs", action="raise the number of phantoms"
        )
    training, held = CubeSet.together(*found).split(part=config.validation_part, seed=config.seed)
    model, explained = train_linear_shape(training.cubes, config.network)
    shipped = load_linear_shape(linear_shape_component(model))
    card = shape_card(shipped, training, held, explained)
    return write_component(bundle, linear_shape_component(model, **card))


def train_linear_shape(cubes: BoolArray, config: ShapeConfig) -> tuple[LinearShape, FloatArray]:
    """Train a model on disc cubes, Nx64x64x64; mirrored left-right they count as well where a pose is kept.

    Returns the model, and the share of the boundary's variance that each latent explains.
    """
    empty = np.zeros((0, config.latents))
    first = LinearShape(
        config=config,
        mean=np.zeros(0),
        basis=empty,
        log_sizes=np.zeros(3),
        size_basis=np.zeros((3, config.latents)),
        mean_mm=_mean_spread(cubes) if config.pose == "rigid" else np.ones(3),
        distances=np.zeros(2),
        known_latents=empty,
        known_rest=np.zeros((0, math.prod(config.grid.shape))),
    )
    placements = [first.first_placement(cube) for cube in cubes]
    fields = np.stack(
        [p.sample(cube_field(cube), config.grid) for p, cube in zip(placements, cubes, strict=True)]
    )
    log_sizes = np.log([p.sizes for p in placements])
    if config.pose == "rigid":
        fields = np.concatenate([fields, _mirrored(fields, config.grid)])
        log_sizes = np.concatenate([log_sizes, log_sizes])
    model = _principal(first, fields, log_sizes)
    latents = model.encode(cubes).latents
    order = order_latents(latents, surface_moves(model))
    latents = (latents - order.mean) @ order.forward.T
    model = replace(_reordered(model, order), distances=radius_quantiles(latents))
    if config.memory:
        rest = fields[: len(cubes)] - model.fields(latents)
        model = replace(model, known_latents=latents, known_rest=rest)
    return model, order.explained


def _mean_spread(cubes: BoolArray) -> FloatArray:
    spreads = [np.log(moments_placement(cube, np.ones(3)).sizes) for cube in cubes]
    mean: FloatArray = np.exp(np.mean(spreads, axis=0))
    return mean


def _mirrored(fields: FloatArray, grid: FieldGrid) -> FloatArray:
    return fields.reshape(-1, *grid.shape)[:, ::-1].reshape(len(fields), -1)


def _principal(model: LinearShape, fields: FloatArray, log_sizes: FloatArray) -> LinearShape:
    """Find the latents that explain most of how surfaces move, out of sizes and modes of the fields."""
    config = model.config
    mean = fields.mean(axis=0)
    rest = fields - mean
    power, vectors = np.linalg.eigh(rest @ rest.T)
    wanted = min(_MODES if config.sizes else config.latents, len(fields) - 1)
    modes = rest.T @ vectors[:, ::-1][:, :wanted] / np.sqrt(power[::-1][:wanted])
    parts = rest @ modes
    if not config.sizes:
        return replace(model, mean=mean, basis=modes * parts.std(axis=0))
    values = np.concatenate([log_sizes, parts], axis=1)
    everything = replace(
        model,
        mean=mean,
        basis=np.pad(modes, ((0, 0), (3, 0))),
        log_sizes=log_sizes.mean(axis=0),
        size_basis=np.eye(3, 3 + wanted),
    )
    order = order_latents(values, surface_moves(everything))
    loading = order.back[:, : config.latents]
    return replace(everything, basis=modes @ loading[3:], size_basis=loading[:3])


def surface_moves(model: LinearShape) -> FloatArray:
    """How much the mean disc's boundary moves outwards with each latent, mm; (m, k)."""
    grid = model.config.grid
    surface = np.abs(model.mean) < _SURFACE_MM
    slopes = np.gradient(model.mean.reshape(grid.shape), *grid.spacing_mm)
    stretch = -np.stack([slope.ravel() for slope in slopes], axis=1) * grid.points_mm()
    moves: FloatArray = (model.basis + stretch @ model.size_basis)[surface]
    return moves


def _reordered(model: LinearShape, order: LatentOrder) -> LinearShape:
    """Express a model in the standard form of its latents."""
    return replace(
        model,
        mean=model.mean + model.basis @ order.mean,
        basis=model.basis @ order.back,
        log_sizes=model.log_sizes + model.size_basis @ order.mean,
        size_basis=model.size_basis @ order.back,
    )
