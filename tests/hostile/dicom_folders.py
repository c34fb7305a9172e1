"""Hostile DICOM folders: three small slices, written element by element so that each can lie."""

from __future__ import annotations

import locale
import struct
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from hypothesis import strategies as st
from mutations import NUMBERS, damaged
from pydicom.uid import JPEGLSLossless, RLELossless
from volumes_on_disk import Case

__all__ = [
    "PACKINGS",
    "TEXT_VRS",
    "dicom_folders",
    "nested_sequences",
    "packed_folders",
    "packed_slices",
    "slice_elements",
    "written",
]

Tag = tuple[int, int]
Element = tuple[str, bytes]
"""Value representation and value of an element."""

TEXT_VRS = ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI", "UT")
_LONG = ("OB", "OW", "SQ", "UN", "UT")
_MR_IMAGE = b"1.2.840.10008.5.1.4.1.1.4"
ROWS, COLUMNS, SLICES = 6, 5, 3


def slice_elements(number: int, *, uid: str = "1.2.826.1") -> dict[Tag, Element]:
    """Elements of one sagittal MR slice, the file's own group first."""
    voxels = (np.arange(ROWS * COLUMNS) + 50 * number).astype("<u2").tobytes()
    texts: dict[Tag, tuple[str, str]] = {
        (0x0008, 0x0018): ("UI", f"{uid}.{number}"),
        (0x0008, 0x0060): ("CS", "MR"),
        (0x0008, 0x103E): ("LO", "T2 sag"),
        (0x0010, 0x0010): ("PN", "Doe^Jane"),
        (0x0010, 0x0020): ("LO", "4711"),
        (0x0018, 0x0050): ("DS", "4.0"),
        (0x0018, 0x0088): ("DS", "4.4"),
        (0x0020, 0x000D): ("UI", "1.2.3"),
        (0x0020, 0x000E): ("UI", uid),
        (0x0020, 0x0011): ("IS", "4"),
        (0x0020, 0x0013): ("IS", str(number + 1)),
        (0x0020, 0x0032): ("DS", f"{10 - 4.4 * number:g}\\-50\\90"),
        (0x0020, 0x0037): ("DS", "0\\1\\0\\0\\0\\-1"),
        (0x0028, 0x0004): ("CS", "MONOCHROME2"),
        (0x0028, 0x0030): ("DS", "0.5\\0.75"),
        (0x0028, 0x1052): ("DS", "0"),
        (0x0028, 0x1053): ("DS", "1"),
    }
    shorts = {0x0002: 1, 0x0010: ROWS, 0x0011: COLUMNS, 0x0100: 16, 0x0101: 16, 0x0102: 15, 0x0103: 0}
    elements: dict[Tag, Element] = {
        (0x0002, 0x0001): ("OB", b"\0\1"),
        (0x0002, 0x0002): ("UI", _MR_IMAGE),
        (0x0002, 0x0003): ("UI", f"{uid}.{number}".encode()),
        (0x0002, 0x0010): ("UI", b"1.2.840.10008.1.2.1"),
        (0x0008, 0x0016): ("UI", _MR_IMAGE),
        **{tag: (vr, text.encode()) for tag, (vr, text) in texts.items()},
        **{(0x0028, place): ("US", struct.pack("<H", value)) for place, value in shorts.items()},
        (0x7FE0, 0x0010): ("OW", voxels),
    }
    return elements


def written(elements: Mapping[Tag, Element], lengths: Mapping[Tag, int] | None = None) -> bytes:
    """Write elements in explicit VR, little endian; ``lengths`` are claimed in place of the true ones."""
    parts = {2: bytearray(), 0: bytearray()}
    for tag in sorted(elements):
        vr, value = elements[tag]
        value += (b"\0" if vr in ("UI", "OB", "OW") else b" ") * (len(value) % 2)
        length = (lengths or {}).get(tag, len(value))
        long = vr in _LONG
        form = "<HH2s2xI" if long else "<HH2sH"
        length &= 0xFFFFFFFF if long else 0xFFFF
        parts[2 if tag[0] == 2 else 0] += struct.pack(form, *tag, vr.encode()[:2].ljust(2), length) + value
    group = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(parts[2]))
    return bytes(128) + b"DICM" + group + bytes(parts[2]) + bytes(parts[0])


