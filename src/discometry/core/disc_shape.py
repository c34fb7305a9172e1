"""The smooth shape fitted to a disc's mask: a frame that turns with the disc, its outline and its endplates.

All is fitted to the faces between inside and outside voxels: an outline to those of the side wall
(:mod:`discometry.core.footprint`), and one polynomial to those of each endplate. The frame's axis is the
normal of the plane midway between the endplates; its long axis follows from the outline. Faces are sorted
by their normal in the frame, so that frame and surfaces are fitted in turn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from discometry.core.footprint import Footprint, RimFaces, Superellipse, fit_footprint, fourier
from discometry.core.volume import Volume
from discometry.core.voxel_surface import VoxelSurface, voxel_surface

__all__ = ["DiscShape", "Frame", "fit_disc_shape"]

FloatArray = NDArray[np.float64]

_LEAST_VOXELS = 24
"""Fewer voxels have a volume, but no shape."""
_LEAST_FACES = 16
"""Fewest faces that each of outline and endplates is fitted to."""
_TURNS = 3
"""How often the frame is fitted anew."""
_RIM_COSINE = 0.72
"""Faces whose normal is within this cosine of the disc's plane belong to the side wall .."""
_ENDPLATE_COSINE = 0.75
""".. and those nearer to the disc's axis than this to an endplate."""
_ENDPLATE_DEGREE = 4
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
        posterior = np.cross(superior, left)
        posterior /= np.linalg.norm(posterior)
        return cls(origin, np.stack([np.cross(posterior, superior), posterior, superior], axis=1))


@dataclass(frozen=True, slots=True)
class DiscShape:
    """A fitted disc: its frame and, in it, the outline and the endplates' planes ``z = c0 + c1 x + c2 y``."""

    frame: Frame
    footprint: Footprint
    left: FloatArray
    """Unit vector (2,) in the frame's plane: the disc's own left."""
    centre: FloatArray
    """Middle of the outline (2,), mm."""
    superior: FloatArray
    inferior: FloatArray

    @property
    def posterior(self) -> FloatArray:
        """Unit vector (2,) in the frame's plane: the disc's own posterior."""
        return np.array([-self.left[1], self.left[0]])

    @property
    def middle(self) -> FloatArray:
        """Plane midway between the endplates."""
        return 0.5 * (self.superior + self.inferior)

    def next_frame(self) -> Frame:
        """Frame whose plane is this shape's middle plane."""
        height, by_x, by_y = self.middle
        x, y = self.centre
        return Frame.along(
            self.frame.origin + self.frame.axes @ np.array([x, y, height + by_x * x + by_y * y]),
            self.frame.axes @ np.array([-by_x, -by_y, 1.0]),
            self.frame.axes[:, :2] @ self.left,
        )

    def angles_deg(self) -> tuple[float, float, float]:
        """Sagittal, coronal and transverse angle: traces of the plane, and the long axis seen from above."""
        left, _, superior = self.next_frame().axes.T
        return (
            math.degrees(math.atan2(superior[1], superior[2])),
            math.degrees(math.atan2(-superior[0], superior[2])),
            math.degrees(math.atan2(left[1], left[0])),
        )

    def widths_mm(self) -> tuple[float, float]:
        """Lateral and anterior-posterior extent of the outline along the disc's own axes."""
        outline = self.footprint.outline
        return float(np.ptp(outline @ self.left)), float(np.ptp(outline @ self.posterior))

    def wedge_deg(self) -> float:
        """Angle between the endplates in the disc's own sagittal plane; > 0: open anteriorly."""
        upper = float(self.superior[1:] @ self.posterior)
        lower = float(self.inferior[1:] @ self.posterior)
        return math.degrees(math.atan(lower) - math.atan(upper))

    def plausible(self, inside: Volume) -> bool:
        """Whether the outline's area is near that of the mask's voxel columns, seen along the disc's axis."""
        grid = inside.grid
        columns = np.count_nonzero(inside.array.any(axis=2))
        across = abs(float(np.cross(grid.affine[:3, 0], grid.affine[:3, 1]) @ grid.direction[:, 2]))
        tilt = abs(float(self.frame.axes[:, 2] @ grid.direction[:, 2]))
        seen = columns * across / max(tilt, 0.2)
        return bool(0.6 < self.footprint.area_mm2 / seen < 1.5)


def fit_disc_shape(inside: Volume) -> DiscShape | None:
    """Fit frame, outline and endplates in turn; None where the mask has too little of one of them."""
    index = np.argwhere(inside.array)
    if len(index) < _LEAST_VOXELS or min(inside.array.shape) < 2:
        return None
    frame, base = _first_frame(index @ inside.grid.affine[:3, :3].T)
    surface = voxel_surface(inside)
    shape: DiscShape | None = None
    for turn in range(_TURNS):
        shape = _fit_in_frame(inside, surface, frame, base, rough=turn + 1 < _TURNS)
        if shape is None:
            return None
        frame, base = shape.next_frame(), _in_next_frame(shape)
    return shape


def _in_next_frame(shape: DiscShape) -> Superellipse:
    """Give the outline's superellipse as it stands in the shape's next frame."""
    base = shape.footprint.base
    turn = base.angle_rad - math.atan2(shape.left[1], shape.left[0])
    moved = np.asarray(base.centre) - shape.centre
    return replace(base, centre=(float(moved @ shape.left), float(moved @ shape.posterior)), angle_rad=turn)


