"""A disc's mask on another grid by way of a signed distance, which keeps its volume."""

from __future__ import annotations

from collections.abc import Sequence

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from discometry.core.errors import LabelError
from discometry.core.records import CUBE_SHAPE, CUBE_SPACING_MM
from discometry.core.volume import Grid, Volume
from discometry.sampling import box_that_meets, linear_within

__all__ = ["disc_cube", "fits_cube", "signed_distance"]

FloatArray = NDArray[np.float64]


def signed_distance(inside: NDArray[np.bool_], spacing_mm: Sequence[float]) -> NDArray[np.float32]:
    """Distance of every voxel to the nearest centre of the other kind, mm; positive inside."""
    inside = np.ascontiguousarray(inside)
    kinds = np.where(inside, np.uint8(1), np.uint8(2))  # edt measures to the nearest voxel of another label
    distance: NDArray[np.float32] = edt.edt(kinds, anisotropy=tuple(spacing_mm))
    return np.where(inside, distance, -distance)


def fits_cube(points_mm: FloatArray) -> bool:
    """Tell whether voxels at these places (n, 3; mm along L, P, S) fit into a :func:`disc_cube`."""
    half = 0.5 * np.array(CUBE_SHAPE) * CUBE_SPACING_MM
    return bool((np.abs(points_mm - points_mm.mean(axis=0)).max(axis=0) <= half).all())


def disc_cube(mask: Volume) -> Volume:
    """Resample a disc's mask to its 64x64x64 cube at 1.4x1.2x1.5 mm, axes L, P, S, centred on its centroid.

    The signed distance to the mask's boundary is interpolated, and cut at the level that keeps the volume;
    the level stays within a fraction of a voxel of zero. (Interpolating the mask itself and rounding up, as
    the paper's code does, adds about half the volume.)

    Parameters
    ----------
    mask
        Boolean, at least one voxel set, any axes.

    Returns
    -------
    Volume
        Boolean; its volume is the mask's to within a voxel, unless the disc does not fit and is cropped.

    Raises
    ------
    LabelError
        If the mask is empty.
    """
    source = mask.oriented()
    voxels = np.argwhere(source.array)
    if len(voxels) == 0:
        raise LabelError("an empty mask", expected="a disc's voxels", action="give the mask of one disc")
    low, linear, spacing = voxels.min(axis=0), source.grid.affine[:3, :3], np.array(source.grid.spacing_mm)
    points = (voxels - low) @ linear.T
    origin = points.mean(axis=0) - 0.5 * (np.array(CUBE_SHAPE) - 1) * CUBE_SPACING_MM
    # Distances must reach as far around the disc as the nearest voxel of the cube may lie.
    margin = 1 + np.ceil(max(CUBE_SPACING_MM) / spacing).astype(int)
    inside = np.zeros(np.ptp(voxels, axis=0) + 1 + 2 * margin, dtype=bool)
    inside[tuple((voxels - low + margin).T)] = True
    distance = signed_distance(inside, spacing.tolist())
    x, y, z = source.grid.to_world(low.astype(np.float64)) + origin
    cube = Grid.from_spacing(CUBE_SHAPE, CUBE_SPACING_MM, origin_mm=(x, y, z))
    to_index = np.linalg.inv(linear)
    matrix, offset = to_index @ cube.affine[:3, :3], to_index @ origin + margin
    # Smoothing reaches four voxels.
    near = box_that_meets(distance.shape, matrix, offset, CUBE_SHAPE, margin=4)
    field = linear_within(near, distance, matrix, offset, outside=float(distance.min()))
    level = np.nextafter(np.float32(0), np.float32(1))
    if fits_cube(points):
        # A little of the smoothed distance breaks the ties of symmetric masks.
        field += 1e-3 * ndimage.gaussian_filter(field, 1.0)
        wanted = max(1, round(len(voxels) * source.grid.voxel_volume_mm3 / cube.voxel_volume_mm3))
        level = np.partition(field.ravel(), -wanted)[-wanted]
    found = np.zeros(CUBE_SHAPE, dtype=bool)
    found[near] = field >= level
    return Volume(cube, found)
