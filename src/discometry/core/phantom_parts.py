"""What hangs on the chain of bodies: posterior elements, nerves, organs, the course of the soft tissues."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from discometry.core.phantom_anatomy import Body, Course, Ellipsoid, Frame, Rod, Structure
from discometry.core.phantom_disc import PhantomDisc
from discometry.core.phantom_population import PhantomConfig

__all__ = ["cauda_roots", "draw_course", "draw_organs", "nerve_rods", "posterior_rods"]

Array = NDArray[np.float64]
Point = tuple[float, float, float]

STEP_MM = 0.5
"""Step of the tabulated course."""


def _lumbar(bodies: Sequence[Body]) -> list[Body]:
    return [body for body in bodies if not body.sacral]


def posterior_rods(rng: np.random.Generator, bodies: Sequence[Body]) -> list[Rod]:
    """Pedicles, laminae, processes and flaval ligaments of every vertebra, sacral alae, crest and ilia."""
    rods: list[Rod] = []
    for place, body in enumerate(_lumbar(bodies)):
        rods += _vertebra_rods(rng, body, place)
    return _sacral_rods([body for body in bodies if body.sacral]) + rods


_POSTERIOR = (Structure.POSTERIOR_MARROW, Structure.POSTERIOR_CORTEX)
_SACRUM = (Structure.SACRUM_MARROW, Structure.SACRUM_CORTEX)
_ILIUM = (Structure.ILIUM_MARROW, Structure.ILIUM_CORTEX)


def _bone(
    frame: Frame,
    start: Point,
    end: Point,
    radii: tuple[float, float],
    scale: Point = (1, 1, 1),
    *,
    joined: bool = True,
    kind: tuple[Structure, Structure] = _POSTERIOR,
) -> Rod:
    """Make a rod of marrow within cortex."""
    fill, rind = kind
    return Rod(
        frame=frame,
        start=start,
        end=end,
        radii_mm=radii,
        fill=fill,
        rind=rind,
        rind_mm=1.0,
        scale=scale,
        joined=joined,
    )


def _vertebra_rods(rng: np.random.Generator, body: Body, place: int) -> list[Rod]:
    """Rods of one vertebra; what meets a neighbour in a joint comes first and keeps its own rind."""
    f, a, b = body.frame, body.half_lateral_mm, body.half_ap_mm
    s, h, wide = b / 17.5, body.height_mm / 28.0, a / 25.0
    inner = wide * (13.8, 12.8, 12.2, 11.8, 11.5, 11.2, 10.8, 10.5)[place]
    thick = wide * (7.0, 5.6, 4.7, 4.2, 3.9, 3.7, 3.6, 3.5)[place]
    middle = inner + thick
    tip = (rng.uniform(30, 35) if place > 0 else 26.0) * s
    drop = rng.uniform(10.0, 14.0) * h
    reach = wide * rng.normal(36.0, 2.5)
    rods = []
    for side in (-1.0, 1.0):
        pedicle, outer = side * middle, side * (inner + 6.5)
        lower, upper = (side * (inner + 4.5), b + 16.5 * s), (side * (inner + 7.0), b + 11.0 * s)
        rods += [
            _bone(f, (*lower, -5 * h), (lower[0], lower[1], -21 * h), (5.0, 5.4), joined=False),
            Rod(
                frame=f,
                start=(side * (inner + 5.5), b + 12.5 * s, -15 * h),
                end=(side * (inner + 6.5), b + 14 * s, -23 * h),
                radii_mm=(3.0, 3.0),
                fill=Structure.FACET_JOINT,
                scale=(1, 0.9, 1.3),
            ),
            _ligament(
                f, (side * 10, b + 17 * s, -9 * h), (side * 2, b + 23 * s, -15 * h), (2.0, 2.0), (1, 1, 3)
            ),
            _bone(f, (*upper, 4 * h), (*upper, 15 * h), (4.8, 4.6)),
            _bone(
                f, (pedicle, b + 9 * s, 5 * h), (side * reach, b + 13 * s, 5 * h), (5.0, 3.6), (1, 0.8, 1.2)
            ),
            _bone(
                f,
                (pedicle, 0.7 * b, 5.5 * h),
                (pedicle, b + 10 * s, 5 * h),
                (thick, thick),
                (1, 1, 7.2 * h / thick),
            ),
            _bone(f, (pedicle, b + 11 * s, 4 * h), (lower[0], lower[1], -5 * h), (5.0, 5.0)),
            _bone(f, (outer, b + 15 * s, 0), (side * 1.5, b + 23 * s, -7 * h), (3.6, 4.0), (1, 1, 1.9)),
        ]
    spinous = (0, b + 24 * s, -7 * h), (0, b + tip + 10 * s, -drop - 2 * h)
    return [*rods, _bone(f, *spinous, (6.5, 7.5), (0.55, 1, 1.3))]


def _ligament(frame: Frame, start: Point, end: Point, radii: tuple[float, float], scale: Point) -> Rod:
    return Rod(
        frame=frame, start=start, end=end, radii_mm=radii, fill=Structure.LIGAMENT, rind=None, scale=scale
    )


def _sacral_rods(segments: Sequence[Body]) -> list[Rod]:
    """Alae, laminae, crest and rudimentary discs of the sacrum, and the ilia beside it."""
    rods = []
    for place, body in enumerate(segments):
        f, a, b, h = body.frame, body.half_lateral_mm, body.half_ap_mm, body.height_mm
        for side in (-1.0, 1.0):
            ala = (side * a * 0.7, 0.2 * b, 0.05 * h), (side * (a + 19), 0.75 * b, -0.1 * h)
            lamina = (side * 13, b + 13, 0), (side * 2, b + 17, 0)
            rods.append(_bone(f, *ala, (0.5 * h, 0.46 * h), kind=_SACRUM))
            rods.append(_bone(f, *lamina, (3, 3), (1, 1, 0.2 * h), kind=_SACRUM))
        if place > 0:
            top = (0.0, 0.0, 0.5 * h + 1.0)
            scale = (a, b, 4.0)
            rods.append(
                Rod(frame=f, start=top, end=top, radii_mm=(1, 1), fill=Structure.SACRUM_DISC, scale=scale)
            )
        crest = (0, b + 17, 0.25 * h), (0, b + 21, -0.2 * h)
        rods.append(_bone(f, *crest, (4.5, 3.5), (0.8, 1, 1.4), kind=_SACRUM))
    f, a = segments[0].frame, segments[0].half_lateral_mm
    for side in (-1.0, 1.0):
        wing = (side * (a + 30), 38, -28), (side * (a + 56), -4, 34)
        rods.append(_bone(f, *wing, (15, 14), (0.55, 1.6, 1.9), kind=_ILIUM))
    return rods


def nerve_rods(rng: np.random.Generator, bodies: Sequence[Body]) -> list[Rod]:
    """Nerve roots that leave through the foramina below the pedicles, two a vertebra."""
    rods = []
    for body in _lumbar(bodies):
        f, a, b = body.frame, body.half_lateral_mm, body.half_ap_mm
        h = body.height_mm / 27.0
        for side in (-1.0, 1.0):
            mid = (side * 0.72 * a, b + 5.0, -6.0 * h + rng.normal(0, 0.7))
            start, end = (side * 9.0, b + 7.0, 3.0 * h), (side * (a + 9.0), b - 3.0, -26.0 * h)
            rods.append(Rod(frame=f, start=start, end=mid, radii_mm=(1.3, 2.4), fill=Structure.NERVE))
            rods.append(Rod(frame=f, start=mid, end=end, radii_mm=(2.6, 2.0), fill=Structure.NERVE))
            vein = (side * 0.8 * a, b + 3.0, -2.0 * h)
            rods.append(Rod(frame=f, start=vein, end=vein, radii_mm=(1.5, 1.5), fill=Structure.VEIN))
    return rods


def cauda_roots(rng: np.random.Generator) -> Array:
    """Places of the nerve roots in the sac: lateral, AP (fractions of the half diameters) and radius (mm)."""
    count = 16
    angle = rng.uniform(0.15, 0.85, count) * np.pi
    reach = rng.uniform(0.45, 0.85, count)
    return np.stack([reach * np.cos(angle), reach * np.sin(angle), rng.uniform(0.5, 0.9, count)], axis=1)


def draw_course(
    rng: np.random.Generator, discs: Sequence[PhantomDisc], bodies: Sequence[Body], config: PhantomConfig
) -> Course:
    """Tabulate the course of bodies, canal and back over the height of the phantom's own frame."""
    size = bodies[0].half_ap_mm / 17.0
    sac_ap = 0.5 * size * float(np.clip(_normal(rng, config.canal_ap_mm, config.spread), 9.0, 19.0))
    sac_lateral = (
        0.5 * size * float(np.clip(_normal(rng, config.canal_lateral_mm, config.spread), 13.0, 26.0))
    )
    end = float(np.clip(_normal(rng, config.sac_end_level, config.spread), -2.6, -0.7))
    sac = _Sac(sac_lateral, sac_ap, end)
    nodes = []
    for level, disc in enumerate(discs):
        frame, depth = Frame(disc.centre_lps, disc.rotation), disc.half_ap_mm * (1 + disc.bulge)
        nodes.append(_node(float(level), frame, disc.half_lateral_mm, depth, sac, 2.0 if level == 0 else 0.6))
    for level, body in enumerate(_lumbar(bodies)):
        depth = body.half_ap_mm - 0.5 * body.hollow_mm
        nodes.append(_node(level + 0.5, body.frame, body.half_lateral_mm, depth, sac, 0.8))
    for index, body in enumerate(body for body in bodies if body.sacral):
        half = 1 - body.taper / 2
        size_mm = (body.half_lateral_mm * half, body.half_ap_mm * half)
        nodes.append(_node(-0.5 - index, body.frame, *size_mm, sac, 2.5))
    table = np.array(sorted(nodes, key=lambda node: node[0]))
    return _tabulate(table, rng, config, sac)


