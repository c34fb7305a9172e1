from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from discometry.core.anatomy import (
    CONVENTIONS,
    LEVELS,
    Tissue,
    detect_convention,
    label_of_level,
    level_of_label,
)
from discometry.core.errors import LabelError

NAMED = [name for name, convention in CONVENTIONS.items() if convention.names_levels]
VERTEBRAE = ("S1", *(f"L{n}" for n in range(5, 0, -1)), *(f"T{n}" for n in range(12, 0, -1)))
VERTEBRAE += tuple(f"C{n}" for n in range(7, 1, -1))


def test_levels_go_up_the_spine_one_vertebra_at_a_time() -> None:
    assert [f"{upper}/{lower}" for lower, upper in pairwise(VERTEBRAE)] == list(LEVELS)


@given(st.sampled_from(LEVELS))
def test_label_and_level_undo_each_other(level: str) -> None:
    assert level_of_label(label_of_level(level)) == level


@pytest.mark.parametrize("label", [0, 200, 224, -1])
def test_an_unknown_label_is_refused(label: int) -> None:
    with pytest.raises(LabelError, match=f"disc label {label};"):
        level_of_label(label)


@pytest.mark.parametrize("level", ["L5-S1", "", "S1/S2"])
def test_an_unknown_level_is_refused(level: str) -> None:
    with pytest.raises(LabelError, match="L5/S1"):
        label_of_level(level)


@pytest.mark.parametrize("name", NAMED)
def test_every_convention_names_every_level_once(name: str) -> None:
    convention = CONVENTIONS[name]
    assert sorted(convention.discs.values()) == sorted(LEVELS)
    assert not convention.unnamed_discs & set(convention.discs)
    assert not (convention.vertebrae | convention.canal) & convention.unnamed_discs


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("spider", {201: "L5/S1", 207: "T11/T12"}),
        ("spineps", {124: "L5/S1", 123: "L4/L5", 119: "T12/L1", 107: "C7/T1"}),
        ("totalspineseg", {100: "L5/S1", 95: "L4/L5", 91: "T12/L1", 82: "T11/T12", 71: "C7/T1", 63: "C2/C3"}),
    ],
)
def test_known_values_mean_known_levels(name: str, values: dict[int, str]) -> None:
    assert {value: CONVENTIONS[name].discs[value] for value in values} == values


def written(name: str, levels: list[str], *, vertebrae: bool, endplates: bool) -> set[int]:
    """Values of a mask of these discs as the tool of that convention writes it."""
    value_of = {level: value for value, level in CONVENTIONS[name].discs.items()}
    discs = {value_of[level] for level in levels}
    bodies = {
        "spider": {value - 200 for value in discs} | {100},
        "spineps": {value - 100 for value in discs},
        "totalspineseg": {1, 2, 41, 50},
    }[name]
    plates = {value + 100 for value in discs} if name == "spineps" else set()
    return discs | (bodies if vertebrae else set()) | (plates if endplates else set())


@given(
    st.sampled_from(NAMED),
    st.integers(0, 7),
    st.integers(2, 9),
    st.booleans(),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_the_same_discs_in_any_convention_have_the_same_levels(
    name: str, lowest: int, count: int, vertebrae: bool, endplates: bool, random: object
) -> None:
    levels = list(LEVELS[lowest : lowest + count])
    values = list(written(name, levels, vertebrae=vertebrae, endplates=endplates))
    random.shuffle(values)
    found = detect_convention([0, *values])
    assert found.name == name
    assert {found.discs[value] for value in values if value in found.discs} == set(levels)


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ([1], "binary"),
        ([0, 255], "binary"),
        (range(201, 206), "spider"),  # FastCleverSeg: discs only
        ([1, 100, 201, 202, 203], "spider"),  # all vertebrae as one value
        ([1, 2, 3, 4, 5, 6, 7, 100, 107, *range(201, 208)], "spider"),  # a vertebra cut by the image's edge
        ([1, 2, 3, 4, 5, 6, 107, *range(201, 208)], "spider"),  # and no canal
        ([1, 2, 101, 102, 100, 201, 202], "spider"),  # two of them
        ([23, 24, 26, 123, 124, 223, 224, 226], "spineps"),  # an endplate of the sacrum, which has no disc
        ([24, 25, 124, 125, 224, 225], "spineps"),  # L6
        ([*range(41, 50), 26, 60, 61, 62, 100], "spineps-semantic"),
        ([26, 41, 42, 43, 44, 45, 49, 100], "spineps-semantic"),  # mostly values that TotalSpineSeg has too
        ([100], "spineps-semantic"),
        ([1, 2, 41, 42, 43, 44, 45, 50, 91, 92, 93, 94, 95, 100], "totalspineseg"),
        ([45, 50, 100], "totalspineseg"),
        ([1, 2, 3, 18, 19, 20, 21, 22, 26, 27, 30, 36, 39, 40], "totalsegmentator"),
    ],
)
def test_masks_as_the_tools_write_them_are_recognised(values: object, name: str) -> None:
    assert detect_convention(values).name == name


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 3, 4, 5, 100],  # SPIDER without a disc: the canal must not become one
        [1, 100],
        [1, 2, 3, 4, 5, 6, 7, 100, 107],
        list(range(18, 27)),  # SPINEPS vertebrae only: 20 is L1, not TotalSegmentator's discs
        [1, 2, 3],
        [500],
    ],
)
def test_a_mask_without_discs_or_meaning_is_refused(values: list[int]) -> None:
    with pytest.raises(LabelError, match="mask values"):
        detect_convention(values)


@pytest.mark.parametrize("values", [[], [0]])
def test_an_empty_mask_is_refused(values: list[int]) -> None:
    with pytest.raises(LabelError, match="an empty mask"):
        detect_convention(values)


def test_our_own_tissues_have_a_convention() -> None:
    tissue = CONVENTIONS["tissue"]
    assert tissue.unnamed_discs == {Tissue.DISC}
    assert (tissue.vertebrae, tissue.canal) == ({Tissue.VERTEBRA}, {Tissue.CANAL})
    assert not tissue.names_levels
