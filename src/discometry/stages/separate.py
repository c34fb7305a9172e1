"""Turn a label map into single discs: instances, levels, flags, and the centred cube of each.

A mask that names its levels is taken at its word: of each label, the largest connected part and what lies
in its plane are the disc. Otherwise the connected parts of the disc voxels are sorted out, in this order:

1. Parts below ``speck_mm3`` are noise.
2. A part joins a larger one if it lies in that one's plane: fragments of one disc.
3. A part that stretches too far along the spine is two discs that touch, and is cut where it is thinnest.
4. What is too small for a disc is dropped, what lies beside no vertebra where vertebrae are labelled, and
   what stands aside of the column that most of the rest forms.
5. What is left is counted upwards along the spine, from the disc that rests on the sacrum where one does,
   otherwise from the lowest; a step with room for another disc leaves its level out.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from discometry.core.anatomy import (
    CONVENTIONS,
    LEVELS,
    Convention,
    detect_convention,
    label_of_level,
    level_of_label,
)
from discometry.core.errors import LabelError
from discometry.core.records import Disc, Spine
from discometry.core.spine_order import (
    along_the_spine,
    close_to_the_next,
    missing_below,
    out_of_line,
    support,
)
from discometry.core.volume import Grid, Volume
from discometry.signed_distance import disc_cube, fits_cube

__all__ = ["SeparateConfig", "disc_cube", "separate"]

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SeparateConfig:
    """Options of :func:`separate`; see the module for the rules."""

    convention: str | None = None
    """One of :data:`~discometry.core.anatomy.CONVENTIONS`; None recognises it from the labels."""
    speck_mm3: float = 30.0
    """Smaller connected parts are noise."""
    join_mm: float = 6.0
    """A part whose middle is this near to another's mid-plane belongs to the same disc .."""
    join_reach_mm: float = 40.0
    """.. if their middles are no farther apart than this."""
    merged_spread_mm: float = 9.0
    """A part whose voxels spread more along the spine (standard deviation) is more than one disc."""
    merged_share: float = 2.2
    """A part larger than this times the median disc is flagged as more than one disc."""
    least_volume_mm3: float = 300.0
    """Smaller parts of unnamed disc voxels are no discs."""
    least_share: float = 0.15
    """Nor are parts smaller than this share of the median disc, unless cut off by the image's border."""
    greatest_step_mm: float = 80.0
    """Discs of one spine follow each other at most this far up (a missing one doubles the usual step) .."""
    greatest_lean: float = 0.7
    """.. and to the side by at most this part of the step upwards, and 15 mm."""
    least_support: float = 0.25
    """Part of a disc's columns that must find vertebra above or below, where vertebrae are labelled."""
    support_reach_mm: float = 6.0
    """How far above and below the disc vertebra is looked for; the sacrum, twice as far."""
    rudiment_share: float = 0.35
    """A disc within the sacrum is a rudiment up to this share of the median disc."""


def separate(labels: Volume, config: SeparateConfig | None = None) -> Spine:
    """Separate a label map into discs, from the lowest up.

    Parameters
    ----------
    labels
        Integer label map in a known convention, any axis order.
    config
        Options; the segmenter's own classes are the convention ``"tissue"``, which must be named.

    Returns
    -------
    Spine
        Discs with levels; their label map lies on the grid of ``labels``. Flags: ``ambiguous_level`` (counted
        from the lowest disc, no sacrum in view), ``transitional`` (a disc within the sacrum too),
        ``missing_below`` (no disc where one should be), ``duplicate`` (too close to the next),
        ``out_of_line`` (off the spine's curve), ``truncated`` (touches the image's border), ``few_slices``
        (less than three voxels along an axis), ``fragmented`` (in pieces), ``merged`` (more than one disc, or
        cut from such), ``cropped_cube`` (larger than its cube).

    Raises
    ------
    LabelError
        If the values are no labels, fit no convention, or hold no disc.
    """
    config = config or SeparateConfig()
    values = _values(labels.array)
    convention = _convention(values, config)
    source = labels.oriented()
    if convention.names_levels:
        codes = {value: label_of_level(level) for value, level in convention.discs.items()}
        if left_out := sorted(convention.unnamed_discs.intersection(values)):
            _LOG.warning("discs of mask value %s have no level of ours and are left out", left_out)
    else:
        codes = dict.fromkeys(convention.unnamed_discs, 1)
    present = {value: code for value, code in codes.items() if value in values}
    parts = _connected(source, present, config.speck_mm3, corners=convention.names_levels)
    if convention.names_levels:
        discs = _named(parts, source.grid, config)
    else:
        discs = _counted(parts, source, convention, config)
    if not discs:
        raise _no_disc(convention, values)
    output = np.zeros(source.grid.shape, dtype=np.int16)
    for part in discs:
        output[tuple(part.voxels.T)] = part.code
    records = tuple(_disc(source.grid, part) for part in sorted(discs, key=lambda one: one.code))
    return Spine(Volume(source.grid, output).like(labels.grid), records)