@dataclass(frozen=True, slots=True)
class _Sac:
    """Half diameters (mm) of the dural sac over the levels, and the level where it ends."""

    lateral: float
    ap: float
    end: float

    def laterals(self, level: Array) -> Array:
        """Half lateral diameter at levels."""
        knots = (self.end - 0.25, self.end, -0.6, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.5)
        return self.lateral * np.interp(level, knots, (0.0, 0.25, 0.5, 0.65, 0.85, 1.0, 1.0, 1.0, 0.97, 0.85))

    def aps(self, level: Array) -> Array:
        """Half AP diameter at levels."""
        knots = (self.end - 0.25, self.end, -0.6, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.5)
        return self.ap * np.interp(level, knots, (0.0, 0.35, 0.6, 0.8, 0.95, 0.9, 0.95, 1.1, 1.1, 1.02))


def _normal(rng: np.random.Generator, norm: tuple[float, float], spread: float) -> float:
    return float(norm[0] + spread * norm[1] * rng.standard_normal())


def _node(level: float, frame: Frame, a: float, b: float, sac: _Sac, gap: float) -> tuple[float, ...]:
    half = max(float(sac.aps(np.array(level))), 4.5)
    return (level, *frame.centre, *frame.at(0.0, b + gap + half, 0.0), a, b)


