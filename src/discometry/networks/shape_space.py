"""Fields of discs in a frame of their own: sampled from cubes, interpolated, and laid back into cubes.

A disc is the signed distance to its boundary, mm, positive inside and cut off at 4 mm. Its pose is where its
frame stands in the cube; its sizes stretch the field along the frame's axes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse

from discometry.core.records import CUBE_SHAPE, CUBE_SPACING_MM
from discometry.sampling import box_that_meets, linear_within
from discometry.signed_distance import signed_distance

__all__ = [
    "CANONICAL_GRID",
    "CUBE_GRID",
    "FieldGrid",
    "Placement",
    "cube_field",
    "cube_points_mm",
    "moments_placement",
]

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

_CUT_MM = 4.0
_CUBE_MIDDLE = (np.array(CUBE_SHAPE) - 1) / 2
_CUBE_SPACING = np.array(CUBE_SPACING_MM)


@dataclass(frozen=True, slots=True)
class FieldGrid:
    """A grid about the origin of a disc's frame: voxels and their size along left, posterior, superior."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    @property
    def middle(self) -> FloatArray:
        """Index (3,) of the frame's origin."""
        return (np.array(self.shape) - 1) / 2

    def points_mm(self) -> FloatArray:
        """Places (n, 3) of all voxels."""
        points: FloatArray = (np.argwhere(np.ones(self.shape, dtype=bool)) - self.middle) * self.spacing_mm
        return points

    def interpolation(self, points_mm: FloatArray) -> tuple[sparse.csr_array, list[sparse.csr_array]]:
        """Give the matrix (m, n) that interpolates a field (n,) at points (m, 3), and those of its slopes."""
        index = np.clip(points_mm / self.spacing_mm + self.middle, 0, np.array(self.shape) - 1.001)
        base = index.astype(np.intp)
        share = index - base
        weight = np.stack([1 - share, share])
        slope = np.array([-1.0, 1.0])
        corners = np.array([(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)])
        places = (base[:, None, :] + corners) @ [self.shape[1] * self.shape[2], self.shape[2], 1]
        x, y, z = (weight[corners[:, axis], :, axis].T for axis in range(3))
        dx, dy, dz = (slope[corners[:, axis]] / self.spacing_mm[axis] for axis in range(3))
        ends = np.arange(len(points_mm) + 1) * 8

        def matrix(values: FloatArray) -> sparse.csr_array:
            shape = (len(points_mm), math.prod(self.shape))
            return sparse.csr_array((values.ravel(), places.ravel(), ends), shape=shape)

        return matrix(x * y * z), [matrix(dx * y * z), matrix(x * dy * z), matrix(x * y * dz)]


CANONICAL_GRID = FieldGrid((34, 28, 30), (2.0, 2.0, 1.0))
"""For discs turned into their own frame and brought to mean size: finest along the height."""

CUBE_GRID = FieldGrid((48, 44, 36), CUBE_SPACING_MM)
"""The middle of the cube, voxel on voxel: for discs left as they lie."""


@dataclass(frozen=True, slots=True, eq=False)
class Placement:
    """Where a disc's frame stands in its cube, and how large the disc is along it.

    ``origin_mm`` (3,) from the cube's middle; ``axes`` (3, 3), columns towards left, posterior and superior;
    ``sizes`` (3,) along them, 1 for the mean disc.
    """

    origin_mm: FloatArray
    axes: FloatArray
    sizes: FloatArray

    def sample(self, field: FloatArray, grid: FieldGrid) -> FloatArray:
        """Sample a cube's field on a grid of the frame; (n,)."""
        step = self.axes * self.sizes * grid.spacing_mm / _CUBE_SPACING[:, None]
        start = self.origin_mm / _CUBE_SPACING + _CUBE_MIDDLE - step @ grid.middle
        sampled: FloatArray = ndimage.affine_transform(
            field, step, offset=start, output_shape=grid.shape, order=1, mode="nearest"
        ).ravel()
        return sampled

    def lay(self, field: FloatArray, grid: FieldGrid) -> FloatArray:
        """Lay a field (n,) of the frame into a cube, 64x64x64."""
        step = (self.axes / self.sizes).T * _CUBE_SPACING / np.array(grid.spacing_mm)[:, None]
        offset = -((self.axes / self.sizes).T @ self.origin_mm) / grid.spacing_mm + grid.middle
        start = offset - step @ _CUBE_MIDDLE
        near = box_that_meets(grid.shape, step, start, CUBE_SHAPE)
        laid = np.full(CUBE_SHAPE, -_CUT_MM)
        laid[near] = linear_within(near, field.reshape(grid.shape), step, start, outside=-_CUT_MM)
        return laid


def cube_points_mm(index: NDArray[np.intp]) -> FloatArray:
    """Places (n, 3) of voxels of a cube, mm from its middle."""
    points: FloatArray = (index - _CUBE_MIDDLE) * _CUBE_SPACING
    return points


def cube_field(cube: BoolArray) -> FloatArray:
    """Signed distance, mm, of a cube's voxels to the boundary of the disc in it, cut off at 4 mm."""
    field = np.full(CUBE_SHAPE, -_CUT_MM)
    inside = np.argwhere(cube)
    if len(inside):
        margin = np.ceil(_CUT_MM / _CUBE_SPACING).astype(int) + 1
        low = np.maximum(inside.min(axis=0) - margin, 0)
        box = tuple(slice(a, b) for a, b in zip(low, inside.max(axis=0) + 1 + margin, strict=True))
        field[box] = np.clip(signed_distance(cube[box], CUBE_SPACING_MM), -_CUT_MM, _CUT_MM)
    return field


def moments_placement(cube: BoolArray, mean_mm: FloatArray) -> Placement:
    """Place a frame by the voxels' centroid and principal axes.

    Parameters
    ----------
    cube
        A disc cube.
    mean_mm
        Standard deviation (3,) along its own axes of the voxels of a disc of size 1.
    """
    inside = np.argwhere(cube)
    if len(inside) == 0:
        return Placement(np.zeros(3), np.eye(3), np.ones(3))
    points = cube_points_mm(inside)
    origin = points.mean(axis=0)
    moments = (points - origin).T @ (points - origin) / len(points)
    _, found = np.linalg.eigh(moments)
    # The thinnest axis, unless it is far from upright, as in a slab thinner than its disc is high.
    upright = 0 if abs(found[2, 0]) >= 0.5 else int(np.argmax(np.abs(found[2])))
    superior = found[:, upright] * math.copysign(1.0, found[2, upright])
    across = np.delete(found, upright, axis=1)
    left = across[:, np.argmax(np.abs(across[0]))]
    left = left * math.copysign(1.0, left[0])
    axes = np.stack([left, np.cross(superior, left), superior], axis=1)
    spread = np.sqrt(np.maximum(np.einsum("ia,ij,ja->a", axes, moments, axes), 0.25))
    return Placement(origin, axes, spread / mean_mm)
