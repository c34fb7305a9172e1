"""Sampling arrays on other grids.

Grids with the same first axis: as products with matrices made once; others by :mod:`discometry.slices`. Small
arrays that are laid into a large grid: only where the grid meets them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from discometry.core.volume import Grid
from discometry.slices import SPLINE_PADDING, TwoSteps, sample_slices, taps

__all__ = ["Box", "box_that_meets", "linear_within", "sampler", "smoothing_sigma", "voxels_within"]

FloatArray = NDArray[np.float64]
Image = NDArray[np.float32]
Box = tuple[slice, slice, slice]


def sampler(
    source: Grid, target: Grid, *, order: Literal[1, 3], voxel_mm: Sequence[float] | None = None
) -> Callable[[Image], Image]:
    """Give what samples arrays by splines on a grid that may be turned.

    An array goes on beyond its border as it ends. Where both grids have the same first axis, the same as
    SciPy's ``affine_transform`` with mode ``nearest``, but quicker by an order of magnitude. On other grids
    values are sampled along the first axis before they are sampled across it (:mod:`discometry.slices`).

    Parameters
    ----------
    source, target
        Grids with the same handedness, turned against each other by less than a right angle.
    order
        Degree of the splines.
    voxel_mm
        Sides of voxels over which finer ones are averaged first (:func:`smoothing_sigma`).

    Returns
    -------
    callable
        Takes values on ``source``, gives them on ``target``, both float32.
    """
    matrix, start = target.sampling_in(source)
    sigma = np.zeros(3) if voxel_mm is None else smoothing_sigma(np.array(voxel_mm) / source.spacing_mm)
    if np.abs([*matrix[0, 1:], *matrix[1:, 0]]).max() > 1e-9:
        return partial(sample_slices, TwoSteps.between(source, target), order, sigma)
    turned = np.abs(matrix[[1, 2], [2, 1]]).max() > 1e-9
    steps: dict[int, Callable[[Image], Image]] = {
        axis: partial(
            _along,
            axis,
            _weights(
                source.shape[axis],
                target.shape[axis],
                float(matrix[axis, axis]),
                float(start[axis]),
                order,
                sigma[axis],
            ),
        )
        for axis in ([0] if turned else [0, 1, 2])
    }
    if turned:
        pad = SPLINE_PADDING if order > 1 else 0
        plane = _plane_weights(
            matrix[1:, 1:], start[1:] + pad, np.array(source.shape[1:]) + 2 * pad, target.shape[1:], order
        )
        steps[1] = partial(_across, plane, target.shape[1:], sigma[1:], pad)
    # What shrinks most comes first, so that the others have less to do.
    first = sorted(steps, key=lambda axis: target.shape[axis] / source.shape[axis])

    def sample(array: Image) -> Image:
        for axis in first:
            array = steps[axis](array)
        return np.ascontiguousarray(array, dtype=np.float32)

    return sample


def voxels_within(grid: Grid, other: Grid, *, margin_mm: float = 0.0) -> NDArray[np.bool_]:
    """Tell which voxels of a grid, LxPxS, lie within another; a margin counts what lies a little outside."""
    matrix, start = grid.sampling_in(other)
    middle = (np.array(other.shape) - 1) / 2
    reach = np.array(other.shape) / 2 + margin_mm / np.array(other.spacing_mm)
    p, s = np.ogrid[: grid.shape[1], : grid.shape[2]]
    inside = np.ones(grid.shape, dtype=bool)
    for number, plane in enumerate(inside):  # by slices: all indices at once take much memory
        for axis in range(3):
            index = start[axis] + matrix[axis, 0] * number + matrix[axis, 1] * p + matrix[axis, 2] * s
            plane &= np.abs(index - middle[axis]) <= reach[axis]
    return inside


def box_that_meets(
    source: tuple[int, ...],
    matrix: FloatArray,
    offset: FloatArray,
    shape: tuple[int, int, int],
    *,
    margin: int = 0,
) -> Box:
    """Give the part of a grid, with a margin, whose samples fall into an array.

    Parameters
    ----------
    source
        Sides of the array.
    matrix, offset
        Voxel n of the grid lies at index ``offset + matrix @ n`` of the array.
    shape
        Sides of the grid.
    margin
        Voxels of the grid around that part.
    """
    ends = np.array(list(np.ndindex(2, 2, 2))) * (np.array(source) - 1) - offset
    corners = ends @ np.linalg.inv(matrix).T
    low = np.clip(np.floor(corners.min(axis=0)).astype(int) - margin, 0, shape)
    high = np.clip(np.ceil(corners.max(axis=0)).astype(int) + margin + 1, low, shape)
    i, j, k = map(slice, low.tolist(), high.tolist())
    return i, j, k


def linear_within(
    box: Box, array: NDArray[Any], matrix: FloatArray, offset: FloatArray, *, outside: float
) -> NDArray[Any]:
    """Interpolate an array linearly at the voxels of a box of a grid; beyond the array stands ``outside``.

    ``matrix`` and ``offset`` are those of :func:`box_that_meets`.
    """
    low = np.array([side.start for side in box])
    sampled: NDArray[Any] = ndimage.affine_transform(
        array,
        matrix,
        offset=offset + matrix @ low,
        output_shape=tuple(side.stop - side.start for side in box),
        order=1,
        mode="constant",
        cval=outside,
    )
    return sampled


def smoothing_sigma(step: FloatArray) -> FloatArray:
    """Give the spread (voxels) of the Gaussian to average with before every ``step``-th voxel is taken."""
    sigma: FloatArray = 0.4 * np.sqrt(np.maximum(step**2 - 1, 0))
    return sigma


def _along(axis: int, weights: Image, array: Image) -> Image:
    """Sample along one axis."""
    return np.moveaxis(np.tensordot(weights, array, axes=(1, axis)), 0, axis)


def _weights(
    length: int, samples: int, step: float, start: float, order: Literal[1, 3], sigma: float
) -> Image:
    """Give what each of ``length`` voxels counts for each sample: what SciPy makes of lone ones."""
    ones = np.eye(length)
    if sigma:
        ones = ndimage.gaussian_filter1d(ones, sigma, axis=0, mode="nearest")
    weights: Image = ndimage.affine_transform(
        ones, [step, 1.0], offset=[start, 0.0], output_shape=(samples, length), order=order, mode="nearest"
    ).astype(np.float32)
    return weights


def _across(
    weights: sparse.csr_array, shape: tuple[int, int], sigma: FloatArray, pad: int, array: Image
) -> Image:
    """Sample in the plane of the last two axes; ``pad`` is zero where the splines go through the voxels."""
    array = ndimage.gaussian_filter(array, (0, *sigma), mode="nearest")
    if pad:
        array = np.pad(array, ((0, 0), (pad, pad), (pad, pad)), mode="edge")
        for axis in (1, 2):
            array = ndimage.spline_filter1d(array, 3, axis, output=np.float32)
    sampled = weights @ np.ascontiguousarray(array.reshape(len(array), -1).T)
    return np.moveaxis(sampled.reshape(*shape, len(array)), -1, 0)


def _plane_weights(
    matrix: FloatArray,
    start: FloatArray,
    source: NDArray[np.intp],
    target: tuple[int, int],
    order: Literal[1, 3],
) -> sparse.csr_array:
    """Give what each spline of a plane, PxS, counts for each place of a turned one."""
    places = np.moveaxis(np.indices(target), 0, -1) @ matrix.T + start
    near, weights = taps(np.clip(places, 0, source - 1), order)
    # Taps outside lie where the splines are flat, or count nothing.
    near = np.clip(near, 0, source - 1)
    data = (weights[:, None, ..., 0] * weights[None, :, ..., 1]).reshape((order + 1) ** 2, -1)
    columns = (near[:, None, ..., 0] * source[1] + near[None, :, ..., 1]).reshape(data.shape)
    rows = np.arange(0, data.size + 1, (order + 1) ** 2)
    return sparse.csr_array(
        (data.T.ravel(), columns.T.ravel().astype(np.int32), rows),
        shape=(target[0] * target[1], int(np.prod(source))),
    )
