"""A folder of DICOM slices as one volume."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from discometry.core.errors import GridError, InputError
from discometry.core.volume import Grid, Volume
from discometry.io.dicom_elements import MAGIC, Elements, Tag, read_elements
from discometry.io.headers import MAX_VOXELS, straightened
from discometry.io.itk import plain_name, quiet
from discometry.io.packed_slices import read_stack, unpack

__all__ = [
    "Series",
    "choose_series",
    "identifiers_of",
    "is_dicom",
    "list_series",
    "read_series",
    "read_slices",
]

_GAP_TOLERANCE = 0.1
"""How far a slice gap may be from the usual one, as a share of it, before slices count as missing."""

_TILT_TOLERANCE = 1e-3
"""Largest difference between direction cosines that counts as one direction."""

_DESCRIPTION, _NUMBER, _SERIES = (0x0008, 0x103E), (0x0020, 0x0011), (0x0020, 0x000E)
_POSITION, _ORIENTATION, _SPACING = (0x0020, 0x0032), (0x0020, 0x0037), (0x0028, 0x0030)
_FRAMES, _ROWS, _COLUMNS = (0x0028, 0x0008), (0x0028, 0x0010), (0x0028, 0x0011)
_SAMPLES, _COLOURS = (0x0028, 0x0002), (0x0028, 0x0004)
_ALLOCATED, _STORED, _HIGH, _SIGNED = ((0x0028, place) for place in range(0x0100, 0x0104))
_INTERCEPT, _SLOPE = (0x0028, 0x1052), (0x0028, 0x1053)

_IDENTIFIERS: dict[str, Tag] = {
    "PatientID": (0x0010, 0x0020),
    "PatientName": (0x0010, 0x0010),
    "PatientBirthDate": (0x0010, 0x0030),
    "StudyInstanceUID": (0x0020, 0x000D),
    "SeriesInstanceUID": _SERIES,
    "StudyDate": (0x0008, 0x0020),
}

_SYNTAXES = frozenset(
    "1.2.840.10008.1.2" + ending
    for ending in ("", ".1", ".4.50", ".4.51", ".4.57", ".4.70", ".4.80", ".4.81", ".4.90", ".4.91", ".5")
)
"""Uncompressed, little endian; JPEG, JPEG-LS, JPEG 2000, run lengths."""


@dataclass(frozen=True, slots=True)
class Series:
    """One image series of a DICOM folder: its UID, number, description and files (in any order).

    ``damaged`` are the files that are cut short or make no sense, and belong to it or do not say to what.
    """

    uid: str
    number: str
    description: str
    files: tuple[Path, ...]
    damaged: tuple[Path, ...] = ()

    def __str__(self) -> str:
        return f"'{self.description}' (number {self.number or '?'}, {len(self.files)} slices)"

    @property
    def anonymous(self) -> str:
        """The number, if it is one, and the count: neither tells who was scanned."""
        number = self.number if self.number.isdecimal() and len(self.number) <= 6 else "?"
        return f"number {number}, {len(self.files)} slices"


@dataclass(frozen=True, slots=True)
class _Slice:
    """Where one slice lies: ``axes`` has its row and column directions as rows, LPS."""

    file: Path
    size: tuple[int, ...]
    spacing_mm: tuple[float, float]
    position: NDArray[np.float64]
    axes: NDArray[np.float64]
    packed: bool


def is_dicom(path: Path) -> bool:
    """Tell whether a file is a DICOM object."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == MAGIC


def list_series(folder: Path) -> tuple[Series, ...]:
    """List the image series in a folder and the folders below it, by series number.

    What is no image (reports, presentation states) is left out.

    Raises
    ------
    InputError
        If a file cannot be opened, or no file is whole.
    """
    found: dict[str, list[tuple[Path, Elements]]] = {}
    damaged: dict[str, list[Path]] = {}
    for here, _, names in sorted(os.walk(folder)):
        for file in (Path(here, name) for name in sorted(names)):
            elements = _walked(file)
            if elements is None:
                continue
            uid = elements.text(_SERIES)[:64]
            if not elements.whole:
                damaged.setdefault(uid, []).append(file)
            elif elements.has_pixels and elements.number(_ROWS) and elements.number(_COLUMNS):
                found.setdefault(uid, []).append((file, elements))
    if damaged and not found:
        raise _unreadable(f"'{next(iter(damaged.values()))[0]}'")
    series = [
        Series(
            uid,
            members[0][1].text(_NUMBER)[:16],
            members[0][1].text(_DESCRIPTION)[:64],
            tuple(file for file, _ in members),
            tuple([*damaged.get(uid, ()), *damaged.get("", ())]),
        )
        for uid, members in found.items()
    ]
    return tuple(sorted(series, key=lambda one: (one.number.zfill(8), one.uid)))


