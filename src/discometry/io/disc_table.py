"""The table of a study's discs: which columns it has, in which order, and what stands in them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

from discometry.core.anatomy import LEVELS, label_of_level
from discometry.core.records import Geometry, Intensity, StudyResult
from discometry.core.reference import REFERENCE_MEASURES

__all__ = ["SHAP", "DiscTable", "disc_columns", "discs_table", "parse_table"]

SHAP = "shap_"
"""How the columns begin that say what a feature adds to the log-odds of narrowing."""
_POSES = (
    *("pose_shift_left_mm", "pose_shift_posterior_mm", "pose_shift_superior_mm"),
    *("pose_turn_left_deg", "pose_turn_posterior_deg", "pose_turn_superior_deg"),
)
_WORDS = ("study", "level", "flags")
_LABELS = {str(label): label for label in map(label_of_level, LEVELS)}


@dataclass(frozen=True, slots=True)
class DiscTable:
    """One row a disc, from the lowest up: words, the label, and numbers, NaN where a measure is missing."""

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, Any], ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, column: str) -> list[Any]:
        return [row[column] for row in self.rows]

    def to_csv(self) -> str:
        """Write the table as text; a missing number is an empty cell."""
        stream = StringIO()
        lines = csv.writer(stream, lineterminator="\n")
        lines.writerow(self.columns)
        lines.writerows([_cell(row[name]) for name in self.columns] for row in self.rows)
        return stream.getvalue()


def parse_table(text: str) -> DiscTable:
    """Read what :meth:`DiscTable.to_csv` wrote.

    Raises
    ------
    ValueError
        If it is another table, or has other than numbers where numbers belong.
    """
    try:
        columns, *lines = filter(None, csv.reader(StringIO(text, newline=""), strict=True))
        rows = [
            {name: _value(name, cell) for name, cell in zip(columns, line, strict=True)} for line in lines
        ]
    except (csv.Error, KeyError) as error:
        raise ValueError(f"no table of discs: {error}") from error
    if not {*_WORDS, "label"} <= set(columns) or len(set(columns)) < len(columns):
        raise ValueError("other columns")
    return DiscTable(tuple(columns), tuple(rows))


def _cell(value: str | int | float) -> str:
    return str(value) if isinstance(value, str | int) or not math.isnan(value) else ""


def _value(column: str, cell: str) -> Any:
    if column in _WORDS:
        return cell
    return _LABELS[cell] if column == "label" else float(cell or "nan")


def discs_table(result: StudyResult) -> DiscTable:
    """Table of discs, one row each from the lowest up, units in the column names.

    ``study, label, level, flags``; the first measures of :class:`~discometry.core.records.Geometry` up to
    ``volume_mm3``, then their standard errors (``_se``); every further measure followed by its own;
    ``z_..`` of those that the reference population has; ``reconstruction_iou``, ``shape_plausibility``, the
    pose (``pose_..``) where the latents do not hold it, ``latent_1`` .. ``latent_k``; the signal against its
    surroundings (``signal_..``); what each feature adds to the log-odds of narrowing (``shap_..``), and
    ``narrowing_probability``.
    """
    latents = max((len(found.encoding.latents) for found in result.discs), default=0)
    names = [f"latent_{n + 1}" for n in range(latents)]
    poses = _POSES if any(found.encoding.pose for found in result.discs) else ()
    shares = tuple(dict.fromkeys(name for found in result.discs for name in found.contributions))
    columns = disc_columns(latents=latents, poses=bool(poses), shares=shares)
    rows = tuple(
        dict.fromkeys(columns, math.nan)
        | {
            "study": result.study,
            "label": found.disc.label,
            "level": found.disc.level,
            "flags": " ".join(found.flags),
            **found.geometry.values(),
            **_standard_errors(found.geometry),
            **{_z_column(name): value for name, value in found.z_scores.items()},
            "reconstruction_iou": found.encoding.reconstruction_iou,
            "shape_plausibility": found.encoding.plausibility,
            **dict(zip(poses, found.encoding.pose, strict=False)),
            **dict(zip(names, found.encoding.latents, strict=True)),
            **found.intensity.values(),
            **{f"{SHAP}{name}": value for name, value in found.contributions.items()},
            "narrowing_probability": found.narrowing_probability,
        }
        for found in result.discs
    )
    return DiscTable(tuple(columns), rows)


def disc_columns(*, latents: int, poses: bool, shares: Sequence[str] = ()) -> list[str]:
    """Order of the columns of :func:`discs_table`, for a shape model of so many latents.

    ``shares`` are the features of which it is told what they add to the log-odds of narrowing.
    """
    return [
        *("study", "label", "level", "flags"),
        *_measure_columns(),
        *map(_z_column, REFERENCE_MEASURES),
        *("reconstruction_iou", "shape_plausibility"),
        *(_POSES if poses else ()),
        *(f"latent_{n + 1}" for n in range(latents)),
        *Intensity.meanings(),
        *(f"{SHAP}{name}" for name in shares),
        "narrowing_probability",
    ]


def _measure_columns() -> list[str]:
    """Order of measures and standard errors; the first eight measures stand together, as is promised."""
    names = Geometry.names()
    first = names.index("volume_mm3") + 1
    further = [column for name in names[first:] for column in (name, f"{name}_se")]
    return [*names[:first], *(f"{name}_se" for name in names[:first]), *further]


def _z_column(name: str) -> str:
    """Column of a measure's z-score, which has no unit."""
    return "z_" + name.removesuffix("_mm").removesuffix("_deg")


def _standard_errors(geometry: Geometry) -> dict[str, float]:
    errors = {} if geometry.standard_errors is None else geometry.standard_errors.values()
    return {f"{name}_se": value for name, value in errors.items()}