_SHORTS = (0, 1, 2, 5, 6, 8, 12, 15, 16, 17, 32, 64, 255, 4096, 32767, 65535)
_SYNTAXES = (
    *("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"),
    *("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80"),
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.5", "1.2.3", "", "x"),
)
_TEXTS = (
    *(text.replace(" ", "\\") for text in NUMBERS),
    *(
        "0.5",
        "0.5\\0.5\\0.5",
        "0\\0",
        "-0.5\\0.5",
        "nan\\nan",
        "0\\1\\0\\0\\1\\0",
        "0\\0\\0\\0\\0\\0",
        "1e999\\0\\0",
    ),
    *("\\", "\\\\\\\\", "\0", "\n", "../../x", "日本語", "\x1b$B", "%s%n", "a" * 70000, "MONOCHROME1", "RGB"),
    *("PALETTE COLOR", "YBR_FULL", "1.2.826.1", "ISO 2022 IR 87"),
)


def nested_sequences(depth: int, *, defined: bool) -> bytes:
    """A sequence of sequences, each holding the next, as explicit VR elements."""
    inner = b""
    start = struct.pack("<HH2s2xI", 0x0008, 0x1032, b"SQ", 0xFFFFFFFF)
    item, stop = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF), struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
    end = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    if not defined:
        return (start + item) * depth + (stop + end) * depth
    for _ in range(depth):
        body = struct.pack("<HHI", 0xFFFE, 0xE000, len(inner)) + inner
        inner = struct.pack("<HH2s2xI", 0x0008, 0x1032, b"SQ", len(body)) + body
    return inner


def with_sequences(data: bytes, depth: int, *, defined: bool) -> bytes:
    """A slice with such sequences where they belong, before its description."""
    place = data.find(b"\x08\x00\x3e\x10")
    return data[:place] + nested_sequences(depth, defined=defined) + data[place:]


@st.composite
def _attacked(draw: st.DrawFn, number: int) -> bytes:
    """One slice with elements changed, lost, of another kind or length; then, at times, bytes damaged."""
    elements = slice_elements(number)
    lengths: dict[Tag, int] = {}
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        tag = draw(st.sampled_from(sorted(elements)))
        vr, value = elements[tag]
        kind = draw(st.sampled_from(("value", "value", "value", "lose", "length", "vr", "syntax", "add")))
        if kind == "lose":
            del elements[tag]
        elif kind == "length":
            lengths[tag] = draw(
                st.sampled_from((0, 1, 2, 7, len(value) + 2, 65534, 2**31, 2**32 - 2, 2**32 - 1))
            )
        elif kind == "vr":
            elements[tag] = (draw(st.sampled_from((*TEXT_VRS, *_LONG, "US", "FD", "AT", "??"))), value)
        elif kind == "syntax":
            elements[0x0002, 0x0010] = ("UI", draw(st.sampled_from(_SYNTAXES)).encode())
        elif kind == "add":
            place = draw(st.sampled_from((0x0008, 0x0006, 0x0009, 0x1050, 0x1101, 0x1201, 0x3002, 0x6000)))
            elements[0x0028, place] = draw(
                st.sampled_from(
                    (("US", b"\2\0"), ("IS", b"2"), ("IS", b"99999999"), ("SQ", b""), ("OW", b"\0\0"))
                )
            )
        elif vr == "US":
            elements[tag] = (vr, struct.pack("<H", draw(st.sampled_from(_SHORTS))))
        else:
            elements[tag] = (vr, draw(st.sampled_from(_TEXTS)).encode()[: 60000 if vr not in _LONG else None])
    data = written(elements, lengths)
    if draw(st.integers(0, 7)) == 0:
        depth = draw(st.sampled_from((1, 2, 8, 9, 40, 1000, 100_000)))
        defined = depth <= 1000 and draw(st.booleans())
        data = with_sequences(data, depth, defined=defined)
    return draw(damaged(data, early=len(data) - 60)) if draw(st.integers(0, 2)) == 0 else data


