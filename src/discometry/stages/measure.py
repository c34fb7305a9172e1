"""Measure a disc: height, widths, angles, wedge and volume in mm and degrees, from its mask.

Volume is the voxels' own, which is unbiased. Everything else comes from three smooth surfaces fitted to the faces
between inside and outside voxels, in a frame that turns with the disc: an outline of the side wall
(:mod:`discometry.core.footprint`) and one polynomial for each endplate. The frame's axis is the normal of the
plane midway between the endplates; its long axis is the outline's principal axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from discometry.core.footprint import Footprint, RimFaces, Superellipse, fit_footprint, fourier
from discometry.core.records import Disc, Geometry
from discometry.core.volume import Volume
from discometry.core.voxel_surface import VoxelSurface, voxel_surface

__all__ = ["measure", "measure_mask"]

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
"""The principal axis this near to left-right is the lateral one, whichever is longer: slabs are short across."""


def measure(disc: Disc) -> Geometry:
    """Measure one disc.

    Parameters
    ----------
    disc
        A disc as :mod:`discometry.stages.separate` hands it on.

    Returns
    -------
    Its measures; NaN where the mask is too small or too odd for one to be known.
    """
    return measure_mask(disc.mask)


def measure_mask(mask: Volume) -> Geometry:
    """Measure one disc from its mask; the result does not depend on the order or direction of the array axes.

    Parameters
    ----------
    mask
        Volume that is non-zero in the disc.

    Returns
    -------
    The disc's measures. All NaN for an empty mask; only volume and what is plain to see (the ``paper_`` group)
    for one too small, flat or odd to have a shape.
    """
    inside = _tight(mask.oriented())
    if inside is None:
        return Geometry()
    volume = float(np.count_nonzero(inside.array)) * inside.grid.voxel_volume_mm3
    plain = replace(_paper_measures(inside), volume_mm3=volume)
    shape = _fit_shape(inside)
    if shape is None or not shape.plausible(inside):
        return plain
    sagittal, coronal, transverse = shape.angles_deg()
    lateral, ap = shape.widths_mm()
    area = shape.footprint.area_mm2
    return replace(
        plain,
        height_mean_mm=volume / area,
        width_ap_mm=ap,
        width_lateral_mm=lateral,
        angle_sagittal_deg=sagittal,
        angle_coronal_deg=coronal,
        angle_transverse_deg=transverse,
        wedge_deg=shape.wedge_deg(),
        footprint_mm2=area,
    )


def _tight(mask: Volume) -> Volume | None:
    """Cut a mask to the box of its voxels; None if it has none."""
    array = mask.array != 0
    used = [np.flatnonzero(array.any(axis=tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if used[0].size == 0:
        return None
    return mask.with_array(array).cropped([u[0] for u in used], [u[-1] + 1 for u in used])


# --- The paper's definitions -------------------------------------------------------------------------------------


def _paper_measures(inside: Volume) -> Geometry:
    """Measure as the paper does, slice by slice, but in mm along the world's axes.

    Disc height is the mean superior-inferior extent of the mask's pixel columns in all sagittal slices, widths
    are extents on the middle slices, and the angles are those of the principal axis of the pixels of the middle
    slices. Extents run from edge to edge of the outermost voxels, holes included.
    """
    array, spacing = inside.array, inside.grid.spacing_mm
    middle = [(n - 1) // 2 for n in array.shape]
    columns = _extents(array, axis=2)
    sagittal = _slice_points(inside, axis=0, at=middle[0])
    coronal = _slice_points(inside, axis=1, at=middle[1])
    axial = _slice_points(inside, axis=2, at=middle[2])
    return Geometry(
        paper_height_mm=float(columns[columns > 0].mean()) * spacing[2],
        paper_width_ap_mm=_extent(array[middle[0]].any(axis=1)) * spacing[1],
        paper_width_lateral_mm=_extent(array[:, :, middle[2]].any(axis=1)) * spacing[0],
        paper_angle_sagittal_deg=_principal_angle(-sagittal[:, 1], sagittal[:, 2]),
        paper_angle_coronal_deg=_principal_angle(coronal[:, 0], coronal[:, 2]),
        paper_angle_transverse_deg=_principal_angle(axial[:, 0], axial[:, 1]),
    )


def _extents(array: NDArray[np.bool_], *, axis: int) -> NDArray[np.intp]:
    """Voxels from the first to the last inside along an axis, both counted."""
    first = np.argmax(array, axis=axis)
    last = array.shape[axis] - 1 - np.argmax(np.flip(array, axis), axis=axis)
    extents: NDArray[np.intp] = np.where(array.any(axis=axis), last - first + 1, 0)
    return extents


def _extent(line: NDArray[np.bool_]) -> float:
    """Voxels from the first to the last inside; NaN for none."""
    return float(_extents(line, axis=0)) or math.nan


def _slice_points(inside: Volume, *, axis: int, at: int) -> FloatArray:
    """Positions (n, 3) of the voxels of one slice, mm along L, P, S from the mask's corner."""
    index = np.argwhere(np.take(inside.array, [at], axis=axis)).astype(np.float64)
    points: FloatArray = index @ inside.grid.affine[:3, :3].T
    return points


def _principal_angle(across: FloatArray, up: FloatArray) -> float:
    """Angle (degrees, -90 to 90) of the principal axis of points against ``across``, towards ``up``."""
    if len(across) < 3:
        return math.nan
    (xx, xy), (_, yy) = np.cov(across, up)
    return math.degrees(0.5 * math.atan2(2.0 * xy, xx - yy))


