from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from discometry.core.anatomy import Tissue
from discometry.core.errors import BundleError
from discometry.io.bundle import Component
from discometry.networks.cycle_spinning import spun
from discometry.networks.engine_torch import TorchPredictor
from discometry.networks.engines import load_predictor
from discometry.networks.segmenter import build_segmenter, load_segmenter, segmenter_component
from discometry.networks.segmenter_config import SegmenterConfig

CONFIGS = {
    "as shipped, narrower": SegmenterConfig(width=4),
    "as the locator": SegmenterConfig(width=6, levels=4, first_stride=(2, 2, 2)),
    "two levels, so nothing to spin": SegmenterConfig(width=2, levels=2),
    "no step at first": SegmenterConfig(width=4, levels=3, first_stride=(1, 1, 1)),
}
SWIN = SegmenterConfig(architecture="swin_unetr_v2", width=12, patch=(32, 32, 32))


def trained(config: SegmenterConfig) -> Component:
    """A network that is not as it began: its slopes and biases count."""
    torch.manual_seed(0)
    network = build_segmenter(config)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return segmenter_component(network, config)


@pytest.mark.parametrize("name", CONFIGS)
def test_openvino_and_torch_agree_at_any_size_and_batch(name: str) -> None:
    component = trained(CONFIGS[name])
    (first, config), (second, _) = (
        load_predictor(component, engine=engine)  # type: ignore[arg-type]
        for engine in ("openvino", "torch")
    )
    assert config == CONFIGS[name]
    for shape in ((1, 1, 16, 32, 64), (3, 1, 8, 48, 64), (2, 1, 9, 37, 51)):
        windows = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        answers = first(windows)
        assert answers.shape == (shape[0], len(Tissue), *shape[2:])
        np.testing.assert_allclose(answers, second(windows), atol=2e-3)
        assert np.array_equal(answers, first(windows)), "the same input gives the same bytes"


def test_both_engines_spin_the_network() -> None:
    component = trained(SegmenterConfig(width=4))
    network, _ = load_segmenter(component)
    windows = np.random.default_rng(0).standard_normal((1, 1, 8, 32, 32)).astype(np.float32)
    with torch.inference_mode():
        plain, expected = (some(torch.from_numpy(windows)).numpy() for some in (network, spun(network)))
    assert np.abs(plain - expected).max() > 0.05
    for engine in ("openvino", "torch"):
        predictor, _ = load_predictor(component, engine=engine)  # type: ignore[arg-type]
        np.testing.assert_allclose(predictor(windows), expected, atol=2e-3)


def test_making_a_network_ready_leaves_it_as_it_was() -> None:
    network = build_segmenter(SegmenterConfig(width=4))
    kinds = [type(module) for module in network.modules()]
    TorchPredictor(network)
    assert [type(module) for module in network.modules()] == kinds


def test_swin_unetr_runs_on_torch_whatever_the_engine() -> None:
    predictor, _ = load_predictor(segmenter_component(build_segmenter(SWIN), SWIN), engine="openvino")
    for batch, side in ((1, 64), (2, 32)):
        windows = np.zeros((batch, 1, 32, 64, side), dtype=np.float32)
        assert predictor(windows).shape == (batch, len(Tissue), 32, 64, side)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_network_told_of_its_windows_gives_the_same_answers(
    threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    component = trained(SegmenterConfig(width=4))
    windows = np.random.default_rng(0).standard_normal((1, 1, 8, 32, 32)).astype(np.float32)
    for engine in ("openvino", "torch"):
        told, _ = load_predictor(component, engine=engine)  # type: ignore[arg-type]
        untold, _ = load_predictor(component, engine=engine)  # type: ignore[arg-type]
        told.expect((2, 1, 8, 16, 16))
        told.expect(windows.shape)
        assert np.array_equal(told(windows), untold(windows))


FIRST, SLOPE = "0.model.0.conv.unit0.conv.weight", "0.model.0.conv.unit0.adn.A.weight"


@pytest.mark.parametrize("engine", ["openvino", "torch"])
@pytest.mark.parametrize(
    "spoil",
    [
        lambda tensors: tensors.pop(FIRST),
        lambda tensors: tensors.update({"more": np.zeros(1)}),
        lambda tensors: tensors.update({FIRST: tensors[FIRST][:, :, :1]}),
        lambda tensors: tensors.update({FIRST: np.zeros(3)}),
        lambda tensors: tensors.update({SLOPE: np.array([np.nan])}),
        lambda tensors: tensors.update({SLOPE: np.array([[0.25]])}),
    ],
    ids=["one lacks", "one too many", "flat kernel", "a vector", "not a number", "a table of one"],
)
def test_weights_of_another_network_are_refused(
    spoil: Callable[[dict[str, Any]], object], engine: Any
) -> None:
    component = trained(SegmenterConfig(width=2, levels=2))
    tensors = dict(component.tensors)
    spoil(tensors)
    with pytest.raises(BundleError, match="do not agree"):
        load_predictor(replace(component, tensors=tensors), engine=engine)


@pytest.mark.parametrize("engine", ["openvino", "torch"])
@pytest.mark.parametrize(
    "change", [{"width": 4}, {"levels": 3}, {"levels": 99}, {"first_stride": [1, 2]}, {"colour": "red"}]
)
def test_a_config_of_another_network_is_refused(change: dict[str, Any], engine: Any) -> None:
    component = trained(SegmenterConfig(width=2, levels=2))
    config = {"network": dict(component.config["network"]) | change}
    with pytest.raises(BundleError, match="do not agree"):
        load_predictor(replace(component, config=config), engine=engine)


def test_openvino_tells_nobody(tmp_path: Path) -> None:
    code = (
        "import sys; from discometry.networks import engine_openvino;"
        "print(sorted(name for name in sys.modules if name.startswith('openvino_telemetry.')))"
    )
    # A machine of a continuous integration is not told on anyway.
    env = {name: value for name, value in os.environ.items() if "CI" not in name} | {"HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []
