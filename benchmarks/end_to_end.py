"""A whole ``discometry analyse``, as a user runs it: are the discs right, how long, how much memory.

    python benchmarks/end_to_end.py --data DATA --repeats 3

Prints Markdown for docs/benchmarks.md. Each run is a process of its own; wall time and peak memory are the
operating system's. Real scans are read from --data; laid out as docs/benchmarks.md says.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from discometry.core.scores import dice
from discometry.io.images import read_mask
from discometry.io.results import read_study


@dataclass(frozen=True, slots=True)
class Run:
    """One process: how it ended and what it took."""

    code: int
    wall_s: float
    cpu_s: float
    peak_gib: float


DISCOMETRY = ("-c", "import sys; from discometry.cli import main; sys.exit(main())")


def run(arguments: list[str], program: tuple[str, ...] = DISCOMETRY) -> Run:
    """Run ``discometry``, or another Python program, with these arguments, its output discarded."""
    start = time.perf_counter()
    sink = os.open(os.devnull, os.O_WRONLY)
    actions = [(os.POSIX_SPAWN_DUP2, sink, 1), (os.POSIX_SPAWN_DUP2, sink, 2)]
    command = [sys.executable, *program, *arguments]
    pid = os.posix_spawn(sys.executable, command, dict(os.environ), file_actions=actions)
    _, status, usage = os.wait4(pid, 0)
    os.close(sink)
    return Run(
        os.waitstatus_to_exitcode(status),
        time.perf_counter() - start,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 2**20,
    )


def timed(name: str, arguments: list[str], repeats: int) -> str:
    """Run a command several times and give its row of the table."""
    runs = [run(arguments) for _ in range(repeats)]
    walls = sorted(one.wall_s for one in runs)
    cpu = statistics.median(one.cpu_s for one in runs)
    codes = "/".join(sorted({str(one.code) for one in runs}))
    return (
        f"| {name} | {statistics.median(walls):.2f} | {walls[0]:.2f}-{walls[-1]:.2f} | {cpu:.1f} | "
        f"{max(one.peak_gib for one in runs):.2f} | {codes} |"
    )


def disc_scores(result: Path, truth: Path) -> str:
    """Give the Dice of each disc against a mask with SPIDER labels, lowest first."""
    study, mask = read_study(result), read_mask(truth)
    labels = sorted(set(np.unique(mask.array).tolist()) - {0})
    scores = [dice(study.labels.array == label, mask.array == label) for label in labels]
    extra = sorted(set(study.discs["label"]) - set(labels))
    text = ", ".join(f"{score:.3f}" for score in scores)
    return f"{text}; mean {np.mean(scores):.3f}, least {min(scores):.3f}; other discs found: {len(extra)}"


def disc_gaps(result: Path, bodies_path: Path) -> str:
    """Tell how many gaps between neighbouring bodies hold one disc, and how much disc lies in bodies."""
    study, bodies = read_study(result), read_mask(bodies_path)
    discs = study.labels.array > 0

    def height(mask: np.ndarray) -> float:
        return float(bodies.grid.to_world(np.argwhere(mask)).mean(axis=0)[2])

    ordered = sorted(height(bodies.array == label) for label in np.unique(bodies.array) if label)
    middles = [height(study.labels.array == label) for label in study.discs["label"]]
    held = [sum(low < z < high for z in middles) for low, high in itertools.pairwise(ordered)]
    inside = (discs & (bodies.array > 0)).sum() / discs.sum()
    return f"{held.count(1)} of {len(held)} gaps hold one disc; {inside:.1%} of disc voxels lie in bodies"


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("| command | wall s, median | range | CPU s | peak GiB | exit |\n|---|---|---|---|---|---|")
    print(timed("`--help`", ["--help"], max(5, options.repeats)))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        print(timed("`demo`", ["demo", "--out", f"{out}/demo"], options.repeats))
        lines = []
        if options.data.is_dir():
            fast, bodies = options.data / "fastcleverseg", options.data / "vertebrae" / "VB1"
            spider = options.data / "spider" / "masks_full" / "1_t1.mha"
            for subject in ("11", "25"):
                image = fast / "images_iso" / f"{subject}.nii.gz"
                print(
                    timed(
                        f"`analyse` FastCleverSeg {subject}",
                        ["analyse", str(image), "--out", folder],
                        options.repeats,
                    )
                )
                truth = fast / "masks_iso" / f"{subject}.nii.gz"
                lines.append(
                    f"- FastCleverSeg {subject}, Dice from L5/S1 up: {disc_scores(out / subject, truth)}"
                )
            image = bodies / "02_image.nii.gz"
            print(timed("`analyse` VB1/02", ["analyse", str(image), "--out", folder], options.repeats))
            lines.append(f"- VB1/02: {disc_gaps(out / '02_image', bodies / '02_bodies.nii.gz')}")
            print(
                timed(
                    "`analyse --mask` 1_t1",
                    ["analyse", str(spider), "--mask", "--out", folder],
                    options.repeats,
                )
            )
            lines.append(f"- SPIDER 1_t1: {', '.join(read_study(out / '1_t1').discs['level'])}")
        print("\n" + "\n".join(lines))


if __name__ == "__main__":
    main()
