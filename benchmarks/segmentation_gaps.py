"""Whether one disc fills each gap between neighbouring vertebral bodies: part (c) of segmentation.py."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from discometry.core.anatomy import level_of_label
from discometry.core.volume import Grid, Volume
from segmentation_changed import NO_TURN, brought_back
from segmentation_scores import (
    Picture,
    Tested,
    analysed,
    chosen,
    head,
    mean,
    middles,
    pictured,
    shown,
    tell_refused,
    vertebra_scans,
)

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
