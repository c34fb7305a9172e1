"""The tables of a cohort, gathered from its result folders a few hundred at a time."""

from __future__ import annotations

import contextlib
import csv
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from discometry.core.errors import InputError
from discometry.io.atomic import new_file
from discometry.io.cohort_folder import Failure
from discometry.io.disc_table import SHAP, disc_columns
from discometry.io.results import read_manifest
from discometry.report.wording import measure_of_column

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["STUDY_COLUMNS", "read_columns", "write_tables"]

STUDY_COLUMNS = ("lordosis_deg", "lordosis_deg_se", "study_flags", "input")
"""Columns of the whole study, alike in all of its rows; they follow those of its discs."""

_TEXTS = frozenset({"study", "level", "flags", "study_flags", "input"})
_AT_ONCE = 500
_COLUMNS = "columns.json"

_MEANINGS = {
    "study": "Name of the study and of its folder.",
    "label": "Value of the disc in the study's discs.nii.gz: 201 for L5/S1, one more for each disc above.",
    "level": "Level of the disc, such as L4/L5.",
    "flags": "Reasons to trust the disc less, separated by spaces.",
    "lordosis_deg": "Angle between the highest and the lowest lumbar disc seen.",
    "study_flags": "Flags of the whole study, separated by spaces.",
    "input": "Name of the file or folder that was analysed.",
}

Row = dict[str, str]


def write_tables(out: Path, done: Sequence[str], failures: Sequence[Failure]) -> tuple[Failure, ...]:
    """Write ``cohort.parquet``, ``cohort.csv``, ``columns.json`` and ``failures.csv``.

    Parameters
    ----------
    out
        Folder of the result folders.
    done
        Names of the finished studies, in the order that the rows are to have.
    failures
        Of the others.

    Returns
    -------
    tuple of Failure
        ``failures``, and one more for each finished study whose folder cannot be read any longer.

    Raises
    ------
    OutputError
        If a table cannot be written.
    """
    described = [_described(name) for name in _columns(out, done)]
    lost: list[Failure] = []
    with new_file(out / "cohort.csv") as table, new_file(out / "cohort.parquet") as parquet:
        _write_rows(_rows_of_all(out, done, lost), described, table, parquet)
    with new_file(out / _COLUMNS) as partial:
        content = {
            "format": "discometry-columns",
            "format_version": 1,
            "row": "one disc",
            "columns": described,
        }
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    together = tuple(sorted((*failures, *lost), key=lambda failure: failure.study))
    _write_failures(together, out / "failures.csv")
    return together


def read_columns(out: Path) -> list[dict[str, str]]:
    """Read what :func:`write_tables` said of the columns: ``name``, ``type``, ``unit`` and ``meaning``."""
    columns: list[dict[str, str]] = json.loads((out / _COLUMNS).read_text(encoding="utf-8"))["columns"]
    return columns


def _columns(out: Path, done: Iterable[str]) -> list[str]:
    """Give the columns of all tables of discs, known ones in their fixed order."""
    seen: dict[str, None] = {}
    for study in done:
        # A folder that cannot be read is found out, and named, when its rows are.
        with contextlib.suppress(OSError, ValueError, StopIteration), _table(out / study) as stream:
            seen |= dict.fromkeys(next(csv.reader(stream)))
    latents = sum(name.startswith("latent_") for name in seen)
    known = disc_columns(
        latents=latents,
        poses=any(name.startswith("pose_") for name in seen),
        shares=[name.removeprefix(SHAP) for name in seen if name.startswith(SHAP)],
    )
    return [*known, *(name for name in seen if name not in known), *STUDY_COLUMNS]


def _table(folder: Path) -> IO[str]:
    return (folder / "discs.csv").open(encoding="utf-8", newline="")


def _rows_of_all(out: Path, done: Iterable[str], lost: list[Failure]) -> Iterator[Row]:
    """Give the rows of all studies; those whose folder cannot be read are added to ``lost``."""
    for study in done:
        try:
            yield from _rows(out / study)
        except (InputError, OSError, ValueError) as error:
            failure = Failure(
                study=study,
                stage="gather",
                found=f"'{out / study}' cannot be read any longer ({type(error).__name__})",
                expected="the folder as it was written",
                action="run again, which makes it again",
            )
            lost.append(failure)


def _rows(folder: Path) -> list[Row]:
    """Read the rows of a study as text, empty where a measure is missing, from the lowest disc up."""
    manifest = read_manifest(folder)
    curve = manifest.lordosis or {}
    of_study = {
        "study": folder.name,
        "lordosis_deg": _text(curve.get("angle_deg")),
        "lordosis_deg_se": _text(curve.get("standard_error_deg")),
        "study_flags": " ".join(manifest.flags),
        "input": manifest.input,
    }
    with _table(folder) as stream:
        return [row | of_study for row in csv.DictReader(stream)]


def _text(value: float | None) -> str:
    return "" if value is None or not math.isfinite(value) else repr(float(value))


def _described(column: str) -> dict[str, str]:
    """Say of a column its type, unit, title and meaning."""
    kind = "text" if column in _TEXTS else "integer" if column == "label" else "number"
    if column in _MEANINGS:
        unit = "°" if column.endswith("_deg") else ""
        return {"name": column, "type": kind, "unit": unit, "meaning": _MEANINGS[column]}
    of = measure_of_column(column.removesuffix("_se"))
    unit = "probability from 0 to 1" if of.unit == "%" else of.unit
    meaning = of.meaning or f"{of.title}."
    if column.endswith("_se"):
        meaning = f"Standard error of {column.removesuffix('_se')}."
    elif column.startswith("z_"):
        meaning = (
            f"{of.title} in standard deviations from the mean of the reference population at that level."
        )
    return {"name": column, "type": kind, "unit": unit, "meaning": meaning}


def _write_rows(rows: Iterable[Row], described: Sequence[dict[str, str]], table: Path, parquet: Path) -> None:
    """Write the same rows as CSV and as Parquet, so many at once that a cohort of any size fits."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [column["name"] for column in described]
    types = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64()}
    fields = [
        pa.field(column["name"], types[column["type"]], metadata={k: column[k] for k in ("unit", "meaning")})
        for column in described
    ]
    schema = pa.schema(fields)
    with table.open("w", encoding="utf-8", newline="") as stream, pq.ParquetWriter(parquet, schema) as writer:
        lines = csv.DictWriter(stream, names, restval="", lineterminator="\n")
        lines.writeheader()
        waiting = iter(rows)
        while batch := list(islice(waiting, _AT_ONCE)):
            lines.writerows(batch)
            writer.write_table(pa.table([_column(batch, field) for field in schema], schema=schema))


def _column(rows: Sequence[Row], field: pa.Field) -> pa.Array:
    import pyarrow as pa

    cells: list[Any] = [row.get(field.name) or "" for row in rows]
    if not pa.types.is_string(field.type):
        convert = int if pa.types.is_integer(field.type) else float
        cells = [convert(cell) if cell else None for cell in cells]
    return pa.array(cells, field.type)


def _write_failures(failures: Sequence[Failure], path: Path) -> None:
    with new_file(path) as partial, partial.open("w", encoding="utf-8", newline="") as stream:
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(("study", "input", "stage", "error", "what_to_do", "attempts"))
        lines.writerows(
            (failure.study, failure.input, failure.stage, failure.error, failure.action, failure.attempts)
            for failure in failures
        )
