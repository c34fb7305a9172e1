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
    along the normal; ``count`` (n,) how many faces it stands for; ``covers_mm2`` (n,) their area seen along
    the normal, < 0 for those that look inwards, so that ragged masks gain no area.
    """

    points: FloatArray
    normals: FloatArray
    axis: NDArray[np.intp]
    step_mm: FloatArray
    known_mm: FloatArray
    count: FloatArray
    covers_mm2: FloatArray

    @property
    def area_mm2(self) -> float:
        """Area of the smooth surface.

        A face's part of it, seen along the normal, is what the surface has there of its component along the
        face's axis; the components' squares sum to one (Lenoir, Malgouyres and Revenu 1996).
        """
        return float(self.covers_mm2.sum())

    @property
    def shared(self) -> FloatArray:
        """How many faces that are fitted to err together (n,).

        Faces across thick slices do over whole patches: there is one independent error per square of the
        slice's thickness.
        """
        shared: FloatArray = (self.step_mm / self.step_mm.min()) ** 2 / self.count
        return shared

    def thinned(self, most: int) -> VoxelSurface:
        """Keep every k-th face, so that about as many as asked for are left.

        k is odd, as the two sides of a flat disc take turns.
        """
        step = len(self.axis) // most | 1
        return VoxelSurface(*(getattr(self, item.name)[::step] for item in fields(self)))


def voxel_surface(mask: Volume, *, smoothing_mm: float = _SMOOTHING_MM) -> VoxelSurface:
    """Find the faces of a boolean mask; outside the grid nothing is inside.

    Of the many faces across thick slices, which say little, every k-th stands for all.

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
    first, second, third = (
        _gaussian(count, max(smoothing_mm / size, _LEAST_SMOOTHING_VOXELS))
        for count, size in zip(inside.shape, spacing, strict=True)
    )
    smooth = second @ (inside.astype(np.float32) @ third.T)
    smooth = (first @ smooth.reshape(len(first), -1)).reshape(smooth.shape)
    flat = inside.ravel()  # The margin keeps the last voxel of a line from meeting the first of the next.
    index, normals, axes, counts, outward = [], [], [], [], []
    for axis in range(3):
        every = int(spacing[axis] / spacing.min() / 2.0) | 1
        stride = _strides(inside.shape)[axis]
        near = np.flatnonzero(flat[stride:] != flat[:-stride])[::every]
        middle = np.stack(np.unravel_index(near, inside.shape), axis=1) - 2.0
        middle[:, axis] += 0.5
        index.append(middle)
        normals.append(-(_gradient(smooth, near) + _gradient(smooth, near + stride)) / spacing)
        axes.append(np.full(len(middle), axis))
        outward.append(np.where(flat[near], 1.0, -1.0))
        counts.append(np.full(len(middle), float(every)))
    normal = np.concatenate(normals)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    across, count = np.concatenate(axes), np.concatenate(counts)
    step = spacing[across]
    # The array's axes are at right angles, so a normal's component along one is its cosine with it.
    cosine = normal[np.arange(len(across)), across]
    return VoxelSurface(
        points=np.concatenate(index) @ mask.grid.affine[:3, :3].T,
        normals=normal @ mask.grid.direction.T,
        axis=across,
        step_mm=step,
        known_mm=np.abs(cosine) * step,
        count=count,
        covers_mm2=cosine * np.concatenate(outward) * (spacing.prod() / step) * count,
    )


def _gaussian(count: int, sigma: float) -> NDArray[np.float32]:
    """Matrix (count, count) that smooths a line of voxels."""
    offset = np.subtract.outer(np.arange(count), np.arange(count)) / sigma
    kernel = np.where(np.abs(offset) <= 2.5, np.exp(-0.5 * offset**2), 0.0).astype(np.float32)
    smoothing: NDArray[np.float32] = kernel / kernel[count // 2].sum()
    return smoothing


def _gradient(values: NDArray[np.float32], at: NDArray[np.intp]) -> FloatArray:
    """Twice the central difference per voxel at flat places (n, 3); none lies on the array's border."""
    flat = values.ravel()
    steps = [flat[at + stride] - flat[at - stride] for stride in _strides(values.shape)]
    gradient: FloatArray = np.stack(steps, axis=1).astype(np.float64)
    return gradient


def _strides(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Give the steps between neighbours along each axis in a flat array."""
    return shape[1] * shape[2], shape[2], 1
