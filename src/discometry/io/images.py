"""Image and mask files: MetaImage, NIfTI, NRRD and DICOM folders, through SimpleITK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from discometry.core.errors import GridError, InputError, LabelError, OutputError
from discometry.core.volume import Grid, Volume
from discometry.io.atomic import new_file
from discometry.io.dicom import is_dicom, read_series
from discometry.io.headers import SUFFIXES, has_suffix, inspect, straightened
from discometry.io.itk import by_itself, plain_name, quiet

__all__ = [
    "check_image",
    "check_mask",
    "check_no_labels",
    "check_same_grid",
    "read_image",
    "read_mask",
    "study_name",
    "write_volume",
]

_WRITTEN = (".mha", ".nii", ".nii.gz", ".nrrd")
_MOST_LABELS = 64
"""An image of no more values, all whole numbers, is a segmentation .."""
_LEAST_VOXELS_TO_JUDGE = 10_000
""".. unless it is as small as a test's."""
_READER = {
    **dict.fromkeys((".mha", ".mhd"), "MetaImageIO"),
    **dict.fromkeys((".nii", ".gz"), "NiftiImageIO"),
    **dict.fromkeys((".nrrd", ".nhdr"), "NrrdImageIO"),
}
"""Named, or ITK would ask every reader that it has whether the file is for it."""


def read_image(path: Path, *, series: str | None = None) -> Volume:
    """Read an image file or a DICOM folder.

    A 4-D file with one time point counts as 3-D. The voxels are not looked at: see :func:`check_image`.

    Parameters
    ----------
    path
        ``.mha``, ``.mhd``, ``.nii``, ``.nii.gz``, ``.nrrd``, ``.nhdr``, or a folder of DICOM slices.
    series
        Which series of a DICOM folder, as in :func:`~discometry.io.dicom.read_series`.

    Returns
    -------
    Volume
        float32 or integer array [i, j, k] as the file stores it; affine in LPS mm.

    Raises
    ------
    InputError
        If the file is missing, not an image, not 3-D, damaged or too large, or the series is not clear.
    GridError
        If the file's voxel size or orientation makes no sense.
    """
    path = Path(path)
    if path.is_dir():
        return read_series(path, series)
    volume = _read_file(path)
    if series is not None:
        raise InputError(
            f"a series was chosen, but '{path}' is a file",
            expected="a folder of DICOM slices",
            action="leave out --series",
        )
    if volume.array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what single precision cannot hold is infinite, and told of later
            return volume.with_array(volume.array.astype(np.float32, copy=False))
    return volume


