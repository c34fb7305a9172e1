"""The outline of a disc seen along its own axis, fitted to the faces of a voxel mask.

The outline is a superellipse ``|x/a|^n + |y/b|^n = 1``, moved and turned, times ``1 + c(theta)`` with a short
Fourier series ``c``. The side wall may bulge: its radius is a parabola of the level between the rim's lower
(-1) and upper (+1) edge, and the outline is the farthest of it. Every face counts by how well it knows the
surface: its axis' voxel size along the surface normal. Faces across thick slices err together over whole
patches and count less again, so that the ends between two slices follow from the chords beside them and not
from the staircase.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["Footprint", "RimFaces", "Superellipse", "fit_footprint", "fourier"]

FloatArray = NDArray[np.float64]

_ORDER = 8
"""Harmonics of the correction ``c``."""
_WALL_ORDER = 2
"""Harmonics of the wall's lean and bulge."""
_SPREAD = 0.1
"""Standard deviation expected of the correction's k-th harmonic, times k^2, where a superellipse fits .."""
_LOOSEN = 3.0
""".. and at most by how much more where it does not: real discs are not superellipses."""
_WALL_SPREAD = 0.02
"""Standard deviation expected of the coefficients of lean and bulge .."""
_BOW_SPREAD = 0.1
""".. and of the bulge's mean around the disc."""
_EXPONENT = (2.5, 0.7)
"""Superellipse exponent expected (mean, standard deviation); lumbar discs have 2.2 to 2.8."""
_FLOOR_VOXELS = 0.15
"""Least standard deviation of a face, in voxels of the finest axis."""
_PATCH = 10.0
"""Faces that count as one, for what neighbours share."""
_RAGGED = 3.0
"""Most by which ragged masks may loosen the fit of the correction."""
_BEYOND = 0.3
"""Weight of keeping the outline within the voxel step that a face leaves it."""
_STEPS, _ROUGH_STEPS = 8, 4
"""Most Gauss-Newton steps of the superellipse."""
_OUTLINE_POINTS = 256
_GAUSS = np.polynomial.legendre.leggauss(5)


@dataclass(frozen=True, slots=True)
class RimFaces:
    """Faces of the side wall in the disc's frame, n of them.

    ``xy`` (n, 2) mm; ``level`` (n,) from -1 at the lower to 1 at the upper edge of the rim and
    ``level_per_mm`` (n,) its change with height; ``along`` (n, 3) unit vector of each face's voxel axis in
    the disc's frame; ``step_mm`` (n,) voxel size along it; ``shared`` (n,) how many faces err with it, itself
    included; ``finest_mm`` the smallest voxel size.
    """

    xy: FloatArray
    level: FloatArray
    level_per_mm: FloatArray
    along: FloatArray
    step_mm: FloatArray
    shared: FloatArray
    finest_mm: float

    def weights(self, gradient: FloatArray) -> FloatArray:
        """Inverse variance of an implicit function whose gradient (n, 3; per mm) is given, at every face."""
        known = np.einsum("ij,ij->i", gradient, self.along) * self.step_mm
        variance = known**2 / 12.0 * self.shared
        floor = (_FLOOR_VOXELS * self.finest_mm) ** 2 * np.einsum("ij,ij->i", gradient, gradient)
        inverse: FloatArray = 1.0 / (variance + floor)
        return inverse


