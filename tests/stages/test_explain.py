from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from discometry.core.errors import InputError
from discometry.core.records import CUBE_SHAPE, CUBE_SPACING_MM, Geometry
from discometry.networks.autoencoder import AutoencoderConfig, ConvolutionalShape, build_autoencoder
from discometry.stages.explain import STEPS, correlations, latent_correlations, traverse


@pytest.fixture(scope="module")
def coder() -> ConvolutionalShape:
    network = build_autoencoder(AutoencoderConfig(latents=3, width=2), seed=5)
    with torch.no_grad():
        network.decoder[-1].get_parameter("bias").zero_()
    return ConvolutionalShape(network.eval(), np.zeros(1))


def test_a_straight_line_has_r_of_one() -> None:
    x = np.arange(10.0)
    found = correlations(x[:, None], np.stack([3 * x + 1, -x], axis=1), names=("up", "down"))
    np.testing.assert_allclose(found.r, [[1.0, -1.0]], rtol=0, atol=1e-12)
    assert (found.p < 1e-12).all()
    assert (found.rows, found.columns) == (("latent_1",), ("up", "down"))
    np.testing.assert_array_equal(found.n, [[10, 10]])


def test_r_and_p_of_a_worked_example() -> None:
    # x = 1..5, y = 2 1 4 3 5: r = 0.8, t = 0.8 sqrt(3) / 0.6 = 2.3094, two-sided p with 3 degrees = 0.10409
    found = correlations(
        np.array([[1.0], [2], [3], [4], [5]]), np.array([[2.0], [1], [4], [3], [5]]), names=("y",)
    )
    assert found.r[0, 0] == pytest.approx(0.8, abs=1e-12)
    assert found.p[0, 0] == pytest.approx(0.10409, abs=1e-5)


def test_p_is_corrected_for_the_number_of_pairs() -> None:
    rng = np.random.default_rng(3)
    latents, geometry = rng.normal(size=(40, 2)), rng.normal(size=(40, 3))
    table = correlations(latents, geometry, names=("a", "b", "c"))
    raw = np.array(
        [
            [correlations(latents[:, [i]], geometry[:, [j]], names=("x",)).p[0, 0] for j in range(3)]
            for i in range(2)
        ]
    )
    ordered = np.sort(raw.ravel())
    steps = np.minimum.accumulate((ordered * 6 / np.arange(1, 7))[::-1])[::-1]
    np.testing.assert_allclose(np.sort(table.p.ravel()), np.minimum(steps, 1), rtol=0, atol=1e-12)
    assert (table.p >= raw).all()


def test_independent_draws_are_rarely_called_significant() -> None:
    rng = np.random.default_rng(0)
    hits = sum(
        (correlations(rng.normal(size=(60, 4)), rng.normal(size=(60, len(Geometry.names())))).p < 0.05).any()
        for _ in range(60)
    )
    assert hits <= 9  # 3 expected of 60; 9 or fewer with probability 0.999


def test_what_is_not_known_is_left_out() -> None:
    x = np.arange(8.0)
    y = 2 * x
    y[[1, 4]] = np.nan
    few = np.full(8, np.nan)
    few[:2] = 1.0
    geometry = np.stack([y, few, np.ones(8)], axis=1)
    found = correlations(x[:, None], geometry, names=("gaps", "few", "constant"))
    assert found.r[0, 0] == pytest.approx(1.0, abs=1e-12)
    assert np.isnan(found.r[0, 1:]).all()
    assert np.isnan(found.p[0, 1:]).all()
    np.testing.assert_array_equal(found.n, [[6, 2, 8]])
    nothing = correlations(x[:, None], geometry[:, 1:], names=("few", "constant"))
    assert np.isnan(nothing.p).all()


def test_names_are_those_of_geometry() -> None:
    names = Geometry.names()
    table = correlations(np.zeros((4, 2)), np.zeros((4, len(names))))
    assert table.columns == names


