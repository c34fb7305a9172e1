"""Find the spine in an image with a coarse, quick network, so that the fine one looks only there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from discometry.core.anatomy import Tissue
from discometry.core.errors import InputError
from discometry.core.records import Prepared, Region
from discometry.networks.runtime import Predictor, predict_probabilities

__all__ = ["LocateConfig", "locate"]


@dataclass(frozen=True, slots=True)
class LocateConfig:
    """Options of :func:`locate`."""

    window: tuple[int, int, int] = (16, 64, 64)
    """Longest window sides along L, P, S in voxels of the coarse grid."""
    divisor: tuple[int, int, int] = (8, 8, 8)
    """Numbers that the sides of a window must divide by."""
    overlap: float = 0.5
    """Part of a window that it shares with the next."""
    margin_mm: tuple[float, float, float] = (16.0, 20.0, 24.0)
    """What is kept along L, P, S around the discs found."""
    least_disc_mm3: float = 1000.0
    """An image with less disc than this, even uncertain, shows no lumbar spine."""
    probability: float = 0.3
    """Disc at least this probable counts as found: the coarse network only points the way."""


def locate(
    prepared: Prepared,
    predictor: Predictor,
    config: LocateConfig | None = None,
    *,
    on_windows: Callable[[int, int], None] | None = None,
) -> Region:
    """Give the region of the discs and of what lies around them.

    Parameters
    ----------
    prepared
        The whole image at the coarse network's spacing.
    predictor
        The coarse network.
    config
        Options.
    on_windows
        Called with the number of windows done, and of all.

    Raises
    ------
    InputError
        If there is no lumbar spine.
    """
    config = config or LocateConfig()
    grid = prepared.image.grid
    image = prepared.image.array
    seen, mirrored = predict_probabilities(
        predictor,
        np.stack([image, image[::-1]]),  # so that a mirrored image has the mirrored region
        window=config.window,
        divisor=config.divisor,
        overlap=config.overlap,
        on_windows=on_windows,
    )
    probabilities = (seen + mirrored[:, ::-1]) / 2
    disc = probabilities[Tissue.DISC] >= config.probability
    # Discs lie within a disc's height of bone; a lone spot elsewhere would stretch the box for nothing.
    bone = probabilities[Tissue.VERTEBRA] >= 0.5
    disc &= ndimage.binary_dilation(bone, iterations=3)
    if disc.sum() * grid.voxel_volume_mm3 < config.least_disc_mm3:
        raise InputError(
            "no lumbar spine in the image",
            expected="an MRI that shows lumbar discs and vertebrae",
            action="look at the image, and whether its header says rightly how it lies",
        )
    found = np.argwhere(disc)
    margin = np.array(config.margin_mm) / np.array(grid.spacing_mm)
    return Region(grid.to_world(np.stack([found.min(axis=0) - margin, found.max(axis=0) + margin])))
