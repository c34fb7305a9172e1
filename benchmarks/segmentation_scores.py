"""Scans with manual masks, bundles under test, and how well each disc is found: for segmentation.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import ndimage

from discometry.core.errors import DiscometryError
from discometry.core.scores import (
    average_symmetric_surface_distance,
    bootstrap_interval,
    dice,
    hausdorff95,
    iou,
    surface_points,
)
from discometry.core.volume import Grid, Volume
from discometry.io.bundle import read_bundle
from discometry.io.images import read_image, read_mask
from discometry.pipeline import Models, analyse_image
from discometry.stages.measure import measure_mask

CENTRAL_MM = 10.0
FALSE_DICE = 0.1
BANDS_MM = ((0, 5), (5, 10), (10, 15), (15, 20), (20, 40))
Scan = tuple[str, Volume, Volume]
"""Name, image and manual mask, both oriented."""


@dataclass(frozen=True, slots=True)
class Tested:
    """A bundle under test, and what it refused, with the reasons."""

    name: str
    models: Models
    refused: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Score:
    """One manual disc and the disc found for it."""

    bundle: str
    patient: str
    label: int
    found_label: int
    """Of the disc that covers most of it; 0 if none does."""
    dice: float
    central_dice: float
    iou: float
    asd_mm: float
    hd95_mm: float
    volume_ratio: float
    height_mm: float
    """Mean height, found minus manual."""

    @property
    def found(self) -> bool:
        """Whether the disc was found."""
        return self.dice >= 0.5


@dataclass(frozen=True, slots=True)
class Picture:
    """A slice through a place where something may be wrong: outlines green (manual) and red (found)."""

    title: str
    bad: float
    """The greater, the worse."""
    image: np.ndarray
    manual: np.ndarray
    found: np.ndarray
    aspect: float


@dataclass(slots=True)
class Case:
    """One scan: scores of its manual discs, and what else was found."""

    bundle: str
    name: str
    scores: list[Score] = field(default_factory=list)
    false: int = 0
    above: int = 0
    bands: list[tuple[int, int, int]] = field(default_factory=list)
    """For each of ``BANDS_MM``, the voxels in common, found and manual."""
    pictures: list[Picture] = field(default_factory=list)


def boxed(volume: Volume, mask: np.ndarray) -> Volume:
    """Cut a mask out with a margin, as a Boolean volume."""
    places = np.argwhere(mask)
    return Volume(volume.grid, mask).cropped(places.min(axis=0) - 1, places.max(axis=0) + 2)


def middles(volume: Volume) -> dict[int, np.ndarray]:
    """World place, LPS mm, of the middle of each label."""
    numbers = [int(n) for n in np.unique(volume.array) if n]
    places = ndimage.center_of_mass(volume.array > 0, volume.array, numbers)
    return {n: volume.grid.to_world(np.array(place)) for n, place in zip(numbers, places, strict=True)}


def manual_discs(truth: Volume) -> list[int]:
    """Labels of the manual discs, which are above 200."""
    return [int(n) for n in np.unique(truth.array) if n > 200]


def covering(disc: np.ndarray, labels: Volume) -> int:
    """Label that covers most of a disc; 0 if none covers any of it."""
    counts = np.bincount(labels.array[disc].astype(int))
    return int(counts[1:].argmax()) + 1 if counts[1:].sum() else 0


def scored(tested: Tested, name: str, image: Volume, truth: Volume) -> Case:
    """Analyse an oriented scan and score every manual disc."""
    labels = analysed(tested, name, image)
    case = Case(tested.name, name)
    manual = manual_discs(truth)
    sizes = {n: int((truth.array == n).sum()) for n in manual}
    for label in manual:
        case.scores.append(one_disc(tested.name, name, label, truth.array == label, labels))
    places = middles(truth)
    for label, place in middles(labels).items():
        inside = np.bincount(truth.array[labels.array == label].astype(int), minlength=max(manual) + 1)
        if max(2 * inside[n] / (inside.sum() + sizes[n]) for n in manual) < FALSE_DICE:
            above = place[2] > max(places[n][2] for n in manual)
            case.above, case.false = case.above + above, case.false + (not above)
    case.bands = [band(case.scores, truth, labels, *limits) for limits in BANDS_MM]
    for score in case.scores:
        disc, title = truth.array == score.label, f"{name}, disc {score.label}: {score.dice:.3f}"
        case.pictures.append(pictured(title, -score.dice, image, disc, labels, np.argwhere(disc)))
    return case


def one_disc(bundle: str, name: str, label: int, disc: np.ndarray, labels: Volume) -> Score:
    """Compare a manual disc with the disc found for it."""
    best = covering(disc, labels)
    if not best:
        return Score(bundle, name, label, 0, 0.0, 0.0, 0.0, *[float("nan")] * 4)
    found = labels.array == best
    near = off_middle(disc, labels.grid) <= CENTRAL_MM
    volumes = [boxed(labels, mask) for mask in (disc, found)]
    surfaces = [surface_points(volume) for volume in volumes]
    manual_mm, found_mm = (measure_mask(volume).height_mean_mm for volume in volumes)
    return Score(
        bundle,
        name,
        label,
        best,
        dice(disc, found),
        dice(disc[near], found[near]),
        iou(disc, found),
        average_symmetric_surface_distance(*surfaces),
        hausdorff95(*surfaces),
        float(found.sum() / disc.sum()),
        found_mm - manual_mm,
    )


def off_middle(disc: np.ndarray, grid: Grid) -> np.ndarray:
    """Distance, mm, of each sagittal slice from the middle of a disc."""
    slices = np.zeros((len(disc), 3))
    slices[:, 0] = np.arange(len(disc))
    return np.abs(grid.to_world(slices)[:, 0] - grid.to_world(np.argwhere(disc))[:, 0].mean())


def band(
    scores: Sequence[Score], truth: Volume, labels: Volume, low: float, high: float
) -> tuple[int, int, int]:
    """Count voxels in common, found and manual, within some distances of each disc's middle to the sides."""
    both = found = manual = 0
    for score in scores:
        disc = truth.array == score.label
        off = off_middle(disc, truth.grid)
        chosen = (off >= low) & (off < high)
        mine = labels.array[chosen] == (score.found_label or -1)
        both += int((mine & disc[chosen]).sum())
        found, manual = found + int(mine.sum()), manual + int(disc[chosen].sum())
    return both, found, manual


