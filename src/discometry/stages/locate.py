"""Find the spine in an image with a coarse, quick network, so that the fine one looks only along it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

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
    margin_mm: tuple[float, float, float] = (12.0, 17.0, 18.0)
    """What is kept along L, P, S around the discs found, and beneath the lowest vertebra. To the sides the
    region ends with the image; elsewhere it may reach beyond, or it would change with the image's ends."""
    least_disc_mm3: float = 1000.0
    """An image with less disc than this, even uncertain, shows no lumbar spine."""
    probability: float = 0.3
    """Tissue at least this probable counts as found: the coarse network only points the way."""
    bridged: int = 6
    """Disc and vertebra that lie apart by twice as many coarse voxels are of one spine still."""
    left_out: float = 0.01
    """Part of the disc voxels, at either end of every axis, that the region need not reach to; of the
    vertebrae at the lower end."""
    lean_deg: float = 8.0
    """How far the spine leans backwards in the region: neither L5/S1 nor the highest discs are steep then."""
    most_turned_deg: tuple[float, float, float] = (30.0, 15.0, 15.0)
    """The region is turned about the image's axes L, P, S no farther than this."""
    least_width_mm: float = 40.0
    """In an image that is narrower the region is not turned about P and S: a slab does not show how a spine
    leans to the side, and has nothing beside it to turn to."""


def locate(
    prepared: Prepared,
    predictor: Predictor,
    config: LocateConfig | None = None,
    *,
    on_windows: Callable[[int, int], None] | None = None,
) -> Region:
    """Give the region of the discs and of what lies around and beneath them, turned as the spine lies.

    A patient who lies turned has the same region then: the fine network sees the same.

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
    # Discs lie within a disc's height of bone.
    bone = probabilities[Tissue.VERTEBRA] >= 0.5
    disc &= ndimage.binary_dilation(bone, iterations=3)
    # A spine is one column, a vertebra that was missed bridged over. What lies apart, such as in the belly,
    # would turn the box, and stretch it for nothing.
    columns, _ = ndimage.label(ndimage.binary_dilation(bone | disc, iterations=config.bridged))
    spine = columns == np.bincount(columns[disc], minlength=1).argmax()
    disc, bone, probabilities = disc & spine, bone & spine, probabilities * spine
    if disc.sum() * grid.voxel_volume_mm3 < config.least_disc_mm3:
        raise InputError(
            "no lumbar spine in the image",
            expected="an MRI that shows lumbar discs and vertebrae",
            action="look at the image, and whether its header says rightly how it lies",
        )
    column = probabilities[Tissue.DISC] + probabilities[Tissue.VERTEBRA]
    most = np.array(config.most_turned_deg)
    if prepared.part.shape[0] * prepared.part.spacing_mm[0] < config.least_width_mm:
        most[1:] = 0.0
    column[column <= config.probability] = 0
    frame = _along_spine(grid, column, probabilities[Tissue.CANAL], config.lean_deg, most)
    places, bones = (
        frame.to_index(grid.to_world(np.argwhere(found).astype(float))) for found in (disc, bone)
    )
    low, high = np.quantile(places, (config.left_out, 1 - config.left_out), axis=0)
    # The lowest disc gives all others their names, and bone beneath the lowest found may stand on one more.
    low[2] = min(low[2], np.quantile(bones[:, 2], config.left_out))
    first, last = _sides(prepared.part, frame, (low + high) / 2)
    low, high = low - config.margin_mm, high + config.margin_mm
    low[0], high[0] = max(low[0], first), min(high[0], last)
    return Region(frame.to_world((low + high) / 2), high - low, frame.direction)


def _sides(image: Grid, frame: Grid, middle: NDArray[np.float64]) -> tuple[float, float]:
    """Give where a frame's first axis through a place enters and leaves an image."""
    here, beside = (image.to_index(frame.to_world(place))[0] for place in (middle, middle + np.eye(3)[0]))
    first, last = (middle[0] + (end - 0.5 - here) / (beside - here) for end in (0, image.shape[0]))
    return first, last


def _along_spine(
    grid: Grid,
    column: NDArray[np.float32],
    canal: NDArray[np.float32],
    lean_deg: float,
    most_deg: NDArray[np.float64],
) -> Grid:
    """Lay axes of 1 mm about the column's centre: S along it, but for a given lean, P towards the canal."""
    found = np.argwhere(column > 0)
    heavy = column[column > 0]
    along = found * grid.spacing_mm
    off = along - np.average(along, axis=0, weights=heavy)
    _, directions = np.linalg.eigh(np.einsum("n,ni,nj->ij", heavy, off, off))
    superior = directions[:, -1] * (1 if directions[2, -1] > 0 else -1)
    left = np.cross(_towards_canal(grid, column, canal), superior)
    left[0] += 1e-9  # where both are one line
    left /= np.linalg.norm(left)
    lean = Rotation.from_euler("X", lean_deg, degrees=True).as_matrix()
    axes = np.stack([left, np.cross(superior, left), superior], axis=1) @ lean
    angles = np.clip(Rotation.from_matrix(axes).as_euler("XYZ", degrees=True), -most_deg, most_deg)
    turned = grid.direction @ Rotation.from_euler("XYZ", angles, degrees=True).as_matrix()
    centre = grid.to_world(np.average(found, axis=0, weights=heavy)).tolist()
    own, turned_grid = (
        Grid.from_spacing((1, 1, 1), (1, 1, 1), origin_mm=centre, direction=axes)
        for axes in (grid.direction, turned)
    )
    # An oblique scan of a leaning spine may be turned so far that no axis is the one to the head.
    return turned_grid if turned_grid.axis_codes == "LPS" else own


def _towards_canal(
    grid: Grid, column: NDArray[np.float32], canal: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Give the way from the column to the canal behind it, mm along the grid's axes, level by level."""
    places = np.indices(grid.shape[:2]).reshape(2, -1) * np.array(grid.spacing_mm[:2])[:, None]
    levels = [array.reshape(-1, grid.shape[2]) for array in (column, np.where(canal >= 0.5, canal, 0))]
    both = (levels[0].sum(axis=0) > 0) & (levels[1].sum(axis=0) > 0)
    if not both.any():
        return np.array([0.0, 1.0, 0.0])
    before, behind = (places @ level[:, both] / level[:, both].sum(axis=0) for level in levels)
    return np.array([*(behind - before).mean(axis=1), 0.0])
