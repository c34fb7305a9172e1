"""What an image file claims of itself, read and judged before any voxel is.

SimpleITK repairs or overlooks some damage without a word: a NIfTI voxel size of zero becomes one, a negative
spacing in a MetaImage turns positive, a truncated NIfTI or a compressed MetaImage with a wrong byte still
gives an array. Sizes in millimetres rest on these numbers, so this module reads the three headers itself.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from discometry.core.errors import GridError, InputError

__all__ = ["MAX_VOXELS", "SUFFIXES", "Header", "data_file", "has_suffix", "inspect", "straightened"]

_MAX_STEP_MM = 50.0
MAX_VOXELS = 2**29
"""Largest volume that is read, in voxels (a lumbar MRI has about 10^7)."""

_SKEW_TOLERANCE = 2e-3
_CHUNK = 1 << 20
_LONGEST_HEADER = 1 << 20

_META_BYTES = {
    "MET_CHAR": 1,
    "MET_UCHAR": 1,
    "MET_SHORT": 2,
    "MET_USHORT": 2,
    "MET_INT": 4,
    "MET_UINT": 4,
    "MET_LONG": 4,
    "MET_ULONG": 4,
    "MET_LONG_LONG": 8,
    "MET_ULONG_LONG": 8,
    "MET_FLOAT": 4,
    "MET_DOUBLE": 8,
}
_NIFTI_SCALARS = frozenset({2, 4, 8, 16, 64, 256, 512, 768, 1024, 1280})


@dataclass(frozen=True, slots=True)
class Header:
    """What a file claims: voxels and spacing (mm) along each axis of space and time, values a voxel.

    ``oriented`` tells whether the file says how its axes lie in the patient. ``data_bytes`` is the length
    of the voxels once unpacked, ``data_start`` where they begin in the unpacked file (MetaImage: in the
    file as it is); ``packed`` whether a MetaImage's voxels are deflated.
    """

    sizes: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    channels: int
    oriented: bool
    data_bytes: int
    data_start: int
    packed: bool = False


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


# MetaImage -----------------------------------------------------------------------------------------------


def _meta_fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of a MetaImage header and where its data would begin in the same file."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields:
            line = file.readline(_LONGEST_HEADER)
            if not line or file.tell() > _LONGEST_HEADER:
                raise ValueError("no ElementDataFile")
            key, equals, value = line.decode("latin-1").partition("=")
            if equals:
                fields[key.strip()] = value.strip()
        return fields, file.tell()


def _parse_meta(path: Path) -> Header:
    fields, start = _meta_fields(path)
    sizes = tuple(int(n) for n in fields["DimSize"].split())
    if len(sizes) != int(fields["NDims"]):
        raise ValueError("DimSize and NDims disagree")
    spacing = fields.get("ElementSpacing", fields.get("ElementSize", ""))
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    binary = fields.get("BinaryData", "True").lower() in ("true", "1")
    width = _META_BYTES[fields["ElementType"]]
    offset = int(fields.get("HeaderSize", "0"))
    local = fields["ElementDataFile"].upper() == "LOCAL"
    return Header(
        sizes=sizes,
        spacing_mm=tuple(float(step) for step in spacing.split()),
        channels=channels,
        oriented=True,  # the format's own default is axes along L, P, S
        data_bytes=math.prod(sizes) * channels * width if binary else 0,
        data_start=start if local else max(offset, 0),
        packed=fields.get("CompressedData", "False").lower() in ("true", "1"),
    )


def data_file(path: Path) -> Path:
    """Give the file that holds the voxels: the file itself, or the one that its header names."""
    name = path.name.lower()
    if name.endswith((".mha", ".mhd")):
        named = _meta_fields(path)[0]["ElementDataFile"]
        return path if named.upper() == "LOCAL" else path.parent / named
    if name.endswith((".nrrd", ".nhdr")):
        fields = _nrrd_fields(path)
        detached = fields.get("data file", fields.get("datafile"))
        return path if detached is None else path.parent / detached
    return path


def _complete_meta(path: Path, header: Header) -> None:
    source = data_file(path)
    if source.name.split()[0].upper() == "LIST" or "%" in source.name:
        raise InputError(
            f"'{path}' spreads its voxels over several files",
            expected="a MetaImage with one data file",
            action="convert it to .mha or .nii.gz",
        )
    if not source.is_file():
        raise InputError(
            f"'{path}' points to '{source.name}', which is not beside it",
            expected="the header and its data file in one folder",
            action=f"copy '{source.name}' beside the header",
        )
    with source.open("rb") as file:
        file.seek(header.data_start)
        if header.packed:
            found = sum(len(part) for part in _inflated(file))
        else:
            found = source.stat().st_size - header.data_start
    if found < header.data_bytes:
        raise EOFError


def _inflated(file: BinaryIO) -> Iterator[bytes]:
    """Unpack a zlib stream to its end; its closing checksum is verified on the way."""
    stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)  # zlib or gzip framing, whichever is there
    while not stream.eof:
        packed = file.read(_CHUNK >> 4)
        if not packed:
            raise EOFError
        yield stream.decompress(packed)


# NIfTI ---------------------------------------------------------------------------------------------------


def _opened(path: Path) -> BinaryIO:
    """Open a NIfTI file, unpacking it where it is gzipped, whatever its name says."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    return cast("BinaryIO", gzip.open(path)) if packed else path.open("rb")