def _walked(file: Path) -> Elements | None:
    try:
        return read_elements(file)
    except OSError as error:
        raise _unreadable(f"'{file}' ({error.strerror or error})") from error


def read_series(folder: Path, wanted: str | None = None) -> Volume:
    """Read one series of a DICOM folder: :func:`choose_series`, then :func:`read_slices`."""
    return read_slices(choose_series(folder, wanted))


def choose_series(folder: Path, wanted: str | None = None) -> Series:
    """Find a series in a DICOM folder.

    Parameters
    ----------
    folder
        Searched with all folders below it.
    wanted
        The series' UID or a beginning of it, its number, or its description; needed where there are several.

    Raises
    ------
    InputError
        If there is no image series, the choice is not clear, or a file of the series is damaged.
    """
    series = _chosen(list_series(folder), wanted, folder)
    if series.damaged:
        file = f"'{series.damaged[0]}' in series"
        raise _unreadable(f"{file} {series}", f"{file} {series.anonymous}")
    return series


def read_slices(series: Series) -> Volume:
    """Read a series, its slices sorted by position.

    Returns
    -------
    Volume
        float32, rescaled as the files say; the third array axis runs along the slice normal.

    Raises
    ------
    InputError
        If slices are missing, double, unreadable or not parallel, or the files hold several frames each.
    GridError
        If the voxel size makes no sense.
    """
    slices = sorted((_slice(file) for file in series.files), key=lambda one: one.file)
    stack, grid = _stacked(series, slices)
    files = [plain_name(one.file) for one in stack]
    read = unpack if any(one.packed for one in stack) else read_stack
    try:
        with quiet():
            array = read(files)
    except (RuntimeError, MemoryError) as error:
        raise _unreadable(str(series), f"series {series.anonymous}") from error
    return Volume(grid, array.transpose())


def identifiers_of(series: Series) -> dict[str, str]:
    """Give who and what was scanned, by the standard's keywords, as the series' first file has it."""
    elements = _walked(series.files[0])
    found = {} if elements is None else {key: elements.text(tag) for key, tag in _IDENTIFIERS.items()}
    return {key: text for key, text in found.items() if text}


def _chosen(series: tuple[Series, ...], wanted: str | None, folder: Path) -> Series:
    if not series:
        raise InputError(
            f"no DICOM image series in '{folder}'",
            expected="a folder with the slices of one series",
            action="give the folder that holds the DICOM files, or a MetaImage, NIfTI or NRRD file",
        )
    if wanted is None:
        matches = list(series)
    else:
        key = wanted.strip().lower()
        tests = (
            [one for one in series if one.uid == key],
            [one for one in series if one.number == key],
            [one for one in series if one.description.lower() == key],
            [one for one in series if one.uid.startswith(key) or key in one.description.lower()],
        )
        matches = next((test for test in tests if test), [])
    if len(matches) == 1:
        return matches[0]
    listed = matches or list(series)
    told_apart = len({one.number for one in listed}) == len(listed)  # without a UID, which identifies
    names = "; ".join(str(one) if told_apart else f"{one} of UID {one.uid}" for one in listed)
    if wanted is None:
        found = anonymous = f"{len(matches)} image series"
    elif matches:
        found, anonymous = (f"{len(matches)} image series match {key}" for key in (f"'{wanted}'", "--series"))
    else:
        found, anonymous = f"no series '{wanted}'", "not the series of --series"
    raise InputError(
        f"{found} in '{folder}': {names}",
        expected="one series",
        action="pass --series with a number or description from this list, or how a UID begins",
        anonymous=f"{anonymous} in '{folder}': {'; '.join(one.anonymous for one in listed)}",
    )


def _slice(file: Path) -> _Slice:
    elements = _walked(file)
    if elements is None or not elements.whole:
        raise _unreadable(f"'{file}'")
    frames = elements.text(_FRAMES) or "1"
    if frames != "1":
        raise InputError(
            f"'{file}' holds {frames[:16]} frames (enhanced DICOM)",
            expected="one slice a file",
            action="convert it to NIfTI, for example with dcm2niix, and give that file",
        )
    rows, columns = _check_picture(file, elements)
    position, axes, spacing = (_numbers(elements, tag) for tag in (_POSITION, _ORIENTATION, _SPACING))
    if position.size != 3 or axes.size != 6:
        raise InputError(
            f"'{file}' does not say where its slice lies",
            expected="Image Position (Patient) and Image Orientation (Patient)",
            action="export the series again, or choose another one with --series",
        )
    if spacing.size != 2 or spacing.min() <= 0:  # GDCM would make it one
        raise GridError(
            f"'{file}' has the pixel spacing '{elements.text(_SPACING)[:64]}'",
            expected="two sizes in mm, each above zero",
            action="export the series again",
        )
    between_rows, between_columns = spacing.tolist()
    return _Slice(
        file=file,
        size=(columns, rows),
        spacing_mm=(between_columns, between_rows),
        position=position,
        axes=axes.reshape(2, 3),
        packed=elements.pixel_bytes is None,
    )


