"""Cohorts with gradings: the SPIDER data set as it is published, or a CSV table of one's own.

SPIDER (van der Graaf et al. 2024, doi 10.1038/s41597-024-03090-w) holds ``images/`` and ``masks/`` with the
same file names, ``PATIENT_SEQUENCE.mha``, ``radiological_gradings.csv`` (one row a disc; ``IVD label`` counts
from L5/S1 = 1, as a mask's disc label less 200) and ``overview.csv`` (one row a scan). Parts may be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from discometry.core.anatomy import DISC_LABEL_BASE, LEVELS, label_of_level
from discometry.core.errors import InputError
from discometry.io.headers import has_suffix
from discometry.io.tables import exists, read_text_table

__all__ = ["GRADINGS_FILE", "GRADING_COLUMNS", "Cohort", "CohortStudy", "Mismatch", "read_cohort"]

GRADINGS_FILE = "radiological_gradings.csv"
"""Name of SPIDER's table of gradings."""
_OVERVIEW = "overview.csv"

GRADING_COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "Modic": "modic",
        "UP endplate": "endplate_upper",
        "LOW endplate": "endplate_lower",
        "Spondylolisthesis": "spondylolisthesis",
        "Disc herniation": "herniation",
        "Disc narrowing": "narrowing",
        "Disc bulging": "bulging",
        "Pfirrman grade": "pfirrmann",
    }
)
"""SPIDER's gradings, and the columns they become; a CSV table of one's own uses the latter."""

_ABOUT_STUDY = ("study", "patient", "sequence", "image", "mask", "age", "sex")
_SEQUENCES = ("t1", "t2", "t2_SPACE")


