"""The studies of a cohort: found in a folder of any layout, in a BIDS dataset, or listed in a table."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from discometry.core.errors import DiscometryError, InputError
from discometry.io.dicom import is_dicom
from discometry.io.headers import SUFFIXES, has_suffix
from discometry.io.images import study_name
from discometry.io.tables import exists, read_parquet, read_text_table

__all__ = ["RESERVED_NAMES", "FoundStudies", "Refused", "StudySource", "find_studies"]

RESERVED_NAMES = frozenset({"assets", "bids", "cohort", "columns", "failures", "index"})
"""Names in an output folder that no study may take, with or without an ending."""

LONGEST_NAME = 100
"""Bytes of a study's name; file systems allow 255 for the name and what is put around it."""

_TABLES = (".csv", ".tsv", ".parquet")
_COLUMNS = ("study", "image", "mask")
_MASK_STEM = re.compile(r"(?i)^(?P<of>.+?)[-_. ](?:masks?|seg|segmentation|labels?|labelmap|dseg)$")
_MASK_FOLDER = re.compile(r"(?i)^(?:masks?|labels?(?:tr|ts)?|seg|segs|segmentations?)$")
_IMAGE_FOLDER = re.compile(r"(?i)^(?:images?(?:tr|ts)?|scans?|mri)$")
_UNSAFE = re.compile(r"[^\w.+ -]+")


@dataclass(frozen=True, slots=True)
class StudySource:
    """One study to analyse: a name that can be a folder's, and its files.

    With a mask, the mask is analysed and the image is for the report's pictures.
    """

    study: str
    image: Path | None
    mask: Path | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """What was listed but cannot be a study, and why."""

    study: str
    error: DiscometryError


@dataclass(frozen=True, slots=True)
class FoundStudies:
    """The studies of a cohort by name, and what had to be refused."""

    studies: tuple[StudySource, ...]
    refused: tuple[Refused, ...] = ()


def find_studies(source: Path, *, masks: bool = False, leave_out: Path | None = None) -> FoundStudies:
    """Find the studies of a cohort.

    Parameters
    ----------
    source
        A folder of any layout, a BIDS dataset (``sub-*/anat/*_T1w`` and ``*_T2w``), or a CSV, TSV or Parquet
        table with the columns ``study``, ``image`` and ``mask``, paths counting from the table's folder.
    masks
        Whether files that lie beside no mask are masks themselves.
    leave_out
        A folder within ``source`` that holds results, not scans.

    Returns
    -------
    FoundStudies
        In the order of their names, which are unique even where capitals do not count.

    Raises
    ------
    InputError
        If ``source`` is missing, of another kind, lacks the columns, or holds nothing at all.
    """
    source = Path(source)
    if source.is_dir():
        found = _in_bids(source) if _is_bids(source) else _in_folder(source, leave_out)
    elif source.is_file() and source.suffix.lower() in _TABLES:
        found = _in_table(source)
    else:
        raise InputError(
            f"'{source}' {'is neither' if source.exists() else 'does not exist'}",
            expected=f"a folder of scans, a BIDS dataset, or a table ({', '.join(_TABLES)})",
            action="check the path; a single scan is analysed with `discometry analyse`",
        )
    if not found.studies and not found.refused:
        raise InputError(
            f"'{source}' holds no study",
            expected=f"images ({', '.join(SUFFIXES)}), DICOM folders, or rows that name them",
            action="check the path",
        )
    studies = [_as_mask(study) for study in found.studies] if masks else found.studies
    return FoundStudies(tuple(sorted(studies, key=lambda item: item.study)), found.refused)


def _as_mask(source: StudySource) -> StudySource:
    return source if source.mask else StudySource(source.study, None, source.image)


# -- folders ---------------------------------------------------------------------------------------------


def _in_folder(root: Path, leave_out: Path | None) -> FoundStudies:
    """Pair every image below a folder with the mask beside it, or in a folder of masks beside its own."""
    images: dict[str, list[Path]] = defaultdict(list)
    masks: dict[str, list[Path]] = defaultdict(list)
    for path in _volumes(root, leave_out):
        key, is_mask = _pair_key(path.relative_to(root))
        (masks if is_mask else images)[key].append(path)
    pairs: list[tuple[str, Path | None, Path | None]] = []
    refused = []
    for key in sorted({*images, *masks}):
        ours, theirs = images[key], masks[key]
        if len(theirs) > 1 or (theirs and len(ours) > 1):
            refused.append(Refused(_safe(key), _ambiguous(ours, theirs)))
        else:
            mask = theirs[0] if theirs else None
            pairs += [(key, image, mask) for image in ours] or [(key, None, mask)]
    return FoundStudies(tuple(_named(pairs, root)), tuple(refused))


