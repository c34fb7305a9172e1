"""Run a segmentation network over a whole volume, window by window."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

__all__ = ["predict_probabilities"]


def predict_probabilities(
    network: nn.Module,
    image: NDArray[np.float32],
    *,
    window: tuple[int, int, int],
    divisor: int,
    overlap: float = 0.25,
    device: str = "cpu",
) -> NDArray[np.float32]:
    """Give the tissue probabilities of every voxel.

    Windows overlap and are blended with Gaussian weights (MONAI's sliding window). A side shorter than the
    window gets a window of its own length, rounded up to ``divisor``, so thin slabs are not padded far.

    Parameters
    ----------
    network
        Maps 1x1xLxPxS to 1xCxLxPxS logits.
    image
        Normalised intensities, LxPxS.
    window
        Window sides in voxels, each a multiple of ``divisor``.
    divisor
        Number that every input side must divide by.
    overlap
        Part of a window that it shares with the next, 0 to below 1.
    device
        Where to compute, as torch names it.

    Returns
    -------
    ndarray
        CxLxPxS float32, summing to one over C.
    """
    from monai.inferers.utils import sliding_window_inference

    sides = [
        min(side, divisor * -(-length // divisor)) for side, length in zip(window, image.shape, strict=True)
    ]
    network = network.to(device).to(memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]
    with torch.inference_mode():
        logits = sliding_window_inference(
            torch.from_numpy(np.ascontiguousarray(image))[None, None],
            roi_size=sides,
            sw_batch_size=2,  # torch takes its fast convolutions on a CPU only for two windows or more
            predictor=network,
            overlap=overlap,
            mode="gaussian",
            sw_device=device,
            device="cpu",
        )
        probabilities: NDArray[np.float32] = torch.softmax(logits[0].float(), dim=0).numpy()
    return probabilities
