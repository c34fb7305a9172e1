from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discometry.core.anatomy import LEVELS
from discometry.core.spine_order import (
    along_the_spine,
    close_to_the_next,
    missing_below,
    out_of_line,
    support,
    usual_steps_mm,
)


def middles(count: int = 6) -> np.ndarray:
    """A lordotic column of disc middles, 38 to 30 mm apart."""
    height = np.concatenate([[0.0], np.cumsum(np.linspace(38, 30, count - 1))])
    return np.stack([0 * height, 0.002 * (height - 80) ** 2, height], axis=1)


@given(order=st.permutations(list(range(6))))
def test_any_order_comes_back_from_the_lowest_up(order: list[int]) -> None:
    shuffled = middles()[order]
    assert [order[place] for place in along_the_spine(shuffled)] == list(range(6))


def test_a_disc_left_out_is_missed_and_only_there() -> None:
    assert missing_below(middles()) == [0] * 6
    for gone in range(1, 5):
        kept = np.delete(middles(), gone, axis=0)
        assert missing_below(kept) == [int(place == gone) for place in range(5)]
    two = middles()[[0, 1]]
    assert missing_below(two) == [0, 0]
    assert missing_below(middles()[[0, 2]]) == [0, 1]
    assert missing_below(middles()[:1]) == [0]


def test_two_discs_in_one_gap_are_close() -> None:
    doubled = np.insert(middles(), 3, middles()[2] + [0, 0, 9.0], axis=0)
    assert close_to_the_next(doubled) == [False, False, True, True, False, False, False]
    assert not any(close_to_the_next(middles()))


def test_a_slipped_disc_is_out_of_line() -> None:
    for place in range(6):
        moved = middles()
        moved[place, 1] += 30.0
        assert out_of_line(moved)[place]
    assert not any(out_of_line(middles()))
    assert out_of_line(middles()[:4]) == [False] * 4


def test_two_discs_in_one_place_are_close() -> None:
    assert close_to_the_next(middles()[[0, 1, 1, 2, 3]]) == [False, True, True, False, False]


def test_a_sharp_bend_is_no_disc_out_of_line() -> None:
    # A collapsed vertebra: the column bends by 45 degrees between two straight halves.
    below = np.array([[0.0, 0.0, 34.0 * place] for place in range(5)])
    steps = np.array([[0.0, 1.0, 1.0]]) * np.array([[22.0], [54.0], [86.0], [118.0]]) * np.sqrt(0.5)
    assert not any(out_of_line(np.concatenate([below, below[-1] + steps])))


def test_a_whole_spine_is_in_order_by_its_levels() -> None:
    steps = usual_steps_mm(LEVELS)
    assert np.all(np.diff(steps) <= 0)
    height = np.concatenate([[0.0], np.cumsum(steps[1:])])
    # Lordosis, kyphosis and lordosis, 30 mm to either side.
    spine = np.stack([0 * height, 30 * np.sin(2 * np.pi * height / 400), height], axis=1)
    for part in (slice(0, 23), slice(0, 3), slice(18, 21), slice(15, 23), slice(3, 9)):
        assert not any(missing_below(spine[part], usual_mm=steps[part]))
        assert not any(close_to_the_next(spine[part], usual_mm=steps[part]))
        assert not any(out_of_line(spine[part]))
    kept = np.delete(np.arange(23), 12)
    assert np.flatnonzero(missing_below(spine[kept], usual_mm=steps[kept])).tolist() == [12]


def test_support_is_the_share_of_columns_that_find_the_tissue() -> None:
    part = np.zeros((10, 10, 30), dtype=bool)
    part[2:6, 2:6, 10:14] = True
    tissue = np.zeros_like(part)
    tissue[2:4, 2:6, 7:9] = True
    tissue[2:6, 2:3, 20:22] = True
    voxels = np.argwhere(part)
    assert support(voxels, tissue, 3) == (pytest.approx(0.5), 0.0)
    assert support(voxels, tissue, 7) == (pytest.approx(0.5), pytest.approx(0.25))
    assert support(voxels, tissue, 1) == (0.0, 0.0)
