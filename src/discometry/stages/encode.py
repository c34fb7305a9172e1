"""Stage 5: describe each disc's shape by the autoencoder's latents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from discometry.core.records import CUBE_SHAPE, Disc, Encoding
from discometry.core.scores import iou
from discometry.networks.autoencoder import Autoencoder, decode, encode_cubes

__all__ = ["encode"]


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
