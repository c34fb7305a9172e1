"""The faces between the inside and the outside of a mask: all that voxels say of the surface.

The surface crosses the line between two neighbouring voxel centres, one inside and one outside, somewhere
between them: it is known to within one voxel along that one axis, and not at all along the others. On thick
slices this differs tenfold between axes, which is why what is fitted to these faces weighs each by its own
axis.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from discometry.core.volume import Volume

__all__ = ["VoxelSurface", "voxel_surface"]

FloatArray = NDArray[np.float64]

_SMOOTHING_MM = 1.0
_LEAST_SMOOTHING_VOXELS = 0.6


@dataclass(frozen=True, slots=True)
class VoxelSurface:
    """Faces of a mask, n of them.

    ``points`` (n, 3) are the middles of the faces in mm along L, P, S from the centre of voxel (0, 0, 0);
    ``normals`` (n, 3) unit vectors to the outside, from the smoothed mask; ``axis`` (n,) the array axis that
    the face lies across; ``step_mm`` (n,) the voxel size along it; ``known_mm`` (n,) the part of that step
    along the normal; ``covers_mm2`` (n,) the face's area seen along the normal.
    """

    points: FloatArray
    normals: FloatArray
    axis: NDArray[np.intp]
    step_mm: FloatArray
    known_mm: FloatArray
    covers_mm2: FloatArray

    @property
    def area_mm2(self) -> float:
        """Area of the smooth surface.

        A face's part of it, seen along the normal, is what the surface has there of its component along the
        face's axis; the components' squares sum to one (Lenoir, Malgouyres and Revenu 1996).
        """
        return float(self.covers_mm2.sum())

    def thinned(self, most: int) -> VoxelSurface:
        """Keep every k-th face, so that about as many as asked for are left."""
        step = max(1, len(self.axis) // most)
        return VoxelSurface(*(getattr(self, item.name)[::step] for item in fields(self)))


def voxel_surface(mask: Volume, *, smoothing_mm: float = _SMOOTHING_MM) -> VoxelSurface:
    """Find the faces of a boolean mask; outside the grid nothing is inside.

    Parameters
    ----------
    mask
        Boolean volume.
    smoothing_mm
        Standard deviation of the Gaussian with which the mask is smoothed for the normals (never below
        0.6 voxel along an axis).
    """
    spacing = np.asarray(mask.grid.spacing_mm)
    inside = np.pad(np.asarray(mask.array, dtype=bool), 2)
    smooth = inside.astype(np.float32)
    for axis in range(3):
        kernel = _gaussian(inside.shape[axis], max(smoothing_mm / spacing[axis], _LEAST_SMOOTHING_VOXELS))
        smooth = np.moveaxis(np.tensordot(kernel, smooth, axes=(1, axis)), 0, axis)
    index, normals, axes = [], [], []
    for axis in range(3):
        near = np.nonzero(np.diff(inside.view(np.int8), axis=axis))
        far = tuple(i + (a == axis) for a, i in enumerate(near))
        middle = np.stack(near, axis=1) - 2.0
        middle[:, axis] += 0.5
        index.append(middle)
        normals.append(-(_gradient(smooth, near) + _gradient(smooth, far)) / spacing)
        axes.append(np.full(len(middle), axis))
    normal = np.concatenate(normals)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    across = np.concatenate(axes)
    step = spacing[across]
    # The array's axes are at right angles, so a normal's component along one is its cosine with it.
    cosine = np.abs(normal[np.arange(len(across)), across])
    return VoxelSurface(
        points=np.concatenate(index) @ mask.grid.affine[:3, :3].T,
        normals=normal @ mask.grid.direction.T,
        axis=across,
        step_mm=step,
        known_mm=cosine * step,
        covers_mm2=cosine * (spacing.prod() / step),
    )


def _gaussian(count: int, sigma: float) -> NDArray[np.float32]:
    """Matrix (count, count) that smooths a line of voxels."""
    offset = np.subtract.outer(np.arange(count), np.arange(count)) / sigma
    kernel = np.where(np.abs(offset) <= 2.5, np.exp(-0.5 * offset**2), 0.0).astype(np.float32)
    smoothing: NDArray[np.float32] = kernel / kernel[count // 2].sum()
    return smoothing


def _gradient(values: NDArray[np.float32], at: tuple[NDArray[np.intp], ...]) -> FloatArray:
    """Twice the central difference per voxel at the given voxels (n, 3); none lies on the array's border."""
    steps = []
    for axis in range(3):
        after = tuple(i + (a == axis) for a, i in enumerate(at))
        before = tuple(i - (a == axis) for a, i in enumerate(at))
        steps.append(values[after] - values[before])
    gradient: FloatArray = np.stack(steps, axis=1).astype(np.float64)
    return gradient
