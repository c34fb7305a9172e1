"""Turn a label map into single discs: instances, levels, flags, and the centred cube of each.

A mask that names its levels is taken at its word. Otherwise the connected parts of the disc voxels are
sorted out: fragments of one disc are joined, parts that no vertebra rests on are dropped, and what is left
is counted upwards from the lowest disc, which is assumed to be L5/S1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from discometry.core.anatomy import (
    CONVENTIONS,
    DISC_LABEL_BASE,
    LEVELS,
    Convention,
    detect_convention,
    label_of_level,
    level_of_label,
)
from discometry.core.errors import LabelError
from discometry.core.records import CUBE_SHAPE, CUBE_SPACING_MM, Disc, Spine
from discometry.core.volume import Grid, Volume

__all__ = ["SeparateConfig", "disc_cube", "separate"]

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SeparateConfig:
    """Options of :func:`separate`."""

    convention: str | None = None
    """Name of the label convention, one of :data:`~discometry.core.anatomy.CONVENTIONS`; None recognises it."""
    least_volume_mm3: float = 300.0
    """Smaller parts of unnamed disc voxels are specks."""
    least_share: float = 0.15
    """Parts smaller than this share of the median disc are specks, unless cut off by the image's border."""
    join_mm: float = 4.0
    """A part whose middle is this near to another's mid-plane belongs to the same disc .."""
    join_reach_mm: float = 35.0
    """.. if their middles are no farther apart than this."""
    least_support: float = 0.25
    """Part of a disc's columns that must find vertebra above, where vertebrae are labelled."""
    support_reach_mm: float = 6.0
    """How far above the disc vertebra is looked for."""


@dataclass(frozen=True, slots=True)
class _Part:
    """A disc candidate: its voxels (n, 3), middle and volume, and whether it reaches the image's border."""

    voxels: NDArray[np.intp]
    middle_lps: FloatArray
    volume_mm3: float
    at_border: bool


def separate(labels: Volume, config: SeparateConfig | None = None) -> Spine:
    """Separate a label map into discs, from the lowest up.

    Parameters
    ----------
    labels
        Integer label map in a known convention, any axis order.
    config
        Options.

    Returns
    -------
    Spine
        Discs with levels and flags; their label map lies on the grid of ``labels``.

    Raises
    ------
    LabelError
        If the labels fit no convention or hold no disc.
    """
    config = config or SeparateConfig()
    source = labels.oriented()
    convention = _convention(source, config)
    named = _named_parts(source, convention)
    flags: dict[int, tuple[str, ...]] = {label: () for label in named}
    if not named:
        parts = _sorted_out(source, convention, config)
        named = {DISC_LABEL_BASE + 1 + place: part for place, part in enumerate(parts)}
        median = float(np.median([part.volume_mm3 for part in parts]))
        flags = {
            label: ("level_assumed", *(["merged"] if part.volume_mm3 > 2.2 * median else []))
            for label, part in named.items()
        }
    output = np.zeros(source.grid.shape, dtype=np.int16)
    for label, part in named.items():
        output[tuple(part.voxels.T)] = label
    discs = tuple(_disc(source.grid, label, part, flags[label]) for label, part in sorted(named.items()))
    return Spine(Volume(source.grid, output).like(labels.grid), discs)


def _convention(source: Volume, config: SeparateConfig) -> Convention:
    if config.convention is None:
        return detect_convention(np.unique(source.array))
    if config.convention not in CONVENTIONS:
        raise LabelError(
            f"label convention {config.convention!r}",
            expected=f"one of {', '.join(CONVENTIONS)}",
            action="name one of these, or leave it out to have it recognised",
        )
    return CONVENTIONS[config.convention]


def _named_parts(source: Volume, convention: Convention) -> dict[int, _Part]:
    """Give the voxels of every disc that the mask itself names, by our label."""
    values = np.unique(source.array)
    return {
        label_of_level(level): _part(source.grid, np.argwhere(source.array == value))
        for value, level in convention.discs.items()
        if value in values
    }


def _part(grid: Grid, voxels: NDArray[np.intp]) -> _Part:
    ends = np.array(grid.shape) - 1
    at_border = bool(((voxels.min(axis=0) == 0) | (voxels.max(axis=0) == ends)).any())
    middle = grid.to_world(voxels.mean(axis=0))
    return _Part(voxels, middle, len(voxels) * grid.voxel_volume_mm3, at_border)


def _sorted_out(source: Volume, convention: Convention, config: SeparateConfig) -> list[_Part]:
    """Find the discs among unnamed disc voxels, from the lowest up."""
    discs = np.isin(source.array, list(convention.unnamed_discs))
    bone = np.isin(source.array, list(convention.vertebrae))
    components = cc3d.connected_components(discs, connectivity=6)
    parts = [
        _part(source.grid, np.argwhere(components[box] == number) + [side.start for side in box])
        for number, box in enumerate(ndimage.find_objects(components), start=1)
    ]
    parts = [part for part in parts if part.volume_mm3 >= config.least_volume_mm3]
    parts = _joined(source.grid, parts, config)
    if bone.any():
        parts = [part for part in parts if _is_between_bones(source.grid, part, bone, config)]
    if parts:
        least = config.least_share * float(np.median([part.volume_mm3 for part in parts]))
        parts = [part for part in parts if part.at_border or part.volume_mm3 >= least]
    if not parts:
        raise LabelError(
            "no disc",
            expected="voxels labelled as disc, or an image that shows a lumbar spine",
            action="look at the input; a mask needs its convention named with --labels if it is not recognised",
        )
    return _along_the_spine(parts)[: len(LEVELS)]


