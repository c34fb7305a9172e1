"""How well narrowed discs are told apart: real gradings, controls on phantoms, and what leakage adds.

    python benchmarks/narrowing.py --data DATA --out FOLDER

The experiment (``discometry reproduce``) runs with the shipped segmenter on SPIDER's T2-SPACE slabs by either
protocol, and on a cohort of phantoms laid out as SPIDER, whose narrowed discs are lower and nothing else: the
positive control. Then its labels are shuffled between discs, twenty times: the negative control, whose AUROC
must lie about 0.5. FOLDER keeps what is done; the same call goes on.
Prints Markdown for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path

import numpy as np
import pandas as pd

from discometry.core.scores import auroc
from discometry.experiment import ExperimentConfig, reproduce
from discometry.io.bundle import STARTER
from discometry.io.phantom_cohort import write_phantom_cohort
from discometry.stages.classify import FEATURE_GROUPS
from discometry.training.cross_validation import Folds, Outcomes, out_of_fold
from discometry.training.graded_discs import graded_rows
from discometry.training.learners import Logistic

SHUFFLES = 20


def shuffled(folder: Path) -> None:
    """Print the AUROC of the shipped recipe on labels shuffled between discs."""
    discs = pd.read_csv(folder / "discs.csv", dtype={"kind": str, "patient": str}).copy()
    rows = graded_rows(discs[discs["kind"] == "true"], "narrowing")
    table = rows[[*FEATURE_GROUPS["level"], *FEATURE_GROUPS["geometry"]]].to_numpy(float)
    positive, patients = rows["positive"].to_numpy(bool), rows["patient"].to_numpy(str)
    found = []
    for seed in range(SHUFFLES):
        outcomes = Outcomes(np.random.default_rng(seed).permutation(positive), patients)
        answers = out_of_fold(table, outcomes, Logistic(), Folds(repeats=1, seed=seed))
        found.append(auroc(outcomes.positive, answers[:, 0]))
    middle, spread = np.mean(found), np.std(found, ddof=1)
    error = spread / np.sqrt(SHUFFLES)
    print(
        f"Labels shuffled between discs, {SHUFFLES} times: AUROC {middle:.3f}, standard error {error:.3f}, "
        f"single ones {min(found):.3f} to {max(found):.3f}.\n"
    )


def main() -> None:
    """Run the experiments, and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--patients", type=int, default=60, help="phantoms of the controls")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores\n")
    phantoms = options.out / "phantoms"
    if not (phantoms / "radiological_gradings.csv").is_file():
        write_phantom_cohort(phantoms, patients=options.patients)
    spider = options.data / "spider"
    for name, data, protocol in (
        ("SPIDER, strict protocol", spider, "strict"),
        ("SPIDER, the paper's protocol", spider, "paper"),
        ("Phantoms, strict protocol", phantoms, "strict"),
    ):
        out = options.out / f"{data.name}-{protocol}"
        start = time.perf_counter()
        reproduce(data, out, ExperimentConfig(protocol=protocol, segmenter=STARTER))  # type: ignore[arg-type]
        print(f"### {name}\n\n{(out / 'tables.md').read_text()}")
        print(f"This call took {(time.perf_counter() - start) / 60:.1f} minutes.\n", flush=True)
    print("### Controls\n")
    shuffled(options.out / "phantoms-strict")


if __name__ == "__main__":
    main()
