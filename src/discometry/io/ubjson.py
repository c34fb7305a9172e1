"""Universal Binary JSON as XGBoost writes it, read without trust in what it says of itself.

Nothing is allocated beyond the bytes that are there.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

__all__ = ["read_ubjson"]

_DEEPEST = 32
_NUMBERS = {b"i": ">b", b"U": ">B", b"I": ">h", b"l": ">i", b"L": ">q", b"d": ">f", b"D": ">d"}
_CONSTANTS = {b"Z": None, b"T": True, b"F": False}


def read_ubjson(data: bytes) -> Any:
    """Read one value; typed arrays come as NumPy arrays.

    Raises
    ------
    ValueError
        If the bytes are anything else, or go on after it.
    """
    reader = _Reader(data)
    value = reader.value(reader.take(1), depth=0)
    if reader.place != len(data):
        raise ValueError("bytes after the end")
    return value


class _Reader:
    """A place in bytes that moves on."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, length: int) -> bytes:
        """Give the next bytes."""
        end = self.place + length
        if length < 0 or end > len(self.data):
            raise ValueError("a length beyond the end")
        taken = self.data[self.place : end]
        self.place = end
        return taken

    def value(self, marker: bytes, *, depth: int) -> Any:
        """Read a value whose marker was taken."""
        if depth > _DEEPEST:
            raise ValueError("nested too deeply")
        if marker in _NUMBERS:
            form = _NUMBERS[marker]
            return struct.unpack(form, self.take(struct.calcsize(form)))[0]
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        if marker == b"S":
            return self.text()
        if marker == b"{":
            return self.mapping(depth + 1)
        if marker == b"[":
            return self.array(depth + 1)
        raise ValueError(f"marker {marker!r}")

    def length(self) -> int:
        """Read a count of eight bytes."""
        if self.take(1) != b"L":
            raise ValueError("no length")
        return int(struct.unpack(">q", self.take(8))[0])

    def text(self) -> str:
        """Read a length and as much text."""
        return self.take(self.length()).decode("utf-8")

    def mapping(self, depth: int) -> dict[str, Any]:
        """Read names and values up to the closing brace; no name comes twice."""
        found: dict[str, Any] = {}
        while (marker := self.take(1)) != b"}":
            if marker != b"L":
                raise ValueError("no name")
            name = self.take(int(struct.unpack(">q", self.take(8))[0])).decode("utf-8")
            if name in found:
                raise ValueError(f"'{name}' twice")
            found[name] = self.value(self.take(1), depth=depth)
        return found

    def array(self, depth: int) -> Any:
        """Read an array of one type, or of a count of values."""
        marker = self.take(1)
        if marker == b"$":
            kind = self.take(1)
            if kind not in _NUMBERS or self.take(1) != b"#":
                raise ValueError("an array of no known type")
            form = np.dtype(_NUMBERS[kind])
            return np.frombuffer(self.take(self.length() * form.itemsize), form)
        if marker != b"#":
            raise ValueError("an array without its length")
        return [self.value(self.take(1), depth=depth) for _ in range(self._count())]

    def _count(self) -> int:
        count = self.length()
        if not 0 <= count <= len(self.data) - self.place:
            raise ValueError("more values than bytes")
        return count
