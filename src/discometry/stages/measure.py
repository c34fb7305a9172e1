"""Measure a disc: height, widths, angles, wedge and volume in mm and degrees, from its mask.

Volume is the voxels' own, which is unbiased. Height, widths, angles and wedge come from a smooth shape fitted
to the mask in the disc's own frame (:mod:`discometry.core.disc_shape`), because a voxel staircase is as
coarse as the thickest slice. The ``paper_`` group counts voxels, as the paper does.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from discometry.core.disc_shape import fit_disc_shape
from discometry.core.records import Disc, Geometry
from discometry.core.shape_measures import shape_measures
from discometry.core.volume import Volume
from discometry.core.voxel_surface import voxel_surface

__all__ = ["measure", "measure_mask"]

FloatArray = NDArray[np.float64]


def measure(disc: Disc) -> Geometry:
    """Measure one disc.

    Parameters
    ----------
    disc
        A disc as :mod:`discometry.stages.separate` hands it on.

    Returns
    -------
    Its measures; NaN where the mask is too small or too odd for one to be known.
    """
    return measure_mask(disc.mask)


def measure_mask(mask: Volume) -> Geometry:
    """Measure one disc from its mask; the result does not depend on the order or direction of the array axes.

    Parameters
    ----------
    mask
        Volume that is non-zero in the disc.

    Returns
    -------
    The disc's measures. All NaN for an empty mask; only the volume and what the voxels show by themselves
    (the ``paper_`` group) for one too small, flat or odd to have a shape.
    """
    inside = _tight(mask.oriented())
    if inside is None:
        return Geometry()
    volume = float(np.count_nonzero(inside.array)) * inside.grid.voxel_volume_mm3
    plain = replace(_paper_measures(inside), volume_mm3=volume)
    surface = voxel_surface(inside)
    shape = fit_disc_shape(inside, surface)
    if shape is None or not shape.plausible(inside):
        return plain
    measured = shape_measures(shape, surface, volume, inside.grid.voxel_volume_mm3)
    return replace(plain, **{name: value for name, (value, _) in measured.items()})


def _tight(mask: Volume) -> Volume | None:
    """Cut a mask to the box of its voxels; None if it has none."""
    # In one memory order, so that sums round alike whatever the axes of the file were.
    array = np.ascontiguousarray(mask.array != 0)
    used = [np.flatnonzero(array.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if used[0].size == 0:
        return None
    return mask.with_array(array).cropped([u[0] for u in used], [u[-1] + 1 for u in used])


def _paper_measures(inside: Volume) -> Geometry:
    """Measure as the paper does, slice by slice, but in mm along the world's axes.

    Disc height is the mean superior-inferior extent of the mask's pixel columns in all sagittal slices,
    widths are extents on the middle slices, and the angles are those of the principal axis of the pixels of
    the middle slices. Extents run from edge to edge of the outermost voxels, holes included.
    """
    array, spacing = inside.array, inside.grid.spacing_mm
    middle = [(n - 1) // 2 for n in array.shape]
    columns = _extents(array, axis=2)
    sagittal = _slice_points(inside, axis=0, at=middle[0])
    coronal = _slice_points(inside, axis=1, at=middle[1])
    axial = _slice_points(inside, axis=2, at=middle[2])
    return Geometry(
        paper_height_mm=float(columns[columns > 0].mean()) * spacing[2],
        paper_width_ap_mm=_extent(np.any(array[middle[0]], axis=1)) * spacing[1],
        paper_width_lateral_mm=_extent(np.any(array[:, :, middle[2]], axis=1)) * spacing[0],
        paper_angle_sagittal_deg=_principal_angle(-sagittal[:, 1], sagittal[:, 2]),
        paper_angle_coronal_deg=_principal_angle(coronal[:, 0], coronal[:, 2]),
        paper_angle_transverse_deg=_principal_angle(axial[:, 0], axial[:, 1]),
    )


def _extents(array: NDArray[np.bool_], *, axis: int) -> NDArray[np.intp]:
    """Voxels from the first to the last inside along an axis, both counted."""
    first = np.argmax(array, axis=axis)
    last = array.shape[axis] - 1 - np.argmax(np.flip(array, axis), axis=axis)
    extents: NDArray[np.intp] = np.where(array.any(axis=axis), last - first + 1, 0)
    return extents


def _extent(line: NDArray[np.bool_]) -> float:
    """Voxels from the first to the last inside; NaN for none."""
    return float(_extents(line, axis=0)) or math.nan


def _slice_points(inside: Volume, *, axis: int, at: int) -> FloatArray:
    """Positions (n, 3) of the voxels of one slice, mm along L, P, S from the mask's corner."""
    index = np.argwhere(np.take(inside.array, [at], axis=axis)).astype(np.float64)
    points: FloatArray = index @ inside.grid.affine[:3, :3].T
    return points


def _principal_angle(across: FloatArray, up: FloatArray) -> float:
    """Angle (degrees, -90 to 90) of the principal axis of points against ``across``, towards ``up``."""
    if len(across) < 3:
        return math.nan
    (xx, xy), (_, yy) = np.cov(across, up)
    return math.degrees(0.5 * math.atan2(2.0 * xy, xx - yy))
