"""Soft tissues that follow the spine: the torso's wall, muscles, fat, vessels, the canal and its nerves."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from discometry.core.phantom_anatomy import Phantom, Structure
from discometry.core.volume import Grid

__all__ = ["SoftField"]

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class SoftField:
    """A phantom's own coordinates at the voxels of a grid, and what lies there."""

    phantom: Phantom
    grid: Grid

    @cached_property
    def _axes(self) -> tuple[Floats, Floats, Floats]:
        """Coordinates x, y, z in the phantom's frame; z has one value a slice where the axes allow it."""
        pose = self.phantom.pose
        matrix = pose.rotation.T @ self.grid.affine[:3, :3]
        offset = pose.rotation.T @ (self.grid.affine[:3, 3] - pose.centre)
        found = []
        for row, shift in zip(matrix, offset, strict=True):
            total = np.full((1, 1, 1), shift)
            for axis, weight in enumerate(row):
                if abs(weight) > 1e-9:
                    shape = [1, 1, 1]
                    shape[axis] = -1
                    total = total + (weight * np.arange(self.grid.shape[axis])).reshape(shape)
            found.append(total.astype(np.float32))
        return found[0], found[1], found[2]

    @cached_property
    def _rows(self) -> NDArray[np.intp]:
        z, course = self._axes[2], self.phantom.course
        step = course.z[1] - course.z[0]
        rows = np.rint((z - np.float32(course.z[0])) / np.float32(step))
        found: NDArray[np.intp] = np.clip(rows, 0, len(course.z) - 1).astype(np.intp)
        return found

    def _along(self, values: NDArray[np.float64]) -> Floats:
        """Value of a tabulated curve at each voxel's height."""
        return values.astype(np.float32)[self._rows]

    def paint_outside(self, codes: Codes) -> NDArray[np.bool_]:
        """Paint air, skin, fat, muscles and great vessels over the whole grid; tell where organs may lie."""
        course, phantom = self.phantom.course, self.phantom
        x, y, _ = self._axes
        u = np.abs(x - self._along(course.spine_x))
        v = y - self._along(course.spine_y)
        depth = self._along(course.depth)
        front = float(np.median(course.spine_y)) - phantom.anterior_mm
        wide = phantom.half_torso_mm
        skin, fascia = self._along(course.skin_y), self._along(course.fascia_y)
        # A shallow furrow runs down the middle of the back.
        furrow = 4.0 * np.exp(-((u / 13.0) ** 2))
        skin, fascia = skin - furrow, fascia - furrow
        flat = _Shell(x - self._along(course.spine_x), y)
        codes[flat.inside(wide, front, skin)] = Structure.SKIN
        codes[flat.inside(wide - 2.0, front + 2.0, skin - 2.0)] = Structure.FAT
        codes[flat.inside(wide - 16.0, front + 18.0, fascia)] = Structure.FASCIA
        wall = flat.inside(wide - 17.2, front + 19.2, fascia - 1.2)
        codes[wall] = Structure.MUSCLE
        back = depth + 13.0 - 0.003 * u * u
        hollow = flat.inside(wide - 30.0, front + 30.0, fascia - 1.2) & (v < back) & (u < wide - 30.0)
        codes[hollow] = Structure.FAT
        codes[hollow & (v < 0.002 * u * u - depth - 28.0)] = Structure.MESENTERY
        muscle = v - back
        septum = np.abs(u - 24.0 - 0.35 * muscle) < 0.6
        lateral = (u > 66.0 - 0.25 * muscle) & (muscle > 0)
        codes[wall & (muscle > 0) & septum] = Structure.FAT
        codes[wall & (muscle > 0) & (u < 2.2)] = Structure.INTERSPINOUS
        codes[wall & lateral & (muscle < 22.0) & (u < 95.0)] = Structure.FAT
        self._paint_muscles(codes, u, v, hollow)
        self._paint_vessels(codes, x - self._along(course.spine_x), v, hollow)
        span = self._along(course.width)
        band = (u / (0.8 * span)) ** 2 + (v / (depth + 2.2)) ** 2 < 1
        codes[band & (v < 0.2 * depth)] = Structure.LIGAMENT
        free: NDArray[np.bool_] = hollow & ((codes == Structure.FAT) | (codes == Structure.MESENTERY))
        return free

    def _paint_muscles(self, codes: Codes, u: Floats, v: Floats, allowed: NDArray[np.bool_]) -> None:
        """Psoas beside the bodies and quadratus lumborum beside the transverse processes."""
        course = self.phantom.course
        level, depth, width = (self._along(q) for q in (course.level, course.depth, course.width))
        size = np.interp(course.level, (-3.0, -1.0, 0.0, 1.0, 3.0, 4.6, 5.4), (15, 19, 21, 20, 15, 8, 0.01))
        psoas = self._along(size)
        outward = self._along(np.interp(course.level, (-3.0, -1.0, 0.0, 1.0), (34.0, 22.0, 8.0, 2.0)))
        forward = self._along(
            np.interp(course.level, (-3.0, -1.0, 0.0, 1.5, 4.0), (-48.0, -24.0, -8.0, 1.0, 6.0))
        )
        across = (u - width - 0.86 * psoas - outward) / psoas
        along = (v - forward) / (1.25 * psoas)
        codes[allowed & (across**2 + along**2 < 1)] = Structure.MUSCLE
        slab = ((u - width - 42.0) / 17.0) ** 2 + ((v - 0.75 * depth) / 9.0) ** 2 < 1
        codes[allowed & slab & (level > 0.4) & (level < 5.4)] = Structure.MUSCLE

    def _paint_vessels(self, codes: Codes, u: Floats, v: Floats, allowed: NDArray[np.bool_]) -> None:
        """Aorta and vena cava before the bodies, and the iliac vessels that they part into."""
        course = self.phantom.course
        knots = (-3.0, -1.0, 0.0, 1.0, 1.6, 6.0)
        lie = self._along(np.interp(course.level, knots, (2.0, -4.0, -1.0, 2.0, 3.0, 3.0)))
        depth = self._along(course.depth)
        for structure, places, radii in (
            (
                Structure.VENA_CAVA,
                (-50.0, -36.0, -24.0, -15.0, -12.0, -16.0),
                (6.0, 6.5, 7.0, 8.5, 10.0, 10.0),
            ),
            (Structure.VENA_CAVA, (50.0, 34.0, 16.0, -6.0, -12.0, -16.0), (6.0, 6.5, 7.0, 7.0, 8.0, 8.0)),
            (Structure.AORTA, (-52.0, -38.0, -22.0, -6.0, 7.0, 9.0), (4.5, 5.0, 5.5, 6.0, 8.5, 9.5)),
            (Structure.AORTA, (52.0, 40.0, 25.0, 14.0, 8.0, 9.0), (4.5, 5.0, 5.5, 6.0, 8.0, 9.0)),
        ):
            radius = self._along(np.interp(course.level, knots, radii))
            away = u - self._along(np.interp(course.level, knots, places))
            raised = 7.0 if structure == Structure.AORTA else 0.0
            ahead = v + depth + radius + 3.0 - lie + raised * (radius < 7.0)
            codes[allowed & (away**2 + ahead**2 < radius**2)] = structure

    @cached_property
    def _canal(self) -> tuple[NDArray[np.intp], Floats, Floats, NDArray[np.intp]]:
        """Voxels near the canal (flat indices), their places in it and their rows of the course."""
        course = self.phantom.course
        x, y, _ = self._axes
        u = x - self._along(course.canal_x)
        v = (y - self._along(course.canal_y)) * self._along(course.slope)
        near = np.flatnonzero((np.abs(u) < 17.0) & (np.abs(v) < 19.0))
        shape = self.grid.shape
        rows = np.broadcast_to(self._rows, shape).reshape(-1)[near]
        return (
            near,
            np.broadcast_to(u, shape).reshape(-1)[near],
            np.broadcast_to(v, shape).reshape(-1)[near],
            rows,
        )

    def paint_epidural(self, codes: Codes) -> None:
        """Paint the fat around the sac and behind it."""
        course = self.phantom.course
        near, u, v, rows = self._canal
        wide = np.maximum(_pick(course.sac_lateral, rows) + 2.5, 7.0)
        deep = np.maximum(_pick(course.sac_ap, rows) + 1.8, 6.0)
        pad = (np.abs(u) < 7.0 - 0.8 * (v - deep)) & (v > 0) & (v < deep + 7.0)
        _fill(codes, near[((u / wide) ** 2 + (v / deep) ** 2 < 1) | pad], Structure.EPIDURAL_FAT)

    def paint_sac(self, codes: Codes) -> None:
        """Paint the dural sac: fluid, cord down to L1, and the roots of the cauda equina."""
        course = self.phantom.course
        near, u, v, rows = self._canal
        wide, deep = _pick(course.sac_lateral, rows), _pick(course.sac_ap, rows)
        _fill(
            codes, near[(wide > 0) & ((u / (wide + 0.7)) ** 2 + (v / (deep + 0.7)) ** 2 < 1)], Structure.DURA
        )
        inside = (u / np.maximum(wide, 1e-3)) ** 2 + (v / np.maximum(deep, 1e-3)) ** 2 < 1
        near, rows = near[inside], rows[inside]
        u, v, wide, deep = u[inside], v[inside], wide[inside], deep[inside]
        _fill(codes, near, Structure.CSF)
        level = _pick(course.level, rows)
        gather = np.clip((level + 1.0) / 5.5, 0.0, 1.0)
        for across, along, radius in self.phantom.cauda:
            away = u - wide * across * (1.0 - 0.6 * gather)
            ahead = v - deep * (along * (0.55 + 0.25 * gather))
            hit = (
                (away**2 + ahead**2 < radius**2)
                & (level < course.conus_level + 0.4)
                & (level > -1.8 + across)
            )
            _fill(codes, near[hit], Structure.NERVE)
        cord = 4.6 * np.clip((level - course.conus_level) / 0.9, 0.0, 1.0) ** 0.6 + 1e-3
        _fill(codes, near[(u / cord) ** 2 + ((v - 0.15 * deep) / (0.8 * cord)) ** 2 < 1], Structure.CORD)


def _pick(values: NDArray[np.float64], rows: NDArray[np.intp]) -> Floats:
    return values.astype(np.float32)[rows]


def _fill(codes: Codes, where: NDArray[np.intp], structure: Structure) -> None:
    codes.reshape(-1)[where] = structure


@dataclass(frozen=True, eq=False, slots=True)
class _Shell:
    """Cross-sections of the torso: cubic superellipses between a front and a back."""

    u: Floats
    y: Floats

    def inside(self, wide: float, front: float, back: Floats) -> NDArray[np.bool_]:
        across = np.abs(self.u) * np.float32(1 / wide)
        deep = np.abs((self.y - 0.5 * (back + front)) / (0.5 * (back - front)))
        found: NDArray[np.bool_] = across**3 + deep**3 < 1
        return found
