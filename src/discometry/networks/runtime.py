"""Run a segmentation network over a whole volume, window by window, with OpenVINO or torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

__all__ = ["Engine", "Predictor", "build_predictor", "predict_probabilities"]

Predictor = Callable[[Tensor], Tensor]
"""A network ready to run: Bx1xLxPxS image on the CPU to BxCxLxPxS logits on the CPU."""

Engine = Literal["openvino", "torch"]


def build_predictor(network: nn.Module, *, engine: Engine = "torch", device: str = "cpu") -> Predictor:
    """Make a network ready to run.

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
    return _openvino(network) if engine == "openvino" else _torch(network, device)


def _openvino(network: nn.Module) -> Predictor:
    import openvino

    with torch.inference_mode(), warnings.catch_warnings():
        # Tracing warns that it is deprecated, but torch.export, which is to replace it, fixes the sides of
        # the image in the graph; and it warns of MONAI's and torch's own checks of those sides.
        warnings.simplefilter("ignore")
        example = torch.zeros(1, 1, 32, 64, 64)
        traced = torch.jit.trace(network.eval(), example, check_trace=False)  # type: ignore[no-untyped-call]
    model = openvino.convert_model(traced)
    model.reshape([-1, 1, -1, -1, -1])
    # Full precision, so that the bytes are the same on every run.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.compile_model(model, "CPU", settings)

    def predict(windows: Tensor) -> Tensor:
        return torch.from_numpy(compiled(windows.numpy())[0])

    return predict


def _torch(network: nn.Module, device: str) -> Predictor:
    network = network.to(device).to(memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]

    def predict(windows: Tensor) -> Tensor:
        logits: Tensor = network(windows.to(device))
        return logits.float().cpu()

    return predict


def predict_probabilities(
    predictor: Predictor,
    image: NDArray[np.float32],
    *,
    window: tuple[int, int, int],
    divisor: tuple[int, int, int],
    overlap: float = 0.25,
    mirror: bool = False,
    on_windows: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Give the tissue probabilities of every voxel.

    Windows overlap and are blended with Gaussian weights (MONAI's sliding window). A side shorter than the
    window gets a window of its own length, rounded up to ``divisor``, so thin slabs are not padded far.

    Parameters
    ----------
    predictor
        The network, from :func:`build_predictor`.
    image
        Normalised intensities, LxPxS.
    window
        Window sides in voxels, each a multiple of its ``divisor``.
    divisor
        Numbers that the input's sides must divide by.
    overlap
        Part of a window that it shares with the next, 0 to below 1.
    mirror
        Average the network's answer with that to the image mirrored left-right: twice the time.
    on_windows
        Called with the number of windows done, and of all, after each run of the network.

    Returns
    -------
    ndarray
        CxLxPxS float32, summing to one over C.
    """
    sides = [
        min(side, step * -(-length // step))
        for side, step, length in zip(window, divisor, image.shape, strict=True)
    ]
    total = _windows(image.shape, sides, overlap) * (2 if mirror else 1)
    done = 0

    def predict(windows: Tensor) -> Tensor:
        nonlocal done
        logits = predictor(windows)
        done += len(windows)
        if on_windows is not None:
            on_windows(done, total)
        return logits

    probabilities = _slid(predict, image, sides, overlap)
    if mirror:
        probabilities += _slid(predict, image[::-1], sides, overlap)[:, ::-1]
        probabilities /= 2
    return probabilities


def _windows(shape: tuple[int, ...], sides: list[int], overlap: float) -> int:
    """Count the windows that MONAI's sliding window will look through."""
    from monai.data.utils import dense_patch_slices

    padded = [max(side, length) for side, length in zip(sides, shape, strict=True)]
    return len(dense_patch_slices(padded, sides, [max(1, int(side * (1 - overlap))) for side in sides]))


def _slid(
    predictor: Predictor, image: NDArray[np.float32], sides: list[int], overlap: float
) -> NDArray[np.float32]:
    """Give the probabilities from all windows, blended."""
    from monai.inferers.utils import sliding_window_inference

    with torch.inference_mode():
        logits = sliding_window_inference(
            torch.from_numpy(np.ascontiguousarray(image))[None, None],
            roi_size=sides,
            sw_batch_size=2,  # torch takes its fast convolutions on a CPU only for two windows or more
            predictor=predictor,
            overlap=overlap,
            mode="gaussian",
        )
        probabilities: NDArray[np.float32] = torch.softmax(logits[0], dim=0).numpy()
    return probabilities
