"""Disc levels, their order, and the label conventions in which data sets write them.

Inside discometry a disc carries the SPIDER label: 201 for L5/S1, one more for each disc above.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType

from discometry.core.errors import LabelError

__all__ = [
    "CONVENTIONS",
    "DISC_LABEL_BASE",
    "LEVELS",
    "Convention",
    "Tissue",
    "detect_convention",
    "label_of_level",
    "level_of_label",
]

LEVELS: tuple[str, ...] = (
    "L5/S1",
    "L4/L5",
    "L3/L4",
    "L2/L3",
    "L1/L2",
    "T12/L1",
    *(f"T{n}/T{n + 1}" for n in range(11, 0, -1)),
    "C7/T1",
    *(f"C{n}/C{n + 1}" for n in range(6, 1, -1)),
)
"""Disc levels from the sacrum upwards."""

DISC_LABEL_BASE = 200
"""A disc's label is this plus its place in :data:`LEVELS`, counted from one."""


class Tissue(IntEnum):
    """Classes that the segmenter tells apart."""

    BACKGROUND = 0
    VERTEBRA = 1
    CANAL = 2
    DISC = 3
    SACRUM = 4


def label_of_level(level: str) -> int:
    """Give the disc label of a level.

    Raises
    ------
    LabelError
        If the level is not one of :data:`LEVELS`.

    Examples
    --------
    >>> label_of_level("L4/L5")
    202
    """
    if level not in LEVELS:
        raise LabelError(
            f"disc level {level!r}",
            expected=f"one of {', '.join(LEVELS[:6])} ..",
            action="name the level by the vertebrae above and below the disc",
        )
    return DISC_LABEL_BASE + 1 + LEVELS.index(level)


def level_of_label(label: int) -> str:
    """Give the level of a disc label.

    Raises
    ------
    LabelError
        If the label is outside 201 .. 200 + len(LEVELS).

    Examples
    --------
    >>> level_of_label(206)
    'T12/L1'
    """
    place = label - DISC_LABEL_BASE - 1
    if not 0 <= place < len(LEVELS):
        raise LabelError(
            f"disc label {label}",
            expected=f"{DISC_LABEL_BASE + 1} to {DISC_LABEL_BASE + len(LEVELS)}",
            action="relabel the discs from L5/S1 = 201 upwards",
        )
    return LEVELS[place]


@dataclass(frozen=True, slots=True)
class Convention:
    """How one data set or tool writes discs and vertebrae into a mask.

    ``discs`` maps its disc values to levels; a value in ``unnamed_discs`` is disc without a level,
    ``vertebrae``, ``canal`` and ``sacrum`` are the values of these; SPIDER has no sacrum.
    """

    name: str
    discs: Mapping[int, str]
    unnamed_discs: frozenset[int] = frozenset()
    vertebrae: frozenset[int] = frozenset()
    canal: frozenset[int] = frozenset()
    sacrum: frozenset[int] = frozenset()

    @property
    def names_levels(self) -> bool:
        """Whether the mask itself says which level a disc is."""
        return bool(self.discs)


def _spider() -> Convention:
    return Convention(
        "spider",
        MappingProxyType({label_of_level(level): level for level in LEVELS}),
        vertebrae=frozenset(range(1, 26)) | frozenset(range(101, 126)),
        canal=frozenset({100}),
    )


def _spineps() -> Convention:
    # SPINEPS numbers vertebrae C1 = 1 .. C7 = 7, T1 = 8 .. T12 = 19, L1 = 20 .. L5 = 24, L6 = 25, T13 = 28;
    # the disc below vertebra X is 100 + X. L6 and T13 have no level of ours: their discs stay unnamed.
    below = {"C": 0, "T": 7, "L": 19}
    discs = {100 + below[level[0]] + int(level[1:].split("/")[0]): level for level in LEVELS}
    return Convention(
        "spineps",
        MappingProxyType(discs),
        unnamed_discs=frozenset({125, 128}),
        vertebrae=frozenset(range(1, 26)) | {28},
        sacrum=frozenset({26}),
    )


def _spineps_semantic() -> Convention:
    # 26 sacrum, 41 .. 48 arches and processes, 49 and 50 bodies, 60 cord, 61 canal, 62 endplates.
    return Convention(
        "spineps-semantic",
        MappingProxyType({}),
        unnamed_discs=frozenset({100}),
        vertebrae=frozenset(range(41, 51)),
        canal=frozenset({60, 61}),
        sacrum=frozenset({26}),
    )


def _totalsegmentator() -> Convention:
    # Task total_mr: 18 sacrum, 19 all vertebrae, 20 all discs, 21 cord, beside some forty organs and muscles.
    return Convention(
        "totalsegmentator",
        MappingProxyType({}),
        unnamed_discs=frozenset({20}),
        vertebrae=frozenset({19}),
        canal=frozenset({21}),
        sacrum=frozenset({18}),
    )


