"""Pictures of what latents mean: discs along each latent, and tables of correlations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from numpy.typing import NDArray

from discometry.core.volume import Volume
from discometry.io.meshes import Mesh
from discometry.report.scene import thin_mesh

__all__ = ["ShapeStep", "draw_correlations", "draw_traversals"]

FloatArray = NDArray[np.float64]

_DISC = "#56B4E9"
_REACH_MM = (34.0, 26.0, 14.0)
"""Half of what the pictures show along left, posterior, superior."""


@dataclass(frozen=True, slots=True, eq=False)
class ShapeStep:
    """One disc of a traversal: its latent (from 1), the value there, a label below, and the disc itself."""

    latent: int
    value: float
    label: str
    cube: Volume
    mesh: Mesh


def draw_traversals(steps: Sequence[ShapeStep], path: Path) -> None:
    """Draw the discs of all traversals: for each latent a sagittal, an axial and a 3-D row; a PNG."""
    latents = sorted({step.latent for step in steps})
    columns = max(sum(step.latent == latent for step in steps) for latent in latents)
    figure = Figure(figsize=(2.0 * columns, 4.0 * len(latents)), layout="constrained")
    outer = figure.add_gridspec(3 * len(latents), columns, height_ratios=[1.0, 1.7, 1.2] * len(latents))
    for row, latent in enumerate(latents):
        for column, step in enumerate(one for one in steps if one.latent == latent):
            for view, (across, up) in enumerate(((1, 2), (0, 1))):
                axes = figure.add_subplot(outer[3 * row + view, column])
                _section(axes, step.cube, across, up)
                if view == 0:
                    axes.set_title(f"latent {latent} = {step.value:+.1f}", fontsize=9)
                elif column == 0:
                    axes.set_ylabel("axial", fontsize=8)
                if view == 0 and column == 0:
                    axes.set_ylabel("sagittal", fontsize=8)
            _solid(figure.add_subplot(outer[3 * row + 2, column], projection="3d"), step)
    figure.savefig(path, dpi=80)


def _section(axes, cube: Volume, across: int, up: int) -> None:  # type: ignore[no-untyped-def]
    """Fill the outline of the middle section, anterior to the left in sagittal ones, to the top in axial."""
    middle = (np.array(cube.array.shape) - 1) // 2
    normal = 3 - across - up
    section = np.take(cube.array, middle[normal], axis=normal)
    places = [
        cube.grid.to_world(np.eye(3)[axis] * np.arange(n)[:, None] + middle * (1 - np.eye(3)[axis]))[:, axis]
        for axis, n in enumerate(cube.array.shape)
    ]
    axes.contourf(places[across], places[up], section.T.astype(float), [0.5, 1.5], colors=[_DISC])
    axes.set(xlim=(-_REACH_MM[across], _REACH_MM[across]), ylim=(-_REACH_MM[up], _REACH_MM[up]))
    if up == 1:
        axes.invert_yaxis()
    axes.set(aspect="equal", xticks=[], yticks=[])


def _solid(axes, step: ShapeStep) -> None:  # type: ignore[no-untyped-def]
    vertices, faces = thin_mesh(step.mesh, cell_mm=2.0)
    light = np.array([-0.3, -0.5, 0.8])
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    shade = 0.45 + 0.55 * np.clip(normals @ light, 0, 1)
    colours = np.clip(shade[:, None] * np.array([0.34, 0.71, 0.91]), 0, 1)
    axes.add_collection3d(Poly3DCollection(corners, facecolors=colours))
    reach_l, reach_p, reach_s = _REACH_MM
    axes.set(xlim=(-reach_l, reach_l), ylim=(-reach_p, reach_p), zlim=(-reach_s, reach_s))
    axes.set_box_aspect(_REACH_MM, zoom=1.5)
    axes.view_init(elev=25, azim=-70)
    axes.set_axis_off()
    axes.set_title(step.label, fontsize=8, y=-0.05)


def draw_correlations(
    rows: Sequence[str], columns: Sequence[str], r: FloatArray, p: FloatArray, path: Path
) -> None:
    """Draw a table of correlations, rows x columns; those with p of 0.05 or more are left pale; a PNG."""
    figure = Figure(figsize=(1.6 + 0.42 * len(columns), 2.2 + 0.36 * len(rows)), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(r, cmap="RdBu_r", vmin=-1, vmax=1, alpha=np.where(p < 0.05, 1.0, 0.25))
    for (row, column), value in np.ndenumerate(r):
        if np.isfinite(value):
            dark = abs(value) > 0.6 and p[row, column] < 0.05
            text = f"{value:.2f}".replace("0.", ".").replace("-", "−")
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color="w" if dark else "k")
    axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    figure.colorbar(picture, shrink=0.7, label="Pearson's r (pale: corrected p ≥ 0.05)")
    figure.savefig(path, dpi=110)
