"""What to analyse: a study's files on the disk, how to read them, and a hash that knows them again."""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from discometry.core.errors import DiscometryError
from discometry.io.headers import data_file
from discometry.io.images import study_name

__all__ = ["StudyInput", "content_hash"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyInput:
    """What to analyse, and how to read it."""

    source: Path
    """MRI as MHA, NIfTI or NRRD file or DICOM folder; with ``mask``, a segmentation."""
    mask: bool = False
    """Whether ``source`` is a segmentation in a known label convention."""
    image: Path | None = None
    """The MRI on the grid of a mask, for the report's pictures."""
    convention: str | None = None
    """Label convention of a mask; None recognises it from the labels."""
    series: str | None = None
    """Which series of a DICOM folder: its UID or how that begins, its number, or its description."""
    name: str | None = None
    """Name of the study and its folder; None names it after ``source``."""

    @property
    def study(self) -> str:
        """Name of the study."""
        return self.name or study_name(self.source)

    def fingerprint(self) -> tuple[str, dict[str, Any]]:
        """Hash what is on the disk now, and give the options that go with it, as a manifest holds both."""
        options = {"mask": self.mask, "convention": self.convention, "series": _veiled(self.series)}
        return content_hash(self.source), options | _named(self.image)


def content_hash(path: Path) -> str:
    """Hash an input (SHA-256): the bytes of a file, or names and bytes of several.

    Several are the files of a folder, and an ``.mhd`` or ``.nhdr`` header with its data file.
    """
    path = Path(path)
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    if not path.is_dir():
        with contextlib.suppress(
            ValueError, KeyError, DiscometryError
        ):  # a header too broken to name its data
            files.append(data_file(path))
        files = list(dict.fromkeys(files))
    digest = hashlib.sha256()
    for file in files:
        if len(files) > 1:
            name = file.relative_to(path) if path.is_dir() else Path(file.name)
            digest.update(os.fsencode(name.as_posix()) + b"\0" + str(file.stat().st_size).encode() + b"\0")
        with file.open("rb") as stream:
            while part := stream.read(1 << 20):
                digest.update(part)
    return digest.hexdigest()


def _named(image: str | Path | None) -> dict[str, Any]:
    """Say which MRI lay beside a mask."""
    return {} if image is None else {"image": Path(image).name, "image_sha256": content_hash(Path(image))}


def _veiled(series: str | None) -> str | None:
    """Write a number of a series as it is, and anything else as a hash: it may tell who was scanned."""
    if series is None or (series.isdecimal() and len(series) <= 6):
        return series
    return f"sha256:{hashlib.sha256(series.encode()).hexdigest()[:16]}"
