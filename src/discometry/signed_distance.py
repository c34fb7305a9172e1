"""Masks on other grids by way of a signed distance, which keeps their volume."""

from __future__ import annotations

import edt
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from discometry.core.errors import LabelError
from discometry.core.records import CUBE_SHAPE, CUBE_SPACING_MM
from discometry.core.volume import Grid, Volume

__all__ = ["disc_cube", "fits_cube", "resample_mask", "signed_distance"]

FloatArray = NDArray[np.float64]

_FAR_MM = 1e3


def signed_distance(mask: Volume) -> Volume:
    """Give the distance (mm, float32) to the border of a mask: positive inside, zero midway between voxel centres.

    Voxels off the grid count as outside.

    Raises
    ------
    LabelError
        If the mask is empty.
    """
    inside = np.ascontiguousarray(np.pad(mask.array != 0, 1))
    if not inside.any():
        raise LabelError(
            "an empty mask", expected="at least one voxel", action="give the mask of a disc that is there"
        )
    spacing = mask.grid.spacing_mm
    distance = edt.edt(inside, anisotropy=spacing) - edt.edt(~inside, anisotropy=spacing)
    return mask.with_array(distance[1:-1, 1:-1, 1:-1])


def resample_mask(mask: Volume, grid: Grid) -> Volume:
    """Put a mask (boolean) on another grid; its volume stays the same to within half a voxel of that grid.

    The signed distance is interpolated linearly, and the level at which it is cut chosen for the volume. Where the
    mask reaches beyond the grid, it is cut at zero instead.

    Raises
    ------
    LabelError
        If the mask is empty.
    """
    source = mask.oriented()
    index = np.argwhere(source.array)
    if len(index) == 0:
        raise LabelError(
            "an empty mask", expected="at least one voxel", action="give the mask of a disc that is there"
        )
    # A margin wide enough that every voxel of the target that can be inside has distances all around it.
    margin = 1 + np.ceil(np.linalg.norm(grid.spacing_mm) / np.asarray(source.grid.spacing_mm)).astype(int)
    low, high = index.min(axis=0), index.max(axis=0)
    box = np.pad(
        source.array[tuple(slice(a, b + 1) for a, b in zip(low, high, strict=True))] != 0,
        [(int(m), int(m)) for m in margin],
    )
    distance = signed_distance(Volume(Grid.from_spacing(box.shape, source.grid.spacing_mm), box)).array
    corners = np.array(np.meshgrid(*zip(low - 0.5, high + 0.5, strict=True))).reshape(3, -1).T
    reach = grid.to_index(source.grid.to_world(corners))
    first = np.clip(np.floor(reach.min(axis=0)).astype(int), 0, grid.shape)
    last = np.clip(np.ceil(reach.max(axis=0)).astype(int) + 1, 0, grid.shape)
    window = tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    array = np.zeros(grid.shape, dtype=bool)
    target = np.moveaxis(np.mgrid[window], 0, -1)
    if target.size == 0:
        return Volume(grid, array)
    at = source.grid.to_index(grid.to_world(target)) - low + margin
    sampled = map_coordinates(distance, np.moveaxis(at, -1, 0), order=1, cval=-_FAR_MM, output=np.float32)
    count = round(len(index) * source.grid.voxel_volume_mm3 / grid.voxel_volume_mm3)
    whole = (reach >= -0.5).all() and (reach <= np.array(grid.shape) - 0.5).all()
    if whole and 0 < count < sampled.size:
        level = np.partition(sampled.ravel(), sampled.size - count)[sampled.size - count]
    else:
        level = 0.0
    array[window] = sampled >= level
    return Volume(grid, array)


def disc_cube(mask: Volume) -> Volume:
    """Give a disc as the cube that the autoencoder sees: boolean 64x64x64 at 1.4x1.2x1.5 mm, axes L, P, S.

    The cube is centred on the centroid of the mask; what reaches beyond it is cut off.

    Raises
    ------
    LabelError
        If the mask is empty.
    """
    return resample_mask(mask, _cube_grid(mask))


def fits_cube(mask: Volume) -> bool:
    """Tell whether a mask fits into its :func:`disc_cube`.

    Raises
    ------
    LabelError
        If the mask is empty.
    """
    grid = _cube_grid(mask)
    reach = grid.to_index(mask.grid.to_world(np.argwhere(mask.array)))
    return bool((reach >= -0.5).all() and (reach <= np.array(CUBE_SHAPE) - 0.5).all())


def _cube_grid(mask: Volume) -> Grid:
    source = mask.oriented()
    index = np.argwhere(source.array)
    if len(index) == 0:
        raise LabelError(
            "an empty mask", expected="at least one voxel", action="give the mask of a disc that is there"
        )
    half = 0.5 * (np.array(CUBE_SHAPE) - 1) * CUBE_SPACING_MM
    x, y, z = source.grid.to_world(index.mean(axis=0)) - half
    return Grid.from_spacing(CUBE_SHAPE, CUBE_SPACING_MM, origin_mm=(x, y, z))