def _volumes(root: Path, leave_out: Path | None) -> Iterator[Path]:
    """Walk over image files and DICOM folders, past hidden ones, results, and folders already seen."""
    shut = {os.path.realpath(leave_out)} if leave_out is not None else set()
    for place, folders, files in os.walk(root, followlinks=True):
        here = Path(place)
        real = os.path.realpath(place)
        if real in shut or _is_result(here, files):
            folders.clear()
            continue
        shut.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        shown = sorted(name for name in files if not name.startswith("."))
        yield from (here / name for name in shown if has_suffix(Path(name)))
        slices = [name for name in shown if Path(name).suffix.lower() in ("", ".dcm", ".ima")]
        if slices and _is_slice(here / slices[0]):
            yield here


def _is_result(folder: Path, files: Iterable[str]) -> bool:
    """Tell whether a folder is a result of discometry, whose label maps are no input."""
    if "study.json" not in files or not (folder / "study.json").is_file():
        return False
    try:
        content = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("format") == "discometry-study"


def _is_slice(path: Path) -> bool:
    try:
        return is_dicom(path)
    except OSError:
        return False


def _pair_key(path: Path) -> tuple[str, bool]:
    """Give what an image and its mask share of their paths, and whether this is the mask."""
    folders = path.parts[:-1]
    stem = study_name(Path(path.name)) if path.name else "study"
    named = _MASK_STEM.match(stem)
    is_mask = named is not None or any(_MASK_FOLDER.match(part) for part in folders)
    kept = [part for part in folders if not (_MASK_FOLDER.match(part) or _IMAGE_FOLDER.match(part))]
    return "/".join([*kept, named["of"] if named else stem]), is_mask


def _ambiguous(images: list[Path], masks: list[Path]) -> InputError:
    names = ", ".join(f"'{path.name}'" for path in (*images, *masks))
    return InputError(
        f"{names} could all be of one study",
        expected="one image and at most one mask of a name",
        action="list the studies in a CSV with the columns study, image, mask",
    )


def _named(pairs: Iterable[tuple[str, Path | None, Path | None]], root: Path) -> list[StudySource]:
    """Name studies after their paths; a short hash of the path tells those apart that would share a name."""
    known = [(_safe(key), image, mask) for key, image, mask in pairs]
    taken = Counter(name.casefold() for name, _, _ in known)
    named = []
    for name, image, mask in known:
        if taken[name.casefold()] > 1 or not _is_name(name):
            place = (image or mask or root).relative_to(root).as_posix()
            short = name.encode()[: LONGEST_NAME - 9].decode(errors="ignore")
            name = f"{short}-{hashlib.sha256(os.fsencode(place)).hexdigest()[:8]}"
        named.append(StudySource(name, image, mask))
    return named


def _safe(key: str) -> str:
    """Turn a path into a name that is one on any file system, hidden on none, no formula and no option."""
    return _UNSAFE.sub("_", key.replace("/", "_")).strip(" .").lstrip("+- .") or "study"


def _is_reserved(name: str) -> bool:
    return name.casefold().split(".")[0] in RESERVED_NAMES


# -- BIDS ------------------------------------------------------------------------------------------------


def _is_bids(root: Path) -> bool:
    return any(root.glob("sub-*/anat")) or any(root.glob("sub-*/ses-*/anat"))


def _in_bids(root: Path) -> FoundStudies:
    """List the T1w and T2w images of a dataset, each with its one ``_dseg`` beside it or in derivatives."""
    places = ("sub-*/anat/*_T[12]w.nii*", "sub-*/ses-*/anat/*_T[12]w.nii*")
    images = sorted(path for place in places for path in root.glob(place) if has_suffix(path))
    masks: dict[str, list[Path]] = defaultdict(list)
    for place in ("sub-*/**/*_dseg.nii*", "derivatives/**/sub-*/**/*_dseg.nii*"):
        for path in sorted(root.glob(place)):
            masks[_bids_session(path)].append(path)
    studies, refused = [], []
    for image in images:
        stem = study_name(image)
        ours = [mask for mask in masks[_bids_session(image)] if _is_mask_of(mask, image)]
        if len(ours) > 1:
            refused.append(Refused(stem, _ambiguous([image], ours)))
        else:
            studies.append((stem, image, ours[0] if ours else None))
    return FoundStudies(tuple(_named(studies, root)), tuple(refused))


