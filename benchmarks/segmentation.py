"""How well discs are found and outlined, on scans that the segmenter was not trained on.

    python benchmarks/segmentation.py --data DATA [--bundle BUNDLE ...] [--pictures FOLDER] [--csv FILE]

Prints Markdown for docs/benchmarks.md: (a) SPIDER slabs of the patients that the bundle says were held out;
(b) FastCleverSeg 11 and 25; (c) the vertebra volumes, where one disc must fill each gap between neighbouring
bodies; (d) the two FastCleverSeg scans flipped, mirrored, re-spaced, turned and cropped. Several bundles
stand side by side, named by their folders. --csv writes a row for every manual disc.

A manual disc is found if the disc that covers most of it has a Dice of at least 0.5 with it. A found disc is
false if its Dice with every manual one is below 0.1 and it lies between or below those; such discs above the
highest manual one are counted apart, since FastCleverSeg marks five discs only.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from discometry.core.anatomy import Tissue, level_of_label
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
from discometry.io.bundle import STARTER, read_bundle
from discometry.io.images import read_image, read_mask
from discometry.pipeline import Models, analyse_image, segment_config, spine_views
from discometry.stages.measure import measure_mask
from discometry.stages.segment import view_probabilities
from discometry.stages.separate import SeparateConfig, separate

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


MEASURES = {"dice": 3, "central_dice": 3, "iou": 3, "asd_mm": 2, "hd95_mm": 2}
"""Means in the tables, with their digits."""
MEASURE_HEADS = "Dice | Dice, central | IoU | ASD mm | HD95 mm"


def summary(cases: Sequence[Case], *, intervals: bool) -> None:
    """Print tables over all discs of some scans: for each scan, for all of a bundle, and intervals."""
    groups = {case.bundle: [c for c in cases if c.bundle == case.bundle] for case in cases}
    head(f"bundle | scan | discs found | false | above | levels right | {MEASURE_HEADS}")
    for group in groups.values():
        for case in group:
            print(row(case.name, [case]))
        print(row("all discs", group))
    print(
        "\nASD and HD95 are of the discs that something found overlaps. A miss costs them nothing: read them"
    )
    print("beside the discs found.\n")
    for bundle, group in groups.items():
        scores = [score for case in group for score in case.scores]
        touched, found = sum(s.found_label > 0 for s in scores), sum(s.found for s in scores)
        print(f"- {bundle}: {found} of {len(scores)} found, {touched} overlapped")
    print()
    if intervals:
        tell_intervals(groups)
    else:
        print("Two scans only: no interval by patient can be had.\n")
    head("bundle | least Dice of a disc | volume, found over manual | height, found minus manual, mm | SD")
    for bundle, group in groups.items():
        scores = [score for case in group for score in case.scores]
        height = [score.height_mm for score in scores if np.isfinite(score.height_mm)]
        sd = float(np.std(height, ddof=1)) if len(height) > 1 else float("nan")
        ratio = shown(mean([score.volume_ratio for score in scores]), ".3f")
        least = min(score.dice for score in scores)
        print(f"| {bundle} | {least:.3f} | {ratio} | {shown(mean(height), '+.2f')} | {shown(sd, '.2f')} |")


def row(name: str, cases: Sequence[Case]) -> str:
    """Give a table row of mean scores over the discs of some scans of a bundle."""
    scores = [score for case in cases for score in case.scores]
    means = {n: mean([getattr(score, n) for score in scores]) for n in MEASURES}
    cells = [f"{sum(score.found for score in scores)} of {len(scores)}"]
    cells += [str(sum(case.false for case in cases)), str(sum(case.above for case in cases))]
    cells.append(str(sum(score.found_label == score.label for score in scores)))
    cells += [shown(means[n], f".{digits}f") for n, digits in MEASURES.items()]
    return f"| {cases[0].bundle} | {name} | {' | '.join(cells)} |"


def tell_intervals(groups: dict[str, list[Case]]) -> None:
    """Print means over the discs of each bundle with their intervals."""
    print(
        "Means over discs with 95 % intervals by bootstrap over patients. An interval has no width where all"
    )
    print("patients are alike: that every disc was found does not say how rare a miss is.\n")
    head(f"bundle | share of discs found | {MEASURE_HEADS} | Dice, mean of patients")
    for bundle, group in groups.items():
        scores = [score for case in group for score in case.scores]
        patients = [score.patient for score in scores]
        cells = [with_interval([score.found for score in scores], patients)]
        for name, digits in MEASURES.items():
            cells.append(with_interval([getattr(score, name) for score in scores], patients, digits))
        means = [mean([score.dice for score in case.scores]) for case in group]
        cells.append(with_interval(means, [case.name for case in group]))
        print(f"| {bundle} | {' | '.join(cells)} |")
    print()


def by_distance(cases: Sequence[Case]) -> None:
    """Print Dice and volume in bands of distance from the middle of each disc to the sides."""
    print()
    head("bundle | from the disc's middle to the side | Dice | found over manual")
    for bundle in dict.fromkeys(case.bundle for case in cases):
        counts = np.sum([case.bands for case in cases if case.bundle == bundle], axis=0)
        for (low, high), (both, found, manual) in zip(BANDS_MM, counts, strict=True):
            if manual:
                shares = f"{2 * both / (found + manual):.3f} | {found / manual:.2f}"
                print(f"| {bundle} | {low} to {high} mm | {shares} |")


HELD = 0.5
"""Share of a gap's columns that the disc must stand in .."""
STANDS = 0.25
"""It stands in a column if it takes this share of its height or more. A whole disc takes about 0.6, since
the manual bodies end before their endplates do."""
ASIDE_MM = 25.0


