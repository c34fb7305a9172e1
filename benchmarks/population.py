"""Measure what the phantoms' population is drawn from on masks in the SPIDER convention.

Run ``python benchmarks/population.py FOLDER_OR_MASK... [--gradings radiological_gradings.csv]``: it prints,
as Markdown, the median and robust standard deviation (1.4826 times the median absolute deviation) of disc and
body sizes and angles at every level, and of the sacral slope, lordosis and dural sac.

Only the discs (201 and up, from L5/S1) and the canal (100) are used, in the sagittal slices through the
canal's middle: central slabs will do. Lateral widths come from masks that hold the discs whole. With
gradings, height, dome and wedge are those of discs graded as not narrowed, and ``narrowing`` is the height
of a narrowed disc over the median of the others.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import level_of_label
from discometry.core.volume import Volume
from discometry.io.images import read_mask

CANAL = 100
LEFT_OUT = {"18", "55", "57", "98"}
"""Patients whose masks and gradings disagree on the number of discs."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Profile:
    """A disc in the mid-sagittal plane."""

    centre: Array
    """Posterior and superior coordinate, mm."""
    angle_deg: float
    """Disc plane against anterior-posterior; > 0: anterior edge up."""
    width_ap_mm: float
    height_mm: float
    """Mean over the footprint, from a parabola fitted to the inner 85 % of the profile."""
    dome_mm: float
    """Both domes together: height in the middle over height at the rim."""
    wedge_deg: float
    sac_ap_mm: float
    sac_lateral_mm: float
    """NaN where the mask cuts the sac."""


def disc_profile(
    points: Array, pixel: tuple[float, float]
) -> tuple[Array, float, float, float, float, float]:
    """Measure one disc's pixels (n, 2) of a sagittal slice: centre, angle, AP width, height, dome, wedge."""
    centre = points.mean(axis=0)
    angle = 0.0
    for _ in range(4):
        # The disc's axis is where its upper and lower profile lean equally.
        along = np.array([math.cos(angle), -math.sin(angle)])
        up = np.array([math.sin(angle), math.cos(angle)])
        t, s = (points - centre) @ along, (points - centre) @ up
        step = 1.2 * max(pixel)
        bins = np.floor((t - t.min()) / step).astype(int)
        places, tops, bottoms = [], [], []
        for index in range(bins.max() + 1):
            column = s[bins == index]
            if column.size >= 2:
                places.append(t.min() + (index + 0.5) * step)
                tops.append(column.max() + 0.5 * pixel[1])
                bottoms.append(column.min() - 0.5 * pixel[1])
        x, top, bottom = np.array(places), np.array(tops), np.array(bottoms)
        low, high = t.min() - pixel[0] / 2, t.max() + pixel[0] / 2
        middle, half = (low + high) / 2, (high - low) / 2
        inner = np.abs(x - middle) < 0.85 * half
        slope_top, slope_bottom = (np.polyfit(x[inner], edge[inner], 1)[0] for edge in (top, bottom))
        angle -= 0.5 * (math.atan(slope_top) + math.atan(slope_bottom))
    u = (x[inner] - middle) / half
    fit = np.linalg.lstsq(
        np.stack([np.ones_like(u), 1 - u * u, u], axis=1), (top - bottom)[inner], rcond=None
    )[0]
    wedge = math.degrees(math.atan(slope_bottom) - math.atan(slope_top))
    return centre, math.degrees(angle), 2 * half, float(fit[0] + fit[1] / 2), float(fit[1]), wedge


def profiles(volume: Volume) -> dict[int, Profile]:
    """Measure every disc of a mask within 3 mm of the canal's middle; medians over the slices."""
    array, spacing = volume.array, volume.grid.spacing_mm
    found: dict[int, Profile] = {}
    for label in (int(v) for v in np.unique(array) if v > 200):
        cells = np.argwhere(array == label)
        low, high = cells[:, 2].min(), cells[:, 2].max() + 1
        canal = np.argwhere(array[:, :, low:high] == CANAL)
        if len(canal) < 20:
            continue
        middle = canal[:, 0].mean()
        rows = []
        for i in range(array.shape[0]):
            pixels = cells[cells[:, 0] == i]
            if abs(i - middle) * spacing[0] > max(3.0, 0.6 * spacing[0]) or len(pixels) < 60:
                continue
            points = pixels[:, 1:] * np.array(spacing[1:])
            rows.append((*disc_profile(points, spacing[1:]), _sac_ap(canal, i, spacing)))
        if rows:
            columns = list(zip(*rows, strict=True))
            centre = np.median(np.array(columns[0]), axis=0)
            values = [float(np.median(column)) for column in columns[1:]]
            found[label] = Profile(centre, *values, _sac_lateral(canal, array.shape[0], spacing[0]))
    return found


def _sac_ap(canal: NDArray[np.intp], i: int, spacing: tuple[float, float, float]) -> float:
    """AP diameter of the sac across its own course in one slice, mm; NaN where it is not there."""
    points = canal[canal[:, 0] == i][:, 1:]
    rows = np.unique(points[:, 1])
    if len(rows) < 3:
        return math.nan
    widths = [np.ptp(points[points[:, 1] == k][:, 0]) + 1 for k in rows]
    middles = [points[points[:, 1] == k][:, 0].mean() * spacing[1] for k in rows]
    lean = math.atan(np.polyfit(rows * spacing[2], middles, 1)[0])
    return float(np.median(widths)) * spacing[1] * math.cos(lean)


