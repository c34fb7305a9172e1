"""A folder of DICOM slices as one volume."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from discometry.core.errors import GridError, InputError
from discometry.core.volume import Grid, Volume
from discometry.io.headers import MAX_VOXELS, straightened
from discometry.io.itk import quiet

__all__ = ["Series", "is_dicom", "list_series", "read_series"]

_GAP_TOLERANCE = 0.1
"""How far a slice gap may be from the usual one, as a share of it, before slices count as missing."""

_TILT_TOLERANCE = 1e-3
"""Largest difference between direction cosines that counts as one direction."""

_DESCRIPTION, _NUMBER, _SERIES = "0008|103e", "0020|0011", "0020|000e"
_POSITION, _ORIENTATION, _SPACING = "0020|0032", "0020|0037", "0028|0030"


@dataclass(frozen=True, slots=True)
class Series:
    """One image series of a DICOM folder: its UID, number, description and files (in any order)."""

    uid: str
    number: str
    description: str
    files: tuple[Path, ...]

    def __str__(self) -> str:
        return f"'{self.description}' (number {self.number or '?'}, {len(self.files)} slices, UID {self.uid})"


@dataclass(frozen=True, slots=True)
class _Slice:
    """Where one slice lies: ``axes`` has its row and column directions as rows, LPS."""

    file: Path
    size: tuple[int, ...]
    spacing_mm: tuple[float, float]
    position: NDArray[np.float64]
    axes: NDArray[np.float64]


def is_dicom(path: Path) -> bool:
    """Tell whether a file is a DICOM object."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def list_series(folder: Path) -> tuple[Series, ...]:
    """List the image series in a folder and the folders below it, by series number.

    GDCM leaves out what is no image (reports, presentation states) and what it cannot read.

    Raises
    ------
    InputError
        If a listed file cannot be opened after all.
    """
    found: dict[str, list[Path]] = {}
    for here, _, names in sorted(os.walk(folder)):
        if not any(is_dicom(Path(here, name)) for name in names):
            continue
        with quiet():
            for uid in sitk.ImageSeriesReader.GetGDCMSeriesIDs(here):
                files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(here, uid)
                found.setdefault(uid, []).extend(Path(file) for file in files)
    series = []
    for uid, files in found.items():
        reader = _opened(files[0])
        series.append(Series(uid, _tag(reader, _NUMBER), _tag(reader, _DESCRIPTION), tuple(files)))
    return tuple(sorted(series, key=lambda one: (one.number.zfill(8), one.uid)))


def read_series(folder: Path, wanted: str | None = None) -> Volume:
    """Read one series of a DICOM folder, its slices sorted by position.

    Parameters
    ----------
    folder
        Searched with all folders below it.
    wanted
        The series' UID or a beginning of it, its number, or its description; needed where there are several.

    Returns
    -------
    Volume
        float32, rescaled as the files say; the third array axis runs along the slice normal.

    Raises
    ------
    InputError
        If there is no image series, the choice is not clear, slices are missing, double, unreadable or not
        parallel, or the files hold several frames each.
    GridError
        If the voxel size makes no sense.
    """
    listed = list_series(folder)
    series = _chosen(listed, wanted, folder)
    _check_whole(folder, series, {file for one in listed for file in one.files})
    slices = sorted((_slice(file) for file in series.files), key=lambda one: one.file)
    stack, grid = _stacked(series, slices)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(one.file) for one in stack])
    reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        with quiet():
            array = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise _unreadable(str(series)) from error
    return Volume(grid, array.transpose())


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
    names = "; ".join(str(one) for one in (matches or series))
    what = "image series" if wanted is None or not matches else f"image series match '{wanted}'"
    found = f"{len(matches)} {what} in '{folder}'" if matches else f"no series '{wanted}' in '{folder}'"
    raise InputError(
        f"{found}: {names}",
        expected="one series",
        action="pass --series with a UID (its beginning is enough), a number or a description from this list",
    )


def _check_whole(folder: Path, series: Series, readable: set[Path]) -> None:
    """Refuse a series that lacks files because they are damaged: GDCM passes over such files in silence."""
    uid = re.escape(series.uid.encode())
    member = re.compile(rb"\x20\x00\x0e\x00(UI..|....)" + uid + rb"[^0-9.]", re.DOTALL)  # SeriesInstanceUID
    for here, _, names in sorted(os.walk(folder)):
        for file in (Path(here, name) for name in sorted(names)):
            if file not in readable and is_dicom(file) and member.search(_start_of(file)):
                raise _unreadable(f"'{file}' in series {series}")


def _start_of(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(1 << 20)


def _opened(file: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(file))
    try:
        with quiet():
            reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(f"'{file}'") from error
    return reader


def _tag(reader: sitk.ImageFileReader, tag: str) -> str:
    return " ".join(reader.GetMetaData(tag).split()) if reader.HasMetaDataKey(tag) else ""


def _slice(file: Path) -> _Slice:
    reader = _opened(file)
    size = reader.GetSize()
    if len(size) > 2 and size[2] > 1:
        raise InputError(
            f"'{file}' holds {size[2]} frames (enhanced DICOM)",
            expected="one slice a file",
            action="convert it to NIfTI, for example with dcm2niix, and give that file",
        )
    position, axes, spacing = (_numbers(reader, tag) for tag in (_POSITION, _ORIENTATION, _SPACING))
    if position.size != 3 or axes.size != 6:
        raise InputError(
            f"'{file}' does not say where its slice lies",
            expected="Image Position (Patient) and Image Orientation (Patient)",
            action="export the series again, or choose another one with --series",
        )
    if spacing.size != 2 or not (np.isfinite(spacing).all() and spacing.min() > 0):  # GDCM would make it one
        raise GridError(
            f"'{file}' has the pixel spacing '{_tag(reader, _SPACING)}'",
            expected="two sizes in mm, each above zero",
            action="export the series again",
        )
    between_rows, between_columns = spacing.tolist()
    return _Slice(file, tuple(size[:2]), (between_columns, between_rows), position, axes.reshape(2, 3))


def _numbers(reader: sitk.ImageFileReader, tag: str) -> NDArray[np.float64]:
    """Values of a decimal element; none where it is missing or no number."""
    try:
        return np.array([float(x) for x in _tag(reader, tag).split("\\")])
    except ValueError:
        return np.empty(0)


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
    return InputError(f"series {series} {what}", expected="equally spaced parallel slices", action=action)


def _unreadable(what: str) -> InputError:
    return InputError(
        f"DICOM data of {what} cannot be read",
        expected="whole, uncompressed or commonly compressed slices",
        action="export the series again, or convert it to NIfTI",
    )