@dataclass(frozen=True, slots=True)
class CohortStudy:
    """One scan of a cohort; image or mask may be missing, not both."""

    study: str
    patient: str
    image: Path | None
    mask: Path | None
    sequence: str = ""
    """Which of the patient's scans: ``t1``, ``t2``, ``t2_SPACE``."""
    age: float = float("nan")
    """Years."""
    sex: str = ""
    """``F``, ``M``, or nothing."""


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Something in a cohort that does not fit, why it matters, and what was left out for it."""

    study: str
    found: str
    left_out: str


@dataclass(frozen=True, slots=True, eq=False)
class Cohort:
    """The scans of a cohort, and the gradings of their discs.

    ``gradings`` has one row for each graded disc: ``patient``, ``study`` (empty where a reader graded the
    patient and not one scan), ``label`` (201 = L5/S1) and one column a grading, whole numbers, NaN where not
    graded.
    """

    studies: tuple[CohortStudy, ...]
    gradings: pd.DataFrame
    mismatches: tuple[Mismatch, ...] = ()

    def chosen(self, sequence: str | None) -> Cohort:
        """Keep one sequence, by name or, for None, the one of which there are most masks."""
        names = [one.sequence for one in self.studies]
        if sequence is None:
            masked = [one.sequence for one in self.studies if one.mask is not None] or names
            order = [*_SEQUENCES, *sorted(set(masked) - set(_SEQUENCES))]
            sequence = max(order, key=masked.count)
        if sequence not in names:
            raise InputError(
                f"no scan of sequence {sequence!r}",
                expected=f"one of {', '.join(sorted(set(names)))}",
                action="leave --sequence out, or name one of these",
            )
        kept = tuple(one for one in self.studies if one.sequence == sequence)
        studies, patients = {one.study for one in kept}, {one.patient for one in kept}
        lacking = {one.patient: one for one in self.studies if one.patient not in patients}
        return replace(
            self,
            studies=kept,
            mismatches=(
                *(one for one in self.mismatches if one.study in studies),
                *(
                    Mismatch(one.study, f"a patient without {sequence}", "the patient")
                    for one in lacking.values()
                ),
            ),
        )

    def graded(self, discs: pd.DataFrame) -> tuple[pd.DataFrame, tuple[Mismatch, ...]]:
        """Join measured discs with their gradings.

        Where a study has not the discs that were graded, no grading can be trusted to mean the disc of the
        same number: the study keeps its discs, without gradings, and is named.

        Parameters
        ----------
        discs
            One row a disc, with columns ``study``, ``patient`` and ``label``, from masks of readers.

        Returns
        -------
        The discs with one more column a grading, and what did not fit.
        """
        found, mismatches = [], []
        for study, own in discs.groupby("study", sort=False):
            graded = self._gradings_of(str(study), own["patient"].iloc[0])
            labels, expected = sorted(own["label"]), sorted(graded["label"])
            if expected and labels != expected:
                what = f"{len(labels)} discs ({_span(labels)}), {len(expected)} graded ({_span(expected)})"
                mismatches.append(Mismatch(str(study), what, "its gradings"))
                graded = graded.iloc[:0]
            elif not expected and len(self.gradings):
                mismatches.append(Mismatch(str(study), "no disc graded", "it from all that needs gradings"))
            found.append(own.merge(graded, on=["patient", "label"], how="left"))
        return (pd.concat(found, ignore_index=True) if found else discs), tuple(mismatches)

    def _gradings_of(self, study: str, patient: str) -> pd.DataFrame:
        """Give a scan's own gradings; where it has none, the patient's, unless two other scans have some."""
        graded = self.gradings[self.gradings["patient"] == patient]
        own = graded[graded["study"] == study]
        if own.empty and graded["study"].nunique() == 1:
            own = graded
        return own.drop(columns="study")


def read_cohort(source: Path) -> Cohort:
    """Read a cohort: a folder laid out as SPIDER, or a CSV table.

    Parameters
    ----------
    source
        Folder; or a CSV table with one row a disc (or a scan): ``study``, ``image`` and/or ``mask`` (paths,
        from the table's folder), ``level`` (``L4/L5`` or a label such as 202) where gradings follow, any of
        the columns of :data:`GRADING_COLUMNS`, and if known ``patient`` (the study, if left out),
        ``sequence``, ``age`` (years), ``sex``.

    Raises
    ------
    InputError
        If nothing usable is there, or a row says what cannot be: the file and the row are named.
    """
    source = Path(source)
    if source.is_dir():
        return _read_folder(source)
    if source.suffix.lower() == ".csv" and source.is_file():
        return _read_table(source)
    raise InputError(
        f"'{source}' is neither a folder nor a CSV table",
        expected="a folder laid out as SPIDER, or a table of study, image, mask, level and gradings",
        action="give the place of the cohort",
    )


# A folder laid out as SPIDER --------------------------------------------------------------------------------


def _read_folder(folder: Path) -> Cohort:
    images, masks = _scans(folder / "images"), _scans(folder / "masks")
    if not images and not masks:
        raise InputError(
            f"no scan in '{folder}'",
            expected="images/PATIENT_SEQUENCE.mha and masks/PATIENT_SEQUENCE.mha",
            action="give the folder that 'discometry fetch spider' makes",
        )
    about = _read_overview(folder / _OVERVIEW)
    studies = []
    for name in sorted(images.keys() | masks.keys(), key=_natural):
        patient, _, sequence = name.partition("_")
        age, sex = about.get(name, (float("nan"), ""))
        studies.append(
            CohortStudy(name, patient, images.get(name), masks.get(name), sequence, age=age, sex=sex)
        )
    gradings = _read_gradings(folder / GRADINGS_FILE)
    # Patients whose scans are not here are no mistake: a folder may hold part of the data set.
    lacking = [
        Mismatch(one.study, "an image without a mask", "it from all that needs masks of readers")
        for one in studies
        if one.mask is None and masks
    ]
    return Cohort(tuple(studies), gradings, tuple(lacking))


def _scans(folder: Path) -> dict[str, Path]:
    found = sorted(folder.iterdir()) if folder.is_dir() else []
    return {path.name.split(".")[0]: path for path in found if has_suffix(path) and path.name[0] != "."}


def _natural(name: str) -> tuple[int, str]:
    head = name.partition("_")[0]
    return (int(head) if head.isdecimal() else 10**9, name)


def _read_overview(path: Path) -> dict[str, tuple[float, str]]:
    """Read age and sex of each scan; the table's ``birth_date`` holds ages, as its values say."""
    if not path.is_file():
        return {}
    table = _read_csv(path, ("new_file_name", "sex", "birth_date"))
    ages = pd.to_numeric(table["birth_date"], errors="coerce")
    return {
        str(name): (float(age), str(sex).strip())
        for name, age, sex in zip(table["new_file_name"], ages, table["sex"], strict=True)
    }


def _read_gradings(path: Path) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=["patient", "study", "label", *GRADING_COLUMNS.values()])
    table = _read_csv(path, ("Patient", "IVD label"))
    # Two patients of SPIDER have a graded disc 0, below L5/S1, which no mask names.
    _refuse_empty(table, ("Patient", "IVD label"), path)
    labels = _numbers(table, "IVD label", path, lambda value: 0 <= value <= len(LEVELS), "a disc's number")
    patients = table["Patient"].str.strip()
    found = pd.DataFrame({"patient": patients, "study": "", "label": labels + DISC_LABEL_BASE})
    return _graded(found, table, {new: old for old, new in GRADING_COLUMNS.items()}, path)


# A table of one's own ---------------------------------------------------------------------------------------


