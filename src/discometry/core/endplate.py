"""An endplate of a disc: a polynomial fitted to the faces of a voxel mask, with what is not known of it.

The polynomial runs over the unit axes of the disc's outline (:mod:`discometry.core.footprint`). Faces count
by how well they know the surface. What the fit leaves unknown is kept as *errors*: columns of coefficients,
each an independent deviation of one standard deviation, so that the variance of anything linear in the
coefficients is the sum of its squares over the columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Endplate", "EndplateFaces", "fit_endplate", "monomials"]

FloatArray = NDArray[np.float64]

_FLOOR_VOXELS = 0.15
"""Least standard deviation of a face, in voxels of the finest axis."""
_STIFFNESS = 1e-4
"""How the terms from the third power on are held, per face and power."""
_PATCH_MM2 = 16.0
"""Faces within such an area err together."""


@dataclass(frozen=True, slots=True)
class EndplateFaces:
    """Faces of one endplate, n of them.

    ``unit`` (n, 2) in the outline's unit axes; ``height`` (n,) mm along the disc's axis; ``known`` (n,) mm,
    the voxel step along the surface's normal; ``shared`` (n,) how many faces err with it, itself included;
    ``finest_mm`` the smallest voxel size; ``area_mm2`` of the endplate.
    """

    unit: FloatArray
    height: FloatArray
    known: FloatArray
    shared: FloatArray
    finest_mm: float
    area_mm2: float


@dataclass(frozen=True, slots=True)
class Endplate:
    """Coefficients (m,) of :func:`monomials` up to ``degree``, and their independent errors (m, k)."""

    degree: int
    coefficients: FloatArray
    errors: FloatArray
    unseen_mm: float
    """Standard deviation of an offset that the faces cannot show, as all of them lie in one layer."""


@cache
def _powers(degree: int) -> tuple[tuple[int, int], ...]:
    return tuple((i, total - i) for total in range(degree + 1) for i in range(total, -1, -1))


def monomials(points: FloatArray, degree: int) -> FloatArray:
    """Products x^i y^j (m, n) of points (n, 2), by rising total power: 1, x, y, x^2 .."""
    powers = _powers(degree)
    x, y = np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1])
    terms = np.empty((len(powers), len(points)))
    terms[0] = 1.0
    place = {power: row for row, power in enumerate(powers)}
    for row, (i, j) in enumerate(powers[1:], start=1):
        before = place[i - 1, j] if i else place[i, j - 1]
        np.multiply(terms[before], x if i else y, out=terms[row])
    return terms


def fit_endplate(faces: EndplateFaces, degree: int) -> Endplate:
    """Fit the polynomial.

    A face that lies anywhere within its voxel step leaves a residual of the step over the root of twelve.
    Where the residuals are smaller, the surface lies along a layer of voxels, and what they lack is an offset
    (and tilt, by as much from middle to edge) that no face shows.
    """
    rounding = faces.known**2 / 12.0
    weights = 1.0 / (rounding * faces.shared + (_FLOOR_VOXELS * faces.finest_mm) ** 2)
    terms = monomials(faces.unit, degree)
    scaled = terms * weights
    normal = scaled @ terms.T
    total = weights.sum()
    order = np.array([i + j for i, j in _powers(degree)])
    np.einsum("ii->i", normal)[:] += np.where(order >= 3, _STIFFNESS * order, 1e-9) * total
    inverse = np.linalg.inv(normal)
    coefficients = inverse @ (scaled @ faces.height)
    squares = (faces.height - coefficients @ terms) ** 2
    misfit = float(weights @ squares) / len(weights)
    patch = max(1.0, len(weights) * _PATCH_MM2 / faces.area_mm2)
    unseen = max(float(weights @ (rounding - squares)) / total, 0.0) ** 0.5
    errors = np.zeros((len(order), len(order) + 3))
    errors[:, :-3] = np.linalg.cholesky(inverse * (misfit * patch))
    errors[:3, -3:] = unseen * np.eye(3)
    return Endplate(degree, coefficients, errors, unseen)
