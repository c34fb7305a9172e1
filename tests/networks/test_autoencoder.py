from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from discometry.core.errors import BundleError, InputError
from discometry.io.bundle import Component, read_bundle, write_component
from discometry.networks.autoencoder import (
    AutoencoderConfig,
    ConvolutionalShape,
    build_autoencoder,
    convolutional_component,
    load_convolutional,
)
from discometry.networks.shape_coder import Codes

SMALL = AutoencoderConfig(latents=3, width=2)


def packed(**card: Any) -> Component:
    return convolutional_component(ConvolutionalShape(build_autoencoder(SMALL), np.arange(4.0)), **card)


def test_papers_size() -> None:
    network = build_autoencoder(AutoencoderConfig())
    assert sum(weight.numel() for weight in network.parameters()) == pytest.approx(9.44e6, abs=0.01e6)
    assert network.to_latents.in_features == 4096
    assert network.config.latents == 4


def test_shapes_of_every_step() -> None:
    network = build_autoencoder(SMALL).eval()
    cubes = torch.zeros(2, 1, 64, 64, 64)
    with torch.no_grad():
        latents = network.encode(cubes)
        assert latents.shape == (2, 3)
        assert network.decode(latents).shape == cubes.shape
        assert torch.equal(network(cubes), network.decode(latents))


def test_it_starts_with_rare_discs() -> None:
    with torch.no_grad():
        share = build_autoencoder(SMALL).eval()(torch.zeros(1, 1, 64, 64, 64)).sigmoid().mean()
    assert float(share) == pytest.approx(0.018, abs=0.01)


def test_every_weight_learns() -> None:
    network = build_autoencoder(SMALL)
    network((torch.rand(2, 1, 64, 64, 64) > 0.9).float()).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in network.parameters())


def test_seed_decides_the_weights_and_nothing_else_changes() -> None:
    before = torch.random.get_rng_state()
    first, same, other = (build_autoencoder(SMALL, seed=seed).to_latents.weight for seed in (1, 1, 2))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_bundle_gives_the_network_back(tmp_path: Path) -> None:
    network = build_autoencoder(SMALL, seed=3)
    cubes = (torch.rand(4, 1, 64, 64, 64, generator=torch.Generator().manual_seed(0)) > 0.9).float()
    network(cubes)  # moves the batch norm's statistics
    model = ConvolutionalShape(network, np.arange(4.0))
    write_component(tmp_path / "bundle", convolutional_component(model, validation_iou=0.5))
    component = read_bundle(tmp_path / "bundle").component("autoencoder")
    found = load_convolutional(component)
    loaded = found.network
    assert component.config["validation_iou"] == 0.5
    np.testing.assert_array_equal(found.distances, np.arange(4.0))
    assert loaded.config == SMALL
    assert not loaded.training
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    with torch.no_grad():
        torch.testing.assert_close(loaded(cubes), network.eval()(cubes), rtol=0, atol=5e-3)
        assert not torch.equal(loaded(cubes), build_autoencoder(SMALL).eval()(cubes))


def _changed(component: Component, **change: Any) -> Component:
    return replace(component, **change)


@pytest.mark.parametrize(
    "config",
    [{}, {"network": {"latents": 4, "width": 2}}, {"network": {"depth": 3}}, {"network": {"latents": 0}}],
)
def test_config_and_weights_that_disagree_are_refused(config: dict[str, Any]) -> None:
    component = _changed(packed(), config=config)
    with pytest.raises(BundleError, match="weights and config disagree"):
        load_convolutional(component)


def test_codes_are_the_networks_and_hold_the_pose() -> None:
    model = ConvolutionalShape(build_autoencoder(SMALL, seed=5).eval(), np.array([0.0, 1.0, 3.0]))
    with torch.no_grad():
        model.network.decoder[-1].get_parameter("bias").zero_()  # about half the voxels are disc
    cubes = np.random.default_rng(0).random((9, 64, 64, 64)) > 0.9
    codes = model.encode(cubes)
    assert (codes.latents.shape, codes.poses.shape) == ((9, 3), (9, 0))
    assert (model.latents, model.pose_numbers) == (3, 0)
    with torch.no_grad():
        expected = model.network.encode(torch.from_numpy(cubes[:1])[:, None].float())
        rebuilt = model.network.decode(expected)[:, 0] > 0
    np.testing.assert_allclose(codes.latents[:1], expected.numpy(), rtol=0, atol=1e-5)
    np.testing.assert_array_equal(model.decode(Codes(expected.double().numpy(), np.zeros((1, 0)))), rebuilt)
    assert model.decode(model.encode(cubes[:0])).shape == (0, 64, 64, 64)


def test_a_network_in_training_mode_is_used_as_in_evaluation_and_left_alone() -> None:
    network = build_autoencoder(SMALL, seed=5).eval()
    model = ConvolutionalShape(network, np.zeros(1))
    cubes = np.random.default_rng(0).random((2, 64, 64, 64)) > 0.9
    expected = model.encode(cubes).latents
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    np.testing.assert_array_equal(model.encode(cubes).latents, expected)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_plausibility_is_the_share_of_training_discs_farther_out() -> None:
    model = ConvolutionalShape(build_autoencoder(SMALL), np.array([0.0, 1.0, 3.0]))
    latents = np.array([[0.0, 0, 0], [0, 1, 0], [0, 0, -2], [3, 0, 0], [3, 4, 0]])
    np.testing.assert_allclose(model.plausibility(latents), [1, 0.5, 0.25, 0, 0], rtol=0, atol=1e-12)


def test_missing_weights_are_refused() -> None:
    component = packed()
    tensors = dict(component.tensors)
    tensors.pop("to_latents.weight")
    with pytest.raises(BundleError, match="weights and config disagree"):
        load_convolutional(_changed(component, tensors=tensors))
    with pytest.raises(BundleError, match="weights and config disagree"):
        load_convolutional(_changed(component, tensors={"x": np.zeros(1)}))


@pytest.mark.parametrize("options", [{"latents": 0}, {"width": 0}])
def test_sizes_below_one_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        AutoencoderConfig(**options)
