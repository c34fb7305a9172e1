"""Measure a disc: height, widths, angles, wedge and volume in mm and degrees, from its mask.

Volume is the voxels' own, which is unbiased. Height, widths, angles and wedge come from a smooth shape fitted
to the mask in the disc's own frame (:mod:`discometry.core.disc_shape`), because a voxel staircase is as
coarse as the thickest slice. The ``paper_`` group counts voxels, as the paper does.
"""

from __future__ import annotations

import math

import numpy as np

from discometry.core.disc_shape import fit_disc_shape
from discometry.core.paper_measures import paper_measures
from discometry.core.records import Disc, Geometry
from discometry.core.shape_measures import shape_measures
from discometry.core.standard_errors import Estimate, standard_error
from discometry.core.volume import Volume
from discometry.core.voxel_surface import voxel_surface

__all__ = ["estimates", "measure", "measure_mask"]


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
    The disc's measures and their standard errors. All NaN for an empty mask; only the volume and what the
    voxels show by themselves (the ``paper_`` group) for one too small, flat or odd to have a shape.
    """
    found = estimates(mask)
    errors = {name: standard_error(name, estimate) for name, estimate in found.items()}
    values = {name: estimate.value for name, estimate in found.items()}
    return Geometry(**values, standard_errors=Geometry(**errors))


def estimates(mask: Volume) -> dict[str, Estimate]:
    """Give what is known of one disc by measure, as :func:`measure_mask`; nothing for an empty mask."""
    inside = _tight(mask.oriented())
    if inside is None:
        return {}
    found = paper_measures(inside)
    surface = voxel_surface(inside)
    shape = fit_disc_shape(inside, surface)
    if shape is None or not shape.plausible(inside):
        volume = float(np.count_nonzero(inside.array)) * inside.grid.voxel_volume_mm3
        return found | {"volume_mm3": Estimate(volume, math.nan)}
    return found | shape_measures(shape, surface, inside)


def _tight(mask: Volume) -> Volume | None:
    """Cut a mask to the box of its voxels; None if it has none."""
    # In one memory order, so that sums round alike whatever the axes of the file were.
    array = np.ascontiguousarray(mask.array != 0)
    used = [np.flatnonzero(array.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if used[0].size == 0:
        return None
    return mask.with_array(array).cropped([u[0] for u in used], [u[-1] + 1 for u in used])
