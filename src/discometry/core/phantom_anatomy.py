"""The parts an analytic spine is made of, and the tissues that they are drawn as."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import Tissue
from discometry.core.phantom_disc import PhantomDisc

__all__ = ["TISSUE_OF", "Body", "Course", "Ellipsoid", "Frame", "Phantom", "Rod", "Structure"]

Array = NDArray[np.float64]


class Structure(IntEnum):
    """Everything that a phantom is drawn of."""

    AIR = 0
    SKIN = 1
    FAT = 2
    MUSCLE = 3
    FASCIA = 4
    CORTEX = 5
    MARROW = 6
    ENDPLATE = 7
    ANNULUS = 8
    INNER_ANNULUS = 9
    NUCLEUS = 10
    CLEFT = 11
    LIGAMENT = 12
    EPIDURAL_FAT = 13
    CSF = 14
    CORD = 15
    NERVE = 16
    SACRUM_CORTEX = 17
    SACRUM_MARROW = 18
    SACRUM_DISC = 19
    VEIN = 20
    AORTA = 21
    VENA_CAVA = 22
    BOWEL_WALL = 23
    BOWEL_CONTENT = 24
    BOWEL_GAS = 25
    ORGAN = 26
    POSTERIOR_CORTEX = 27
    POSTERIOR_MARROW = 28
    ILIUM_CORTEX = 29
    ILIUM_MARROW = 30
    FACET_JOINT = 31
    BOWEL_FLUID = 32
    DURA = 33
    MESENTERY = 34
    INTERSPINOUS = 35


_TISSUES = {
    Tissue.VERTEBRA: ("CORTEX", "MARROW", "VEIN", "POSTERIOR_CORTEX", "POSTERIOR_MARROW"),
    Tissue.CANAL: ("CSF", "CORD", "NERVE"),
    Tissue.DISC: ("ANNULUS", "INNER_ANNULUS", "NUCLEUS", "CLEFT"),
    Tissue.SACRUM: ("SACRUM_CORTEX", "SACRUM_MARROW", "SACRUM_DISC"),
}

TISSUE_OF: dict[Structure, Tissue] = {
    item: next((t for t, names in _TISSUES.items() if item.name in names), Tissue.BACKGROUND)
    for item in Structure
}
"""The segmenter's class of every structure; as in SPIDER the canal is the sac, endplates are background."""


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """A place in the world: origin (LPS mm) and 3x3 axes (columns left, posterior, superior)."""

    centre: Array
    rotation: Array

    def at(self, x: float, y: float, z: float) -> Array:
        """World position of a point of the frame."""
        point: Array = self.centre + self.rotation @ np.array([x, y, z])
        return point

    def moved(self, rotation: Array, shift_mm: Array) -> Frame:
        """Turn the frame about the world's origin, then shift it."""
        return Frame(rotation @ self.centre + shift_mm, rotation @ self.rotation)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Body:
    """A vertebral body or sacral segment: a waisted superellipse cylinder.

    A disc above or below closes it with the disc's own surface; where there is none a plane does.
    """

    frame: Frame
    half_lateral_mm: float
    half_ap_mm: float
    height_mm: float
    exponent: float = 2.5
    waist: float = 0.1
    """Relative loss of half width at mid-height."""
    taper: float = 0.0
    """Relative loss of half width from the superior to the inferior end."""
    hollow_mm: float = 1.5
    """Depth of the posterior wall's concavity."""
    below: int | None = None
    """Index of the disc under the body."""
    above: int | None = None
    """Index of the disc over the body."""
    open_top_mm: float = 0.0
    """How far the body runs on upwards where no disc closes it."""
    sacral: bool = False
    marrow: float = 1.0
    """Relative marrow signal."""

    def moved(self, rotation: Array, shift_mm: Array) -> Body:
        """Turn the body about the world's origin, then shift it."""
        return replace(self, frame=self.frame.moved(rotation, shift_mm))


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Rod:
    """A tapered rod in a frame, flattened by dividing the frame's axes by ``scale``."""

    frame: Frame
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    radii_mm: tuple[float, float]
    fill: Structure
    rind: Structure | None = None
    rind_mm: float = 1.0
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    joined: bool = True
    """Whether it grows together with what was painted before: its rind spares filling of its own kind."""

    def moved(self, rotation: Array, shift_mm: Array) -> Rod:
        """Turn the rod about the world's origin, then shift it."""
        return replace(self, frame=self.frame.moved(rotation, shift_mm))


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Ellipsoid:
    """An ellipsoid with an optional wall."""

    frame: Frame
    radii_mm: tuple[float, float, float]
    fill: Structure
    rind: Structure | None = None
    rind_mm: float = 2.0

    def moved(self, rotation: Array, shift_mm: Array) -> Ellipsoid:
        """Turn the ellipsoid about the world's origin, then shift it."""
        return replace(self, frame=self.frame.moved(rotation, shift_mm))


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Course:
    """What runs along the spine, over the height ``z`` of the phantom's own frame (1-D arrays, mm)."""

    z: Array
    """Evenly spaced heights."""
    spine_x: Array
    spine_y: Array
    """Middle of the bodies."""
    canal_x: Array
    canal_y: Array
    """Middle of the dural sac."""
    slope: Array
    """Cosine of the canal's slope against the vertical."""
    level: Array
    """0 at the S1 endplate, one more at each disc above, negative in the sacrum."""
    sac_lateral: Array
    sac_ap: Array
    """Half diameters of the dural sac, 0 where it has ended."""
    depth: Array
    """Half AP width of the bodies."""
    width: Array
    """Half lateral width of the bodies."""
    fascia_y: Array
    """Back of the back muscles in the mid-plane."""
    skin_y: Array
    """Skin of the back in the mid-plane."""
    conus_level: float
    """Level at which the cord ends."""


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Phantom:
    """An analytic lumbar spine; discs, bodies and other parts are placed in the world.

    ``pose`` is the place in the world of the phantom's own frame, in which ``course`` is tabulated.
    """

    discs: tuple[PhantomDisc, ...]
    bodies: tuple[Body, ...]
    posterior: tuple[Rod, ...]
    nerves: tuple[Rod, ...]
    organs: tuple[Ellipsoid, ...]
    course: Course
    cauda: Array
    """Nerve roots inside the sac: (n, 3) lateral and AP place as fractions of the sac, and radius in mm."""
    anterior_mm: float
    """From the bodies' middle to the belly's skin."""
    half_torso_mm: float
    pose: Frame
    seed: int

    @property
    def levels(self) -> tuple[str, ...]:
        """Level of each disc."""
        return tuple(disc.level for disc in self.discs)
