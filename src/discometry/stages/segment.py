"""Label the tissue of every voxel with a trained network, and bring the labels back to the input grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from discometry.core.anatomy import Tissue
from discometry.core.records import Prepared, Segmentation
from discometry.core.volume import Grid, Volume
from discometry.networks.runtime import Predictor, predict_probabilities

__all__ = ["SegmentConfig", "most_probable", "segment", "weigh_disc"]


@dataclass(frozen=True, slots=True)
class SegmentConfig:
    """Options of :func:`segment`."""

    window: tuple[int, int, int] = (24, 112, 112)
    """Window sides along L, P, S in voxels of the working grid."""
    divisor: tuple[int, int, int] = (8, 16, 16)
    """Numbers that the sides of a window must divide by."""
    overlap: float = 0.25
    """Part of a window that it shares with the next."""
    mirror: bool = True
    """Look at the image twice, once mirrored left-right, and average."""
    disc_cut: float = 0.5
    """Share of the probability of disc and its strongest rival from which a voxel is disc."""


def segment(
    prepared: Prepared,
    predictor: Predictor,
    config: SegmentConfig | None = None,
    *,
    on_windows: Callable[[int, int], None] | None = None,
) -> Segmentation:
    """Give every voxel of the input grid its :class:`~discometry.core.anatomy.Tissue`.

    The most probable one is taken, disc from ``disc_cut`` on.

    Probabilities, not labels, are interpolated to the input grid, so that boundaries fall between the
    working voxels and thin structures survive. What was not prepared is background.

    Parameters
    ----------
    prepared
        The image, or the part of it that shows the spine, at the network's spacing.
    predictor
        The network.
    config
        Options.
    on_windows
        Called with the number of windows done, and of all.
    """
    config = config or SegmentConfig()
    probabilities = predict_probabilities(
        predictor,
        prepared.image.array,
        window=config.window,
        divisor=config.divisor,
        overlap=config.overlap,
        mirror=config.mirror,
        on_windows=on_windows,
    )
    weigh_disc(probabilities, config.disc_cut)
    found = most_probable(probabilities, prepared.image.grid, prepared.part)
    whole = Volume(prepared.source, np.broadcast_to(np.uint8(0), prepared.source.shape)).oriented().grid
    first = np.rint(whole.to_index(np.array(prepared.part.origin_mm))).astype(int)
    tissue = np.zeros(whole.shape, dtype=np.uint8)
    tissue[tuple(slice(a, a + n) for a, n in zip(first, found.shape, strict=True))] = found
    return Segmentation(Volume(whole, tissue).like(prepared.source))


def weigh_disc(probabilities: NDArray[np.float32], disc_cut: float) -> None:
    """Weigh, in place, what is disc so that it is the most probable from a share of ``disc_cut`` on."""
    probabilities[Tissue.DISC] *= (1 - disc_cut) / disc_cut


def most_probable(probabilities: NDArray[np.float32], working: Grid, target: Grid) -> NDArray[np.uint8]:
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
