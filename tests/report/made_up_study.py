"""A small made-up study: ellipsoid discs along a curved spine, and an image of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from discometry.core.anatomy import level_of_label
from discometry.core.records import Geometry
from discometry.core.volume import Grid, Volume
from discometry.io.disc_table import DiscTable
from discometry.io.meshes import Mesh, disc_surface
from discometry.io.results import Manifest

SEMI_AXES_MM = np.array([22.0, 16.0, 4.5])
GRID = Grid.from_spacing((40, 120, 160), (2.6, 0.8, 1.1), origin_mm=(-51.0, -40.0, -20.0))


def disc_centre(place: int) -> np.ndarray[Any, Any]:
    """Centre of the disc ``place`` steps above the lowest, LPS mm: lordosis, and a scoliosis to the left."""
    return np.array([6.0 * np.sin(place * 0.9), 8.0 - 5.0 * place + 0.9 * place**2, 5.0 + 34.0 * place])


@cache
def make_labels(n_discs: int = 5) -> Volume:
    """Draw discs 201 upwards."""
    points = GRID.to_world(np.moveaxis(np.indices(GRID.shape), 0, -1).astype(float))
    array = np.zeros(GRID.shape, dtype=np.int16)
    for place in range(n_discs):
        inside = (((points - disc_centre(place)) / SEMI_AXES_MM) ** 2).sum(axis=-1) <= 1
        array[inside] = 201 + place
    return Volume(GRID, array)


def make_image(labels: Volume) -> Volume:
    """Draw something like a spine: soft tissue, a bright canal, discs darker than what is around them."""
    rng = np.random.default_rng(7)
    points = GRID.to_world(np.moveaxis(np.indices(GRID.shape), 0, -1).astype(float))
    column = np.exp(-(((points[..., 0] / 25) ** 4) + ((points[..., 1] / 18) ** 4)))
    canal = np.exp(-((points[..., 0] / 9) ** 2) - ((points[..., 1] - 28) / 5) ** 2)
    array = 60 + 90 * column + 160 * canal - 55 * (labels.array > 0) + rng.normal(0, 9, GRID.shape)
    return Volume(GRID, array.astype(np.float32))


def make_meshes(labels: Volume) -> dict[int, Mesh]:
    """Mesh every disc, in LPS mm."""
    found = np.unique(labels.array[labels.array > 0])
    return {int(label): disc_surface(labels.with_array(labels.array == label)) for label in found}


def make_table(labels: Volume, study: str) -> DiscTable:
    """One row a disc, as ``discs.csv``; the lowest disc lacks its lateral width."""
    rng = np.random.default_rng(3)
    rows = []
    for label in np.unique(labels.array[labels.array > 0]):
        row: dict[str, Any] = {
            "study": study,
            "label": int(label),
            "level": level_of_label(int(label)),
            "flags": "",
        }
        row |= {name: float(rng.normal(0, 4)) for name in Geometry.names()}
        row |= {"height_mean_mm": 8.04, "width_ap_mm": 32.0, "width_lateral_mm": 44.0, "volume_mm3": 12345.6}
        row |= {f"latent_{n}": float(rng.normal()) for n in range(1, 5)}
        row |= {"reconstruction_iou": 0.91, "signal_over_canal": 0.25, "narrowing_probability": 0.25}
        rows.append(row)
    rows[0] |= {"flags": "truncated ambiguous_level", "width_lateral_mm": float("nan")}
    for row in rows[1:2]:
        row |= {"flags": "ambiguous_level"}
    return DiscTable(tuple(rows[0]), tuple(rows))


def change_table(table: DiscTable, **columns: Any) -> DiscTable:
    """Add or replace columns: a list has a value for each row, anything else is that of all."""
    rows = tuple(
        dict(row)
        | {name: found[place] if isinstance(found, list) else found for name, found in columns.items()}
        for place, row in enumerate(table.rows)
    )
    return DiscTable(tuple(rows[0]), rows)


def keep_columns(table: DiscTable, *columns: str) -> DiscTable:
    """Leave out all other columns."""
    return DiscTable(columns, tuple({name: row[name] for name in columns} for row in table.rows))


def make_manifest(study: str, **changes: Any) -> Manifest:
    """Say how the study came about."""
    entries: dict[str, Any] = {
        "study": study,
        "input": "spine.nii.gz",
        "input_sha256": "ab" * 32,
        "bundle": "starter",
        "bundle_sha256": "cd" * 32,
        "versions": {"discometry": "0.1.0", "numpy": "2.0.0"},
        "options": {"mask": False, "convention": None, "series": None},
        "device": "cpu",
        "timings_s": {"prepare": 0.512, "segment": 21.3},
    }
    return Manifest(**entries | changes)
