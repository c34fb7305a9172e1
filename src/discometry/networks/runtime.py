"""Run a segmentation network over a whole volume, window by window, with OpenVINO or torch."""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from discometry.networks.cycle_spinning import spun

__all__ = ["Engine", "Predictor", "build_predictor", "even_window", "predict_probabilities"]

Predictor = Callable[[Tensor], Tensor]
"""A network ready to run: Bx1xLxPxS image on the CPU to BxCxLxPxS logits on the CPU."""

Engine = Literal["openvino", "torch"]


def build_predictor(network: nn.Module, *, engine: Engine = "torch", device: str = "cpu") -> Predictor:
    """Make a network ready to run; a U-Net's answer depends less, then, on where its coarse voxels fall.

    Parameters
    ----------
    network
        Maps Bx1xLxPxS to BxCxLxPxS logits, for any B and sides.
    engine
        What runs it. OpenVINO, on a CPU, is the faster once it is ready, but takes seconds to get so: it pays
        from about eight studies on (docs/decisions.md).
    device
        Where torch computes, as torch names it; OpenVINO always takes the CPU.
    """
    network = spun(network)
    return _openvino(network) if engine == "openvino" else _torch(network, device)


def _openvino(network: nn.Module) -> Predictor:
    import openvino

    with torch.inference_mode(), warnings.catch_warnings():
        # Tracing warns that it is deprecated, but torch.export, which is to replace it, fixes the sides of
        # the image in the graph; and it warns of MONAI's and torch's own checks of those sides.
        warnings.simplefilter("ignore")
        example = torch.zeros(1, 1, 32, 64, 64)
        traced = torch.jit.trace(network, example, check_trace=False)  # type: ignore[no-untyped-call]
    model = openvino.convert_model(traced)
    model.reshape([-1, 1, -1, -1, -1])
    # Full precision, so that the bytes are the same on every run.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.compile_model(model, "CPU", settings)

    def predict(windows: Tensor) -> Tensor:
        return torch.from_numpy(compiled(windows.numpy())[0])

    return predict


def _torch(network: nn.Module, device: str) -> Predictor:
    network = network.to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    _normalise_channels_last(network)

    def predict(windows: Tensor) -> Tensor:
        logits: Tensor = network(windows.to(device))
        return logits.float().cpu()

    return predict


class _InstanceNorm(nn.Module):
    """Instance normalisation without weights that keeps channels last, where torch's own copies."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, batch: Tensor) -> Tensor:
        """Normalise BxCxLxPxS, each channel of each image by itself."""
        return torch.cat(
            [F.batch_norm(one, None, None, training=True, eps=self.eps) for one in torch.split(batch, 1)]
        )


def _normalise_channels_last(module: nn.Module) -> None:
    """Replace, below a module, every instance normalisation that has no weights."""
    for name, child in module.named_children():
        if isinstance(child, nn.InstanceNorm3d) and not child.affine and not child.track_running_stats:
            setattr(module, name, _InstanceNorm(child.eps))
        else:
            _normalise_channels_last(child)


def even_window(
    shape: tuple[int, ...],
    *,
    longest: tuple[int, int, int],
    divisor: tuple[int, int, int],
    overlap: float,
) -> tuple[int, int, int]:
    """Give the sides of windows that cover an image evenly, as few as may be.

    Parameters
    ----------
    shape
        Sides of the image, LxPxS.
    longest
        Longest sides of a window; one divisor is always allowed.
    divisor
        Numbers that the windows' sides divide by.
    overlap
        Part of a window that it shares with the next, 0 to below 1.
    """

    def side(length: int, most: int, step: int) -> int:
        least = (length / (1 + further * (1 - overlap)) for further in itertools.count())
        rounded = (step * math.ceil(needed / step - 1e-9) for needed in least)
        return next(long for long in rounded if long <= max(most, step))

    i, j, k = map(side, shape, longest, divisor)
    return i, j, k


def predict_probabilities(
    predictor: Predictor,
    images: NDArray[np.float32],
    *,
    window: tuple[int, int, int],
    divisor: tuple[int, int, int],
    overlap: float = 0.25,
    on_windows: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Give the tissue probabilities of every voxel.

    Windows overlap and are blended with Gaussian weights (MONAI's sliding window). A side shorter than the
    window gets a window of its own length, rounded up to ``divisor``, so thin slabs are not padded far.

    Parameters
    ----------
    predictor
        The network, from :func:`build_predictor`.
    images
        Normalised intensities, NxLxPxS. With torch on a CPU two take little longer than one.
    window
        Longest window sides in voxels.
    divisor
        Numbers that the input's sides must divide by.
    overlap
        Part of a window that it shares with the next, 0 to below 1.
    on_windows
        Called with the number of windows done, and of all, after each run of the network.

    Returns
    -------
    ndarray
        NxCxLxPxS float32, summing to one over C.
    """
    from monai.inferers.utils import sliding_window_inference

    sides = [
        step * -(-min(side, length) // step)
        for side, step, length in zip(window, divisor, images.shape[1:], strict=True)
    ]
    total = len(images) * _windows(images.shape[1:], sides, overlap)
    done = 0

    def predict(windows: Tensor) -> Tensor:
        nonlocal done
        logits = predictor(windows)
        done += len(windows)
        if on_windows is not None:
            on_windows(done, total)
        return logits

    with torch.inference_mode():
        logits: Any = sliding_window_inference(
            torch.from_numpy(np.ascontiguousarray(images))[:, None],
            roi_size=sides,
            sw_batch_size=2,  # torch takes its fast convolutions on a CPU only for two windows or more
            predictor=predict,
            overlap=overlap,
            mode="gaussian",
        )
        probabilities: NDArray[np.float32] = torch.softmax(logits, dim=1).numpy()
    return probabilities


def _windows(shape: tuple[int, ...], sides: list[int], overlap: float) -> int:
    """Count the windows that MONAI's sliding window will look through in one image."""
    from monai.data.utils import dense_patch_slices

    padded = [max(side, length) for side, length in zip(sides, shape, strict=True)]
    return len(dense_patch_slices(padded, sides, [max(1, int(side * (1 - overlap))) for side in sides]))
