"""Latents that a person can use: uncorrelated, of unit spread, the one that moves most first, signs fixed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LatentOrder", "order_latents", "radius_quantiles"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class LatentOrder:
    """New latents ``forward (old - mean)``, old ones ``back new + mean``; ``explained`` (k,) sums to one."""

    mean: FloatArray
    forward: FloatArray
    back: FloatArray
    explained: FloatArray


def order_latents(latents: FloatArray, moves: FloatArray) -> LatentOrder:
    """Find the standard form of latents.

    Parameters
    ----------
    latents
        Nxk, of the training discs.
    moves
        Mxk: how much M places of a disc's boundary move outwards with each latent.

    Returns
    -------
    LatentOrder
        In which the training discs have mean 0, variance 1 and no correlation, the first latent explains
        most of how the boundary varies, and every latent makes the disc larger.
    """
    mean = latents.mean(axis=0)
    covariance = np.atleast_2d(np.cov(latents.T))
    covariance = covariance + 1e-9 * max(np.trace(covariance), 1e-12) * np.eye(len(covariance))
    root = np.linalg.cholesky(covariance)
    _, scale, turn = np.linalg.svd(moves @ root, full_matrices=False)
    back = root @ turn.T
    back = back * np.where((moves @ back).sum(axis=0) < 0, -1.0, 1.0)
    return LatentOrder(mean, np.linalg.inv(back), back, scale**2 / max(float((scale**2).sum()), 1e-300))


def radius_quantiles(latents: FloatArray) -> FloatArray:
    """Quantiles (101,) of the distance of standardised latents, Nxk, from their middle."""
    quantiles: FloatArray = np.quantile(np.linalg.norm(latents, axis=1), np.linspace(0, 1, 101))
    return quantiles
