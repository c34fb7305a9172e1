"""The smooth shape fitted to a disc's mask: a frame that turns with the disc, its outline and its endplates.

All is fitted to the faces between inside and outside voxels: an outline to those of the side wall
(:mod:`discometry.core.footprint`), and one polynomial to those of each endplate
(:mod:`discometry.core.endplate`). The frame's axis is the
normal of the plane midway between the endplates; its long axis follows from the outline. Faces are sorted
by their normal in the frame, so that frame and surfaces are fitted in turn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from discometry.core.endplate import Endplate, EndplateFaces, fit_endplate, monomials
from discometry.core.footprint import Footprint, RimFaces, Superellipse, fit_footprint, fourier
from discometry.core.volume import Volume
from discometry.core.voxel_surface import VoxelSurface

__all__ = ["DiscShape", "Frame", "fit_disc_shape"]

FloatArray = NDArray[np.float64]

_LEAST_VOXELS = 24
"""Fewer voxels have a volume, but no shape."""
_LEAST_FACES = 16
"""Fewest faces that each of outline and endplates is fitted to."""
_ROUGH_FACES = 1200
"""About how many faces the first fit, which finds the frame, is content with."""
_RIM_COSINE = 0.72
"""Faces whose normal is within this cosine of the disc's plane belong to the side wall .."""
_WITHIN = 0.4
"""Nothing this near to the middle (a part of the half widths) is side wall."""
_ENDPLATE_COSINE = 0.75
""".. and those nearer to the disc's axis than this to an endplate."""
_ENDPLATE_DEGREE = 4
_ROUGH_DEGREE = 2
_LATERAL_WITHIN_RAD = math.pi / 3
"""An axis this near to left-right is the lateral one, whichever is longer: slabs are short across."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Origin (mm from the mask's first voxel) and axes (3x3; columns towards left, posterior, superior)."""

    origin: FloatArray
    axes: FloatArray

    @classmethod
    def along(cls, origin: FloatArray, superior: FloatArray, left: FloatArray) -> Frame:
        """Build a frame from its superior axis and a direction near its left axis."""
        superior = superior / np.linalg.norm(superior)
        left = left - (left @ superior) * superior
        left /= np.linalg.norm(left)
        return cls(origin, np.stack([left, np.cross(superior, left), superior], axis=1))


@dataclass(frozen=True, slots=True)
class DiscShape:
    """A fitted disc: its frame and, in it, the outline, the endplates and their planes.

    A plane is ``z = c0 + c1 x + c2 y`` over mm of the frame; ``to_plane`` (3, m) takes an endplate's
    coefficients to those of its plane.
    """

    frame: Frame
    footprint: Footprint
    left: FloatArray
    """Unit vector (2,) in the frame's plane: the disc's own left."""
    centre: FloatArray
    """Middle of the outline (2,), mm."""
    moments: FloatArray
    """Second moments (2, 2) of the area inside the outline about its middle, mm2."""
    superior: Endplate
    inferior: Endplate
    to_plane: FloatArray
    shift_mm: FloatArray
    """How far (2,) the superior endplate's middle lies from the inferior's in the frame's plane."""
    wall_mm: float
    """Half the height of the side wall over which its faces were found."""

    @property
    def posterior(self) -> FloatArray:
        """Unit vector (2,) in the frame's plane: the disc's own posterior."""
        return np.array([-self.left[1], self.left[0]])

    @property
    def planes(self) -> tuple[FloatArray, FloatArray]:
        """Planes of the superior and the inferior endplate."""
        return self.to_plane @ self.superior.coefficients, self.to_plane @ self.inferior.coefficients

    def next_frame(self) -> Frame:
        """Frame whose plane is midway between the endplates' planes."""
        superior, inferior = self.planes
        height, by_x, by_y = 0.5 * (superior + inferior)
        x, y = self.centre
        return Frame.along(
            self.frame.origin + self.frame.axes @ np.array([x, y, height + by_x * x + by_y * y]),
            self.frame.axes @ np.array([-by_x, -by_y, 1.0]),
            self.frame.axes[:, :2] @ self.left,
        )

    def endplate_frame(self, side: float) -> tuple[FloatArray, FloatArray]:
        """Middle (3,) and axes (3, 3) of the superior (``side`` 1) or inferior (-1) endplate.

        The third axis is the normal of the endplate's plane, away from the disc; the middle is in mm from the
        mask's first voxel.
        """
        plane = self.planes[0 if side > 0 else 1]
        middle = np.array([*self.centre, plane @ (1.0, *self.centre)])
        outward = side * self.frame.axes @ np.array([-plane[1], -plane[2], 1.0])
        left = self.frame.axes[:, :2] @ self.left
        axes = Frame.along(middle, outward, left).axes
        return self.frame.origin + self.frame.axes @ middle, axes

    def plausible(self, inside: Volume) -> bool:
        """Whether the outline's area is near that of the mask's voxel columns, seen along the disc's axis."""
        grid = inside.grid
        columns = np.count_nonzero(inside.array.any(axis=2))
        across = abs(float(np.cross(grid.affine[:3, 0], grid.affine[:3, 1]) @ grid.direction[:, 2]))
        tilt = abs(float(self.frame.axes[:, 2] @ grid.direction[:, 2]))
        seen = columns * across / max(tilt, 0.2)
        return bool(0.6 < self.footprint.area_mm2 / seen < 1.5)


