"""The header of a NIfTI-1 file (``.nii``, ``.nii.gz``)."""

from __future__ import annotations

import gzip
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from discometry.core.errors import GridError, InputError
from discometry.io.claims import CHUNK, Header, check_length

__all__ = ["check_nifti", "parse_nifti"]

_HEADER = 352
_BITS = {2: 8, 4: 16, 8: 32, 16: 32, 64: 64, 256: 8, 512: 16, 768: 32, 1024: 64, 1280: 64}
"""Bits of each kind of number, by its code; other codes are of several numbers a voxel, or rare."""
_FARTHEST_MM = 1e6


def _opened(path: Path) -> BinaryIO:
    """Open a file, unpacking it where it is gzipped, which ITK notices from the name alone."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    if packed and not path.name.lower().endswith(".gz"):
        raise InputError(
            f"'{path}' is gzipped, but not named so",
            expected="a gzipped NIfTI file named .nii.gz",
            action=f"rename it to '{path.name}.gz'",
        )
    return cast("BinaryIO", gzip.open(path)) if packed else path.open("rb")


def parse_nifti(path: Path) -> Header:
    """Read what the header claims.

    Raises
    ------
    ValueError, struct.error
        If it is no header of NIfTI-1.
    InputError
        If the file is NIfTI-2, or its scaling is no number.
    GridError
        If its orientation is no number.
    """
    with _opened(path) as file:
        raw = file.read(_HEADER)
    if raw[4:7] == b"n+2":
        raise InputError(
            f"'{path}' is a NIfTI-2 file", expected="NIfTI-1", action="convert it to NIfTI-1 or MetaImage"
        )
    order = next((mark for mark in "<>" if struct.unpack_from(f"{mark}i", raw)[0] == 348), None)
    if order is None or raw[344:348] != b"n+1\0":
        raise ValueError("no single-file NIfTI-1")
    rank, *dims = struct.unpack_from(f"{order}8h", raw, 40)
    kind, bits = struct.unpack_from(f"{order}2h", raw, 70)
    steps = struct.unpack_from(f"{order}8f", raw, 76)
    start, slope, intercept = struct.unpack_from(f"{order}3f", raw, 108)
    if not 1 <= rank <= 7 or min(dims[:rank]) < 1 or _BITS.get(kind, bits) != bits or start < _HEADER:
        raise ValueError("dimensions, kind of number or place of the voxels make no sense")
    if not math.isfinite(slope) or not math.isfinite(intercept):
        raise InputError(
            f"'{path}' scales its values by {slope:g} and {intercept:g}",
            expected="two finite numbers (scl_slope, scl_inter)",
            action="export the image again or repair its header",
        )
    return Header(
        sizes=tuple(dims[: min(rank, 4)]),
        spacing_mm=steps[1 : min(rank, 3) + 1],
        channels=math.prod(dims[4:rank]) * (1 if kind in _BITS else 2),
        oriented=_oriented(path, raw, order),
        data_bytes=math.prod(dims[:rank]) * bits // 8,
        data_start=int(start),
    )


def _oriented(path: Path, raw: bytes, order: str) -> bool:
    """Tell whether there is a qform or sform, and refuse one that holds no numbers."""
    qform, sform = struct.unpack_from(f"{order}2h", raw, 252)
    numbers = struct.unpack_from(f"{order}18f", raw, 256)
    used = (numbers[:6] if qform > 0 else ()) + (numbers[6:] if sform > 0 else ())
    if not all(abs(number) <= _FARTHEST_MM for number in used):
        raise GridError(
            f"'{path}' has an orientation that is no number, or lies beyond any scanner",
            expected=f"a qform and sform of finite numbers, at most {_FARTHEST_MM:,.0f} mm",
            action="convert the DICOM series again, or repair the header",
        )
    return bool(max(qform, sform) > 0)


def check_nifti(path: Path, header: Header) -> None:
    """Refuse a file that is shorter than its header claims, or does not unpack."""
    with _opened(path) as file:
        check_length(path, _lengths(file), header.data_start + header.data_bytes)


def _lengths(file: BinaryIO) -> Iterator[int]:
    while part := file.read(CHUNK):
        yield len(part)