def _check_picture(file: Path, elements: Elements) -> tuple[int, int]:
    """Give rows and columns of a slice of one grey value a pixel, and refuse every other kind."""
    rows, columns = elements.number(_ROWS) or 0, elements.number(_COLUMNS) or 0
    bits, stored = elements.number(_ALLOCATED), elements.number(_STORED)
    plain = (
        elements.syntax in _SYNTAXES
        and elements.number(_SAMPLES, 1) == 1
        and elements.text(_COLOURS) in ("MONOCHROME1", "MONOCHROME2")
        and bits in (8, 16, 32)
        and stored is not None
        and 1 <= stored <= bits
        and elements.number(_HIGH) == stored - 1
        and elements.number(_SIGNED) in (0, 1)
        and all(_numbers(elements, tag).size == 1 for tag in (_SLOPE, _INTERCEPT) if tag in elements.values)
    )
    if not plain or bits is None:
        raise InputError(
            f"'{file}' is no plain grey slice",
            expected="one grey value a pixel of 8, 16 or 32 bits, uncompressed or commonly compressed",
            action="choose another series with --series, or convert it to NIfTI",
        )
    if elements.pixel_bytes is not None and elements.pixel_bytes < rows * columns * bits // 8:
        raise _unreadable(f"'{file}'")
    return rows, columns


def _numbers(elements: Elements, tag: Tag) -> NDArray[np.float64]:
    """Values of a decimal element; none where it is missing, or one of them is no finite number."""
    try:
        values = [float(x) for x in elements.text(tag).split("\\")]
    except ValueError:
        return np.empty(0)
    return np.array(values if all(math.isfinite(value) for value in values) else [])


def _stacked(series: Series, slices: list[_Slice]) -> tuple[list[_Slice], Grid]:
    """Sort slices by position and give the grid they make."""
    first = slices[0]
    if len(slices) < 2:
        raise _not_a_stack(series, "has a single slice", "give a series of parallel slices")
    if any(np.abs(one.axes - first.axes).max() > _TILT_TOLERANCE for one in slices):
        raise _not_a_stack(
            series, "has slices that are not parallel", "choose a series that is not a localizer"
        )
    if any(one.size != first.size for one in slices):
        raise _not_a_stack(series, "has slices of different sizes", "export the series again")
    if first.size[0] * first.size[1] * len(slices) > MAX_VOXELS:
        raise _not_a_stack(series, f"has more than {MAX_VOXELS:,} voxels", "crop or resample it")
    direction = straightened(np.column_stack([*first.axes, np.cross(*first.axes)]), str(first.file))
    normal = direction[:, 2]
    stack = sorted(slices, key=lambda one: float(one.position @ normal))
    heights = np.array([float(one.position @ normal) for one in stack])
    step = _step_mm(series, heights)
    offset = stack[-1].position - stack[0].position - (heights[-1] - heights[0]) * normal
    if np.linalg.norm(offset) > max(first.spacing_mm):
        raise _not_a_stack(series, "has slices that are shifted sideways", "resample it to a straight grid")
    shape = (first.size[0], first.size[1], len(stack))
    spacing = (*first.spacing_mm, step)
    return stack, Grid.from_spacing(shape, spacing, origin_mm=stack[0].position.tolist(), direction=direction)


def _step_mm(series: Series, heights: NDArray[np.float64]) -> float:
    """Distance between slices, mm, from their sorted positions along the normal."""
    gaps = np.diff(heights)
    usual = float(np.median(gaps))
    if gaps.min() < 1e-3:
        raise _not_a_stack(
            series, "has several images at one position", "export one echo or time point, without doubles"
        )
    worst = int(np.argmax(np.abs(gaps - usual)))
    if abs(gaps[worst] - usual) > _GAP_TOLERANCE * usual:
        raise _not_a_stack(
            series,
            f"has a gap of {gaps[worst]:.2f} mm beside gaps of {usual:.2f} mm (missing slices?)",
            "export the series again with all its slices",
        )
    return float((heights[-1] - heights[0]) / len(gaps))


def _not_a_stack(series: Series, what: str, action: str) -> InputError:
    return InputError(
        f"series {series} {what}",
        expected="equally spaced parallel slices",
        action=action,
        anonymous=f"the series ({series.anonymous}) {what}",
    )


def _unreadable(what: str, anonymous: str | None = None) -> InputError:
    return InputError(
        f"DICOM data of {what} cannot be read",
        anonymous=f"DICOM data of {anonymous or what} cannot be read",
        expected="whole, uncompressed or commonly compressed slices",
        action="export the series again, or convert it to NIfTI",
    )
