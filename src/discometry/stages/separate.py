"""Turn a label map into single discs: instances, levels, flags, and the centred cube of each.

A mask that names its levels is taken at its word: of each label, the largest connected part and what lies
in its plane are the disc. What is odd about their order and size is flagged, and nothing is cut or renamed.
Otherwise the connected parts of the disc voxels are sorted out, in this order:

1. Parts below ``speck_mm3`` are noise.
2. A part joins a larger one if it lies in that one's plane: fragments of one disc.
3. A part that stretches too far along the spine is several discs that touch, and is cut where it is
   thinnest, as are the pieces.
4. What is too small for a disc is dropped, what lies beside no vertebra where vertebrae are labelled, and
   what stands aside of the column that most of the rest forms.
5. What is left is counted upwards along the spine, from the disc that rests on the sacrum where one does,
   otherwise from the lowest; a step with room for another disc leaves its level out.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import (
    CONVENTIONS,
    LEVELS,
    Convention,
    detect_convention,
    label_of_level,
    level_of_label,
)
from discometry.core.errors import InputError, LabelError
from discometry.core.records import Disc, Spine
from discometry.core.spine_order import (
    USUAL_STEP_MM,
    along_the_spine,
    close_to_the_next,
    missing_below,
    out_of_line,
    support,
    usual_steps_mm,
)
from discometry.core.volume import Grid, Volume
from discometry.disc_parts import Part, connected_parts, cut_apart, joined, stretched
from discometry.signed_distance import disc_cube, fits_cube

__all__ = ["SeparateConfig", "disc_cube", "separate"]

BoolArray = NDArray[np.bool_]

_LOG = logging.getLogger(__name__)

_LEAST_SACRUM_MM3 = 3000.0
"""Less of it is no sacrum to go by."""


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
    lone_spread_mm: float = 12.0
    """The same where no other part shows which way the spine runs, so that it is taken as upright: a steep
    L5/S1 spreads up to 9 mm then, two discs at least as far as from 13 mm on."""
    merged_share: float = 2.2
    """An unnamed part larger than this times the median disc is flagged as more than one disc .."""
    merged_volume_mm3: float = 30_000.0
    """.. and any part larger than this: the largest lumbar discs have 20 to 25 ml, and of the made-up ones
    one in 240 has more."""
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
        cut from such), ``cropped_cube`` (larger than its cube). The first two are for unnamed discs only; a
        mask that skips a level gives the disc above the gap ``missing_below``, too.

    Raises
    ------
    LabelError
        If the values are no labels, fit no convention, or hold no disc.
    InputError
        If the spine lies upside down or back to front.
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
    parts = connected_parts(source, present, config.speck_mm3, corners=convention.names_levels)
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
    vertebrae, canal = (_mask(source, kind) for kind in (convention.vertebrae, convention.canal))
    return Spine(Volume(source.grid, output).like(labels.grid), records, vertebrae, canal)


def _mask(labels: Volume, values: Collection[int]) -> Volume | None:
    inside = np.isin(labels.array, sorted(values))
    return Volume(labels.grid, inside) if inside.any() else None


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


def _named(parts: Sequence[Part], grid: Grid, config: SeparateConfig) -> list[Part]:
    """Give of each label the largest part and its fragments, flagged where they stand oddly."""
    labels = sorted({part.code for part in parts})
    discs = [_joined([part for part in parts if part.code == label], grid, config)[0] for label in labels]
    if not discs:
        return []
    discs = _ordered(discs)
    usual = usual_steps_mm([level_of_label(part.code) for part in discs])
    missing = missing_below(np.array([part.middle for part in discs]), usual_mm=usual)
    for place in range(1, len(discs)):
        missing[place] = max(missing[place], discs[place].code - discs[place - 1].code - 1)
    found = []
    for place, (part, flags) in enumerate(zip(discs, _order_flags(discs, missing, usual), strict=True)):
        # By share of the median, a whole spine's lumbar discs would seem merged.
        large = part.volume_mm3 > config.merged_volume_mm3
        if large or stretched(discs, place, spread_mm=config.merged_spread_mm, lone_mm=config.lone_spread_mm):
            flags = ["merged", *flags]
        found.append(part.flagged(*flags))
    return found


def _order_flags(
    discs: Sequence[Part], missing: Sequence[int], usual_mm: float | NDArray[np.float64] = USUAL_STEP_MM
) -> list[list[str]]:
    """Tell what is odd about the place of each of the ordered discs."""
    middles = np.array([part.middle for part in discs])
    odd = {
        "missing_below": [count > 0 for count in missing],
        "duplicate": close_to_the_next(middles, usual_mm=usual_mm),
        "out_of_line": out_of_line(middles),
    }
    return [[flag for flag, holds in odd.items() if holds[place]] for place in range(len(discs))]


def _joined(parts: Sequence[Part], grid: Grid, config: SeparateConfig) -> list[Part]:
    return joined(parts, grid, within_mm=config.join_mm, reach_mm=config.join_reach_mm)


def _counted(
    parts: Sequence[Part], source: Volume, convention: Convention, config: SeparateConfig
) -> list[Part]:
    """Find the discs among unnamed parts, and count their levels upwards."""
    discs = _joined(parts, source.grid, config)
    discs = [part for part in discs if part.volume_mm3 >= config.least_volume_mm3]
    discs = cut_apart(_ordered(discs), spread_mm=config.merged_spread_mm, lone_mm=config.lone_spread_mm)
    bone, sacrum = (np.isin(source.array, sorted(kind)) for kind in (convention.vertebrae, convention.sacrum))
    reach = max(1, round(config.support_reach_mm / source.grid.spacing_mm[2]))
    if bone.any():
        # Either side will do: the body above may be outside the image, and segmenters miss bodies.
        beside = [max(support(part.voxels, bone | sacrum, reach)) for part in discs]
        discs = [part for part, share in zip(discs, beside, strict=True) if share >= config.least_support]
    # Between two segments of the sacrum there is a rudiment, or the disc of a lumbarised S1: who can tell?
    within = [support(part.voxels, sacrum, 2 * reach)[1] >= config.least_support for part in discs]
    rudiments = [part for part, inside in zip(discs, within, strict=True) if inside]
    discs = [part for part, inside in zip(discs, within, strict=True) if not inside]
    if not discs:
        return []
    discs = _one_spine(discs, config)
    median = float(np.median([part.volume_mm3 for part in discs]))
    discs = _ordered(
        [
            part
            for part in discs
            if part.volume_mm3 >= config.least_share * median or part.at_border(source.grid)
        ]
    )
    _check_upright(discs, source.grid, np.isin(source.array, sorted(convention.canal)), sacrum)
    resting = [support(part.voxels, sacrum, 2 * reach)[0] >= config.least_support for part in discs]
    large = any(part.volume_mm3 > config.rudiment_share * median for part in rudiments)
    return _levelled(
        discs[resting.index(True) if any(resting) else 0 :],
        median,
        config,
        sure=any(resting),
        transitional=large,
    )


def _check_upright(discs: Sequence[Part], grid: Grid, canal: BoolArray, sacrum: BoolArray) -> None:
    """Refuse a spine whose sacrum lies above its discs, or whose canal lies in front of them."""
    behind = []
    for part in discs:
        low, high = part.voxels[:, 2].min(), part.voxels[:, 2].max() + 1
        beside = np.flatnonzero(canal[:, :, low:high].any(axis=(0, 2)))
        if beside.size:
            behind.append(float(beside.mean() - part.voxels[:, 1].mean()))
    upside_down = False
    if np.count_nonzero(sacrum) * grid.voxel_volume_mm3 > _LEAST_SACRUM_MM3:
        heights = np.arange(sacrum.shape[2])
        middle = float(np.average(heights, weights=np.count_nonzero(sacrum, axis=(0, 1))))
        upside_down = middle > np.mean([part.voxels[:, 2].mean() for part in discs])
    if upside_down or (behind and np.median(behind) < 0):
        raise InputError(
            "a spine whose "
            + ("sacrum lies above" if upside_down else "canal lies in front of")
            + " its discs",
            expected="a header that says rightly which way is up and back",
            action="repair the orientation in the image's header",
        )


def _levelled(
    discs: Sequence[Part], median_mm3: float, config: SeparateConfig, *, sure: bool, transitional: bool
) -> list[Part]:
    """Name ordered discs from L5/S1 up, leave room for those that are missing, and flag what is odd."""
    middles = np.array([part.middle for part in discs])
    missing = missing_below(middles)
    places = np.arange(len(discs)) + np.cumsum(missing)
    if places[-1] >= len(LEVELS):
        raise LabelError(
            f"{len(discs)} separate parts",
            expected=f"at most {len(LEVELS)} discs",
            action="check that the mask is one of intervertebral discs",
        )
    of_all = {"ambiguous_level": not sure, "transitional": transitional}
    first = [flag for flag, holds in of_all.items() if holds]
    found = []
    for place, part, odd in zip(places, discs, _order_flags(discs, missing), strict=True):
        large = part.volume_mm3 > min(config.merged_share * median_mm3, config.merged_volume_mm3)
        flags = dict.fromkeys([*first, *part.flags, *(["merged"] if large else []), *odd])
        found.append(replace(part, code=label_of_level(LEVELS[place]), flags=tuple(flags)))
    return found


def _ordered(parts: Sequence[Part]) -> list[Part]:
    return [parts[place] for place in along_the_spine(np.array([part.middle for part in parts]))]


def _one_spine(parts: Sequence[Part], config: SeparateConfig) -> list[Part]:
    """Keep the parts that lie in one column: of all groups of parts that follow each other, the largest."""
    middles = np.array([part.middle for part in parts])
    between = np.abs(middles[:, None] - middles)
    up, aside = between[..., 2], np.linalg.norm(between[..., :2], axis=-1)
    follows = (up <= config.greatest_step_mm) & (aside <= config.greatest_lean * up + 15.0)
    leads = follows.astype(np.float32)
    for _ in range(len(parts).bit_length()):  # one part leads to another in fewer steps than there are parts
        leads = np.minimum(leads @ leads, 1)
    group = leads.argmax(axis=1)
    volumes = np.bincount(group, weights=[part.volume_mm3 for part in parts])
    return [part for part, number in zip(parts, group, strict=True) if number == volumes.argmax()]


def _disc(grid: Grid, part: Part) -> Disc:
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