@dataclass(frozen=True, slots=True)
class Gap:
    """The space between two neighbouring bodies."""

    discs: tuple[int, ...]
    """Labels of those whose middle lies there."""
    columns: float
    """Share of the columns, along the line between the two middles, in which they stand."""
    height: float
    """Share of the height of those columns that is disc."""

    @property
    def held(self) -> bool:
        """Whether one disc fills it."""
        return len(self.discs) == 1 and self.columns >= HELD


@dataclass(frozen=True, slots=True)
class Bodies:
    """What was found in one vertebra volume."""

    bundle: str
    name: str
    gaps: list[Gap]
    inside: float
    """Share of the disc voxels that lie in bodies; NaN if nothing was found."""
    spurious: int
    discs: int
    ordered: bool
    pictures: list[Picture]


def vertebra_volume(tested: Tested, name: str, image: Volume, bodies: Volume) -> Bodies:
    """Analyse an oriented vertebra volume, and compare the discs with the bodies."""
    labels = analysed(tested, name, image)
    gaps, spurious, ordered = between_bodies(bodies, labels)
    discs, bone = labels.array > 0, bodies.array > 0
    pictures = []
    for label in middles(labels):
        disc = labels.array == label
        share = float((disc & bone).sum() / disc.sum())
        places = np.argwhere(disc & bone if share else disc)
        title = f"{name}, disc {label}: {share:.1%} in bodies"
        pictures.append(pictured(title, share, image, bone, labels, places))
    inside = float((discs & bone).sum() / discs.sum()) if discs.any() else float("nan")
    return Bodies(tested.name, name, gaps, inside, spurious, len(pictures), ordered, pictures)


def gap_cells(scans: Sequence[Bodies]) -> str:
    """Give the cells of a table row about some scans."""
    gaps = [gap for scan in scans for gap in scan.gaps]
    shares = ([gap.columns for gap in gaps], [gap.height for gap in gaps])
    columns, height = (f"{mean(values):.2f} ({min(values):.2f})" for values in shares)
    inside = shown(mean([scan.inside for scan in scans]), ".1%")
    held, spurious = sum(gap.held for gap in gaps), sum(scan.spurious for scan in scans)
    discs = sum(scan.discs for scan in scans)
    return f"{held} of {len(gaps)} | {columns} | {height} | {inside} | {spurious} of {discs}"


