"""How well a few latents hold the shape of a disc, of discs in training and of discs never seen.

    python benchmarks/latents.py --data DATA --picture docs/pictures/latents.png

On the manual disc masks of FastCleverSeg, five folds grouped by subject: IoU, Dice and mean surface distance
of the reconstruction, and how far heights, widths and angles measured on it are from those of the disc, for
each model and number of latents. Intervals of 95 % by bootstrap over subjects; differences are paired, disc
by disc. Models: ``pca_raw`` and ``pca`` are principal components of signed distances, the disc as it lies or
in its own pose; ``pca_fitted`` is the latter, encoded by the best overlap; ``memory`` is the first, and knows
its training discs; ``shape`` is the shipped preset; ``paper`` the convolutional autoencoder, as it lies,
trained for --paper-epochs (slow). A pose kept apart is six numbers beside the latents, for ``pca``,
``pca_fitted`` and ``shape`` alike.
Prints Markdown for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from discometry.core.records import CUBE_SPACING_MM
from discometry.core.scores import (
    average_symmetric_surface_distance,
    bootstrap_interval,
    dice,
    iou,
    surface_points,
)
from discometry.core.volume import Grid, Volume
from discometry.networks.autoencoder import AutoencoderConfig
from discometry.networks.linear_shape import ShapeConfig
from discometry.networks.shape_coder import ShapeCoder
from discometry.stages.measure import measure_mask
from discometry.training.disc_cubes import CubeSet, cubes_of_masks
from discometry.training.fit_autoencoder import AutoencoderTraining, train_autoencoder
from discometry.training.fit_linear_shape import train_linear_shape
from discometry.training.shape_card import reconstruction_ious

Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Trainer = Callable[[BoolArray, int], ShapeCoder]

FOLDS = 5
MEASURES = (
    "height_mean_mm",
    "width_ap_mm",
    "width_lateral_mm",
    "angle_sagittal_deg",
    "angle_coronal_deg",
    "wedge_deg",
)
NAMES = {
    "pca_raw": "PCA, as it lies",
    "pca": "PCA, own pose",
    "pca_fitted": "PCA, own pose, best overlap",
    "memory": "PCA, as it lies, with memory",
    "shape": "ours",
    "paper": "paper's autoencoder",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One model at one number of latents: each disc's scores while it was held out."""

    model: str
    latents: int
    train_iou: float
    train_s: float
    iou: Array
    dice: Array
    distance_mm: Array
    errors: Array
    """Discs x measures: measured on the reconstruction minus on the disc."""


def linear(**options: object) -> Trainer:
    """Give what trains a linear model."""

    def train(cubes: BoolArray, latents: int) -> ShapeCoder:
        return train_linear_shape(cubes, ShapeConfig(latents=latents, **options))[0]  # type: ignore[arg-type]

    return train


def paper(epochs: int) -> Trainer:
    """Give what trains the paper's autoencoder for some epochs."""

    def train(cubes: BoolArray, latents: int) -> ShapeCoder:
        config = AutoencoderTraining(network=AutoencoderConfig(latents=latents))
        config = replace(config, loop=replace(config.loop, epochs=epochs, enough=None))
        with tempfile.TemporaryDirectory() as run:
            # It validates on the first discs only: the epoch's time is to be that of training.
            return train_autoencoder(cubes, cubes[:8], Path(run), config)[0]

    return train


def folds(discs: CubeSet) -> NDArray[np.intp]:
    """Fold of each disc; those of a subject share one."""
    subjects = np.random.default_rng(0).permutation(sorted(set(discs.spines)))
    fold = {subject: number % FOLDS for number, subject in enumerate(subjects)}
    return np.array([fold[spine] for spine in discs.spines])


def volume(cube: BoolArray) -> Volume:
    """Put a cube into the world."""
    return Volume(Grid.from_spacing(cube.shape, CUBE_SPACING_MM, origin_mm=(0.0, 0.0, 0.0)), cube)