@given(st.permutations(range(12)), st.floats(0.1, 100), st.floats(-50, 50))
def test_order_and_units_do_not_matter(order: list[int], scale: float, shift: float) -> None:
    rng = np.random.default_rng(1)
    latents, geometry = rng.normal(size=(12, 2)), rng.normal(size=(12, 2))
    first = correlations(latents, geometry, names=("a", "b"))
    second = correlations(latents[order], scale * geometry[order] + shift, names=("a", "b"))
    np.testing.assert_allclose(first.r, second.r, rtol=0, atol=1e-9)
    np.testing.assert_allclose(first.p, second.p, rtol=0, atol=1e-9)


def test_latents_with_one_another() -> None:
    rng = np.random.default_rng(2)
    latents = rng.normal(size=(30, 3))
    latents[:, 2] = -latents[:, 0]
    table = latent_correlations(latents)
    np.testing.assert_allclose(table.r, table.r.T, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.diag(table.r), 1.0, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(table.p, table.p.T)
    np.testing.assert_array_equal(np.diag(table.p), 0.0)
    assert table.r[0, 2] == pytest.approx(-1.0, abs=1e-12)
    # Three pairs: the smallest p is tripled, the largest stays.
    raw = correlations(latents[:, [0]], latents[:, [1]], names=("x",)).p[0, 0]
    assert raw <= table.p[0, 1] <= 1.5 * raw + 1e-12
    assert table.rows == table.columns == ("latent_1", "latent_2", "latent_3")


def test_a_constant_latent_has_no_correlation() -> None:
    latents = np.random.default_rng(2).normal(size=(30, 2))
    latents[:, 1] = 4.0
    table = latent_correlations(latents)
    assert np.isnan(table.r[[0, 1, 1], [1, 0, 1]]).all()
    assert np.isnan(table.p[[0, 1, 1], [1, 0, 1]]).all()
    assert (table.r[0, 0], table.p[0, 0]) == (pytest.approx(1.0), 0.0)


def test_tables_of_other_discs_are_refused() -> None:
    with pytest.raises(InputError, match="two tables"):
        correlations(np.zeros((4, 2)), np.zeros((5, 1)), names=("a",))
    with pytest.raises(InputError, match="1 measures with 2 names"):
        correlations(np.zeros((4, 2)), np.zeros((4, 1)), names=("a", "b"))


def test_traversals_run_from_least_to_greatest_with_the_others_at_their_mean(
    coder: ConvolutionalShape,
) -> None:
    latents = np.array([[0.0, -2.0, 1.0], [4.0, 2.0, 1.0], [8.0, 3.0, 4.0]])
    found = traverse(coder, latents)
    assert [one.latent for one in found] == [0] * 6 + [1] * 6 + [2] * 6
    assert STEPS == (0, 1 / 5, 2 / 5, 3 / 5, 4 / 5, 1)
    np.testing.assert_allclose([one.value for one in found[:6]], np.linspace(0, 8, 6), rtol=0, atol=1e-12)
    np.testing.assert_allclose([one.value for one in found[6:12]], np.linspace(-2, 3, 6), rtol=0, atol=1e-12)
    for one in found:
        expected = latents.mean(axis=0)
        expected[one.latent] = one.value
        np.testing.assert_allclose(one.latents, expected, rtol=0, atol=1e-12)


def test_traversals_are_decoded_on_a_centred_grid(coder: ConvolutionalShape) -> None:
    latents = np.array([[0.0, -2.0, 1.0], [4.0, 2.0, 1.0]])
    first = traverse(coder, latents, steps=(0.0, 1.0))[0]
    with torch.no_grad():
        logits = coder.network.decode(torch.tensor([first.latents]))
    np.testing.assert_array_equal(first.cube.array, (logits[0, 0] > 0).numpy())
    grid = first.cube.grid
    assert (grid.shape, grid.axis_codes) == (CUBE_SHAPE, "LPS")
    assert grid.spacing_mm == pytest.approx(CUBE_SPACING_MM, abs=1e-12)
    np.testing.assert_allclose(grid.to_world(np.full(3, 31.5)), 0.0, rtol=0, atol=1e-9)


@pytest.mark.parametrize("shape", [(0, 3), (5, 2), (3,)])
def test_latents_of_another_autoencoder_are_refused(
    coder: ConvolutionalShape, shape: tuple[int, ...]
) -> None:
    with pytest.raises(InputError, match="3 columns"):
        traverse(coder, np.zeros(shape))
