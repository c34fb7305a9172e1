"""Stage 6: the probability that a disc is narrowed, from measures that a thin sagittal slab supports.

The classifier of the starter bundle learns from slabs of the middle 12 to 27 mm. Whatever needs the whole
width of a disc (lateral width, volume, footprint, coronal and transverse angle, latents) is not used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import DISC_LABEL_BASE, label_of_level
from discometry.core.errors import BundleError, InputError
from discometry.core.records import Geometry
from discometry.networks.classifier import Classifier

__all__ = ["FEATURES", "classify", "features"]

FEATURES: tuple[str, ...] = (
    "level_place",
    "height_mean_mm",
    "width_ap_mm",
    "angle_sagittal_deg",
    "wedge_deg",
    "height_over_width_ap",
    "height_over_neighbours",
)
"""What the classifier sees of a disc, in order.

``level_place`` is 0 for L5/S1 and one more for each level up; ``height_over_neighbours`` is the height over
the mean height of the discs directly above and below; NaN where something is not known.
"""


def features(levels: Sequence[str], geometries: Sequence[Geometry]) -> NDArray[np.float64]:
    """Give the features of one study's discs.

    Parameters
    ----------
    levels
        Level of each disc, such as ``"L4/L5"``, in any order.
    geometries
        Measures of each disc.

    Returns
    -------
    Array of discs x :data:`FEATURES`, NaN where not known.

    Raises
    ------
    InputError
        If there are not as many levels as geometries.
    LabelError
        If a level is not one of :data:`~discometry.core.anatomy.LEVELS`.
    """
    if len(levels) != len(geometries):
        raise InputError(
            f"{len(levels)} levels and {len(geometries)} geometries",
            expected="one of each a disc",
            action="give the levels and geometries of the same discs",
        )
    places = [_place(level) for level in levels]
    heights = {place: shape.height_mean_mm for place, shape in zip(places, geometries, strict=True)}
    rows = [
        (
            float(place),
            shape.height_mean_mm,
            shape.width_ap_mm,
            shape.angle_sagittal_deg,
            shape.wedge_deg,
            _ratio(shape.height_mean_mm, shape.width_ap_mm),
            _ratio(shape.height_mean_mm, _mean_of_known([heights.get(p) for p in (place - 1, place + 1)])),
        )
        for place, shape in zip(places, geometries, strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, len(FEATURES))


def classify(
    levels: Sequence[str], geometries: Sequence[Geometry], classifier: Classifier
) -> tuple[float, ...]:
    """Give the calibrated probability of narrowing of one study's discs, in their order.

    A disc whose height is not known gets NaN: the trees would answer, but from its level alone.

    Raises
    ------
    BundleError
        If the classifier was trained on other features than :data:`FEATURES`.
    """
    if classifier.features != FEATURES:
        raise BundleError(
            f"a classifier of features {', '.join(classifier.features)}",
            expected=", ".join(FEATURES),
            action="use the bundle of this release, or train the classifier again",
        )
    table = features(levels, geometries)
    known = np.isfinite(table[:, FEATURES.index("height_mean_mm")])
    return tuple(np.where(known, classifier.probabilities(table), np.nan).tolist())


def _place(level: str) -> int:
    return label_of_level(level) - DISC_LABEL_BASE - 1


def _ratio(first: float, second: float) -> float:
    return first / second if second > 0 else float("nan")


def _mean_of_known(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")
