"""What hangs on the chain of bodies: posterior elements, nerves, organs, and the course of the soft tissues."""

from __future__ import annotations

from collections.abc import Sequence

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


def _bone(frame: Frame, start: Point, end: Point, radii: tuple[float, float], scale: Point = (1, 1, 1)) -> Rod:
    return Rod(
        frame=frame,
        start=start,
        end=end,
        radii_mm=radii,
        fill=Structure.POSTERIOR_MARROW,
        rind=Structure.POSTERIOR_CORTEX,
        rind_mm=1.0,
        scale=scale,
    )


def _vertebra_rods(rng: np.random.Generator, body: Body, place: int) -> list[Rod]:
    f, a, b = body.frame, body.half_lateral_mm, body.half_ap_mm
    s, h = b / 17.5, body.height_mm / 27.0
    wide = a / 25.0
    pedicle = (15.5 if place == 0 else 13.5 - 0.5 * min(place, 4)) * wide
    tip = (rng.uniform(30, 35) if place > 0 else 26.0) * s
    drop = rng.uniform(10.0, 14.0) * h
    rods = [_bone(f, (0, b + 24 * s, -7 * h), (0, b + tip + 10 * s, -drop - 2 * h), (6.5, 7.5), (0.55, 1, 1.3))]
    for side in (-1.0, 1.0):
        ped = side * pedicle
        lam, fac = side * (pedicle + 1.0 * wide), side * (pedicle + 3.5 * wide)
        reach = side * (34.0 + 3.0 * rng.standard_normal()) * wide
        rods += [
            _ligament(f, (side * 10, b + 17 * s, -9 * h), (side * 2, b + 23 * s, -15 * h), (2.0, 2.0), (1, 1, 3)),
            _bone(f, (lam, b + 13 * s, 1 * h), (side * 1.5, b + 23 * s, -7 * h), (3.6, 4.0), (1, 1, 1.9)),
            _bone(f, (ped, b + 9 * s, 5 * h), (reach, b + 13 * s, 5 * h), (5.0, 3.6), (1, 0.8, 1.2)),
            _bone(f, (side * (pedicle + 1), b + 16 * s, -4 * h), (lam, b + 17 * s, -21 * h), (5.2, 5.6)),
            Rod(
                frame=f,
                start=(side * (pedicle + 2.5), b + 12.5 * s, -15 * h),
                end=(side * (pedicle + 3.5), b + 14 * s, -23 * h),
                radii_mm=(3.2, 3.2),
                fill=Structure.FACET_JOINT,
                scale=(1, 0.9, 1.3),
            ),
            _bone(f, (fac, b + 10 * s, 4 * h), (fac + side, b + 10 * s, 15 * h), (4.8, 4.6)),
            _bone(f, (ped * 0.92, 0.75 * b, 5.5 * h), (ped, b + 10 * s, 5 * h), (4.4, 4.6), (1, 1, 1.6)),
        ]
    return rods


def _ligament(frame: Frame, start: Point, end: Point, radii: tuple[float, float], scale: Point) -> Rod:
    return Rod(
        frame=frame, start=start, end=end, radii_mm=radii, fill=Structure.LIGAMENT, rind=None, scale=scale
    )


