from __future__ import annotations

import numpy as np

from discometry.training.latent_order import order_latents, radius_quantiles


def test_latents_become_independent_ordered_and_signed() -> None:
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(200, 3)) @ rng.normal(size=(3, 3)) + 5.0
    moves = rng.normal(size=(50, 3))
    order = order_latents(latents, moves)
    fresh = (latents - order.mean) @ order.forward.T
    np.testing.assert_allclose(np.cov(fresh.T), np.eye(3), rtol=0, atol=1e-6)
    np.testing.assert_allclose(fresh @ order.back.T + order.mean, latents, rtol=0, atol=1e-9)
    new_moves = moves @ order.back
    np.testing.assert_allclose(new_moves.T @ new_moves, np.diag((new_moves**2).sum(axis=0)), atol=1e-6)
    assert (np.diff(order.explained) < 0).all()
    assert np.isclose(order.explained.sum(), 1.0)
    assert (new_moves.sum(axis=0) > 0).all()


def test_a_latent_that_never_varies_is_last_and_finite() -> None:
    latents = np.random.default_rng(1).normal(size=(30, 2))
    latents[:, 1] = 3.0
    order = order_latents(latents, np.ones((5, 2)))
    assert np.isfinite(order.forward).all()
    assert order.explained[0] > 0.999


def test_radius_quantiles_run_from_the_nearest_to_the_farthest() -> None:
    found = radius_quantiles(np.array([[3.0, 4.0], [0.0, 1.0], [0.0, 2.0]]))
    assert (found[0], found[50], found[-1]) == (1.0, 2.0, 5.0)