def or_nothing(tested: Tested, name: str, grid: Grid, find: Callable[[], Volume]) -> Volume:
    """Give the labels found, or background only where the scan is refused, which is noted."""
    try:
        return find()
    except DiscometryError as error:
        tested.refused.append(f"{name}: {error}")
        return Volume(grid, np.zeros(grid.shape, np.int16))


def analysed(tested: Tested, name: str, image: Volume) -> Volume:
    """Disc labels of a scan, oriented; all background if it was refused."""

    def find() -> Volume:
        return analyse_image(name, image, tested.models).result.spine.labels.oriented()

    return or_nothing(tested, name, image.oriented().grid, find)


def tell_refused(bundles: Sequence[Tested]) -> None:
    """Print what was refused since the last time."""
    print()
    for tested in bundles:
        for text in tested.refused:
            print(f"- refused by {tested.name}: {text}")
        tested.refused.clear()


def spider_scans(folder: Path, patients: Sequence[str]) -> Iterator[Scan]:
    """Read the slabs of some patients with their masks."""
    for patient in patients:
        for path in sorted((folder / "images").glob(f"{patient}_*.mha")):
            image, truth = read_image(path), read_mask(folder / "masks" / path.name)
            yield f"SPIDER/{patient}", image.oriented(), truth.oriented()


