"""Stage 7: what the latents mean: how they go with the geometry and with one another, and how they look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from discometry.core.errors import InputError
from discometry.core.records import CUBE_SHAPE, CUBE_SPACING_MM, Geometry
from discometry.core.volume import Grid, Volume
from discometry.networks.shape_coder import Codes, ShapeCoder

__all__ = ["STEPS", "Correlations", "Traversal", "correlations", "latent_correlations", "traverse"]

FloatArray = NDArray[np.float64]

STEPS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Places of a traversal between a latent's least and greatest value: the paper's."""


@dataclass(frozen=True, slots=True, eq=False)
class Correlations:
    """Pearson correlations of every row quantity with every column quantity.

    ``r`` and ``p`` have shape rows x columns; ``p`` is two-sided and corrected for the number of pairs by
    Benjamini and Hochberg (1995). ``n`` counts the discs where both quantities are known. NaN where fewer
    than three are, or where a quantity is constant.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    r: FloatArray
    p: FloatArray
    n: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Traversal:
    """One synthetic disc: latent number ``latent`` (from 0) at ``value``, all others at their mean."""

    latent: int
    value: float
    latents: tuple[float, ...]
    cube: Volume


def correlations(
    latents: FloatArray, geometry: FloatArray, *, names: tuple[str, ...] | None = None
) -> Correlations:
    """Correlate latents with geometry.

    The discs are taken as independent. Discs of one patient are not quite, so p is on the low side there.

    Parameters
    ----------
    latents
        Nxk, one row a disc.
    geometry
        Nxm, the same discs; NaN where a measure is not known.
    names
        Names of the m measures; those of :class:`~discometry.core.records.Geometry` if not given.

    Raises
    ------
    InputError
        If the shapes do not agree.
    """
    names = Geometry.names() if names is None else names
    _check_tables(latents, geometry, names)
    rows, columns = latents.shape[1], geometry.shape[1]
    r, p = np.full((rows, columns), np.nan), np.full((rows, columns), np.nan)
    n = np.zeros((rows, columns), dtype=np.int64)
    for row in range(rows):
        for column in range(columns):
            r[row, column], p[row, column], n[row, column] = _pearson(latents[:, row], geometry[:, column])
    return Correlations(_latent_names(rows), names, r, _corrected(p), n)


def latent_correlations(latents: FloatArray) -> Correlations:
    """Correlate the latents, Nxk, with one another; each pair counts once in the correction of p."""
    k = latents.shape[1]
    table = correlations(latents, latents, names=_latent_names(k))
    p = np.zeros((k, k))
    upper = np.triu_indices(k, 1)
    raw = np.array([_pearson(latents[:, a], latents[:, b])[1] for a, b in zip(*upper, strict=True)])
    p[upper] = _corrected(raw)
    p = p + p.T + np.where(np.isnan(table.r) & np.eye(k, dtype=bool), np.nan, 0.0)
    return Correlations(table.rows, table.columns, table.r, p, table.n)


def traverse(
    coder: ShapeCoder, latents: FloatArray, *, steps: tuple[float, ...] = STEPS
) -> tuple[Traversal, ...]:
    """Decode synthetic discs along each latent, the others at their mean over the discs given.

    Parameters
    ----------
    coder
        A trained shape model.
    latents
        Nxk latents of real discs; their least, greatest and mean values span the traversals.
    steps
        Places between the least (0) and the greatest (1) value.

    Returns
    -------
    For each latent in turn, one disc a step: a boolean cube centred on the world's origin, axes L, P, S. A
    model that keeps the pose apart shows it unturned.
    """
    if latents.ndim != 2 or latents.shape[1] != coder.latents or not len(latents):
        raise InputError(
            f"latents of shape {latents.shape}",
            expected=f"one row a disc, {coder.latents} columns",
            action="give the latents of discs encoded by this model",
        )
    low, high, mean = latents.min(axis=0), latents.max(axis=0), latents.mean(axis=0)
    found = []
    for latent in range(latents.shape[1]):
        points = np.tile(mean, (len(steps), 1))
        points[:, latent] = low[latent] + np.array(steps) * (high[latent] - low[latent])
        codes = Codes(points, np.zeros((len(points), coder.pose_numbers)))
        for point, cube in zip(points, coder.decode(codes), strict=True):
            vector = tuple(float(value) for value in point)
            found.append(Traversal(latent, vector[latent], vector, Volume(_centred_grid(), cube)))
    return tuple(found)


def _centred_grid() -> Grid:
    spacing = np.array(CUBE_SPACING_MM)
    return Grid.from_spacing(CUBE_SHAPE, CUBE_SPACING_MM, origin_mm=-spacing * (np.array(CUBE_SHAPE) - 1) / 2)


def _pearson(first: FloatArray, second: FloatArray) -> tuple[float, float, int]:
    """Give Pearson's r, its two-sided p and the number of pairs in which both values are known."""
    known = np.isfinite(first) & np.isfinite(second)
    n = int(known.sum())
    first, second = first[known], second[known]
    if n < 3 or _constant(first) or _constant(second):
        return float("nan"), float("nan"), n
    result = stats.pearsonr(first, second)
    return float(result.statistic), float(result.pvalue), n


def _constant(values: FloatArray) -> bool:
    return bool(np.ptp(values) <= 1e-9 * np.abs(values).max())


def _corrected(p: FloatArray) -> FloatArray:
    """Correct p-values for their number by Benjamini and Hochberg; NaN stays and does not count."""
    corrected = p.copy()
    known = np.isfinite(p)
    if known.any():
        corrected[known] = stats.false_discovery_control(p[known], method="bh")
    return corrected


def _check_tables(latents: FloatArray, geometry: FloatArray, names: tuple[str, ...]) -> None:
    if latents.ndim != 2 or geometry.ndim != 2 or len(latents) != len(geometry):
        raise InputError(
            f"latents of shape {latents.shape} and geometry of shape {geometry.shape}",
            expected="two tables of the same discs",
            action="give one row a disc in both",
        )
    if geometry.shape[1] != len(names):
        raise InputError(
            f"{geometry.shape[1]} measures with {len(names)} names",
            expected="one name a measure",
            action="give names in the order of the columns",
        )


def _latent_names(k: int) -> tuple[str, ...]:
    return tuple(f"latent_{number}" for number in range(1, k + 1))
