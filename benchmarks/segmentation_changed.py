"""How much flipping, mirroring, re-spacing, turning and cropping change a disc: (d) of segmentation.py."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from discometry.core.anatomy import Tissue
from discometry.core.scores import (
    dice,
)
from discometry.core.volume import Grid, Volume
from discometry.pipeline import Models, segment_config, spine_views
from discometry.stages.segment import view_probabilities
from discometry.stages.separate import SeparateConfig, separate
from segmentation_scores import (
    Scan,
    Tested,
    analysed,
    chosen,
    covering,
    fast_scans,
    head,
    manual_discs,
    or_nothing,
    tell_refused,
)

NO_TURN = np.zeros(3)
CHANGES: tuple[tuple[str, tuple[float, float, float] | None, np.ndarray], ...] = (
    ("other axis order, two axes flipped", None, NO_TURN),
    ("mirrored left-right", None, NO_TURN),
    ("re-spaced to 0.8 mm", (0.8, 0.8, 0.8), NO_TURN),
    ("re-spaced to 2 x 0.7 x 0.7 mm", (2.0, 0.7, 0.7), NO_TURN),
    ("re-spaced to 1.5 x 0.9 x 1.1 mm", (1.5, 0.9, 1.1), NO_TURN),
    *(
        (f"patient turned by {turn} degrees, {plane}", (1.0, 1.0, 1.0), turn * np.eye(3)[axis])
        for axis, plane in enumerate(("sagittal", "coronal", "axial"))
        for turn in (8, -8, 5, -5)
    ),
    ("cropped by 2 x 3 x 3 voxels at one end", None, NO_TURN),
)
"""What is done to a scan: in words, the new spacing, and the turn in degrees about the axes L, P, S."""


def moved(tested: Tested, scans: Sequence[Scan]) -> None:
    """Print how much each disc's Dice changes when the scan is flipped, re-spaced, turned or cropped.

    Probabilities are asked for at the mask's own voxels. Beside that stand the labels that a user gets on the
    new voxels, brought back, and what storing alone costs: the answer to the unchanged scan, given on the new
    voxels and brought back likewise.
    """
    images = {name: image for name, image, _ in scans}
    unchanged = cache(lambda name: looks(images[name], tested.models))
    before = {name: dices(truth, analysed(tested, name, image)) for name, image, truth in scans}
    for text, spacing, turn in CHANGES:
        differences: list[list[float]] = [[], [], []]
        for name, image, truth in scans:
            told, grid = f"{name}, {text}", truth.grid
            if spacing is None:
                after = [rearranged(tested, told, image, grid)]
            else:
                changed = resampled(image, spacing, turn)
                seen = partial(looks, changed, tested.models)
                labels = analysed(tested, told, changed)
                same = answered(tested, told, partial(unchanged, name), changed.grid, -turn)
                after = [answered(tested, told, seen, grid, turn)]
                after += [brought_back(one, grid, turn) for one in (labels, same)]
            for values, labels in zip(differences, after, strict=False):
                values += (dices(truth, labels) - before[name]).tolist()
        answers, *others = differences
        beside = [f"{np.abs(values).max():.4f}" if values else "-" for values in others]
        cells = [f"{np.abs(answers).max():.4f}", f"{np.mean(answers):+.4f}", *beside]
        print(f"| {tested.name} | {text} | {' | '.join(cells)} |", flush=True)


def rearranged(tested: Tested, told: str, image: Volume, grid: Grid) -> Volume:
    """Find discs after a change that the voxels themselves survive, and give their labels on a grid."""
    if "mirrored" in told:
        return mirrored(analysed(tested, told, mirrored(image)))
    if "cropped" in told:
        cropped = image.cropped((2, 3, 3), image.grid.shape)
        return answered(tested, told, lambda: looks(cropped, tested.models), grid, NO_TURN)
    return analysed(tested, told, image.transposed((2, 0, 1)).flipped(0).flipped(1))


def dices(truth: Volume, labels: Volume) -> np.ndarray:
    """Dice of each manual disc with the disc that covers most of it."""
    discs = [truth.array == n for n in manual_discs(truth)]
    return np.array([dice(disc, labels.array == (covering(disc, labels) or -1)) for disc in discs])


def looks(image: Volume, models: Models) -> list[tuple[Grid, np.ndarray]]:
    """Probabilities of every tissue in each view of an image, with the grids of the views."""
    network, config = models.segmenter()
    views = spine_views(image, models)
    values = view_probabilities(views, network, segment_config(config))
    return [(view.image.grid, one) for view, one in zip(views, values, strict=True)]


def answered(
    tested: Tested, told: str, look: Callable[[], list[tuple[Grid, np.ndarray]]], grid: Grid, turn: np.ndarray
) -> Volume:
    """Find discs where a network looked, and give their labels on another grid, turned back."""

    def find() -> Volume:
        there = np.zeros((len(Tissue), *grid.shape), dtype=np.float32)
        for (own, values), tissue in itertools.product(look(), Tissue):
            outside = float(tissue == Tissue.BACKGROUND)
            there[tissue] += sampled_turned(
                Volume(own, values[tissue]), grid, -turn, order=1, outside=outside
            )
        tissues = Volume(grid, np.argmax(there, axis=0).astype(np.uint8))
        return separate(tissues, SeparateConfig(convention="tissue")).labels

    return or_nothing(tested, told, grid, find)


def mirrored(volume: Volume) -> Volume:
    """Reverse the array along its first axis but leave the grid: a patient with left and right exchanged."""
    return volume.with_array(np.flip(volume.array, 0))


def resampled(volume: Volume, spacing: Sequence[float], turn: np.ndarray) -> Volume:
    """Sample a volume, turned, by splines on a grid of another spacing with its centre and axes."""
    frame = volume.grid
    shape = np.ceil(np.array(frame.shape) * frame.spacing_mm / spacing - 1e-6).astype(int)
    origin = centre_of(frame) - frame.direction @ ((shape - 1) / 2 * np.array(spacing))
    grid = Grid.from_spacing(shape, spacing, origin_mm=origin, direction=frame.direction)
    return Volume(grid, sampled_turned(volume, grid, turn, order=3))


def brought_back(labels: Volume, grid: Grid, turn: np.ndarray) -> Volume:
    """Give every voxel of a grid the label of the voxel that its centre lies in, turned back."""
    return Volume(grid, sampled_turned(labels, grid, -turn, order=0, outside=0.0))


def sampled_turned(
    volume: Volume, grid: Grid, turn: np.ndarray, *, order: int, outside: float | None = None
) -> np.ndarray:
    """Sample a volume on a grid after turning its content about the grid's centre.

    ``turn`` is a vector along the axis, L, P, S, its length the angle in degrees.
    """
    matrix = Rotation.from_rotvec(turn, degrees=True).as_matrix()
    centre = centre_of(grid)
    start = volume.grid.to_index(centre + matrix @ (grid.to_world(np.zeros(3)) - centre))
    return ndimage.affine_transform(
        volume.array.astype(np.float32) if order else volume.array,
        np.linalg.inv(volume.grid.affine[:3, :3]) @ matrix @ grid.affine[:3, :3],
        offset=start,
        output_shape=grid.shape,
        order=order,
        mode="nearest" if outside is None else "constant",
        cval=outside or 0.0,
    )


def centre_of(grid: Grid) -> np.ndarray:
    """Give the place of a grid's middle, LPS mm."""
    return grid.to_world((np.array(grid.shape) - 1) / 2)


def changed(bundles: Sequence[Tested], data: Path, only: Sequence[str] | None) -> None:
    """Run the part with scans that are changed."""
    scans = list(chosen(fast_scans(data / "fastcleverseg"), only))
    if not scans:
        return
    print("\n**FastCleverSeg, changed**\n")
    difference = "greatest difference of a disc's Dice | mean"
    head(f"bundle | change | {difference} | labels brought back | storing alone")
    for tested in bundles:
        moved(tested, scans)
    tell_refused(bundles)
