"""Ways to damage a file, as Hypothesis strategies: bytes, binary fields and text headers."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from hypothesis import strategies as st

__all__ = ["FILES", "NUMBERS", "WORDS", "Field", "damaged", "lines_changed", "with_fields"]

NUMBERS = (
    *("0", "-1", "1", "2", "3", "7", "nan", "-nan", "inf", "-inf", "1e308", "1e-308", "1e400", "0x10", "1,5"),
    *("99999999999999999999", "4294967296", "2147483647", "-2147483648", "65536", "", "abc", "1" * 5000),
    *(
        "6 5",
        "6 5 4 1",
        "6 5 4 2",
        "4 5 6",
        "1 1 1 1 1 1 1 1 1 1 1 1",
        "6 5 -4",
        "0 0 0",
        "6 5 nan",
        "1 2 3 x",
    ),
    *("100000 100000 100000", "65536 65536 65536", "2147483647 2147483647 2147483647", "1 0 0 0 1 0 0 0 nan"),
    *(
        "512 512 512",
        "0 0 0 0 0 0 0 0 0",
        "1 0 0 1 0 0 1 0 0",
        "(1,0,0)",
        "none",
        "٣ ٣ ٣",
        "+6 +5 +4",
        "6_0 5 4",
    ),
)
"""What a text header may hold in place of its numbers."""

FILES = (
    *("LOCAL", "local", "Local", "LIST", "LIST 3", "LIST 999999999", "list", "", ".", "..", "/", "~", "-"),
    *(
        "../../../../../../etc/passwd",
        "/etc/passwd",
        "/dev/zero",
        "/dev/stdin",
        "/proc/self/mem",
        "other.raw",
    ),
    *(
        "seed.mha",
        "case.mha",
        "case.nrrd",
        "%d.raw 1 3 1",
        "slice%03d.raw 1 100000000 1",
        "%s%s%s%n",
        "a" * 5000,
    ),
    *("$(touch x)", "|touch x", "http://127.0.0.1/x", "\u202ewar.rehto", "other.raw other.raw", "nul\0l.raw"),
)
"""What a header may name as the file with its voxels."""

WORDS = (
    *(
        "True",
        "False",
        "true",
        "1",
        "MET_UCHAR",
        "MET_DOUBLE",
        "MET_LONG_LONG_ARRAY",
        "MET_STRING",
        "MET_OTHER",
    ),
    *(
        "MET_FLOAT_ARRAY",
        "raw",
        "gzip",
        "bzip2",
        "hex",
        "ascii",
        "text",
        "zrl",
        "double",
        "block",
        "float",
        "uchar",
    ),
    *(
        "int64",
        "little",
        "big",
        "RAI",
        "RRR",
        "right-anterior-superior-time",
        "scanner-xyz",
        "3",
        "Image",
        "Tube",
    ),
    *("\0", "%s%n%x", "=", ":", "::=", "\u202e", "\t", "x" * 70000, "LOCAL", "NRRD0004", "\x1f\x8b"),
)
"""What a header may hold in place of a word."""

_INTEGERS = (0, 1, -1, 2, 3, 7, 127, 128, 255, 256, 348, 540, 32767, -32768, 2**31 - 1, -(2**31), 2**63 - 1)
_FLOATS = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    352.0,
    1e9,
    1e38,
    -1e38,
    1e-45,
    float("nan"),
    float("inf"),
    -float("inf"),
)

Field = tuple[int, str]
"""Place and :mod:`struct` format of a binary field."""


@st.composite
def damaged(draw: st.DrawFn, data: bytes, *, early: int = 0) -> bytes:
    """One to four bytes or stretches changed, added or lost; half of them in the first ``early`` bytes."""
    for _ in range(draw(st.integers(1, 4))):
        end = early if 0 < early < len(data) and draw(st.booleans()) else len(data)
        place = draw(st.integers(0, max(end - 1, 0)))
        kind = draw(st.sampled_from(("flip", "flip", "cut", "insert", "repeat", "zero", "int")))
        if kind == "flip" and data:
            data = data[:place] + bytes([draw(st.integers(0, 255))]) + data[place + 1 :]
        elif kind == "cut":
            data = data[:place]
        elif kind == "insert":
            data = data[:place] + draw(st.binary(min_size=1, max_size=8)) + data[place:]
        elif kind == "repeat":
            data = data[:place] + data[place : place + draw(st.integers(1, 64))] * 2 + data[place:]
        elif kind == "zero":
            n = draw(st.integers(1, 64))
            data = data[:place] + bytes(len(data[place : place + n])) + data[place + n :]
        else:
            form = draw(st.sampled_from(("<H", ">H", "<I", ">I", "<Q", ">Q")))
            value = draw(st.sampled_from(_INTEGERS)) & (2 ** (8 * struct.calcsize(form)) - 1)
            data = data[:place] + struct.pack(form, value) + data[place + struct.calcsize(form) :]
    return data


@st.composite
def with_fields(draw: st.DrawFn, data: bytes, fields: Sequence[Field], *, order: str = "<") -> bytes:
    """One to three binary fields with other values: usual ones, extreme ones, and no numbers."""
    raw = bytearray(data)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        offset, form = draw(st.sampled_from(fields))
        if form == "f":
            value = draw(st.sampled_from(_FLOATS) | st.floats(width=32))
        else:
            bits = 8 * struct.calcsize(form)
            value = draw(st.sampled_from(_INTEGERS) | st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1))
            value = (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)
        struct.pack_into(order + form, raw, offset, value)
    return bytes(raw)


@st.composite
def lines_changed(
    draw: st.DrawFn, lines: Sequence[tuple[str, str]], *, known: Sequence[str], file_keys: Sequence[str]
) -> list[tuple[str, str]]:
    """One to three lines of a text header changed, added, doubled, moved or lost, as (key, value)."""
    found = list(lines)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        place = draw(st.integers(0, len(found) - 1)) if found else 0
        kind = draw(st.sampled_from(("value", "value", "value", "key", "lose", "double", "add", "swap")))
        key = found[place][0] if found else draw(st.sampled_from(known))
        if kind in ("key", "add"):
            key = draw(st.sampled_from(known))
        value = draw(st.sampled_from(FILES if key in file_keys else NUMBERS + WORDS))
        if kind in ("value", "key") and found:
            found[place] = (key, value if kind == "value" else found[place][1])
        elif kind == "lose":
            del found[place : place + 1]
        elif kind == "double" or kind == "add":
            found.insert(place, (key, value))
        elif found:
            other = draw(st.integers(0, len(found) - 1))
            found[place], found[other] = found[other], found[place]
    return found
