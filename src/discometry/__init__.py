"""Geometry, latent shape and narrowing of every lumbar intervertebral disc from an MRI.

Names are loaded when first used: importing discometry loads neither torch nor pandas.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from discometry.core.errors import DiscometryError
    from discometry.core.records import Disc, DiscResult, Geometry, StudyResult
    from discometry.core.volume import Grid, Volume
    from discometry.experiment import reproduce
    from discometry.io.bundle import read_bundle as load_bundle
    from discometry.io.images import read_image, read_mask
    from discometry.stages.measure import measure_mask as measure
    from discometry.study import analyse

__version__ = "0.1.0"

_HOME = {
    "Disc": "core.records:Disc",
    "DiscResult": "core.records:DiscResult",
    "DiscometryError": "core.errors:DiscometryError",
    "Geometry": "core.records:Geometry",
    "Grid": "core.volume:Grid",
    "StudyResult": "core.records:StudyResult",
    "Volume": "core.volume:Volume",
    "analyse": "study:analyse",
    "load_bundle": "io.bundle:read_bundle",
    "measure": "stages.measure:measure_mask",
    "read_image": "io.images:read_image",
    "read_mask": "io.images:read_mask",
    "reproduce": "experiment:reproduce",
}

__all__ = [
    "Disc",
    "DiscResult",
    "DiscometryError",
    "Geometry",
    "Grid",
    "StudyResult",
    "Volume",
    "__version__",
    "analyse",
    "load_bundle",
    "measure",
    "read_image",
    "read_mask",
    "reproduce",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its home module on first use."""
    if name not in _HOME:
        raise AttributeError(f"module 'discometry' has no attribute {name!r}")
    module, attribute = _HOME[name].split(":")
    value = getattr(import_module(f"discometry.{module}"), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