def _bids_session(path: Path) -> str:
    """Subject and session of a file, as its name gives them."""
    return "_".join(part for part in path.name.split("_") if part.startswith(("sub-", "ses-")))


def _is_mask_of(mask: Path, image: Path) -> bool:
    """Tell whether a mask has every entity of an image, and names no other contrast."""
    theirs = study_name(mask).split("_")
    *entities, contrast = study_name(image).split("_")
    others = {"T1w", "T2w"} - {contrast}
    return set(entities) <= set(theirs) and not others & {*theirs, *(p.rpartition("-")[2] for p in theirs)}


# -- tables ----------------------------------------------------------------------------------------------


def _in_table(table: Path) -> FoundStudies:
    """Read a table; a study may have several rows, one a disc, if they name the same files."""
    rows = _rows(table)
    studies: dict[str, StudySource] = {}
    refused: list[Refused] = []
    for number, row in rows:
        try:
            source = _of_row(row, table, number)
            known = studies.setdefault(source.study.casefold(), source)
            if known != source:
                raise _wrong_row(
                    table,
                    number,
                    f"gives study '{source.study}' other files or another spelling",
                    "a row above",
                )
        except InputError as error:
            name = (row.get("study") or "").strip()
            refused.append(Refused(name if _is_name(name) else f"row {number}", error))
    bad = {item.study.casefold() for item in refused}
    return FoundStudies(tuple(item for key, item in studies.items() if key not in bad), tuple(refused))


def _rows(table: Path) -> list[tuple[int, dict[str, str]]]:
    """Read the three columns as text with the number of each row in the file, alike rows once."""
    if table.suffix.lower() == ".parquet":
        columns, content = read_parquet(table, _COLUMNS, expected="a Parquet file with columns of text")
    else:
        content = read_text_table(table, separator=None, expected="a CSV or TSV file with a header")
        columns = list(content.columns)
    wanted = [name for name in _COLUMNS if name in content.columns]
    if not {"image", "mask"} & set(wanted):
        raise InputError(
            f"the table '{table}' has the columns {', '.join(columns) or 'none'}",
            expected="a column image, or mask, or both; and study, to name them",
            action="rename its columns",
        )
    kept = content[wanted].map(_text).drop_duplicates()
    rows = zip(kept.index.tolist(), kept.to_dict("records"), strict=True)
    texts = ((int(number) + 2, {str(name): str(text) for name, text in row.items()}) for number, row in rows)
    return [(number, row) for number, row in texts if any(row.values())]


def _text(value: Any) -> str:
    """Write a cell as text; a missing one is empty, a whole number in a column of floats has no ``.0``."""
    if isinstance(value, float):
        return "" if value != value else str(int(value)) if value.is_integer() else str(value)
    return "" if value is None else str(value).strip()


def _of_row(row: dict[str, str], table: Path, number: int) -> StudySource:
    paths = {kind: table.parent / row[kind] for kind in ("image", "mask") if row.get(kind)}
    if not paths:
        raise _wrong_row(table, number, "names neither image nor mask", "the path of a file")
    for kind, path in paths.items():
        if not exists(path):
            raise _wrong_row(
                table, number, f"names the {kind} '{path}', which does not exist", "a path that exists"
            )
    name = row.get("study") or _safe(study_name(paths.get("image") or paths["mask"]))
    if not _is_name(name):
        raise _wrong_row(
            table,
            number,
            f"names the study '{name[:120]}'",
            f"at most {LONGEST_NAME} letters, digits, spaces and _-+. and no name that results have",
        )
    return StudySource(name, paths.get("image"), paths.get("mask"))


def _is_name(name: str) -> bool:
    return len(name.encode()) <= LONGEST_NAME and _safe(name) == name and not _is_reserved(name)


def _wrong_row(table: Path, number: int, found: str, expected: str) -> InputError:
    return InputError(
        f"row {number} of '{table}' {found}", expected=expected, action="correct that row and run again"
    )
