"""The residual U-Net as a graph of OpenVINO, laid out from a bundle's weights: quick on a CPU, without torch.

The same network as :func:`discometry.networks.segmenter.build_segmenter` makes of MONAI's parts, spun as by
:func:`discometry.networks.cycle_spinning.spun`. It is ready sooner than torch and MONAI are imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import Node, opset13

from discometry.core.anatomy import Tissue
from discometry.core.beside import one_thread_only
from discometry.networks.segmenter_config import SPUN_LEVEL, SegmenterConfig

__all__ = ["OpenvinoPredictor", "residual_unet"]

_EPSILON = 1e-5
"""Added to the variance by instance normalisation, torch's default."""

Triple = tuple[int, int, int]


def residual_unet(tensors: Mapping[str, NDArray[Any]], config: SegmenterConfig) -> openvino.Model:
    """Lay out a residual U-Net: Bx1xLxPxS image to BxCxLxPxS logits, for any B and sides.

    Parameters
    ----------
    tensors
        Its weights, by their names in torch. The graph shares their memory: they must stay as they are.
    config
        What it is built from.

    Raises
    ------
    KeyError, ValueError, RuntimeError
        If the weights are not those of this network.
    """
    layers = _Layers(tensors)
    image = opset13.parameter([-1, 1, -1, -1, -1], np.float32)
    model = openvino.Model([_network(image, layers, config)], [image])
    if layers.used != tensors.keys():
        raise ValueError("weights of another network")
    return model