def tell_bodies(scans: Sequence[Bodies]) -> None:
    """Print what lies between the bodies of the vertebra volumes."""
    print(
        f"A gap is held if one disc alone has its middle there and stands in at least {HELD:.0%} of its\n"
        f"columns, taking at least {STANDS:.0%} of the height of each. Columns run along the line between\n"
        "the middles of two bodies, where both face each other; the manual bodies end before their\n"
        "endplates do. Means, and the least of any gap in brackets. *In order*: no level skipped or\n"
        "doubled from gap to gap; the masks do not name the bodies' levels.\n"
    )
    filled = "gaps held | columns with disc | height of these that is disc"
    head(
        f"bundle | scan | {filled} | disc voxels in bodies | spurious discs | levels in order | lowest gap is"
    )
    for bundle in dict.fromkeys(scan.bundle for scan in scans):
        group = [scan for scan in scans if scan.bundle == bundle]
        for scan in group:
            lowest = ", ".join(level_of_label(n) for n in scan.gaps[0].discs) or "-"
            print(f"| {bundle} | {scan.name} | {gap_cells([scan])} | {scan.ordered} | {lowest} |")
        ordered = f"{sum(scan.ordered for scan in group)} of {len(group)}"
        print(f"| {bundle} | all | {gap_cells(group)} | {ordered} | - |")


def between_bodies(bodies: Volume, labels: Volume) -> tuple[list[Gap], int, bool]:
    """Give the gaps from the lowest up, the number of spurious discs, and whether levels follow the bodies.

    The masks hold some of the bodies in view only, in VB3 the five lumbar ones. So of the discs above the
    highest body it is not known which are right, but for how many there is room: as many as would lie within
    the image at nine tenths of the step between the two highest bodies, one where the highest body is the
    image's last. Spurious are those above that number, all but one below the lowest body, all but one in a
    gap, and what lies 25 mm or more aside of the line between two bodies.

    The masks' numbers name no levels; in VB1 and VB2 they do not even run along the spine. Levels are in
    order if there are discs, and each gap's is one above that of the gap below, gaps without a disc counted;
    the disc below the lowest body is compared likewise.
    """
    spine = sorted(middles(bodies).items(), key=lambda pair: pair[1][2])
    heights = middles(labels)
    places: dict[int | None, list[int]] = {}
    for disc in sorted(heights, key=lambda n: heights[n][2]):
        places.setdefault(place_of(heights[disc], [middle for _, middle in spine]), []).append(disc)
    gaps = []
    for place, (low, high) in enumerate(itertools.pairwise(spine)):
        discs = tuple(places.get(place, ()))
        gaps.append(Gap(discs, *filled(bodies, labels, low, high, discs)))
    below, above, aside = (places.get(place, []) for place in (-1, len(gaps), None))
    top, step = spine[-1][1][2], spine[-1][1][2] - spine[-2][1][2]
    room = int((bodies.grid.corners_mm[:, 2].max() - top) / (0.9 * step) + 0.5)
    spurious = sum(max(0, len(gap.discs) - 1) for gap in gaps)
    spurious += max(0, len(below) - 1) + max(0, len(above) - room) + len(aside)
    offsets = {disc - place for place, gap in enumerate(gaps) for disc in gap.discs}
    if offsets and below:
        offsets.add(below[-1] + 1)
    return gaps, spurious, len(offsets) == 1


def place_of(disc: np.ndarray, spine: Sequence[np.ndarray]) -> int | None:
    """Give the gap that a disc's middle lies in; -1 below the lowest body, None aside of them all."""
    last = len(spine) - 2
    for place, (low, high) in enumerate(itertools.pairwise(spine)):
        axis = high - low
        along = float((disc - low) @ axis / (axis @ axis))
        if np.linalg.norm(disc - low - along * axis) >= ASIDE_MM:
            continue
        if 0 < along < 1:
            return place
        if along <= 0 and place == 0:
            return -1
        if along >= 1 and place == last:
            return place + 1
    return None


