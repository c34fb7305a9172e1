"""Draw an analytic spine from the population: a chain of discs and bodies, and what hangs on it."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import label_of_level
from discometry.core.errors import InputError
from discometry.core.phantom_anatomy import Body, Frame, Phantom
from discometry.core.phantom_disc import PhantomDisc, rotation_from_angles
from discometry.core.phantom_parts import cauda_roots, draw_course, draw_organs, nerve_rods, posterior_rods
from discometry.core.phantom_population import LEVEL_NORMS, LevelNorm, PhantomConfig

__all__ = ["sample_phantom"]

Array = NDArray[np.float64]


def sample_phantom(
    seed: int,
    *,
    n_discs: int = 5,
    narrowed: Collection[int | str] = (),
    tilt_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    origin_lps: tuple[float, float, float] = (0.0, 0.0, 0.0),
    config: PhantomConfig | None = None,
) -> Phantom:
    """Draw one spine from the population.

    Parameters
    ----------
    seed
        The same seed and options give the same spine.
    n_discs
        Discs from L5/S1 up, 1 to 8.
    narrowed
        Labels or levels of the discs to narrow, such as ``("L4/L5", 201)``.
    tilt_deg
        Rigid tilt of the whole spine: sagittal, coronal and transverse angle, degrees, within +-80.
    origin_lps
        Where the middle of the discs lies in the world, mm.
    config
        The population; by default :class:`~discometry.core.phantom_population.PhantomConfig`.

    Raises
    ------
    InputError
        If ``n_discs`` is out of range or a narrowed disc is not one of the spine's.

    Examples
    --------
    >>> spine = sample_phantom(1, narrowed=["L4/L5"])
    >>> [disc.level for disc in spine.discs]
    ['L5/S1', 'L4/L5', 'L3/L4', 'L2/L3', 'L1/L2']
    """
    labels = _labels_to_narrow(n_discs, narrowed)
    config = config or PhantomConfig()
    rng = np.random.default_rng(np.random.SeedSequence([seed, 0x5B1E]))
    plan = _plan(rng, n_discs, labels, config)
    discs, bodies = _chain(rng, plan)
    course = draw_course(rng, discs, bodies, config)
    phantom = Phantom(
        discs=tuple(discs),
        bodies=tuple(bodies),
        posterior=tuple(posterior_rods(rng, bodies)),
        nerves=tuple(nerve_rods(rng, bodies)),
        organs=tuple(draw_organs(rng, course, plan.size)),
        course=course,
        cauda=cauda_roots(rng),
        anterior_mm=plan.size * rng.uniform(120.0, 175.0),
        half_torso_mm=plan.size * rng.uniform(150.0, 185.0),
        pose=Frame(np.zeros(3), np.eye(3)),
        seed=seed,
    )
    turn = rotation_from_angles(tilt_deg)
    middle = np.mean([disc.centre_lps for disc in discs], axis=0)
    return _moved(phantom, turn, np.asarray(origin_lps, dtype=np.float64) - turn @ middle)


def _labels_to_narrow(n_discs: int, narrowed: Collection[int | str]) -> set[int]:
    """Labels of the discs to narrow; checks them and the number of discs."""
    if not 1 <= n_discs <= len(LEVEL_NORMS):
        raise InputError(
            f"a spine of {n_discs} discs", expected=f"1 to {len(LEVEL_NORMS)}", action="change n_discs"
        )
    labels = {label_of_level(item) if isinstance(item, str) else int(item) for item in narrowed}
    unknown = labels - set(range(201, 201 + n_discs))
    if unknown:
        raise InputError(
            f"narrowed discs {sorted(unknown)}",
            expected=f"labels 201 to {200 + n_discs}",
            action="narrow discs that the spine has",
        )
    return labels


def _moved(phantom: Phantom, rotation: Array, shift_mm: Array) -> Phantom:
    return replace(
        phantom,
        discs=tuple(part.moved(rotation, shift_mm) for part in phantom.discs),
        bodies=tuple(part.moved(rotation, shift_mm) for part in phantom.bodies),
        posterior=tuple(part.moved(rotation, shift_mm) for part in phantom.posterior),
        nerves=tuple(part.moved(rotation, shift_mm) for part in phantom.nerves),
        organs=tuple(part.moved(rotation, shift_mm) for part in phantom.organs),
        pose=phantom.pose.moved(rotation, shift_mm),
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """Sizes and angles of one spine before it is put together."""

    size: float
    slope_deg: float
    discs: tuple[PhantomDisc, ...]
    body_heights: tuple[float, ...]
    body_wedges_deg: tuple[float, ...]
    swings_deg: tuple[float, ...]
    twists_deg: tuple[float, ...]
    exponent: float
    waist: float
    pelvis_deg: tuple[float, float]
    """Coronal and transverse angle of the S1 endplate."""


def _plan(rng: np.random.Generator, n_discs: int, narrowed: set[int], config: PhantomConfig) -> _Plan:
    size = float(np.clip(1.0 + config.size_sd * config.spread * rng.standard_normal(), 0.8, 1.25))
    slope = float(np.clip(_draw(rng, config.sacral_slope_deg, config.spread), 15.0, 62.0))
    exponent = rng.uniform(*config.exponent)
    # Lordosis and slope go together: a steep sacrum needs more bend above it.
    bend = slope - config.sacral_slope_deg[0]
    wave = rng.uniform(0.0, 2 * math.pi)
    swing = config.scoliosis_deg * config.spread * rng.standard_normal()
    discs, heights, wedges = [], [], []
    for index in range(n_discs):
        norm = LEVEL_NORMS[index]
        extra = bend * (0.26, 0.22, 0.14, 0.06, 0.0, 0.0, 0.0, 0.0)[index]
        discs.append(_disc(rng, 201 + index, norm, extra, size, exponent, narrowed, config))
        heights.append(size * max(18.0, _draw(rng, norm.body_height_mm, config.spread)))
        wedges.append(_draw(rng, norm.body_wedge_deg, config.spread) + 0.4 * extra)
    curve = [swing * math.cos(wave + 0.9 * index) for index in range(n_discs + 1)]
    swings = tuple(float(b - a) for a, b in zip([0.0, *curve[:-1]], curve, strict=True))
    twists = tuple(float(0.35 * swing) for swing in swings)
    waist = rng.uniform(0.07, 0.13)
    coronal, transverse = config.pelvis_deg * config.spread * np.clip(rng.standard_normal(2), -2.5, 2.5)
    pelvis = float(coronal), float(transverse)
    return _Plan(
        size=size,
        slope_deg=slope,
        discs=tuple(discs),
        body_heights=tuple(heights),
        body_wedges_deg=tuple(wedges),
        swings_deg=swings,
        twists_deg=twists,
        exponent=exponent + 0.1,
        waist=waist,
        pelvis_deg=pelvis,
    )


def _draw(rng: np.random.Generator, norm: tuple[float, float], spread: float) -> float:
    return float(norm[0] + spread * norm[1] * np.clip(rng.standard_normal(), -2.5, 2.5))


def _disc(
    rng: np.random.Generator,
    label: int,
    norm: LevelNorm,
    bend_deg: float,
    size: float,
    exponent: float,
    narrowed: set[int],
    config: PhantomConfig,
) -> PhantomDisc:
    """Draw one disc, still at the origin."""
    low = label in narrowed
    factor = rng.uniform(*config.narrowing)
    mean = size * max(3.5, _draw(rng, norm.disc_height_mm, config.spread)) * (factor if low else 1.0)
    half_ap = 0.5 * size * _draw(rng, norm.disc_ap_mm, config.spread)
    half_lateral = 0.5 * size * _draw(rng, norm.disc_lateral_mm, config.spread)
    wedge = _draw(rng, norm.disc_wedge_deg, config.spread) + bend_deg
    domes = mean * rng.uniform((0.14, 0.06), (0.32, 0.2)) * (0.6 if low else 1.0)
    bulge = float(rng.uniform(*config.bulge) * (1.5 if low else 1.0))
    # The rim's height at which the whole disc has its mean height, see phantom_disc.
    rim = (mean * (1 + bulge) ** 2 - 0.5 * float(domes.sum())) / (1 + 4 / 3 * bulge + 8 / 15 * bulge**2)
    # The thin end keeps a quarter of the rim's height.
    limit = math.degrees(2 * math.atan(0.375 * rim / half_ap))
    return PhantomDisc(
        label=label,
        centre_lps=np.zeros(3),
        rotation=np.eye(3),
        height_mm=rim,
        half_lateral_mm=half_lateral,
        half_ap_mm=half_ap,
        exponent=exponent,
        dome_superior_mm=float(domes[0]),
        dome_inferior_mm=float(domes[1]),
        wedge_deg=float(np.clip(wedge, -limit, limit)),
        bulge=bulge,
        narrowed=low,
        hydration=float(rng.uniform(0.0, 0.45) if low else rng.uniform(0.15, 1.0)),
    )


def _turn(rotation: Array, sagittal_deg: float, coronal_deg: float = 0.0, twist_deg: float = 0.0) -> Array:
    """Turn a frame about its own axes: anterior edge up, left edge up, left end back."""
    turned: Array = rotation @ rotation_from_angles((sagittal_deg, coronal_deg, twist_deg))
    return turned


def _chain(rng: np.random.Generator, plan: _Plan) -> tuple[list[PhantomDisc], list[Body]]:
    """Stack discs and bodies on the S1 endplate, whose centre is the origin, and the sacrum under it."""
    rotation = _turn(np.eye(3), -plan.slope_deg, *plan.pelvis_deg)
    first = plan.discs[0]
    bodies = _sacrum(rng, rotation, first, plan)
    point = np.zeros(3)
    discs: list[PhantomDisc] = []
    for index, shape in enumerate(plan.discs):
        rotation = _turn(rotation, shape.wedge_deg / 2)
        centre = point + rotation[:, 2] * shape.height_mm / 2
        discs.append(replace(shape, centre_lps=centre, rotation=rotation))
        point = centre + rotation[:, 2] * shape.height_mm / 2
        rotation = _turn(rotation, shape.wedge_deg / 2)
        wedge, swing, twist = (
            plan.body_wedges_deg[index],
            plan.swings_deg[index],
            plan.twists_deg[index],
        )
        middle = _turn(rotation, wedge / 2, swing / 2, twist / 2)
        height = plan.body_heights[index]
        above = index + 1 if index + 1 < len(plan.discs) else None
        upper = plan.discs[above] if above is not None else shape
        bodies.append(
            Body(
                frame=Frame(point + middle[:, 2] * height / 2, middle),
                half_lateral_mm=0.5 * (shape.half_lateral_mm + upper.half_lateral_mm) * 0.985,
                half_ap_mm=0.5 * (shape.half_ap_mm + upper.half_ap_mm) * 0.985,
                height_mm=height,
                exponent=plan.exponent,
                waist=plan.waist,
                hollow_mm=1.5 * plan.size,
                below=index,
                above=above,
                open_top_mm=0.0 if above is not None else 160.0,
                marrow=float(rng.uniform(0.9, 1.1)),
            )
        )
        point = point + middle[:, 2] * height
        rotation = _turn(rotation, wedge, swing, twist)
    return discs, bodies


def _sacrum(rng: np.random.Generator, endplate: Array, first: PhantomDisc, plan: _Plan) -> list[Body]:
    """Sacral segments S1 .. S4 below the endplate; gaps between them are the rudimentary discs."""
    rotation, point = endplate, np.zeros(3)
    lateral, depth = first.half_lateral_mm * 0.98, first.half_ap_mm * 0.97
    segments = []
    for index, (height, curl) in enumerate(((29.0, 3.0), (24.0, 6.0), (20.0, 11.0), (17.0, 16.0))):
        height *= plan.size
        gap = 0.0 if index == 0 else plan.size * (2.6 - 0.5 * index)
        rotation = _turn(rotation, (curl + 3.0 * rng.standard_normal()) * (0.3 if index == 0 else 1.0))
        point = point - rotation[:, 2] * gap
        taper = (0.3, 0.22, 0.22, 0.25)[index]
        segments.append(
            Body(
                frame=Frame(point - rotation[:, 2] * height / 2, rotation),
                half_lateral_mm=lateral,
                half_ap_mm=depth,
                height_mm=height,
                exponent=plan.exponent,
                waist=0.03,
                taper=taper,
                hollow_mm=1.0,
                above=0 if index == 0 else None,
                sacral=True,
            )
        )
        point = point - rotation[:, 2] * height
        lateral, depth = lateral * (1 - taper), depth * (1 - taper)
    return segments
