"""What a lumbar spine measures: the population that phantoms are drawn from."""

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
    LevelNorm((9.0, 1.6), (34.5, 2.6), (50.0, 3.5), (12.0, 3.5), (27.0, 1.8), (7.0, 2.5)),
    LevelNorm((9.8, 1.6), (36.0, 2.6), (51.0, 3.5), (8.5, 3.0), (27.5, 1.8), (2.0, 2.0)),
    LevelNorm((9.4, 1.4), (36.0, 2.6), (50.0, 3.4), (6.0, 2.5), (27.8, 1.8), (0.0, 2.0)),
    LevelNorm((8.4, 1.3), (35.0, 2.5), (48.0, 3.2), (4.5, 2.2), (27.5, 1.8), (-1.0, 2.0)),
    LevelNorm((7.4, 1.2), (33.5, 2.4), (46.0, 3.0), (3.0, 2.0), (26.5, 1.7), (-2.5, 2.0)),
    LevelNorm((6.2, 1.1), (32.5, 2.3), (44.0, 3.0), (1.0, 1.8), (25.0, 1.7), (-3.5, 2.0)),
    LevelNorm((5.4, 1.0), (31.5, 2.3), (41.5, 2.8), (0.0, 1.6), (23.5, 1.6), (-3.5, 1.8)),
    LevelNorm((5.0, 1.0), (31.0, 2.3), (39.5, 2.8), (0.0, 1.6), (22.5, 1.6), (-3.0, 1.8)),
)
"""By level from L5/S1 up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomConfig:
    """How the population varies; every spread is a standard deviation between spines."""

    size_sd: float = 0.06
    """Relative size of the whole spine."""
    spread: float = 1.0
    """Factor on all within-spine spreads; 0 gives the average spine."""
    sacral_slope_deg: tuple[float, float] = (39.0, 7.5)
    """Angle of the S1 endplate against horizontal, mean and standard deviation."""
    scoliosis_deg: float = 2.0
    """Spread of the coronal swing of the curve."""
    narrowing: tuple[float, float] = (0.35, 0.65)
    """Range of the factor on the height of narrowed discs."""
    bulge: tuple[float, float] = (0.01, 0.06)
    """Range of the side wall's bulge, as a fraction of the half widths."""
    exponent: tuple[float, float] = (2.2, 2.8)
    """Range of the footprint's superellipse exponent."""
    canal_ap_mm: tuple[float, float] = (15.0, 1.5)
    """AP diameter of the dural sac."""
    canal_lateral_mm: tuple[float, float] = (18.0, 2.0)
    """Lateral diameter of the dural sac."""
    subcutaneous_mm: tuple[float, float] = (8.0, 35.0)
    """Range of the fat under the skin of the back."""
