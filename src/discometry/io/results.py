"""Result folders: one study's manifest, table of discs, labels, image and meshes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unicodedata import bidirectional, category

import numpy as np

from discometry.core.anatomy import label_of_level
from discometry.core.beside import beside
from discometry.core.errors import InputError, OutputError
from discometry.core.records import Lordosis, StudyResult
from discometry.core.volume import Volume
from discometry.io.atomic import check_folder, new_folder
from discometry.io.disc_table import DiscTable, discs_table, parse_table
from discometry.io.images import read_image, read_mask, write_volume
from discometry.io.meshes import Mesh, disc_surface, read_ply, write_ply

__all__ = [
    "FORMAT_VERSION",
    "Manifest",
    "StudyFiles",
    "check_output",
    "is_whole",
    "read_discs",
    "read_manifest",
    "read_study",
    "write_study",
]

FORMAT = "discometry-study"
FORMAT_VERSION = 2
"""Version of the layout of a result folder that this release writes; it reads every older one too.

2 (a cohort's folders may have ``thumbnail.webp``, and lack ``image.nii.gz`` and ``meshes``), 1 (first)."""

_MANIFEST, _TABLE, _LABELS, _IMAGE, _MESHES = (
    "study.json",
    "discs.csv",
    "discs.nii.gz",
    "image.nii.gz",
    "meshes",
)
_REPORT, _THUMBNAIL = "report.html", "thumbnail.webp"
_OURS = frozenset(
    {_MANIFEST, _TABLE, _LABELS, _IMAGE, _MESHES, _REPORT, _THUMBNAIL, ".DS_Store", "Thumbs.db"}
)
_LARGEST_TEXT = 2**24
_LONGEST_NAME = 200
_TURNING = frozenset(("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"))
"""Characters that let a name read other than it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """How a result came about: enough to make it again."""

    study: str
    """Name of the study and of its folder."""
    input: str
    """Name of the input file or folder, without its path."""
    input_sha256: str
    """Hash of the input, see :func:`~discometry.io.study_input.content_hash`."""
    bundle: str | None
    """Name of the model bundle."""
    bundle_sha256: str | None
    """Hash of the model bundle."""
    versions: Mapping[str, str]
    """Versions of Python, discometry and the libraries that shape the numbers."""
    options: Mapping[str, Any]
    """The options of the run, as JSON values."""
    device: str
    """Where the networks ran."""
    timings_s: Mapping[str, float]
    """Seconds of each stage."""
    lordosis: Mapping[str, Any] | None = None
    """See :class:`~discometry.core.records.Lordosis`."""
    flags: tuple[str, ...] = ()
    """Flags of the whole study."""
    identifiers: Mapping[str, str] | None = None
    """Who was scanned, by DICOM's keywords; only where it was asked for."""
    format_version: int = FORMAT_VERSION
    """Layout of the folder."""


@dataclass(frozen=True, slots=True, eq=False)
class StudyFiles:
    """A finished result folder, read.

    ``discs`` has one row a disc, columns as in ``discs.csv``, NaN where a measure is missing; ``labels`` and
    ``image`` (uint8, absent for a bare mask) lie on the input grid; ``meshes`` goes by disc label.
    """

    folder: Path
    manifest: Manifest
    discs: DiscTable
    labels: Volume
    image: Volume | None
    meshes: Mapping[int, Mesh]


def check_output(out: Path, study: str) -> Path:
    """Refuse, before any work, a place where :func:`write_study` could not put the study; nothing is written.

    Returns
    -------
    Path
        The folder that the study will have.

    Raises
    ------
    OutputError
        If the name cannot be a folder's, a file or foreign folder is in the way, or writing is not allowed.
    """
    if not study.strip(".") or not _is_safe(study):
        raise OutputError(
            f"the study name '{study[:_LONGEST_NAME]}'",
            expected=f"at most {_LONGEST_NAME} bytes that can name a folder, no formula and no option",
            action="rename the input",
        )
    folder = Path(out) / study
    if folder.is_symlink():
        raise OutputError(
            f"'{folder}' is a link to another place",
            expected="a folder within the output folder, or a free name",
            action="choose another output folder, or take the link away",
        )
    check_folder(folder, ours=lambda path: _is_ours(path, study))
    return folder


def _is_safe(name: str) -> bool:
    """Tell whether a name stays in its folder, is one line, and is neither a formula nor an option."""
    signs = set(name) & set('/\\:*?"<>|')
    unseen = any(category(c) in ("Cc", "Cs", "Zl", "Zp") or bidirectional(c) in _TURNING for c in name)
    return not signs and not unseen and name[0] not in "=+@-" and len(name.encode()) <= _LONGEST_NAME


def write_study(
    result: StudyResult, out: Path, manifest: Manifest, *, finish: Callable[[Path], object] | None = None
) -> Path:
    """Write a study to ``out/<study>/``, whole or not at all.

    An older result of the same study is replaced, unless strange files lie in it.

    Parameters
    ----------
    result
        The analysed study.
    out
        Folder of result folders, made if absent.
    manifest
        Of the same study; the flags of ``result`` are added to its own.
    finish
        Called with the complete folder while it still has a hidden name, to add to it, such as a report.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OutputError
        As :func:`check_output`, or if writing fails.
    ValueError
        If manifest and result name different studies.
    """
    if manifest.study != result.study:
        raise ValueError(f"a manifest of {manifest.study!r} for the study {result.study!r}")
    folder = check_output(out, result.study)
    flags = tuple(dict.fromkeys((*result.flags, *manifest.flags)))
    fresh_folder = new_folder(folder, ours=lambda path: _is_ours(path, result.study))
    with fresh_folder as fresh, beside(partial(_write_volumes, result, fresh)) as volumes_written:
        curve = None if result.lordosis is None else asdict(result.lordosis)
        _write_manifest(replace(manifest, flags=flags, lordosis=curve), fresh / _MANIFEST)
        (fresh / _TABLE).write_text(discs_table(result).to_csv(), encoding="utf-8", newline="\n")
        (fresh / _MESHES).mkdir()
        for disc in (found.disc for found in result.discs):
            write_ply(disc_surface(disc.mask), fresh / _MESHES / _mesh_name(disc.level))
        volumes_written()
        if finish is not None:
            finish(fresh)
    return folder


def _write_volumes(result: StudyResult, folder: Path) -> None:
    """Write the discs' labels, and the image if there is one."""
    labels = result.spine.labels
    write_volume(labels.with_array(labels.array.astype(np.int16)), folder / _LABELS)
    if result.image is not None:
        write_volume(_picture(result.image), folder / _IMAGE)


def read_study(folder: Path) -> StudyFiles:
    """Read a result folder of this format version or an older one.

    Raises
    ------
    InputError
        If the folder is not a whole result, or of a newer version.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    image = folder / _IMAGE
    labels = read_mask(folder / _LABELS)
    return StudyFiles(
        folder=folder,
        manifest=manifest,
        discs=read_discs(folder),
        labels=labels,
        image=read_image(image) if image.exists() else None,
        meshes=MappingProxyType(dict(sorted(_meshes(folder, labels).items()))),
    )


def _meshes(folder: Path, labels: Volume) -> dict[int, Mesh]:
    """Read the meshes of a folder; one that left them out has them made again from its labels."""
    if (folder / _MESHES).is_dir():
        files = sorted((folder / _MESHES).glob("*.ply"))
        return {label_of_level(file.stem.replace("_", "/")): read_ply(file) for file in files}
    found = np.unique(labels.array[labels.array > 0])
    return {int(label): disc_surface(labels.with_array(labels.array == label)) for label in found}


def _mesh_name(level: str) -> str:
    return f"{level.replace('/', '_')}.ply"


def _is_ours(folder: Path, study: str) -> bool:
    """Tell whether a folder is an older result of the study, with nothing else in it."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        names = {file.name for file in folder.iterdir()}
        meshes = folder / _MESHES
        strange = [file for file in meshes.iterdir() if file.suffix != ".ply"] if meshes.is_dir() else []
    except (OSError, ValueError, RecursionError):
        return False
    same = isinstance(manifest, dict) and (manifest.get("format"), manifest.get("study")) == (FORMAT, study)
    return same and names <= _OURS and not strange


def _picture(image: Volume) -> Volume:
    """Scale an image to uint8 for looking at: its 0.5th percentile becomes 0, its 99.5th 255."""
    array = image.array.astype(np.float32)
    low, high = np.percentile(array.ravel(order="K"), (0.5, 99.5))
    array -= low
    array *= 255.0 / max(float(high - low), 1e-12)
    return image.with_array(np.rint(array, out=array).clip(0, 255, out=array).astype(np.uint8))


def _write_manifest(manifest: Manifest, path: Path) -> None:
    content = {"format": FORMAT} | {item.name: getattr(manifest, item.name) for item in fields(manifest)}
    plain = {key: dict(value) if isinstance(value, Mapping) else value for key, value in content.items()}
    path.write_text(json.dumps(plain, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> Manifest:
    """Read how a result came about; entries that older versions lack have their defaults.

    Raises
    ------
    InputError
        If the folder is not a result, or one of a newer format version.
    """
    version: object = None
    try:
        content = json.loads(_bytes_of(folder / _MANIFEST))
        if content.pop("format") != FORMAT:
            raise ValueError("another format")
        version = content["format_version"]
        known = isinstance(version, int) and 1 <= version <= FORMAT_VERSION
        manifest = Manifest(**content | {"flags": tuple(content.get("flags", ()))}) if known else None
        if manifest is not None:
            _check_manifest(manifest)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"'{folder}' is not a result folder",
            expected=f"a folder with a {_MANIFEST} that discometry wrote",
            action="give the folder of one study, such as OUT/<study>",
        ) from error
    if manifest is None:
        raise InputError(
            f"result folder '{folder}' has format version {version}",
            expected=f"version {FORMAT_VERSION} or older",
            action="use the discometry release that wrote it, or analyse the study again with this one",
        )
    return manifest


def _check_manifest(manifest: Manifest) -> None:
    """Refuse entries of other kinds than were written."""
    texts = (manifest.study, manifest.input, manifest.input_sha256, manifest.device, *manifest.flags)
    models = (manifest.bundle, manifest.bundle_sha256)
    maps = (manifest.versions, manifest.options, manifest.timings_s)
    curve = manifest.lordosis
    if not (
        all(isinstance(text, str) for text in texts)
        and all(text is None or isinstance(text, str) for text in models)
        and all(isinstance(entries, dict) for entries in maps)
        and (manifest.identifiers is None or isinstance(manifest.identifiers, dict))
        and (curve is None or set(curve) == {item.name for item in fields(Lordosis)})
    ):
        raise ValueError("entries of another kind")


def _bytes_of(path: Path) -> bytes:
    if not path.is_file() or path.stat().st_size > _LARGEST_TEXT:
        raise OSError(f"no file of at most {_LARGEST_TEXT:,} bytes")
    return path.read_bytes()


def is_whole(folder: Path) -> bool:
    """Tell whether a result folder has every file that each result has, and none of them is empty."""
    names = (_MANIFEST, _TABLE, _LABELS, _REPORT)
    try:
        return all((folder / name).stat().st_size > 0 for name in names)
    except OSError:
        return False


def read_discs(folder: Path) -> DiscTable:
    """Read the table of discs of a result folder: as in ``discs.csv``, NaN where a measure is missing.

    Raises
    ------
    InputError
        If it is missing or damaged.
    """
    path = Path(folder) / _TABLE
    try:
        return parse_table(_bytes_of(path).decode("utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"'{path}' cannot be read",
            expected="the table that discometry wrote",
            action="analyse the study again",
        ) from error
