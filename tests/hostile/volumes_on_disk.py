"""Hostile MetaImage, NIfTI and NRRD files: small whole ones with the headers of real ones, and damaged."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from mutations import FILES, NUMBERS, Field, damaged, lines_changed, with_fields

__all__ = ["Case", "metaimages", "nifti", "niftis", "nrrds", "whole_volumes"]


@dataclass(frozen=True)
class Case:
    """Files of a folder by name, and which of them is read (none: the folder itself)."""

    files: dict[str, bytes]
    read: str = ""


SHAPE = (6, 5, 4)
VOXELS = (np.arange(120) % 7 * 40).astype("<i2").tobytes()

# The fields, and their order, of an image of the SPIDER dataset; with what ITK itself and Slicer add.
_META = (
    *(("ObjectType", "Image"), ("NDims", "3"), ("BinaryData", "True"), ("BinaryDataByteOrderMSB", "False")),
    *(("CompressedData", "False"), ("TransformMatrix", "1 0 0 0 1 0 0 0 1")),
    *(("Offset", "-9 -65.632000000000005 -116.2624"), ("CenterOfRotation", "0 0 0")),
    *(("AnatomicalOrientation", "RAI"), ("ElementSpacing", "0.90000000000000002 0.46879999999999999 1")),
    *(("DimSize", "6 5 4"), ("ElementType", "MET_SHORT"), ("ElementDataFile", "LOCAL")),
)
_META_KNOWN = (
    *(key for key, _ in _META),
    *("CompressedDataSize", "HeaderSize", "ElementNumberOfChannels", "ElementSize", "ElementByteOrderMSB"),
    *("Comment", "ObjectSubType", "TransformType", "Name", "ID", "ParentID", "Color", "Modality", "Origin"),
    *("Position", "Orientation", "Rotation", "ElementMin", "ElementMax", "SequenceID", "AcquisitionDate"),
    *(
        "ElementToIntensityFunctionSlope",
        "ElementToIntensityFunctionOffset",
        "ITK_note",
        "Distance",
        "Points",
    ),
)

_NRRD = (
    *(("type", "short"), ("dimension", "3"), ("space", "left-posterior-superior"), ("sizes", "6 5 4")),
    *(("space directions", "(0.9,0,0) (0,0.4688,0) (0,0,1)"), ("kinds", "domain domain domain")),
    *(("endian", "little"), ("encoding", "raw"), ("space origin", "(-9,-65.632,-116.2624)")),
)
_NRRD_KNOWN = (
    *(key for key, _ in _NRRD),
    *("spacings", "data file", "datafile", "line skip", "byte skip", "block size", "centers", "labels"),
    *("units", "space units", "measurement frame", "min", "max", "old min", "axis mins", "thicknesses"),
    *("space dimension", "content", "number", "sample units", "lineskip", "byteskip", "blocksize", "foo"),
)


def _packed(data: bytes, way: str) -> bytes:
    return {"raw": data, "zlib": zlib.compress(data), "gzip": gzip.compress(data, mtime=0)}[way]


@st.composite
def metaimages(draw: st.DrawFn) -> Case:
    """A MetaImage whose header, voxels or data file are not what they should be."""
    way = draw(st.sampled_from(("raw", "raw", "zlib", "gzip")))
    body = _packed(VOXELS, way)
    lines = [*_META]
    if way != "raw":
        lines[4:5] = [("CompressedData", "True"), ("CompressedDataSize", str(len(body)))]
    files = {"other.raw": body}
    if draw(st.booleans()):
        lines = draw(lines_changed(lines, known=_META_KNOWN, file_keys=("ElementDataFile",)))
    if draw(st.integers(0, 7)) == 0:
        lines[-1:] = [("ElementDataFile", draw(st.sampled_from(FILES)))]
        body = draw(st.sampled_from((b"", body, b"other.raw\n" * 4, b"/etc/passwd\n" * 4)))
    mark = draw(st.sampled_from((*[" = "] * 9, "=", " : ", " ")))
    end = draw(st.sampled_from((*["\n"] * 9, "\r\n", "\r\n", "\r")))
    head = "".join(f"{key}{mark}{value}{end}" for key, value in lines)
    data = head.encode() + body
    if draw(st.integers(0, 2)) == 0:
        data = draw(damaged(data, early=len(head)))
    name = draw(st.sampled_from(("case.mha", "case.mha", "case.mhd")))
    return Case({name: data, **files}, name)


_NIFTI_FIELDS: tuple[Field, ...] = (
    *((0, "i"), (38, "b"), (39, "b"), *((40 + 2 * n, "h") for n in range(8))),
    *((70, "h"), (72, "h"), (74, "h"), *((76 + 4 * n, "f") for n in range(8))),
    *((108, "f"), (112, "f"), (116, "f"), (120, "h"), (122, "b"), (123, "b"), (124, "f"), (128, "f")),
    *((136, "f"), (252, "h"), (254, "h"), *((256 + 4 * n, "f") for n in range(18)), (344, "i"), (348, "i")),
)


def nifti(
    order: str,
    *,
    extension: bytes = b"",
    kind: tuple[int, int, str] = (4, 16, "i2"),
    shape: tuple[int, int, int] = SHAPE,
) -> bytes:
    """The small volume as NIfTI-1, its header as that of a real 1 mm scan."""
    code, bits, dtype = kind
    head = bytearray(352)
    struct.pack_into(f"{order}i", head, 0, 348)
    head[38:39] = b"r"
    struct.pack_into(f"{order}8h", head, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into(f"{order}2h", head, 70, code, bits)
    struct.pack_into(f"{order}8f", head, 76, 1, 1, 1, 1, 0, 0, 0, 0)
    struct.pack_into(f"{order}3f", head, 108, 352 + len(extension), 1, 0)
    head[123] = 10
    struct.pack_into(f"{order}2h", head, 252, 1, 1)
    struct.pack_into(f"{order}6f", head, 256, 0, 0, 1, 38, 190, -190)
    struct.pack_into(f"{order}12f", head, 280, -1, 0, 0, 38, 0, 0, -1, 190, 0, 1, 0, -190)
    head[344:348] = b"n+1\0"
    head[348] = 1 if extension else 0
    return bytes(head) + extension + np.frombuffer(VOXELS, "<i2").astype(order + dtype).tobytes()


@st.composite
def niftis(draw: st.DrawFn) -> Case:
    """A NIfTI file, packed or not, with other fields, an extension, damage, or a bomb in it."""
    order = draw(st.sampled_from("<<<>"))
    esize = draw(st.sampled_from((16, 16, 0, -16, 15, 8, 2**31 - 1, -(2**31))))
    extension = struct.pack(f"{order}2i", esize, 6) + b"comment\0" if draw(st.integers(0, 4)) == 0 else b""
    kinds = ((4, 16, "i2"), (4, 16, "i2"), (16, 32, "f4"), (64, 64, "f8"), (2, 8, "u1"))
    data = nifti(order, extension=extension, kind=draw(st.sampled_from(kinds)))
    if draw(st.integers(0, 3)) > 0:
        data = draw(with_fields(data, _NIFTI_FIELDS, order=order))
    if draw(st.integers(0, 3)) == 0:
        data = draw(damaged(data, early=352))
    if draw(st.integers(0, 15)) == 0:
        data += bytes(draw(st.sampled_from((1, 2**20, 2**24))))
    packed = draw(st.integers(0, 2)) == 0
    if packed:
        data = gzip.compress(data, compresslevel=1, mtime=0)
        if draw(st.booleans()):
            data = draw(damaged(data))
        if draw(st.integers(0, 7)) == 0:
            data = data * 2
    name = draw(st.sampled_from(("case.nii", "case.nii.gz"))) if packed else "case.nii"
    name = "case.nii.gz" if draw(st.integers(0, 15)) == 0 else name
    return Case({name: data}, name)


@st.composite
def nrrds(draw: st.DrawFn) -> Case:
    """An NRRD file, attached or detached, whose header or voxels are not what they should be."""
    way = draw(st.sampled_from(("raw", "raw", "gzip", "ascii")))
    text = " ".join(str(value) for value in np.frombuffer(VOXELS, "<i2")).encode()
    body = text if way == "ascii" else _packed(VOXELS, way)
    lines = [(key, way if key == "encoding" else value) for key, value in _NRRD]
    if draw(st.integers(0, 3)) > 0:
        lines = draw(lines_changed(lines, known=_NRRD_KNOWN, file_keys=("data file", "datafile")))
    if draw(st.integers(0, 7)) == 0:
        lines.append(("data file", draw(st.sampled_from(FILES))))
    if draw(st.integers(0, 7)) == 0:
        skip = draw(st.sampled_from(("line skip", "byte skip")))
        lines.append((skip, draw(st.sampled_from(("0", "1", "-1", "-2", "1000000000000", *NUMBERS)))))
    magic = draw(st.sampled_from((*["NRRD0004"] * 9, "NRRD0005", "NRRD0001", "NRRD0009", "NRRD00.1")))
    end = draw(st.sampled_from(("\n", "\n", "\n", "\r\n")))
    head = magic + end + "".join(f"{key}: {value}{end}" for key, value in lines)
    if draw(st.integers(0, 7)) == 0:
        head += f"note:=%s%n\\n{'x' * draw(st.sampled_from((0, 100, 200000)))}{end}"
    data = (head + end).encode() + body
    if draw(st.integers(0, 2)) == 0:
        data = draw(damaged(data, early=len(head)))
    name = draw(st.sampled_from(("case.nrrd", "case.nrrd", "case.nhdr")))
    return Case({name: data, "other.raw": body}, name)


def whole_volumes() -> dict[str, Case]:
    """The small volume undamaged, in every form that is attacked."""
    found = {"a.nii": nifti("<"), "b.nii": nifti(">"), "c.nii.gz": gzip.compress(nifti("<"), mtime=0)}
    for name, way in (("a.mha", "raw"), ("b.mha", "zlib"), ("c.mha", "gzip")):
        body = _packed(VOXELS, way)
        lines = [*_META]
        if way != "raw":
            lines[4:5] = [("CompressedData", "True"), ("CompressedDataSize", str(len(body)))]
        found[name] = _text(lines, " = ") + body
    for name, way in (("a.nrrd", "raw"), ("b.nrrd", "gzip")):
        lines = [(key, way if key == "encoding" else value) for key, value in _NRRD]
        found[name] = b"NRRD0004\n" + _text(lines, ": ") + b"\n" + _packed(VOXELS, way)
    beside = {"other.raw": VOXELS}
    return {name: Case({name: data}, name) for name, data in found.items()} | {
        "detached.mhd": Case(
            {"detached.mhd": _text([*_META[:-1], ("ElementDataFile", "other.raw")], " = "), **beside},
            "detached.mhd",
        ),
        "detached.nhdr": Case(
            {"detached.nhdr": b"NRRD0004\n" + _text([*_NRRD, ("data file", "other.raw")], ": "), **beside},
            "detached.nhdr",
        ),
    }


def _text(lines: Sequence[tuple[str, str]], mark: str) -> bytes:
    return "".join(f"{key}{mark}{value}\n" for key, value in lines).encode()
