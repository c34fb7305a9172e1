"""Hostile tables of gradings and result folders."""

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

__all__ = ["grading_tables", "result_folders", "small_study"]

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


@st.composite
def _cells_changed(draw: st.DrawFn, rows: list[list[str]]) -> bytes:
    """A table with cells, rows or columns changed, doubled or lost."""
    rows = deepcopy(rows)
    for _ in range(draw(st.sampled_from((1, 1, 2, 3)))):
        row = draw(st.sampled_from(rows)) if rows else [""]
        place = draw(st.integers(0, max(len(row) - 1, 0)))
        kind = draw(st.sampled_from(("cell", "cell", "cell", "short", "long", "double", "lose")))
        if kind == "cell" and row:
            row[place] = draw(st.sampled_from(_CELLS))
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


@st.composite
def grading_tables(draw: st.DrawFn) -> Case:
    """A table laid out as SPIDER's gradings, and what may come in its place."""
    rows = [
        ["Patient", "IVD label", "Modic", "Disc narrowing"],
        *[[f"{n}", "1", "0", f"{n % 2}"] for n in range(4)],
    ]
    data = draw(_cells_changed(rows))
    if draw(st.integers(0, 2)) == 0:
        data = draw(damaged(data, early=40))
    return Case({"gradings.csv": data}, "gradings.csv")


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
