"""An analytic lumbar spine with known answers, for tests, the demo, benchmarks and training.

:func:`sample_phantom` draws a spine, :func:`phantom_grid` lays a field of view over it, and the ``render_``
functions turn both into label maps; :mod:`discometry.core.phantom_mri` makes the MRI.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import Tissue
from discometry.core.errors import GridError
from discometry.core.phantom_anatomy import TISSUE_OF, Frame, Phantom, Structure
from discometry.core.phantom_build import sample_phantom
from discometry.core.phantom_disc import PhantomDisc, rotation_from_angles, single_disc
from discometry.core.phantom_mri import render_mri
from discometry.core.phantom_paint import box_of, local_axes, paint, structure_of_code
from discometry.core.phantom_population import PhantomConfig
from discometry.core.phantom_slabs import SUBSAMPLE_MM, fine_slabs
from discometry.core.volume import Grid, Volume

__all__ = [
    "Phantom",
    "PhantomConfig",
    "PhantomDisc",
    "Structure",
    "disc_fraction",
    "phantom_grid",
    "render_disc_mask",
    "render_discs",
    "render_mri",
    "render_structures",
    "render_tissue",
    "rotation_from_angles",
    "sample_phantom",
    "single_disc",
]

_SLICE_ORDER = {"sagittal": (0, 1, 2), "coronal": (1, 0, 2), "axial": (2, 0, 1)}


def phantom_grid(
    phantom: Phantom | PhantomDisc,
    *,
    spacing_mm: Sequence[float] = (4.0, 0.6, 0.6),
    slice_axis: str = "sagittal",
    lateral_mm: float = 72.0,
    anterior_mm: float = 60.0,
    posterior_mm: float = 80.0,
    inferior_mm: float = 45.0,
    superior_mm: float = 18.0,
    oblique_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Grid:
    """Lay a field of view over a phantom, or over one disc.

    Parameters
    ----------
    spacing_mm
        Distance between slices, then the voxel size in the slice: along posterior and superior for sagittal
        slices, left and superior for coronal ones, left and posterior for axial ones. With
        ``slice_axis="lps"`` the spacing along left, posterior and superior.
    slice_axis
        ``"sagittal"``, ``"coronal"`` or ``"axial"``: the first array axis runs across the slices, the other
        two as in ``spacing_mm``; ``"lps"``: array axes run along L, P, S.
    lateral_mm
        Whole lateral extent, centred on the discs' middle.
    anterior_mm, posterior_mm, inferior_mm, superior_mm
        Margins beyond the outermost disc. For one disc give small ones.
    oblique_deg
        Sagittal, coronal and transverse angle by which the field of view is turned against the world.

    Raises
    ------
    GridError
        If a spacing or extent is not positive, or the slice direction has another name.
    """
    spacing = _checked_spacing(spacing_mm, slice_axis, lateral_mm)
    order = _SLICE_ORDER.get(slice_axis, (0, 1, 2))
    turn = rotation_from_angles(oblique_deg)
    discs = (phantom,) if isinstance(phantom, PhantomDisc) else phantom.discs
    corners = np.concatenate([_corners(disc) for disc in discs]) @ turn
    middle = np.mean([disc.centre_lps for disc in discs], axis=0) @ turn
    low = corners.min(axis=0) - np.array([0.0, anterior_mm, inferior_mm])
    high = corners.max(axis=0) + np.array([0.0, posterior_mm, superior_mm])
    low[0], high[0] = middle[0] - lateral_mm / 2, middle[0] + lateral_mm / 2
    step = np.empty(3)
    step[list(order)] = spacing
    count = np.maximum(np.rint((high - low) / step), 1).astype(int)
    first = (low + high) / 2 - step * (count - 1) / 2
    shape = [int(count[axis]) for axis in order]
    origin, direction = tuple(float(x) for x in turn @ first), turn[:, list(order)]
    return Grid.from_spacing(shape, spacing.tolist(), origin_mm=origin, direction=direction)


def _checked_spacing(spacing_mm: Sequence[float], slice_axis: str, lateral_mm: float) -> NDArray[np.float64]:
    if slice_axis not in (*_SLICE_ORDER, "lps"):
        raise GridError(
            f"slice axis {slice_axis!r}",
            expected="sagittal, coronal, axial or lps",
            action="use one of these",
        )
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (3,) or not (spacing > 0).all() or lateral_mm <= 0:
        raise GridError(
            f"spacing {tuple(spacing_mm)} mm over {lateral_mm} mm",
            expected="three positive spacings and a positive extent",
            action="give sizes in mm",
        )
    return spacing


def _corners(disc: PhantomDisc) -> NDArray[np.float64]:
    reach = disc.reach_mm
    signs = np.array(np.meshgrid((-1, 1), (-1, 1), (-1, 1))).reshape(3, -1).T
    corners: NDArray[np.float64] = (signs * reach) @ disc.rotation.T + disc.centre_lps
    return corners


def render_structures(phantom: Phantom, grid: Grid) -> Volume:
    """Tell the :class:`Structure` (uint8) at the centre of every voxel."""
    return Volume(grid, structure_of_code()[paint(phantom, grid)])


def render_tissue(phantom: Phantom, grid: Grid, *, subsample_mm: float = SUBSAMPLE_MM) -> Volume:
    """Tell the segmenter's class (uint8 :class:`~discometry.core.anatomy.Tissue`) of every voxel.

    A voxel is disc where one disc fills at least half of it (exactly as :func:`render_discs`), otherwise what
    fills most of the rest, by samples at most ``subsample_mm`` apart.
    """
    table = np.array([TISSUE_OF[Structure(s)] for s in structure_of_code()], dtype=np.uint8)
    tissue = np.zeros(grid.shape, dtype=np.uint8)
    others = (Tissue.BACKGROUND, Tissue.VERTEBRA, Tissue.CANAL, Tissue.SACRUM)
    for rows, fine, merge in fine_slabs(grid, subsample_mm):
        classes = table[paint(phantom, fine, soft=False)]
        shares = np.stack([merge(classes == int(kind)) for kind in others])
        tissue[rows] = np.array(others, dtype=np.uint8)[np.argmax(shares, axis=0)]
    tissue[render_discs(phantom, grid, subsample_mm=subsample_mm).array > 0] = Tissue.DISC
    return Volume(grid, tissue)


def render_discs(phantom: Phantom, grid: Grid, *, subsample_mm: float = SUBSAMPLE_MM) -> Volume:
    """Write the label (int16, 201 = L5/S1) of every disc into the voxels of which it fills at least half."""
    labels = np.zeros(grid.shape, dtype=np.int16)
    for disc in phantom.discs:
        found = _fraction(disc, grid, subsample_mm)
        if found is not None:
            window, share = found
            labels[window][share >= 0.5] = disc.label
    return Volume(grid, labels)


def disc_fraction(disc: PhantomDisc, grid: Grid, *, subsample_mm: float = SUBSAMPLE_MM) -> Volume:
    """Give the share (float32, 0..1) of every voxel that a disc fills, by samples at most this far apart."""
    share = np.zeros(grid.shape, dtype=np.float32)
    found = _fraction(disc, grid, subsample_mm)
    if found is not None:
        share[found[0]] = found[1]
    return Volume(grid, share)


def render_disc_mask(disc: PhantomDisc, grid: Grid, *, subsample_mm: float = SUBSAMPLE_MM) -> Volume:
    """Tell the voxels (bool) of which a disc fills at least half, as :func:`disc_fraction` samples them."""
    return Volume(grid, disc_fraction(disc, grid, subsample_mm=subsample_mm).array >= 0.5)


def _fraction(
    disc: PhantomDisc, grid: Grid, subsample_mm: float
) -> tuple[tuple[slice, slice, slice], NDArray[np.float32]] | None:
    """Share of each voxel that the disc fills, in the window that can hold it; None off the grid."""
    frame = Frame(disc.centre_lps, disc.rotation)
    # Half a voxel's diagonal more, so that voxels whose centre is outside are met too.
    spare = 0.5 * float(np.linalg.norm(grid.spacing_mm))
    window = box_of(grid, frame, -disc.reach_mm - spare, disc.reach_mm + spare)
    if window is None:
        return None
    part = Volume(grid, np.broadcast_to(np.uint8(0), grid.shape)).cropped(
        [s.start for s in window], [s.stop for s in window]
    )
    share = np.empty(part.grid.shape, dtype=np.float32)
    for rows, fine, merge in fine_slabs(part.grid, subsample_mm, odd=True):
        i, j, k = fine.shape
        whole = (slice(0, i), slice(0, j), slice(0, k))
        share[rows] = merge(disc.inside(*local_axes(fine, frame, whole, np.float64)))
    return window, share
