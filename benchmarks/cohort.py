"""What a cohort costs beside its studies, how it grows with workers, and whether killing changes anything.

    python benchmarks/cohort.py engine --studies 10000
    python benchmarks/cohort.py workers --studies 60
    python benchmarks/cohort.py kills --studies 200 --every 20

``engine``: simulated studies, whose one stage writes a small result; what is left is the engine's own time
and memory. ``workers``: phantoms' masks with one worker and with two. ``kills``: phantoms' masks, ten of them
broken in ten ways, undisturbed and while random processes of the run are killed; a client that is hit is
started again.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

from cohort_simulated import simulate
from discometry.cohort import CohortOptions, Standing, run_cohort
from discometry.core.phantom import phantom_grid, render_discs, sample_phantom
from discometry.io.images import write_volume

MIB = 2**20
SPACING_MM = (4.4, 0.8, 0.8)


# -- the engine alone ------------------------------------------------------------------------------------


def engine(folder: Path, *, studies: int, workers: int) -> None:
    """Time simulated studies, first new and then all found done."""
    source = folder / "in"
    source.mkdir()
    for number in range(studies):
        (source / f"s{number:06d}.mha").write_text(f"simulated {number}")
    for word in ("new", "found done"):
        memory: list[tuple[int, float]] = []
        marks: list[float] = []

        def watch(
            standing: Standing, memory: list[tuple[int, float]] = memory, marks: list[float] = marks
        ) -> None:
            marks.append(time.perf_counter())
            if len(marks) % 50 == 0:
                memory.append((standing.done + standing.kept, psutil.Process().memory_info().rss / MIB))

        start, spent = time.perf_counter(), _processor_s()
        summary = run_cohort(source, folder / "out", workers=workers, watch=watch, analyse=simulate)
        end = time.perf_counter()
        assert summary.done + summary.kept == studies, summary
        quarter = [size for done, size in memory if done <= studies / 4] or [float("nan")]
        print(
            f"{studies} {word}, {workers} workers: {1000 * (end - start) / studies:.2f} ms a study over all;"
            f" start {marks[0] - start:.1f} s, studies {marks[-1] - marks[0]:.1f} s,"
            f" processor {1000 * (_processor_s() - spent) / studies:.2f} ms a study;"
            f" tables {end - marks[-1]:.1f} s;"
            f" client {quarter[-1]:.0f} MiB after a quarter, {memory[-1][1] if memory else np.nan:.0f} MiB"
            f" after all, {_peak_mib():.0f} MiB at most with the tables"
        )


def _processor_s() -> float:
    """Processor time of this process and all that ended below it, which a busy machine lengthens little."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(part.ru_utime + part.ru_stime for part in used)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# -- one worker and two ----------------------------------------------------------------------------------


def workers(folder: Path, *, studies: int, repeats: int) -> None:
    """Time phantoms' masks from the first result to the last, so that loading the models does not count."""
    source = phantoms(folder / "in", studies)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for repeat in range(repeats):
        for count in rates:
            out = folder / f"out-{count}-{repeat}"
            marks: list[tuple[float, int]] = []

            def watch(standing: Standing, marks: list[tuple[float, int]] = marks) -> None:
                marks.append((time.perf_counter(), standing.done))

            with _peak_of_children() as peak:
                run_cohort(source, out, CohortOptions(masks=True), workers=count, watch=watch)
            warm = [(moment, done) for moment, done in marks if done >= 2 * count]
            rates[count].append((warm[-1][1] - warm[0][1]) / (warm[-1][0] - warm[0][0]))
            sizes = [_size_beside_mask(path) for path in out.glob("p*")]
            print(
                f"{count} workers: {60 * rates[count][-1]:.1f} studies a minute, {peak[0]:.0f} MiB in all"
                f" processes at most; a folder beside its mask {np.median(sizes) / MIB:.2f} MiB"
                f" (largest {max(sizes) / MIB:.2f})"
            )
            shutil.rmtree(out)
    one, two = (np.array(rates[count]) for count in (1, 2))
    ratio = np.median(two) / np.median(one)
    print(f"two over one: {ratio:.2f}, medians of {repeats}")
    print(f"studies a minute: {60 * one} with one, {60 * two} with two")


def phantoms(folder: Path, count: int) -> Path:
    """Write the masks of so many phantoms."""
    folder.mkdir(parents=True)
    for seed in range(count):
        spine = sample_phantom(seed, n_discs=5)
        write_volume(
            render_discs(spine, phantom_grid(spine, spacing_mm=SPACING_MM)), folder / f"p{seed:03d}.mha"
        )
    return folder


def _size_beside_mask(study: Path) -> int:
    return sum(
        path.stat().st_size for path in study.rglob("*") if path.is_file() and path.name != "discs.nii.gz"
    )


@contextmanager
def _peak_of_children() -> Iterator[list[float]]:
    """Watch the memory (MiB) of this process and all below it, four times a second."""
    peak, over = [0.0], threading.Event()

    def look() -> None:
        while not over.wait(0.25):
            total = 0
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    total += process.memory_info().rss
                except psutil.Error:
                    continue
            peak[0] = max(peak[0], total / MIB)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


