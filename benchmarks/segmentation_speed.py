"""Time and memory of a whole ``discometry analyse``, beside MONAI's plain sliding window on its weights.

    python benchmarks/segmentation_speed.py --data DATA [--bundle BUNDLE] --repeats 3

Prints Markdown for docs/benchmarks.md. The plain window is what a first script would do: read, resample, run
torch in its default layout over the whole volume, one window at a time with half a window of overlap, write
the tissue. It and ``analyse`` are timed as processes of their own, start of Python and imports included, and
then within one process whose networks are ready: ``analyse`` again, report and all; our way from the image to
tissue (locate, prepare, segment), on both engines; and of the plain window the network's run alone. All
average the image with its mirror image and cut discs alike.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from discometry.core.anatomy import Tissue
from discometry.core.scores import dice
from discometry.core.volume import Volume
from discometry.io.bundle import read_bundle
from discometry.io.images import read_image, read_mask, write_volume
from discometry.io.study_input import StudyInput
from discometry.pipeline import Models, analyse_image
from discometry.stages.prepare import PrepareConfig, prepare
from discometry.stages.segment import most_probable, weigh_disc
from discometry.study import analyse_study
from end_to_end import Run, run

SCANS = (
    Path("fastcleverseg", "images_iso", "11.nii.gz"),
    Path("fastcleverseg", "images_iso", "25.nii.gz"),
    Path("vertebrae", "VB2", "02_image.nii.gz"),
)


def spread(values: list[float]) -> str:
    """Median and range in seconds."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def plain(image: Volume, models: Models) -> tuple[float, Volume]:
    """Segment as a first script would; give the network's time and the tissue on the image's own grid."""
    import torch
    from monai.inferers.utils import sliding_window_inference

    from discometry.networks.segmenter import load_segmenter

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


def to_tissue(image: Volume, models: Models) -> float:
    """Seconds from the image to tissue."""
    stages = analyse_image("study", image, models).timings_s
    return sum(stages[name] for name in ("locate", "prepare", "segment"))


def whole(path: Path, models: Models) -> float:
    """Seconds of a whole study, read, analysed, written and reported."""
    with TemporaryDirectory() as folder:
        start = time.perf_counter()
        analyse_study(StudyInput(source=path), models, out=Path(folder))
        return time.perf_counter() - start


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plain", type=Path, help="only run the plain window on this image, into --data")
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    models, slower = Models(bundle), Models(bundle, engine="torch")
    if options.plain is not None:
        write_volume(plain(read_image(options.plain).oriented(), models)[1], options.data / "tissue.nii.gz")
        return
    given = [] if options.bundle is None else ["--bundle", str(options.bundle)]
    names, processes, ready, ratios = [], [], [], []
    # All processes first: to Linux the peak memory of a child is no less than its parent's.
    for scan in SCANS:
        path = options.data / scan
        with TemporaryDirectory() as folder:
            ours = [run(["analyse", str(path), "--out", folder, *given]) for _ in range(options.repeats)]
            script = (sys.argv[0], "--data", folder, "--plain", str(path))
            theirs = [run(given, program=script) for _ in range(options.repeats)]
        processes.append((ours, theirs))
    for scan, (ours, theirs) in zip(SCANS, processes, strict=True):
        path = options.data / scan
        image = read_image(path).oriented()
        windows = [plain(image, models) for _ in range(options.repeats)]
        times = {
            "plain": [took for took, _ in windows],
            "again": [whole(path, models) for _ in range(options.repeats + 1)][1:],
            "openvino": [to_tissue(image, models) for _ in range(options.repeats + 1)][1:],
            "torch": [to_tissue(image, slower) for _ in range(options.repeats + 1)][1:],
        }
        names.append(f"{scan.parts[0]}/{scan.name} | {' x '.join(map(str, image.array.shape))}")
        ready.append(" | ".join(map(spread, times.values())))
        middle = {key: statistics.median(values) for key, values in times.items()}
        quotients = [wall(theirs) / wall(ours)]
        quotients += [middle["plain"] / middle[key] for key in ("again", "openvino", "torch")]
        scores = agreement(path, image, models, windows[0][1])
        ratios.append(f"{' | '.join(f'{ratio:.1f}' for ratio in quotients)} | {scores}")
    print(f"{platform.machine()}, {os.cpu_count()} cores\n")
    table("`analyse` s | CPU s | peak GiB | plain window s | CPU s | peak GiB", names, map(both, processes))
    table("plain window s | `analyse` s | to tissue, OpenVINO s | to tissue, torch s", names, ready)
    heads = "process over process | plain window over `analyse` | over to tissue, OpenVINO | and torch"
    table(f"{heads} | Dice | difference", names, ratios)


def wall(runs: list[Run]) -> float:
    """Median wall time of some processes."""
    return statistics.median(one.wall_s for one in runs)


def both(pair: tuple[list[Run], list[Run]]) -> str:
    """Give wall time, processor time and peak memory of our processes and of the others."""
    return " | ".join(
        f"{spread([one.wall_s for one in runs])} | {statistics.median(one.cpu_s for one in runs):.1f} | "
        f"{max(one.peak_gib for one in runs):.2f}"
        for runs in pair
    )


def table(heads: str, names: Iterable[str], rows: Iterable[str]) -> None:
    """Print a table of the scans."""
    print(f"| scan | voxels | {heads} |")
    print("|---" * (heads.count("|") + 3) + "|")
    print(*(f"| {name} | {row} |" for name, row in zip(names, rows, strict=True)), sep="\n", end="\n\n")


def agreement(path: Path, image: Volume, models: Models, tissue: Volume) -> str:
    """Give our Dice of all manual discs together, and how far it is above the plain window's."""
    manual = path.parents[1] / "masks_iso" / path.name
    if not manual.is_file():
        return "- | -"
    truth = read_mask(manual).oriented().array > 0
    # The disc above the highest manual one counts for neither.
    top = int(np.flatnonzero(truth.any(axis=(0, 1)))[-1]) + 1
    mine = analyse_image(path.stem, image, models).result.spine.labels.array > 0
    pair = [dice(found[:, :, :top], truth[:, :, :top]) for found in (mine, tissue.array == Tissue.DISC)]
    return f"{pair[0]:.4f} | {pair[0] - pair[1]:+.4f}"


if __name__ == "__main__":
    main()
