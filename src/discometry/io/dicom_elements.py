"""The elements of a DICOM file, walked from end to end before GDCM reads any of them.

GDCM ends the process on sequences nested deeply, takes minutes on others, and throws on values that make no
sense. So a file is walked here first: every length lies within the file, elements come in order, sequences
are few levels deep, and the elements that describe the image are those of one plain slice.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

__all__ = ["MAGIC", "PIXELS", "Elements", "Tag", "read_elements"]

Tag = tuple[int, int]
"""Group and element number."""

MAGIC = b"DICM"
_PREAMBLE = 128
_IMPLICIT, _BIG_ENDIAN, _DEFLATED = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"
PIXELS: Tag = (0x7FE0, 0x0010)
_ITEM, _ITEM_END, _SEQUENCE_END = (0xFFFE, 0xE000), (0xFFFE, 0xE00D), (0xFFFE, 0xE0DD)
_SYNTAX: Tag = (0x0002, 0x0010)
_UNDEFINED = 0xFFFFFFFF
_DEEPEST = 8
_MOST = 100_000
_LONGEST = 1024
_GROUPS = (0x0002, 0x0008, 0x0010, 0x0020, 0x0028)
_SHORT_VRS = b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split()
_LONG_VRS = b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()


@dataclass(slots=True)
class Elements:
    """What a file holds at its top level: short values by tag, and whether the walk came through.

    ``whole`` is False for a file that is cut short or makes no sense; ``values`` has what came before.
    ``pixel_bytes`` is the length of the pixel data, None where they are compressed or there are none.
    """

    values: dict[Tag, bytes] = field(default_factory=dict)
    whole: bool = False
    has_pixels: bool = False
    pixel_bytes: int | None = None

    def text(self, tag: Tag) -> str:
        """Give a value as text, white space made single; empty where there is none.

        Bytes that are no UTF-8 become ``?``: only identifiers and descriptions hold them.
        """
        found = self.values.get(tag, b"").decode("utf-8", errors="replace").replace("\ufffd", "?")
        return " ".join("".join(c if c.isprintable() else " " for c in found).split())

    def number(self, tag: Tag, default: int | None = None) -> int | None:
        """Give a value of two bytes as a whole number."""
        raw = self.values.get(tag)
        return default if raw is None else int.from_bytes(raw, "little") if len(raw) == 2 else None

    @property
    def syntax(self) -> str:
        """Transfer syntax UID."""
        return self.text(_SYNTAX)


def read_elements(path: Path) -> Elements | None:
    """Walk a DICOM file; None for a file of another kind.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    if not path.is_file():
        return None
    with path.open("rb") as file:
        if file.read(_PREAMBLE + len(MAGIC))[_PREAMBLE:] != MAGIC:
            return None
        walk = _Walk(file, path.stat().st_size)
        try:
            walk.top()
            walk.found.whole = True
        except (ValueError, struct.error):
            pass
        return walk.found


class _Walk:
    """One pass over an open file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.explicit = True
        self.found = Elements()
        self._left = _MOST

    def top(self) -> None:
        """Walk the file's own group, then the data set."""
        last: Tag = (0, 0)
        meta = True
        while self.file.tell() < self.size:
            tag = self._tag()
            if meta and tag[0] != 0x0002:
                meta = False
                self._enter_data_set()
            if tag <= last or tag[0] == 0xFFFE:
                raise ValueError("elements out of order")
            last = tag
            self._element(tag, depth=0)
        if meta:
            raise ValueError("no data set")

    def _enter_data_set(self) -> None:
        syntax = self.found.syntax
        if syntax in (_BIG_ENDIAN, _DEFLATED) or not syntax:
            raise ValueError("a transfer syntax that is not read")
        self.explicit = syntax != _IMPLICIT

    def _tag(self) -> Tag:
        self._left -= 1
        if self._left < 0:
            raise ValueError("too many elements")
        group, element = struct.unpack("<HH", self.file.read(4))
        return group, element

    def _element(self, tag: Tag, depth: int) -> None:
        """Walk one element whose tag was read."""
        vr, length = self._length()
        nested = vr == b"SQ" or (length == _UNDEFINED and tag != PIXELS)
        if tag == PIXELS and depth == 0:
            self._pixels(length)
        elif nested:
            self._sequence(length, depth + 1, explicit=self.explicit and vr != b"UN")
        else:
            self._value(tag, length, depth)

    def _length(self) -> tuple[bytes, int]:
        if not self.explicit:
            return b"", int(struct.unpack("<I", self.file.read(4))[0])
        vr = self.file.read(2)
        if vr in _SHORT_VRS:
            return vr, int(struct.unpack("<H", self.file.read(2))[0])
        if vr not in _LONG_VRS:
            raise ValueError("an unknown value representation")
        return vr, int(struct.unpack("<2xI", self.file.read(6))[0])

    def _value(self, tag: Tag, length: int, depth: int) -> None:
        start = self.file.tell()
        if start + length > self.size:
            raise ValueError("a value longer than the file")
        if depth == 0 and length <= _LONGEST and tag[0] in _GROUPS:
            self.found.values[tag] = self.file.read(length)
        elif not self.explicit and length >= 8 and self._is_item(start):
            self._sequence(length, depth + 1, explicit=False)
        self.file.seek(start + length)

    def _is_item(self, start: int) -> bool:
        tag = struct.unpack("<HH", self.file.read(4))
        self.file.seek(start)
        return tag == _ITEM

    def _sequence(self, length: int, depth: int, *, explicit: bool) -> None:
        """Walk the items of a sequence."""
        if depth > _DEEPEST:
            raise ValueError("sequences nested too deeply")
        end = self.size if length == _UNDEFINED else self.file.tell() + length
        if end > self.size:
            raise ValueError("a sequence longer than the file")
        before, self.explicit = self.explicit, explicit
        while self.file.tell() < end:
            tag = self._tag()
            (item,) = struct.unpack("<I", self.file.read(4))
            if tag == _SEQUENCE_END and length == _UNDEFINED:
                self.explicit = before
                return
            if tag != _ITEM:
                raise ValueError("no item where one should be")
            self._item(item, depth)
        if length == _UNDEFINED or self.file.tell() != end:
            raise ValueError("a sequence without its end")
        self.explicit = before

    def _item(self, length: int, depth: int) -> None:
        end = self.size if length == _UNDEFINED else self.file.tell() + length
        if end > self.size:
            raise ValueError("an item longer than the file")
        while self.file.tell() < end:
            tag = self._tag()
            if tag == _ITEM_END and length == _UNDEFINED:
                self.file.seek(4, 1)
                return
            if tag[0] == 0xFFFE:
                raise ValueError("an item within an item")
            self._element(tag, depth)
        if length == _UNDEFINED or self.file.tell() != end:
            raise ValueError("an item without its end")

    def _pixels(self, length: int) -> None:
        """Walk the pixel data: bytes, or the fragments of a compressed image."""
        if length != _UNDEFINED:
            if self.file.tell() + length > self.size:
                raise ValueError("pixel data longer than the file")
            self.file.seek(length, 1)
            self.found.has_pixels, self.found.pixel_bytes = True, length
            return
        while True:
            tag = self._tag()
            (fragment,) = struct.unpack("<I", self.file.read(4))
            if tag == _SEQUENCE_END:
                break
            if tag != _ITEM or self.file.tell() + fragment > self.size:
                raise ValueError("a fragment longer than the file")
            self.file.seek(fragment, 1)
        self.found.has_pixels = True
