"""Label the tissue of every voxel with a trained network, and bring the labels back to the input grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from discometry.core.records import Prepared, Segmentation
from discometry.core.volume import Grid, Volume
from discometry.networks.runtime import predict_probabilities

__all__ = ["SegmentConfig", "segment"]


@dataclass(frozen=True, slots=True)
class SegmentConfig:
    """Options of :func:`segment`."""

    window: tuple[int, int, int] = (32, 96, 96)
    """Window sides along L, P, S in voxels of the working grid."""
    divisor: int = 16
    """Number that every side of a window must divide by."""
    overlap: float = 0.25
    """Part of a window that it shares with the next."""
    device: str = "cpu"
    """Where the network runs."""


def segment(prepared: Prepared, network: nn.Module, config: SegmentConfig | None = None) -> Segmentation:
    """Give every voxel of the input grid the most probable :class:`~discometry.core.anatomy.Tissue`.

    Probabilities, not labels, are interpolated to the input grid, so that boundaries fall between the
    working voxels and thin structures survive.
    """
    config = config or SegmentConfig()
    probabilities = predict_probabilities(
        network,
        prepared.image.array,
        window=config.window,
        divisor=config.divisor,
        overlap=config.overlap,
        device=config.device,
    )
    oriented = Volume(prepared.source, np.broadcast_to(np.uint8(0), prepared.source.shape)).oriented()
    tissue = _most_probable(probabilities, prepared.image.grid, oriented.grid)
    return Segmentation(Volume(oriented.grid, tissue).like(prepared.source))


def _most_probable(probabilities: NDArray[np.float32], working: Grid, target: Grid) -> NDArray[np.uint8]:
    """Interpolate one class at a time on the target grid and keep the greatest; memory stays at two maps."""
    step, start = target.sampling_in(working)
    best = np.full(target.shape, -1.0, dtype=np.float32)
    tissue = np.zeros(target.shape, dtype=np.uint8)
    for index, probability in enumerate(probabilities):
        on_target = ndimage.affine_transform(
            probability, step, offset=start, output_shape=target.shape, order=1, mode="nearest"
        )
        better = on_target > best
        best[better] = on_target[better]
        tissue[better] = index
    return tissue