def _no_disc(convention: Convention, values: Sequence[int]) -> LabelError:
    if convention.name == "tissue":
        return LabelError(
            "no disc among the tissues found in the image",
            expected="an MRI that shows a lumbar spine",
            action="look at the image, and whether its header says rightly how it lies",
        )
    return LabelError(
        f"no disc (convention {convention.name!r}, mask values {list(values[:12])})",
        expected="voxels labelled as disc",
        action="look at the mask, and name its label convention with --labels",
    )


def _values(array: NDArray[np.generic]) -> list[int]:
    """Distinct values of a label map but zero, ascending."""
    whole = array.dtype == np.bool_ or np.issubdtype(array.dtype, np.integer)
    if not whole and np.issubdtype(array.dtype, np.floating):
        whole = bool((np.isfinite(array) & (array == np.rint(array))).all())
    if not whole:
        raise LabelError(
            "a mask with values that are not whole numbers",
            expected="integer labels",
            action="give the label map, not an image or a map of probabilities",
        )
    if array.min() >= 0 and array.max() < 2**16:
        present = np.flatnonzero(np.bincount(array.astype(np.uint16).ravel()))
    else:
        present = np.unique(array).astype(np.int64)
    return [int(value) for value in present if value != 0]


def _convention(values: Sequence[int], config: SeparateConfig) -> Convention:
    if config.convention is None:
        return detect_convention(values)
    if config.convention not in CONVENTIONS:
        raise LabelError(
            f"label convention {config.convention!r}",
            expected=f"one of {', '.join(CONVENTIONS)}",
            action="name one of these, or leave it out to have it recognised",
        )
    return CONVENTIONS[config.convention]


@dataclass(frozen=True, slots=True)
class _Part:
    """Voxels (n, 3) that belong together, with their places (n, 3; mm, off by a shift), code and flags."""

    code: int
    voxels: NDArray[np.intp]
    points: FloatArray
    volume_mm3: float
    solid_mm3: float
    """Volume of the largest connected piece."""
    flags: tuple[str, ...] = ()

    @property
    def middle(self) -> FloatArray:
        """Mean place of the voxels, mm."""
        middle: FloatArray = self.points.mean(axis=0)
        return middle

    def some(self, chosen: BoolArray, flag: str) -> _Part:
        """Take some of the voxels, flagged."""
        volume = self.volume_mm3 * float(chosen.mean())
        flags = (*self.flags, flag)
        return _Part(self.code, self.voxels[chosen], self.points[chosen], volume, volume, flags)

    def joined(self, other: _Part) -> _Part:
        """Take a fragment in."""
        return replace(
            self,
            voxels=np.concatenate([self.voxels, other.voxels]),
            points=np.concatenate([self.points, other.points]),
            volume_mm3=self.volume_mm3 + other.volume_mm3,
        )

    def at_border(self, grid: Grid) -> bool:
        """Whether the part reaches the border of its grid."""
        ends = np.array(grid.shape) - 1
        return bool(((self.voxels.min(axis=0) == 0) | (self.voxels.max(axis=0) == ends)).any())


