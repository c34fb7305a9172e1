"""The measures of a fitted disc, each with what is not known of it.

Everything is linear in the coefficients of endplates and outline, or nearly so: the spread of a measure is
the root of the sum of squares of its changes with their independent errors. Spread and step become standard
errors in :mod:`discometry.core.standard_errors`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from discometry.core.disc_shape import DiscShape
from discometry.core.endplate import monomials
from discometry.core.slice_ends import volume_lost_mm3
from discometry.core.standard_errors import Estimate
from discometry.core.volume import Volume
from discometry.core.voxel_surface import VoxelSurface

__all__ = ["INSET", "shape_measures"]

FloatArray = NDArray[np.float64]

INSET = 0.1
"""How far inside the outline, as a part of the diameter, the heights near its ends are taken."""
_LENGTHEN = (0.7, 1.5)
"""Bounds of what the wall's height by the endplates is of its height by its faces."""
_LEAST_MISFIT = 0.5
"""Smoother than this no mask is taken to be."""


def shape_measures(shape: DiscShape, surface: VoxelSurface, inside: Volume) -> dict[str, Estimate]:
    """Measure a fitted disc.

    Parameters
    ----------
    shape
        The fitted disc.
    surface
        The faces of its mask.
    inside
        Its mask, boolean.
    """
    # Voxel size along the disc's own axes.
    own = shape.next_frame().axes
    axes = (inside.grid.direction * inside.grid.spacing_mm).T @ own
    left, posterior = (float(np.linalg.norm(axes[:, axis])) for axis in range(2))
    rim_height = _rim_height(shape)
    outline = _outline_measures(shape, own[:, 0], rim_height, float(min(inside.grid.spacing_mm)))
    lateral, ap, area = (outline[name].value for name in ("width_lateral_mm", "width_ap_mm", "footprint_mm2"))
    voxel = inside.grid.voxel_volume_mm3
    volume = float(np.count_nonzero(inside.array)) * voxel
    whole = volume + volume_lost_mm3(shape, inside, rim_height)
    faces = float(surface.count.sum())
    # Every face leaves a voxel undecided, and the last slices leave a part of themselves.
    undecided = voxel * math.sqrt(faces / 12.0)
    spread = undecided * _raggedness(shape)
    ends = volume / area * (left**2 + posterior**2)
    return {
        "volume_mm3": Estimate(volume, spread, ends),
        "height_mean_mm": Estimate(whole / area, spread / area, ends / area),
        "surface_mm2": Estimate(
            surface.area_mm2, surface.area_mm2 * math.sqrt(shape.footprint.misfit / faces), undecided
        ),
        **outline,
        **_angles(shape, own[:, 2], math.degrees(left / lateral), math.degrees(posterior / ap)),
        **_heights(shape, left, posterior),
    }


def _raggedness(shape: DiscShape) -> float:
    """Factor on spreads of what the side wall's faces show of a ragged mask."""
    return float(max(shape.footprint.misfit, _LEAST_MISFIT) ** 0.25)


def _outline_measures(
    shape: DiscShape, axis: FloatArray, rim_height_mm: float, finest_mm: float
) -> dict[str, Estimate]:
    """Widths, area, bulge and, from the disc's left ``axis`` (LPS), the transverse angle."""
    footprint = shape.footprint
    own = np.stack([shape.left, shape.posterior], axis=1)
    points = (footprint.outline - shape.centre) @ own
    half = np.asarray(footprint.base.half_mm)
    errors = footprint.errors * _raggedness(shape)
    ragged_mm = finest_mm * math.sqrt(footprint.misfit)
    rays = (footprint.rays * half) @ footprint.base.axes.T @ own
    lateral, ap = (_width(points[:, axis], rays[:, axis, None] * errors, ragged_mm) for axis in range(2))
    area, rim_area = footprint.area_mm2, footprint.rim_area_mm2
    cell = half.prod() * (2.0 * math.pi / len(points))
    ring = cell * footprint.radius[:, None] * errors
    rim_ring = cell * footprint.rim[:, None] * footprint.rim_errors * _raggedness(shape)
    # The wall's parabola, from the height over which its faces were found to where it meets the endplates.
    lengthen = float(np.clip(rim_height_mm / (2.0 * shape.wall_mm), *_LENGTHEN)) ** 2
    bulge = lengthen * (math.sqrt(area / math.pi) - math.sqrt(rim_area / math.pi))
    by_bulge = lengthen * (ring - rim_ring).sum(axis=0) / (2.0 * math.sqrt(area * math.pi))
    moments = own.T @ shape.moments @ own
    by_angle = (points[:, 0] * points[:, 1]) @ ring / (area * max(abs(moments[0, 0] - moments[1, 1]), 1.0))
    return {
        "width_lateral_mm": lateral,
        "width_ap_mm": ap,
        "footprint_mm2": Estimate(area, _norm(ring.sum(axis=0)), math.sqrt(area) * ragged_mm),
        "bulge_mm": Estimate(bulge, _norm(by_bulge), 1.0),
        "angle_transverse_deg": Estimate(
            math.degrees(math.atan2(axis[1], axis[0])), math.degrees(_norm(by_angle))
        ),
    }