def _read_table(path: Path) -> Cohort:
    table = _read_csv(path, ("study",))
    if not {"image", "mask"} & set(table.columns):
        raise InputError(
            f"'{path}' has the columns {', '.join(table.columns)}",
            expected="image or mask among them",
            action="add a column with the scans' paths",
        )
    table = table.apply(lambda column: column.str.strip()).reindex(
        columns=[*table.columns, *(name for name in _ABOUT_STUDY if name not in table)], fill_value=""
    )
    _refuse_empty(table, ("study",), path)
    table["patient"] = table["patient"].where(table["patient"] != "", table["study"])
    studies = []
    for study, own in table.groupby("study", sort=False):
        for name in _ABOUT_STUDY[1:]:
            if own[name].nunique() > 1:
                _refuse(path, own.index[own[name].ne(own[name].iloc[0])][0], f"another {name} for {study!r}")
        studies.append(_study_of_row(own.iloc[0], path, int(own.index[0])))
    if "level" not in table:
        return Cohort(tuple(studies), pd.DataFrame(columns=["patient", "study", "label"]))
    rows = table[table["level"] != ""]
    labels = [_label(value, path, place) for place, value in rows["level"].items()]
    known = [name for name in GRADING_COLUMNS.values() if name in table]
    found = pd.DataFrame(
        {"patient": rows["patient"], "study": rows["study"], "label": labels}, index=rows.index
    )
    return Cohort(tuple(studies), _graded(found, rows, {name: name for name in known}, path))


def _study_of_row(row: pd.Series[str], path: Path, place: int) -> CohortStudy:
    image, mask = (path.parent / row[name] if row[name] else None for name in ("image", "mask"))
    for file in (image, mask):
        if file is not None and not exists(file):
            _refuse(path, place, f"the file '{file}', which is not there")
    if image is None and mask is None:
        _refuse(path, place, "neither image nor mask")
    age = pd.to_numeric(row["age"], errors="coerce") if row["age"] else float("nan")
    if row["age"] and not 0 <= age < 130:
        _refuse(path, place, f"age {row['age']!r}")
    return CohortStudy(
        row["study"], row["patient"], image, mask, row["sequence"], age=float(age), sex=row["sex"]
    )


def _label(value: str, path: Path, place: object) -> int:
    if value in LEVELS:
        return label_of_level(value)
    if (
        value.isdecimal()
        and value.isascii()
        and len(value) < 9
        and 0 < int(value) - DISC_LABEL_BASE <= len(LEVELS)
    ):
        return int(value)
    return _refuse(path, place, f"level {value[:40]!r}, not one such as L4/L5 or 202")


# Both -------------------------------------------------------------------------------------------------------


def _graded(found: pd.DataFrame, table: pd.DataFrame, names: Mapping[str, str], path: Path) -> pd.DataFrame:
    """Add the gradings of a table to its discs; ``names`` gives new names for the table's columns."""
    for new, old in names.items():
        if old in table:
            found[new] = _numbers(table, old, path, lambda value: 0 <= value <= 9, "a whole number, 0 to 9")
    twice = found.duplicated(["patient", "study", "label"])
    if twice.any():
        first = found[twice].iloc[0]
        disc = f"disc {first['label']} of patient {first['patient']} a second time"
        _refuse(path, found.index[twice][0], disc)
    return found.reset_index(drop=True)


def _numbers(
    table: pd.DataFrame, column: str, path: Path, valid: Callable[[float], bool], expected: str
) -> pd.Series[float]:
    """Read whole numbers; empty cells become NaN."""
    values = pd.to_numeric(table[column], errors="coerce")
    for place, (text, value) in enumerate(zip(table[column], values, strict=True)):
        if str(text).strip() and not (value % 1 == 0 and valid(value)):
            _refuse(path, table.index[place], f"{column} {str(text)[:40]!r}, not {expected}")
    return values


def _refuse_empty(table: pd.DataFrame, columns: Sequence[str], path: Path) -> None:
    """Refuse a row that does not say what no row can do without."""
    for column in columns:
        empty = table[column].str.strip() == ""
        if empty.any():
            _refuse(path, table.index[empty][0], f"no {column}")


def _read_csv(path: Path, needed: Sequence[str]) -> pd.DataFrame:
    """Read a table as text, without losing the number of its rows."""
    table = read_text_table(path, expected=f"a CSV table with the columns {', '.join(needed)}")
    table = table[(table != "").any(axis=1)]
    lacking = [name for name in needed if name not in table]
    if lacking or table.empty:
        raise InputError(
            f"'{path}' lacks {', '.join(lacking) if lacking else 'rows'}",
            expected=f"the columns {', '.join(needed)}, and a row for each disc or scan",
            action="correct the table",
        )
    return table


def _refuse(path: Path, place: object, what: str) -> int:
    """Refuse a row; ``place`` counts from the first row below the header."""
    raise InputError(
        f"row {int(str(place)) + 2} of '{path}' has {what}",
        expected="one row for each disc, as docs/training.md describes",
        action="correct that row",
    )


def _span(labels: Sequence[float]) -> str:
    return f"{int(min(labels))} to {int(max(labels))}" if labels else "none"
