"""What every model of disc shape can do: cubes to a few numbers, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Codes", "ShapeCoder", "share_beyond"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Codes:
    """What a model keeps of N discs.

    ``latents`` is Nxk. ``poses`` is Nx6 for a model that keeps a disc's pose apart from its shape: the shift
    of its frame from the cube's centre (mm along L, P, S), then the rotation vector (degrees about L, P, S)
    that turns the world's axes into the disc's own. It is Nx0 for a model whose latents hold the pose too.
    """

    latents: FloatArray
    poses: FloatArray

    def centred(self) -> Codes:
        """Give the same shapes, in the middle of the cube and not turned."""
        return Codes(self.latents, np.zeros_like(self.poses))


class ShapeCoder(Protocol):
    """A trained model of disc shape."""

    @property
    def latents(self) -> int:
        """Numbers that describe a disc's shape."""

    @property
    def pose_numbers(self) -> int:
        """Numbers that it keeps apart for the pose: 6 or 0."""

    def encode(self, cubes: NDArray[np.bool_]) -> Codes:
        """Describe disc cubes, Nx64x64x64."""

    def decode(self, codes: Codes) -> NDArray[np.bool_]:
        """Give the cubes, Nx64x64x64, that codes stand for."""

    def plausibility(self, latents: FloatArray) -> FloatArray:
        """Share of the training discs that lie at least as far from the middle of all, (N,), 0 to 1.

        The distance is that of Mahalanobis over the training discs.
        """


def share_beyond(latents: FloatArray, distances: FloatArray) -> FloatArray:
    """Share (N,) of a distribution, given by equally spaced quantiles, beyond the length of latents, Nxk."""
    share: FloatArray = np.interp(
        np.linalg.norm(latents, axis=1), distances, np.linspace(1, 0, len(distances)), right=0.0
    )
    return share