def filled(
    bodies: Volume,
    labels: Volume,
    low: tuple[int, np.ndarray],
    high: tuple[int, np.ndarray],
    discs: Sequence[int],
) -> tuple[float, float]:
    """Give the share of a gap's columns in which discs stand, and of those columns' height that is disc.

    Columns of 1 mm run from the middle of the lower body to that of the higher. Those count that meet both
    bodies, and of each what lies between the last voxel of the lower body and the first of the higher.
    """
    (low_number, start), (high_number, end) = low, high
    length = float(np.linalg.norm(end - start))
    up = (end - start) / length
    left = np.cross((0.0, 1.0, 0.0), up) / np.linalg.norm(np.cross((0.0, 1.0, 0.0), up))
    axes = np.stack([left, np.cross(up, left), up], axis=1)
    origin = start - axes @ (40.0, 40.0, 0.0)
    grid = Grid.from_spacing((81, 81, int(length) + 1), (1.0, 1.0, 1.0), origin_mm=origin, direction=axes)
    bone, found = (brought_back(volume, grid, NO_TURN).array for volume in (bodies, labels))
    level = np.arange(grid.shape[2])
    lowest = np.where(bone == low_number, level, -1).max(axis=2, keepdims=True)
    highest = np.where(bone == high_number, level, len(level)).min(axis=2, keepdims=True)
    between = (level > lowest) & (level < highest) & (lowest >= 0) & (highest < len(level))
    room, disc = between.sum(axis=2), (between & np.isin(found, discs)).sum(axis=2)
    stands = (disc > 0) & (disc >= STANDS * room)
    if not stands.any():
        return 0.0, 0.0
    return float(stands.sum() / (room > 0).sum()), float((disc[stands] / room[stands]).mean())


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


def write_scores(cases: Sequence[Case], path: Path) -> None:
    """Write a row for every manual disc."""
    rows = [{**asdict(score), "found": score.found} for case in cases for score in case.scores]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


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


def manual_part(title: str, cases: Sequence[Case], bundles: Sequence[Tested], *, intervals: bool) -> None:
    """Print all about the manual discs of some scans."""
    print(f"\n**{title}**\n")
    if cases:
        summary(cases, intervals=intervals)
        if not intervals:
            by_distance(cases)
    tell_refused(bundles)


def manual(bundles: Sequence[Tested], data: Path, parts: str, only: Sequence[str] | None) -> list[Case]:
    """Run the parts with manual discs."""
    slabs: list[Case] = []
    fast: list[Case] = []
    if "a" in parts:
        for tested in bundles:
            held_out = tested.models.bundle.component("segmenter").config["held_out"]
            slabs += [scored(tested, *scan) for scan in chosen(spider_scans(data / "spider", held_out), only)]
        manual_part("SPIDER slabs, patients not trained on", slabs, bundles, intervals=True)
    if "b" in parts:
        for tested in bundles:
            fast += [scored(tested, *scan) for scan in chosen(fast_scans(data / "fastcleverseg"), only)]
        manual_part("FastCleverSeg", fast, bundles, intervals=False)
    return slabs + fast


def vertebrae(bundles: Sequence[Tested], data: Path, only: Sequence[str] | None) -> list[Bodies]:
    """Run the part with vertebra volumes."""
    volumes: list[Bodies] = []
    for tested in bundles:
        scans = chosen(vertebra_scans(data / "vertebrae"), only)
        volumes += [vertebra_volume(tested, *scan) for scan in scans]
    print("\n**Vertebra volumes**\n")
    if volumes:
        tell_bodies(volumes)
    tell_refused(bundles)
    return volumes


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


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--bundle", type=Path, action="append", help="may be given again; default: the shipped"
    )
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the worst discs")
    parser.add_argument("--csv", type=Path, help="file for the scores of every manual disc")
    parser.add_argument("--parts", default="abcd", help="which of the parts a, b, c, d")
    parser.add_argument(
        "--only", action="append", help="only this scan, as SPIDER/7 or VB1/02; again for more"
    )
    options = parser.parse_args()
    bundles = read_bundles(options.bundle or [STARTER])
    cases = manual(bundles, options.data, options.parts, options.only)
    volumes = vertebrae(bundles, options.data, options.only) if "c" in options.parts else []
    if "d" in options.parts:
        changed(bundles, options.data, options.only)
    if options.csv:
        write_scores(cases, options.csv)
    if options.pictures:
        for name, (kind, group) in itertools.product(
            [tested.name for tested in bundles], (("worst_discs", cases), ("worst_in_bodies", volumes))
        ):
            found = [picture for one in group if one.bundle == name for picture in one.pictures]
            draw_worst(found, options.pictures / f"{kind}_{name.replace('/', '_')}.png")


if __name__ == "__main__":
    main()
