"""Hostile tables of gradings and of studies, and hostile result folders."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from copy import deepcopy
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from mutations import damaged
from volumes_on_disk import Case

from discometry.core.records import Geometry
from discometry.core.volume import Grid, Volume
from discometry.io.images import write_volume
from discometry.io.meshes import disc_surface, write_ply
from discometry.io.results import Manifest
from discometry.io.spider import GRADINGS_FILE

__all__ = ["cohort_folders", "cohort_tables", "result_folders", "small_study", "study_lists", "whole_tables"]

_CELLS = (
    *("", "0", "1", "-1", "1.5", "nan", "1e5", "9" * 5000, "one", "=1+1", "'", '"', "\0", "\ud7ff", "日本"),
    *(
        "a,b",
        "a\nb",
        "x" * 200_000,
        " 1 ",
        "٣",
        "1_0",
        "../x",
        "L5/S1",
        "L9/L8",
        "<script>alert(1)</script>",
        "{{7*7}}",
    ),
)
_NAMES = (
    *(
        "../../up",
        "/etc/passwd",
        "..",
        ".",
        "~",
        "a/b",
        "a\\b",
        "CON",
        "index",
        "-rf",
        "a" * 300,
        "a.mha/b",
        "a.mha\0",
    ),
    *(
        "/dev/zero",
        "\x1b[2J",
        "\u202egnp",
        "%s",
        "s0",
        "S0",
        "file:///a.mha",
        "\u00b2",
        "\u00b9\u00b9",
        "1e400",
        "-inf",
    ),
)


@st.composite
def _cells_changed(draw: st.DrawFn, rows: list[list[str]]) -> bytes:
    """A table with cells, rows or columns changed, doubled or lost."""
    rows = deepcopy(rows)
    for _ in range(draw(st.sampled_from((1, 1, 2, 3)))):
        row = draw(st.sampled_from(rows)) if rows else [""]
        place = draw(st.integers(0, max(len(row) - 1, 0)))
        kind = draw(st.sampled_from(("cell", "cell", "cell", "short", "long", "double", "lose")))
        if kind == "cell" and row:
            row[place] = draw(st.sampled_from(_CELLS + _NAMES))
        elif kind == "short":
            del row[place:]
        elif kind == "long":
            row.extend(["1"] * draw(st.sampled_from((1, 2, 2000))))
        elif kind == "double":
            rows.append(list(row))
        elif rows:
            rows.remove(row)
    text = io.StringIO()
    csv.writer(text, lineterminator=draw(st.sampled_from(("\n", "\n", "\r\n", "\r")))).writerows(rows)
    return text.getvalue().encode(draw(st.sampled_from((*["utf-8"] * 6, "utf-16", "utf-8-sig"))))


_SPIDER = [
    ["Patient", "IVD label", "Modic", "Disc narrowing"],
    *[[f"{n}", "1", "0", f"{n % 2}"] for n in range(4)],
]
_OVERVIEW = [["new_file_name", "sex", "birth_date"], *[[f"{n}_t1", "F", f"{50 + n}"] for n in range(4)]]
_OWN = [
    ["study", "patient", "image", "mask", "level", "narrowing", "age", "sex", "sequence"],
    *[[f"s{n}", f"p{n}", "a.mha", "a.mha", "L4/L5", f"{n % 2}", "50", "F", "t2"] for n in range(3)],
    ["s2", "p2", "a.mha", "a.mha", "203", "", "50", "F", "t2"],
]
_LISTED = [["study", "image", "mask"], *[[f"s{n}", "a.mha", ""] for n in range(3)], ["", "", "a.mha"]]


def _csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


@st.composite
def cohort_folders(draw: st.DrawFn) -> Case:
    """A folder laid out as SPIDER, and what may come in place of its tables and scans."""
    changed = draw(st.sampled_from((GRADINGS_FILE, GRADINGS_FILE, "overview.csv")))
    tables = {GRADINGS_FILE: _SPIDER, "overview.csv": _OVERVIEW}
    files = {name: _csv(rows) for name, rows in tables.items()}
    files[changed] = draw(_table_changed(tables[changed]))
    names = st.sampled_from(
        ("1_t1", "0_t1", "\u00b2_t1", "\u0663_t2", "9" * 200 + "_t1", "_", "1", "-1_t1", "%s_t1")
    )
    for name in draw(st.lists(names, min_size=1, max_size=3)):
        files[f"{draw(st.sampled_from(('images', 'masks')))}/{name}.mha"] = b""
    return Case(files)


@st.composite
def cohort_tables(draw: st.DrawFn) -> Case:
    """A table of scans and gradings of one's own, and what may come in its place."""
    return Case({"own.csv": draw(_table_changed(_OWN)), "a.mha": b""}, "own.csv")