def _tabulate(table: Array, rng: np.random.Generator, config: PhantomConfig, sac: _Sac) -> Course:
    level, sx, sy, sz, cx, cy, cz, a, b = table.T
    z = np.arange(sz[0] - 140.0, sz[-1] + 200.0, STEP_MM)
    spine_x, spine_y = _smooth_curve(z, sz, sx), _smooth_curve(z, sz, sy)
    canal_x, canal_y = _smooth_curve(z, cz, cx), _smooth_curve(z, cz, cy)
    levels = _extended(z, cz, level)
    slope = np.cos(np.arctan(np.gradient(canal_y, STEP_MM)))
    conus = float(np.clip(_normal(rng, config.conus_level, config.spread), 3.8, 6.0))
    depth, width = np.interp(z, sz, b), np.interp(z, sz, a)
    reach = np.interp(levels, (-3.0, -1.0, 0.5, 2.0, 5.0), (24.0, 30.0, 50.0, 58.0, 54.0))
    fascia = _blurred(canal_y + reach, 45.0)
    under = rng.uniform(*config.subcutaneous_mm)
    cover = np.interp(levels, (-3.0, -0.5, 1.5, 4.0, 7.0), (1.15, 1.2, 0.85, 0.55, 0.45)) * under
    return Course(
        z=z,
        spine_x=spine_x,
        spine_y=spine_y,
        canal_x=canal_x,
        canal_y=canal_y,
        slope=slope,
        level=levels,
        sac_lateral=sac.laterals(levels),
        sac_ap=sac.aps(levels),
        depth=depth,
        width=width,
        fascia_y=fascia,
        skin_y=_blurred(fascia + cover, 20.0),
        conus_level=conus,
    )


