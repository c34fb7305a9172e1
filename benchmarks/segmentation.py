"""How well discs are found and outlined, on scans that the segmenter was not trained on.

    python benchmarks/segmentation.py --data DATA [--bundle BUNDLE] [--pictures FOLDER]

Prints Markdown for docs/benchmarks.md. (a) SPIDER slabs of the patients that the bundle says were held out;
(b) FastCleverSeg 11 and 25; (c) the vertebra volumes, where one disc must lie between neighbouring bodies;
(d) the two FastCleverSeg scans flipped, mirrored, re-spaced, turned and cropped. A manual disc is found if
the disc that covers most of it has a Dice of at least 0.5 with it. A found disc is false if it touches no
manual one and lies between or below those; discs above the highest manual one are counted apart, since
FastCleverSeg marks five discs only. 95 % intervals by bootstrap over patients.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy import ndimage

from discometry.core.anatomy import Tissue
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
from discometry.pipeline import Models, analyse_image, segment_config, spine_views
from discometry.stages.measure import measure_mask
from discometry.stages.segment import view_probabilities
from discometry.stages.separate import SeparateConfig, separate

CENTRAL_MM = 10.0


@dataclass(frozen=True, slots=True)
class Score:
    """One manual disc and the disc found for it."""

    patient: str
    label: int
    dice: float
    central_dice: float
    iou: float
    asd_mm: float
    hd95_mm: float
    volume_ratio: float
    height_mm: float
    """Mean height, found minus manual."""
    same_level: bool

    @property
    def found(self) -> bool:
        """Whether the disc was found."""
        return self.dice >= 0.5


@dataclass(slots=True)
class Case:
    """One scan: scores of its manual discs, and what else was found."""

    name: str
    image: Volume
    truth: Volume
    labels: Volume
    scores: list[Score] = field(default_factory=list)
    false: int = 0
    above: int = 0


def boxed(volume: Volume, mask: np.ndarray) -> Volume:
    """Cut a mask out with a margin, as a Boolean volume."""
    places = np.argwhere(mask)
    return Volume(volume.grid, mask).cropped(places.min(axis=0) - 1, places.max(axis=0) + 2)


def heights(volume: Volume, labels: Sequence[int]) -> dict[int, float]:
    """World height of the middle of each label."""
    return {n: float(volume.grid.to_world(np.argwhere(volume.array == n)).mean(axis=0)[2]) for n in labels}


def scored(name: str, image: Volume, truth: Volume, labels: Volume) -> Case:
    """Score every manual disc (label above 200) of an oriented scan."""
    case = Case(name, image, truth, labels)
    manual = [int(n) for n in np.unique(truth.array) if n > 200]
    touched = set()
    for label in manual:
        disc = truth.array == label
        covering = np.bincount(labels.array[disc].astype(int))
        touched |= set(np.flatnonzero(covering).tolist())
        best = int(covering[1:].argmax()) + 1 if covering[1:].sum() else -1
        case.scores.append(one_disc(name, label, disc, labels, best))
    others = [int(n) for n in np.unique(labels.array) if n and n not in touched]
    top = max(heights(truth, manual).values())
    case.above = sum(z > top for z in heights(labels, others).values())
    case.false = len(others) - case.above
    return case


def one_disc(name: str, label: int, disc: np.ndarray, labels: Volume, best: int) -> Score:
    """Compare a manual disc with the found disc ``best``."""
    found = labels.array == best
    if not found.any():
        return Score(name, label, 0.0, 0.0, 0.0, *[float("nan")] * 4, False)
    left = labels.grid.to_world(np.argwhere(disc))[:, 0]
    columns = labels.grid.to_world(np.array([[i, 0, 0] for i in range(disc.shape[0])]))[:, 0]
    near = np.abs(columns - left.mean()) <= CENTRAL_MM
    volumes = [boxed(labels, mask) for mask in (disc, found)]
    surfaces = [surface_points(volume) for volume in volumes]
    manual_mm, found_mm = (measure_mask(volume).height_mean_mm for volume in volumes)
    return Score(
        name,
        label,
        dice(disc, found),
        dice(disc[near], found[near]),
        iou(disc, found),
        average_symmetric_surface_distance(*surfaces),
        hausdorff95(*surfaces),
        float(found.sum() / disc.sum()),
        found_mm - manual_mm,
        best == label,
    )


def analysed(models: Models, name: str, image: Volume) -> Volume:
    """Disc labels of a scan, oriented; all background if it was refused."""
    try:
        return analyse_image(name, image, models).result.spine.labels.oriented()
    except Exception as error:
        print(f"- {name}: {error}")
        return image.with_array(np.zeros(image.grid.shape, np.int16)).oriented()


def spider_cases(models: Models, folder: Path) -> Iterator[Case]:
    """Analyse the slabs of the patients that were held out."""
    for patient in models.bundle.component("segmenter").config["held_out"]:
        for path in sorted((folder / "images").glob(f"{patient}_*.mha")):
            image, truth = read_image(path), read_mask(folder / "masks" / path.name)
            yield scored(patient, image.oriented(), truth.oriented(), analysed(models, patient, image))


def fast_scans(folder: Path) -> Iterator[tuple[str, Volume, Volume]]:
    """Read the two FastCleverSeg scans with their masks, oriented."""
    for subject in ("11", "25"):
        image = read_image(folder / "images_iso" / f"{subject}.nii.gz")
        truth = read_mask(folder / "masks_iso" / f"{subject}.nii.gz")
        yield subject, image.oriented(), truth.oriented()


def with_interval(values: list[float], patients: list[str], digits: int = 3) -> str:
    """Mean and its 95 % interval, missing values left out."""
    known = np.isfinite(values)
    found = bootstrap_interval(
        lambda sample: float(np.mean(sample)), np.array(values)[known], groups=np.array(patients)[known]
    )
    return f"{found.value:.{digits}f} ({found.low:.{digits}f}-{found.high:.{digits}f})"


def summary(cases: list[Case], *, intervals: bool = True) -> None:
    """Print a table over all discs of some scans, and a row for each scan."""
    scores = [score for case in cases for score in case.scores]
    patients = [score.patient for score in scores]
    heads = "discs found | false | above | levels right | Dice | Dice, central | IoU | ASD mm | HD95 mm"
    print(f"| scan | {heads} |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for case in cases:
        print(row(case.name, case.scores, case.false, case.above))
    false, above = sum(case.false for case in cases), sum(case.above for case in cases)
    print(row("all discs", scores, false, above))
    if intervals:
        for name, digits in (("dice", 3), ("central_dice", 3), ("iou", 3), ("asd_mm", 2), ("hd95_mm", 2)):
            print(f"- {name}: {with_interval([getattr(s, name) for s in scores], patients, digits)}")
        by_patient = [float(np.mean([s.dice for s in case.scores])) for case in cases]
        print(f"- dice, mean of patients: {with_interval(by_patient, [case.name for case in cases])}")
    ratio = np.nanmean([s.volume_ratio for s in scores])
    height = np.array([s.height_mm for s in scores])
    print(f"- least Dice of a disc {min(s.dice for s in scores):.3f}; volume found over manual {ratio:.3f}")
    print(
        f"- mean height, found minus manual: {np.nanmean(height):+.2f} mm, SD {np.nanstd(height, ddof=1):.2f}"
    )


def row(name: str, scores: Sequence[Score], false: int, above: int) -> str:
    """Give a table row of mean scores."""
    means = [np.nanmean([getattr(s, n) for s in scores]) for n in ("dice", "central_dice", "iou")]
    distances = [np.nanmean([getattr(s, n) for s in scores]) for n in ("asd_mm", "hd95_mm")]
    cells = [f"{v:.3f}" for v in means] + [f"{v:.2f}" for v in distances]
    found, level = sum(s.found for s in scores), sum(s.same_level for s in scores)
    return f"| {name} | {found} of {len(scores)} | {false} | {above} | {level} | {' | '.join(cells)} |"


def by_distance(cases: list[Case]) -> None:
    """Print Dice and volume in bands of distance from the middle of each disc to the sides."""
    print("\n| slices from the disc's middle | Dice | found over manual |\n|---|---|---|")
    for low, high in ((0, 5), (5, 10), (10, 15), (15, 20), (20, 40)):
        both = found = manual = 0
        for case, score in ((c, s) for c in cases for s in c.scores):
            disc = case.truth.array == score.label
            places = case.truth.grid.to_world(np.argwhere(disc))[:, 0]
            columns = np.array([[i, 0, 0] for i in range(disc.shape[0])], dtype=float)
            off = np.abs(case.truth.grid.to_world(columns)[:, 0] - places.mean())
            band = (off >= low) & (off < high)
            mine = case.labels.array[band] == score.label
            both += 2 * int((mine & disc[band]).sum())
            found, manual = found + int(mine.sum()), manual + int(disc[band].sum())
        if manual:
            print(f"| {low} to {high} mm | {both / (found + manual):.3f} | {found / manual:.2f} |")


def gaps(models: Models, folder: Path) -> None:
    """Print what lies between the bodies of the vertebra volumes."""
    print("| scan | gaps with one disc | disc voxels in bodies | spurious discs | levels in order |")
    print("|---|---|---|---|---|")
    totals = np.zeros(4)
    inside_all: list[float] = []
    ordered_all = True
    for path in sorted(folder.glob("*/*_image.nii.gz")):
        name = f"{path.parent.name}/{path.name[:2]}"
        bodies = read_mask(path.with_name(path.name.replace("image", "bodies"))).oriented()
        labels = analysed(models, name, read_image(path))
        held, spurious, ordered = between_bodies(bodies, labels)
        discs = labels.array > 0
        inside = float((discs & (bodies.array > 0)).sum() / max(discs.sum(), 1))
        count = len(np.unique(labels.array)) - 1
        print(
            f"| {name} | {held.count(1)} of {len(held)} | {inside:.1%} | {spurious} of {count} | {ordered} |"
        )
        totals += [held.count(1), len(held), spurious, count]
        inside_all.append(inside)
        ordered_all &= ordered
    one, every, spurious_sum, count_sum = totals
    print(
        f"| all | {one:.0f} of {every:.0f} ({one / every:.1%}) | {np.mean(inside_all):.1%} | "
        f"{spurious_sum:.0f} of {count_sum:.0f} ({spurious_sum / count_sum:.1%}) | {ordered_all} |"
    )


def between_bodies(bodies: Volume, labels: Volume) -> tuple[list[int], int, bool]:
    """Count the discs in each gap and the spurious ones, and tell whether the labels rise along the spine.

    A disc lies in a gap if its middle projects between the middles of the two bodies, at most 25 mm aside.
    Spurious is what shares a gap with another, lies aside of all, or is a second disc below the lowest body.
    """

    def middles(volume: Volume) -> list[np.ndarray]:
        return [
            volume.grid.to_world(np.argwhere(volume.array == n)).mean(axis=0)
            for n in np.unique(volume.array)
            if n
        ]

    spine = sorted(middles(bodies), key=lambda point: point[2])
    discs = middles(labels)
    held = [0] * (len(spine) - 1)
    below = above = aside = 0
    for disc in discs:
        for place, (low, high) in enumerate(itertools.pairwise(spine)):
            axis = high - low
            along = float((disc - low) @ axis / (axis @ axis))
            if 0 < along < 1 and np.linalg.norm(disc - low - along * axis) < 25:
                held[place] += 1
                break
        else:
            below += disc[2] < spine[0][2]
            above += disc[2] > spine[-1][2]
            aside += spine[0][2] <= disc[2] <= spine[-1][2]
    spurious = sum(max(0, n - 1) for n in held) + max(0, below - 1) + aside
    rising = [disc[2] for disc in discs]
    return held, spurious, rising == sorted(rising)


CHANGES = (
    ("other axis order, two axes flipped", None, 0.0),
    ("mirrored left-right", None, 0.0),
    ("re-spaced to 0.8 mm", (0.8, 0.8, 0.8), 0.0),
    ("re-spaced to 2 x 0.7 x 0.7 mm", (2.0, 0.7, 0.7), 0.0),
    ("re-spaced to 1.5 x 0.9 x 1.1 mm", (1.5, 0.9, 1.1), 0.0),
    ("patient turned by 8 degrees, sagittal", (1.0, 1.0, 1.0), 8.0),
    ("patient turned by -8 degrees", (1.0, 1.0, 1.0), -8.0),
    ("patient turned by 5 degrees", (1.0, 1.0, 1.0), 5.0),
    ("patient turned by -5 degrees", (1.0, 1.0, 1.0), -5.0),
    ("cropped by 2 x 3 x 3 voxels at one end", None, 0.0),
)


def moved(scans: list[tuple[str, Volume, Volume]], models: Models) -> None:
    """Print how much each disc's Dice changes when the scan is flipped, re-spaced, turned or cropped.

    Probabilities are asked for at the mask's own voxels. Beside that stand the labels that a user gets on the
    new voxels, brought back, and what storing alone costs: the answer to the unchanged scan, given on the new
    voxels and brought back likewise.
    """
    print("| change | greatest difference of a disc's Dice | mean | labels brought back | storing alone |")
    print("|---|---|---|---|---|")
    plain = {name: analysed(models, name, image) for name, image, _ in scans}
    for text, spacing, turn in CHANGES:
        answers, stored, storing = [], [], []
        for name, image, truth in scans:
            before = scored(name, image, truth, plain[name])
            if spacing is not None:
                changed = resampled(image, spacing, turn)
                answers += differences(before, answered(models, changed, truth.grid, turn))
                labels = analysed(models, name, changed)
                stored += differences(before, brought_back(labels, truth.grid, turn))
                same = answered(models, image, changed.grid, -turn)
                storing += differences(before, brought_back(same, truth.grid, turn))
            elif text.startswith("mirrored"):
                answers += differences(before, mirrored(analysed(models, name, mirrored(image))))
            elif text.startswith("cropped"):
                changed = image.cropped((2, 3, 3), image.grid.shape)
                answers += differences(before, answered(models, changed, truth.grid, turn))
            else:
                changed = image.transposed((2, 0, 1)).flipped(0).flipped(1)
                answers += differences(before, analysed(models, name, changed))
        beside = [f"{np.abs(values).max():.4f}" if values else "-" for values in (stored, storing)]
        print(
            f"| {text} | {np.abs(answers).max():.4f} | {np.mean(answers):+.4f} | {' | '.join(beside)} |",
            flush=True,
        )


def differences(before: Case, labels: Volume) -> list[float]:
    """Dice of each manual disc with other labels, minus what it was."""
    after = scored(before.name, before.image, before.truth, labels)
    return [one.dice - other.dice for one, other in zip(after.scores, before.scores, strict=True)]


def answered(models: Models, image: Volume, grid: Grid, turn: float) -> Volume:
    """Find discs in an image, and give their labels on another grid, turned back."""
    network, config = models.segmenter()
    there = np.zeros((len(Tissue), *grid.shape), dtype=np.float32)
    views = spine_views(image, models)
    for view, values in zip(views, view_probabilities(views, network, segment_config(config)), strict=True):
        for tissue in Tissue:
            volume = view.image.with_array(values[tissue])
            outside = float(tissue == Tissue.BACKGROUND)
            there[tissue] += sampled_turned(volume, grid, -turn, order=1, outside=outside)
    tissue = Volume(grid, np.argmax(there, axis=0).astype(np.uint8))
    return separate(tissue, SeparateConfig(convention="tissue")).labels


def mirrored(volume: Volume) -> Volume:
    """Reverse the array along its first axis but leave the grid: a patient with left and right exchanged."""
    return volume.with_array(np.flip(volume.array, 0))


def resampled(volume: Volume, spacing: Sequence[float], turn: float) -> Volume:
    """Sample a volume by splines on a grid of another spacing with its centre and axes, its content turned.

    The patient turns about the left-right axis through the centre by some degrees.
    """
    frame = volume.grid
    shape = np.ceil(np.array(frame.shape) * frame.spacing_mm / spacing - 1e-6).astype(int)
    origin = centre_of(frame) - frame.direction @ ((shape - 1) / 2 * np.array(spacing))
    grid = Grid.from_spacing(shape, spacing, origin_mm=origin, direction=frame.direction)
    return Volume(grid, sampled_turned(volume, grid, turn, order=3))


def brought_back(labels: Volume, grid: Grid, turn: float) -> Volume:
    """Give every voxel of a grid the label of the voxel that its centre lies in, turned back."""
    back = sampled_turned(labels, grid, -turn, order=0, outside=0.0)
    return Volume(grid, np.rint(back).astype(np.int16))


def sampled_turned(
    volume: Volume, grid: Grid, turn: float, *, order: int, outside: float | None = None
) -> np.ndarray:
    """Sample a volume on a grid of the same centre after turning its content about the left-right axis."""
    cos, sin = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
    turned = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    centre = centre_of(grid)
    matrix = np.linalg.inv(volume.grid.affine[:3, :3]) @ turned @ grid.affine[:3, :3]
    start = volume.grid.to_index(centre + turned @ (grid.to_world(np.zeros(3)) - centre))
    return ndimage.affine_transform(
        volume.array.astype(np.float32),
        matrix,
        offset=start,
        output_shape=grid.shape,
        order=order,
        mode="nearest" if outside is None else "constant",
        cval=outside or 0.0,
    )


def centre_of(grid: Grid) -> np.ndarray:
    """Give the place of a grid's middle, LPS mm."""
    return grid.to_world((np.array(grid.shape) - 1) / 2)


