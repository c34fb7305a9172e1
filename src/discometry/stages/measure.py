"""Measure a disc: heights, widths, angles, areas and volume in mm and degrees, each with its standard error.

Volume is the voxels' own, which is unbiased. Height, widths, angles and wedge come from a smooth shape fitted
to the mask in the disc's own frame (:mod:`discometry.core.disc_shape`), because a voxel staircase is as
coarse as the thickest slice. The ``paper_`` group counts voxels, as the paper does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import LEVELS
from discometry.core.body_heights import body_height_mm
from discometry.core.disc_shape import DiscShape, fit_disc_shape
from discometry.core.paper_measures import paper_measures
from discometry.core.records import Disc, Geometry, Lordosis
from discometry.core.shape_measures import shape_measures
from discometry.core.standard_errors import Estimate, standard_error
from discometry.core.volume import Volume
from discometry.core.voxel_surface import voxel_surface

__all__ = ["estimates", "lordosis", "measure", "measure_mask"]

LUMBAR_LEVELS = LEVELS[:5]
"""L5/S1 to L1/L2."""

_CUT_SHARE = 0.25
"""A border slice with more of a disc than this part of its largest slice cuts the disc."""
_FROM_SIDE_TO_SIDE = frozenset(
    name
    for name in Geometry.names()
    if name.endswith(("_mm2", "_mm3", "transverse_deg", "lateral_mm")) or name in ("asymmetry_mm", "bulge_mm")
)
_ALL = frozenset(Geometry.names())
_NEEDED = (_FROM_SIDE_TO_SIDE, _ALL, _ALL)
"""What cannot be known of a disc that the image cuts off along left, posterior, superior."""

_HEIGHTS = [name for name in Geometry.names() if name.startswith("height_")]
_LIMITS: Mapping[str, tuple[float, float]] = {
    **dict.fromkeys(_HEIGHTS, (0.0, 30.0)),
    **dict.fromkeys(("width_ap_mm", "width_lateral_mm"), (3.0, 100.0)),
    **dict.fromkeys(("asymmetry_mm", "bulge_mm"), (-20.0, 20.0)),
    "wedge_deg": (-45.0, 45.0),
    "disc_height_index": (0.0, 1.0),
}
"""What the measures of a disc can be; anything else is left out."""


def measure(disc: Disc, vertebrae: Volume | None = None) -> Geometry:
    """Measure one disc.

    Parameters
    ----------
    disc
        A disc as :mod:`discometry.stages.separate` hands it on: where its mask has no margin, the image ends.
    vertebrae
        The vertebrae beside it, boolean, for the disc height index.

    Returns
    -------
    Its measures; NaN where the mask is too small or too odd for one to be known, where the image cuts off
    what it needs, and where the value is not that of a disc.
    """
    found = estimates(disc.mask, vertebrae, below=disc.level != LEVELS[0])
    for axis, names in enumerate(_NEEDED):
        if _cut_off(disc.mask.array, axis):
            found = {name: one for name, one in found.items() if name not in names}
    return _geometry(found)


def lordosis(discs: Sequence[tuple[str, Geometry]]) -> Lordosis | None:
    """Give the angle between the mid-planes of the highest and the lowest lumbar disc seen.

    Parameters
    ----------
    discs
        Level and measures of the discs of one study, in any order.

    Returns
    -------
    None where fewer than two lumbar discs have a sagittal angle.
    """
    known = [
        (LEVELS.index(level), geometry.angle_sagittal_deg, geometry.standard_errors)
        for level, geometry in discs
        if level in LUMBAR_LEVELS and math.isfinite(geometry.angle_sagittal_deg)
    ]
    if len(known) < 2:
        return None
    (low, below, below_error), (high, above, above_error) = min(known), max(known)
    errors = [math.nan if one is None else one.angle_sagittal_deg for one in (below_error, above_error)]
    return Lordosis(LEVELS[high], LEVELS[low], above - below, math.hypot(*errors))


def measure_mask(mask: Volume) -> Geometry:
    """Measure one disc from its mask; the result does not depend on the order or direction of the array axes.

    Parameters
    ----------
    mask
        Volume that is non-zero in the disc.

    Returns
    -------
    The disc's measures and their standard errors. All NaN for an empty mask; only the volume and what the
    voxels show by themselves (the ``paper_`` group) for one too small, flat or odd to have a shape.
    """
    return _geometry(estimates(mask))


def _geometry(found: Mapping[str, Estimate]) -> Geometry:
    """Values and standard errors; what is outside the limits of a disc is left out."""
    kept = {name: one for name, one in found.items() if _possible(name, one.value)}
    errors = {name: standard_error(name, estimate) for name, estimate in kept.items()}
    values = {name: estimate.value for name, estimate in kept.items()}
    return Geometry.of(values, errors)


def _possible(name: str, value: float) -> bool:
    low, high = _LIMITS.get(name, (-math.inf, math.inf))
    return low <= value <= high


def _cut_off(inside: NDArray[np.bool_], axis: int) -> bool:
    """Whether the image's border cuts a mask along an axis, and does not just touch its end."""
    counts = np.count_nonzero(inside, axis=tuple(a for a in range(3) if a != axis))
    return bool(max(counts[0], counts[-1]) > _CUT_SHARE * counts.max())


def estimates(mask: Volume, vertebrae: Volume | None = None, *, below: bool = True) -> dict[str, Estimate]:
    """Give what is known of one disc by measure; nothing for an empty mask.

    Parameters
    ----------
    mask
        Volume that is non-zero in the disc.
    vertebrae
        The vertebrae, boolean.
    below
        Whether a vertebral body lies under the disc, and not the sacrum.
    """
    inside = _tight(mask.oriented())
    if inside is None:
        return {}
    found = paper_measures(inside)
    surface = voxel_surface(inside)
    shape = fit_disc_shape(inside, surface)
    if shape is None or not shape.plausible(inside):
        volume = float(np.count_nonzero(inside.array)) * inside.grid.voxel_volume_mm3
        return found | {"volume_mm3": Estimate(volume, math.nan)}
    measured = shape_measures(shape, surface, inside)
    if vertebrae is not None:
        height = measured["height_fyllos_mm"]
        measured["disc_height_index"] = _height_index(shape, inside, height, vertebrae, below=below)
    return found | measured


def _height_index(
    shape: DiscShape, inside: Volume, height: Estimate, vertebrae: Volume, *, below: bool
) -> Estimate:
    """Height of the disc over the mean height of the bodies beside it, or of the one that is seen whole."""
    bodies = []
    for side in (1.0, -1.0) if below else (1.0,):
        start, axes = shape.endplate_frame(side)
        bodies.append(body_height_mm(vertebrae, inside.grid.affine[:3, 3] + start, axes))
    known = [body for body in bodies if math.isfinite(body)]
    if not known:
        return Estimate(math.nan, math.nan)
    body = sum(known) / len(known)
    along = float(np.linalg.norm((vertebrae.grid.direction * vertebrae.grid.spacing_mm).T @ axes[:, 2]))
    index = height.value / body
    return Estimate(index, height.spread / body, index * along / body)


def _tight(mask: Volume) -> Volume | None:
    """Cut a mask to the box of its voxels; None if it has none."""
    # In one memory order, so that sums round alike whatever the axes of the file were.
    array = np.ascontiguousarray(mask.array != 0)
    used = [np.flatnonzero(array.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if used[0].size == 0:
        return None
    return mask.with_array(array).cropped([u[0] for u in used], [u[-1] + 1 for u in used])