def read_mask(path: Path) -> Volume:
    """Read a label map.

    Returns
    -------
    Volume
        Integer array; a file of whole-numbered floats is turned to int32.

    Raises
    ------
    InputError
        As :func:`read_image`, for a DICOM folder, and for values that are not whole numbers.
    GridError
        As :func:`read_image`.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(
            f"the mask '{path}' is a folder",
            expected="a mask file (.mha, .nii.gz or .nrrd)",
            action="give the mask as one file",
        )
    volume = _read_file(path)
    array = volume.array
    if array.dtype.kind != "f":
        return volume
    if not np.isfinite(array).all() or (array != np.round(array)).any() or np.abs(array).max() > 2**31 - 1:
        raise InputError(
            f"the mask '{path}' holds values that are not whole numbers",
            expected="a label map: 0 for background, a whole number for each structure",
            action="give the segmentation itself, resampled with nearest neighbours",
        )
    return volume.with_array(array.astype(np.int32))


def check_image(volume: Volume, *, name: str = "the image") -> None:
    """Refuse an image that has nothing to segment: NaN or infinite values, or one value throughout.

    Raises
    ------
    InputError
        Naming ``name``.
    """
    array = volume.array
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(
            f"{name} has {int(np.sum(~np.isfinite(array)))} voxels that are NaN or infinite",
            expected="a finite number in every voxel",
            action="export the image again, or set those voxels to zero",
        )
    if array.min() == array.max():
        raise InputError(
            f"{name} has the value {array.flat[0]:g} in every voxel",
            expected="an MRI with contrast",
            action="check that the right file was given",
        )


def check_no_labels(volume: Volume, *, name: str = "the image") -> None:
    """Refuse a segmentation where an MRI should be: few values, all of them whole numbers.

    Raises
    ------
    InputError
        Naming ``name``.
    """
    labels = _labels_in(volume.array)
    if labels and volume.array.size >= _LEAST_VOXELS_TO_JUDGE:
        raise InputError(
            f"{name} has {labels} different values, all whole numbers, as a segmentation has",
            expected="an MRI",
            action="give the MRI, or the segmentation with --mask",
        )


def _labels_in(array: NDArray[Any]) -> int:
    """Count the values of what may be a segmentation; 0 if they are too many, or no whole numbers."""
    values = np.zeros(0)
    for part in (array[:: max(1, len(array) // 8)], array):  # a few slices show the many values of an MRI
        values = np.unique(part)
        if values.size > _MOST_LABELS or not (values == np.rint(values)).all():
            return 0
    return int(values.size)


def check_mask(volume: Volume, *, name: str = "the mask") -> None:
    """Refuse a mask that is empty or has negative labels.

    Raises
    ------
    LabelError
        Naming ``name``.
    """
    low, high = int(volume.array.min()), int(volume.array.max())
    if low == high == 0:
        raise LabelError(
            f"{name} is empty",
            expected="voxels labelled as disc",
            action="check that the right file was given and that it holds discs",
        )
    if low < 0:
        raise LabelError(
            f"{name} has the label {low}", expected="labels from 0 up", action="relabel the mask"
        )


def check_same_grid(image: Volume, mask: Volume) -> None:
    """Refuse a mask that does not lie on its image's grid, voxel on voxel.

    Corners may differ by a tenth of the smallest voxel size: NIfTI keeps positions in single precision.

    Raises
    ------
    GridError
        Saying in what they differ.
    """
    one, other = image.grid, mask.grid
    if one.same_as(other, tolerance_mm=0.1 * min(one.spacing_mm)):
        return
    raise GridError(
        f"the mask's grid ({_summary(other)}) is not its image's ({_summary(one)})",
        expected="a mask with the image's own voxels",
        action="give the mask that belongs to this image, or resample it onto the image",
    )


def write_volume(volume: Volume, path: Path) -> Path:
    """Write a volume, compressed (``.nii`` excepted), as a file that appears whole or not at all.

    Booleans are stored as uint8, half precision as float32.

    Parameters
    ----------
    path
        Ends in ``.mha``, ``.nii``, ``.nii.gz`` or ``.nrrd``; an older file is replaced.

    Raises
    ------
    OutputError
        If the file cannot be written or its name ends otherwise.
    GridError
        If the grid's axes are not perpendicular, which these formats cannot hold.
    """
    path = Path(path)
    if not path.name.lower().endswith(_WRITTEN):
        raise OutputError(
            f"the file name '{path.name}'",
            expected=f"one that ends in {', '.join(_WRITTEN)}",
            action="choose another file name",
        )
    direction = volume.grid.direction
    if np.abs(direction.T @ direction - np.eye(3)).max() > 1e-4:
        raise GridError(
            "a grid whose axes are not perpendicular",
            expected="perpendicular axes",
            action="resample the volume before writing it",
        )
    small = {"b": np.uint8, "f": np.float64 if volume.array.dtype.itemsize > 4 else np.float32}
    array = volume.array.astype(small.get(volume.array.dtype.kind, volume.array.dtype), copy=False)
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose()))
    image.SetSpacing(volume.grid.spacing_mm)
    image.SetOrigin(volume.grid.origin_mm)
    image.SetDirection(direction.ravel().tolist())
    with quiet(), new_file(path) as partial:
        try:
            sitk.WriteImage(image, str(partial), useCompression=True)
        except RuntimeError as error:
            raise OSError("the image writer failed") from error
    return path


def study_name(path: Path) -> str:
    """Name a study after its input: the file or folder name without the format's ending.

    Examples
    --------
    >>> study_name(Path("scans/11.nii.gz"))
    '11'
    """
    name = Path(path).resolve().name if Path(path).name in ("", ".", "..") else Path(path).name
    ending = next(
        (suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.lower().endswith(suffix)), ""
    )
    return name[: len(name) - len(ending)].strip(". ") or "study"


def _read_file(path: Path) -> Volume:
    """Read a file that is one volume, its header checked first."""
    if not path.is_file():
        raise InputError(
            f"'{path}' does not exist", expected="an image file or a DICOM folder", action="check the path"
        )
    if not has_suffix(path):
        raise _unknown_format(path)
    inspect(path)
    try:
        with quiet(), by_itself(path) as alone:
            image = _one_volume(alone)
    except (RuntimeError, MemoryError) as error:
        if "orthonormal" in str(error):
            straightened(np.full((3, 3), np.nan), str(path))
        raise InputError(
            f"'{path}' cannot be read",
            expected="a whole image",
            action="copy or export the file again",
        ) from error
    array = sitk.GetArrayFromImage(image).transpose()
    direction = straightened(np.array(image.GetDirection()).reshape(3, 3), str(path))
    spacing, origin = image.GetSpacing(), image.GetOrigin()
    return Volume(Grid.from_spacing(array.shape, spacing, origin_mm=origin, direction=direction), array)


def _one_volume(path: Path) -> sitk.Image:
    """Read the first three axes of a file; further ones are known to have length one."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_READER[path.suffix.lower()])
    reader.SetFileName(plain_name(path))
    reader.ReadImageInformation()
    size = reader.GetSize()
    if len(size) > 3:
        reader.SetExtractSize([*size[:3], *[0] * (len(size) - 3)])
    image: sitk.Image = reader.Execute()
    return image


def _unknown_format(path: Path) -> InputError:
    try:
        dicom = is_dicom(path)
    except OSError:
        dicom = False
    if dicom or path.suffix.lower() in (".dcm", ".ima"):
        return InputError(
            f"'{path}' is a single DICOM file",
            expected="the folder with all slices of the series",
            action=f"give the folder '{path.parent}'",
        )
    return InputError(
        f"'{path}' is of no known format",
        expected=f"{', '.join(SUFFIXES)} or a DICOM folder",
        action="convert the image to .nii.gz or .mha",
    )


def _summary(grid: Grid) -> str:
    shape = " x ".join(str(n) for n in grid.shape)
    spacing = " x ".join(f"{step:.4g}" for step in grid.spacing_mm)
    origin = ", ".join(f"{x:.2f}" for x in grid.origin_mm)
    return f"{shape} voxels of {spacing} mm, axes {grid.axis_codes}, from {origin}"