def scored(model: str, latents: int, masks: Path, paper_epochs: int) -> Row:
    """Train on four folds and score the fifth, for each in turn."""
    train = {
        "pca_raw": linear(pose="none", sizes=False, fitted=False),
        "pca": linear(sizes=False, fitted=False),
        "pca_fitted": linear(sizes=False),
        "memory": linear(pose="none", sizes=False, fitted=False, memory=True),
        "shape": linear(),
        "paper": paper(paper_epochs),
    }[model]
    discs = cubes_of_masks(masks)
    fold, count = folds(discs), len(discs.cubes)
    overlap, both, distance = np.zeros(count), np.zeros(count), np.zeros(count)
    errors = np.zeros((count, len(MEASURES)))
    train_iou, seconds = [], []
    for number in range(FOLDS):
        start = time.perf_counter()
        coder = train(discs.cubes[fold != number], latents)
        seconds.append(time.perf_counter() - start)
        train_iou.append(reconstruction_ious(discs.cubes[fold != number], coder).mean())
        held = np.flatnonzero(fold == number)
        for place, again in zip(held, coder.decode(coder.encode(discs.cubes[held])), strict=True):
            cube = discs.cubes[place]
            overlap[place], both[place] = iou(cube, again), dice(cube, again)
            distance[place] = average_symmetric_surface_distance(
                surface_points(volume(cube)), surface_points(volume(again))
            )
            found, true = measure_mask(volume(again)), measure_mask(volume(cube))
            errors[place] = [getattr(found, name) - getattr(true, name) for name in MEASURES]
    return Row(
        model, latents, float(np.mean(train_iou)), float(np.mean(seconds)), overlap, both, distance, errors
    )


def interval(values: Array, subjects: NDArray[np.str_], digits: int) -> str:
    """Mean and its interval by bootstrap over subjects."""
    found = bootstrap_interval(lambda sample: float(np.mean(sample)), values, groups=subjects)
    return f"{found.value:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def tables(rows: list[Row], subjects: NDArray[np.str_]) -> None:
    """Print everything."""
    print("| model | latents | IoU, in training | IoU, held out | Dice | surface distance mm | training s |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        cells = (interval(row.iou, subjects, 3), interval(row.dice, subjects, 3))
        print(
            f"| {NAMES[row.model]} | {row.latents} | {row.train_iou:.3f} | {' | '.join(cells)} | "
            f"{interval(row.distance_mm, subjects, 2)} | {row.train_s:.0f} |"
        )
    by_name = {(row.model, row.latents): row for row in rows}
    others = [name for name in NAMES if name != "shape" and any(row.model == name for row in rows)]
    heads = " | ".join(f"ours minus {NAMES[name]}, IoU" for name in others)
    print(f"\n| latents | {heads} |\n|---|{'---|' * len(others)}")
    for latents in sorted({row.latents for row in rows if row.model == "shape"}):
        ours = by_name["shape", latents].iou
        cells = [
            interval(ours - by_name[other, latents].iou, subjects, 4) if (other, latents) in by_name else "-"
            for other in others
        ]
        print(f"| {latents} | {' | '.join(cells)} |")
    print(f"\n| model | latents | {' | '.join(MEASURES)} |\n|---|---|{'---|' * len(MEASURES)}")
    for row in rows:
        mean = np.nanmean(np.abs(row.errors), axis=0)
        print(f"| {NAMES[row.model]} | {row.latents} | {' | '.join(f'{value:.2f}' for value in mean)} |")


def draw(rows: list[Row], path: Path) -> None:
    """Draw IoU against latents, in training (dashed) and held out."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.subplots()
    for model in dict.fromkeys(row.model for row in rows):
        mine = [row for row in rows if row.model == model]
        sizes = [row.latents for row in mine]
        (line,) = axes.plot(sizes, [row.iou.mean() for row in mine], "o-", label=NAMES[model])
        axes.plot(sizes, [row.train_iou for row in mine], "--", color=line.get_color(), alpha=0.5)
    axes.set_xscale("log", base=2)
    sizes = sorted({row.latents for row in rows})
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set_xlabel("latents")
    axes.set_ylabel("IoU of the reconstruction")
    axes.set_title("Discs held out (solid) and in training (dashed)")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 3, 4, 8, 16, 32, 64])
    parser.add_argument("--models", nargs="+", default=["pca_raw", "pca", "shape"], choices=list(NAMES))
    parser.add_argument("--paper-epochs", type=int, default=20)
    parser.add_argument("--picture", type=Path, default=None)
    options = parser.parse_args()
    masks = options.data / "fastcleverseg" / "masks"
    discs = cubes_of_masks(masks)
    print(f"{platform.machine()}, {os.cpu_count()} cores")
    print(f"{len(discs.cubes)} discs of {len(set(discs.spines))} subjects\n", flush=True)
    # The largest first, one a core.
    tasks = [(model, size) for size in sorted(options.sizes, reverse=True) for model in options.models]
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        jobs = {task: pool.submit(scored, *task, masks, options.paper_epochs) for task in tasks}
        rows = [jobs[model, size].result() for model in options.models for size in options.sizes]
    tables(rows, np.array(discs.spines))
    if options.picture:
        draw(rows, options.picture)


if __name__ == "__main__":
    main()
