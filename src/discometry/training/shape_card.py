"""What a bundle says of a shape model: how it was trained and what it reaches."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from discometry.core.scores import iou
from discometry.networks.shape_coder import ShapeCoder
from discometry.training.disc_cubes import CubeSet

__all__ = ["reconstruction_ious", "shape_card"]

FloatArray = NDArray[np.float64]


def reconstruction_ious(cubes: NDArray[np.bool_], coder: ShapeCoder) -> FloatArray:
    """IoU of each cube, Nx64x64x64, with its reconstruction."""
    rebuilt = coder.decode(coder.encode(cubes))
    return np.array([iou(cube, again) for cube, again in zip(cubes, rebuilt, strict=True)])


def shape_card(coder: ShapeCoder, training: CubeSet, held: CubeSet, explained: FloatArray) -> dict[str, Any]:
    """Describe a training for the bundle."""
    ious = reconstruction_ious(held.cubes, coder)
    return {
        "trained_on": _told(training),
        "validated_on": _told(held),
        "validation_iou": round(float(ious.mean()), 4),
        "validation_iou_quantiles": [round(float(q), 4) for q in np.quantile(ious, (0.05, 0.5, 0.95))],
        "explained": [round(float(share), 4) for share in explained],
    }


def _told(discs: CubeSet) -> str:
    phantoms = sum(name.startswith("phantom") for name in discs.spines)
    spines = len(set(discs.spines))
    return f"{phantoms} discs of phantoms, {len(discs.spines) - phantoms} of masks; {spines} spines in all"