# -- killing ---------------------------------------------------------------------------------------------


def break_ten(source: Path) -> None:
    """Spoil the last ten masks in ten ways."""
    files = sorted(source.glob("*.mha"))[-10:]
    whole = files[0].read_bytes()
    empty = np.zeros((8, 8, 8), dtype=np.int16)
    spoilt: list[bytes | None] = [
        b"",  # empty file
        b"no image at all",
        whole[: len(whole) // 2],  # cut short
        whole.replace(b"ElementSpacing = ", b"ElementSpacing = -", 1),
        whole.replace(b"ElementSpacing = ", b"ElementSpacing = nan ", 1),
        whole.replace(b"DimSize = ", b"DimSize = 9", 1),  # claims more than there is
        whole.replace(b"MET_SHORT", b"MET_ODD", 1),
        gzip.compress(whole),  # another format under this name
    ]
    for path, data in zip(files, spoilt, strict=False):
        path.write_bytes(data or b"")
    from discometry.core.volume import Grid, Volume

    write_volume(Volume(Grid.from_spacing(empty.shape, (4, 1, 1)), empty), files[8])  # no disc
    write_volume(Volume(Grid.from_spacing(empty.shape, (4, 1, 1)), empty - 3), files[9])  # negative labels


def kills(folder: Path, *, studies: int, every_s: float, seed: int) -> None:
    """Compare the table of a run under fire with that of an undisturbed one."""
    source = phantoms(folder / "in", studies)
    break_ten(source)
    code, seconds = _call(source, folder / "calm", None)
    print(f"undisturbed: exit code {code} after {seconds:.0f} s, {_counts(folder / 'calm')}")
    chance = random.Random(seed)
    calls = killed = 0
    while True:
        calls += 1
        fire = _Fire(chance, every_s)
        code, seconds = _call(source, folder / "fire", fire)
        killed += fire.killed
        print(f"under fire, call {calls}: exit code {code} after {seconds:.0f} s; killed so far {killed}")
        if code in (0, 1):
            break
    print(f"under fire: {_counts(folder / 'fire')}")
    calm, burnt = ((folder / name / "failures.csv").read_text().splitlines() for name in ("calm", "fire"))
    print("\n".join(f"only under fire: {line}" for line in burnt if line not in calm))
    for name in ("cohort.csv", "cohort.parquet", "failures.csv"):
        same = (folder / "calm" / name).read_bytes() == (folder / "fire" / name).read_bytes()
        print(f"{name}: {'the same, byte for byte' if same else 'DIFFERENT'}")


class _Fire:
    """Kills one process of a tree, now and then: client, nanny's worker or worker's child."""

    def __init__(self, chance: random.Random, every_s: float) -> None:
        self.chance, self.every_s, self.killed = chance, every_s, 0

    def at(self, client: subprocess.Popen[bytes]) -> None:
        while True:
            try:
                client.wait(self.every_s)
                return
            except subprocess.TimeoutExpired:
                root = psutil.Process(client.pid)
                targets = [root, *root.children(recursive=True)]
                victim = self.chance.choice(targets)
                try:
                    print(f"  kill -9 {' '.join(victim.cmdline())[-70:]!r}")
                    victim.send_signal(signal.SIGKILL)
                    self.killed += 1
                except psutil.Error:
                    continue


def _call(source: Path, out: Path, fire: _Fire | None) -> tuple[int, float]:
    start = time.perf_counter()
    words = ("cohort", str(source), "--mask", "--out", str(out), "--workers", "2")
    client = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys\nfrom discometry.cli import main\nif __name__ == '__main__': sys.exit(main())",
            *words,
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    if fire is not None:
        fire.at(client)
    return client.wait(), time.perf_counter() - start


def _counts(out: Path) -> str:
    def rows(name: str) -> list[dict[str, str]]:
        with (out / name).open(newline="") as stream:
            return list(csv.DictReader(stream))

    return (
        f"{len({row['study'] for row in rows('cohort.csv')})} results, {len(rows('failures.csv'))} failures"
    )


def main() -> None:
    """Run one of the measurements in a folder that is deleted afterwards."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("what", choices=["engine", "workers", "kills"])
    parser.add_argument("--studies", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2, help="of engine")
    parser.add_argument("--repeats", type=int, default=3, help="of workers")
    parser.add_argument("--every", type=float, default=20.0, help="of kills: seconds between two")
    parser.add_argument("--seed", type=int, default=0, help="of kills")
    given = parser.parse_args()
    here = str(Path(__file__).resolve().parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory(prefix="discometry-cohort-") as name:
        folder = Path(name)
        if given.what == "engine":
            engine(folder, studies=given.studies, workers=given.workers)
        elif given.what == "workers":
            workers(folder, studies=given.studies, repeats=given.repeats)
        else:
            kills(folder, studies=given.studies, every_s=given.every, seed=given.seed)


if __name__ == "__main__":
    main()