def pictures(cases: list[Case], folder: Path) -> None:
    """Draw the middle slices of the discs of least Dice, manual outline green, found red."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    worst = sorted(((s, c) for c in cases for s in c.scores), key=lambda pair: pair[0].dice)[:12]
    figure = Figure(figsize=(16, 12), layout="constrained")
    for axes, (score, case) in zip(figure.subplots(3, 4).flat, worst, strict=False):
        disc = case.truth.array == score.label
        middle = np.argwhere(disc).mean(axis=0).astype(int)
        reach = (32 / np.array(case.truth.grid.spacing_mm)).astype(int)
        low = np.maximum(middle - reach, 0)
        window = (middle[0], *(slice(a, b) for a, b in zip(low[1:], (middle + reach)[1:], strict=True)))
        axes.imshow(case.image.array[window].T, cmap="gray", origin="lower")
        axes.contour(disc[window].T, [0.5], colors="lime", linewidths=1)
        axes.contour((case.labels.array[window] > 0).T, [0.5], colors="red", linewidths=1)
        axes.set_title(f"{case.name}, disc {score.label}: {score.dice:.3f}")
        axes.set_aspect(case.truth.grid.spacing_mm[2] / case.truth.grid.spacing_mm[1])
        axes.axis("off")
    figure.savefig(folder / "worst_discs.png", dpi=70)


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=None)
    parser.add_argument("--pictures", type=Path, default=None)
    parser.add_argument("--parts", default="abcd", help="which of the parts a, b, c, d")
    options = parser.parse_args()
    models = Models(read_bundle(options.bundle))
    cases: list[Case] = []
    scans = list(fast_scans(options.data / "fastcleverseg"))
    if "a" in options.parts:
        print("\n**SPIDER slabs, patients not trained on**\n")
        cases += spider_cases(models, options.data / "spider")
        summary(cases)
    if "b" in options.parts:
        print("\n**FastCleverSeg**\n")
        fast = [scored(n, i, t, analysed(models, n, i)) for n, i, t in scans]
        summary(fast, intervals=False)
        by_distance(fast)
        cases += fast
    if "c" in options.parts:
        print("\n**Vertebra volumes**\n")
        gaps(models, options.data / "vertebrae")
    if "d" in options.parts:
        print("\n**FastCleverSeg, changed**\n")
        moved(scans, models)
    if options.pictures and cases:
        pictures(cases, options.pictures)


if __name__ == "__main__":
    main()
