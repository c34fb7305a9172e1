from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from discometry.core.errors import BundleError, InputError
from discometry.core.phantom import render_disc_mask, single_disc
from discometry.core.records import CUBE_SHAPE, CUBE_SPACING_MM
from discometry.core.scores import iou
from discometry.core.volume import Grid
from discometry.io.bundle import read_bundle, write_component
from discometry.networks.linear_shape import (
    LinearShape,
    ShapeConfig,
    linear_shape_component,
    load_linear_shape,
)
from discometry.networks.shape_coder import Codes
from discometry.networks.shape_models import load_shape_model
from discometry.training.disc_cubes import PhantomCubes, phantom_cubes
from discometry.training.fit_linear_shape import train_linear_shape
from discometry.training.shape_card import reconstruction_ious

CUBES = phantom_cubes(PhantomCubes(discs=30, seed=4)).cubes
GRID = Grid.from_spacing(
    CUBE_SHAPE, CUBE_SPACING_MM, origin_mm=[-31.5 * spacing for spacing in CUBE_SPACING_MM]
)


@pytest.fixture(scope="module")
def model() -> LinearShape:
    return train_linear_shape(CUBES, ShapeConfig(latents=5))[0]


def turned(tilt_deg: tuple[float, float, float], shift: tuple[float, float, float]) -> np.ndarray[Any, Any]:
    disc = single_disc(9.0, tilt_deg=tilt_deg, centre_lps=shift, dome_superior_mm=1.5, dome_inferior_mm=1.0)
    return render_disc_mask(disc, GRID).array


def test_codes_decode_to_nearly_the_disc(model: LinearShape) -> None:
    fresh = phantom_cubes(PhantomCubes(discs=6, seed=99)).cubes
    codes = model.encode(fresh)
    assert (codes.latents.shape, codes.poses.shape) == ((6, 5), (6, 6))
    assert reconstruction_ious(fresh, model).min() > 0.85


def test_the_pose_is_kept_apart_from_the_shape(model: LinearShape) -> None:
    straight = model.encode(turned((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))[None])
    tilted = model.encode(turned((18.0, -7.0, 5.0), (2.0, -1.5, 1.0))[None])
    # The last latent hardly moves a boundary, so little fixes it.
    np.testing.assert_allclose(tilted.latents[:, :4], straight.latents[:, :4], rtol=0, atol=0.25)
    first, second = (model.decode(codes.centred())[0] for codes in (straight, tilted))
    assert iou(first, second) > 0.93
    shift = (tilted.poses - straight.poses)[0, :3]
    np.testing.assert_allclose(shift, [2.0, -1.5, 1.0], rtol=0, atol=0.3)
    axes = [Rotation.from_rotvec(c.poses[0, 3:], degrees=True).as_matrix() for c in (straight, tilted)]
    superior = (axes[1] @ axes[0].T)[:, 2]
    assert np.degrees(np.arctan2(superior[1], superior[2])) == pytest.approx(18.0, abs=1.0)


def test_codes_without_a_pose_stand_upright_in_the_middle(model: LinearShape) -> None:
    codes = model.encode(turned((18.0, 0.0, 0.0), (3.0, 0.0, 0.0))[None]).centred()
    voxels = np.argwhere(model.decode(codes)[0])
    np.testing.assert_allclose(voxels.mean(axis=0), 31.5, rtol=0, atol=0.7)


def test_a_wider_disc_has_larger_latents_of_size(model: LinearShape) -> None:
    first = np.zeros((2, 5))
    first[:, 0] = [-1.0, 1.0]
    small, large = model.decode(Codes(first, np.zeros((2, 6))))
    assert large.sum() > 1.1 * small.sum()


