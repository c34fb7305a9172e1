"""Compute the reference table of the z-scores from SPIDER's masks and gradings.

    python benchmarks/reference.py SPIDER --out src/discometry/core/reference.csv

A disc counts if the radiologist graded it not narrowed and Pfirrmann 3 or less and no quality flag but
``truncated`` (every slab is cut at its sides) lies on it. One mask a patient, so one disc a
patient and level.
Patients 18, 55, 57 and 98 are left out: their masks and gradings do not count the discs alike.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

from discometry.core.anatomy import DISC_LABEL_BASE, LEVELS
from discometry.core.reference import REFERENCE_MEASURES
from discometry.io.images import read_mask
from discometry.stages.measure import measure
from discometry.stages.separate import separate

LEFT_OUT = ("18", "55", "57", "98")
GRADINGS = "radiological_gradings.csv"
ALLOWED = frozenset({"truncated", "cropped_cube", "ambiguous_level"})
HIGHEST_PFIRRMANN = 3


def sound_discs(path: Path) -> set[tuple[str, int]]:
    """Patient and place (1 = L5/S1) of the discs graded not narrowed and Pfirrmann 3 or less."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        return {
            (row["Patient"].strip(), int(row["IVD label"]))
            for row in csv.DictReader(file)
            if int(row["Disc narrowing"]) == 0 and 1 <= int(row["Pfirrman grade"]) <= HIGHEST_PFIRRMANN
        }


def measured(folder: Path) -> tuple[dict[tuple[str, str], list[float]], set[str]]:
    """Values by level and measure, and the patients that gave any."""
    sound = sound_discs(folder / GRADINGS)
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    patients: set[str] = set()
    for path in sorted((folder / "masks").glob("*.mha")):
        patient = path.name.split(".")[0].split("_")[0]
        if patient in LEFT_OUT or patient in patients:
            continue
        spine = separate(read_mask(path))
        for disc in spine.discs:
            if (patient, disc.label - DISC_LABEL_BASE) in sound and ALLOWED.issuperset(disc.flags):
                found = measure(disc, spine.vertebrae).values()
                patients.add(patient)
                for name in REFERENCE_MEASURES:
                    if np.isfinite(found[name]):
                        values[disc.level, name].append(found[name])
    return values, patients


def main() -> None:
    """Compute the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="SPIDER: masks/ beside radiological_gradings.csv")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    values, patients = measured(options.folder)
    lines = [
        f"# Discs of {len(patients)} SPIDER patients (CC BY 4.0, doi 10.5281/zenodo.10159290) graded not",
        "# narrowed and Pfirrmann 3 or less, in T2 SPACE slabs of the middle 12 to 27 mm.",
        "# Computed by benchmarks/reference.py.",
        "level,measure,mean,sd,n",
    ]
    for level in LEVELS:
        for name in REFERENCE_MEASURES:
            found = np.array(values.get((level, name), []))
            if found.size > 1:
                lines.append(f"{level},{name},{found.mean():.4f},{found.std(ddof=1):.4f},{found.size}")
    options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
