"""What the latents of a set of result folders mean: correlations, and discs along each latent."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd

from discometry.core.errors import InputError
from discometry.core.records import Geometry
from discometry.io.atomic import new_folder
from discometry.io.bundle import Bundle, read_bundle
from discometry.io.meshes import disc_surface, write_ply
from discometry.io.results import read_study
from discometry.networks.shape_models import load_shape_model
from discometry.report.latent_figures import ShapeStep, draw_correlations, draw_traversals
from discometry.stages.explain import (
    STEPS,
    Correlations,
    Traversal,
    correlations,
    latent_correlations,
    traverse,
)
from discometry.stages.measure import measure_mask

__all__ = ["explain_latents"]

_LEAST_DISCS = 10
_NAMES = ("traversals.csv", "correlations.csv", "traversals.png", "correlations.png", "meshes")


def explain_latents(results: Path, out: Path, *, bundle: Path | None = None) -> Path:
    """Say what the latents of analysed studies mean.

    Parameters
    ----------
    results
        Folder of result folders.
    out
        Folder to make: ``traversals.csv`` (measures of synthetic discs from each latent's least to its
        greatest value, the others at their mean), ``traversals.png`` and ``meshes/``; ``correlations.csv``
        and ``correlations.png`` (latents with measures and with one another, p corrected by Benjamini and
        Hochberg).
    bundle
        The models that the studies were analysed with; the starter if left out.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        If there are fewer than ten encoded discs, or other models made them.
    OutputError
        If ``out`` cannot be written.
    """
    models = read_bundle(bundle)
    discs = _discs(results, models)
    coder = load_shape_model(models.component("autoencoder"))
    latents = discs[[name for name in discs.columns if name.startswith("latent_")]].to_numpy(float)
    geometry = discs.reindex(columns=Geometry.names()).to_numpy(float)
    tables = correlations(latents, geometry), latent_correlations(latents)
    traversals = traverse(coder, latents)
    with new_folder(out, ours=lambda path: {file.name for file in path.iterdir()} <= set(_NAMES)) as fresh:
        _write_traversals(traversals, fresh)
        pd.concat([_table(one) for one in tables]).to_csv(fresh / "correlations.csv", index=False)
        columns = [name for one in tables for name in one.columns]
        r, p = np.hstack([one.r for one in tables]), np.hstack([one.p for one in tables])
        draw_correlations(tables[0].rows, columns, r, p, fresh / "correlations.png")
    return out


def _discs(results: Path, bundle: Bundle) -> pd.DataFrame:
    """Gather the encoded discs of all studies in a folder."""
    studies = [read_study(path.parent) for path in sorted(Path(results).glob("*/study.json"))]
    others = [one.folder.name for one in studies if one.manifest.bundle_sha256 != bundle.sha256]
    if others:
        raise InputError(
            f"'{others[0]}' was analysed with other models than the bundle {bundle.name}",
            expected="latents of one bundle",
            action="give that bundle with --bundle, or analyse the study again",
        )
    rows = [row for one in studies for row in one.discs.rows]
    encoded = [row for row in rows if math.isfinite(row.get("latent_1", math.nan))]
    if len(encoded) < _LEAST_DISCS:
        raise InputError(
            f"{len(encoded)} encoded discs in '{results}'",
            expected=f"{_LEAST_DISCS} or more, in result folders of discometry analyse",
            action="analyse more studies into the same folder",
        )
    return pd.DataFrame(encoded)


def _write_traversals(traversals: tuple[Traversal, ...], folder: Path) -> None:
    (folder / "meshes").mkdir()
    rows, steps = [], []
    for number, one in enumerate(traversals):
        geometry = measure_mask(one.cube)
        rows.append({"latent": one.latent + 1, "value": one.value, **geometry.values()})
        if not one.cube.array.any():
            continue
        mesh = disc_surface(one.cube)
        write_ply(mesh, folder / "meshes" / f"latent_{one.latent + 1}_step_{number % len(STEPS)}.ply")
        label = (
            f"{geometry.height_mean_mm:.1f} × {geometry.width_ap_mm:.0f} × {geometry.width_lateral_mm:.0f} mm"
        )
        steps.append(ShapeStep(one.latent + 1, one.value, label, one.cube, mesh))
    pd.DataFrame(rows).to_csv(folder / "traversals.csv", index=False)
    draw_traversals(steps, folder / "traversals.png")


def _table(found: Correlations) -> pd.DataFrame:
    """Put correlations into rows of latent, quantity, r, p and n; a pair of latents stands once."""
    rows = [
        {"latent": row, "with": column, "r": found.r[i, j], "p": found.p[i, j], "n": found.n[i, j]}
        for i, row in enumerate(found.rows)
        for j, column in enumerate(found.columns)
        if column not in found.rows or j > i
    ]
    return pd.DataFrame(rows)
