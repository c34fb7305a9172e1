from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discometry.core.errors import InputError
from discometry.core.records import Region
from discometry.core.volume import Grid, Volume
from discometry.stages.prepare import PrepareConfig, normalise, prepare, working_grid


def ball(spacing: tuple[float, float, float], radius_mm: float = 20.0) -> Volume:
    """A bright ball at the origin in a dark box of 60 mm."""
    shape = [round(60 / s) for s in spacing]
    origin = [-(n - 1) / 2 * s for n, s in zip(shape, spacing, strict=True)]
    grid = Grid.from_spacing(shape, spacing, origin_mm=origin)
    index = np.stack(np.indices(grid.shape), axis=-1)
    distance = np.linalg.norm(grid.to_world(index), axis=-1)
    return Volume(grid, (100 * (distance < radius_mm)).astype(np.float32))


@pytest.mark.parametrize("spacing", [(4.0, 0.5, 0.5), (1.0, 1.0, 1.0), (2.0, 3.0, 0.7)])
def test_ball_keeps_its_place_and_size(spacing: tuple[float, float, float]) -> None:
    prepared = prepare(ball(spacing))
    inside = prepared.image.array > (prepared.image.array.max() + prepared.image.array.min()) / 2
    places = prepared.image.grid.to_world(np.argwhere(inside).astype(float))
    assert np.abs(places.mean(axis=0)).max() < 0.3  # mm
    volume = inside.sum() * prepared.image.grid.voxel_volume_mm3
    assert volume == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.03)


def test_spacing_and_orientation_are_the_networks() -> None:
    image = ball((1.0, 1.5, 2.0)).transposed((2, 0, 1)).flipped(0)
    prepared = prepare(image)
    assert prepared.image.grid.axis_codes == "LPS"
    assert prepared.image.grid.spacing_mm == pytest.approx((1.4, 1.2, 1.5), abs=1e-9)
    assert prepared.source == image.grid


@given(
    axes=st.permutations([0, 1, 2]),
    flips=st.lists(st.sampled_from([0, 1, 2]), unique=True),
)
def test_axis_order_changes_nothing(axes: list[int], flips: list[int]) -> None:
    image = ball((3.0, 2.0, 2.5))
    turned = image.transposed(axes)
    for axis in flips:
        turned = turned.flipped(axis)
    expected, found = prepare(image).image, prepare(turned).image
    np.testing.assert_allclose(found.array, expected.array, atol=1e-5)
    np.testing.assert_allclose(found.grid.affine, expected.grid.affine, atol=1e-9)


@given(
    shape=st.tuples(*[st.integers(1, 40)] * 3),
    spacing=st.tuples(*[st.floats(0.3, 6.0)] * 3),
)
def test_working_grid_covers_the_source_and_shares_its_centre(
    shape: tuple[int, int, int], spacing: tuple[float, float, float]
) -> None:
    source = Grid.from_spacing(shape, spacing, origin_mm=(5, -3, 8))
    grid = working_grid(source, (1.4, 1.2, 1.5))
    np.testing.assert_allclose(
        grid.to_world((np.array(grid.shape) - 1) / 2), source.to_world((np.array(shape) - 1) / 2), atol=1e-9
    )
    excess = np.array(grid.shape) * grid.spacing_mm - np.array(shape) * spacing
    assert (excess > -1e-4).all()
    assert (excess < 2 * np.array(grid.spacing_mm) + 1e-4).all()


@pytest.mark.parametrize("turn", [0.0, 0.2])
@pytest.mark.parametrize("spacing", [(3.0, 0.5, 0.5), (1.0, 1.0, 1.0), (1.5, 0.8, 1.2)])
def test_a_region_of_the_same_patient_meets_the_same_voxels(
    spacing: tuple[float, float, float], turn: float
) -> None:
    cos, sin = np.cos(turn), np.sin(turn)
    axes = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    region = Region(np.array([0.5, 6.0, -8.5]), np.array([49.0, 32.0, 35.0]), axes)
    expected = prepare(ball((2.0, 0.6, 0.6)), PrepareConfig(order=3), region=region).image
    found = prepare(ball(spacing), PrepareConfig(order=3), region=region).image
    assert found.grid.same_as(expected.grid)
    assert np.abs(found.array - expected.array).mean() < 0.1
    ends = region.middle_mm + np.array([[-0.5], [0.5]]) * region.size_mm @ axes.T
    held = found.grid.to_index(ends)
    assert (held >= -0.5 - 1e-9).all()
    assert (held <= np.array(found.grid.shape) - 0.5 + 1e-9).all()


def test_a_region_is_prepared_as_within_the_whole() -> None:
    # Its sides are whole working voxels, and its middle lies where the whole's does not.
    region = Region(np.array([-7.0, -6.0, -7.5]), np.array([28.0, 36.0, 30.0]), np.eye(3))
    image = ball((1.0, 1.0, 1.0))
    whole, part = (prepare(image, PrepareConfig(order=3), region=chosen).image for chosen in (None, region))
    first = np.rint(whole.grid.to_index(np.array(part.grid.origin_mm))).astype(int)
    same = whole.array[tuple(slice(a, a + n) for a, n in zip(first, part.array.shape, strict=True))]
    # Each is normalised by what it holds, so values differ by a scale and a shift.
    assert np.corrcoef(part.array.ravel(), same.ravel())[0, 1] > 0.999


def test_normalised_image_has_no_mean_and_unit_spread() -> None:
    array = np.random.default_rng(0).gamma(2.0, 100.0, (20, 20, 20)).astype(np.float32)
    scaled = normalise(array, percentiles=(0.5, 99.5))
    assert scaled.mean() == pytest.approx(0, abs=1e-4)
    assert scaled.std() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "NaN or infinite"), (0.0, "constant")])
def test_unusable_intensities_are_refused(value: float, word: str) -> None:
    array = np.zeros((8, 8, 8), dtype=np.float32)
    array[4, 4, 4] = value
    with pytest.raises(InputError, match=word):
        prepare(Volume(Grid.from_spacing((8, 8, 8), (1, 1, 1)), array), PrepareConfig())


def test_a_constant_image_is_refused_whatever_rounding_does() -> None:
    grid = Grid.from_spacing((20, 30, 30), (3.0, 0.7, 0.7))
    for order in (1, 3):
        with pytest.raises(InputError, match="constant"):
            prepare(Volume(grid, np.full(grid.shape, 100.1, np.float32)), PrepareConfig(order=order))
