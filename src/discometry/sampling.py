"""Sampling an array on a grid along the same axes: one axis at a time, as three matrix products."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from discometry.core.volume import Grid

__all__ = ["sample_along_axes", "smoothing_sigma"]


def sample_along_axes(
    array: NDArray[np.float32], source: Grid, target: Grid, *, order: Literal[1, 3], average: bool = False
) -> NDArray[np.float32]:
    """Sample an array by splines on a grid of the same axes; beyond its borders it goes on as it ends.

    The same as SciPy's ``affine_transform`` with mode ``nearest``, but quicker by an order of magnitude.

    Parameters
    ----------
    array
        Values on ``source``.
    source, target
        Grids of the same axes.
    order
        Degree of the splines.
    average
        Smooth sides that are finer than the target first (:func:`smoothing_sigma`).

    Returns
    -------
    ndarray
        Values on ``target``, float32.
    """
    step, start = target.sampling_in(source)
    sigma = smoothing_sigma(step) if average else np.zeros(3)
    # The axis that shrinks most comes first, so that the others have less to do.
    for axis in np.argsort(np.array(target.shape) / array.shape):
        weights = _weights(
            array.shape[axis], target.shape[axis], float(step[axis]), float(start[axis]), order, sigma[axis]
        )
        array = np.moveaxis(np.tensordot(weights, array, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(array, dtype=np.float32)


def smoothing_sigma(step: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the spread (voxels) of the Gaussian to average with before every ``step``-th voxel is taken."""
    sigma: NDArray[np.float64] = 0.4 * np.sqrt(np.maximum(step**2 - 1, 0))
    return sigma


def _weights(
    length: int, samples: int, step: float, start: float, order: Literal[1, 3], sigma: float
) -> NDArray[np.float32]:
    """Give what each of ``length`` voxels counts for each sample: what SciPy makes of lone ones."""
    ones = np.eye(length)
    if sigma:
        ones = ndimage.gaussian_filter1d(ones, sigma, axis=0, mode="nearest")
    weights: NDArray[np.float32] = ndimage.affine_transform(
        ones, [step, 1.0], offset=[start, 0.0], output_shape=(samples, length), order=order, mode="nearest"
    ).astype(np.float32)
    return weights
