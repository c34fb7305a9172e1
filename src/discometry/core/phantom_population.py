"""What a lumbar spine measures: the population that phantoms are drawn from.

Heights, AP widths, wedges, body heights, sacral slope and sac are from ``benchmarks/population.py`` on the
masks of 27 SPIDER patients, joined with published MRI and CT series; ``docs/phantom.md`` gives every source.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LEVEL_NORMS", "LevelNorm", "PhantomConfig"]


@dataclass(frozen=True, slots=True)
class LevelNorm:
    """Population mean and standard deviation at one level: a disc and the body above it."""

    disc_height_mm: tuple[float, float]
    disc_ap_mm: tuple[float, float]
    disc_lateral_mm: tuple[float, float]
    disc_wedge_deg: tuple[float, float]
    body_height_mm: tuple[float, float]
    body_wedge_deg: tuple[float, float]


LEVEL_NORMS: tuple[LevelNorm, ...] = (
    LevelNorm((9.9, 1.7), (35.4, 2.6), (50.0, 3.5), (12.0, 2.2), (28.5, 1.6), (10.0, 1.8)),
    LevelNorm((9.5, 1.7), (37.1, 2.6), (52.0, 3.5), (9.0, 2.2), (29.8, 1.6), (3.0, 1.8)),
    LevelNorm((9.0, 1.5), (35.6, 2.5), (51.5, 3.4), (6.0, 2.0), (30.0, 1.6), (3.2, 1.8)),
    LevelNorm((7.8, 1.3), (35.0, 2.4), (50.5, 3.2), (3.5, 2.0), (29.7, 1.6), (1.2, 1.8)),
    LevelNorm((6.5, 1.1), (32.9, 2.3), (48.0, 3.0), (2.0, 1.8), (28.8, 1.6), (-1.4, 1.8)),
    LevelNorm((5.4, 0.9), (30.6, 2.2), (45.5, 3.0), (0.8, 1.8), (27.0, 1.5), (-2.3, 1.8)),
    LevelNorm((4.7, 0.9), (29.8, 2.2), (42.5, 2.8), (-0.3, 1.6), (24.5, 1.5), (-2.5, 1.6)),
    LevelNorm((4.2, 0.8), (29.2, 2.2), (40.0, 2.8), (-0.3, 1.6), (23.5, 1.5), (-2.5, 1.6)),
)
"""By level from L5/S1 up. AP and lateral width are without the bulge, body heights at the rim."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomConfig:
    """How the population varies; every spread is a standard deviation between spines."""

    size_sd: float = 0.05
    """Relative size of the whole spine."""
    spread: float = 1.0
    """Factor on all within-spine spreads; 0 gives the average spine."""
    sacral_slope_deg: tuple[float, float] = (38.0, 7.5)
    """Angle of the S1 endplate against horizontal, mean and standard deviation."""
    scoliosis_deg: float = 3.0
    """Spread of the coronal swing of the curve."""
    pelvis_deg: float = 1.5
    """Spread of the pelvis' coronal and transverse angle."""
    narrowing: tuple[float, float] = (0.4, 0.8)
    """Range of the factor on the height of narrowed discs."""
    bulge: tuple[float, float] = (0.01, 0.06)
    """Range of the side wall's bulge, as a fraction of the half widths."""
    exponent: tuple[float, float] = (2.2, 2.8)
    """Range of the footprint's superellipse exponent."""
    canal_ap_mm: tuple[float, float] = (12.5, 1.5)
    """AP diameter of the dural sac, averaged over the levels."""
    canal_lateral_mm: tuple[float, float] = (19.0, 1.8)
    """Lateral diameter of the dural sac at L2 and L3."""
    conus_level: tuple[float, float] = (4.75, 0.4)
    """Where the cord ends: 0 is the S1 endplate, 4 to 5 the body of L1."""
    sac_end_level: tuple[float, float] = (-1.6, 0.35)
    """Where the dural sac ends: -1 to -2 is S2."""
    subcutaneous_mm: tuple[float, float] = (8.0, 35.0)
    """Range of the fat under the skin of the back."""
