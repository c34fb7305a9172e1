"""Sampling on grids that are turned anyhow, a slice at a time.

First along the source's first axis, then within its planes, so that every axis is interpolated once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from discometry.core.beside import for_each
from discometry.core.volume import Grid

__all__ = ["SPLINE_PADDING", "TwoSteps", "sample_slices", "taps"]

FloatArray = NDArray[np.float64]
Image = NDArray[np.float32]

SPLINE_PADDING = 12
"""Voxels by which an array is continued before cubic splines are fitted to it, as SciPy does."""


@dataclass(frozen=True, slots=True)
class TwoSteps:
    """Leads from the voxels of a target to those of a source that may be turned anyhow, in two steps.

    The first moves along the source's first axis alone, to the sheared plane in which a slice of the target
    lies; the second stays within that plane. Each axis is interpolated once, as in the decomposition of
    rotations by Catmull & Smith, 3-D transformations of images in scanline order (1980).
    """

    across: FloatArray
    """From voxels of a slice, 2, to those of the source's plane, 2."""
    drift: FloatArray
    """How far that plane's origin moves from one slice to the next, 2."""
    start: FloatArray
    """Source index of the target's first voxel, 3."""
    slope: FloatArray
    """How the first index changes over the plane, 2."""
    rise: float
    """How it changes from one slice to the next."""
    source: tuple[int, int, int]
    target: tuple[int, int, int]

    @classmethod
    def between(cls, source: Grid, target: Grid) -> TwoSteps:
        """Find the steps between two grids."""
        matrix, start = target.sampling_in(source)
        across, drift = matrix[1:, 1:], matrix[1:, 0]
        slope = matrix[0, 1:] @ np.linalg.inv(across)
        rise = float(matrix[0, 0] - slope @ drift)
        return cls(across, drift, start, slope, rise, source.shape, target.shape)

    def origin(self, number: int) -> FloatArray:
        """Where a slice's first voxel lies in the source's plane, 2."""
        origin: FloatArray = self.start[1:] + self.drift * number
        return origin

    def first_index(self, number: int) -> FloatArray:
        """First index in the source, PxS, of what a slice meets."""
        p, s = np.ogrid[: self.source[1], : self.source[2]]
        steps = self.slope[0] * (p - self.start[1]) + self.slope[1] * (s - self.start[2])
        index: FloatArray = np.clip(self.start[0] + self.rise * number + steps, 0, self.source[0] - 1)
        return index


def sample_slices(steps: TwoSteps, order: Literal[1, 3], sigma: FloatArray, array: Image) -> Image:
    """Sample on a grid that is turned anyhow, slice by slice."""
    array = ndimage.gaussian_filter(array, sigma, mode="nearest")
    pad = SPLINE_PADDING if order > 1 else 1
    array = np.pad(array, ((pad, pad), (0, 0), (0, 0)), mode="edge")
    if order > 1:
        array = ndimage.spline_filter1d(array, 3, 0, output=np.float32)
    rows, plane = array.reshape(-1), np.arange(array[0].size).reshape(array.shape[1:])
    sampled = np.empty(steps.target, dtype=np.float32)

    def fill(number: int) -> None:
        places, weights = taps(steps.first_index(number) + pad, order)
        there = np.zeros(array.shape[1:], dtype=np.float32)
        for place, weight in zip(places, weights, strict=True):
            there += rows[place * plane.size + plane] * weight
        ndimage.affine_transform(
            there,
            steps.across,
            offset=steps.origin(number),
            output=sampled[number],
            output_shape=steps.target[1:],
            order=order,
            mode="nearest",
        )

    for_each(range(steps.target[0]), fill)
    return sampled


def taps(places: FloatArray, order: Literal[1, 3]) -> tuple[NDArray[np.intp], Image]:
    """Give the samples on which splines at some places rest, along a new first axis, and what each counts."""
    ahead = np.arange(order + 1) - order // 2
    near = np.floor(places).astype(np.intp) + ahead.reshape(-1, *[1] * places.ndim)
    off = np.abs(places - near)
    if order == 1:
        weights = 1 - off
    else:
        weights = np.where(off < 1, 2 / 3 - off**2 + off**3 / 2, (2 - off) ** 3 / 6)
    return near, weights.astype(np.float32)