def _sac_lateral(canal: NDArray[np.intp], slices: int, spacing_mm: float) -> float:
    """Lateral diameter of the sac over slices with a quarter of the fullest one, mm; NaN where cut."""
    size = np.bincount(canal[:, 0], minlength=slices)
    kept = np.flatnonzero(size > 0.25 * size.max())
    if kept[0] == 0 or kept[-1] == slices - 1:
        return math.nan
    return float(len(kept)) * spacing_mm


def lateral_widths(volume: Volume) -> Iterator[tuple[int, float]]:
    """Give label and lateral width (mm) along its own long axis of every disc that the mask holds whole."""
    array, spacing = volume.array, np.array(volume.grid.spacing_mm)
    for label in (int(v) for v in np.unique(array) if v > 200):
        cells = np.argwhere(array == label)
        if cells[:, 0].min() > 0 and cells[:, 0].max() < array.shape[0] - 1:
            points = cells * spacing
            _, _, axes = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
            axis = axes[int(np.argmax(np.abs(axes[:2, 0])))]
            # A slice counts where it holds a tenth of the fullest one: ragged ends are cut.
            size = np.bincount(cells[:, 0])
            kept = np.flatnonzero(size > 0.1 * size.max())
            yield label, float((np.ptp(kept) + 1) * spacing[0] / max(abs(axis[0]), 0.8))


def read_narrowed(path: Path) -> dict[tuple[str, int], bool]:
    """Read whether a disc is graded as narrowed, by patient and disc label."""
    with path.open(newline="") as lines:
        return {
            (row["Patient"].strip(), 200 + int(row["IVD label"])): row["Disc narrowing"].strip()
            not in ("0", "")
            for row in csv.DictReader(lines)
        }


Pool = dict[tuple[str, str], list[float]]
"""Values by (level or "spine", measure)."""


def collect(masks: list[Path], narrowed: Mapping[tuple[str, int], bool]) -> Pool:
    """Pool all measures of all masks."""
    pool: Pool = defaultdict(list)
    low: list[tuple[str, float]] = []
    for path in masks:
        volume = read_mask(path).oriented()
        discs = profiles(volume)
        for label, lateral in lateral_widths(volume):
            pool[level_of_label(label), "lateral"].append(lateral)
        for label, disc in discs.items():
            level = level_of_label(label)
            for name in ("width_ap_mm", "sac_ap_mm", "sac_lateral_mm", "angle_deg"):
                pool[level, name].append(getattr(disc, name))
            if narrowed.get((path.name.split("_")[0], label), False):
                low.append((level, disc.height_mm))
                continue
            for name in ("height_mm", "dome_mm", "wedge_deg"):
                pool[level, name].append(getattr(disc, name))
        _pool_bodies(pool, discs)
    for level, height in low:
        ratio = height / float(np.median(pool[level, "height_mm"]))
        pool[level, "narrowing"].append(ratio)
        pool["spine", "narrowing"].append(ratio)
    return pool


def _pool_bodies(pool: Pool, discs: Mapping[int, Profile]) -> None:
    """Add bodies, as what lies between neighbouring discs, the sacral slope and the lordosis."""
    for label, disc in discs.items():
        over = discs.get(label + 1)
        if over is not None:
            level = level_of_label(label)
            gap = float(np.linalg.norm(over.centre - disc.centre)) - 0.5 * (disc.height_mm + over.height_mm)
            bend = over.angle_deg - disc.angle_deg - 0.5 * (over.wedge_deg + disc.wedge_deg)
            pool[level, "body_height_mm"].append(gap)
            pool[level, "body_wedge_deg"].append(bend)
    if 201 in discs:
        slope = 0.5 * discs[201].wedge_deg - discs[201].angle_deg
        pool["spine", "sacral_slope_deg"].append(slope)
        if 205 in discs:
            top = discs[205].angle_deg - 0.5 * discs[205].wedge_deg
            pool["spine", "lordosis_l2_s1_deg"].append(slope + top)


def main(arguments: list[str]) -> int:
    """Measure the masks named on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("masks", nargs="+", type=Path)
    parser.add_argument("--gradings", type=Path)
    options = parser.parse_args(arguments)
    masks: list[Path] = []
    for item in options.masks:
        masks += sorted(item.glob("*.mha")) if item.is_dir() else [item]
    masks = [path for path in masks if path.name.split("_")[0] not in LEFT_OUT]
    pool = collect(masks, read_narrowed(options.gradings) if options.gradings else {})
    print(f"{len(masks)} masks\n")
    names = sorted({name for level, name in pool if level != "spine"})
    print("| level | n | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 2))
    for level in dict.fromkeys(level for level, _ in pool if level != "spine"):
        cells = [_cell(pool.get((level, name), [])) for name in names]
        print(f"| {level} | {len(pool[level, 'angle_deg'])} | " + " | ".join(cells) + " |")
    for level, name in pool:
        if level == "spine":
            print(f"\n{name}: {_cell(pool[level, name])} (n = {len(pool[level, name])})")
    return 0


def _cell(values: list[float]) -> str:
    kept = np.array([v for v in values if math.isfinite(v)])
    if not len(kept):
        return "-"
    middle = float(np.median(kept))
    spread = 1.4826 * float(np.median(np.abs(kept - middle)))
    return f"{middle:.2f} +- {spread:.2f}" if len(kept) > 1 else f"{middle:.1f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
