"""The residual U-Net as a graph of OpenVINO, laid out from a bundle's weights: quick on a CPU, without torch.

The same network as :func:`discometry.networks.segmenter.build_segmenter` makes of MONAI's parts, spun as by
:func:`discometry.networks.cycle_spinning.spun`. It is ready sooner than torch and MONAI are imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import Node, opset13

from discometry.core.anatomy import Tissue
from discometry.networks.runtime import Predictor
from discometry.networks.segmenter_config import SegmenterConfig

__all__ = ["openvino_predictor"]

_SPUN_LEVEL = 1
"""The level below which the U-Net is spun, as for torch."""
_EPSILON = 1e-5
"""Added to the variance by instance normalisation, torch's default."""

Triple = tuple[int, int, int]


def openvino_predictor(tensors: Mapping[str, NDArray[Any]], config: SegmenterConfig) -> Predictor:
    """Make a residual U-Net ready to run on a CPU, on as many threads as ``OMP_NUM_THREADS`` allows.

    Parameters
    ----------
    tensors
        Its weights, by their names in torch.
    config
        What it is built from.

    Raises
    ------
    KeyError, ValueError, RuntimeError
        If the weights are not those of this network.
    """
    weights = _Weights(tensors)
    image = opset13.parameter([-1, 1, -1, -1, -1], np.float32)
    model = openvino.Model([_network(image, weights, config)], [image])
    weights.check_all_used()
    # Full precision, so that the bytes are the same on every run.
    settings: dict[str, str | int] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit():
        settings["INFERENCE_NUM_THREADS"] = int(threads)
    compiled = openvino.compile_model(model, "CPU", settings)

    def predict(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        logits: NDArray[np.float32] = compiled(windows)[0]
        return logits

    return predict


class _Weights:
    """Weights by name, each of the shape that the network needs."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._tensors, self._used = tensors, set[str]()

    def __call__(self, name: str, *shape: int) -> NDArray[np.float32]:
        """Give a weight.

        Raises
        ------
        ValueError
            If it is of another shape, or holds what is no finite number.
        """
        array = self._tensors[name]
        self._used.add(name)
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"{name}: {array.shape} in place of {shape}, or no numbers")
        return np.ascontiguousarray(array, dtype=np.float32)

    def check_all_used(self) -> None:
        """Refuse weights that the network has no use for."""
        if self._used != self._tensors.keys():
            raise ValueError("weights of another network")


def _network(image: Node, weights: _Weights, config: SegmenterConfig) -> Node:
    """BxCxLxPxS logits of a Bx1xLxPxS image."""
    channels = [1, *[config.width * 2**level for level in range(config.levels)]]
    features = config.width // 2

    def levels(x: Node, name: str, depth: int) -> Node:
        """Everything from a level downwards: its input's channels to those that it gives back."""
        if depth == len(config.strides):
            return _residual_unit(x, weights, name, (channels[depth], channels[depth + 1]), units=2)
        stride, wide = config.strides[depth], channels[depth + 1]
        down = _residual_unit(x, weights, f"{name}.0", (channels[depth], wide), stride=stride, units=2)
        below = levels(down, f"{name}.1.submodule", depth + 1)
        if depth == _SPUN_LEVEL:
            moved = opset13.roll(down, np.array([-1, -1]), np.array([3, 4]))
            moved = levels(moved, f"{name}.1.submodule", depth + 1)
            back = opset13.roll(moved, np.array([1, 1]), np.array([3, 4]))
            below = opset13.multiply(opset13.add(below, back), np.float32(0.5))
        # A level gives back as many channels as came to it; the lowest keeps its own, the first has features.
        given = channels[depth + 2] if depth + 1 == len(config.strides) else wide
        wanted = channels[depth] if depth else features
        up = _transposed(
            opset13.concat([down, below], 1), weights, f"{name}.2.0", (wide + given, wanted), stride
        )
        return _residual_unit(up, weights, f"{name}.2.1", (wanted, wanted), units=1, plain_end=depth == 0)

    return _convolution(levels(image, "0.model", 0), weights, "1", (features, len(Tissue)), side=1)


def _residual_unit(
    x: Node,
    weights: _Weights,
    name: str,
    channels: tuple[int, int],
    *,
    units: int,
    stride: Triple = (1, 1, 1),
    plain_end: bool = False,
) -> Node:
    """Convolve, normalise and activate a few times, beside one convolution, or none where none is needed."""
    came, wanted = channels
    y, step, given = x, stride, came
    for unit in range(units):
        part = f"{name}.conv.unit{unit}"
        y = _convolution(y, weights, f"{part}.conv", (given, wanted), stride=step)
        if not (plain_end and unit == units - 1):
            y = _activated(y, weights, part)
        step, given = (1, 1, 1), wanted
    strides = stride != (1, 1, 1)
    if strides or came != wanted:
        x = _convolution(
            x, weights, f"{name}.residual", (came, wanted), stride=stride, side=3 if strides else 1
        )
    return opset13.add(y, x)


def _convolution(
    x: Node,
    weights: _Weights,
    name: str,
    channels: tuple[int, int],
    *,
    stride: Triple = (1, 1, 1),
    side: int = 3,
) -> Node:
    """Convolve with a cube of weights, such that a stride of one keeps the sides."""
    came, wanted = channels
    kernel = weights(f"{name}.weight", wanted, came, side, side, side)
    pad = [side // 2] * 3
    y = opset13.convolution(x, kernel, list(stride), pad, pad, [1, 1, 1])
    return _with_bias(y, weights, name, wanted)


def _transposed(x: Node, weights: _Weights, name: str, channels: tuple[int, int], stride: Triple) -> Node:
    """Grow by a stride, then normalise and activate."""
    came, wanted = channels
    kernel = weights(f"{name}.conv.weight", came, wanted, 3, 3, 3)
    y = opset13.convolution_backprop_data(
        x,
        kernel,
        list(stride),
        pads_begin=[1, 1, 1],
        pads_end=[1, 1, 1],
        output_padding=[step - 1 for step in stride],
    )
    return _activated(_with_bias(y, weights, f"{name}.conv", wanted), weights, name)


def _with_bias(x: Node, weights: _Weights, name: str, channels: int) -> Node:
    return opset13.add(x, weights(f"{name}.bias", channels).reshape(1, -1, 1, 1, 1))


def _activated(x: Node, weights: _Weights, name: str) -> Node:
    """Instance normalisation, then a leaky slope that was learned."""
    normalised = opset13.mvn(x, np.array([2, 3, 4]), True, _EPSILON, "inside_sqrt")
    return opset13.prelu(normalised, weights(f"{name}.adn.A.weight", 1))
