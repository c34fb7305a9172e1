"""Results laid out as a BIDS derivative: label maps and tables under the names that the standard gives them.

After BIDS 1.10, "Derivatives: imaging"; the suffix ``morph`` is that of the proposal BEP 011.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from discometry.core.anatomy import LEVELS, label_of_level
from discometry.io.atomic import new_folder

__all__ = ["bids_stem", "write_bids"]

_BIDS_VERSION = "1.10.0"
_ENTITY = re.compile(r"^[a-zA-Z]+-[a-zA-Z0-9]+$")
_DESCRIPTION = "dataset_description.json"


def write_bids(
    out: Path, studies: Iterable[str], columns: Sequence[dict[str, str]], *, name: str = "bids"
) -> Path:
    """Lay out the results of a cohort in ``out/<name>/``, which is made anew.

    Label maps are hard links where the file system has them, so they take no room twice.

    Parameters
    ----------
    out
        Folder of result folders.
    studies
        Names of the finished ones.
    columns
        ``name``, ``unit`` and ``meaning`` of the columns of the tables.
    name
        Of the folder.

    Raises
    ------
    OutputError
        If the folder holds something else, or cannot be written.
    """
    target = out / name
    with new_folder(target, ours=lambda path: (path / _DESCRIPTION).is_file()) as fresh:
        _write_json(fresh / _DESCRIPTION, _description())
        told = {
            column["name"]: {"Description": column["meaning"], "Units": column["unit"] or "n/a"}
            for column in columns
        }
        _write_json(fresh / "desc-discs_morph.json", told)
        with (fresh / "desc-discs_dseg.tsv").open("w", encoding="utf-8", newline="") as stream:
            names = csv.writer(stream, delimiter="\t", lineterminator="\n")
            names.writerow(("index", "name"))
            names.writerows(sorted((label_of_level(level), level) for level in LEVELS))
        for study in studies:
            _write_study(out / study, fresh)
    return target


def bids_stem(study: str) -> tuple[Path, str]:
    """Give the folder and the beginning of the file names of a study.

    One named after a BIDS file keeps its subject, session and further entities; any other becomes a subject.

    Examples
    --------
    >>> bids_stem("sub-01_ses-a_acq-sag_T2w")
    (PosixPath('sub-01/ses-a/anat'), 'sub-01_ses-a_acq-sag_rec-T2w')
    >>> bids_stem("11_t2")[1]
    'sub-11t2x9851'
    """
    parts = study.split("_")
    entities = [part for part in parts if _ENTITY.match(part)]
    if not study.startswith("sub-") or len(parts) - len(entities) > 1 or not entities:
        label = re.sub(r"[^a-zA-Z0-9]", "", study)
        if label != study:
            # Names that differ in other characters alone must stay two subjects.
            label += f"x{hashlib.sha256(study.encode()).hexdigest()[:4]}"
        return Path(f"sub-{label}/anat"), f"sub-{label}"
    contrast = [f"rec-{part}" for part in parts if part not in entities]
    folders = [part for part in entities if part.startswith(("sub-", "ses-"))]
    return Path(*folders, "anat"), "_".join([*entities, *contrast])


def _write_study(result: Path, fresh: Path) -> None:
    place, stem = bids_stem(result.name)
    (fresh / place).mkdir(parents=True, exist_ok=True)
    labels = fresh / place / f"{stem}_space-orig_desc-discs_dseg.nii.gz"
    try:
        os.link(result / "discs.nii.gz", labels)
    except OSError:
        shutil.copyfile(result / "discs.nii.gz", labels)
    with (
        (result / "discs.csv").open(encoding="utf-8", newline="") as table,
        (fresh / place / f"{stem}_desc-discs_morph.tsv").open("w", encoding="utf-8", newline="") as stream,
    ):
        lines = csv.writer(stream, delimiter="\t", lineterminator="\n")
        lines.writerows([cell or "n/a" for cell in row] for row in csv.reader(table))


def _description() -> dict[str, object]:
    return {
        "Name": "Discs of the lumbar spine, by discometry",
        "BIDSVersion": _BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {
                "Name": "discometry",
                "Version": version("discometry"),
                "Description": "Labels and measures of the intervertebral discs. Not a medical device.",
            }
        ],
    }


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
