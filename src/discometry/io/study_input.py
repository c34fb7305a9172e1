"""What to analyse: a study's files on the disk, how to read them, and a hash that knows them again."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from discometry.io.images import study_name
from discometry.io.results import content_hash

__all__ = ["StudyInput"]


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


def _named(image: str | Path | None) -> dict[str, Any]:
    """Say which MRI lay beside a mask."""
    return {} if image is None else {"image": Path(image).name, "image_sha256": content_hash(Path(image))}


def _veiled(series: str | None) -> str | None:
    """Write a number of a series as it is, and anything else as a hash: it may tell who was scanned."""
    if series is None or (series.isdecimal() and len(series) <= 6):
        return series
    return f"sha256:{sha256(series.encode()).hexdigest()[:16]}"
