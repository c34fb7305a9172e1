"""What an image file claims of itself, read and judged before any voxel is.

SimpleITK repairs or overlooks some damage without a word: a NIfTI voxel size of zero becomes one, a negative
spacing in a MetaImage turns positive, a truncated NIfTI or a compressed MetaImage with a wrong byte still
gives an array. Sizes in millimetres rest on these numbers, so this module reads the three headers itself.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from discometry.core.errors import GridError, InputError
from discometry.io.claims import Header
from discometry.io.metaimage import check_metaimage, metaimage_data_file, parse_metaimage
from discometry.io.nifti import check_nifti, parse_nifti
from discometry.io.nrrd import check_nrrd, nrrd_data_file, parse_nrrd

__all__ = ["MAX_VOXELS", "SUFFIXES", "data_file", "has_suffix", "inspect", "straightened"]

_MAX_STEP_MM = 50.0
MAX_VOXELS = 2**29
"""Largest volume that is read, in voxels (a lumbar MRI has about 10^7)."""

_SKEW_TOLERANCE = 2e-3


def has_suffix(path: Path) -> bool:
    """Tell whether a file is named as one of the formats read here."""
    return path.name.lower().endswith(SUFFIXES)


def inspect(path: Path) -> Header:
    """Read the header of a MetaImage, NIfTI or NRRD file and refuse what cannot be a whole 3-D volume.

    Returns
    -------
    Header
        As the file claims; all its checks have passed.

    Raises
    ------
    InputError
        If the file is not of the format its name says, is not a 3-D volume of single numbers, claims more
        than :data:`MAX_VOXELS`, does not say how it lies in the patient, or is cut short or damaged.
    GridError
        If a voxel size is missing, zero, negative or not a number.
    """
    suffix = next(suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix))
    parse, complete = _FORMATS[suffix]
    try:
        header = parse(path)
        _check_shape(path, header)
        _check_spacing(path, header)
        complete(path, header)
    except (ValueError, KeyError, IndexError, OverflowError, struct.error) as error:
        raise _unreadable(path) from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(path) from error
    except OSError as error:
        raise InputError(
            f"'{path}' cannot be read ({error.strerror or error})",
            expected="a readable file",
            action="check the file and its permissions",
        ) from error
    return header


def straightened(direction: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    """Give the perpendicular unit axes nearest to those of a header, whose decimals are rounded.

    Parameters
    ----------
    direction
        3x3, axes as columns.
    name
        Of the file, for the error.

    Raises
    ------
    GridError
        If the axes are more than rounding away from perpendicular unit vectors.
    """
    if np.isfinite(direction).all():
        left, _, right = np.linalg.svd(direction)
        nearest: NDArray[np.float64] = left @ right
        if np.abs(nearest - direction).max() <= _SKEW_TOLERANCE:
            return nearest
    raise GridError(
        f"'{name}' has axes that are not perpendicular",
        expected="three perpendicular axes",
        action="resample the image to a straight grid, or export it again",
    )


def _unreadable(path: Path) -> InputError:
    return InputError(
        f"'{path}' is not the kind of file its name says",
        expected="a MetaImage, NIfTI or NRRD file",
        action="check that the right file was given and that it was exported as its name says",
    )


def _damaged(path: Path) -> InputError:
    return InputError(
        f"'{path}' is cut short or damaged",
        expected="all the voxels that its header claims",
        action="copy or export the file again",
    )


def _check_shape(path: Path, header: Header) -> None:
    sizes = header.sizes
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes = sizes[:-1]
    shape = " x ".join(str(n) for n in sizes)
    if min(sizes) < 1:
        raise ValueError("an axis without voxels")
    if len(sizes) < 3 or min(sizes[:3]) == 1:
        raise InputError(
            f"'{path}' is a 2-D image ({shape} voxels)",
            expected="a 3-D volume of at least two slices",
            action="give the whole series",
        )
    if len(sizes) > 3 or header.channels > 1:
        what = f"{shape} voxels" + (f" of {header.channels} values each" if header.channels > 1 else "")
        raise InputError(
            f"'{path}' is not one volume ({what})",
            expected="a 3-D volume with one number a voxel",
            action="take out one time point or channel and give that",
        )
    if math.prod(sizes) > MAX_VOXELS:
        raise InputError(
            f"'{path}' claims {shape} voxels",
            expected=f"at most {MAX_VOXELS:,} voxels",
            action="check the header, or crop or resample the volume",
        )


def _check_spacing(path: Path, header: Header) -> None:
    spacing = header.spacing_mm[:3]
    if len(spacing) < 3 or not all(math.isfinite(step) and 0 < step <= _MAX_STEP_MM for step in spacing):
        found = " x ".join(f"{step:g}" for step in spacing) or "none"
        raise GridError(
            f"'{path}' has the voxel size {found}",
            expected=f"three sizes in mm, each above zero and at most {_MAX_STEP_MM:g}",
            action="export the image again or repair its header",
        )
    if not header.oriented:
        raise GridError(
            f"'{path}' does not say how its axes lie in the patient",
            expected="a NIfTI with a qform or sform code, or an NRRD with space directions",
            action="convert the DICOM series again, or copy the geometry from the image it belongs to",
        )


def data_file(path: Path) -> Path:
    """Give the file that holds the voxels: the file itself, or the one beside it that its header names.

    Raises
    ------
    InputError
        If the header names anything else than a file beside it.
    """
    name = path.name.lower()
    if name.endswith((".mha", ".mhd")):
        return metaimage_data_file(path)
    return nrrd_data_file(path) if name.endswith((".nrrd", ".nhdr")) else path


_FORMATS: dict[str, tuple[Callable[[Path], Header], Callable[[Path, Header], None]]] = {
    ".mha": (parse_metaimage, check_metaimage),
    ".mhd": (parse_metaimage, check_metaimage),
    ".nii": (parse_nifti, check_nifti),
    ".nii.gz": (parse_nifti, check_nifti),
    ".nrrd": (parse_nrrd, check_nrrd),
    ".nhdr": (parse_nrrd, check_nrrd),
}

SUFFIXES: tuple[str, ...] = tuple(_FORMATS)
"""Names that :func:`inspect` knows."""
