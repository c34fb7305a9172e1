from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from discometry.core.errors import InputError
from discometry.io.bundle import read_bundle
from discometry.networks.linear_shape import ShapeConfig, load_linear_shape
from discometry.training import fit_linear_shape as module
from discometry.training.disc_cubes import PhantomCubes, phantom_cubes
from discometry.training.fit_linear_shape import (
    ShapeTraining,
    fit_linear_shape,
    surface_moves,
    train_linear_shape,
)


def test_latents_of_the_training_discs_are_standardised_and_ordered() -> None:
    cubes = phantom_cubes(PhantomCubes(discs=40, seed=2)).cubes
    model, explained = train_linear_shape(cubes, ShapeConfig(latents=4))
    latents = model.encode(cubes).latents
    np.testing.assert_allclose(latents.mean(axis=0), 0, rtol=0, atol=0.1)
    np.testing.assert_allclose(np.corrcoef(latents.T), np.eye(4), rtol=0, atol=0.05)
    assert (np.diff(explained) <= 0).all()
    moves = (surface_moves(model) ** 2).sum(axis=0)
    assert (np.diff(moves) < 0).all()
    assert (surface_moves(model).sum(axis=0) >= 0).all()


def test_phantoms_train_a_bundle(tmp_path: Path) -> None:
    bundle = fit_linear_shape(
        None, tmp_path / "bundle", ShapeTraining(network=ShapeConfig(latents=3), discs=20)
    )
    component = read_bundle(bundle).component("autoencoder")
    assert load_linear_shape(component).latents == 3
    assert component.config["validation_iou"] > 0.7
    assert len(component.config["explained"]) == 3


def test_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no phantom and no mask"):
        fit_linear_shape(None, tmp_path / "bundle", ShapeTraining(discs=0))
    assert not (tmp_path / "bundle").exists()


def test_masks_and_phantoms_train_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    masks = phantom_cubes(PhantomCubes(discs=12, seed=1))
    named = module.CubeSet(masks.cubes, tuple(f"patient{name[-1]}" for name in masks.spines))
    monkeypatch.setattr(module, "cubes_of_masks", lambda folder: named)
    bundle = fit_linear_shape(tmp_path, tmp_path / "bundle", ShapeTraining(discs=16))
    card = read_bundle(bundle).component("autoencoder").config
    counts = [int(card[name].split(" ")[0]) for name in ("trained_on", "validated_on")]
    others = [int(card[name].split(", ")[1].split(" ")[0]) for name in ("trained_on", "validated_on")]
    assert (sum(counts), sum(others)) == (16, 12)
