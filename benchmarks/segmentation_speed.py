"""Time and memory of a whole ``discometry analyse``, beside MONAI's plain sliding window on its weights.

    python benchmarks/segmentation_speed.py --data DATA [--bundle BUNDLE] --repeats 3

Prints Markdown for docs/benchmarks.md. Each ``analyse`` is a process of its own, so that its time includes
starting Python and making the networks ready. Beside it stand, within one process whose networks are ready,
our way from the image to tissue (locate, prepare, segment), on both engines, and the plain sliding window:
torch in its default layout, one window at a time, half a window of overlap, over the whole volume, of which
only the network's run is timed. Both average the image with its mirror image and cut discs alike.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference

from discometry.core.anatomy import Tissue
from discometry.core.scores import dice
from discometry.core.volume import Volume
from discometry.io.bundle import read_bundle
from discometry.io.images import read_image, read_mask
from discometry.networks.segmenter import load_segmenter
from discometry.pipeline import Models, analyse_image
from discometry.stages.prepare import PrepareConfig, prepare
from discometry.stages.segment import most_probable, weigh_disc
from end_to_end import run


def spread(values: list[float], unit: str) -> str:
    """Median and range."""
    return f"{statistics.median(values):.2f} {unit} ({min(values):.2f}-{max(values):.2f})"


def plain(image: Volume, models: Models) -> tuple[float, Volume]:
    """Segment as a first script would; give the network's time and the tissue on the image's own grid."""
    network, config = load_segmenter(models.bundle.component("segmenter"))
    prepared = prepare(image, PrepareConfig(spacing_mm=config.spacing_mm))
    voxels = torch.from_numpy(np.ascontiguousarray(prepared.image.array))[None, None]
    start = time.perf_counter()
    with torch.inference_mode():
        seen = sliding_window_inference(voxels, config.patch, 1, network, overlap=0.5)
        mirrored = sliding_window_inference(voxels.flip(2), config.patch, 1, network, overlap=0.5).flip(2)
        average = (torch.softmax(seen, dim=1) + torch.softmax(mirrored, dim=1)) / 2
    took = time.perf_counter() - start
    probabilities = average.numpy()
    weigh_disc(probabilities, config.disc_cut)
    return took, Volume(prepared.part, most_probable(probabilities, [prepared.image.grid], prepared.part))


def ready(image: Volume, models: Models, repeats: int) -> list[float]:
    """Seconds from the image to tissue, the networks ready."""
    times = []
    for _ in range(repeats + 1):
        stages = analyse_image("study", image, models).timings_s
        times.append(sum(stages[name] for name in ("locate", "prepare", "segment")))
    return times[1:]


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=None)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}\n")
    heads = "`analyse`, whole | CPU | peak memory | plain window | to tissue, torch | to tissue, OpenVINO"
    print(f"| scan | voxels | {heads} | plain over torch, OpenVINO, whole | Dice | difference |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    bundle = read_bundle(options.bundle)
    models, faster = Models(bundle), Models(bundle, engine="openvino")
    with TemporaryDirectory() as folder:
        for path in (
            options.data / "fastcleverseg" / "images_iso" / "11.nii.gz",
            options.data / "fastcleverseg" / "images_iso" / "25.nii.gz",
            options.data / "vertebrae" / "VB2" / "02_image.nii.gz",
        ):
            arguments = ["analyse", str(path), "--out", folder]
            arguments += ["--bundle", str(options.bundle)] if options.bundle else []
            runs = [run(arguments) for _ in range(options.repeats)]
            image = read_image(path).oriented()
            repeats = [plain(image, models) for _ in range(options.repeats)]
            walls, times = [one.wall_s for one in runs], [one[0] for one in repeats]
            ours = [ready(image, chosen, options.repeats) for chosen in (models, faster)]
            ratios = [statistics.median(times) / statistics.median(values) for values in (*ours, walls)]
            mine = analyse_image(path.stem, image, models).result.spine.labels.array > 0
            theirs = repeats[0][1].array == Tissue.DISC
            manual = path.parents[1] / "masks_iso" / path.name
            scores = "- | -"
            if manual.is_file():
                truth = read_mask(manual).oriented().array > 0
                # The disc above the highest manual one counts for neither.
                top = int(np.flatnonzero(truth.any(axis=(0, 1)))[-1]) + 1
                pair = [dice(found[:, :, :top], truth[:, :, :top]) for found in (mine, theirs)]
                scores = f"{pair[0]:.4f} | {pair[0] - pair[1]:+.4f}"
            print(
                f"| {path.parents[1].name}/{path.name} | {' x '.join(map(str, image.array.shape))} | "
                f"{spread(walls, 's')} | {statistics.median(one.cpu_s for one in runs):.1f} s | "
                f"{max(one.peak_gib for one in runs):.2f} GiB | {spread(times, 's')} | "
                f"{' | '.join(spread(values, 's') for values in ours)} | "
                f"{', '.join(f'{ratio:.1f}' for ratio in ratios)} | {scores} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