def fit_disc_shape(inside: Volume, surface: VoxelSurface) -> DiscShape | None:
    """Fit the frame roughly, and in it outline and endplates; None where the mask has too little of one.

    Parameters
    ----------
    inside
        Boolean mask.
    surface
        Its faces.
    """
    if np.count_nonzero(inside.array) < _LEAST_VOXELS or min(inside.array.shape) < 2:
        return None
    few = surface.thinned(_ROUGH_FACES)
    rough = _fit_in_frame(inside, few, *_first_frame(inside), rough=True)
    if rough is None:
        return None
    return _fit_in_frame(inside, surface, rough.next_frame(), _in_next_frame(rough), rough=False)


def _in_next_frame(shape: DiscShape) -> Superellipse:
    """Give the outline's superellipse as it stands in the shape's next frame."""
    base = shape.footprint.base
    turn = base.angle_rad - math.atan2(shape.left[1], shape.left[0])
    moved = np.asarray(base.centre) - shape.centre
    return replace(base, centre=(float(moved @ shape.left), float(moved @ shape.posterior)), angle_rad=turn)


def _first_frame(inside: Volume) -> tuple[Frame, Superellipse]:
    """Frame and outline from the mean and the principal axes of the voxels."""
    mean, moments = _voxel_moments(inside)
    _, axes = np.linalg.eigh(moments)
    # The thinnest axis, unless it is far from upright, as in a slab thinner than its disc is high.
    upright = int(np.argmax(np.abs(axes[2]))) if abs(axes[2, 0]) < 0.5 else 0
    superior = axes[:, upright] * np.sign(axes[2, upright])
    frame = Frame.along(mean, superior, np.array([1.0, 0.0, 0.0]))
    plane = frame.axes[:, :2].T @ moments @ frame.axes[:, :2]
    angle = _lateral_angle(plane)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    a, b = 2.0 * np.maximum(np.sqrt(np.diag(turn.T @ plane @ turn)), 0.5)
    return frame, Superellipse(half_mm=(float(a), float(b)), angle_rad=angle)


def _voxel_moments(inside: Volume) -> tuple[FloatArray, FloatArray]:
    """Mean place (3,) of the voxels, mm from the first, and their second moments about it (3, 3), mm2."""
    places = [np.arange(n, dtype=np.float64) for n in inside.array.shape]
    seen = [inside.array.sum(axis=axis, dtype=np.float64) for axis in range(3)]
    count = seen[0].sum()
    mean = np.array(
        [places[0] @ seen[1].sum(axis=1), places[1] @ seen[0].sum(axis=1), places[2] @ seen[0].sum(axis=0)]
    )
    mean /= count
    moments = np.empty((3, 3))
    for first, second, along in ((0, 1, 2), (0, 2, 1), (1, 2, 0)):
        x, y = places[first] - mean[first], places[second] - mean[second]
        moments[first, second] = moments[second, first] = x @ seen[along] @ y / count
        moments[first, first] = x**2 @ seen[along].sum(axis=1) / count
        moments[second, second] = y**2 @ seen[along].sum(axis=0) / count
    to_mm = inside.grid.affine[:3, :3]
    return to_mm @ mean, to_mm @ moments @ to_mm.T


def _lateral_angle(moments: FloatArray) -> float:
    """Angle (rad) of the lateral principal axis of second moments (2x2), against the first axis."""
    angle = 0.5 * math.atan2(2.0 * moments[0, 1], moments[0, 0] - moments[1, 1])
    if abs(angle) > _LATERAL_WITHIN_RAD:
        angle -= math.copysign(0.5 * math.pi, angle)
    return angle


