"""The discs in space: a scene to turn in the browser, and a still of it for paper."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import level_of_label
from discometry.io.meshes import Mesh
from discometry.report.figures import (
    FONT_PX,
    INK,
    NEUTRAL,
    Picture,
    colour_of_label,
    image_element,
    text_element,
    text_on,
)

__all__ = ["build_scene", "draw_meshes", "thin_mesh"]

Json = dict[str, Any]
FloatArray = NDArray[np.float64]

LIGHT = (-0.35, 0.55, 0.76)
"""Unit vector to the light: page right, page up, towards the viewer."""

AMBIENT = 0.45
"""Brightness of a surface that the light only grazes."""

MOST_VERTICES = 2**16
"""More vertices in one disc than this cannot be numbered in 16 bits."""

SHARPNESS = 2
"""Pixels of a still's image for each pixel of the page."""

_SMOOTHNESS = 2
"""Pixels drawn, each way, for each of the image, so that edges are smooth."""

VIEW_YAW_DEG = 32.0
VIEW_PITCH_DEG = 18.0
"""Where the viewer stands: from straight in front towards the patient's left, and up."""


def thin_mesh(mesh: Mesh, *, cell_mm: float) -> Mesh:
    """Merge the vertices that share a cell of ``cell_mm``, so that a fine mesh is light enough for a page.

    The cells grow until 16 bits can number the vertices. Vertex clustering after Rossignac and Borrel,
    "Multi-resolution 3D approximations for rendering complex scenes" (1993).
    """
    vertices = np.asarray(mesh[0], dtype=np.float64)
    cells = np.floor((vertices - vertices.min(axis=0)) / cell_mm).astype(np.int64)
    spans = cells.max(axis=0) + 1
    keys = (cells[:, 0] * spans[1] + cells[:, 1]) * spans[2] + cells[:, 2]
    _, group = np.unique(keys, return_inverse=True)
    counts = np.bincount(group)
    if counts.size > MOST_VERTICES:
        return thin_mesh(mesh, cell_mm=2 * cell_mm)
    merged = np.stack([np.bincount(group, weights=vertices[:, axis]) / counts for axis in range(3)], axis=1)
    faces = group[mesh[1]]
    a, b, c = faces.T
    kept = faces[(a != b) & (b != c) & (a != c)]
    return merged.astype(np.float32), kept.astype(np.int32)


def _view_axes() -> NDArray[np.float64]:
    """Rows: page right, page up and towards the viewer, for a look from the front and the patient's left."""
    yaw, pitch = np.deg2rad(VIEW_YAW_DEG), np.deg2rad(VIEW_PITCH_DEG)
    toward = np.array([np.sin(yaw) * np.cos(pitch), -np.cos(yaw) * np.cos(pitch), np.sin(pitch)])
    right = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    return np.stack([right, np.cross(toward, right), toward])


def draw_meshes(meshes: Mapping[int, Mesh]) -> Picture:
    """Draw a still of the disc meshes, for paper and for browsers without WebGL."""
    from PIL import Image, ImageColor, ImageDraw

    view = _view_axes()
    shapes, shades, depths, names, reaches = [], [], [], [], []
    for label, (vertices, faces) in sorted(meshes.items()):
        places = np.asarray(vertices, dtype=np.float64) @ view.T
        corners = places[faces]
        normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
        seen = normals[:, 2] > 0
        light = AMBIENT + (1 - AMBIENT) * np.abs(normals[seen] @ np.array(LIGHT))
        shapes.append(corners[seen, :, :2])
        depths.append(corners[seen, :, 2].mean(axis=1))
        shades.append(light[:, None] * np.array(ImageColor.getrgb(colour_of_label(label))))
        names.append((level_of_label(label), places[:, 0].max() + 3.0, places[:, 1].mean()))
        reaches.append(places[:, :2])
    reach = np.concatenate(reaches)
    lower, upper = reach.min(axis=0) - 8.0, reach.max(axis=0) + np.array([30.0, 8.0])
    px_per_mm = float(np.clip(600 / (upper - lower)[1], 2.0, 5.0))

    def on_page(points: FloatArray) -> FloatArray:
        placed: FloatArray = (points - (lower[0], upper[1])) * (px_per_mm, -px_per_mm)
        return placed

    width, height = (upper - lower) * px_per_mm
    fine = SHARPNESS * _SMOOTHNESS
    picture = Image.new("RGB", (round(width) * fine, round(height) * fine), NEUTRAL)
    draw = ImageDraw.Draw(picture)
    triangles = (on_page(np.concatenate(shapes)) * fine).reshape(-1, 6).tolist()
    colours = list(map(tuple, np.clip(np.rint(np.concatenate(shades)), 0, 255).astype(int).tolist()))
    for index in np.argsort(np.concatenate(depths), kind="stable").tolist():
        draw.polygon(triangles[index], fill=colours[index])
    parts = [image_element(picture.reduce(_SMOOTHNESS), (width, height))]
    for level, *place in names:
        x, y = on_page(np.array(place))
        parts.append(text_element(level, (x, y), FONT_PX, f'font-weight="bold" fill="{INK}"'))
    levels = ", ".join(level_of_label(label) for label in sorted(meshes, reverse=True))
    told = f"The discs in space, seen from the front and the patient's left: {levels}."
    return Picture.of(parts, (width, height), alt=told)


def build_scene(meshes: Mapping[int, Mesh]) -> Json:
    """Describe the meshes for the page's viewer, the highest disc first.

    Places are in mm from the scene's centre. Vertices are packed as steps of ``step_mm`` from the corner of
    the scene's box, ``half_mm`` away from its centre; ``reach_mm`` is how far the scene extends from its
    centre across and along the page, whichever way it is turned.
    """
    points = {label: np.asarray(vertices, dtype=np.float64) for label, (vertices, _) in meshes.items()}
    everything = np.concatenate(list(points.values()))
    lower, upper = everything.min(axis=0), everything.max(axis=0)
    middle, half = (lower + upper) / 2, (upper - lower) / 2
    step = float(2 * half.max() / np.iinfo(np.uint16).max)
    across = float(np.hypot(*(everything - middle)[:, :2].T).max())
    discs = []
    for label in sorted(meshes, reverse=True):
        low, high = points[label].min(axis=0), points[label].max(axis=0)
        discs.append(
            {
                "level": level_of_label(label),
                "colour": colour_of_label(label),
                "ink": text_on(colour_of_label(label)),
                "centre_mm": _rounded((low + high) / 2 - middle),
                "extent_mm": _rounded((high - low) / 2),
                "vertices": _packed((points[label] - lower) / step),
                "faces": _packed(meshes[label][1]),
            }
        )
    return {
        "yaw_deg": VIEW_YAW_DEG,
        "pitch_deg": VIEW_PITCH_DEG,
        "light": list(LIGHT),
        "ambient": AMBIENT,
        "step_mm": step,
        "half_mm": _rounded(half),
        "reach_mm": _rounded(np.array([across, np.hypot(half[2], across)])),
        "discs": discs,
    }


def _rounded(values: FloatArray) -> list[float]:
    return [round(float(value), 3) for value in values]


def _packed(array: NDArray[Any]) -> str:
    """Write whole numbers as base64 of unsigned 16-bit little-endian."""
    return b64encode(np.rint(array).astype("<u2").tobytes()).decode("ascii")