def test_plain_principal_components_are_the_baseline() -> None:
    raw = train_linear_shape(CUBES, ShapeConfig(latents=5, pose="none", sizes=False, fitted=False))[0]
    posed = train_linear_shape(CUBES, ShapeConfig(latents=5, sizes=False, fitted=False))[0]
    assert raw.encode(CUBES[:2]).poses.shape == (2, 0)
    # All components together give a training disc back, exactly where nothing is resampled.
    whole = train_linear_shape(CUBES[:6], ShapeConfig(latents=5, pose="none", sizes=False, fitted=False))[0]
    assert reconstruction_ious(CUBES[:6], whole).min() > 0.999
    assert reconstruction_ious(CUBES, posed).mean() > reconstruction_ious(CUBES, raw).mean()


def test_a_model_fitted_without_a_pose() -> None:
    config = ShapeConfig(latents=3, pose="none", sizes=False)
    fitted = train_linear_shape(CUBES, config)[0]
    projected = train_linear_shape(CUBES, replace(config, fitted=False))[0]
    assert fitted.encode(CUBES[:1]).poses.shape == (1, 0)
    assert reconstruction_ious(CUBES, fitted).mean() > reconstruction_ious(CUBES, projected).mean() - 0.005


def test_with_memory_it_knows_its_training_discs_and_no_other() -> None:
    config = ShapeConfig(latents=2, pose="none", sizes=False, fitted=False, memory=True)
    remembering = train_linear_shape(CUBES, config)[0]
    assert reconstruction_ious(CUBES, remembering).min() > 0.999
    fresh = phantom_cubes(PhantomCubes(discs=6, seed=99)).cubes
    assert reconstruction_ious(fresh, remembering).mean() < 0.95


def test_plausibility_falls_from_the_middle_outwards(model: LinearShape) -> None:
    latents = np.outer([0.0, 1.0, 2.0, 20.0], np.ones(5) / np.sqrt(5))
    found = model.plausibility(latents)
    assert found[0] == 1.0
    assert (np.diff(found) <= 0).all()
    assert 0.0 < found[2] < 1.0
    assert found[-1] == 0.0
    assert model.plausibility(model.encode(CUBES).latents).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("count", [0, 1])
def test_odd_cubes_do_not_break_it(model: LinearShape, count: int) -> None:
    cube = np.zeros((1, *CUBE_SHAPE), dtype=bool)
    cube[0, 32, 32, 32 : 32 + count] = True
    codes = model.encode(cube)
    assert np.isfinite(codes.latents).all()
    assert np.isfinite(codes.poses).all()
    assert model.decode(model.encode(cube[:0])).shape == (0, *CUBE_SHAPE)


def test_a_bundle_gives_the_model_back(model: LinearShape, tmp_path: Path) -> None:
    write_component(tmp_path / "bundle", linear_shape_component(model, validation_iou=0.5))
    component = read_bundle(tmp_path / "bundle").component("autoencoder")
    loaded = load_shape_model(component)
    assert component.config["validation_iou"] == 0.5
    assert loaded.latents == 5
    first, again = model.encode(CUBES[:4]), loaded.encode(CUBES[:4])
    np.testing.assert_allclose(again.latents, first.latents, rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("config", "missing"),
    [
        ({}, None),
        ({"network": {"latents": 4}}, None),
        ({"network": {"depth": 3}}, None),
        ({"network": {"latents": 0}}, None),
        (None, "mean"),
    ],
)
def test_config_and_arrays_that_disagree_are_refused(
    model: LinearShape, config: dict[str, Any] | None, missing: str | None
) -> None:
    component = linear_shape_component(model)
    tensors = {name: value for name, value in component.tensors.items() if name != missing}
    component = replace(component, config=component.config if config is None else config, tensors=tensors)
    with pytest.raises(BundleError, match="arrays and config disagree"):
        load_linear_shape(component)


def test_options_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InputError, match="latents = 0"):
        ShapeConfig(latents=0)
    with pytest.raises(InputError, match="sizes and no pose"):
        ShapeConfig(pose="none")
