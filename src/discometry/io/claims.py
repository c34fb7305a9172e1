"""What an image file claims of itself, and whether its voxels are as many as it claims."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from discometry.core.errors import InputError

__all__ = ["CHUNK", "LONGEST_HEADER", "Header", "check_length", "inflated", "named_beside"]

CHUNK = 1 << 20
LONGEST_HEADER = 1 << 20
_ROOM = 1 << 20
"""Bytes that may follow the voxels once unpacked; more is taken for a bomb."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file claims: voxels and spacing (mm) along each axis of space and time, values a voxel.

    ``oriented`` tells whether the file says how its axes lie in the patient. ``data_bytes`` is the length
    of the voxels once unpacked, ``data_start`` where they begin in the unpacked file (MetaImage and NRRD: in
    the file as it is); ``packed`` whether the voxels of a MetaImage or NRRD are compressed.
    """

    sizes: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    channels: int
    oriented: bool
    data_bytes: int
    data_start: int
    packed: bool = False


def named_beside(path: Path, name: str) -> Path:
    """Give the file beside a header that the header names.

    Raises
    ------
    InputError
        If it names several files, one in another folder, or one that is not there.
    """
    if name.split()[:1] in (["LIST"], ["list"]) or "%" in name or len(name.split()) > 3:
        raise InputError(
            f"'{path}' spreads its voxels over several files",
            expected="a header with one data file",
            action="convert it to .mha or .nii.gz",
        )
    if not name or len(name) > 255 or Path(name).name != name or name == "..":
        raise InputError(
            f"'{path}' points to '{name[:255]}', which is in another folder",
            expected="the name of a data file beside the header",
            action="copy the data file beside the header, and name it there without a folder",
        )
    found = path.parent / name
    if not found.is_file():
        raise InputError(
            f"'{path}' points to '{name}', which is not beside it",
            expected="the header and its data file in one folder",
            action=f"copy '{name}' beside the header",
        )
    return found


def check_length(path: Path, parts: Iterable[int], wanted: int) -> None:
    """Refuse unpacked data that are shorter than claimed, and stop where they go on far beyond.

    Parameters
    ----------
    path
        For the error.
    parts
        Lengths of the pieces, as they are unpacked.
    wanted
        Bytes that have to be there.

    Raises
    ------
    EOFError
        If they are too short.
    InputError
        If they are too long.
    """
    found = 0
    for length in parts:
        found += length
        if found > wanted + _ROOM:
            raise InputError(
                f"'{path}' unpacks to more than the {wanted:,} bytes that its header claims",
                expected="as many voxels as the header claims",
                action="check where the file comes from, and export it again",
            )
    if found < wanted:
        raise EOFError


def inflated(file: BinaryIO, *, wbits: int) -> Iterator[int]:
    """Unpack a compressed stream to its end, which verifies its checksum; give the length of each piece."""
    stream = zlib.decompressobj(wbits=wbits)
    packed = b""
    while not stream.eof:
        packed = stream.unconsumed_tail or file.read(CHUNK >> 4)
        if not packed:
            raise EOFError
        yield len(stream.decompress(packed, CHUNK))
