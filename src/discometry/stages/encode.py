"""Stage 5: describe each disc's shape by a few latents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from discometry.core.records import CUBE_SHAPE, Disc, Encoding
from discometry.core.scores import iou
from discometry.networks.shape_coder import ShapeCoder

__all__ = ["encode"]


def encode(discs: Sequence[Disc], coder: ShapeCoder) -> tuple[Encoding, ...]:
    """Encode the cubes of discs.

    Parameters
    ----------
    discs
        Discs, each with its 64x64x64 cube.
    coder
        A trained shape model.

    Returns
    -------
    One encoding a disc, in the same order: latents and pose, the IoU between the cube and its reconstruction,
    and how usual the shape is.
    """
    cubes = np.array([disc.cube.array for disc in discs], dtype=bool).reshape(-1, *CUBE_SHAPE)
    codes = coder.encode(cubes)
    return tuple(
        Encoding(
            latents=tuple(map(float, latents)),
            reconstruction_iou=float(iou(cube, again)),
            plausibility=float(plausibility),
            pose=tuple(map(float, pose)),
        )
        for cube, again, latents, pose, plausibility in zip(
            cubes,
            coder.decode(codes),
            codes.latents,
            codes.poses,
            coder.plausibility(codes.latents),
            strict=True,
        )
    )