@st.composite
def study_lists(draw: st.DrawFn) -> Case:
    """A list of studies as CSV, TSV or Parquet, and what may come in its place."""
    ending = draw(st.sampled_from(("csv", "tsv", "parquet")))
    if ending == "parquet":
        data = draw(_parquet())
    else:
        data = draw(_table_changed(_LISTED)).replace(b",", b"\t" if ending == "tsv" else b",")
    return Case({f"list.{ending}": data, "a.mha": b""}, f"list.{ending}")


@st.composite
def _table_changed(draw: st.DrawFn, rows: list[list[str]]) -> bytes:
    """A table with other cells, damaged, or none at all."""
    if draw(st.integers(0, 9)) == 0:
        odd = (
            b"",
            b"\n",
            b"\xff\xfe",
            b'"',
            b'"' * 9999,
            b"," * 9999,
            b"\0" * 99,
            b"\n" * 9999,
            b"study\n" * 9,
        )
        return draw(st.sampled_from((*odd, b"PAR1", b"\x1f\x8b\x08" + bytes(99), b"PK\3\4" + bytes(99))))
    data = draw(_cells_changed(rows))
    return draw(damaged(data, early=40)) if draw(st.integers(0, 2)) == 0 else data


_COLUMNS: tuple[Any, ...] = (
    *(
        ["a.mha"] * 3,
        [None] * 3,
        ["s0", "s1", "s2"],
        [1, 2, 3],
        [1.0, float("nan"), float("inf")],
        [True] * 3,
    ),
    *(
        [b"\xff", b"a.mha", b""],
        [["a.mha"]] * 3,
        [{"a": "b"}] * 3,
        [10**18] * 3,
        ["x" * 100_000] * 3,
        [None, "", "0"],
    ),
)


@st.composite
def _parquet(draw: st.DrawFn) -> bytes:
    """A Parquet file with columns of any kind, then damaged or not."""
    columns: dict[str, Any] = {
        "study": ["s0", "s1", "s2"],
        "image": ["a.mha"] * 3,
        "mask": [None, "", "a.mha"],
    }
    if draw(st.booleans()):
        name = draw(st.sampled_from(("study", "image", "mask", "x", "")))
        columns[name] = draw(
            st.sampled_from(_COLUMNS) | st.lists(st.sampled_from(_NAMES), min_size=3, max_size=3)
        )
    if draw(st.integers(0, 5)) == 0:
        columns.pop(draw(st.sampled_from(sorted(columns))))
    data = _as_parquet(columns, draw(st.sampled_from(("none", "snappy", "gzip", "zstd"))))
    if draw(st.integers(0, 2)) > 0:
        data = draw(damaged(data)) if draw(st.booleans()) else draw(_footer_damaged(data))
    return data


def _as_parquet(columns: dict[str, Any], packed: str) -> bytes:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    stream = io.BytesIO()
    write_table(pa.table(columns), stream, compression=packed)
    return stream.getvalue()


@st.composite
def _footer_damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """A Parquet file whose footer, which tells where all else lies, has other bytes."""
    start = max(4, len(data) - 8 - int.from_bytes(data[-8:-4], "little"))
    return data[:start] + draw(damaged(data[start:-8])) + data[-8:]


def whole_tables() -> dict[str, tuple[str, Case]]:
    """What is attacked, undamaged, with the reader that it is for."""
    listed = [dict(zip(_LISTED[0], row, strict=True)) for row in _LISTED[1:]]
    packed = _as_parquet({name: [row[name] for row in listed] for name in _LISTED[0]}, "snappy")
    folder = {GRADINGS_FILE: _csv(_SPIDER), "overview.csv": _csv(_OVERVIEW), "masks/1_t1.mha": b""}
    found = {
        "folder": ("gradings", Case(folder)),
        "own": ("gradings", Case({"own.csv": _csv(_OWN), "a.mha": b""}, "own.csv")),
    }
    lists = {"csv": _csv(_LISTED), "tsv": _csv(_LISTED).replace(b",", b"\t"), "parquet": packed}
    for ending, data in lists.items():
        found[ending] = ("studies", Case({f"list.{ending}": data, "a.mha": b""}, f"list.{ending}"))
    return found