def _first_frame(points: FloatArray) -> tuple[Frame, Superellipse]:
    """Frame and outline from the principal axes of the voxels (n, 3), mm."""
    origin = points.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov(points.T))
    # The thinnest axis, unless it is far from upright, as in a slab thinner than its disc is high.
    upright = int(np.argmax(np.abs(axes[2]))) if abs(axes[2, 0]) < 0.5 else 0
    superior = axes[:, upright] * np.sign(axes[2, upright])
    frame = Frame.along(origin, superior, np.array([1.0, 0.0, 0.0]))
    plane = (points - origin) @ frame.axes[:, :2]
    angle = _lateral_angle(np.cov(plane.T))
    spread = plane @ np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    a, b = 2.0 * np.maximum(spread.std(axis=0), 0.5)
    return frame, Superellipse(half_mm=(float(a), float(b)), angle_rad=angle)


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
    spacing = np.asarray(inside.grid.spacing_mm)
    xyz = (surface.points - frame.origin) @ frame.axes
    normals = surface.normals @ frame.axes
    along = (inside.grid.direction.T @ frame.axes)[surface.axis]
    rim = _rim_faces(xyz, normals, along, spacing[surface.axis], base, float(spacing.min()))
    if rim is None:
        return None
    footprint = fit_footprint(rim, base, rough=rough)
    unit = footprint.base.to_unit(xyz[:, :2])
    near = footprint.contains(unit, margin=0.05)
    points, weights = footprint.quadrature()
    at = footprint.base.from_unit(points)
    planes = []
    for side in (1.0, -1.0):
        faces = near & (side * normals[:, 2] > _ENDPLATE_COSINE)
        if np.count_nonzero(faces) < _LEAST_FACES:
            return None
        step = spacing[surface.axis[faces]]
        known = np.einsum("ij,ij->i", normals[faces], along[faces]) * step
        precision = 1.0 / (known**2 / 12.0 * (step / spacing.min()) ** 2 + (0.15 * spacing.min()) ** 2)
        planes.append(_endplate_plane(unit[faces], xyz[faces, 2], precision, (points, at, weights)))
    centre = weights @ at
    moments = (at - centre).T @ ((at - centre) * weights[:, None])
    angle = _long_axis(moments, footprint.base.angle_rad, frame)
    return DiscShape(
        frame=frame,
        footprint=footprint,
        left=np.array([math.cos(angle), math.sin(angle)]),
        centre=centre,
        superior=planes[0],
        inferior=planes[1],
    )


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
    xyz: FloatArray,
    normals: FloatArray,
    along: FloatArray,
    step_mm: FloatArray,
    base: Superellipse,
    finest_mm: float,
) -> RimFaces | None:
    """Pick the faces of the side wall and tell how high between its edges each lies."""
    unit = base.to_unit(xyz[:, :2])
    radius, _, _ = base.radius(unit)
    outward = np.einsum("ij,ij->i", normals[:, :2], xyz[:, :2] - base.centre) > 0.0
    wall = (np.abs(normals[:, 2]) < _RIM_COSINE) & outward & (radius > 0.4)
    if np.count_nonzero(wall) < _LEAST_FACES:
        return None
    # Middle and half height of the wall, smooth around the rim; a uniform spread has its mean at half.
    terms, _ = fourier(np.arctan2(unit[wall, 1], unit[wall, 0]), 4)
    normal = terms.T @ terms + np.eye(terms.shape[1])
    above = xyz[wall, 2] - terms @ np.linalg.solve(normal, terms.T @ xyz[wall, 2])
    half = 2.0 * (terms @ np.linalg.solve(normal, terms.T @ np.abs(above)))
    half = np.maximum(half, min(0.5, finest_mm))
    level = above / half
    kept = np.abs(level) < 2.0
    chosen = np.flatnonzero(wall)[kept]
    if len(chosen) < _LEAST_FACES:
        return None
    return RimFaces(
        xy=xyz[chosen, :2],
        level=level[kept],
        level_per_mm=1.0 / half[kept],
        along=along[chosen],
        step_mm=step_mm[chosen],
        finest_mm=finest_mm,
    )


def _endplate_plane(
    unit: FloatArray,
    height: FloatArray,
    precision: FloatArray,
    over: tuple[FloatArray, FloatArray, FloatArray],
) -> FloatArray:
    """Fit a polynomial to an endplate's faces, and to it the plane over the whole footprint.

    The way round over the polynomial gives both endplates the same domain, so that their domes tilt neither.
    """
    points, at, weights = over
    powers = [(i, j) for i in range(_ENDPLATE_DEGREE + 1) for j in range(_ENDPLATE_DEGREE + 1 - i)]
    design = _monomials(unit, powers)
    scaled = design * precision[:, None]
    normal = scaled.T @ design
    stiff = np.array([1e-4 * (i + j) if i + j >= 3 else 1e-9 for i, j in powers])
    normal[np.diag_indices_from(normal)] += stiff * precision.sum()
    surface = _monomials(points, powers) @ np.linalg.solve(normal, scaled.T @ height)
    plane = np.column_stack([np.ones(len(at)), at])
    weighted = plane * weights[:, None]
    return np.asarray(np.linalg.solve(weighted.T @ plane, weighted.T @ surface), dtype=np.float64)


def _monomials(points: FloatArray, powers: list[tuple[int, int]]) -> FloatArray:
    """Products x^i y^j (n, m) of points (n, 2)."""
    x = [np.ones(len(points))]
    y = [np.ones(len(points))]
    for _ in range(_ENDPLATE_DEGREE):
        x.append(x[-1] * points[:, 0])
        y.append(y[-1] * points[:, 1])
    return np.stack([x[i] * y[j] for i, j in powers], axis=1)
