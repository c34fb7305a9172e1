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
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from discometry.io.bundle import STARTER
from segmentation_changed import changed
from segmentation_gaps import vertebrae
from segmentation_scores import (
    BANDS_MM,
    Case,
    Tested,
    chosen,
    draw_worst,
    fast_scans,
    head,
    mean,
    read_bundles,
    scored,
    shown,
    spider_scans,
    tell_refused,
    with_interval,
)

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


def write_scores(cases: Sequence[Case], path: Path) -> None:
    """Write a row for every manual disc."""
    rows = [{**asdict(score), "found": score.found} for case in cases for score in case.scores]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


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
