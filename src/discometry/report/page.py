"""The report: one self-contained HTML page made from a finished result folder."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from discometry.core.anatomy import LEVELS, level_of_label
from discometry.io.disc_table import SHAP
from discometry.report.figures import (
    Picture,
    colour_of_label,
    draw_axials,
    draw_coronal,
    draw_sagittal,
    text_on,
)
from discometry.report.planes import DiscRegion, find_regions
from discometry.report.reasons import Answer, reasons_of
from discometry.report.scene import build_scene, draw_meshes, thin_mesh
from discometry.report.wording import (
    MAIN_COLUMNS,
    MISSING,
    FlagMeaning,
    Measure,
    mark_of_score,
    meaning_of_flag,
    measure_of_column,
    number_of,
    reason_missing,
)

if TYPE_CHECKING:
    import jinja2

    from discometry.io.results import StudyFiles

__all__ = ["REPORT_NAME", "environment", "render_report", "write_assets", "write_report"]

REPORT_NAME = "report.html"

MESH_CELL_MM = 1.5
"""Vertices closer than about this become one in the page's meshes; the files keep them all."""

_NOT_MEASURES = ("study", "label", "level", "flags")


_FILE_MEANINGS = {
    "study.json": "how this result was made, for programs",
    "discs.csv": "every measure of every disc at full precision, units in the column names",
    "discs.nii.gz": "disc labels on the grid of the input",
    "image.nii.gz": "the image on the same grid, in 256 greys, for looking at",
}


@dataclass(frozen=True, slots=True)
class DiscName:
    """A level with its colour and the colour of text on it."""

    level: str
    colour: str
    ink: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A number as shown.

    ``reason`` says why it is missing, ``percent`` is the length of its bar, ``mark`` a word for the
    unusual.
    """

    text: str
    reason: str = ""
    percent: float | None = None
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One disc of a table."""

    name: DiscName
    flags: tuple[FlagMeaning, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Measures across, discs down, the highest disc first; ``gaps`` say in words what is missing and why."""

    measures: tuple[Measure, ...]
    rows: tuple[Row, ...]
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FlagEntry:
    """A flag in words with the levels that carry it (none: the whole study)."""

    meaning: FlagMeaning
    levels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FileLink:
    """A file of the folder: relative address, name and what it holds."""

    href: str
    name: str
    meaning: str


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into a finished result folder and return its path.

    The page appears whole or not at all; the same folder gives the same bytes.

    Raises
    ------
    InputError
        If the folder is not a whole result folder.
    OutputError
        If the page cannot be written there.
    """
    from discometry.io.atomic import new_file
    from discometry.io.results import read_study

    folder = Path(folder)
    page = render_report(read_study(folder))
    target = folder / REPORT_NAME
    with new_file(target) as partial:
        partial.write_text(page, encoding="utf-8", newline="\n")
    return target


def write_assets(folder: Path) -> None:
    """Write the script and the style that the reports of a cohort share.

    Raises
    ------
    OutputError
        If they cannot be written.
    """
    from discometry.io.atomic import new_file

    for name in ("report.css", "view3d.js"):
        template = environment().get_template(name)
        with new_file(folder / name) as partial:
            partial.write_text(template.render(), encoding="utf-8", newline="\n")


def render_report(study: StudyFiles, *, assets: str = "") -> str:
    """Make the page of one study as a string of HTML.

    Parameters
    ----------
    study
        A finished result.
    assets
        Address, seen from the page, of the folder of :func:`write_assets`; empty: the page holds all itself.
    """
    manifest = {item.name: getattr(study.manifest, item.name) for item in fields(study.manifest)}
    del manifest["identifiers"]  # a page is passed on more easily than study.json
    regions = find_regions(study.labels)
    downwards = regions[::-1]
    meshes = {int(label): thin_mesh(mesh, cell_mm=MESH_CELL_MM) for label, mesh in study.meshes.items()}
    measures = [measure_of_column(name) for name in study.discs.columns if _is_measure(name)]
    by_column = {measure.column: measure for measure in measures}
    main = [by_column[name] for name in MAIN_COLUMNS if name in by_column]
    scores = [measure for measure in measures if measure.column.startswith("z_")]
    further = [measure for measure in measures if measure not in main and measure not in scores]
    records = sorted(study.discs.rows, key=lambda row: -row["label"])
    has_image = study.image is not None
    reasons = reasons_of(records)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            assets=assets,
            study=manifest["study"],
            bundle=manifest["bundle"] or "",
            levels=[region.level for region in downwards],
            flags=_flag_entries(records, study.manifest.flags),
            has_image=has_image,
            sections=(
                draw_sagittal(study.labels, study.image, regions),
                draw_coronal(study.labels, study.image, regions),
            ),
            axials=_captioned(downwards, draw_axials(study.image, downwards)),
            still=draw_meshes(meshes) if meshes else None,
            scene=build_scene(meshes) if meshes else None,
            main=_table(records, main, image=has_image),
            further=_table(records, further, image=has_image),
            scores=_table(records, scores, image=has_image),
            reasons=reasons,
            answers=_named(reasons.answers) if reasons else [],
            lordosis=_lordosis(study.manifest.lordosis),
            manifest=tuple(_flatten(manifest)),
            files=_files(study.folder),
            mesh_files=_mesh_files(study.folder),
        )
    )