def fast_scans(folder: Path) -> Iterator[Scan]:
    """Read the two FastCleverSeg scans with their masks."""
    for subject in ("11", "25"):
        image = read_image(folder / "images_iso" / f"{subject}.nii.gz")
        truth = read_mask(folder / "masks_iso" / f"{subject}.nii.gz")
        yield f"FastCleverSeg/{subject}", image.oriented(), truth.oriented()


def head(columns: str) -> None:
    """Print the head of a table."""
    print(f"| {columns} |\n{'|---' * (columns.count('|') + 1)}|")


def mean(values: Sequence[float]) -> float:
    """Mean of the values there are; NaN if there are none."""
    known = np.array(values, dtype=float)
    known = known[np.isfinite(known)]
    return float(known.mean()) if known.size else float("nan")


def shown(value: float, form: str) -> str:
    """Format a value; a dash where there is none."""
    return format(value, form) if np.isfinite(value) else "-"


def with_interval(values: Sequence[float], patients: Sequence[str], digits: int = 3) -> str:
    """Mean and its 95 % interval by patient if there are more than two; missing values are left out."""
    known = np.isfinite(np.array(values, dtype=float))
    if not known.any() or len(set(patients)) < 3:
        return shown(mean(values), f".{digits}f")
    found = bootstrap_interval(mean, np.array(values, dtype=float)[known], groups=np.array(patients)[known])
    return f"{found.value:.{digits}f} ({found.low:.{digits}f}-{found.high:.{digits}f})"


def read_bundles(paths: Sequence[Path]) -> list[Tested]:
    """Read bundles, named by their folders, by their paths where those are alike."""
    alike = len({path.name for path in paths}) < len(paths)
    return [Tested(str(path) if alike else path.name, Models(read_bundle(path))) for path in paths]


def vertebra_scans(folder: Path) -> Iterator[Scan]:
    """Read the vertebra volumes with the masks of their bodies."""
    for path in sorted(folder.glob("*/*_image.nii.gz")):
        bodies = read_mask(path.with_name(path.name.replace("image", "bodies")))
        yield f"{path.parent.name}/{path.name[:2]}", read_image(path).oriented(), bodies.oriented()


def chosen(scans: Iterator[Scan], only: Sequence[str] | None) -> Iterator[Scan]:
    """Give the scans that are asked for, by name; None asks for all."""
    return (scan for scan in scans if not only or scan[0] in only)


def pictured(
    title: str, bad: float, image: Volume, manual: np.ndarray, labels: Volume, places: np.ndarray
) -> Picture:
    """Cut out the sagittal slice through the middle of some voxels, with 32 mm around it."""
    middle = places.mean(axis=0).astype(int)
    reach = (32 / np.array(image.grid.spacing_mm)).astype(int)
    low = np.maximum(middle - reach, 0)
    window = (middle[0], *(slice(a, b) for a, b in zip(low[1:], (middle + reach)[1:], strict=True)))
    cuts = [array[window].T.copy() for array in (image.array, manual, labels.array > 0)]
    return Picture(title, bad, *cuts, image.grid.spacing_mm[2] / image.grid.spacing_mm[1])


def draw_worst(pictures: Sequence[Picture], path: Path) -> None:
    """Draw the twelve worst pictures, manual outline green, found red."""
    from matplotlib.figure import Figure

    path.parent.mkdir(parents=True, exist_ok=True)
    worst = sorted(pictures, key=lambda picture: picture.bad, reverse=True)[:12]
    figure = Figure(figsize=(16, 12), layout="constrained")
    for axes in (grid := figure.subplots(3, 4)).flat:
        axes.axis("off")
    for axes, picture in zip(grid.flat, worst, strict=False):
        axes.imshow(picture.image, cmap="gray", origin="lower")
        for outline, colour in ((picture.manual, "lime"), (picture.found, "red")):
            if outline.any():
                axes.contour(outline, [0.5], colors=colour, linewidths=1)
        axes.set_title(picture.title)
        axes.set_aspect(picture.aspect)
    figure.savefig(path, dpi=70)