def _connected(source: Volume, codes: dict[int, int], least_mm3: float, *, corners: bool) -> list[_Part]:
    """Find the connected parts of each code but specks; voxels may touch at ``corners`` or at faces only."""
    coded = np.zeros(source.grid.shape, dtype=np.int16)
    for value, code in codes.items():
        coded[source.array == value] = code
    used = [np.flatnonzero(coded.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if used[0].size == 0:
        return []
    window = tuple(slice(int(side[0]), int(side[-1]) + 1) for side in used)
    block = np.ascontiguousarray(coded[window])
    components = cc3d.connected_components(block, connectivity=26 if corners else 6)
    voxels = np.argwhere(components)
    numbers = components[tuple(voxels.T)]
    order = np.argsort(numbers, kind="stable")
    ends = np.flatnonzero(np.diff(numbers[order])) + 1
    parts = []
    for group in np.split(voxels[order], ends):
        volume = len(group) * source.grid.voxel_volume_mm3
        if volume >= least_mm3:
            voxels = group + np.array([side.start for side in window])
            places = voxels.astype(np.float64) @ source.grid.affine[:3, :3].T
            parts.append(_Part(int(block[tuple(group[0])]), voxels, places, volume, volume))
    return parts


def _named(parts: Sequence[_Part], grid: Grid, config: SeparateConfig) -> list[_Part]:
    """Give of each label the largest part and its fragments."""
    labels = sorted({part.code for part in parts})
    return [_joined([part for part in parts if part.code == label], grid, config)[0] for label in labels]


def _joined(parts: Sequence[_Part], grid: Grid, config: SeparateConfig) -> list[_Part]:
    """Join fragments to the disc in whose mid-plane they lie until no more do; the largest comes first."""
    whole: list[_Part] = []
    for part in sorted(parts, key=lambda one: -one.volume_mm3):
        for place, disc in enumerate(whole):
            between = part.middle - disc.middle
            near = float(np.linalg.norm(between)) < config.join_reach_mm
            if near and abs(float(between @ _normal(disc, grid))) < config.join_mm:
                whole[place] = disc.joined(part)
                break
        else:
            whole.append(part)
    return whole if len(whole) == len(parts) else _joined(whole, grid, config)


def _normal(part: _Part, grid: Grid) -> FloatArray:
    """Direction in which a part is thinnest, its voxels' own extent included."""
    off = part.points - part.middle
    cell = grid.affine[:3, :3] @ grid.affine[:3, :3].T / 12.0
    _, axes = np.linalg.eigh(off.T @ off / len(off) + cell)
    normal: FloatArray = axes[:, 0]
    return normal


def _counted(
    parts: Sequence[_Part], source: Volume, convention: Convention, config: SeparateConfig
) -> list[_Part]:
    """Find the discs among unnamed parts, and count their levels upwards."""
    discs = _joined(parts, source.grid, config)
    discs = [part for part in discs if part.volume_mm3 >= config.least_volume_mm3]
    discs = _cut_apart(_ordered(discs), config)
    bone, sacrum = (np.isin(source.array, sorted(kind)) for kind in (convention.vertebrae, convention.sacrum))
    reach = max(1, round(config.support_reach_mm / source.grid.spacing_mm[2]))
    if bone.any():
        # Either side will do: the body above may be outside the image, and segmenters miss bodies.
        discs = [part for part in discs if max(support(part.voxels, bone, reach)) >= config.least_support]
    if not discs:
        return []
    discs = _one_spine(discs, config)
    median = float(np.median([part.volume_mm3 for part in discs]))
    discs = [
        part
        for part in discs
        if part.volume_mm3 >= config.least_share * median or part.at_border(source.grid)
    ]
    discs = _ordered(discs)
    first = next((n for n, part in enumerate(discs) if _rests_on(part, sacrum, reach, config)), None)
    # Between two segments of the sacrum there is a rudiment, or the disc of a lumbarised S1: who can tell?
    transitional = bool(first) and max(part.volume_mm3 for part in discs[:first]) > config.rudiment_share * median
    return _levelled(discs[first or 0 :], median, config, sure=first is not None, transitional=transitional)


def _rests_on(part: _Part, sacrum: BoolArray, reach: int, config: SeparateConfig) -> bool:
    """Tell whether a part lies on the sacrum, and not within it."""
    below, above = support(part.voxels, sacrum, 2 * reach)
    return below >= config.least_support and above < config.least_support


def _levelled(
    discs: Sequence[_Part], median_mm3: float, config: SeparateConfig, *, sure: bool, transitional: bool
) -> list[_Part]:
    """Name ordered discs from L5/S1 upwards, leaving room for those that are missing, and flag what is odd."""
    middles = np.array([part.middle for part in discs])
    missing = missing_below(middles)
    places = np.arange(len(discs)) + np.cumsum(missing)
    if places[-1] >= len(LEVELS):
        raise LabelError(
            f"{len(discs)} separate parts",
            expected=f"at most {len(LEVELS)} discs",
            action="check that the mask is one of intervertebral discs",
        )
    close, aside = close_to_the_next(middles), out_of_line(middles)
    found = []
    for number, (place, part) in enumerate(zip(places, discs, strict=True)):
        flags = {
            "ambiguous_level": not sure,
            "transitional": transitional,
            **dict.fromkeys(part.flags, True),
            "merged": "merged" in part.flags or part.volume_mm3 > config.merged_share * median_mm3,
            "missing_below": missing[number] > 0,
            "duplicate": close[number],
            "out_of_line": aside[number],
        }
        kept = tuple(flag for flag, holds in flags.items() if holds)
        found.append(replace(part, code=label_of_level(LEVELS[place]), flags=kept))
    return found


def _ordered(parts: Sequence[_Part]) -> list[_Part]:
    return [parts[place] for place in along_the_spine(np.array([part.middle for part in parts]))]


def _one_spine(parts: Sequence[_Part], config: SeparateConfig) -> list[_Part]:
    """Keep the parts that lie in one column: of all groups of parts that follow each other, the largest."""
    middles = np.array([part.middle for part in parts])
    between = np.abs(middles[:, None] - middles)
    up, aside = between[..., 2], np.linalg.norm(between[..., :2], axis=-1)
    follows = (up <= config.greatest_step_mm) & (aside <= config.greatest_lean * up + 15.0)
    _, group = connected_components(follows, directed=False)
    volumes = np.bincount(group, weights=[part.volume_mm3 for part in parts])
    return [part for part, number in zip(parts, group, strict=True) if number == volumes.argmax()]


def _cut_apart(parts: Sequence[_Part], config: SeparateConfig) -> list[_Part]:
    """Cut what stretches too far along the spine, as its neighbours show it, into two discs."""
    found: list[_Part] = []
    for place, part in enumerate(parts):
        spine = parts[min(place + 1, len(parts) - 1)].middle - parts[max(place - 1, 0)].middle
        height = part.points @ (spine / max(float(np.linalg.norm(spine)), 1e-9))
        if height.std() <= config.merged_spread_mm:
            found.append(part)
            continue
        counts, edges = np.histogram(height, bins=max(8, int(np.ptp(height) / 2.0)))
        quarter = len(counts) // 4
        thin = quarter + int(np.argmin(counts[quarter:-quarter]))
        level = 0.5 * (edges[thin] + edges[thin + 1])
        if counts[thin] > 0.5 * min(counts[:thin].max(), counts[thin + 1 :].max()):
            found.append(replace(part, flags=(*part.flags, "merged")))
        else:
            found += [part.some(height < level, "merged"), part.some(height >= level, "merged")]
    return found


def _disc(grid: Grid, part: _Part) -> Disc:
    """Cut a disc out, resample it to its cube, and flag what speaks against trusting it."""
    margin = 2
    low = np.maximum(part.voxels.min(axis=0) - margin, 0)
    high = np.minimum(part.voxels.max(axis=0) + 1 + margin, grid.shape)
    inside = np.zeros(high - low, dtype=bool)
    inside[tuple((part.voxels - low).T)] = True
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_world(low.astype(np.float64))
    i, j, k = inside.shape
    mask = Volume(Grid((i, j, k), affine), inside)
    flags = list(part.flags)
    if part.solid_mm3 < 0.95 * part.volume_mm3:
        flags.append("fragmented")
    if part.at_border(grid):
        flags.append("truncated")
    if (np.ptp(part.voxels, axis=0) + 1).min() < 3:
        flags.append("few_slices")
    if not fits_cube(part.points):
        flags.append("cropped_cube")
    return Disc(part.code, level_of_label(part.code), mask, disc_cube(mask), tuple(flags))
