"""Sheets cut through a study: where each pixel of a picture lies in the world, and what is found there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import level_of_label
from discometry.core.volume import Volume

__all__ = ["DiscRegion", "Sheet", "axial_sheet", "coronal_sheet", "find_regions", "sagittal_sheet", "sample"]

FloatArray = NDArray[np.float64]

PIXEL_MM = 0.5
"""Distance between neighbouring points of a sheet."""

MAX_TILT_DEG = 60.0
"""A disc's fitted axis further than this from the superior axis is taken to be a wrong fit."""


@dataclass(frozen=True, eq=False)
class DiscRegion:
    """One disc of a label map: its mask cut out with a margin of one voxel, and its voxels' places.

    ``axis`` is the unit normal of the disc's mid-plane, pointing superiorly.
    """

    label: int
    level: str
    mask: Volume
    points_lps: FloatArray
    centre_lps: FloatArray
    axis: FloatArray


@dataclass(frozen=True, eq=False)
class Sheet:
    """The points of a picture.

    Parameters
    ----------
    points_lps
        World position of every pixel, rows x columns x 3, mm; rows run down the page, columns to the right.
    step_mm
        Distance between neighbouring pixels.
    edges
        Letters for the left, right, upper and lower edge, such as ``("A", "P", "S", "I")``.
    """

    points_lps: FloatArray
    step_mm: float
    edges: tuple[str, str, str, str]

    @property
    def size_mm(self) -> tuple[float, float]:
        """Width and height on the page, mm."""
        rows, columns = self.points_lps.shape[:2]
        return columns * self.step_mm, rows * self.step_mm


def find_regions(labels: Volume) -> tuple[DiscRegion, ...]:
    """Cut every disc out of a label map (201 = L5/S1 upwards), from the lowest up."""
    from scipy import ndimage

    boxes = ndimage.find_objects(np.ascontiguousarray(labels.array))
    regions = []
    for value, box in enumerate(boxes, start=1):
        if box is None:
            continue
        lower = [part.start - 1 for part in box]
        upper = [part.stop + 1 for part in box]
        crop = labels.cropped(lower, upper)
        mask = crop.with_array(crop.array == value)
        points = mask.grid.to_world(np.argwhere(mask.array).astype(np.float64))
        centre = points.mean(axis=0)
        axis = _thin_axis(points - centre)
        regions.append(DiscRegion(value, level_of_label(value), mask, points, centre, axis))
    return tuple(regions)


def _thin_axis(offsets: FloatArray) -> FloatArray:
    """Direction in which a cloud of points is thinnest; straight up where that cannot be a disc's axis."""
    _, vectors = np.linalg.eigh(offsets.T @ offsets)
    axis: FloatArray = vectors[:, 0] * (1.0 if vectors[2, 0] >= 0 else -1.0)
    if axis[2] < np.cos(np.deg2rad(MAX_TILT_DEG)):
        return np.array([0.0, 0.0, 1.0])
    return axis


def sagittal_sheet(
    labels: Volume, regions: Sequence[DiscRegion], *, margins_mm: tuple[float, float, float]
) -> Sheet:
    """Unroll a sagittal sheet that passes through every disc's centre, anterior at the left.

    Parameters
    ----------
    labels
        Gives the directions of the sheet: those of its voxel axes, so that no slices are mixed.
    regions
        At least one disc.
    margins_mm
        Room beside the discs: anterior, posterior, and above as well as below.
    """
    front, back, ends = margins_mm
    return _spinal_sheet(
        labels, regions, across=1, margins_mm=(front, back, ends), edges=("A", "P", "S", "I")
    )


def coronal_sheet(
    labels: Volume, regions: Sequence[DiscRegion], *, margins_mm: tuple[float, float, float]
) -> Sheet:
    """Unroll a coronal sheet through every disc's centre, the patient's right at the viewer's left.

    Parameters are those of :func:`sagittal_sheet`; the margins are right, left, and above as well as below.
    """
    right, left, ends = margins_mm
    return _spinal_sheet(
        labels, regions, across=0, margins_mm=(right, left, ends), edges=("R", "L", "S", "I")
    )


def _spinal_sheet(
    labels: Volume,
    regions: Sequence[DiscRegion],
    *,
    across: int,
    margins_mm: tuple[float, float, float],
    edges: tuple[str, str, str, str],
) -> Sheet:
    """Make a sheet along the spine: ``across`` (0 = L, 1 = P) runs over the page, the third axis bends."""
    axes = labels.oriented().grid.direction
    into = np.linalg.inv(axes)
    before, after, ends = margins_mm
    everything = np.concatenate([region.points_lps for region in regions]) @ into.T
    lower, upper = everything.min(axis=0), everything.max(axis=0)
    centres = np.array([region.centre_lps for region in regions]) @ into.T
    centres = centres[np.argsort(centres[:, 2])]

    columns = np.arange(lower[across] - before, upper[across] + after, PIXEL_MM)
    rows = np.arange(upper[2] + ends, lower[2] - ends, -PIXEL_MM)
    bend = np.interp(rows, centres[:, 2], centres[:, 1 - across])
    points = np.empty((rows.size, columns.size, 3))
    points[..., across] = columns
    points[..., 1 - across] = bend[:, None]
    points[..., 2] = rows[:, None]
    return Sheet(points @ axes.T, PIXEL_MM, edges)


def axial_sheet(region: DiscRegion, *, half_size_mm: tuple[float, float]) -> Sheet:
    """Lay a sheet in a disc's own mid-plane, anterior up, the patient's right at the viewer's left.

    ``half_size_mm`` is half the width and half the height of the picture.
    """
    leftward = np.array([1.0, 0.0, 0.0]) - region.axis[0] * region.axis
    leftward /= np.linalg.norm(leftward)
    posterior = np.cross(region.axis, leftward)
    width, height = half_size_mm
    columns = np.arange(-width, width + PIXEL_MM / 2, PIXEL_MM)
    rows = np.arange(-height, height + PIXEL_MM / 2, PIXEL_MM)
    points = region.centre_lps + rows[:, None, None] * posterior + columns[None, :, None] * leftward
    return Sheet(points, PIXEL_MM, ("R", "L", "A", "P"))


def half_size_of(regions: Sequence[DiscRegion], *, margin_mm: float) -> tuple[float, float]:
    """Half the width and height, mm, of an axial picture in which each of the discs fits, with a margin."""
    reach = np.zeros(2)
    for region in regions:
        offsets = np.abs(region.points_lps - region.centre_lps).max(axis=0)
        reach = np.maximum(reach, offsets[:2])
    return float(reach[0] + margin_mm), float(reach[1] + margin_mm)


def sample(volume: Volume, sheet: Sheet, *, outside: float) -> NDArray[np.float32]:
    """Interpolate a volume linearly at a sheet's points; beyond the volume's voxels stands ``outside``."""
    from scipy import ndimage

    # A point within half a voxel of the outermost centres still lies in a voxel.
    top = np.array(volume.grid.shape, dtype=np.float64) - 1
    index = volume.grid.to_index(sheet.points_lps.reshape(-1, 3))
    inside = ((index >= -0.5) & (index <= top + 0.5)).all(axis=1)
    array = volume.array if volume.array.dtype != np.bool_ else volume.array.view(np.uint8)
    values = np.full(len(index), outside, dtype=np.float32)
    values[inside] = ndimage.map_coordinates(
        array, np.clip(index[inside], 0, top).T, output=np.float32, order=1, mode="nearest", prefilter=False
    )
    picture: NDArray[np.float32] = values.reshape(sheet.points_lps.shape[:2])
    return picture
