from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.transform import Rotation

from discometry.core.volume import Grid
from discometry.sampling import box_that_meets, linear_within, sampler, smoothing_sigma, voxels_within

sides = st.tuples(*[st.integers(2, 24)] * 3)
spacings = st.tuples(*[st.floats(0.4, 4.0)] * 3)


@given(
    source=sides,
    target=sides,
    spacing=spacings,
    wanted=spacings,
    order=st.sampled_from([1, 3]),
    turn=st.sampled_from([0.0, 0.3]),
)
def test_it_is_scipys_affine_transform(
    source: tuple[int, int, int],
    target: tuple[int, int, int],
    spacing: tuple[float, float, float],
    wanted: tuple[float, float, float],
    order: Literal[1, 3],
    turn: float,
) -> None:
    array = np.random.default_rng(0).standard_normal(source).astype(np.float32)
    before = Grid.from_spacing(source, spacing, origin_mm=(1.0, -2.0, 3.0))
    cos, sin = np.cos(turn), np.sin(turn)
    axes = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    after = Grid.from_spacing(target, wanted, origin_mm=(0.3, -1.0, 2.0), direction=axes)
    matrix = np.diag(1 / np.array(spacing)) @ axes @ np.diag(wanted)
    start = before.to_index(np.array(after.origin_mm))
    expected = ndimage.affine_transform(
        array, matrix, offset=start, output_shape=target, order=order, mode="nearest"
    )
    found = sampler(before, after, order=order)(array)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_fine_sides_are_averaged_when_asked() -> None:
    array = np.random.default_rng(0).standard_normal((40, 12, 12)).astype(np.float32)
    before = Grid.from_spacing(array.shape, (1.0, 1.0, 1.0))
    after = Grid.from_spacing((10, 12, 12), (4.0, 1.0, 1.0))
    smooth = ndimage.gaussian_filter(array, smoothing_sigma(np.array([4.0, 1.0, 1.0])), mode="nearest")
    found = sampler(before, after, order=1, voxel_mm=(4.0, 1.0, 1.0))(array)
    np.testing.assert_allclose(found, smooth[::4], atol=1e-5)
    assert smoothing_sigma(np.array([4.0, 1.0, 0.5])) == pytest.approx([0.4 * np.sqrt(15), 0, 0])


@given(
    source=sides,
    spacing=spacings,
    turn=st.tuples(*[st.floats(-180, 180)] * 3),
    start=st.tuples(*[st.floats(-40, 40)] * 3),
    margin=st.integers(0, 3),
)
def test_a_small_array_is_sampled_only_where_the_grid_meets_it(
    source: tuple[int, int, int],
    spacing: tuple[float, float, float],
    turn: tuple[float, float, float],
    start: tuple[float, float, float],
    margin: int,
) -> None:
    array = np.random.default_rng(0).standard_normal(source)
    matrix = Rotation.from_euler("xyz", turn, degrees=True).as_matrix() * spacing
    offset, shape = np.array(start), (30, 26, 28)
    whole = ndimage.affine_transform(
        array, matrix, offset=offset, output_shape=shape, order=1, mode="constant", cval=7.0
    )
    box = box_that_meets(source, matrix, offset, shape, margin=margin)
    within = linear_within(box, array, matrix, offset, outside=7.0)
    np.testing.assert_allclose(within, whole[box], atol=1e-12)
    whole[box] = 7.0
    assert np.all(whole == 7.0), "nothing of the array lies beyond the box"


def test_the_box_is_no_larger_than_it_need_be() -> None:
    box = box_that_meets((5, 5, 5), np.eye(3), np.array([-10.0, -20.0, 8.0]), (30, 30, 30), margin=1)
    assert box == (slice(9, 16), slice(19, 26), slice(0, 0))


@given(
    turn=st.tuples(*[st.floats(-40, 40)] * 3),
    origin=st.tuples(*[st.floats(-9, 9)] * 3),
    margin=st.sampled_from([0.0, 1.5]),
)
def test_a_voxel_lies_within_where_its_index_in_the_other_grid_says_so(
    turn: tuple[float, float, float], origin: tuple[float, float, float], margin: float
) -> None:
    axes = Rotation.from_euler("xyz", turn, degrees=True).as_matrix()
    grid = Grid.from_spacing((4, 5, 6), (2.0, 1.0, 1.5), origin_mm=origin, direction=axes)
    other = Grid.from_spacing((6, 8, 5), (1.0, 0.8, 2.0), origin_mm=(-2.5, -2.8, -4.0))
    off = np.abs(other.to_index(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))) - (2.5, 3.5, 2))
    expected = (off <= np.array([3, 4, 2.5]) + margin / np.array(other.spacing_mm)).all(axis=-1)
    np.testing.assert_array_equal(voxels_within(grid, other, margin_mm=margin), expected)