def _extended(z: Array, nodes: Array, values: Array) -> Array:
    """Interpolate over ascending nodes, straight on at both ends with the slope of the outer nodes."""
    found = np.interp(z, nodes, values)
    low, high = z < nodes[0], z > nodes[-1]
    found[low] = values[0] + (z[low] - nodes[0]) * (values[1] - values[0]) / (nodes[1] - nodes[0])
    found[high] = values[-1] + (z[high] - nodes[-1]) * (values[-1] - values[-2]) / (nodes[-1] - nodes[-2])
    return found


def _smooth_curve(z: Array, nodes: Array, values: Array) -> Array:
    """Interpolate places along the spine, the kinks at the nodes rounded."""
    return _blurred(_extended(z, nodes, values), 5.0)


def _blurred(values: Array, sigma_mm: float) -> Array:
    """Blur a tabulated curve by a Gaussian, its ends going straight on."""
    reach = int(3 * sigma_mm / STEP_MM)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * STEP_MM / sigma_mm) ** 2)
    ramp = np.arange(1, reach + 1)
    before = values[0] - ramp[::-1] * (values[1] - values[0])
    after = values[-1] + ramp * (values[-1] - values[-2])
    blurred: Array = np.convolve(np.concatenate([before, values, after]), kernel / kernel.sum(), mode="valid")
    return blurred


def draw_organs(rng: np.random.Generator, course: Course, size: float) -> list[Ellipsoid]:
    """Bowel loops before the spine, kidneys and liver, in the phantom's own frame."""

    def place(level: float, x: float, y: float) -> Frame:
        """Put an organ beside or before the middle of the bodies at a level."""
        z = float(np.interp(level, course.level, course.z))
        middle = np.interp(z, course.z, course.spine_y)
        return Frame(np.array([x * size, middle + y * size, z]), np.eye(3))

    organs = [
        Ellipsoid(frame=place(4.2, -78, -70), radii_mm=(62, 60, 75), fill=Structure.ORGAN),
        Ellipsoid(frame=place(3.6, -70, 8), radii_mm=(26, 22, 52), fill=Structure.ORGAN),
        Ellipsoid(frame=place(3.9, 70, 8), radii_mm=(26, 22, 52), fill=Structure.ORGAN),
    ]
    for _ in range(300):
        radii = rng.uniform(7, 22, 3)
        frame = place(rng.uniform(-3.0, 6.5), rng.uniform(-95, 95), -rng.uniform(50, 150))
        content = (Structure.BOWEL_CONTENT, Structure.BOWEL_FLUID, Structure.BOWEL_GAS, Structure.BOWEL_WALL)[
            int(rng.choice(4, p=(0.45, 0.15, 0.1, 0.3)))
        ]
        organs.append(
            Ellipsoid(
                frame=frame, radii_mm=(radii[0], radii[1], radii[2]), fill=content, rind=Structure.BOWEL_WALL
            )
        )
    return organs