# --- The fitted shape --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Frame:
    """Origin (mm from the mask's first voxel) and axes (3x3; columns towards left, posterior, superior)."""

    origin: FloatArray
    axes: FloatArray

    @classmethod
    def along(cls, origin: FloatArray, superior: FloatArray, left: FloatArray) -> _Frame:
        """Build a frame from its superior axis and a direction near its left axis."""
        superior = superior / np.linalg.norm(superior)
        posterior = np.cross(superior, left)
        posterior /= np.linalg.norm(posterior)
        return cls(origin, np.stack([np.cross(posterior, superior), posterior, superior], axis=1))


@dataclass(frozen=True, slots=True)
class _Shape:
    """A fitted disc: its frame and, in it, the outline and the planes ``z = c0 + c1 x + c2 y`` of the endplates."""

    frame: _Frame
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

    def next_frame(self) -> _Frame:
        """Frame whose plane is this shape's middle plane."""
        height, by_x, by_y = self.middle
        x, y = self.centre
        return _Frame.along(
            self.frame.origin + self.frame.axes @ np.array([x, y, height + by_x * x + by_y * y]),
            self.frame.axes @ np.array([-by_x, -by_y, 1.0]),
            self.frame.axes[:, :2] @ self.left,
        )

    def angles_deg(self) -> tuple[float, float, float]:
        """Sagittal, coronal and transverse angle: the traces of the plane, and the long axis seen from above."""
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
        return 0.6 < self.footprint.area_mm2 / seen < 1.5


def _fit_shape(inside: Volume) -> _Shape | None:
    """Fit frame, outline and endplates in turn; None where the mask has too little of one of them."""
    index = np.argwhere(inside.array)
    if len(index) < _LEAST_VOXELS or min(inside.array.shape) < 2:
        return None
    frame, base = _first_frame(index @ inside.grid.affine[:3, :3].T)
    surface = voxel_surface(inside)
    shape: _Shape | None = None
    for turn in range(_TURNS):
        shape = _fit_in_frame(inside, surface, frame, base, rough=turn + 1 < _TURNS)
        if shape is None:
            return None
        frame = shape.next_frame()
        base = replace(shape.footprint.base, centre=(0.0, 0.0), angle_rad=0.0)
        base = _turned(base, shape)
    return shape


def _turned(base: Superellipse, shape: _Shape) -> Superellipse:
    """Give the outline's superellipse as it stands in the shape's next frame."""
    old = shape.footprint.base
    turn = old.angle_rad - math.atan2(shape.left[1], shape.left[0])
    moved = np.asarray(old.centre) - shape.centre
    return replace(
        base, centre=(float(moved @ shape.left), float(moved @ shape.posterior)), angle_rad=turn
    )


def _first_frame(points: FloatArray) -> tuple[_Frame, Superellipse]:
    """Frame and outline from the principal axes of the voxels (n, 3), mm."""
    origin = points.mean(axis=0)
    _, axes = np.linalg.eigh(np.cov(points.T))
    # The thinnest axis, unless it is far from upright, as in a slab thinner than its disc is high.
    upright = int(np.argmax(np.abs(axes[2]))) if abs(axes[2, 0]) < 0.5 else 0
    superior = axes[:, upright] * np.sign(axes[2, upright])
    frame = _Frame.along(origin, superior, np.array([1.0, 0.0, 0.0]))
    plane = (points - origin) @ frame.axes[:, :2]
    angle = _lateral_angle(np.cov(plane.T))
    spread = plane @ np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    a, b = 2.0 * np.maximum(spread.std(axis=0), 0.5)
    return frame, Superellipse(half_mm=(float(a), float(b)), angle_rad=angle)


def _lateral_angle(moments: FloatArray) -> float:
    """Angle (rad) of the principal axis of second moments (2x2) that is the lateral one, against the first axis."""
    angle = 0.5 * math.atan2(2.0 * moments[0, 1], moments[0, 0] - moments[1, 1])
    if abs(angle) > _LATERAL_WITHIN_RAD:
        angle -= math.copysign(0.5 * math.pi, angle)
    return angle


def _fit_in_frame(
    inside: Volume, surface: VoxelSurface, frame: _Frame, base: Superellipse, *, rough: bool
) -> _Shape | None:
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
    return _Shape(
        frame=frame,
        footprint=footprint,
        left=np.array([math.cos(angle), math.sin(angle)]),
        centre=centre,
        superior=planes[0],
        inferior=planes[1],
    )


def _long_axis(moments: FloatArray, fitted: float, frame: _Frame) -> float:
    """Angle (rad) of the disc's own left axis in the frame's plane.

    It is midway between the outline's principal axis, from its second moments (2x2), and the axis ``fitted`` with
    the superellipse: their errors are nearly independent. Whichever axis is nearer to the world's left-right
    than 60 degrees counts as the lateral one, the longer first.
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

    The way round over the polynomial gives both endplates the same footprint, so that their domes tilt neither.
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
    coefficients: FloatArray = np.linalg.solve(weighted.T @ plane, weighted.T @ surface)
    return coefficients


def _monomials(points: FloatArray, powers: list[tuple[int, int]]) -> FloatArray:
    """Products x^i y^j (n, m) of points (n, 2)."""
    x = [np.ones(len(points))]
    y = [np.ones(len(points))]
    for _ in range(_ENDPLATE_DEGREE):
        x.append(x[-1] * points[:, 0])
        y.append(y[-1] * points[:, 1])
    return np.stack([x[i] * y[j] for i, j in powers], axis=1)
