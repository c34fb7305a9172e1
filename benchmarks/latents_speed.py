"""Time until the training discs are remembered: the paper's autoencoder and loop against ours, in one run.

    python benchmarks/latents_speed.py --data DATA --run RUN --epochs 100 --sweep 64 8 3 --sweep-epochs 10

All manual discs of FastCleverSeg are in training, with 4 latents. The paper's loop runs for --epochs (the
same RUN goes on where it stopped); its IoU is in evaluation mode over every training disc, and its time
includes finding that. Then ours, with memory, is trained, and the time of both is compared, and 1,000 masks
are encoded and measured. At last the paper's loop runs for --sweep-epochs with each other number of latents.
IoU in training says how much a model remembers, not how well it describes another disc: see
benchmarks/latents.py for that.
Prints Markdown for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from discometry.core.records import CUBE_SPACING_MM
from discometry.core.scores import bootstrap_interval
from discometry.core.volume import Grid, Volume
from discometry.io.bundle import read_bundle
from discometry.networks.autoencoder import AutoencoderConfig
from discometry.networks.linear_shape import ShapeConfig
from discometry.networks.shape_coder import ShapeCoder
from discometry.networks.shape_models import load_shape_model
from discometry.stages.measure import measure_mask
from discometry.training.disc_cubes import CubeSet, cubes_of_masks
from discometry.training.fit_autoencoder import AutoencoderTraining, train_autoencoder
from discometry.training.fit_linear_shape import train_linear_shape
from discometry.training.history import EpochRecord
from discometry.training.shape_card import reconstruction_ious

MASKS = 1000


def interval(values: np.ndarray, discs: CubeSet) -> str:
    """Mean, its interval by bootstrap over subjects, and the least value."""
    subjects = np.array(discs.spines)
    found = bootstrap_interval(lambda sample: float(np.mean(sample)), values, groups=subjects)
    return f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f}), least {values.min():.3f}"


def paper(discs: CubeSet, run: Path, latents: int, epochs: int) -> tuple[ShapeCoder, tuple[EpochRecord, ...]]:
    """Train the paper's autoencoder, or go on where ``run`` stopped."""
    config = AutoencoderTraining(network=AutoencoderConfig(latents=latents))
    config = replace(config, loop=replace(config.loop, epochs=epochs, enough=None))
    model, result, _ = train_autoencoder(discs.cubes, discs.cubes, run, config)
    return model, result.history


def throughput(discs: CubeSet) -> None:
    """Encode and measure masks with the shipped model."""
    coder = load_shape_model(read_bundle(None).component("autoencoder"))
    cubes = discs.cubes[np.arange(MASKS) % len(discs.cubes)]
    grid = Grid.from_spacing(cubes.shape[1:], CUBE_SPACING_MM, origin_mm=(0.0, 0.0, 0.0))
    start = time.perf_counter()
    coder.encode(cubes)
    encoded = time.perf_counter()
    for cube in cubes:
        measure_mask(Volume(grid, cube))
    measured = time.perf_counter()
    print(
        f"\n{MASKS} masks, one process: encoded in {encoded - start:.1f} s, measured in "
        f"{measured - encoded:.1f} s, {measured - start:.1f} s together."
    )


def main() -> None:
    """Run both and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="checkpoints of the paper's autoencoder")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--sweep", type=int, nargs="+", default=[], help="other numbers of latents")
    parser.add_argument("--sweep-epochs", type=int, default=10)
    options = parser.parse_args()
    discs = cubes_of_masks(options.data / "fastcleverseg" / "masks")
    print(f"{platform.machine()}, {os.cpu_count()} cores; {len(discs.cubes)} discs, 4 latents\n")
    print("| model | epochs | seconds | IoU in training |\n|---|---|---|---|")
    model, history = paper(discs, options.run, 4, options.epochs)
    seconds = 0.0
    for record in history:
        seconds += record.seconds
        if record.epoch + 1 in (1, 2, 5, 10, 20, 50):
            print(f"| paper's autoencoder | {record.epoch + 1} | {seconds:.0f} | {record.val_iou:.4f} |")
    theirs = reconstruction_ious(discs.cubes, model)
    print(
        f"| paper's autoencoder | {len(history)} | {seconds:.0f} | {interval(theirs, discs)} |",
        flush=True,
    )
    start = time.perf_counter()
    remembering = ShapeConfig(latents=4, pose="none", sizes=False, fitted=False, memory=True)
    ours, _ = train_linear_shape(discs.cubes, remembering)
    took = time.perf_counter() - start
    scores = reconstruction_ious(discs.cubes, ours)
    print(f"| ours, with memory | - | {took:.1f} | {interval(scores, discs)} |")
    above = "at or above" if scores.mean() >= theirs.mean() else "still below"
    print(f"\nOurs took 1/{seconds / took:.0f} of the time and is {above} the IoU of the paper's.")
    throughput(discs)
    if options.sweep:
        print(
            "\n| latents of the paper's autoencoder | epochs | seconds | IoU in training |\n|---|---|---|---|"
        )
    for latents in options.sweep:
        run = options.run / f"{latents}_latents"
        model, history = paper(discs, run, latents, options.sweep_epochs)
        scores = reconstruction_ious(discs.cubes, model)
        took = sum(record.seconds for record in history)
        print(f"| {latents} | {len(history)} | {took:.0f} | {interval(scores, discs)} |", flush=True)


if __name__ == "__main__":
    main()
