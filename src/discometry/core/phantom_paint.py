"""Paint the parts of a phantom into an array of codes, each within its own box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from discometry.core.phantom_anatomy import Body, Ellipsoid, Frame, Phantom, Rod, Structure
from discometry.core.phantom_disc import PhantomDisc
from discometry.core.phantom_soft import SoftField
from discometry.core.volume import Grid

__all__ = ["DISC_CODE", "MARROW_CODE", "Canvas", "box_of", "local_axes", "paint", "structure_of_code"]

DISC_CODE = 64
"""Code of the annulus of the first disc; eight codes a disc, see :func:`structure_of_code`."""
MARROW_CODE = 160
"""Code of the marrow of the first vertebral body, one more for each above."""

_DISC_PARTS = (Structure.ANNULUS, Structure.INNER_ANNULUS, Structure.NUCLEUS, Structure.CLEFT)

Floats = NDArray[np.float32]
Window = tuple[slice, slice, slice]


def structure_of_code() -> NDArray[np.uint8]:
    """Look-up table of 256 entries from painted code to :class:`Structure`."""
    table = np.zeros(256, dtype=np.uint8)
    table[: len(Structure)] = np.arange(len(Structure))
    for index in range((MARROW_CODE - DISC_CODE) // 8):
        for part, structure in enumerate(_DISC_PARTS):
            table[DISC_CODE + 8 * index + part] = structure
    table[MARROW_CODE:] = Structure.MARROW
    return table


def box_of(grid: Grid, frame: Frame, low: NDArray[np.float64], high: NDArray[np.float64]) -> Window | None:
    """Voxels of a grid whose centres may lie in a box of a frame; None if there are none."""
    corners = np.array(np.meshgrid(*zip(low, high, strict=True))).reshape(3, -1).T
    index = grid.to_index(corners @ frame.rotation.T + frame.centre)
    first = np.maximum(np.ceil(index.min(axis=0) - 1e-6), 0).astype(int)
    last = np.minimum(np.floor(index.max(axis=0) + 1e-6) + 1, grid.shape).astype(int)
    if (first >= last).any():
        return None
    i, j, k = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
    return i, j, k


def local_axes(
    grid: Grid, frame: Frame, window: Window, dtype: type[np.floating] = np.float32
) -> tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]:
    """Coordinates of a window's voxels in a frame: three arrays of the window's shape, mm."""
    matrix = frame.rotation.T @ grid.affine[:3, :3]
    offset = frame.rotation.T @ (grid.affine[:3, 3] - frame.centre)
    steps = [np.arange(s.start, s.stop, dtype=np.float64) for s in window]
    found = []
    for row, shift in zip(matrix, offset, strict=True):
        i, j, k = ((w * s).astype(dtype) for w, s in zip(row, steps, strict=True))
        found.append((i + dtype(shift))[:, None, None] + j[None, :, None] + k[None, None, :])
    return found[0], found[1], found[2]


@dataclass(slots=True)
class Canvas:
    """Codes being painted on a grid."""

    grid: Grid
    codes: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.codes = np.zeros(self.grid.shape, dtype=np.uint8)

    def rod(self, rod: Rod) -> None:
        """Paint a tapered rod."""
        scale = np.array(rod.scale)
        start, end = np.array(rod.start) / scale, np.array(rod.end) / scale
        radius = max(rod.radii_mm)
        low, high = (np.minimum(start, end) - radius) * scale, (np.maximum(start, end) + radius) * scale
        window = box_of(self.grid, rod.frame, low, high)
        if window is None:
            return
        x, y, z = local_axes(self.grid, rod.frame, window)
        x, y, z = (
            np.float32(1 / s) * q - np.float32(o) for s, q, o in zip(scale, (x, y, z), start, strict=True)
        )
        along = (end - start).astype(np.float32)
        length = float(along @ along)
        share = np.zeros_like(x)
        if length > 0:
            share = np.clip((x * along[0] + y * along[1] + z * along[2]) / np.float32(length), 0, 1)
        away = np.sqrt(
            (x - share * along[0]) ** 2 + (y - share * along[1]) ** 2 + (z - share * along[2]) ** 2
        )
        away -= rod.radii_mm[0] + share * (rod.radii_mm[1] - rod.radii_mm[0])
        part = self.codes[window]
        if rod.rind is None:
            part[away <= 0] = rod.fill
            return
        part[(away <= 0) & (part != rod.fill) if rod.joined else away <= 0] = rod.rind
        part[away <= -rod.rind_mm] = rod.fill

    def ellipsoid(self, organ: Ellipsoid, allowed: NDArray[np.bool_] | None = None) -> None:
        """Paint an ellipsoid, only over voxels that are ``allowed``."""
        radii = np.array(organ.radii_mm)
        window = box_of(self.grid, organ.frame, -radii, radii)
        if window is None:
            return
        x, y, z = local_axes(self.grid, organ.frame, window)
        rho = np.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2)
        part = self.codes[window]
        where = rho <= 1 if allowed is None else (rho <= 1) & allowed[window]
        part[where] = organ.fill if organ.rind is None else organ.rind
        if organ.rind is not None:
            part[where & (rho <= 1 - organ.rind_mm / radii.min())] = organ.fill

    def disc(self, disc: PhantomDisc, index: int) -> None:
        """Paint a disc: outer and inner annulus, nucleus and its cleft."""
        frame = Frame(disc.centre_lps, disc.rotation)
        window = box_of(self.grid, frame, -disc.reach_mm, disc.reach_mm)
        if window is None:
            return
        x, y, z = local_axes(self.grid, frame, window)
        inside = disc.inside(x, y, z)
        x, y, z = x[inside], y[inside], z[inside]
        # The nucleus sits a little behind the middle and fades where the disc is dry.
        back = 0.08 * disc.half_ap_mm
        rho = disc.radius(x, y - back)
        plain = disc.radius(x, y)
        half = disc.half_height(x, y, plain)
        dome = np.maximum(1 - plain * plain, 0)
        top = half + disc.dome_superior_mm * dome
        bottom = half + disc.dome_inferior_mm * dome
        across = np.where(z > 0, z / top, -z / bottom)
        round_off = rho**4 + 0.6 * across**6
        codes = np.full(x.shape, DISC_CODE + 8 * index, dtype=np.uint8)
        codes[(rho < 0.86) & (across < 0.9)] += 1
        nucleus = round_off < 0.24 + 0.1 * disc.hydration
        codes[nucleus] = DISC_CODE + 8 * index + 2
        codes[nucleus & (np.abs(z) < 0.07 * disc.height_mm) & (rho < 0.6)] += 1
        self.codes[window][inside] = codes

    def body(self, body: Body, discs: Sequence[PhantomDisc], index: int) -> None:
        """Paint a vertebral body or sacral segment between the surfaces that close it."""
        reach = np.array([body.half_lateral_mm, body.half_ap_mm, body.height_mm / 2 + 9.0])
        window = box_of(self.grid, body.frame, -reach, reach + np.array([0, 0, body.open_top_mm]))
        if window is None:
            return
        x, y, z = local_axes(self.grid, body.frame, window)
        over_floor = z + np.float32(body.height_mm / 2)
        under_roof = np.float32(body.height_mm / 2 + body.open_top_mm) - z
        if body.below is not None:
            over_floor = self._surface(discs[body.below], window, PhantomDisc.above)
        if body.above is not None:
            under_roof = self._surface(discs[body.above], window, PhantomDisc.below)
        depth = _wall_depth(body, x, y, z, over_floor, under_roof)
        ends = np.minimum(over_floor, under_roof)
        inside = (depth > 0) & (ends > 0)
        part = self.codes[window]
        rind, fill = (Structure.CORTEX, MARROW_CODE + index)
        if body.sacral:
            rind, fill = (Structure.SACRUM_CORTEX, int(Structure.SACRUM_MARROW))
        part[inside] = rind
        part[inside & (ends < 1.1)] = rind if body.sacral else Structure.ENDPLATE
        part[inside & (depth > 0.9) & (ends > 1.1)] = fill
        if not body.sacral:
            vein = (np.abs(z) < 3.2 * (y / body.half_ap_mm - 0.5)) & (depth > 0.5)
            vein &= np.abs(x) < 9.0 * (y / body.half_ap_mm - 0.4)
            part[inside & vein] = Structure.VEIN

    def _surface(
        self, disc: PhantomDisc, window: Window, height: Callable[..., NDArray[np.floating]]
    ) -> NDArray[np.floating]:
        return height(disc, *local_axes(self.grid, Frame(disc.centre_lps, disc.rotation), window))


def _wall_depth(
    body: Body,
    x: NDArray[np.floating],
    y: NDArray[np.floating],
    z: NDArray[np.floating],
    over_floor: NDArray[np.floating],
    under_roof: NDArray[np.floating],
) -> NDArray[np.floating]:
    """Depth of points under a body's side wall, mm (to first order)."""
    roof = under_roof if body.above is not None or not body.open_top_mm else body.height_mm / 2 - z
    across = np.clip((over_floor - roof) / np.maximum(over_floor + roof, 1.0), -1.0, 1.0)
    size = 1.0 - body.waist * (1.0 - across * across) - body.taper * (0.5 - 0.5 * across)
    lateral = x / body.half_lateral_mm
    hollow = body.hollow_mm * np.maximum(1.0 - (lateral / 0.7) ** 2, 0.0) * np.clip(y / body.half_ap_mm, 0, 1)
    n = body.exponent
    rho = (np.abs(lateral) ** n + np.abs((y + hollow) / body.half_ap_mm) ** n) ** (1 / n)
    depth: NDArray[np.floating] = (size - rho) * min(body.half_ap_mm, body.half_lateral_mm)
    return depth


def paint(phantom: Phantom, grid: Grid, *, soft: bool = True) -> NDArray[np.uint8]:
    """Paint every part at the voxels' centres, later parts over earlier ones.

    Parameters
    ----------
    soft
        Paint soft tissue, vessels and organs too; without them only what the segmenter tells apart is right.

    Returns
    -------
    Codes of the grid's shape; :func:`structure_of_code` gives their structures.
    """
    canvas = Canvas(grid)
    field_of = SoftField(phantom, grid)
    if soft:
        abdomen = field_of.paint_outside(canvas.codes)
        for organ in phantom.organs:
            canvas.ellipsoid(organ, abdomen)
        field_of.paint_epidural(canvas.codes)
        for rod in phantom.nerves:
            canvas.rod(rod)
    for rod in phantom.posterior:
        canvas.rod(rod)
    for index, body in enumerate(phantom.bodies):
        canvas.body(body, phantom.discs, index)
    field_of.paint_sac(canvas.codes)
    for index, disc in enumerate(phantom.discs):
        canvas.disc(disc, index)
    return canvas.codes