@st.composite
def dicom_folders(draw: st.DrawFn) -> Case:
    """A folder of three slices of which one or all are attacked."""
    files = {f"slice {number}": written(slice_elements(number)) for number in range(SLICES)}
    bad = draw(st.sampled_from(((0,), (1,), (2,), (0, 1, 2))))
    for number in bad:
        files[f"slice {number}"] = draw(_attacked(number))
    if draw(st.integers(0, 7)) == 0:
        files[
            draw(st.sampled_from(("DICOMDIR", "deep/er/1", "-rf", "a\nb", "日本", ".hidden", "x.nii.gz")))
        ] = draw(
            st.sampled_from((b"", b"\0" * 132, bytes(128) + b"DICM", files["slice 0"], files["slice 1"][:-9]))
        )
    return Case(files)


PACKINGS = ("JPEG", "JPEG2000", "JPEG-LS", "RLE")
"""Ways to compress slices, each without loss."""
_BY_PYDICOM = {"JPEG-LS": JPEGLSLossless, "RLE": RLELossless}


@cache
def packed_slices(packing: str) -> dict[str, bytes]:
    """Three slices as ITK compresses them, or pydicom where ITK cannot."""
    found = {}
    before = locale.setlocale(locale.LC_ALL)  # which ITK's writer sets to C
    with tempfile.TemporaryDirectory() as folder:
        for number in range(SLICES):
            array = np.random.default_rng(number).integers(0, 200, (32, 32)).astype(np.uint8)
            image = sitk.GetImageFromArray(array)
            image.SetSpacing((0.5, 0.5))
            elements = slice_elements(number)
            for group, place in (
                (0x08, 0x18),
                (0x08, 0x60),
                (0x20, 0x0D),
                (0x20, 0x0E),
                (0x20, 0x11),
                (0x20, 0x37),
            ):
                image.SetMetaData(f"{group:04x}|{place:04x}", elements[group, place][1].decode())
            image.SetMetaData("0020|0032", elements[0x0020, 0x0032][1].decode())
            writer = sitk.ImageFileWriter()
            writer.SetFileName(f"{folder}/{number}.dcm")
            writer.KeepOriginalImageUIDOn()
            if packing not in _BY_PYDICOM:
                writer.UseCompressionOn()
                writer.SetCompressor(packing)
            writer.Execute(image)
            path = Path(folder, f"{number}.dcm")
            if packing in _BY_PYDICOM:
                dataset = pydicom.dcmread(path)
                dataset.compress(_BY_PYDICOM[packing], generate_instance_uid=False)
                dataset.save_as(path)
            found[path.name] = path.read_bytes()
    locale.setlocale(locale.LC_ALL, before)
    return found


def packed_folders() -> st.SearchStrategy[Case]:
    """Compressed slices, one of them with damage in its pixels."""
    return st.sampled_from(PACKINGS).flatmap(lambda way: _unpackable(packed_slices(way)))


@st.composite
def _unpackable(draw: st.DrawFn, files: dict[str, bytes]) -> Case:
    name = draw(st.sampled_from(sorted(files)))
    data = files[name]
    start = data.rindex(b"\xe0\x7f\x10\x00") + 28
    end = len(data) - 8
    place = draw(st.integers(start, min(end - 4, start + draw(st.sampled_from((140, 10_000))))))
    new = draw(
        st.sampled_from((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
        | st.binary(min_size=1, max_size=4)
    )
    return Case(files | {name: data[:place] + new + data[place + len(new) :]})