def _joined(grid: Grid, parts: list[_Part], config: SeparateConfig) -> list[_Part]:
    """Join fragments to the disc in whose mid-plane they lie, the largest first."""
    whole: list[_Part] = []
    for part in sorted(parts, key=lambda one: -one.volume_mm3):
        for place, disc in enumerate(whole):
            between = part.middle_lps - disc.middle_lps
            near = np.linalg.norm(between) < config.join_reach_mm
            if near and abs(between @ _normal(grid, disc)) < config.join_mm:
                whole[place] = _part(grid, np.concatenate([disc.voxels, part.voxels]))
                break
        else:
            whole.append(part)
    return whole


def _normal(grid: Grid, part: _Part) -> FloatArray:
    """Direction in which a part is thinnest."""
    points = part.voxels @ grid.affine[:3, :3].T
    _, axes = np.linalg.eigh(np.cov(points.T) + np.diag(np.square(grid.spacing_mm)) / 12)
    normal: FloatArray = axes[:, 0]
    return normal


def _is_between_bones(grid: Grid, part: _Part, bone: BoolArray, config: SeparateConfig) -> bool:
    """Tell whether vertebra rests on a part; where the image ends above it, whether it rests on vertebra.

    The sacrum is no vertebra here, so what lies between its segments has none above.
    """
    reach = max(1, round(config.support_reach_mm / grid.spacing_mm[2]))
    low, high = part.voxels.min(axis=0), part.voxels.max(axis=0)
    window = (slice(low[0], high[0] + 1), slice(low[1], high[1] + 1))
    inside = np.zeros((*(high - low + 1)[:2], bone.shape[2]), dtype=bool)
    inside[tuple((part.voxels - [low[0], low[1], 0]).T)] = True
    columns = inside.any(axis=2)
    near = bone[window]

    def support(towards: int) -> float:
        """Part of the columns whose next voxels towards + or - S hold bone."""
        found = np.zeros_like(columns)
        for step in range(1, reach + 1):
            shifted = np.zeros_like(near)
            if towards > 0:
                shifted[:, :, :-step] = near[:, :, step:]
            else:
                shifted[:, :, step:] = near[:, :, :-step]
            found |= (shifted & inside).any(axis=2)
        return float(found.sum() / columns.sum())

    if high[2] == bone.shape[2] - 1:
        return support(-1) >= config.least_support
    return support(+1) >= config.least_support


def _along_the_spine(parts: Sequence[_Part]) -> list[_Part]:
    """Order parts along the spine: from the lowest, each time on to the nearest one left."""
    left = sorted(parts, key=lambda part: part.middle_lps[2])
    chain = [left.pop(0)]
    while left:
        gaps = [float(np.linalg.norm(part.middle_lps - chain[-1].middle_lps)) for part in left]
        chain.append(left.pop(int(np.argmin(gaps))))
    return chain


def _disc(grid: Grid, label: int, part: _Part, flags: tuple[str, ...]) -> Disc:
    """Cut a disc out, resample it to its cube, and flag what speaks against trusting it."""
    margin = 2
    low = np.maximum(part.voxels.min(axis=0) - margin, 0)
    high = np.minimum(part.voxels.max(axis=0) + 1 + margin, grid.shape)
    inside = np.zeros(high - low, dtype=bool)
    inside[tuple((part.voxels - low).T)] = True
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world(low)
    i, j, k = inside.shape
    mask = Volume(Grid((i, j, k), affine), inside)
    found = list(flags)
    if part.at_border:
        found.append("truncated")
    if (np.ptp(part.voxels, axis=0) + 1).min() < 3:
        found.append("few_slices")
    if cc3d.statistics(cc3d.connected_components(inside))["voxel_counts"][1:].max() < 0.95 * inside.sum():
        found.append("fragmented")
    half = np.array(CUBE_SHAPE) * CUBE_SPACING_MM / 2
    if (np.abs(grid.to_world(part.voxels) - part.middle_lps).max(axis=0) > half).any():
        found.append("cropped_cube")
    return Disc(label, level_of_label(label), mask, disc_cube(mask), tuple(found))


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
        Boolean; its volume is the mask's to within a voxel where the disc fits into the cube.
    """
    inside = np.pad(np.ascontiguousarray(mask.array, dtype=bool), 2)
    spacing = mask.grid.spacing_mm
    distance = edt.edt(inside, anisotropy=spacing) - edt.edt(~inside, anisotropy=spacing)
    centre = mask.grid.to_world(np.argwhere(mask.array).mean(axis=0))
    origin = centre - (np.array(CUBE_SHAPE) - 1) / 2 * CUBE_SPACING_MM
    cube = Grid.from_spacing(CUBE_SHAPE, CUBE_SPACING_MM, origin_mm=origin)
    to_index = np.linalg.inv(mask.grid.affine[:3, :3])
    field = ndimage.affine_transform(
        distance,
        to_index @ cube.affine[:3, :3],
        offset=mask.grid.to_index(origin) + 2,
        output_shape=CUBE_SHAPE,
        order=1,
        mode="constant",
        cval=float(distance.min()),
    )
    wanted = max(1, round(int(mask.array.sum()) * mask.grid.voxel_volume_mm3 / cube.voxel_volume_mm3))
    level = np.partition(field.ravel(), -wanted)[-wanted]
    return Volume(cube, field >= level)
