"""The overview of a cohort: one page made from its tables, with every study a click away."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import LEVELS
from discometry.core.errors import InputError
from discometry.io.atomic import new_file
from discometry.report.figures import colour_of_label
from discometry.report.page import REPORT_NAME, environment
from discometry.report.thumbnail import THUMBNAIL_NAME
from discometry.report.wording import MAIN_COLUMNS, Measure, meaning_of_flag, measure_of_column

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["OVERVIEW_NAME", "deviations", "write_overview"]

OVERVIEW_NAME = "index.html"

OUTLIER_COLUMNS = tuple(name for name in MAIN_COLUMNS if not name.endswith("_probability"))
"""Measures in which a disc can stand out; a probability is too skewed for its spread to mean anything."""

FEWEST_DISCS = 8
"""Of one level, below which nothing is said of how unusual one of them is."""

MOST_FAILURES = 500
"""Failures that the page lists; failures.csv has them all."""

_MAD_TO_SD = 1.4826
"""Standard deviations in a median absolute deviation of normal values."""

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Strip:
    """Discs of one level in one measure: their 5, 25, 50, 75 and 95 % quantiles in % of the chart's width."""

    level: str
    colour: str
    count: int
    places: tuple[float, ...]
    told: str


@dataclass(frozen=True, slots=True)
class Chart:
    """How one measure is distributed at each level, the highest first; the numbers at the chart's ends."""

    measure: Measure
    strips: tuple[Strip, ...]
    low: str
    high: str


def write_overview(out: Path) -> Path:
    """Write ``index.html`` into a cohort's folder, from its ``cohort.parquet`` and ``failures.csv``.

    The page appears whole or not at all; the same folder gives the same bytes.

    Raises
    ------
    InputError
        If the tables are missing or damaged.
    OutputError
        If the page cannot be written.
    """
    discs, failures = _read_tables(out)
    scores = deviations(discs)
    page = (
        environment()
        .get_template("overview.html.j2")
        .render(
            studies=_studies(out, discs, scores),
            n_studies=discs["study"].nunique(),
            n_discs=len(discs),
            failures=failures[:MOST_FAILURES],
            n_failures=len(failures),
            charts=_charts(discs),
            fewest=FEWEST_DISCS,
        )
    )
    target = out / OVERVIEW_NAME
    with new_file(target) as partial:
        partial.write_text(page, encoding="utf-8", newline="\n")
    return target


def _read_tables(out: Path) -> tuple[pd.DataFrame, list[dict[str, str]]]:
    """Read of the tables what the page shows; columns that an older cohort lacks are missing values."""
    import pandas as pd
    import pyarrow.parquet as pq

    texts = ("study", "level", "flags", "study_flags")
    wanted = [*texts, "label", *MAIN_COLUMNS, "lordosis_deg"]
    path = out / "cohort.parquet"
    try:
        known = set(pq.read_schema(path).names)
        discs = pd.read_parquet(path, columns=[name for name in wanted if name in known])
        with (out / "failures.csv").open(encoding="utf-8", newline="") as stream:
            failures = list(csv.DictReader(stream))
    except (OSError, ValueError) as error:
        raise InputError(
            f"'{out}' has no tables of a cohort that can be read",
            expected="the cohort.parquet and failures.csv that `discometry cohort` wrote",
            action="run the cohort again, which writes them again",
        ) from error
    discs = discs.reindex(columns=wanted)
    return discs.assign(**{name: discs[name].astype(object).fillna("") for name in texts}), failures


def deviations(discs: pd.DataFrame) -> FloatArray:
    """Tell how far every disc lies from the others of its level.

    Parameters
    ----------
    discs
        Rows with ``level`` and the columns of :data:`OUTLIER_COLUMNS`.

    Returns
    -------
    array of float, discs x measures
        Robust z-scores: distance from the level's median in units of 1.4826 median absolute deviations; NaN
        where the measure is missing, or has fewer than :data:`FEWEST_DISCS` values or no spread.
    """
    values = discs[list(OUTLIER_COLUMNS)].to_numpy(dtype=np.float64)
    scores = np.full_like(values, np.nan)
    for level in discs["level"].unique():
        rows = np.flatnonzero((discs["level"] == level).to_numpy())
        for column in range(values.shape[1]):
            of_level = values[rows, column]
            known = of_level[np.isfinite(of_level)]
            if known.size < FEWEST_DISCS:
                continue
            middle = np.median(known)
            spread = _MAD_TO_SD * np.median(np.abs(known - middle))
            if spread > 0:
                scores[rows, column] = (of_level - middle) / spread
    return scores


