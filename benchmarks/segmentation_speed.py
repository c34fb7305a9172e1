"""Time and memory of a whole ``discometry analyse``, beside MONAI's plain sliding window on its weights.

    python benchmarks/segmentation_speed.py --data DATA [--bundle BUNDLE] [--window 40 128 256] --repeats 3

Prints Markdown for docs/benchmarks.md. The plain window is what a first script would do: read, resample, run
torch in its default layout over the whole volume, one window (of a training patch's sides, or of those given)
at a time with half a window of overlap, cut discs as we do, write the tissue. It looks once; beside that
stands the same with our first two and with all four of our looks, averaged as we do. They and ``analyse``
are timed as processes of their own, start of Python and imports included, and then within one process whose
networks are ready: ``analyse`` again, report and all; our way from the image to tissue (locate, prepare,
segment), on both engines; of the plain window the network's run alone.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from discometry.core.anatomy import Tissue
from discometry.core.scores import dice
from discometry.core.volume import Volume
from discometry.io.bundle import Component, read_bundle
from discometry.io.images import read_image, read_mask, write_volume
from discometry.stages.prepare import PrepareConfig, prepare, prepare_looks
from discometry.stages.segment import most_probable, weigh_disc

if "--plain" not in sys.argv:  # The process of the plain window imports no more than it needs.
    from discometry.io.study_input import StudyInput
    from discometry.pipeline import Models, analyse_image
    from discometry.study import analyse_study
    from end_to_end import Run, run

SCANS = (
    "fastcleverseg/images_iso/11.nii.gz",
    "fastcleverseg/images_iso/25.nii.gz",
    "vertebrae/VB2/02_image.nii.gz",
)
LOOKS = {"one look": 1, "two looks": 2, "four looks": 4}


def plain(
    image: Volume, component: Component, looks: int, window: Sequence[int] | None
) -> tuple[float, Volume]:
    """Segment as a first script would; give the network's time and the tissue on the image's own grid."""
    import torch
    from monai.inferers.utils import sliding_window_inference

    from discometry.networks.segmenter import load_segmenter

    network, config = load_segmenter(component)
    sides = window or config.patch
    preparing = PrepareConfig(spacing_mm=config.spacing_mm)
    views = [prepare(image, preparing)] if looks == 1 else prepare_looks(image, preparing)[:looks]
    took, seen = 0.0, []
    for number, view in enumerate(views):
        ahead = -1 if number % 2 else 1  # every second one is mirrored, as ours
        voxels = torch.from_numpy(np.ascontiguousarray(view.image.array[::ahead]))[None, None]
        start = time.perf_counter()
        with torch.inference_mode():
            logits = sliding_window_inference(voxels, sides, 1, network, overlap=0.5)
            seen.append(torch.softmax(logits, dim=1).numpy()[0, :, ::ahead])
        took += time.perf_counter() - start
    probabilities = np.stack(seen)
    weigh_disc(probabilities, config.disc_cut)
    part, grids = views[0].part, [view.image.grid for view in views]
    return took, Volume(part, most_probable(probabilities, grids, part))


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


def processes(
    path: Path, given: Sequence[str], window: Sequence[int] | None, repeats: int
) -> dict[str, list[Run]]:
    """Run ``analyse`` and the plain windows as processes."""
    sides = [] if window is None else ["--window", *map(str, window)]
    with TemporaryDirectory() as folder:
        script = (sys.argv[0], "--data", folder, "--plain", str(path), *given, *sides)
        runs = {"`analyse`": [run(["analyse", str(path), "--out", folder, *given]) for _ in range(repeats)]}
        for name, looks in LOOKS.items():
            runs[name] = [run(["--looks", str(looks)], program=script) for _ in range(repeats)]
    if any(one.code for ours in runs.values() for one in ours):
        raise SystemExit(f"a process failed on {path}")
    return runs


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scans", nargs="+", choices=SCANS, default=SCANS)
    parser.add_argument("--plain", type=Path, help="only run the plain window on this image, into --data")
    parser.add_argument("--looks", type=int, default=1, help="of that plain window")
    parser.add_argument("--window", type=int, nargs=3, help="its sides along L, P, S; default: a patch's")
    options = parser.parse_args()
    if options.plain is not None:
        component = read_bundle(options.bundle).component("segmenter")
        image = read_image(options.plain).oriented()
        tissue = plain(image, component, options.looks, options.window)[1]
        write_volume(tissue, options.data / "tissue.nii.gz")
        return
    given = [] if options.bundle is None else ["--bundle", str(options.bundle)]
    paths = [options.data / scan for scan in options.scans]
    # All processes first: to Linux the peak memory of a child is no less than its parent's.
    runs = [processes(path, given, options.window, options.repeats) for path in paths]
    bundle = read_bundle(options.bundle)
    engines = Models(bundle), Models(bundle, engine="torch")
    compare(paths, runs, engines, options.window, options.repeats)


def compare(
    paths: list[Path],
    runs: list[dict[str, list[Run]]],
    engines: tuple[Models, Models],
    window: Sequence[int] | None,
    repeats: int,
) -> None:
    """Time what is ready in this process, and print it with the processes."""
    models, slower = engines
    alone, ready, ratios = [], [], []
    for path, ran in zip(paths, runs, strict=True):
        image = read_image(path).oriented()
        scan = f"{path.parents[1].name}/{path.name} | {' x '.join(map(str, image.array.shape))}"
        alone += [f"{scan} | {name} | {cost(ours)}" for name, ours in ran.items()]
        component = models.bundle.component("segmenter")
        plains = {
            name: [plain(image, component, looks, window) for _ in range(repeats)]
            for name, looks in LOOKS.items()
        }
        times = {name: [took for took, _ in each] for name, each in plains.items()}
        ours = {
            "again": [whole(path, models) for _ in range(repeats + 1)][1:],
            "openvino": [to_tissue(image, models) for _ in range(repeats + 1)][1:],
            "torch": [to_tissue(image, slower) for _ in range(repeats + 1)][1:],
        }
        ready.append(" | ".join([scan, *map(spread, (times | ours).values())]))
        walls = {name: statistics.median(one.wall_s for one in each) for name, each in ran.items()}
        for name, took in times.items():
            middle = statistics.median(took)
            quotients = [walls[name] / walls["`analyse`"]]
            quotients += [middle / statistics.median(values) for values in ours.values()]
            cells = [f"{ratio:.1f}" for ratio in quotients]
            cells.append(agreement(path, image, models, plains[name][0][1]))
            ratios.append(" | ".join([scan, name, *cells]))
    print(f"{platform.machine()}, {os.cpu_count()} cores\n")
    table("process | wall s | CPU s | peak GiB", alone)
    heads = " | ".join(f"{name} s" for name in LOOKS)
    table(f"{heads} | `analyse` s | to tissue, OpenVINO s | to tissue, torch s", ready)
    heads = "plain window | process over process | network over `analyse` | over to tissue, OpenVINO"
    table(f"{heads} | and torch | our Dice | above the plain window's", ratios)


def spread(values: Sequence[float]) -> str:
    """Median and range in seconds."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def cost(runs: Sequence[Run]) -> str:
    """Wall time, processor time and peak memory of some processes."""
    cpu, peak = statistics.median(one.cpu_s for one in runs), max(one.peak_gib for one in runs)
    return f"{spread([one.wall_s for one in runs])} | {cpu:.1f} | {peak:.2f}"


def table(heads: str, rows: Sequence[str]) -> None:
    """Print a table of the scans."""
    print(f"| scan | voxels | {heads} |")
    print("|---" * (heads.count("|") + 3) + "|")
    print(*(f"| {row} |" for row in rows), sep="\n", end="\n\n")


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
