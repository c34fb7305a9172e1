"""Voxel arrays with their place in the world.

World space is millimetres in the LPS frame (x to the patient's left, y to posterior, z to superior),
as SimpleITK gives it. Arrays are indexed ``[i, j, k]`` in the order of the affine's columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from discometry.core.errors import GridError

__all__ = ["Grid", "Volume"]

FloatArray = NDArray[np.float64]

_AXIS_NAMES = (("R", "L"), ("A", "P"), ("I", "S"))


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid of voxels in world millimetres.

    Parameters
    ----------
    shape
        Number of voxels along each of the three array axes.
    affine
        4x4 matrix from voxel index (i, j, k, 1) to the LPS position of the voxel's centre in mm.

    Raises
    ------
    GridError
        If the shape is not three positive integers or the affine is not finite and invertible.

    Examples
    --------
    >>> grid = Grid.from_spacing((4, 5, 6), (2.0, 1.0, 1.0))
    >>> grid.axis_codes
    'LPS'
    >>> grid.voxel_volume_mm3
    2.0
    """

    shape: tuple[int, int, int]
    affine: FloatArray

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise GridError(
                f"a grid of shape {tuple(self.shape)}",
                expected="three axes of at least one voxel",
                action="give a 3-D volume",
            )
        affine = np.array(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GridError(
                "an affine that is not a finite 4x4 matrix",
                expected="finite spacing, origin and direction",
                action="repair the image header",
            )
        if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise GridError(
                "voxels of no volume (zero spacing or parallel axes)",
                expected="positive spacing along three independent axes",
                action="repair the image header",
            )
        affine.flags.writeable = False
        object.__setattr__(self, "affine", affine)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))

    @classmethod
    def from_spacing(
        cls,
        shape: Sequence[int],
        spacing_mm: Sequence[float],
        *,
        origin_mm: Sequence[float] = (0.0, 0.0, 0.0),
        direction: FloatArray | None = None,
    ) -> Grid:
        """Build a grid from spacing (mm), the first voxel's centre (LPS mm) and a 3x3 direction matrix."""
        affine = np.eye(4)
        axes = np.eye(3) if direction is None else np.asarray(direction, dtype=np.float64)
        affine[:3, :3] = axes * np.asarray(spacing_mm, dtype=np.float64)
        affine[:3, 3] = origin_mm
        i, j, k = shape
        return cls((i, j, k), affine)

    @cached_property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxel centres along each array axis, mm."""
        a, b, c = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(a), float(b), float(c)

    @cached_property
    def direction(self) -> FloatArray:
        """Unit vectors of the array axes as columns, 3x3, LPS."""
        axes: FloatArray = self.affine[:3, :3] / np.asarray(self.spacing_mm)
        return axes

    @property
    def origin_mm(self) -> tuple[float, float, float]:
        """LPS position of the centre of voxel (0, 0, 0), mm."""
        x, y, z = self.affine[:3, 3]
        return float(x), float(y), float(z)

    @property
    def corners_mm(self) -> FloatArray:
        """LPS positions of the eight corners of the box that the voxels fill, 8x3, mm."""
        return self.to_world(np.array(list(np.ndindex(2, 2, 2))) * self.shape - 0.5)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm3."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @cached_property
    def world_axes(self) -> tuple[int, int, int]:
        """For each array axis, the world axis (0 = L, 1 = P, 2 = S) it runs along, each used once."""
        weights = np.abs(self.direction)
        found = [-1, -1, -1]
        for _ in range(3):
            world, axis = np.unravel_index(int(np.argmax(weights)), weights.shape)
            found[int(axis)] = int(world)
            weights = weights.copy()
            weights[world, :] = -1.0
            weights[:, axis] = -1.0
        return found[0], found[1], found[2]

    @property
    def axis_codes(self) -> str:
        """Direction each array axis points to, such as ``"LPS"``."""
        return "".join(
            _AXIS_NAMES[world][int(self.direction[world, axis] > 0)]
            for axis, world in enumerate(self.world_axes)
        )

    def stepped(
        self,
        shape: Sequence[int],
        *,
        start: Sequence[float] = (0.0, 0.0, 0.0),
        step: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> Grid:
        """Give the grid of a shape whose voxel n lies at index ``start + step * n`` of this one."""
        affine = self.affine.copy()
        affine[:3, :3] *= np.asarray(step)
        affine[:3, 3] = self.to_world(np.asarray(start))
        i, j, k = shape
        return Grid((i, j, k), affine)

    def to_world(self, index: FloatArray) -> FloatArray:
        """Map voxel indices (..., 3) to LPS positions (..., 3) in mm."""
        points: FloatArray = np.asarray(index, dtype=np.float64) @ self.affine[:3, :3].T + self.affine[:3, 3]
        return points

    def to_index(self, points_lps: FloatArray) -> FloatArray:
        """Map LPS positions (..., 3) in mm to fractional voxel indices (..., 3)."""
        inverse = np.linalg.inv(self.affine[:3, :3])
        index: FloatArray = (np.asarray(points_lps, dtype=np.float64) - self.affine[:3, 3]) @ inverse.T
        return index

    def sampling_in(self, source: Grid) -> tuple[FloatArray, FloatArray]:
        """Give the matrix (3x3) and start (3,) that lead to the voxel indices of a ``source``.

        Voxel n of this grid lies at index ``start + matrix @ n`` of the source.
        """
        matrix: FloatArray = np.linalg.inv(source.affine[:3, :3]) @ self.affine[:3, :3]
        return matrix, source.to_index(np.array(self.origin_mm))

    def same_as(self, other: Grid, *, tolerance_mm: float = 1e-3) -> bool:
        """Tell whether both grids have the same shape and corners that agree within ``tolerance_mm``."""
        if self.shape != other.shape:
            return False
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape])).reshape(3, -1).T
        return bool(np.abs(self.to_world(corners) - other.to_world(corners)).max() <= tolerance_mm)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Grid):
            return NotImplemented
        return self.shape == other.shape and np.array_equal(self.affine, other.affine)

    def __hash__(self) -> int:
        return hash((self.shape, self.affine.tobytes()))


@dataclass(frozen=True, eq=False)
class Volume:
    """An array on a grid.

    Parameters
    ----------
    grid
        Where the voxels lie.
    array
        Values of shape ``grid.shape``; any dtype.

    Raises
    ------
    GridError
        If the array's shape is not the grid's.
    """

    grid: Grid
    array: NDArray[Any]

    def __post_init__(self) -> None:
        if self.array.shape != self.grid.shape:
            raise GridError(
                f"an array of shape {self.array.shape} on a grid of shape {self.grid.shape}",
                expected="equal shapes",
                action="give the array the shape of its grid",
            )

    def with_array(self, array: NDArray[Any]) -> Volume:
        """Put another array of the same shape on this volume's grid."""
        return Volume(self.grid, array)

    def transposed(self, axes: Sequence[int]) -> Volume:
        """Permute the array axes, the affine following; every voxel keeps its place in the world."""
        order = list(axes)
        affine = self.grid.affine.copy()
        affine[:, :3] = affine[:, order]
        i, j, k = (self.grid.shape[a] for a in order)
        return Volume(Grid((i, j, k), affine), self.array.transpose(order))

    def flipped(self, axis: int) -> Volume:
        """Reverse one array axis, the affine following; every voxel keeps its place in the world."""
        affine = self.grid.affine.copy()
        affine[:3, 3] += affine[:3, axis] * (self.grid.shape[axis] - 1)
        affine[:3, axis] *= -1
        return Volume(Grid(self.grid.shape, affine), np.flip(self.array, axis))

    def oriented(self) -> Volume:
        """Permute and flip the axes so that they run closest to L, P, S; a view, nothing is resampled."""
        worlds = self.grid.world_axes
        turned = self.transposed([worlds.index(world) for world in range(3)])
        for axis in range(3):
            if turned.grid.direction[axis, axis] < 0:
                turned = turned.flipped(axis)
        return turned

    def like(self, grid: Grid) -> Volume:
        """Permute and flip an :meth:`oriented` volume back to the axes of ``grid``, its origin.

        Raises
        ------
        GridError
            If ``grid`` is not a permutation and flip of this volume's grid.
        """
        worlds = grid.world_axes
        turned = self.transposed(list(worlds))
        for axis in range(3):
            if float(turned.grid.direction[:, axis] @ grid.direction[:, axis]) < 0:
                turned = turned.flipped(axis)
        if not turned.grid.same_as(grid):
            raise GridError(
                "a volume whose voxels are not those of the target grid",
                expected="the same voxels in another axis order",
                action="resample the volume first",
            )
        return Volume(grid, turned.array)

    def cropped(self, lower: Sequence[int], upper: Sequence[int]) -> Volume:
        """Cut out voxels ``lower <= index < upper``, clipped to the grid, each staying in its place."""
        low = [max(0, int(a)) for a in lower]
        high = [min(n, int(b)) for n, b in zip(self.grid.shape, upper, strict=True)]
        window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        array = self.array[window]
        return Volume(self.grid.stepped(array.shape, start=low), array)
