"""Run a segmentation network over a whole volume, window by window."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["ExpectantPredictor", "Predictor", "even_window", "predict_probabilities"]

Predictor = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""A network ready to run: Bx1xLxPxS image to BxCxLxPxS logits, which are the caller's to change."""


class ExpectantPredictor(Protocol):
    """A predictor that can be told what windows will come, so that it gets ready for them meanwhile."""

    def __call__(self, windows: NDArray[np.float32], /) -> NDArray[np.float32]:
        """Map Bx1xLxPxS images to BxCxLxPxS logits."""

    def expect(self, shape: tuple[int, ...]) -> None:
        """Take note of the shape, Bx1xLxPxS, of the windows to come; this returns at once."""


def even_window(
    shape: tuple[int, ...],
    *,
    longest: tuple[int, int, int],
    divisor: tuple[int, int, int],
    overlap: float,
) -> tuple[int, int, int]:
    """Give the sides of windows that cover an image evenly, as few as may be.

    Parameters
    ----------
    shape
        Sides of the image, LxPxS.
    longest
        Longest sides of a window; one divisor is always allowed.
    divisor
        Numbers that the windows' sides divide by.
    overlap
        Part of a window that it shares with the next, 0 to below 1.
    """

    def side(length: int, most: int, step: int) -> int:
        least = (length / (1 + further * (1 - overlap)) for further in itertools.count())
        rounded = (step * math.ceil(needed / step - 1e-9) for needed in least)
        return next(long for long in rounded if long <= max(most, step))

    i, j, k = map(side, shape, longest, divisor)
    return i, j, k


def predict_probabilities(
    predictor: Predictor,
    images: NDArray[np.float32],
    *,
    window: tuple[int, int, int],
    divisor: tuple[int, int, int],
    overlap: float = 0.25,
    on_windows: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Give the tissue probabilities of every voxel.

    Windows lie evenly, overlap, and are blended with Gaussian weights, as in nnU-Net (Isensee et al. 2021).
    A side shorter than the window gets a window of its own length, rounded up to ``divisor``, so thin slabs
    are not padded far.

    Parameters
    ----------
    predictor
        The network.
    images
        Normalised intensities, NxLxPxS. All are seen at once.
    window
        Longest window sides in voxels.
    divisor
        Numbers that the input's sides must divide by.
    overlap
        Part of a window that it shares with the next, 0 to below 1.
    on_windows
        Called with the number of windows done, and of all, after each run of the network.

    Returns
    -------
    ndarray
        NxCxLxPxS float32, summing to one over C.
    """
    shape = images.shape[1:]
    sides = [
        step * -(-min(longest, side) // step)
        for longest, step, side in zip(window, divisor, shape, strict=True)
    ]
    lacking = [max(0, side - length) for side, length in zip(sides, shape, strict=True)]
    padded = np.pad(images, [(0, 0), *[(less // 2, less - less // 2) for less in lacking]])
    image = tuple(slice(less // 2, less // 2 + length) for less, length in zip(lacking, shape, strict=True))
    places = list(_places(padded.shape[1:], sides, overlap))

    def answers() -> Iterator[NDArray[np.float32]]:
        for done, place in enumerate(places, start=1):
            answer = predictor(np.ascontiguousarray(padded[:, None, *place]))
            if on_windows is not None:
                on_windows(len(images) * done, len(images) * len(places))
            yield answer

    logits = _blended(answers(), places, padded.shape[1:])[:, :, *image]
    logits -= logits.max(axis=1, keepdims=True)
    odds = np.exp(logits, out=logits)
    odds /= odds.sum(axis=1, keepdims=True)
    return odds


def _places(shape: tuple[int, ...], sides: Sequence[int], overlap: float) -> Iterator[tuple[slice, ...]]:
    """Lay windows evenly over an image, from end to end."""
    starts = []
    for length, side in zip(shape, sides, strict=True):
        further = math.ceil((length - side) / (side * (1 - overlap)) - 1e-9)
        starts.append(np.rint(np.linspace(0, length - side, further + 1)).astype(int).tolist())
    for corner in itertools.product(*starts):
        yield tuple(slice(first, first + side) for first, side in zip(corner, sides, strict=True))


def _blended(
    answers: Iterator[NDArray[np.float32]], places: Sequence[tuple[slice, ...]], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Average what windows say, NxCx their sides, with weights that fall off from their middle."""
    first = next(answers)
    if len(places) == 1:
        return first
    falls = [np.exp(-32 * ((np.arange(n) + 0.5) / n - 0.5) ** 2) for n in first.shape[2:]]
    weights = np.einsum("i,j,k->ijk", *falls).astype(np.float32)
    total = np.zeros(shape, dtype=np.float32)
    blended = np.zeros((*first.shape[:2], *shape), dtype=np.float32)
    for answer, place in zip(itertools.chain([first], answers), places, strict=True):
        answer *= weights
        blended[:, :, *place] += answer
        total[place] += weights
    blended /= total
    return blended