def _norm(changes: FloatArray) -> float:
    """Spread of something that changes so with independent errors."""
    return float(np.linalg.norm(changes))


def _width(along: FloatArray, changes: FloatArray, ragged_mm: float) -> Estimate:
    """Extent of points along an axis (m,), which errors change (m, k)."""
    high, low = along.argmax(), along.argmin()
    return Estimate(float(along[high] - along[low]), _norm(changes[high] - changes[low]), ragged_mm)


def _rim_height(shape: DiscShape) -> float:
    """Height of the disc between its endplates close to the outline, averaged around it, mm."""
    rim = shape.footprint.rays * (0.97 * shape.footprint.radius)[:, None]
    between = shape.superior.coefficients - shape.inferior.coefficients
    return float(np.mean(between @ monomials(rim, shape.superior.degree)))


def _angles(shape: DiscShape, axis: FloatArray, lateral_step: float, ap_step: float) -> dict[str, Estimate]:
    """Angles of the plane across the disc's ``axis`` (LPS), and the angle between its endplates."""
    along = np.stack([shape.left, shape.posterior]) @ shape.to_plane[1:]
    above, below = (math.atan(along[1] @ plate.coefficients) for plate in (shape.superior, shape.inferior))
    changes = np.concatenate([along @ plate.errors for plate in (shape.superior, shape.inferior)], axis=1)
    lateral, sagittal = (math.degrees(_norm(change)) for change in changes)
    return {
        "angle_sagittal_deg": Estimate(math.degrees(math.atan2(axis[1], axis[2])), sagittal / 2, ap_step),
        "angle_coronal_deg": Estimate(math.degrees(math.atan2(-axis[0], axis[2])), lateral / 2, lateral_step),
        "wedge_deg": Estimate(math.degrees(below - above), sagittal, ap_step),
    }


def _heights(shape: DiscShape, left_mm: float, posterior_mm: float) -> dict[str, Estimate]:
    """Heights at the middle and near the ends of both diameters, and their means."""
    front, back = _diameter(shape, shape.posterior)
    right, left = _diameter(shape, shape.left)
    places = np.array(
        [
            0.5 * (front + back),
            front + INSET * (back - front),
            back + INSET * (front - back),
            left + INSET * (right - left),
            right + INSET * (left - right),
        ]
    )
    terms = monomials(shape.footprint.base.to_unit(places), shape.superior.degree).T
    heights = terms @ (shape.superior.coefficients - shape.inferior.coefficients)
    errors = np.concatenate([terms @ shape.superior.errors, terms @ shape.inferior.errors], axis=1)
    both = math.hypot(left_mm, posterior_mm)
    weights = {
        "height_middle_mm": ((1, 0, 0, 0, 0), both),
        "height_anterior_mm": ((0, 1, 0, 0, 0), posterior_mm),
        "height_posterior_mm": ((0, 0, 1, 0, 0), posterior_mm),
        "height_dabbs_mm": ((0, 1 / 2, 1 / 2, 0, 0), posterior_mm),
        "height_fyllos_mm": ((1 / 3, 1 / 3, 1 / 3, 0, 0), posterior_mm),
        "asymmetry_mm": ((0, 0, 0, 1, -1), left_mm),
    }
    found = {
        name: Estimate(float(np.dot(weight, heights)), _norm(np.asarray(weight) @ errors), step)
        for name, (weight, step) in weights.items()
    }
    middle, spread, step = found["height_middle_mm"]
    offset = float(shape.shift_mm @ shape.posterior)
    return found | {"height_hurxthal_mm": Estimate(math.hypot(middle, offset), spread, step)}


def _diameter(shape: DiscShape, direction: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Find the ends (2,) of the outline's chord through its middle, the one against the direction first."""
    points = shape.footprint.outline - shape.centre
    across = points @ np.array([direction[1], -direction[0]])
    along = points @ direction
    after = np.roll(across, -1)
    crossing = np.flatnonzero((across < 0) != (after < 0))
    share = across[crossing] / (across[crossing] - after[crossing])
    at = along[crossing] + share * (np.roll(along, -1)[crossing] - along[crossing])
    return shape.centre + at.min() * direction, shape.centre + at.max() * direction
