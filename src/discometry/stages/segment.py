"""Label the tissue of every voxel with a trained network, and bring the labels back to the input grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from discometry.core.anatomy import Tissue
from discometry.core.beside import for_each
from discometry.core.records import Prepared, Segmentation
from discometry.core.volume import Grid, Volume
from discometry.networks.runtime import Predictor, even_window, predict_probabilities

__all__ = ["SegmentConfig", "most_probable", "segment", "view_probabilities", "weigh_disc", "window_of"]


@dataclass(frozen=True, slots=True)
class SegmentConfig:
    """Options of :func:`segment`."""

    longest: tuple[int, int, int] = (48, 160, 256)
    """Most working voxels along L, P, S that the network sees at once; most regions have fewer."""
    divisor: tuple[int, int, int] = (1, 1, 1)
    """Numbers that the sides of a window must divide by."""
    beside: int = 3
    """Empty voxels that the network sees to the left and the right of a region. It was taught on slabs that
    end within the spine, with some of these, and without them paints more beside the discs."""
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
        The image, or the part of it that shows the spine, at the network's spacing: once, or as many looks as
        :func:`~discometry.stages.prepare.prepare_looks` gives. The network sees every second one mirrored
        left-right.
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
    """Add up looks, NxCxLxPxS, interpolated linearly to a grid, and keep the most probable tissue.

    Beyond the looks is background. Their grids lie halves of a voxel apart along P and S; none begins before
    the first.
    """
    if len(grids) == 1:
        sums, grid = probabilities[0], grids[0]
    else:
        sums, grid = _on_half_voxels(probabilities, grids)
    # Between voxels where background is the most probable, it is so as well.
    unsure = ndimage.maximum_filter(sums.max(axis=0) > sums[Tissue.BACKGROUND], 3)
    tissue = np.full(target.shape, Tissue.BACKGROUND, dtype=np.uint8)
    matrix, start = target.sampling_in(grid)
    in_plane = matrix[:, 1:] @ np.indices(target.shape[1:]).reshape(2, -1) + start[:, None]
    last = np.array(grid.shape)[:, None] - 1
    beyond = np.divide(grids[0].spacing_mm, grid.spacing_mm)[:, None] / 2  # half of a look's voxel

    def fill(number: int) -> None:
        places = in_plane + matrix[:, :1] * number
        here = np.flatnonzero(((places >= -beyond) & (places <= last + beyond)).all(axis=0))
        nearest = np.clip(np.rint(places[:, here]), 0, last).astype(np.intp)
        here = here[unsure[tuple(nearest)]]
        sampled = [ndimage.map_coordinates(one, places[:, here], order=1, mode="nearest") for one in sums]
        tissue[number].reshape(-1)[here] = np.argmax(sampled, axis=0)

    for_each(range(len(tissue)), fill)
    return tissue


def _on_half_voxels(
    probabilities: NDArray[np.float32], grids: Sequence[Grid]
) -> tuple[NDArray[np.float32], Grid]:
    """Add up looks, each interpolated linearly, CxLxPxS, on voxels of half the sides along P and S.

    There all of them lie on voxels or half way between two, so that nothing is lost by it.
    """
    half = grids[0].stepped(grids[0].shape, step=(1, 0.5, 0.5))
    starts = [np.rint(half.to_index(np.array(grid.origin_mm))).astype(int)[1:] for grid in grids]
    sides = np.max(starts, axis=0) + 2 * np.array(probabilities.shape[3:]) - 1
    sums = np.zeros((*probabilities.shape[1:3], *sides), dtype=np.float32)
    for look, (p, s) in zip(probabilities, starts, strict=True):
        sums[:, :, p : p + 2 * look.shape[2] : 2, s : s + 2 * look.shape[3] : 2] += look
    for tissue in sums:
        for axis in (1, 2):
            lines = np.moveaxis(tissue, axis, 0)
            halves = lines / 2
            lines[1:] += halves[:-1]
            lines[:-1] += halves[1:]
    return sums, half.stepped(sums.shape[1:])