def _studies(out: Path, discs: pd.DataFrame, scores: FloatArray) -> list[list[Any]]:
    """One row a study, as the page's script reads it, the most unusual study first."""
    measures = [measure_of_column(column) for column in OUTLIER_COLUMNS]
    size = np.nan_to_num(np.abs(scores), nan=-1.0)
    narrowing = discs["narrowing_probability"].to_numpy(dtype=np.float64)
    lordosis = discs["lordosis_deg"].to_numpy(dtype=np.float64)
    rows = []
    for study, places in discs.groupby("study", sort=True).indices.items():
        disc, column = divmod(int(np.argmax(size[places])), len(OUTLIER_COLUMNS))
        score = float(scores[places[disc], column])
        worst = ""
        if math.isfinite(score):
            level = discs["level"].iat[places[disc]]
            worst = f"{level} {measures[column].title.lower()} {'high' if score > 0 else 'low'}"
        known = narrowing[places][np.isfinite(narrowing[places])]
        words = [*discs["flags"].iloc[places], discs["study_flags"].iat[places[0]]]
        flags = dict.fromkeys(flag for cell in words for flag in str(cell).split())
        folder = out / str(study)
        rows.append(
            [
                str(study),
                quote(f"{study}/{REPORT_NAME}") if (folder / REPORT_NAME).exists() else "",
                quote(f"{study}/{THUMBNAIL_NAME}") if (folder / THUMBNAIL_NAME).exists() else "",
                _rounded(abs(score), 1),
                worst,
                len(places),
                _rounded(100 * known.max(), 0) if known.size else None,
                _rounded(lordosis[places[0]], 0),
                [[meaning_of_flag(flag).title, meaning_of_flag(flag).quality] for flag in flags],
            ]
        )
    return sorted(rows, key=lambda row: -1.0 if row[3] is None else row[3], reverse=True)


def _rounded(value: float, digits: int) -> float | None:
    return round(float(value), digits) + 0.0 if math.isfinite(value) else None


def _charts(discs: pd.DataFrame) -> list[Chart]:
    """Draw every measure's distribution at the lumbar levels that the cohort has."""
    present = set(discs["level"])
    levels = [level for level in reversed(LEVELS) if level in present]
    charts = []
    for column in MAIN_COLUMNS:
        values = discs[column].to_numpy(dtype=np.float64)
        known = values[np.isfinite(values)]
        if known.size == 0:
            continue
        low, high = (float(x) for x in np.quantile(known, (0.01, 0.99)))
        measure = measure_of_column(column)
        strips = [_strip(level, discs, values, (low, high), measure) for level in levels]
        charts.append(
            Chart(
                measure,
                tuple(strip for strip in strips if strip is not None),
                measure.show(low),
                measure.show(high),
            )
        )
    return charts


def _strip(
    level: str, discs: pd.DataFrame, values: FloatArray, ends: tuple[float, float], measure: Measure
) -> Strip | None:
    rows = (discs["level"] == level).to_numpy()
    known = values[rows & np.isfinite(values)]
    if known.size == 0:
        return None
    low, high = ends
    quantiles = np.quantile(known, (0.05, 0.25, 0.5, 0.75, 0.95))
    places = np.clip((quantiles - low) / max(high - low, 1e-12) * 100, 0, 100)
    label = int(discs["label"].to_numpy()[rows][0])
    told = (
        f"{level}: median {measure.show(float(quantiles[2]))}, half of the discs between "
        f"{measure.show(float(quantiles[1]))} and {measure.show(float(quantiles[3]))} {measure.unit}, "
        f"n = {known.size}"
    )
    return Strip(level, colour_of_label(label), known.size, tuple(round(float(x), 2) for x in places), told)
