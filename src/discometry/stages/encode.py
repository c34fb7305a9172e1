"""Stage 5: describe each disc's shape by the autoencoder's latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from discometry.core.records import CUBE_SHAPE, Disc, Encoding
from discometry.core.scores import iou
from discometry.networks.autoencoder import Autoencoder

__all__ = ["decode", "encode", "encode_cubes"]

_BATCH = 8


def encode(discs: Sequence[Disc], autoencoder: Autoencoder) -> tuple[Encoding, ...]:
    """Encode the cubes of discs.

    Parameters
    ----------
    discs
        Discs, each with its 64x64x64 cube.
    autoencoder
        A trained network; it is used in evaluation mode, whatever mode it is in.

    Returns
    -------
    One encoding a disc, in the same order: latents, and IoU between the cube and its reconstruction.
    """
    cubes = np.array([disc.cube.array for disc in discs], dtype=bool).reshape(-1, *CUBE_SHAPE)
    latents = encode_cubes(cubes, autoencoder)
    rebuilt = decode(latents, autoencoder)
    return tuple(
        Encoding(tuple(float(value) for value in vector), float(iou(cube, again)))
        for vector, cube, again in zip(latents, cubes, rebuilt, strict=True)
    )


def encode_cubes(cubes: NDArray[np.bool_], autoencoder: Autoencoder) -> NDArray[np.float64]:
    """Map cubes, Nx64x64x64, to latents, Nxk."""
    return _apply(lambda part: autoencoder.encode(part.unsqueeze(1)).double(), cubes, autoencoder)


def decode(latents: NDArray[np.float64], autoencoder: Autoencoder) -> NDArray[np.bool_]:
    """Map latents, Nxk, to cubes, Nx64x64x64: the voxels more likely disc than not."""
    return _apply(lambda part: autoencoder.decode(part)[:, 0] > 0, latents, autoencoder)


def _apply(
    function: Callable[[Tensor], Tensor], array: NDArray[Any], autoencoder: Autoencoder
) -> NDArray[Any]:
    """Apply a function of float32 tensors batch by batch, the network in evaluation mode, and put it back."""
    weight = autoencoder.to_latents.weight
    training = autoencoder.training
    autoencoder.eval()
    try:
        with torch.no_grad():
            parts = torch.split(torch.from_numpy(np.ascontiguousarray(array)), _BATCH)
            return np.concatenate([function(part.to(weight)).cpu().numpy() for part in parts])
    finally:
        autoencoder.train(training)
