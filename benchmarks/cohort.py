"""What a cohort costs beside its studies, how it grows with workers, and whether killing changes anything.

    python benchmarks/cohort.py engine --studies 10000
    python benchmarks/cohort.py workers --studies 40 --repeats 3
    python benchmarks/cohort.py workers --images --studies 12 --repeats 1
    python benchmarks/cohort.py kills --studies 200 --every 20

``engine``: simulated studies, whose one stage writes a small result; what is left is the engine's own time
and memory. ``workers``: phantoms' masks, or MRIs, with one worker and with two. ``kills``: phantoms' masks,
ten of them broken in ten ways, undisturbed and while random processes of the run are killed; a client that is
hit is started again.
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
import time
from pathlib import Path

import numpy as np
import psutil

from cohort_simulated import simulate
from discometry.cohort import CohortOptions, Standing, run_cohort
from discometry.core.phantom import phantom_grid, render_discs, render_mri, sample_phantom
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


def workers(folder: Path, *, studies: int, repeats: int, images: bool) -> None:
    """Time phantoms from the time that every worker is warm, so that loading the models does not count."""
    source = phantoms(folder / "in", studies, images=images)
    rates: dict[int, list[float]] = {1: [], 2: []}
    for repeat in range(repeats):
        for count in rates:
            out = folder / f"out-{count}-{repeat}"
            marks: list[tuple[float, float, int]] = []
            tree = _Tree()

            def watch(
                standing: Standing, marks: list[tuple[float, float, int]] = marks, tree: _Tree = tree
            ) -> None:
                marks.append((time.perf_counter(), tree.look(), standing.done))

            run_cohort(source, out, CohortOptions(masks=not images), workers=count, watch=watch)
            warm = [mark for mark in marks if mark[2] >= 2 * count]
            first = warm[0]
            last = next(mark for mark in warm if mark[2] == warm[-1][2])
            done = last[2] - first[2]
            rates[count].append(60 * done / (last[0] - first[0]))
            sizes = [_size_beside_mask(path) for path in out.glob("p*")]
            most = ", ".join(f"{role} {size:.0f}" for role, size in tree.most_mib.items())
            print(
                f"{count} workers: {rates[count][-1]:.1f} studies a minute,"
                f" {(last[1] - first[1]) / done:.2f} s of processor a study; MiB at most: {most};"
                f" a folder beside its mask {np.median(sizes) / MIB:.2f} MiB"
                f" (largest {max(sizes) / MIB:.2f})",
                flush=True,
            )
            shutil.rmtree(out)
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    print(
        f"two over one: {np.median(rates[2]) / np.median(rates[1]):.2f}, medians of {repeats};"
        f" by pair {min(ratios):.2f} to {max(ratios):.2f}"
    )


def phantoms(folder: Path, count: int, *, images: bool = False) -> Path:
    """Write the masks, or the MRIs, of so many phantoms."""
    folder.mkdir(parents=True)
    for seed in range(count):
        spine = sample_phantom(seed, n_discs=5)
        grid = phantom_grid(spine, spacing_mm=SPACING_MM)
        volume = render_mri(spine, grid, seed=seed) if images else render_discs(spine, grid)
        write_volume(volume, folder / f"p{seed:03d}.mha")
    return folder


def _size_beside_mask(study: Path) -> int:
    return sum(
        path.stat().st_size for path in study.rglob("*") if path.is_file() and path.name != "discs.nii.gz"
    )


class _Tree:
    """The client, which holds the scheduler, and all processes below it: their memory and processor time."""

    def __init__(self) -> None:
        self.most_mib = {"client": 0.0, "worker": 0.0, "child": 0.0, "together": 0.0}
        """Greatest of a process of each kind, and of all together; a child is where a study is analysed."""

    def look(self) -> float:
        """Note the memory; give the processor seconds of those that live."""
        me = psutil.Process()
        together = seconds = 0.0
        for process in (me, *me.children(recursive=True)):
            try:
                size, times, words = process.memory_info().rss / MIB, process.cpu_times(), process.cmdline()
            except psutil.Error:
                continue
            role = "client" if process == me else "child" if "discometry.isolation" in words else "worker"
            self.most_mib[role] = max(self.most_mib[role], size)
            together, seconds = together + size, seconds + times.user + times.system
        self.most_mib["together"] = max(self.most_mib["together"], together)
        return seconds


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
    parser.add_argument("--images", action="store_true", help="of workers: MRIs in place of masks")
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
            workers(folder, studies=given.studies, repeats=given.repeats, images=given.images)
        else:
            kills(folder, studies=given.studies, every_s=given.every, seed=given.seed)


if __name__ == "__main__":
    main()