@cache
def small_study() -> dict[str, bytes]:
    """Files of a result folder of two discs."""
    labels = np.zeros((12, 16, 24), np.int16)
    labels[2:10, 3:13, 3:8], labels[2:10, 3:13, 14:19] = 201, 202
    volume = Volume(Grid.from_spacing(labels.shape, (3.0, 2.0, 1.0)), labels)
    picture = volume.with_array(np.random.default_rng(0).integers(0, 255, labels.shape).astype(np.uint8))
    entries: dict[str, Any] = {
        "format": "discometry-study",
        **{item.name: None for item in fields(Manifest)},
        **{"study": "small", "input": "small.mha", "input_sha256": "ab" * 32, "bundle": "starter"},
        **{
            "bundle_sha256": "cd" * 32,
            "versions": {"numpy": "2"},
            "options": {"mask": True},
            "device": "cpu",
        },
        **{"timings_s": {"measure": 0.5}, "flags": ["level_unsure"], "format_version": 1},
    }
    columns = ["study", "label", "level", "flags", *Geometry.names(), "latent_1", "narrowing_probability"]
    numbers = ["1.5"] * (len(columns) - 4)
    table = [
        columns,
        ["small", "201", "L5/S1", "truncated", *numbers],
        ["small", "202", "L4/L5", "", *numbers],
    ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(table)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_volume(volume, folder / "discs.nii.gz")
        write_volume(picture, folder / "image.nii.gz")
        (folder / "meshes").mkdir()
        for label, level in ((201, "L5_S1"), (202, "L4_L5")):
            write_ply(disc_surface(volume.with_array(labels == label)), folder / "meshes" / f"{level}.ply")
        files = {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        }
    return files | {"study.json": json.dumps(entries).encode(), "discs.csv": text.getvalue().encode()}


def result_folders() -> st.SearchStrategy[Case]:
    """Result folders with files damaged, lost, or holding what was never written."""
    return _attacked(small_study())


_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        0,
        -1,
        1e308,
        10**400,
        "",
        "x",
        "<script>alert(1)</script>",
        "{{7*7}}",
        "../..",
        "\0",
        "日本" * 2000,
    ),
    *([], {}, [1], ["x"], [[[]]], {"a": {"b": 1}}, {"upper": "L1/L2", "lower": "x", "angle_deg": "y"}),
)


@st.composite
def _attacked(draw: st.DrawFn, whole: dict[str, bytes]) -> Case:
    files = dict(whole)
    name = draw(st.sampled_from(sorted(files)))
    kind = draw(st.sampled_from(("damage", "manifest", "manifest", "table", "table", "lose", "mesh", "deep")))
    if kind == "damage":
        files[name] = draw(damaged(files[name], early=300))
    elif kind == "lose":
        del files[name]
    elif kind == "deep":
        files[draw(st.sampled_from(("study.json", "discs.csv")))] = draw(
            st.sampled_from((b"[" * 200_000, b'{"a":' * 200_000, b"", b"null", b"[]", b"NaN", b"\xff\xfe"))
        )
    elif kind == "manifest":
        entries = json.loads(files["study.json"])
        key = draw(st.sampled_from((*sorted(entries), "more", "__class__")))
        entries[key] = deepcopy(draw(st.sampled_from(_VALUES)))
        files["study.json"] = json.dumps(entries).encode()
    elif kind == "table":
        rows = list(csv.reader(io.StringIO(files["discs.csv"].decode())))
        files["discs.csv"] = draw(_cells_changed(rows))
    else:
        mesh = files["meshes/L5_S1.ply"]
        number = draw(st.sampled_from((b"0", b"-1", b"999999999999", b"2", b"x")))
        files["meshes/L5_S1.ply"] = mesh.replace(mesh.split(b"element vertex ")[1].split(b"\n")[0], number, 1)
        files[draw(st.sampled_from(("meshes/x.ply", "meshes/..ply", "meshes/L5_S1.PLY", "more")))] = mesh
    return Case(files)
