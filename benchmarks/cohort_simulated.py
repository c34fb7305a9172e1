"""The trivial stage of ``cohort.py``: a result like a real one in files and rows, made from nothing."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from pathlib import Path

from discometry.cohort_study import StudyTask
from discometry.core.anatomy import LEVELS, label_of_level
from discometry.io.atomic import new_folder
from discometry.io.cohort_folder import StudyKey
from discometry.io.disc_table import disc_columns
from discometry.io.results import FORMAT, Manifest

DISCS = 5
REPORT_BYTES = 2000


def simulate(task: StudyTask, key: StudyKey, reach: Callable[[str], None]) -> None:
    """Write five discs of random measures."""
    reach("write")
    manifest = Manifest(
        study=task.study,
        input=Path(task.source).name,
        input_sha256=str(key.input_sha256),
        bundle="starter",
        bundle_sha256=key.bundle_sha256,
        versions={"discometry": key.version},
        options=key.options,
        device="cpu",
        timings_s={},
    )
    with new_folder(Path(task.out) / task.study, ours=lambda path: (path / "study.json").is_file()) as fresh:
        (fresh / "study.json").write_text(json.dumps({"format": FORMAT} | asdict(manifest)))
        (fresh / "discs.csv").write_text(_table(task.study))
        (fresh / "discs.nii.gz").write_bytes(bytes(100))
        (fresh / "report.html").write_text("x" * REPORT_BYTES)
        (fresh / "thumbnail.webp").write_bytes(bytes(100))


def _table(study: str) -> str:
    chance = random.Random(study)
    lines = [",".join(_columns())]
    for level in sorted(LEVELS, key=label_of_level)[:DISCS]:
        cells = {"study": study, "label": str(label_of_level(level)), "level": level, "flags": ""}
        lines.append(",".join(cells.get(name) or repr(chance.gauss(10, 1)) for name in _columns()))
    return "\n".join(lines) + "\n"


@cache
def _columns() -> list[str]:
    return disc_columns(latents=8, poses=True)