class OpenvinoPredictor:
    """A network ready to run on a CPU, on as many threads as ``OMP_NUM_THREADS`` allows.

    It is compiled for the shape of the windows that it is given or told to expect, and again when they have
    another: that takes no longer in all than for any shape, and the first answer comes sooner.
    """

    def __init__(self, model: openvino.Model) -> None:
        self._model = model
        self._settings: dict[str, str | int | bool] = {
            "INFERENCE_PRECISION_HINT": "f32",  # so that the bytes are the same on every run
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,  # or the processes of a cohort would all take the first core
        }
        threads = os.environ.get("OMP_NUM_THREADS", "")
        if threads.isdigit():
            self._settings["INFERENCE_NUM_THREADS"] = int(threads)
        self._shape: tuple[int, ...] = ()
        self._compiled: Future[openvino.CompiledModel]
        self._compiler = ThreadPoolExecutor(max_workers=1)

    def expect(self, shape: tuple[int, ...]) -> None:
        """Compile for windows of a shape, Bx1xLxPxS, in a thread, if a second one is allowed."""
        if not one_thread_only():
            self._begin(shape)

    def __call__(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map Bx1xLxPxS images to BxCxLxPxS logits."""
        self._begin(windows.shape)
        logits: NDArray[np.float32] = self._compiled.result()(windows)[0]
        return logits

    def _begin(self, shape: tuple[int, ...]) -> None:
        if shape != self._shape:
            self._shape = shape
            self._compiled = self._compiler.submit(self._compile, shape)

    def _compile(self, shape: tuple[int, ...]) -> openvino.CompiledModel:
        self._model.reshape(list(shape))
        return openvino.compile_model(self._model, "CPU", self._settings)


def _network(image: Node, layers: _Layers, config: SegmenterConfig) -> Node:
    """Map a Bx1xLxPxS image to BxCxLxPxS logits."""
    channels = [1, *[config.width * 2**level for level in range(config.levels)]]
    features = config.width // 2
    lowest = len(config.strides)

    def from_level(depth: int, x: Node, name: str) -> Node:
        """Go down from a level and come up to it again."""
        came, wide = channels[depth : depth + 2]
        if depth == lowest:
            return layers.residual_unit(name, x, (came, wide), units=2)
        stride = config.strides[depth]
        down = layers.residual_unit(f"{name}.0", x, (came, wide), units=2, stride=stride)
        below = from_level(depth + 1, down, f"{name}.1.submodule")
        if depth == SPUN_LEVEL:
            moved = opset13.roll(down, np.array([-1, -1]), np.array([3, 4]))
            answer = from_level(depth + 1, moved, f"{name}.1.submodule")
            back = opset13.roll(answer, np.array([1, 1]), np.array([3, 4]))
            below = opset13.multiply(opset13.add(below, back), np.float32(0.5))
        # Each level gives back as many channels as came to it, but for the first and the lowest.
        both = wide + (channels[-1] if depth + 1 == lowest else wide)
        given = came if depth else features
        up = layers.transposed(f"{name}.2.0", opset13.concat([down, below], 1), (both, given), stride)
        up = _cut(up, x)
        return layers.residual_unit(f"{name}.2.1", up, (given, given), units=1, plain_end=depth == 0)

    return layers.convolution("1", from_level(0, image, "0.model"), (features, len(Tissue)), side=1)


def _cut(longer: Node, like: Node) -> Node:
    """Cut an array to the sides, LxPxS, of another, where these did not divide by a stride."""
    axes, ones = np.array([2, 3, 4]), np.ones(3, dtype=np.int64)
    sides = opset13.gather(opset13.shape_of(like), axes, np.array(0))
    return opset13.slice(longer, 0 * ones, sides, ones, axes)


class _Layers:
    """Layers by their names in torch, each with its weights, which must be of the shape that it needs.

    ``channels`` are those that come to a layer, and those that it gives.
    """

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._tensors = tensors
        self.used: set[str] = set()

    def residual_unit(
        self,
        name: str,
        x: Node,
        channels: tuple[int, int],
        *,
        units: int,
        stride: Triple = (1, 1, 1),
        plain_end: bool = False,
    ) -> Node:
        """Convolve and activate a few times, beside one convolution, or none where none is needed."""
        came, given = channels
        y, comes, step = x, came, stride
        for unit in range(units):
            part = f"{name}.conv.unit{unit}"
            y = self.convolution(f"{part}.conv", y, (comes, given), stride=step)
            comes, step = given, (1, 1, 1)
            if not (plain_end and unit == units - 1):
                y = self._activated(part, y)
        strides = stride != (1, 1, 1)
        if strides or came != given:
            x = self.convolution(f"{name}.residual", x, channels, stride=stride, side=3 if strides else 1)
        return opset13.add(y, x)

    def convolution(
        self, name: str, x: Node, channels: tuple[int, int], *, stride: Triple = (1, 1, 1), side: int = 3
    ) -> Node:
        """Convolve with a cube of weights, such that a stride of one keeps the sides."""
        kernel = self._weight(f"{name}.weight", *reversed(channels), side, side, side)
        pad = [side // 2] * 3
        return self._biased(name, opset13.convolution(x, kernel, list(stride), pad, pad, [1, 1, 1]), channels)

    def transposed(self, name: str, x: Node, channels: tuple[int, int], stride: Triple) -> Node:
        """Grow by a stride, and activate."""
        y = opset13.convolution_backprop_data(
            x,
            self._weight(f"{name}.conv.weight", *channels, 3, 3, 3),
            list(stride),
            pads_begin=[1, 1, 1],
            pads_end=[1, 1, 1],
            output_padding=[step - 1 for step in stride],
        )
        return self._activated(name, self._biased(f"{name}.conv", y, channels))

    def _biased(self, name: str, x: Node, channels: tuple[int, int]) -> Node:
        return opset13.add(x, self._weight(f"{name}.bias", channels[1], laid=(1, -1, 1, 1, 1)))

    def _activated(self, name: str, x: Node) -> Node:
        """Normalise each channel of each image by itself; then a leaky slope that was learned."""
        normalised = opset13.mvn(x, np.array([2, 3, 4]), True, _EPSILON, "inside_sqrt")
        return opset13.prelu(normalised, self._weight(f"{name}.adn.A.weight", 1))

    def _weight(self, name: str, *shape: int, laid: tuple[int, ...] | None = None) -> Node:
        """Give a weight of a shape, laid in another one if asked.

        Raises
        ------
        ValueError
            If it is of another shape, or holds what is no finite number.
        """
        array = self._tensors[name]
        self.used.add(name)
        if array.shape != shape or not np.isfinite(array).all():
            raise ValueError(f"{name}: {array.shape} in place of {shape}, or no numbers")
        weight = np.ascontiguousarray(array, dtype=np.float32).reshape(laid or shape)
        # Given as an array, a weight would be copied number by number through a list of Python's.
        return opset13.constant(weight, shared_memory=True)
