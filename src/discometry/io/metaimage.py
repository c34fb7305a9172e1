"""The header of a MetaImage (``.mha``, ``.mhd``).

ITK's own reader takes the last of two values for one field, overlooks what it does not understand, talks on
standard error, and gives whatever is in memory where voxels do not unpack. So only plain headers pass here.
"""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path

from discometry.core.errors import InputError
from discometry.io.claims import LONGEST_HEADER, Header, check_length, inflated, named_beside

__all__ = ["check_metaimage", "metaimage_data_file", "parse_metaimage"]

_LONGEST_LINE = 4096
_FIELD = re.compile(r"([A-Za-z]\w{0,99})\s*=\s*([^\x00-\x08\x0a-\x1f]*)")

_BYTES = {
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
_TRUTH = {"true": True, "1": True, "false": False, "0": False}
_AXES = (
    *("DimSize", "Offset", "Position", "Origin", "CenterOfRotation", "ElementSpacing", "ElementSize"),
    "SequenceID",
)
_MATRICES = ("TransformMatrix", "Rotation", "Orientation")
_WORDS = ("AnatomicalOrientation",)
_SINGLE = (
    *("HeaderSize", "CompressedDataSize", "ElementNumberOfChannels", "ElementMin", "ElementMax"),
    *("ElementToIntensityFunctionSlope", "ElementToIntensityFunctionOffset", "ID", "ParentID"),
)


def _fields(path: Path) -> tuple[dict[str, str], int]:
    """Fields of a header, in order, and where its data would begin in the same file."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        while "ElementDataFile" not in fields:
            line = file.readline(_LONGEST_LINE)
            if file.tell() > LONGEST_HEADER:
                raise ValueError("header without an end")
            found = _FIELD.fullmatch(line.decode("latin-1").rstrip())
            if not found or not line.endswith(b"\n") or found[1] in fields:
                raise ValueError("a line that is no field, or a field that is there twice")
            fields[found[1]] = found[2]
        return fields, file.tell()


def parse_metaimage(path: Path) -> Header:
    """Read what the header claims.

    Raises
    ------
    ValueError, KeyError
        If it is no plain MetaImage header.
    InputError
        If its voxels are written as text.
    """
    fields, start = _fields(path)
    if fields.get("ObjectType", "Image").lower() != "image":
        raise ValueError("another object")
    _check_numbers(fields)
    if not _TRUTH[fields.get("BinaryData", "True").lower()]:
        raise InputError(
            f"'{path}' holds its voxels as text",
            expected="a MetaImage with BinaryData = True",
            action="convert it to .nii.gz or to a binary MetaImage",
        )
    sizes = tuple(int(n) for n in fields["DimSize"].split())
    channels, offset = int(fields.get("ElementNumberOfChannels", "1")), int(fields.get("HeaderSize", "0"))
    if channels < 1 or offset < 0:
        raise ValueError("a count below zero")
    local = fields["ElementDataFile"].upper() == "LOCAL"
    spacing = fields.get("ElementSpacing", fields.get("ElementSize", ""))
    return Header(
        sizes=sizes,
        spacing_mm=tuple(float(step) for step in spacing.split()),
        channels=channels,
        oriented=True,  # the format's own default is axes along L, P, S
        data_bytes=math.prod(sizes) * channels * _BYTES[fields["ElementType"]],
        data_start=start if local else offset,
        packed=_TRUTH[fields.get("CompressedData", "False").lower()],
    )


def _check_numbers(fields: dict[str, str]) -> None:
    """Refuse fields of other than as many numbers as ``NDims`` asks for, or that come before it."""
    order = list(fields)
    axes = int(fields["NDims"])
    counts = dict.fromkeys(_AXES, axes) | dict.fromkeys(_MATRICES, axes**2)
    counts |= dict.fromkeys(_SINGLE, 1) | {"Color": 4}
    for name, count in counts.items():
        if name not in fields:
            continue
        values = [float(value) for value in fields[name].split()]
        if name in ("ElementSpacing", "ElementSize"):
            continue  # judged with the spacing of every format, and told of as such
        if len(values) != count or not all(math.isfinite(value) for value in values):
            raise ValueError(f"{name} is not {count} numbers")
    for name in (*_AXES, *_MATRICES, *_WORDS):
        if name in fields and order.index(name) < order.index("NDims"):
            raise ValueError(f"{name} before NDims")


def metaimage_data_file(path: Path) -> Path:
    """Give the file that holds the voxels.

    Raises
    ------
    InputError
        If it is not a file beside the header.
    """
    name = _fields(path)[0]["ElementDataFile"]
    return path if name.upper() == "LOCAL" else named_beside(path, name)


def check_metaimage(path: Path, header: Header) -> None:
    """Refuse voxels that are fewer than claimed, or do not unpack."""
    source = metaimage_data_file(path)
    if not header.packed:
        if source.stat().st_size - header.data_start < header.data_bytes:
            raise EOFError
        return
    told = int(_fields(path)[0].get("CompressedDataSize", "0"))
    if told < 1:  # ITK would take whatever is in memory for the voxels
        raise InputError(
            f"'{path}' does not say how long its compressed voxels are",
            expected="a CompressedDataSize above zero",
            action="convert it to .nii.gz with the program that wrote it",
        )
    if source.stat().st_size - header.data_start < told:
        raise EOFError
    with source.open("rb") as file:
        file.seek(header.data_start)
        check_length(path, inflated(file, wbits=zlib.MAX_WBITS | 32), header.data_bytes)
