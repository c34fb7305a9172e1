"""The header of an NRRD file (``.nrrd``, ``.nhdr``).

ITK's own reader ends the process on a field of a thousand characters, takes every space it does not know for
LPS, and skips as many lines or bytes as it is told.
"""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path

from discometry.core.errors import InputError
from discometry.io.claims import LONGEST_HEADER, Header, check_length, inflated, named_beside

__all__ = ["check_nrrd", "nrrd_data_file", "parse_nrrd"]

_LONGEST_FIELD = 500
_TEXT = re.compile(r"[^\x00-\x08\x0a-\x1f]*")

_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), 1),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "float"), 4),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), 8),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), 8),
    "double": 8,
}
_SPACES = frozenset(
    (
        *("left-posterior-superior", "lps", "right-anterior-superior", "ras"),
        *("left-anterior-superior", "las", "left-posterior-superior-time", "lpst"),
    )
)
_PACKED = {"raw": False, "gzip": True, "gz": True}


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of a header by their names in small letters, and where its data would begin in the same file."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        if not re.fullmatch(rb"NRRD000[1-5]\r?\n", file.readline(16)):
            raise ValueError("no NRRD magic")
        while line := _line(file.readline(LONGEST_HEADER)):
            if file.tell() > LONGEST_HEADER:
                raise ValueError("header without an end")
            key, colon, value = line.partition(":")
            if line.startswith("#") or value.startswith("="):
                continue
            name = key.strip().lower()
            if not colon or len(line) > _LONGEST_FIELD or name in fields:
                raise ValueError("a line that is no field, or a field that is there twice")
            fields[name] = value.strip()
        return fields, file.tell()


def _line(raw: bytes) -> str:
    if raw and not raw.endswith(b"\n"):
        raise ValueError("header without an end")
    line = raw.decode("latin-1").strip()
    if not _TEXT.fullmatch(line):
        raise ValueError("control characters in the header")
    return line


def parse_nrrd(path: Path) -> Header:
    """Read what the header claims.

    Raises
    ------
    ValueError, KeyError
        If it is no plain NRRD header.
    InputError
        If its voxels are stored in a way that is not read here.
    """
    fields, start = _fields(path)
    lengths = [int(n) for n in fields["sizes"].split()]
    if len(lengths) != int(fields["dimension"]) or min(lengths) < 1:
        raise ValueError("sizes and dimension disagree")
    encoding, skip = fields["encoding"].lower(), int(fields.get("byte skip", fields.get("byteskip", "0")))
    if encoding not in _PACKED or skip < 0 or int(fields.get("line skip", fields.get("lineskip", "0"))):
        raise InputError(
            f"'{path}' stores its voxels as '{encoding}', or after lines that are to be skipped",
            expected="an NRRD with encoding raw or gzip, and no line skip",
            action="convert it to .nii.gz",
        )
    sizes, steps, channels = _axes(fields, lengths)
    detached = "data file" in fields or "datafile" in fields
    return Header(
        sizes=tuple(sizes),
        spacing_mm=tuple(steps),
        channels=channels,
        oriented="space directions" in fields and _frame(fields) in _SPACES,
        data_bytes=math.prod(lengths) * _BYTES[fields["type"].lower()] + skip,
        data_start=0 if detached else start,
        packed=_PACKED[encoding],
    )


def _frame(fields: dict[str, str]) -> str:
    """Name the space; ITK writes four axes without a name, and means LPS and time."""
    return "lpst" if fields.get("space dimension") == "4" else fields.get("space", "").lower()


def _axes(fields: dict[str, str], lengths: list[int]) -> tuple[list[int], list[float], int]:
    """Give sizes and steps (mm) along the axes of space, and how many values a voxel has."""
    axes = re.findall(r"none|\([^)]*\)", fields.get("space directions", ""))
    if not axes:
        return lengths, [float(step) for step in fields.get("spacings", "").split()], 1
    sizes, steps, channels = [], [], 1
    for length, axis in zip(lengths, axes, strict=True):
        if axis == "none":
            channels *= length
        else:
            sizes.append(length)
            steps.append(math.hypot(*(float(x) for x in axis.strip("()").split(","))))
    return sizes, steps, channels


def nrrd_data_file(path: Path) -> Path:
    """Give the file that holds the voxels.

    Raises
    ------
    InputError
        If it is not a file beside the header.
    """
    fields, _ = _fields(path)
    name = fields.get("data file", fields.get("datafile"))
    return path if name is None else named_beside(path, name)


def check_nrrd(path: Path, header: Header) -> None:
    """Refuse voxels that are fewer than claimed, or do not unpack."""
    source = nrrd_data_file(path)
    if not header.packed:
        if source.stat().st_size - header.data_start < header.data_bytes:
            raise EOFError
        return
    with source.open("rb") as file:
        file.seek(header.data_start)
        check_length(path, inflated(file, wbits=zlib.MAX_WBITS | 16), header.data_bytes)