def _sacral_rods(segments: Sequence[Body]) -> list[Rod]:
    rods = []
    first = segments[0]
    for body in segments:
        f, a, b, h = body.frame, body.half_lateral_mm, body.half_ap_mm, body.height_mm
        shape = {"fill": Structure.SACRUM_MARROW, "rind": Structure.SACRUM_CORTEX}
        for side in (-1.0, 1.0):
            start, end = (side * a * 0.7, 0.2 * b, 0.05 * h), (side * (a + 19), 0.75 * b, -0.1 * h)
            rods.append(Rod(frame=f, start=start, end=end, radii_mm=(0.5 * h, 0.46 * h), **shape))
            rods.append(
                Rod(frame=f, start=(side * 13, b + 13, 0), end=(side * 2, b + 17, 0), radii_mm=(3, 3),
                    scale=(1, 1, 0.2 * h), **shape)
            )
        rods.append(
            Rod(frame=f, start=(0, b + 17, 0.25 * h), end=(0, b + 21, -0.2 * h), radii_mm=(4.5, 3.5),
                scale=(0.8, 1, 1.4), **shape)
        )
    wing = {"fill": Structure.ILIUM_MARROW, "rind": Structure.ILIUM_CORTEX}
    f, a = first.frame, first.half_lateral_mm
    for side in (-1.0, 1.0):
        start, end = (side * (a + 30), 38, -28), (side * (a + 56), -4, 34)
        rods.append(Rod(frame=f, start=start, end=end, radii_mm=(15, 14), scale=(0.55, 1.6, 1.9), **wing))
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
    sac_ap = 0.5 * size * float(rng.normal(config.canal_ap_mm[0], config.spread * config.canal_ap_mm[1]))
    sac_lateral = 0.5 * size * float(
        rng.normal(config.canal_lateral_mm[0], config.spread * config.canal_lateral_mm[1])
    )
    sac_ap, sac_lateral = float(np.clip(sac_ap, 5.5, 10.5)), float(np.clip(sac_lateral, 6.5, 13.0))
    nodes = []
    for level, disc in enumerate(discs):
        nodes.append(_node(level + 0.0, Frame(disc.centre_lps, disc.rotation), disc.half_lateral_mm,
                           disc.half_ap_mm * (1 + disc.bulge) + 0.5, sac_ap, 2.0 if level == 0 else 0.8))
    lumbar = [body for body in bodies if not body.sacral]
    for level, body in enumerate(lumbar):
        nodes.append(_node(level + 0.5, body.frame, body.half_lateral_mm, body.half_ap_mm, sac_ap, 1.0))
    for index, body in enumerate(body for body in bodies if body.sacral):
        nodes.append(_node(-0.5 - index, body.frame, body.half_lateral_mm * (1 - body.taper / 2),
                           body.half_ap_mm * (1 - body.taper / 2), 6.5, 1.5))
    table = np.array(sorted(nodes, key=lambda node: node[0]))
    return _tabulate(table, rng, config, (sac_lateral, sac_ap))


def _node(level: float, frame: Frame, a: float, b: float, sac: float, gap: float) -> tuple[float, ...]:
    canal = frame.at(0.0, b + gap + sac, 0.0)
    return (level, *frame.centre, *canal, a, b)


def _tabulate(table: Array, rng: np.random.Generator, config: PhantomConfig, sac: tuple[float, float]) -> Course:
    level, sx, sy, sz, cx, cy, cz, a, b = table.T
    z = np.arange(sz[0] - 140.0, sz[-1] + 200.0, STEP_MM)
    spine_x, spine_y = _smooth_curve(z, sz, sx), _smooth_curve(z, sz, sy)
    canal_x, canal_y = _smooth_curve(z, cz, cx), _smooth_curve(z, cz, cy)
    levels = _extended(z, cz, level)
    slope = np.cos(np.arctan(np.gradient(canal_y, STEP_MM)))
    fade = np.clip((levels + 2.2) / 2.0, 0.0, 1.0) ** 0.7
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
        sac_lateral=sac[0] * fade,
        sac_ap=sac[1] * fade**0.8,
        depth=depth,
        width=width,
        fascia_y=fascia,
        skin_y=_blurred(fascia + cover, 20.0),
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
    for _ in range(70):
        radii = rng.uniform(7, 20, 3)
        frame = place(rng.uniform(-2.8, 6.0), rng.uniform(-95, 95), -rng.uniform(52, 110))
        content = (Structure.BOWEL_CONTENT, Structure.BOWEL_GAS, Structure.BOWEL_WALL)[
            int(rng.choice(3, p=(0.6, 0.15, 0.25)))
        ]
        organs.append(
            Ellipsoid(frame=frame, radii_mm=tuple(radii), fill=content, rind=Structure.BOWEL_WALL)
        )
    return organs