def _totalspineseg() -> Convention:
    discs: dict[int, str] = {100: "L5/S1", 95: "L4/L5", 94: "L3/L4", 93: "L2/L3", 92: "L1/L2", 91: "T12/L1"}
    discs |= {71: "C7/T1", **{71 + n: f"T{n}/T{n + 1}" for n in range(1, 12)}}
    discs |= {61 + n: f"C{n}/C{n + 1}" for n in range(2, 7)}
    return Convention(
        "totalspineseg",
        MappingProxyType(discs),
        vertebrae=frozenset(range(11, 18)) | frozenset(range(21, 33)) | frozenset(range(41, 46)),
        canal=frozenset({1, 2}),
        sacrum=frozenset({50}),
    )


CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {
        convention.name: convention
        for convention in (
            _spider(),
            _spineps(),
            _totalspineseg(),
            Convention(
                "tissue",
                MappingProxyType({}),
                unnamed_discs=frozenset({int(Tissue.DISC)}),
                vertebrae=frozenset({int(Tissue.VERTEBRA)}),
                canal=frozenset({int(Tissue.CANAL)}),
                sacrum=frozenset({int(Tissue.SACRUM)}),
            ),
            _spineps_semantic(),
            _totalsegmentator(),
            Convention("binary", MappingProxyType({}), unnamed_discs=frozenset({1, 255})),
        )
    }
)
"""Known label conventions by name. ``tissue`` is what discometry's own segmenter writes."""


def detect_convention(values: Iterable[int]) -> Convention:
    """Tell the label convention of a mask from the values it holds.

    Parameters
    ----------
    values
        Distinct voxel values; zero is ignored.

    Raises
    ------
    LabelError
        If the values fit no convention, or are all zero.

    Examples
    --------
    >>> detect_convention([0, 1, 2, 100, 201, 202]).name
    'spider'
    >>> detect_convention([0, 41, 42, 92]).name
    'totalspineseg'
    """
    present = {int(value) for value in values} - {0}
    if not present:
        raise LabelError(
            "an empty mask",
            expected="voxels labelled as disc",
            action="check that the right file was given and that it holds discs",
        )
    if present in ({1}, {255}):
        return CONVENTIONS["binary"]
    for name, recognises in _RECOGNISED:
        if recognises(present):
            return CONVENTIONS[name]
    raise LabelError(
        f"mask values {sorted(present)[:12]}",
        expected="SPIDER (201..), SPINEPS (101..125), TotalSpineSeg (63..100) labels or a binary mask",
        action="name the convention with --labels, or relabel the mask",
    )


def _is_spineps(present: set[int]) -> bool:
    # Never has a value 100, where SPIDER has its canal. Endplates are 200 + X beside discs 100 + X; in SPIDER
    # 2xx are discs, and 1xx at most a few vertebrae that the image's edge cuts.
    convention = CONVENTIONS["spineps"]
    discs = present & (set(convention.discs) | convention.unnamed_discs)
    endplates = {value for value in present if value > DISC_LABEL_BASE}
    paired = {value for value in endplates if value - 100 in discs}
    known = discs | (present & (convention.vertebrae | convention.sacrum)) | endplates
    return bool(discs) and 100 not in present and 2 * len(paired) >= len(endplates) and _most(known, present)


def _is_spider(present: set[int]) -> bool:
    return bool(present & set(CONVENTIONS["spider"].discs))


def _is_spineps_semantic(present: set[int]) -> bool:
    # TotalSpineSeg shares 26, 41 .. 45, 50 and 100, but has none of the others.
    return present == {100} or (100 in present and bool(present & {46, 47, 48, 49, 60, 61, 62}))


def _is_totalspineseg(present: set[int]) -> bool:
    convention = CONVENTIONS["totalspineseg"]
    discs = present & set(convention.discs)
    bone = present & (convention.vertebrae | convention.sacrum)
    # 100 by itself may also be SPIDER's canal.
    return bool(discs - {100} or (discs and bone)) and _most(
        discs | bone | (present & convention.canal), present
    )


def _is_totalsegmentator(present: set[int]) -> bool:
    # 19 and 20 are also SPINEPS vertebrae, but those end at 28.
    return {19, 20} <= present and bool(present & set(range(29, 41)))


def _most(known: set[int], present: set[int]) -> bool:
    return 2 * len(known) > len(present)


_RECOGNISED: tuple[tuple[str, Callable[[set[int]], bool]], ...] = (
    ("spineps", _is_spineps),
    ("spider", _is_spider),
    ("spineps-semantic", _is_spineps_semantic),
    ("totalspineseg", _is_totalspineseg),
    ("totalsegmentator", _is_totalsegmentator),
)