def _parse_nifti(path: Path) -> Header:
    with _opened(path) as file:
        raw = file.read(352)
    if raw[4:7] == b"n+2":
        raise InputError(
            f"'{path}' is a NIfTI-2 file", expected="NIfTI-1", action="convert it to NIfTI-1 or MetaImage"
        )
    order = next((mark for mark in "<>" if struct.unpack_from(f"{mark}i", raw)[0] == 348), None)
    if order is None or raw[344:348] != b"n+1\0":
        raise ValueError("no single-file NIfTI-1")
    dims = struct.unpack_from(f"{order}8h", raw, 40)
    kind, bits = struct.unpack_from(f"{order}2h", raw, 70)
    steps = struct.unpack_from(f"{order}8f", raw, 76)
    (start,) = struct.unpack_from(f"{order}f", raw, 108)
    codes = struct.unpack_from(f"{order}2h", raw, 252)
    rank = dims[0]
    if not 1 <= rank <= 7:
        raise ValueError("no dimensions")
    return Header(
        sizes=dims[1 : min(rank, 4) + 1],
        spacing_mm=steps[1 : min(rank, 3) + 1],
        channels=math.prod(dims[5 : rank + 1]) * (1 if kind in _NIFTI_SCALARS else 2),
        oriented=max(codes) > 0,
        data_bytes=math.prod(dims[1 : rank + 1]) * bits // 8,
        data_start=int(start),
    )


def _complete_nifti(path: Path, header: Header) -> None:
    found = 0
    with _opened(path) as file:
        while part := file.read(_CHUNK):
            found += len(part)
    if found < header.data_start + header.data_bytes:
        raise EOFError


# NRRD ----------------------------------------------------------------------------------------------------


def _nrrd_fields(path: Path) -> dict[str, str]:
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        if not file.read(8).startswith(b"NRRD"):
            raise ValueError("no NRRD magic")
        file.readline(_LONGEST_HEADER)
        while line := file.readline(_LONGEST_HEADER).decode("latin-1").strip():
            if file.tell() > _LONGEST_HEADER:
                raise ValueError("header without an end")
            key, colon, value = line.partition(":")
            if colon and not value.startswith("=") and not line.startswith("#"):
                fields[key.strip().lower()] = value.strip()
    return fields


def _parse_nrrd(path: Path) -> Header:
    fields = _nrrd_fields(path)
    lengths = [int(n) for n in fields["sizes"].split()]
    axes = re.findall(r"none|\([^)]*\)", fields.get("space directions", ""))
    if not axes:
        spacing = [float(step) for step in fields.get("spacings", "").split()]
        return Header(tuple(lengths), tuple(spacing), channels=1, oriented=False, data_bytes=0, data_start=0)
    sizes, steps, channels = [], [], 1
    for length, axis in zip(lengths, axes, strict=True):
        if axis == "none":
            channels *= length
        else:
            sizes.append(length)
            steps.append(math.hypot(*(float(x) for x in axis.strip("()").split(","))))
    return Header(tuple(sizes), tuple(steps), channels=channels, oriented=True, data_bytes=0, data_start=0)


def _complete_nrrd(path: Path, header: Header) -> None:
    """Nothing to do: SimpleITK's NRRD reader itself refuses short and damaged data."""


_FORMATS: dict[str, tuple[Callable[[Path], Header], Callable[[Path, Header], None]]] = {
    ".mha": (_parse_meta, _complete_meta),
    ".mhd": (_parse_meta, _complete_meta),
    ".nii": (_parse_nifti, _complete_nifti),
    ".nii.gz": (_parse_nifti, _complete_nifti),
    ".nrrd": (_parse_nrrd, _complete_nrrd),
    ".nhdr": (_parse_nrrd, _complete_nrrd),
}

SUFFIXES: tuple[str, ...] = tuple(_FORMATS)
"""Names that :func:`inspect` knows."""