def _fit_in_frame(
    inside: Volume, surface: VoxelSurface, frame: Frame, base: Superellipse, *, rough: bool
) -> DiscShape | None:
    """Fit outline and endplates in a given frame."""
    finest = float(min(inside.grid.spacing_mm))
    xyz = (surface.points - frame.origin) @ frame.axes
    normals = surface.normals @ frame.axes
    rim = _rim_faces(surface, xyz, normals, inside.grid.direction.T @ frame.axes, base)
    if rim is None:
        return None
    footprint = fit_footprint(rim, base, rough=rough)
    endplates, middles = [], []
    for side in (1.0, -1.0):
        faces = np.flatnonzero(side * normals[:, 2] > _ENDPLATE_COSINE)
        covers = surface.covers_mm2[faces]
        middles.append(covers @ xyz[faces, :2] / max(float(covers.sum()), 1e-9))
        unit = footprint.base.to_unit(xyz[faces, :2])
        near = footprint.contains(unit, margin=0.05)
        faces, unit = faces[near], unit[near]
        if len(faces) < _LEAST_FACES:
            return None
        of_side = EndplateFaces(
            unit=unit,
            height=xyz[faces, 2],
            known=surface.known_mm[faces],
            shared=surface.shared[faces],
            finest_mm=finest,
            area_mm2=footprint.area_mm2,
        )
        endplates.append(fit_endplate(of_side, _ROUGH_DEGREE if rough else _ENDPLATE_DEGREE))
    points, weights = footprint.quadrature()
    at = footprint.base.from_unit(points)
    centre = weights @ at
    moments = (at - centre).T @ ((at - centre) * weights[:, None])
    angle = _long_axis(moments, footprint.base.angle_rad, frame)
    return DiscShape(
        frame=frame,
        footprint=footprint,
        left=np.array([math.cos(angle), math.sin(angle)]),
        centre=centre,
        moments=moments,
        superior=endplates[0],
        inferior=endplates[1],
        to_plane=_projection(points, at, weights, endplates[0].degree),
        shift_mm=middles[0] - middles[1],
        wall_mm=float(np.mean(1.0 / rim.level_per_mm)),
    )


def _projection(points: FloatArray, at: FloatArray, weights: FloatArray, degree: int) -> FloatArray:
    """Matrix (3, m) from an endplate's coefficients to the plane nearest to it over the whole footprint.

    The way round over the polynomial gives both endplates the same domain, so that their domes tilt neither.
    """
    plane = np.stack([np.ones(len(at)), at[:, 0], at[:, 1]])
    weighted = plane * weights
    projection = np.linalg.solve(weighted @ plane.T, weighted @ monomials(points, degree).T)
    return np.asarray(projection, dtype=np.float64)


def _long_axis(moments: FloatArray, fitted: float, frame: Frame) -> float:
    """Angle (rad) of the disc's own left axis in the frame's plane.

    It is midway between the outline's principal axis, from its second moments (2x2), and the axis ``fitted``
    with the superellipse: their errors are nearly independent. The longer axis counts as the lateral one
    unless it is more than 60 degrees from the world's left-right.
    """
    angle = 0.5 * math.atan2(2.0 * moments[0, 1], moments[0, 0] - moments[1, 1])
    apart = fitted - angle
    angle += 0.5 * (apart - 0.5 * math.pi * round(apart / (0.5 * math.pi)))
    x, y, _ = frame.axes[:, 0] * math.cos(angle) + frame.axes[:, 1] * math.sin(angle)
    if abs(math.atan2(y, abs(x))) > _LATERAL_WITHIN_RAD:
        angle += 0.5 * math.pi
        x = frame.axes[0, 0] * math.cos(angle) + frame.axes[0, 1] * math.sin(angle)
    return angle if x > 0 else angle + math.pi


def _rim_faces(
    surface: VoxelSurface, xyz: FloatArray, normals: FloatArray, array_axes: FloatArray, base: Superellipse
) -> RimFaces | None:
    """Pick the faces of the side wall and tell how high between its edges each lies."""
    finest = float(surface.step_mm.min())
    upright = np.flatnonzero(np.abs(normals[:, 2]) < _RIM_COSINE)
    outward = np.einsum("ij,ij->i", normals[upright, :2], xyz[upright, :2] - base.centre) > 0.0
    unit = base.to_unit(xyz[upright, :2])
    outer = outward & (unit[:, 0] ** 2 + unit[:, 1] ** 2 > _WITHIN**2)
    wall, unit = upright[outer], unit[outer]
    if len(wall) < _LEAST_FACES:
        return None
    # Middle and half height of the wall, smooth around the rim; a uniform spread has its mean at half.
    terms, _ = fourier(np.arctan2(unit[:, 1], unit[:, 0]), 4)
    normal = terms.T @ terms + np.eye(terms.shape[1])
    above = xyz[wall, 2] - terms @ np.linalg.solve(normal, terms.T @ xyz[wall, 2])
    half = 2.0 * (terms @ np.linalg.solve(normal, terms.T @ np.abs(above)))
    half = np.maximum(half, min(0.5, finest))
    level = above / half
    kept = np.abs(level) < 2.0
    chosen = wall[kept]
    if len(chosen) < _LEAST_FACES:
        return None
    return RimFaces(
        xy=xyz[chosen, :2],
        level=level[kept],
        level_per_mm=1.0 / half[kept],
        along=array_axes[surface.axis[chosen]],
        step_mm=surface.step_mm[chosen],
        shared=surface.shared[chosen],
        finest_mm=finest,
    )
