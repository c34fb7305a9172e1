"""Label the tissue of every voxel with a trained network, and bring the labels back to the input grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import Tissue
from discometry.core.records import Prepared, Segmentation
from discometry.core.volume import Grid, Volume
from discometry.networks.runtime import Predictor, even_window, predict_probabilities
from discometry.slices import slice_sampler, slice_within

__all__ = ["SegmentConfig", "most_probable", "segment", "view_probabilities", "weigh_disc", "window_of"]


@dataclass(frozen=True, slots=True)
class SegmentConfig:
    """Options of :func:`segment`."""

    longest: tuple[int, int, int] = (48, 160, 256)
    """Most working voxels along L, P, S that the network sees at once; most regions have fewer."""
    divisor: tuple[int, int, int] = (1, 1, 1)
    """Numbers that the sides of a window must divide by."""
    beside: int = 3
    """Empty voxels that the network sees beyond the image to the left and to the right. It was taught on slabs
    that end within the spine, with some of these, and paints less beside a disc where they are."""
    overlap: float = 0.25
    """Part of a window that it shares with the next."""
    disc_cut: float = 0.5
    """Share of the probability of disc and its strongest rival from which a voxel is disc."""


def segment(
    views: Sequence[Prepared],
    predictor: Predictor,
    config: SegmentConfig | None = None,
    *,
    on_windows: Callable[[int, int], None] | None = None,
) -> Segmentation:
    """Give every voxel of the input grid its :class:`~discometry.core.anatomy.Tissue`.

    The most probable one is taken, disc from ``disc_cut`` on.

    Probabilities, not labels, are interpolated to the input grid and averaged there, so that boundaries fall
    between the working voxels and thin structures survive. What was not prepared is background.

    Parameters
    ----------
    views
        The image, or the part of it that shows the spine, at the network's spacing: once, or again on voxels
        that are shifted, and as many. The network sees every second view mirrored left-right.
    predictor
        The network.
    config
        Options.
    on_windows
        Called with the number of windows done, and of all.
    """
    config = config or SegmentConfig()
    probabilities = view_probabilities(views, predictor, config, on_windows=on_windows)
    source, part = views[0].source, views[0].part
    found = most_probable(probabilities, [view.image.grid for view in views], part)
    for number, plane in enumerate(found):
        plane[~slice_within(part, views[0].image.grid, number)] = Tissue.BACKGROUND
    whole = Volume(source, np.broadcast_to(np.uint8(0), source.shape)).oriented().grid
    first = np.rint(whole.to_index(np.array(part.origin_mm))).astype(int)
    tissue = np.zeros(whole.shape, dtype=np.uint8)
    tissue[tuple(slice(a, a + n) for a, n in zip(first, found.shape, strict=True))] = found
    return Segmentation(Volume(whole, tissue).like(source))


def view_probabilities(
    views: Sequence[Prepared],
    predictor: Predictor,
    config: SegmentConfig,
    *,
    on_windows: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """Give the weighed probabilities of every view of :func:`segment`, NxCxLxPxS, on its own voxels."""
    beside = [(config.beside, config.beside), (0, 0), (0, 0)]
    seen = np.stack([np.pad(view.image.array, beside) for view in views])
    seen[1::2] = seen[1::2, ::-1].copy()
    probabilities = predict_probabilities(
        predictor,
        seen,
        window=window_of(views[0].image.grid.shape, config),
        divisor=config.divisor,
        overlap=config.overlap,
        on_windows=on_windows,
    )
    probabilities[1::2] = probabilities[1::2, :, ::-1].copy()
    weigh_disc(probabilities, config.disc_cut)
    return np.ascontiguousarray(probabilities[:, :, config.beside : seen.shape[1] - config.beside])


def window_of(shape: tuple[int, int, int], config: SegmentConfig) -> tuple[int, int, int]:
    """Give the sides of the windows in which views of a shape, LxPxS, are seen."""
    i, j, k = shape
    seen = (i + 2 * config.beside, j, k)
    return even_window(seen, longest=config.longest, divisor=config.divisor, overlap=config.overlap)


def weigh_disc(probabilities: NDArray[np.float32], disc_cut: float) -> None:
    """Weigh, in place, what is disc so that it is the most probable from a share of ``disc_cut`` on."""
    probabilities[:, Tissue.DISC] *= (1 - disc_cut) / disc_cut


def most_probable(
    probabilities: NDArray[np.float32], grids: Sequence[Grid], target: Grid
) -> NDArray[np.uint8]:
    """Add up the views, NxCxLxPxS, on the target grid, slice by slice, and keep the greatest."""
    samplers = [slice_sampler(grid, target) for grid in grids]
    tissue = np.empty(target.shape, dtype=np.uint8)
    for number, plane in enumerate(tissue):
        sums = sum(sample(view, number) for sample, view in zip(samplers, probabilities, strict=True))
        plane[:] = np.argmax(sums, axis=0).reshape(plane.shape)
    return tissue
