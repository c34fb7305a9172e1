"""Heights of bodies made of boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from discometry.core.body_heights import body_height_mm
from discometry.core.volume import Grid, Volume

UP = np.eye(3)
START = np.array([0.0, 0.0, 0.0])


def bones(*spans_mm: tuple[float, float], top_mm: float = 90.0) -> Volume:
    """Bodies between heights, 30 x 30 mm wide, on a grid of 2 x 1 x 0.5 mm that begins at -20 mm."""
    grid = Grid.from_spacing((16, 31, round((top_mm + 20) / 0.5)), (2, 1, 0.5), origin_mm=(-15, -15, -20))
    heights = -20.0 + 0.5 * np.arange(grid.shape[2])
    array = np.zeros(grid.shape, dtype=bool)
    for low, high in spans_mm:
        array[:, :, (heights > low) & (heights < high)] = True
    return Volume(grid, array)


def test_a_box_has_its_height_whatever_gap_the_endplate_leaves() -> None:
    for gap in (0.1, 1.6, 3.1):
        height = body_height_mm(bones((gap, gap + 28.0), (gap + 36.0, 80.0)), START, UP)
        assert height == pytest.approx(28.0, abs=0.5)


def test_a_vein_does_not_end_a_body_and_the_next_body_does_not_count() -> None:
    found = body_height_mm(bones((1.1, 12.1), (14.1, 27.1), (34.1, 60.1)), START, UP)
    assert found == pytest.approx(26.0, abs=0.5)


def test_the_ray_may_lean() -> None:
    angle = math.radians(20.0)
    axes = np.array(
        [
            [1.0, 0.0, 0.0],
            [0.0, math.cos(angle), math.sin(angle)],
            [0.0, -math.sin(angle), math.cos(angle)],
        ]
    )
    found = body_height_mm(bones((1.1, 21.1)), START, axes)
    assert found == pytest.approx(20.0 / math.cos(angle), abs=0.6)


@pytest.mark.parametrize(
    ("spans", "top_mm"),
    [
        ([], 90.0),
        ([(8.0, 30.0)], 90.0),
        ([(1.0, 89.0)], 25.0),
        ([(1.0, 6.0)], 90.0),
        ([(1.0, 65.0)], 90.0),
    ],
    ids=["no bone", "too far", "image ends", "too low", "too high"],
)
def test_what_is_no_whole_body_has_no_height(spans: list[tuple[float, float]], top_mm: float) -> None:
    assert math.isnan(body_height_mm(bones(*spans, top_mm=top_mm), START, UP))
