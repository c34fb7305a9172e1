"""Stage 6: the probability that a disc is narrowed, and what speaks for it.

A disc is described by its level, its geometry, the same against the patient's other discs, and its signal.
The classifier of the starter bundle learns from slabs of the middle 12 to 27 mm and uses only what these
support: no lateral width, volume, footprint, coronal or transverse angle, and no latents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import DISC_LABEL_BASE, label_of_level
from discometry.core.errors import BundleError, InputError
from discometry.core.records import Geometry, Intensity
from discometry.networks.classifier import Classifier

__all__ = ["FEATURES", "FEATURE_GROUPS", "classify", "features"]

FEATURE_GROUPS: Mapping[str, tuple[str, ...]] = {
    "level": ("level_place",),
    "geometry": (
        "height_mean_mm",
        "height_anterior_mm",
        "height_middle_mm",
        "height_posterior_mm",
        "width_ap_mm",
        "wedge_deg",
        "angle_sagittal_deg",
    ),
    "relative": (
        "height_over_width_ap",
        "height_over_neighbours",
        "height_over_patient",
        "width_ap_over_patient",
        "disc_height_index",
        "endplate_concavity_mm",
    ),
    "intensity": tuple(Intensity.meanings()),
    "person": ("age_years", "sex_female"),
}
"""What may be known of a disc, by kind.

``level_place`` is 0 for L5/S1 and one more for each level up; ``.._over_neighbours`` is against the mean of
the discs directly above and below, ``.._over_patient`` against the median of all others of the patient;
``endplate_concavity_mm`` is the middle height less the mean of anterior and posterior.
"""

FEATURES: tuple[str, ...] = tuple(name for group in FEATURE_GROUPS.values() for name in group)
"""All of them, in the order of the columns of :func:`features`."""

_NAN = float("nan")


def features(
    levels: Sequence[str],
    geometries: Sequence[Geometry],
    intensities: Sequence[Intensity] | None = None,
    *,
    age_years: float = _NAN,
    sex: str = "",
) -> NDArray[np.float64]:
    """Give the features of one study's discs.

    Parameters
    ----------
    levels
        Level of each disc, such as ``"L4/L5"``, in any order.
    geometries, intensities
        Measures and signal of each disc; no signal is known if left out.
    age_years, sex
        Of the patient; sex as ``F`` or ``M``.

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
    signals = [Intensity()] * len(levels) if intensities is None else intensities
    if not len(levels) == len(geometries) == len(signals):
        raise InputError(
            f"{len(levels)} levels, {len(geometries)} geometries and {len(signals)} intensities",
            expected="one of each a disc",
            action="give the levels and geometries of the same discs",
        )
    places = [label_of_level(level) - DISC_LABEL_BASE - 1 for level in levels]
    heights = dict(zip(places, (one.height_mean_mm for one in geometries), strict=True))
    widths = dict(zip(places, (one.width_ap_mm for one in geometries), strict=True))
    person = {"age_years": age_years, "sex_female": {"F": 1.0, "M": 0.0}.get(sex.upper(), _NAN)}
    rows = []
    for place, shape, signal in zip(places, geometries, signals, strict=True):
        known = {
            "level_place": float(place),
            **shape.values(),
            "height_over_width_ap": _ratio(shape.height_mean_mm, shape.width_ap_mm),
            "height_over_neighbours": _over_neighbours(place, heights),
            "height_over_patient": _over_others(place, heights),
            "width_ap_over_patient": _over_others(place, widths),
            "endplate_concavity_mm": shape.height_middle_mm - shape.height_dabbs_mm,
            **signal.values(),
            **person,
        }
        rows.append([known[name] for name in FEATURES])
    return np.array(rows, dtype=np.float64).reshape(-1, len(FEATURES))


def classify(
    table: NDArray[np.float64], classifier: Classifier
) -> tuple[tuple[float, dict[str, float]], ...]:
    """Give each disc's probability of narrowing, and what each feature adds to its log-odds.

    A disc whose height is not known gets NaN: the classifier would answer, but from its level alone.

    Parameters
    ----------
    table
        Discs x :data:`FEATURES`, as :func:`features` gives it.

    Raises
    ------
    BundleError
        If the classifier wants a feature that is not one of :data:`FEATURES`.
    """
    if strange := set(classifier.features) - set(FEATURES):
        raise BundleError(
            f"a classifier of features {', '.join(sorted(strange))}",
            expected=f"some of {', '.join(FEATURES)}",
            action="use the bundle of this release, or train the classifier again",
        )
    own = table[:, [FEATURES.index(name) for name in classifier.features]]
    known = np.isfinite(table[:, FEATURES.index("height_mean_mm")])
    probabilities = np.where(known, classifier.probabilities(own), np.nan)
    return tuple(
        (float(probability), dict(zip(classifier.features, map(float, parts), strict=True)) if sure else {})
        for probability, parts, sure in zip(probabilities, classifier.contributions(own), known, strict=True)
    )


def _over_neighbours(place: int, values: Mapping[int, float]) -> float:
    known = [values[other] for other in (place - 1, place + 1) if np.isfinite(values.get(other, _NAN))]
    return _ratio(values[place], float(np.mean(known))) if known else _NAN


def _over_others(place: int, values: Mapping[int, float]) -> float:
    known = [value for other, value in values.items() if other != place and np.isfinite(value)]
    return _ratio(values[place], float(np.median(known))) if known else _NAN


def _ratio(first: float, second: float) -> float:
    return first / second if second > 0 else _NAN
