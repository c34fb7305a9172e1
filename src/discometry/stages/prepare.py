"""Orient, resample and normalise an image for the segmenter; remember the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from discometry.core.errors import InputError
from discometry.core.records import Prepared, Region
from discometry.core.volume import Grid, Volume
from discometry.sampling import sampler, voxels_within

__all__ = [
    "LOOKS",
    "PrepareConfig",
    "looks_shape",
    "normalise",
    "prepare",
    "prepare_looks",
    "working_grid",
]


@dataclass(frozen=True, slots=True)
class PrepareConfig:
    """Options of :func:`prepare`."""

    spacing_mm: tuple[float, float, float] = (1.4, 1.2, 1.5)
    """Working voxel size along L, P, S."""
    percentiles: tuple[float, float] = (0.5, 99.5)
    """Intensities beyond these percentiles of the image are clipped."""
    order: Literal[1, 3] = 1
    """Degree of the splines between samples: 1 is linear, 3 keeps what the scanner saw."""


LOOKS = ((0, 0), (5, 5), (0, 5), (5, 0))
"""Where each look begins, in halves of a voxel along P and S: a disc that falls badly between the voxels of
one, or between the coarser ones within the network, falls well on those of another. Together their voxels are
a grid of half the sides."""
_BEFORE = (0.0, -np.max(LOOKS) / 4, -np.max(LOOKS) / 4)
"""How far the first look lies before the middle, in voxels, so that all lie evenly about it."""
_MARGIN = 8
"""Voxels around the region that smoothing and splines take in."""
_MAX_WORKING_VOXELS = 2e8


def prepare(image: Volume, config: PrepareConfig | None = None, *, region: Region | None = None) -> Prepared:
    """Bring an image, or a region of it, to axes L, P, S, the working spacing, zero mean and unit spread.

    Axes are permuted and flipped, and follow a region's; an oblique scan keeps its own directions otherwise.
    Sides that are finer than the working spacing are averaged before they are sampled. Working voxels are
    counted from the image's or the region's middle, so that the same patient on finer or coarser voxels meets
    the same ones. Outside the image is zero.

    Raises
    ------
    InputError
        If the image holds NaN or infinite values, or only one value, or is larger than any patient.
    """
    config = config or PrepareConfig()
    source, grid = _laid_over(image, config, region, (0.0, 0.0, 0.0))
    sampled, part = _sampled(source, grid, config, region)
    return Prepared(Volume(grid, sampled), source=image.grid, part=part)


def prepare_looks(
    image: Volume, config: PrepareConfig | None = None, *, region: Region | None = None
) -> list[Prepared]:
    """Prepare an image once for each of :data:`LOOKS`, together."""
    config = config or PrepareConfig()
    source, first = _laid_over(image, config, region, _BEFORE)
    i, j, k = first.shape
    more = int(np.max(LOOKS)) - 1
    fine = first.stepped((i, 2 * j + more, 2 * k + more), step=(1, 0.5, 0.5))
    sampled, part = _sampled(source, fine, config, region)
    looks = []
    for p, s in LOOKS:
        array = sampled[:, p : p + 2 * j : 2, s : s + 2 * k : 2]
        grid = fine.stepped(first.shape, start=(0, p, s), step=(1, 2, 2))
        looks.append(Prepared(Volume(grid, array), source=image.grid, part=part))
    return looks


def looks_shape(region: Region, spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    """Give the sides, LxPxS, of the looks at a region."""
    return region.grid(spacing_mm, _BEFORE).shape


def _laid_over(
    image: Volume, config: PrepareConfig, region: Region | None, shift: tuple[float, float, float]
) -> tuple[Volume, Grid]:
    """Give an image with axes L, P, S, and working voxels over it, moved by parts of their sides."""
    source = image.oriented()
    if region is not None:
        return source, region.grid(config.spacing_mm, shift)
    grid = working_grid(source.grid, config.spacing_mm)
    return source, grid.stepped(grid.shape, start=shift)


def _sampled(
    source: Volume, grid: Grid, config: PrepareConfig, region: Region | None
) -> tuple[NDArray[np.float32], Grid]:
    """Sample an image with axes L, P, S on a grid, and normalise it; the grid of what was sampled beside."""
    part = source.grid if region is None else region.crop(source).grid
    if region is not None:
        source = _near(source, grid)
    array = source.array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(
            "an image with NaN or infinite intensities",
            expected="finite intensities",
            action="replace them, for instance by the background's value",
        )
    sampled = sampler(source.grid, grid, order=config.order, voxel_mm=config.spacing_mm)(array)
    prepared = np.zeros_like(sampled)
    # The region may leave the image. What is just outside goes on as the image ends, so that answers between
    # the outermost voxels are right.
    inside = voxels_within(grid, source.grid, margin_mm=max(config.spacing_mm))
    prepared[inside] = normalise(sampled[inside], percentiles=config.percentiles)
    return prepared, part


def normalise(array: NDArray[np.float32], *, percentiles: tuple[float, float]) -> NDArray[np.float32]:
    """Clip at two percentiles, then shift and scale to mean 0 and standard deviation 1.

    Raises
    ------
    InputError
        If the array holds only one value.
    """
    low, high = np.percentile(array, percentiles)
    if not high - low > 1e-5 * max(abs(low), abs(high)):  # what rounding leaves is no contrast
        raise InputError(
            "an image of constant intensity",
            expected="an MRI with contrast",
            action="check that the file holds the image and not an empty export",
        )
    clipped = np.clip(array, low, high)
    scaled: NDArray[np.float32] = ((clipped - clipped.mean()) / clipped.std()).astype(np.float32)
    return scaled


def working_grid(source: Grid, spacing_mm: tuple[float, float, float]) -> Grid:
    """Lay a grid of the given spacing along the axes of ``source`` over it, evenly about its middle."""
    extent = np.array(source.shape) * np.array(source.spacing_mm)
    shape = 2 * np.maximum(1, np.ceil(extent / spacing_mm / 2 - 1e-6)).astype(int)
    if np.prod(shape, dtype=np.float64) > _MAX_WORKING_VOXELS:
        raise InputError(
            f"an image of {' x '.join(f'{side:.0f}' for side in extent)} mm",
            expected="the size of a patient",
            action="crop it to the lumbar spine, or repair the voxel size in its header",
        )
    centre = source.to_world((np.array(source.shape) - 1) / 2)
    origin = centre - source.direction @ ((shape - 1) / 2 * np.array(spacing_mm))
    return Grid.from_spacing(shape, spacing_mm, origin_mm=origin, direction=source.direction)


def _near(source: Volume, grid: Grid) -> Volume:
    """Cut out of a volume what is sampled for a grid."""
    corners = source.grid.to_index(grid.corners_mm)
    low = np.floor(corners.min(axis=0)) - _MARGIN
    high = np.ceil(corners.max(axis=0)) + _MARGIN + 1
    return source.cropped(low.astype(int).tolist(), high.astype(int).tolist())
