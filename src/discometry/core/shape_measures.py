"""The measures of a fitted disc, each with what is not known of it.

Everything is linear in the coefficients of endplates and outline, or nearly so: the *spread* of a measure is
the root of the sum of squares of its changes with their independent errors. What spreads become as standard
errors stands in :mod:`discometry.core.standard_errors`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from discometry.core.disc_shape import DiscShape
from discometry.core.endplate import monomials
from discometry.core.voxel_surface import VoxelSurface

__all__ = ["INSET", "Measured", "shape_measures"]

FloatArray = NDArray[np.float64]

INSET = 0.1
"""How far inside the outline, as a part of the diameter, the heights near its ends are taken."""

_LENGTHEN = (0.7, 1.5)
"""Bounds of what the wall's height by the endplates is of its height by its faces."""

Measured = dict[str, tuple[float, float]]
"""Value and spread by name."""


def shape_measures(shape: DiscShape, surface: VoxelSurface, volume_mm3: float, voxel_mm3: float) -> Measured:
    """Measure a fitted disc.

    Parameters
    ----------
    shape
        The fitted disc.
    surface
        The faces of its mask.
    volume_mm3, voxel_mm3
        Volume of its mask and of one voxel.
    """
    outline = _outline_measures(shape)
    area, area_spread = outline["footprint_mm2"]
    # Each face leaves a voxel undecided, and a whole layer where an endplate lies along the voxels.
    unseen = math.hypot(shape.superior.unseen_mm, shape.inferior.unseen_mm)
    volume_spread = math.hypot(voxel_mm3 * math.sqrt(surface.count.sum() / 12.0), unseen * area)
    height = volume_mm3 / area
    of_volume, of_area = volume_spread / volume_mm3, area_spread / area
    return {
        "height_mean_mm": (height, height * math.hypot(of_volume, of_area)),
        "volume_mm3": (volume_mm3, volume_spread),
        "surface_mm2": (surface.area_mm2, surface.area_mm2 * math.hypot(of_volume, of_area)),
        **outline,
        **_angles(shape),
        **_heights(shape),
    }


def _outline_measures(shape: DiscShape) -> Measured:
    """Widths, area, bulge and transverse angle: what follows from the outline."""
    footprint = shape.footprint
    half = np.asarray(footprint.base.half_mm)
    own = np.stack([shape.left, shape.posterior], axis=1)
    points = (footprint.outline - shape.centre) @ own
    steps = (footprint.rays * half) @ footprint.base.axes.T @ own
    ends = points.argmax(axis=0), points.argmin(axis=0)
    widths = []
    for axis in range(2):
        high, low = ends[0][axis], ends[1][axis]
        change = steps[high, axis] * footprint.errors[high] - steps[low, axis] * footprint.errors[low]
        widths.append((float(points[high, axis] - points[low, axis]), float(np.linalg.norm(change))))
    area, rim_area = footprint.area_mm2, footprint.rim_area_mm2
    cell = half.prod() * (2.0 * math.pi / len(points))
    ring = cell * footprint.radius[:, None] * footprint.errors
    by_area = ring.sum(axis=0)
    by_rim = (cell * footprint.rim[:, None] * footprint.rim_errors).sum(axis=0)
    # The wall's parabola, from the height over which its faces were found to where it meets the endplates.
    lengthen = float(np.clip(_rim_height(shape) / (2.0 * shape.wall_mm), *_LENGTHEN)) ** 2
    bulge = lengthen * (math.sqrt(area / math.pi) - math.sqrt(rim_area / math.pi))
    by_bulge = lengthen * (by_area - by_rim) / (2.0 * math.sqrt(area * math.pi))
    moments = own.T @ shape.moments @ own
    by_angle = (points[:, 0] * points[:, 1]) @ ring / (area * max(abs(moments[0, 0] - moments[1, 1]), 1.0))
    left = shape.next_frame().axes[:, 0]
    return {
        "width_lateral_mm": widths[0],
        "width_ap_mm": widths[1],
        "footprint_mm2": (area, float(np.linalg.norm(by_area))),
        "bulge_mm": (bulge, float(np.linalg.norm(by_bulge))),
        "angle_transverse_deg": (
            math.degrees(math.atan2(left[1], left[0])),
            math.degrees(float(np.linalg.norm(by_angle))),
        ),
    }


def _rim_height(shape: DiscShape) -> float:
    """Height of the disc between its endplates close to the outline, averaged around it, mm."""
    rim = shape.footprint.rays * (0.97 * shape.footprint.radius)[:, None]
    between = shape.superior.coefficients - shape.inferior.coefficients
    return float(np.mean(between @ monomials(rim, shape.superior.degree)))


def _angles(shape: DiscShape) -> Measured:
    """Sagittal and coronal angle of the plane midway between the endplates, and the angle between them."""
    along = np.stack([shape.left, shape.posterior]) @ shape.to_plane[1:]
    slopes = [along @ endplate.coefficients for endplate in (shape.superior, shape.inferior)]
    spreads = np.hypot(
        *(np.linalg.norm(along @ endplate.errors, axis=1) for endplate in (shape.superior, shape.inferior))
    )
    lateral, sagittal = (math.degrees(spread) for spread in spreads)
    superior = shape.next_frame().axes[:, 2]
    wedge = math.atan(slopes[1][1]) - math.atan(slopes[0][1])
    return {
        "angle_sagittal_deg": (math.degrees(math.atan2(superior[1], superior[2])), 0.5 * sagittal),
        "angle_coronal_deg": (math.degrees(math.atan2(-superior[0], superior[2])), 0.5 * lateral),
        "wedge_deg": (math.degrees(wedge), sagittal),
    }


def _heights(shape: DiscShape) -> Measured:
    """Heights at the middle and near the ends of the mid-sagittal and mid-coronal diameter, and their means."""
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
    weights = {
        "height_middle_mm": (1, 0, 0, 0, 0),
        "height_anterior_mm": (0, 1, 0, 0, 0),
        "height_posterior_mm": (0, 0, 1, 0, 0),
        "height_dabbs_mm": (0, 1 / 2, 1 / 2, 0, 0),
        "height_fyllos_mm": (1 / 3, 1 / 3, 1 / 3, 0, 0),
        "asymmetry_mm": (0, 0, 0, 1, -1),
    }
    found = {
        name: (float(weight @ heights), float(np.linalg.norm(weight @ errors)))
        for name, weight in ((name, np.array(weight)) for name, weight in weights.items())
    }
    middle, spread = found["height_middle_mm"]
    offset = float(shape.shift_mm @ shape.posterior)
    return found | {"height_hurxthal_mm": (math.hypot(middle, offset), spread)}


def _diameter(shape: DiscShape, direction: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Ends (2,) of the outline's chord through its middle: the one against a direction, then the other."""
    points = shape.footprint.outline - shape.centre
    across = points @ np.array([direction[1], -direction[0]])
    along = points @ direction
    after = np.roll(across, -1)
    crossing = np.flatnonzero((across < 0) != (after < 0))
    share = across[crossing] / (across[crossing] - after[crossing])
    at = along[crossing] + share * (np.roll(along, -1)[crossing] - along[crossing])
    return shape.centre + at.min() * direction, shape.centre + at.max() * direction