@cache
def environment() -> jinja2.Environment:
    """Give the templates of this package."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("discometry.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _captioned(regions: Sequence[DiscRegion], pictures: Sequence[Picture]) -> list[tuple[DiscName, Picture]]:
    return [(_name(region.label), picture) for region, picture in zip(regions, pictures, strict=True)]


def _named(answers: Sequence[Answer]) -> list[tuple[DiscName, Answer]]:
    return [(_name(answer.label), answer) for answer in answers]


def _name(label: int) -> DiscName:
    colour = colour_of_label(label)
    return DiscName(level_of_label(label), colour, text_on(colour))


def _is_measure(column: str) -> bool:
    """Whether a column stands in a table.

    The pose serves to draw a shape again, which a page does not; shares of the probability are drawn as bars.
    """
    return not (column in _NOT_MEASURES or column.endswith("_se") or column.startswith(("pose_", SHAP)))


def _flag_entries(records: Sequence[Mapping[str, Any]], of_study: Sequence[str]) -> list[FlagEntry]:
    """Collect every flag once with the levels that carry it, quality flags first, then those of the study."""
    levels: dict[str, list[str]] = {flag: [] for flag in of_study}
    for record in records:
        for flag in record["flags"].split():
            levels.setdefault(flag, []).append(str(record["level"]))
    entries = [FlagEntry(meaning_of_flag(flag), tuple(carriers)) for flag, carriers in levels.items()]
    return sorted(entries, key=lambda entry: (not entry.meaning.quality, bool(entry.levels)))


def _table(records: Sequence[Mapping[str, Any]], measures: Sequence[Measure], *, image: bool) -> Table:
    rows = []
    gaps: dict[tuple[str, str], list[str]] = {}
    for record in records:
        flags = record["flags"].split()
        cells = tuple(_cell(record, measure, flags, image=image) for measure in measures)
        for measure, cell in zip(measures, cells, strict=True):
            if cell.reason:
                gaps.setdefault((measure.title, cell.reason), []).append(str(record["level"]))
        rows.append(Row(_name(record["label"]), tuple(meaning_of_flag(flag) for flag in flags), cells))
    return Table(tuple(measures), tuple(rows), _told(gaps, len(measures)))


def _told(gaps: Mapping[tuple[str, str], Sequence[str]], measures: int) -> tuple[str, ...]:
    """Put into words which measures lack for which reason at which levels, those alike together."""
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (title, reason), levels in gaps.items():
        alike.setdefault((reason, tuple(levels)), []).append(title)
    return tuple(
        f"{'Everything' if len(titles) == measures else ', '.join(titles)} of {', '.join(levels)}: {reason}."
        for (reason, levels), titles in alike.items()
    )


def _cell(record: Mapping[str, Any], measure: Measure, flags: Sequence[str], *, image: bool) -> Cell:
    value = number_of(record.get(measure.column))
    if not math.isfinite(value):
        return Cell(MISSING, reason=reason_missing(measure.column, flags, image=image))
    text = measure.show(value, number_of(record.get(f"{measure.column}_se")))
    mark = mark_of_score(value) if measure.column.startswith("z_") else ""
    return Cell(text, percent=round(100 * value, 1) if measure.unit == "%" else None, mark=mark)


def _lordosis(found: Mapping[str, Any] | None) -> str:
    """Say the angle between the highest and the lowest lumbar disc; nothing where it is not known."""
    if found is None:
        return ""
    angle = Measure("lordosis", "", "°", 1, "").show(found["angle_deg"], found["standard_error_deg"])
    return f"{found['upper']} to {found['lower']}: {angle}°"


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """List a nested mapping as dotted names with their values in words."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{name}.")
        elif value is None or value in ((), [], ""):
            yield name, "none"
        elif isinstance(value, bool):
            yield name, "yes" if value else "no"
        elif isinstance(value, list | tuple):
            yield name, ", ".join(str(item) for item in value)
        else:
            yield name, str(value)


def _files(folder: Path) -> list[FileLink]:
    """List the tables and volumes of the result that are there."""
    return [FileLink(name, name, told) for name, told in _FILE_MEANINGS.items() if (folder / name).exists()]


def _mesh_files(folder: Path) -> list[FileLink]:
    """List the meshes, the lowest disc last as everywhere on the page."""
    names = {level.replace("/", "_"): level for level in LEVELS}
    meshes = [(names[mesh.stem], mesh.name) for mesh in folder.glob("meshes/*.ply") if mesh.stem in names]
    meshes.sort(key=lambda item: -LEVELS.index(item[0]))
    return [FileLink(quote(f"meshes/{name}"), level, "") for level, name in meshes]
