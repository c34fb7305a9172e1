"""The six measures of the paper, slice by slice along the image's axes, but in mm and degrees.

Perrone, Moore, Ukeba and Martin, Annals of Biomedical Engineering 2025, doi 10.1007/s10439-025-03840-w. Disc
height is the mean superior-inferior extent of the mask's pixel columns in all sagittal slices, widths are
extents on the middle slices, and the angles are those of the principal axis of the pixels of the middle
slices. Extents run from edge to edge of the outermost voxels, holes included.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from discometry.core.standard_errors import Estimate
from discometry.core.volume import Volume

__all__ = ["paper_measures"]

FloatArray = NDArray[np.float64]


def paper_measures(inside: Volume) -> dict[str, Estimate]:
    """Measure a boolean mask, cut to the box of its voxels, as the paper does."""
    array, (left, posterior, superior) = inside.array, inside.grid.spacing_mm
    middle = [(n - 1) // 2 for n in array.shape]
    columns = _extents(array, axis=2)
    sagittal = _slice_points(inside, axis=0, at=middle[0])
    coronal = _slice_points(inside, axis=1, at=middle[1])
    axial = _slice_points(inside, axis=2, at=middle[2])
    ap = _extent(np.any(array[middle[0]], axis=1)) * posterior
    lateral = _extent(np.any(array[:, :, middle[2]], axis=1)) * left
    return {
        "paper_height_mm": Estimate(float(columns[columns > 0].mean()) * superior, superior, left),
        "paper_width_ap_mm": Estimate(ap, posterior, left),
        "paper_width_lateral_mm": Estimate(lateral, left, superior),
        "paper_angle_sagittal_deg": Estimate(
            _principal_angle(-sagittal[:, 1], sagittal[:, 2]), *_tilts(ap, superior, left)
        ),
        "paper_angle_coronal_deg": Estimate(
            _principal_angle(coronal[:, 0], coronal[:, 2]), *_tilts(lateral, superior, left)
        ),
        "paper_angle_transverse_deg": Estimate(
            _principal_angle(axial[:, 0], axial[:, 1]), *_tilts(lateral, posterior, superior)
        ),
    }


def _tilts(width: float, *steps: float) -> tuple[float, ...]:
    """Angles (degrees) that steps at the end of a width make."""
    return tuple(math.degrees(math.atan2(step, width)) for step in steps)


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
    across, up = across - across.mean(), up - up.mean()
    xx, xy, yy = across @ across, across @ up, up @ up
    return math.degrees(0.5 * math.atan2(2.0 * xy, xx - yy))
