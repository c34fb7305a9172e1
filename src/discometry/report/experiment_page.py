"""The page of an experiment, and its tables as Markdown, from the files that the experiment left."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from discometry.core.records import Geometry
from discometry.core.scores import Interval, bootstrap_interval
from discometry.io.atomic import new_file
from discometry.io.results import read_study
from discometry.report.experiment_figures import draw_answers, draw_bottlenecks, draw_by_level
from discometry.report.figures import Picture, draw_sagittal
from discometry.report.page import environment
from discometry.report.paper_numbers import (
    MENDED,
    PAPER_BOTTLENECKS,
    PAPER_NARROWING,
    PAPER_SEGMENTATION,
    WEAKNESSES,
)
from discometry.report.planes import find_regions
from discometry.report.wording import MISSING, measure_of_column

__all__ = ["write_experiment_page"]

_KINDS = {"true": "masks of readers", "predicted": "masks of the segmenter"}
_WORST = 3
_SHOWN = (
    "level alone",
    "level and geometry (shipped)",
    "geometric, paper's XGBoost",
    "latent, paper's XGBoost",
)


@dataclass(frozen=True, slots=True)
class PlainTable:
    """A table of words: caption, heads, rows, and what must be said of it."""

    caption: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """Give the table as Markdown."""
        lines = [f"**{self.caption}**", "", f"| {' | '.join(self.heads)} |", "|---" * len(self.heads) + "|"]
        lines += [f"| {' | '.join(row)} |" for row in self.rows]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)]) + "\n"


@dataclass(frozen=True, slots=True)
class WorstCase:
    """A study whose discs the segmenter found worst: its outlines by readers and by the segmenter."""

    study: str
    told: str
    true: Picture
    predicted: Picture


def write_experiment_page(folder: Path) -> Path:
    """Write ``index.html`` and ``tables.md`` into the folder of a finished experiment; give the former."""
    record = json.loads((folder / "experiment.json").read_text(encoding="utf-8"))
    discs, scores, sweep, excluded = (
        _read(folder / f"{name}.csv") for name in ("discs", "segmentation", "bottlenecks", "excluded")
    )
    narrowing = _found(folder / "narrowing.json")
    refused = narrowing.pop("not_compared", {})
    unseen = set(json.loads((folder / "unseen.json").read_text(encoding="utf-8")))
    tables = [_segmentation(scores, unseen), _bottlenecks(sweep, record)]
    tables += [_narrowing(kind, rows, record) for kind, rows in narrowing.items()]
    shown = [table for table in tables if table is not None]
    page = (
        environment()
        .get_template("experiment.html.j2")
        .render(
            record=record,
            headline=_headline(narrowing),
            discs=int((discs["kind"] == "true").sum()),
            tables=shown,
            excluded=excluded.to_dict("records"),
            refused={_KINDS[kind]: reason for kind, reason in refused.items()},
            weaknesses=WEAKNESSES if record["options"]["protocol"] == "paper" else (),
            mended=MENDED,
            curves=_curves(folder, narrowing),
            sweep=draw_bottlenecks(sweep) if len(sweep) else None,
            levels=draw_by_level(discs[discs["kind"] == "true"], _titles()),
            explained=[
                _png(folder / "explained" / f"{name}.png")
                for name in ("correlations", "traversals")
                if (folder / "explained").is_dir()
            ],
            worst=_worst(folder, scores),
            studies=sorted(path.parent.name for path in folder.glob("true/*/report.html")),
            predicted={path.parent.name for path in folder.glob("predicted/*/report.html")},
        )
    )
    for name, text in (("tables.md", "\n".join(table.markdown() for table in shown)), ("index.html", page)):
        with new_file(folder / name) as fresh:
            fresh.write_text(text, encoding="utf-8", newline="\n")
    return folder / "index.html"


def _segmentation(scores: pd.DataFrame, unseen: set[str]) -> PlainTable | None:
    if scores.empty:
        return None
    groups = [("all patients", scores)]
    if not scores["patient"].isin(unseen).any():
        groups = [("all patients, of whom the segmenter may have been trained on each", scores)]
    if 0 < scores["patient"].isin(unseen).sum() < len(scores):
        groups.append(("patients not in the segmenter's training", scores[scores["patient"].isin(unseen)]))
    rows = []
    for name, part in groups:
        found = {column: _mean(part, column) for column in ("iou", "dice", "surface_distance_mm")}
        rows.append(
            (
                name,
                *(_told(found[column], 3) for column in ("iou", "dice")),
                _told(found["surface_distance_mm"], 2),
                f"{100 * (part['dice'] >= 0.5).mean():.0f} %",
                _count(part),
            )
        )
    paper = (
        "the paper, cropped by the true mask",
        *PAPER_SEGMENTATION.values(),
        MISSING,
        MISSING,
        "39 patients",
    )
    return PlainTable(
        "Segmentation of discs",
        ("", "IoU", "Dice", "surface distance, mm", "found (Dice ≥ 0.5)", "discs"),
        (*rows, paper),
        ("Means over discs with 95 % intervals by patient; a disc that was not found counts with 0.",),
    )


def _bottlenecks(sweep: pd.DataFrame, record: dict[str, Any]) -> PlainTable | None:
    if sweep.empty:
        return None
    rows = []
    for row in sweep.to_dict("records"):
        trained, held = (
            _told(Interval(*(row.get(f"{start}_{part}", math.nan) for part in ("iou", "low", "high"))), 4)
            for start in ("train", "held_out")
        )
        paper = PAPER_BOTTLENECKS.get(int(row["latents"]), MISSING)
        rows.append((f"{row['latents']:.0f}", trained, held, paper))
    kind = record["options"]["autoencoder"]
    first = sweep.iloc[0]
    return PlainTable(
        "Reconstruction of discs from few latents, IoU",
        ("latents", "in training", "held out by patient", "the paper, in training"),
        tuple(rows),
        (
            f"{first['discs']:.0f} discs of {first['patients']:.0f} patients, masks of readers; "
            f"{'the paper’s autoencoder' if kind == 'paper' else 'linear shape model'}.",
        ),
    )


def _narrowing(kind: str, rows: Sequence[dict[str, Any]], record: dict[str, Any]) -> PlainTable:
    heads = (
        *("", "AUROC", "above level alone", "AUPRC", "F1, positive class", "balanced accuracy", "Brier"),
        *("calibration slope", "right answers (the paper’s F1)", "the paper: F1, AUROC"),
    )
    shown = []
    for row in rows:
        paper = PAPER_NARROWING.get((kind, row["name"].split(",")[0]))
        cells = [_told(row["auroc"], 3), _told(row["above_level"], 3, sign=True)]
        cells += [_told(row[name], 3) for name in ("auprc", "f1", "balanced_accuracy", "brier")]
        cells += [_told(row["calibration_slope"], 2), _told(row["accuracy"], 3)]
        compared = record["options"]["target"] == "narrowing" and "by patient" not in row["name"]
        shown.append((row["name"], *cells, ", ".join(paper) if paper and compared else MISSING))
    first, folds = rows[0], record["options"]["folds"]
    notes = [
        f"{first['discs']} graded discs of {first['patients']} patients, {first['positive']} positive. "
        f"{folds['folds']} folds"
        + (f" by patient, {folds['repeats']} times." if record["options"]["protocol"] == "strict" else ".")
        + " 95 % intervals by bootstrap over patients. A disc is called positive from one half up."
    ]
    shipped = [row for row in rows if row["unseen"] and "shipped" in row["name"]]
    alone = [f"{row['name']}: {_told(row['unseen'], 3)}" for row in shipped]
    if kind == "predicted" and alone:
        notes.append(f"AUROC on the patients that the segmenter was not trained on: {'; '.join(alone)}.")
    return PlainTable(
        f"{record['options']['target'].capitalize()}, {_KINDS[kind]}", heads, tuple(shown), tuple(notes)
    )


def _headline(narrowing: dict[str, list[dict[str, Any]]]) -> str:
    """Say the main finding in a sentence."""
    best = [row for row in narrowing.get("true", []) if "shipped" in row["name"]]
    level = [row for row in narrowing.get("true", []) if row["name"] == "level alone"]
    if not (best and level):
        return ""
    return (
        f"From readers' masks, level and geometry tell positive discs from negative ones with an AUROC of "
        f"{_told(best[0]['auroc'], 2)}, the level alone with {_told(level[0]['auroc'], 2)}."
    )


def _curves(folder: Path, narrowing: dict[str, list[dict[str, Any]]]) -> list[tuple[str, Picture]]:
    if not narrowing:
        return []
    answers = _read(folder / "probabilities.csv")
    found = []
    for kind, rows in narrowing.items():
        own = [row["name"] for row in rows]
        names = [name for name in _SHOWN if name in own] or [name for name in own if "XGBoost" in name]
        found.append((_KINDS[kind], draw_answers(answers[answers["kind"] == kind], names)))
    return found


def _worst(folder: Path, scores: pd.DataFrame) -> list[WorstCase]:
    """Show the studies whose worst disc overlaps least."""
    if scores.empty:
        return []
    drawn = scores[[(folder / "predicted" / study).is_dir() for study in scores["study"]]]
    least = drawn.sort_values("dice").drop_duplicates("study").head(_WORST)
    cases = []
    for row in least.to_dict("records"):
        true, predicted = (read_study(folder / kind / row["study"]) for kind in ("true", "predicted"))
        pictures = [
            draw_sagittal(one.labels, one.image, find_regions(one.labels)) for one in (true, predicted)
        ]
        told = f"disc {row['label']:.0f}: Dice {row['dice']:.2f}"
        cases.append(WorstCase(str(row["study"]), told, *pictures))
    return cases


def _titles() -> dict[str, str]:
    measures = [measure_of_column(name) for name in Geometry.names() if not name.startswith("paper_")]
    return {one.column: f"{one.title}, {one.unit}" if one.unit else one.title for one in measures}


def _mean(part: pd.DataFrame, column: str) -> Interval:
    known = part.dropna(subset=column)
    if known.empty:
        return Interval(math.nan, math.nan, math.nan)
    groups = known["patient"].to_numpy(dtype=str)
    return bootstrap_interval(lambda values: float(np.mean(values)), known[column].to_numpy(), groups=groups)


def _count(part: pd.DataFrame) -> str:
    return f"{len(part)} of {part['patient'].nunique()} patients"


def _told(found: Interval | Sequence[float | None] | None, digits: int, *, sign: bool = False) -> str:
    """Write a value with its interval; an en dash where there is none."""
    if isinstance(found, Interval):
        found = (found.value, found.low, found.high)
    numbers = [math.nan if one is None else one for one in found or (None,)]
    if not math.isfinite(numbers[0]):
        return MISSING
    value, low, high = (f"{one:{'+' if sign else ''}.{digits}f}".replace("-", "−") for one in numbers)
    if not all(map(math.isfinite, numbers)):
        return value
    return f"{value} ({low} to {high})" if sign or "−" in low else f"{value} ({low}–{high})"


def _read(path: Path) -> pd.DataFrame:
    text = dict.fromkeys(("study", "patient", "kind"), str)  # "true" is a word here
    return pd.read_csv(path, dtype=text) if path.is_file() and path.stat().st_size > 1 else pd.DataFrame()


def _found(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _png(path: Path) -> str:
    from base64 import b64encode

    return "data:image/png;base64," + b64encode(path.read_bytes()).decode("ascii")
