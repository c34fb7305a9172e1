"""One analytic intervertebral disc: its shape, and its measures in closed form.

The disc's own frame has its origin at ``centre_lps`` and the columns of ``rotation`` as left, posterior and
superior axes. With half widths ``a``, ``b`` and exponent ``n``, ``rho = (|x/a|^n + |y/b|^n)^(1/n)`` is the
superellipse radius of a point. The disc is bounded

- above and below by ``z = +-(height/2 - y tan(wedge/2) + x tan(lateral wedge/2)) +- dome (1 - rho^2)``, where
  ``rho <= 1``;
- at the side by ``rho <= 1 + bulge (1 - t^2)``, ``t`` running from -1 to 1 over the height of the rim.

Because the area element of a superellipse is ``rho d(rho)`` times a function of direction alone, every dome
adds exactly half its height to the mean height, the wedges add nothing, and the bulge has a closed form.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import level_of_label
from discometry.core.errors import InputError
from discometry.core.records import Geometry

__all__ = ["FloatArray", "PhantomDisc", "angles_of_rotation", "rotation_from_angles", "single_disc"]

FloatArray = NDArray[np.floating]


def rotation_from_angles(tilt_deg: tuple[float, float, float]) -> NDArray[np.float64]:
    """Give the rotation whose plane and long axis stand at given angles against the world axes.

    Parameters
    ----------
    tilt_deg
        Sagittal, coronal and transverse angle in degrees, signed as in
        :class:`~discometry.core.records.Geometry` (anterior edge up, left edge up, left end posterior).

    Returns
    -------
    3x3 array whose columns are the left, posterior and superior axes in LPS.

    Raises
    ------
    InputError
        If an angle is not within +-80 degrees.
    """
    if not all(abs(angle) <= 80.0 for angle in tilt_deg):
        raise InputError(
            f"tilt angles {tilt_deg}",
            expected="three angles within +-80 degrees",
            action="give smaller angles",
        )
    sagittal, coronal, transverse = (math.radians(angle) for angle in tilt_deg)
    superior = np.array([-math.tan(coronal), math.tan(sagittal), 1.0])
    superior /= np.linalg.norm(superior)
    left = np.array([math.cos(transverse), math.sin(transverse), 0.0])
    left[2] = -float(left @ superior) / superior[2]
    left /= np.linalg.norm(left)
    return np.stack([left, np.cross(superior, left), superior], axis=1)


def angles_of_rotation(rotation: NDArray[np.float64]) -> tuple[float, float, float]:
    """Give the sagittal, coronal and transverse angle of a frame, degrees: undo :func:`rotation_from_angles`.

    Sagittal and coronal angle are those of the plane's trace in the world's sagittal and coronal plane, the
    transverse angle is that of the left axis seen from above.
    """
    left, superior = rotation[:, 0], rotation[:, 2]
    return (
        math.degrees(math.atan2(superior[1], superior[2])),
        math.degrees(math.atan2(-superior[0], superior[2])),
        math.degrees(math.atan2(left[1], left[0])),
    )


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class PhantomDisc:
    """An analytic disc; see the module for its surfaces."""

    label: int
    """Disc label, 201 for L5/S1."""
    centre_lps: NDArray[np.float64]
    """Origin of the disc's own frame, mm."""
    rotation: NDArray[np.float64]
    """3x3; columns are the disc's own left, posterior and superior axes in LPS."""
    height_mm: float
    """Height of the rim, averaged over the footprint (domes excluded)."""
    half_lateral_mm: float
    """Half width ``a`` without bulge."""
    half_ap_mm: float
    """Half width ``b`` without bulge."""
    exponent: float = 2.4
    """Superellipse exponent ``n``; 2 is an ellipse."""
    dome_superior_mm: float = 0.0
    """Rise of the superior surface from rim to middle."""
    dome_inferior_mm: float = 0.0
    """Fall of the inferior surface from rim to middle."""
    wedge_deg: float = 0.0
    """Angle between the endplates in the disc's sagittal plane; > 0: open anteriorly."""
    lateral_wedge_deg: float = 0.0
    """Angle between the endplates in the disc's coronal plane; > 0: open to the left."""
    bulge: float = 0.0
    """How far the side wall bulges, as a fraction of the half widths."""
    narrowed: bool = False
    """Whether the disc was made lower than the population's."""
    hydration: float = 0.8
    """0 (dark, no nucleus to be told apart) .. 1 (bright nucleus) on T2."""

    def __post_init__(self) -> None:
        level_of_label(self.label)
        rim = 0.5 * self.height_mm - self._rise_mm
        if not (
            rim > 0
            and min(self.half_lateral_mm, self.half_ap_mm) > 0
            and self.exponent >= 1
            and min(self.dome_superior_mm, self.dome_inferior_mm, self.bulge) >= 0
        ):
            raise InputError(
                f"a disc of height {self.height_mm:.2f} mm, half widths {self.half_lateral_mm:.2f} and "
                f"{self.half_ap_mm:.2f} mm, wedges {self.wedge_deg:.1f} and "
                f"{self.lateral_wedge_deg:.1f} degrees",
                expected="positive sizes, exponent >= 1, and a wedge that leaves some height at the thin end",
                action="raise the height or lower the wedge",
            )

    @property
    def level(self) -> str:
        """Level such as ``"L5/S1"``."""
        return level_of_label(self.label)

    @property
    def _slopes(self) -> tuple[float, float]:
        """Slopes of the superior rim towards left and posterior."""
        lateral, sagittal = (math.radians(angle) / 2 for angle in (self.lateral_wedge_deg, self.wedge_deg))
        return math.tan(lateral), -math.tan(sagittal)

    @property
    def _rise_mm(self) -> float:
        """Most that the wedges can add to half the height."""
        by_x, by_y = self._slopes
        return abs(by_x) * self.half_lateral_mm + abs(by_y) * self.half_ap_mm

    @property
    def height_max_mm(self) -> float:
        """Largest height: at the centre, domes included."""
        return self.height_mm + self.dome_superior_mm + self.dome_inferior_mm

    @property
    def reach_mm(self) -> NDArray[np.float64]:
        """Half extents of a box around the disc in its own frame."""
        half = 0.5 * self.height_mm + self._rise_mm
        grow = 1.0 + self.bulge
        return np.array(
            [
                self.half_lateral_mm * grow,
                self.half_ap_mm * grow,
                half + max(self.dome_superior_mm, self.dome_inferior_mm),
            ]
        )

    def geometry(self) -> Geometry:
        """Give the true measures in closed form, the surface by quadrature; of the paper's, NaN."""
        n, g, a, b = self.exponent, self.bulge, self.half_lateral_mm, self.half_ap_mm
        plain = 4 * a * b * math.gamma(1 + 1 / n) ** 2 / math.gamma(1 + 2 / n)
        inner = self.height_mm + 0.5 * (self.dome_superior_mm + self.dome_inferior_mm)
        volume = plain * (inner + self.height_mm * (4 / 3 * g + 8 / 15 * g * g))
        footprint = plain * (1 + g) ** 2
        x, y = 0.8 * (1 + g) * a, 0.8 * (1 + g) * b
        anterior, posterior, left, right = (self.height_at(*at) for at in ((0, -y), (0, y), (x, 0), (-x, 0)))
        sagittal, coronal, transverse = angles_of_rotation(self.rotation)
        return Geometry(
            height_mean_mm=volume / footprint,
            width_ap_mm=2 * b * (1 + g),
            width_lateral_mm=2 * a * (1 + g),
            angle_sagittal_deg=sagittal,
            angle_coronal_deg=coronal,
            angle_transverse_deg=transverse,
            wedge_deg=self.wedge_deg,
            volume_mm3=volume,
            height_anterior_mm=anterior,
            height_middle_mm=self.height_max_mm,
            height_posterior_mm=posterior,
            height_dabbs_mm=(anterior + posterior) / 2,
            height_fyllos_mm=(anterior + self.height_max_mm + posterior) / 3,
            height_hurxthal_mm=self.height_max_mm,
            asymmetry_mm=left - right,
            bulge_mm=g * math.sqrt(plain / math.pi),
            footprint_mm2=footprint,
            surface_mm2=self._surface_mm2(),
        )

    def height_at(self, x: float, y: float) -> float:
        """Height along the disc's own axis at a place of its own frame, mm; 0 outside."""
        rho = float(self.radius(np.array(x), np.array(y)))
        half = float(self.half_height(np.array(x), np.array(y), np.array(rho)))
        if rho <= 1.0:
            return 2 * half + (self.dome_superior_mm + self.dome_inferior_mm) * (1 - rho * rho)
        return 2 * half * math.sqrt(max(1 - (rho - 1) / self.bulge, 0.0)) if self.bulge > 0 else 0.0

    def _surface_mm2(self, around: int = 512, rings: int = 40) -> float:
        """Area of the whole surface, from small parallelograms on endplates and side wall."""
        theta = (np.arange(around + 1) - 0.5) * (2 * math.pi / around)
        rim = (np.abs(np.cos(theta)) ** self.exponent + np.abs(np.sin(theta)) ** self.exponent) ** (
            -1 / self.exponent
        )
        x, y = self.half_lateral_mm * rim * np.cos(theta), self.half_ap_mm * rim * np.sin(theta)
        rho = np.linspace(0.0, 1.0, rings + 1)[:, None]
        level = np.linspace(-1.0, 1.0, rings + 1)[:, None]
        half = self.half_height(x, y, np.ones_like(x))
        grow = 1 + self.bulge * (1 - level**2)
        patches = [np.stack(np.broadcast_arrays(grow * x, grow * y, level * half), axis=-1)]
        for dome in (self.dome_superior_mm, self.dome_inferior_mm):
            height = self.half_height(rho * x, rho * y, rho) + dome * (1 - rho**2)
            patches.append(np.stack(np.broadcast_arrays(rho * x, rho * y, height), axis=-1))
        total = 0.0
        for patch in patches:
            across = patch[1:, 1:] - patch[:-1, :-1]
            along = patch[1:, :-1] - patch[:-1, 1:]
            total += 0.5 * float(np.linalg.norm(np.cross(across, along), axis=-1).sum())
        return total

    def radius(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """Superellipse radius ``rho`` of points of the disc's own frame."""
        n = self.exponent
        total: FloatArray = np.abs(x / self.half_lateral_mm) ** n + np.abs(y / self.half_ap_mm) ** n
        return total ** (1.0 / n)

    def half_height(self, x: FloatArray, y: FloatArray, rho: FloatArray) -> FloatArray:
        """Half the height of the disc without domes, mm; beyond the rim that of the rim in this direction."""
        by_x, by_y = self._slopes
        half: FloatArray = 0.5 * self.height_mm + by_y * y / np.maximum(rho, 1.0)
        if by_x:
            half = half + by_x * x / np.maximum(rho, 1.0)
        return half

    def inside(self, x: FloatArray, y: FloatArray, z: FloatArray) -> NDArray[np.bool_]:
        """Tell which points of the disc's own frame lie in the disc."""
        rho = self.radius(x, y)
        half = self.half_height(x, y, rho)
        dome = np.maximum(1.0 - rho * rho, 0.0)
        across = z / half
        inside: NDArray[np.bool_] = (
            (z <= half + self.dome_superior_mm * dome)
            & (z >= -half - self.dome_inferior_mm * dome)
            & (rho <= 1.0 + self.bulge * np.maximum(1.0 - across * across, 0.0))
        )
        return inside

    def above(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Height of points of the disc's own frame over its superior surface, mm."""
        rho = self.radius(x, y)
        top = self.half_height(x, y, rho) + self.dome_superior_mm * np.maximum(1.0 - rho * rho, 0.0)
        return z - top

    def below(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """Depth of points of the disc's own frame under its inferior surface, mm."""
        rho = self.radius(x, y)
        bottom = self.half_height(x, y, rho) + self.dome_inferior_mm * np.maximum(1.0 - rho * rho, 0.0)
        return -z - bottom

    def moved(self, rotation: NDArray[np.float64], shift_mm: NDArray[np.float64]) -> PhantomDisc:
        """Turn the disc about the world's origin, then shift it."""
        return replace(
            self, centre_lps=rotation @ self.centre_lps + shift_mm, rotation=rotation @ self.rotation
        )


def single_disc(
    height_mm: float = 9.0,
    *,
    tilt_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    centre_lps: tuple[float, float, float] = (0.0, 0.0, 0.0),
    half_lateral_mm: float = 25.0,
    half_ap_mm: float = 18.0,
    label: int = 201,
    **shape: float,
) -> PhantomDisc:
    """Make one isolated disc.

    Parameters
    ----------
    height_mm
        Height of the rim, averaged over the footprint; the mean height is ``geometry().height_mean_mm``.
    tilt_deg
        Sagittal, coronal and transverse angle of the disc, exactly those of its ``geometry()``.
    centre_lps
        Origin of its own frame, mm.
    half_lateral_mm, half_ap_mm
        Half widths without bulge.
    label
        Disc label.
    **shape
        Other fields of :class:`PhantomDisc`: ``exponent``, ``dome_superior_mm``, ``wedge_deg``, ``bulge`` ...

    Examples
    --------
    >>> truth = single_disc(8.0, dome_superior_mm=2.0, tilt_deg=(10.0, 0.0, 0.0)).geometry()
    >>> round(truth.height_mean_mm, 9), round(truth.angle_sagittal_deg, 9)
    (9.0, 10.0)
    """
    return PhantomDisc(
        label=label,
        centre_lps=np.array(centre_lps, dtype=np.float64),
        rotation=rotation_from_angles(tilt_deg),
        height_mm=height_mm,
        half_lateral_mm=half_lateral_mm,
        half_ap_mm=half_ap_mm,
        **shape,  # type: ignore[arg-type]
    )