@dataclass(frozen=True, slots=True)
class Superellipse:
    """``|x/a|^n + |y/b|^n = 1`` in axes turned by ``angle_rad`` about ``centre``, mm."""

    half_mm: tuple[float, float]
    centre: tuple[float, float] = (0.0, 0.0)
    angle_rad: float = 0.0
    exponent: float = _EXPONENT[0]

    @property
    def axes(self) -> FloatArray:
        """2x2; columns are the superellipse's own axes."""
        c, s = np.cos(self.angle_rad), np.sin(self.angle_rad)
        return np.array([[c, -s], [s, c]])

    def to_unit(self, xy: FloatArray) -> FloatArray:
        """Map points (n, 2) to own axes in which both half widths are one."""
        unit: FloatArray = (xy - self.centre) @ self.axes / self.half_mm
        return unit

    def from_unit(self, unit: FloatArray) -> FloatArray:
        """Map points (n, 2) of the unit axes back to mm."""
        xy: FloatArray = (unit * self.half_mm) @ self.axes.T + self.centre
        return xy

    def radius(self, unit: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Superellipse radius (m,) of unit points (m, 2), its gradient (m, 2), and its change with n (m,)."""
        n = self.exponent
        size = np.maximum(np.abs(unit), 1e-9)
        logs = np.log(size)
        power = np.exp(n * logs)
        total = power[:, 0] + power[:, 1]
        log_total = np.log(total)
        rho: FloatArray = np.exp(log_total / n)
        gradient = np.copysign(power / size, unit) * (rho / total)[:, None]
        weighted = power * logs
        by_exponent = rho * ((weighted[:, 0] + weighted[:, 1]) / (n * total) - log_total / n**2)
        return rho, gradient, by_exponent


@dataclass(frozen=True, slots=True)
class Footprint:
    """A fitted outline: ``radius`` (m,) over equally spaced polar angles in the unit axes of ``base``.

    ``rim`` (m,) is the radius of the wall where it meets the endplates. ``errors`` and ``rim_errors`` (m, k)
    are what is not known of both: k independent deviations of one standard deviation each.
    """

    base: Superellipse
    radius: FloatArray
    rim: FloatArray
    errors: FloatArray
    rim_errors: FloatArray
    misfit: float = 1.0
    """Mean square of the faces' residuals, each in units of what its voxel step explains."""

    @property
    def angles(self) -> FloatArray:
        """Polar angles (m,) of the outline's points in unit axes, rad."""
        return _angles(len(self.radius))

    @property
    def rays(self) -> FloatArray:
        """Directions (m, 2) of the outline's points in unit axes."""
        return _rays(len(self.radius))

    @property
    def outline(self) -> FloatArray:
        """Points of the outline (m, 2), mm."""
        return self.base.from_unit(self.rays * self.radius[:, None])

    @property
    def area_mm2(self) -> float:
        """Area inside the outline."""
        return self._area(self.radius)

    @property
    def rim_area_mm2(self) -> float:
        """Area inside the endplates' rim."""
        return self._area(self.rim)

    def _area(self, radius: FloatArray) -> float:
        a, b = self.base.half_mm
        return float(np.pi * a * b * np.mean(radius**2))

    def quadrature(self) -> tuple[FloatArray, FloatArray]:
        """Points (5 m, 2) in unit axes that cover the inside, and their weights, which sum to one.

        Polynomials up to the eighth degree are integrated exactly along every ray.
        """
        share, part = (0.5 * (values + shift) for values, shift in zip(_GAUSS, (1.0, 0.0), strict=True))
        weights = (part * share)[:, None] * self.radius**2
        unit = share[:, None, None] * (self.rays * self.radius[:, None])
        return unit.reshape(-1, 2), (weights / weights.sum()).ravel()

    def contains(self, unit: FloatArray, *, margin: float) -> NDArray[np.bool_]:
        """Tell which unit points lie inside the outline or less than ``margin`` (unit) outside."""
        angle = np.arctan2(unit[:, 1], unit[:, 0])
        limit = np.interp(angle, self.angles, self.radius, period=2.0 * np.pi)
        inside: NDArray[np.bool_] = np.hypot(unit[:, 0], unit[:, 1]) < limit + margin
        return inside


@cache
def _angles(count: int) -> FloatArray:
    angles: FloatArray = (np.arange(count, dtype=np.float64) + 0.5) * (2.0 * np.pi / count)
    return angles


@cache
def _rays(count: int) -> FloatArray:
    return np.stack([np.cos(_angles(count)), np.sin(_angles(count))], axis=1)


def fourier(angle: FloatArray, order: int) -> tuple[FloatArray, FloatArray]:
    """Give 1, cos, sin, cos 2 .. (n, 2 order + 1) of angles (n,) in rad, and their derivatives."""
    values, slopes = [np.ones_like(angle)], [np.zeros_like(angle)]
    turn = np.exp(1j * angle)
    power = np.ones_like(turn)
    for k in range(1, order + 1):
        power = power * turn
        values += [power.real, power.imag]
        slopes += [-k * power.imag, k * power.real]
    return np.stack(values, axis=1), np.stack(slopes, axis=1)


def fit_footprint(rim: RimFaces, start: Superellipse, *, rough: bool = False) -> Footprint:
    """Fit the outline to the faces of the side wall.

    Parameters
    ----------
    rim
        Faces of the side wall.
    start
        A superellipse not far off.
    rough
        Leave out the Fourier series.
    """
    base, bow, misfit = _fit_superellipse(rim, start, steps=_ROUGH_STEPS if rough else _STEPS)
    angles, rays = _angles(_OUTLINE_POINTS), _rays(_OUTLINE_POINTS)
    plain = (np.abs(rays) ** base.exponent).sum(axis=1) ** (-1.0 / base.exponent)
    if rough:
        none = np.zeros((len(angles), 0))
        return Footprint(base, plain * (1.0 + max(bow, 0.0)), plain * (1.0 + bow), none, none)
    wall, errors, misfit = _fit_correction(rim, base, bow, _SPREAD * min(_LOOSEN, misfit))
    terms, _ = fourier(angles, _ORDER)
    low = terms[:, : 2 * _WALL_ORDER + 1]
    level = np.linspace(-1.0, 1.0, 9)
    parts = np.split(wall, (terms.shape[1], terms.shape[1] + low.shape[1]))
    middle, lean, bend = terms @ parts[0], low @ parts[1], low @ parts[2]
    reach = middle + lean * level[:, None] + bend * level[:, None] ** 2
    widest = level[reach.argmax(axis=0)][:, None]
    at_widest = np.concatenate([terms, low * widest, low * widest**2], axis=1)
    at_rim = np.concatenate([terms, np.zeros_like(low), low], axis=1)
    return Footprint(
        base,
        plain * np.maximum(1.0 + reach.max(axis=0), 0.1),
        plain * np.maximum(1.0 + middle + bend, 0.1),
        plain[:, None] * (at_widest @ errors),
        plain[:, None] * (at_rim @ errors),
        misfit,
    )


def _fit_superellipse(rim: RimFaces, start: Superellipse, *, steps: int) -> tuple[Superellipse, float, float]:
    """Gauss-Newton fit of half widths, centre, angle, exponent and the wall's bow; and the misfit, >= 1."""
    base, bow, misfit = start, 0.0, 1.0
    expected, spread = _EXPONENT
    for _ in range(steps):
        unit = base.to_unit(rim.xy)
        rho, gradient, by_exponent = base.radius(unit)
        slope = gradient / base.half_mm
        in_plane = slope @ base.axes.T
        weights = rim.weights(np.column_stack([in_plane, -2.0 * bow * rim.level * rim.level_per_mm]))
        residual = rho - 1.0 - bow * rim.level**2
        misfit = max(1.0, _mean_square(residual, weights) ** 0.5)
        weights /= _PATCH * misfit**2
        own = unit * base.half_mm
        jacobian = np.column_stack(
            [
                -gradient * unit / base.half_mm,
                -in_plane,
                slope[:, 0] * own[:, 1] - slope[:, 1] * own[:, 0],
                by_exponent,
                -(rim.level**2),
            ]
        )
        scaled = (jacobian * weights[:, None]).T
        normal = scaled @ jacobian
        right = -scaled @ residual
        normal[5, 5] += spread**-2
        right[5] += (expected - base.exponent) * spread**-2
        normal[6, 6] += _BOW_SPREAD**-2
        right[6] -= bow * _BOW_SPREAD**-2
        np.einsum("ii->i", normal)[:] *= 1.0 + 1e-3
        step = np.linalg.solve(normal, right)
        half = np.asarray(base.half_mm)
        half = half + np.clip(step[:2], -0.2 * half, 0.2 * half)
        base = Superellipse(
            half_mm=(float(half[0]), float(half[1])),
            centre=(base.centre[0] + float(step[2]), base.centre[1] + float(step[3])),
            angle_rad=base.angle_rad + float(np.clip(step[4], -0.2, 0.2)),
            exponent=float(np.clip(base.exponent + np.clip(step[5], -0.7, 0.7), 1.5, 12.0)),
        )
        bow += float(step[6])
        if np.all(np.abs(step) < (0.02, 0.02, 0.02, 0.02, 5e-4, 5e-3, 5e-4)):
            break
    return base, bow, misfit


def _fit_correction(
    rim: RimFaces, base: Superellipse, bow: float, spread: float
) -> tuple[FloatArray, FloatArray, float]:
    """Coefficients (m,) of the relative radius, their independent errors (m, m), and the faces' misfit.

    They are the Fourier series of middle, lean and bow, one after the other.
    """
    unit = base.to_unit(rim.xy)
    rho, gradient, _ = base.radius(unit)
    low = 2 * _WALL_ORDER + 1
    terms, slopes = fourier(np.arctan2(unit[:, 1], unit[:, 0]), _ORDER)
    level = rim.level[:, None]
    design = np.concatenate([terms, terms[:, :low] * level, terms[:, :low] * level**2], axis=1)
    by_angle = np.concatenate([slopes, slopes[:, :low] * level, slopes[:, :low] * level**2], axis=1)
    order = np.concatenate([[1.0], np.repeat(np.arange(1.0, _ORDER + 1.0), 2)])
    stiffness = np.concatenate([(order**2 / spread) ** 2, np.full(2 * low, _WALL_SPREAD**-2)])
    stiffness[-low] = _BOW_SPREAD**-2
    # The gradient of the polar angle in unit axes.
    turning = np.column_stack([-unit[:, 1], unit[:, 0]]) / np.maximum(
        np.sum(unit**2, axis=1, keepdims=True), 1e-6
    )
    found = np.zeros(design.shape[1])
    found[-low] = bow
    ragged = 1.0
    for turn in range(4):
        in_plane = ((gradient - (by_angle @ found)[:, None] * turning) / base.half_mm) @ base.axes.T
        lean, bend = found[-2 * low : -low], found[-low:]
        upward = terms[:, :low] @ lean + 2.0 * rim.level * (terms[:, :low] @ bend)
        slope = np.column_stack([in_plane, -upward * rim.level_per_mm])
        weights = rim.weights(slope)
        fitted = design @ found
        residual = rho - 1.0 - fitted
        if turn < 2:
            ragged = min(max(_mean_square(residual, weights), 1.0), _RAGGED)
        beyond, excess = _beyond(rim, slope, residual)
        total = weights + beyond
        target = (weights * (rho - 1.0) + beyond * (fitted + excess)) / total
        scaled = design * (total / (_PATCH * ragged))[:, None]
        normal = scaled.T @ design
        np.einsum("ii->i", normal)[:] += stiffness
        found = np.linalg.solve(normal, scaled.T @ target)
    return found, np.linalg.cholesky(np.linalg.inv(normal)), _mean_square(residual, weights)


def _mean_square(residual: FloatArray, weights: FloatArray) -> float:
    """Weighted mean of squared residuals, each in units of what is expected of it."""
    return float((residual * weights) @ (residual * weights) / weights.sum())


def _beyond(rim: RimFaces, slope: FloatArray, residual: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weight of, and way to, the nearest value that keeps the surface between a face's two voxel centres.

    Only where slices are thick: elsewhere the faces themselves hold the surface.
    """
    room = 0.5 * np.abs(np.einsum("ij,ij->i", slope, rim.along)) * rim.step_mm
    over = np.abs(residual) - room
    spread = (_FLOOR_VOXELS + 0.29) * rim.finest_mm
    weight = _BEYOND / (spread**2 * np.einsum("ij,ij->i", slope, slope))
    weight *= (over > 0.0) & (rim.step_mm > 1.5 * rim.finest_mm)
    return weight, np.sign(residual) * np.maximum(over, 0.0)
