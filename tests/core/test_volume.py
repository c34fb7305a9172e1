from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discometry.core.errors import GridError
from discometry.core.volume import Grid, Volume
from strategies import grids, rotations, volumes


def world_to_value(volume: Volume) -> dict[tuple[float, ...], int]:
    """Value at every voxel's place in the world, to 1e-5 mm."""
    index = np.argwhere(np.ones(volume.grid.shape, bool))
    places = np.round(volume.grid.to_world(index) + 0.0, 5) + 0.0
    return {tuple(place): int(volume.array[tuple(at)]) for place, at in zip(places, index, strict=True)}


@given(grids(), st.tuples(*[st.floats(-50, 50)] * 3))
def test_to_index_undoes_to_world(grid: Grid, index: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(grid.to_index(grid.to_world(np.array(index))), index, atol=1e-8)


@given(grids())
def test_spacing_direction_and_origin_rebuild_the_grid(grid: Grid) -> None:
    again = Grid.from_spacing(grid.shape, grid.spacing_mm, origin_mm=grid.origin_mm, direction=grid.direction)
    np.testing.assert_allclose(again.affine, grid.affine, atol=1e-12)
    assert grid.voxel_volume_mm3 == pytest.approx(np.prod(grid.spacing_mm), rel=1e-9)
    assert sorted(grid.world_axes) == [0, 1, 2]


@given(volumes())
def test_oriented_runs_along_lps_and_moves_no_voxel(volume: Volume) -> None:
    turned = volume.oriented()
    assert world_to_value(turned) == world_to_value(volume)
    assert turned.grid.world_axes == (0, 1, 2)
    assert all(turned.grid.direction[axis, axis] >= 0 for axis in range(3))


@given(volumes())
def test_like_undoes_oriented(volume: Volume) -> None:
    back = volume.oriented().like(volume.grid)
    np.testing.assert_array_equal(back.array, volume.array)
    assert back.grid == volume.grid


@given(volumes(), st.permutations(range(3)), st.integers(0, 2))
def test_permuting_and_flipping_give_the_same_oriented_volume(
    volume: Volume, order: list[int], axis: int
) -> None:
    straight = Volume(Grid.from_spacing(volume.grid.shape, volume.grid.spacing_mm), volume.array)
    one, other = straight.oriented(), straight.transposed(order).flipped(axis).oriented()
    np.testing.assert_array_equal(one.array, other.array)
    assert one.grid.same_as(other.grid, tolerance_mm=1e-9)


@given(rotations(40.0), st.permutations(range(3)), st.tuples(*[st.sampled_from((-1, 1))] * 3))
def test_axis_codes_name_the_nearest_world_axes(
    rotation: np.ndarray, order: list[int], signs: tuple[int, ...]
) -> None:
    grid = Grid.from_spacing((2, 2, 2), (1, 2, 3), direction=rotation[:, order] * np.array(signs))
    expected = "".join("RAI"[w] if s < 0 else "LPS"[w] for w, s in zip(order, signs, strict=True))
    assert grid.axis_codes == expected


@given(volumes(largest=8), st.tuples(*[st.integers(-2, 3)] * 3), st.tuples(*[st.integers(4, 12)] * 3))
def test_a_crop_keeps_every_voxel_in_its_place(
    volume: Volume, lower: tuple[int, ...], upper: tuple[int, ...]
) -> None:
    lower = tuple(min(low, n - 1) for low, n in zip(lower, volume.grid.shape, strict=True))
    part = volume.cropped(lower, upper)
    assert world_to_value(part).items() <= world_to_value(volume).items()
    expected = tuple(
        min(n, high) - max(0, low) for n, low, high in zip(volume.grid.shape, lower, upper, strict=True)
    )
    assert part.array.shape == expected


def test_same_as_looks_at_the_far_corner() -> None:
    grid = Grid.from_spacing((100, 10, 10), (1.0, 1.0, 1.0))
    stretched = Grid.from_spacing((100, 10, 10), (1.001, 1.0, 1.0))
    assert grid.same_as(stretched, tolerance_mm=0.1)
    assert not grid.same_as(stretched, tolerance_mm=0.09)
    assert not grid.same_as(Grid.from_spacing((99, 10, 10), (1.0, 1.0, 1.0)))


def test_equal_grids_are_equal_and_hash_alike() -> None:
    one, other = (Grid.from_spacing((2, 3, 4), (1.0, 1.0, 2.0)) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != Grid.from_spacing((2, 3, 4), (1.0, 1.0, 2.5))
    assert one != "a grid"


def test_the_affine_cannot_be_changed() -> None:
    grid = Grid.from_spacing((2, 2, 2), (1, 1, 1))
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 2


@pytest.mark.parametrize(
    ("shape", "affine", "words"),
    [
        ((2, 2), np.eye(4), "three axes"),
        ((2, 0, 2), np.eye(4), "three axes"),
        ((2, 2, 2), np.eye(3), "finite"),
        ((2, 2, 2), np.diag([1, np.nan, 1, 1]), "finite"),
        ((2, 2, 2), np.diag([1, 0, 1, 1]), "positive spacing"),
    ],
)
def test_a_grid_that_makes_no_sense_is_refused(shape: tuple, affine: np.ndarray, words: str) -> None:
    with pytest.raises(GridError, match=words):
        Grid(shape, affine)


def test_a_volume_needs_an_array_of_its_grids_shape() -> None:
    grid = Grid.from_spacing((2, 3, 4), (1, 1, 1))
    with pytest.raises(GridError, match="equal shapes"):
        Volume(grid, np.zeros((4, 3, 2)))
    assert Volume(grid, np.zeros((2, 3, 4))).with_array(np.ones((2, 3, 4))).array.sum() == 24


def test_like_refuses_other_voxels() -> None:
    volume = Volume(Grid.from_spacing((2, 3, 4), (1, 1, 1)), np.zeros((2, 3, 4)))
    with pytest.raises(GridError, match="same voxels"):
        volume.like(Grid.from_spacing((2, 3, 4), (1, 1, 1), origin_mm=(0, 0, 5)))


@pytest.mark.parametrize("turn", [0.0, 0.3])
def test_sampling_in_a_grid_hits_the_same_places(turn: float) -> None:
    cos, sin = np.cos(turn), np.sin(turn)
    axes = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    source = Grid.from_spacing((9, 8, 7), (2.0, 0.5, 1.0), origin_mm=(4, -3, 2))
    target = Grid.from_spacing((5, 6, 7), (1.4, 1.2, 1.5), origin_mm=(5, -2, 1), direction=axes)
    matrix, start = target.sampling_in(source)
    index = np.argwhere(np.ones(target.shape)).astype(float)
    np.testing.assert_allclose(source.to_world(start + index @ matrix.T), target.to_world(index), atol=1e-12)


def test_the_corners_are_those_of_the_outermost_voxels() -> None:
    grid = Grid.from_spacing((2, 3, 4), (2.0, 1.0, 1.5), origin_mm=(1, 1, 1))
    assert len(np.unique(grid.corners_mm, axis=0)) == 8
    np.testing.assert_allclose(grid.corners_mm.min(axis=0), [0.0, 0.5, 0.25])
    np.testing.assert_allclose(grid.corners_mm.max(axis=0), [4.0, 3.5, 6.25])
