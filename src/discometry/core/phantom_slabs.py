"""Partial volume: cut a grid into slabs of finer voxels, and average these back."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from discometry.core.errors import InputError
from discometry.core.volume import Grid

__all__ = ["SUBSAMPLE_MM", "fine_slabs", "subsamples"]

SUBSAMPLE_MM = 0.7
"""Largest distance between the samples of a voxel."""

_SLAB_SAMPLES = 3_000_000

Merge = Callable[[NDArray[np.generic]], NDArray[np.float32]]


def subsamples(grid: Grid, subsample_mm: float, *, odd: bool = False) -> tuple[int, int, int]:
    """Count the samples along each axis of a voxel so that they lie at most ``subsample_mm`` apart.

    An ``odd`` number of them never comes out exactly half full, which would bias a mask cut at one half.

    Raises
    ------
    InputError
        If the distance is not positive.
    """
    if not subsample_mm > 0:
        raise InputError(
            f"samples {subsample_mm} mm apart", expected="a positive distance", action="give 0.5 to 1 mm"
        )
    i, j, k = (max(1, math.ceil(step / subsample_mm - 1e-6)) for step in grid.spacing_mm)
    return (i | 1, j | 1, k | 1) if odd else (i, j, k)


def fine_slabs(grid: Grid, subsample_mm: float, *, odd: bool = False) -> Iterator[tuple[slice, Grid, Merge]]:
    """Walk through a grid in slabs along its first axis, with samples as :func:`subsamples` counts them.

    Yields
    ------
    The slab's rows of the first axis, its grid of finer voxels, and the function that averages an array on
    the finer grid to float32 on the slab. No finer grid has many more than three million voxels, unless one
    row of the grid does.
    """
    parts = np.array(subsamples(grid, subsample_mm, odd=odd))
    row = int(np.prod(parts)) * grid.shape[1] * grid.shape[2]
    rows = max(1, _SLAB_SAMPLES // row)
    for start in range(0, grid.shape[0], rows):
        stop = min(grid.shape[0], start + rows)
        affine = grid.affine.copy()
        affine[:3, :3] /= parts
        corner = np.array([start, 0, 0]) - 0.5 + 0.5 / parts
        affine[:3, 3] = grid.to_world(corner)
        counts = (stop - start, grid.shape[1], grid.shape[2])
        i, j, k = (int(n * p) for n, p in zip(counts, parts, strict=True))
        yield slice(start, stop), Grid((i, j, k), affine), _merger(counts, parts)


def _merger(counts: tuple[int, int, int], parts: NDArray[np.intp]) -> Merge:
    shape = [int(n) for pair in zip(counts, parts, strict=True) for n in pair]

    def merge(array: NDArray[np.generic]) -> NDArray[np.float32]:
        """Average blocks of finer voxels; empty axes of one sample cost nothing."""
        blocks = array.reshape(shape)
        for axis in (5, 3, 1):
            if blocks.shape[axis] == 1:
                blocks = blocks.squeeze(axis)
            else:
                blocks = blocks.mean(axis=axis, dtype=np.float32)
        merged: NDArray[np.float32] = blocks.astype(np.float32, copy=False)
        return merged

    return merge
