"""Find the spine in an image with a coarse, quick network, so that the fine one looks only along it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from discometry.core.anatomy import Tissue
from discometry.core.errors import InputError
from discometry.core.records import Prepared, Region
from discometry.core.volume import Grid
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
    """What is kept along L, P, S around the discs found, and beneath the lowest vertebra."""
    least_disc_mm3: float = 1000.0
    """An image with less disc than this, even uncertain, shows no lumbar spine."""
    probability: float = 0.3
    """Tissue at least this probable counts as found: the coarse network only points the way."""
    left_out: float = 0.01
    """Part of the disc voxels, at either end of every axis, that the region need not reach to; of the
    vertebrae at the lower end."""
    lean_deg: float = 8.0
    """How far the spine leans backwards in the region: neither L5/S1 nor the highest discs are steep then."""
    most_turned_deg: float = 30.0
    """The region is turned against the image no farther than this."""


def locate(
    prepared: Prepared,
    predictor: Predictor,
    config: LocateConfig | None = None,
    *,
    on_windows: Callable[[int, int], None] | None = None,
) -> Region:
    """Give the region of the discs and of what lies around and beneath them, turned as the spine leans.

    A patient who lies turned in the sagittal plane has the same region then: the fine network sees the same.

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
    # Discs lie within a disc's height of bone, and a spine's bone within a vertebra's height of what hangs
    # together with discs; a lone spot elsewhere would stretch the box for nothing.
    bone = probabilities[Tissue.VERTEBRA] >= 0.5
    disc &= ndimage.binary_dilation(bone, iterations=3)
    columns, _ = ndimage.label(ndimage.binary_dilation(bone | disc, iterations=4))
    bone &= np.isin(columns, np.unique(columns[disc]))
    if disc.sum() * grid.voxel_volume_mm3 < config.least_disc_mm3:
        raise InputError(
            "no lumbar spine in the image",
            expected="an MRI that shows lumbar discs and vertebrae",
            action="look at the image, and whether its header says rightly how it lies",
        )
    column = probabilities[Tissue.DISC] + probabilities[Tissue.VERTEBRA]
    frame = _along_spine(grid, np.where(column > config.probability, column, 0), config)
    places, bones = (
        frame.to_index(grid.to_world(np.argwhere(found).astype(float))) for found in (disc, bone)
    )
    low, high = np.quantile(places, (config.left_out, 1 - config.left_out), axis=0)
    # The lowest disc gives all others their names, and bone beneath the lowest found may stand on one more.
    low[2] = min(low[2], np.quantile(bones[:, 2], config.left_out))
    ends = frame.to_index(prepared.part.corners_mm)
    low = np.maximum(low - config.margin_mm, ends.min(axis=0))
    high = np.minimum(high + config.margin_mm, ends.max(axis=0))
    return Region(frame.to_world((low + high) / 2), high - low, frame.direction)


def _along_spine(grid: Grid, weights: NDArray[np.float32], config: LocateConfig) -> Grid:
    """Lay axes of 1 mm about the centre of some weights, which lean against the last by a given angle."""
    found = np.argwhere(weights > 0)
    heavy = weights[weights > 0]
    along = found * grid.spacing_mm
    off = along - np.average(along, axis=0, weights=heavy)
    _, directions = np.linalg.eigh(np.einsum("n,ni,nj->ij", heavy, off[:, 1:], off[:, 1:]))
    posterior, superior = directions[:, -1] * (1 if directions[1, -1] > 0 else -1)
    lean = np.rad2deg(np.arctan2(posterior, superior))
    turn = np.deg2rad(np.clip(lean - config.lean_deg, -config.most_turned_deg, config.most_turned_deg))
    cos, sin = np.cos(turn), np.sin(turn)
    turned = grid.direction @ np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    centre = grid.to_world(np.average(found, axis=0, weights=heavy)).tolist()
    own, along_spine = (
        Grid.from_spacing((1, 1, 1), (1, 1, 1), origin_mm=centre, direction=axes)
        for axes in (grid.direction, turned)
    )
    # An oblique scan of a leaning spine may be turned so far that no axis is the one to the head.
    return along_spine if along_spine.axis_codes == "LPS" else own
