"""What the page says: names and units of the measures, flags in words, reasons for missing values."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

from discometry.core.records import Geometry, Intensity

__all__ = [
    "MAIN_COLUMNS",
    "MISSING",
    "FlagMeaning",
    "Measure",
    "format_number",
    "mark_of_score",
    "meaning_of_flag",
    "measure_of_column",
    "number_of",
    "per_hundred",
    "reason_missing",
    "title_of_feature",
    "verdict_of_probability",
]

MISSING = "–"

MAIN_COLUMNS = (
    "height_mean_mm",
    "width_ap_mm",
    "width_lateral_mm",
    "wedge_deg",
    "angle_sagittal_deg",
    "angle_coronal_deg",
    "angle_transverse_deg",
    "volume_mm3",
    "narrowing_probability",
)
"""Columns of the page's first table, in order; every other measure stands in the second."""

_TITLES = {
    "height_mean_mm": "Mean height",
    "width_ap_mm": "AP width",
    "width_lateral_mm": "Lateral width",
    "wedge_deg": "Wedge angle",
    "angle_sagittal_deg": "Sagittal angle",
    "angle_coronal_deg": "Coronal angle",
    "angle_transverse_deg": "Transverse angle",
    "volume_mm3": "Volume",
    "height_anterior_mm": "Anterior height",
    "height_middle_mm": "Middle height",
    "height_posterior_mm": "Posterior height",
    "height_dabbs_mm": "Height by Dabbs",
    "height_fyllos_mm": "Height by Fyllos",
    "height_hurxthal_mm": "Height by Hurxthal",
    "disc_height_index": "Disc height index",
    "asymmetry_mm": "Left-right asymmetry",
    "bulge_mm": "Bulge",
    "footprint_mm2": "Footprint",
    "surface_mm2": "Surface",
    "narrowing_probability": "Narrowing",
    "reconstruction_iou": "Latent fit (IoU)",
    "shape_plausibility": "Shape plausibility",
    "signal_over_vertebrae": "Signal over bone marrow",
    "signal_over_canal": "Signal over dural sac",
    "signal_nucleus_over_annulus": "Signal, middle over edges",
    "paper_height_mm": "Paper: height",
    "paper_width_ap_mm": "Paper: AP width",
    "paper_width_lateral_mm": "Paper: lateral width",
    "paper_angle_sagittal_deg": "Paper: sagittal angle",
    "paper_angle_coronal_deg": "Paper: coronal angle",
    "paper_angle_transverse_deg": "Paper: transverse angle",
}

_OTHER_MEANINGS = {
    "narrowing_probability": "Estimated probability that a reader would grade the disc as narrowed.",
    "reconstruction_iou": "Overlap of the disc with the shape decoded from its latents; 1 is perfect.",
    "shape_plausibility": "Share of the model's training discs at least as unusual; 0: unlike all of them.",
}

_FEATURES = {
    "level_place": "Level",
    "height_over_width_ap": "Height over AP width",
    "height_over_neighbours": "Height over the discs beside it",
    "height_over_patient": "Height over the patient’s other discs",
    "width_ap_over_patient": "AP width over the patient’s other discs",
    "endplate_concavity_mm": "Middle height less that of the edges",
    "age_years": "Age",
    "sex_female": "Sex",
}
"""What a classifier may be given beside the measures of the table."""

# Longest ending first, because "_mm" ends no other.
_UNITS = (
    ("_mm3", "mm³", 0),
    ("_mm2", "mm²", 0),
    ("_mm", "mm", 1),
    ("_deg", "°", 1),
    ("_probability", "%", 0),
)


@dataclass(frozen=True, slots=True)
class Measure:
    """A column of numbers: its name in the file, title, unit, decimals shown and meaning."""

    column: str
    title: str
    unit: str
    decimals: int
    meaning: str

    def show(self, value: float, error: float = math.nan) -> str:
        """Write a value, with its standard error where that is known, without the unit.

        An error too small for the value's decimals has one more. A probability that is not certain is not
        shown as 0 or 100.
        """
        scale = 100.0 if self.unit == "%" else 1.0
        if self.unit == "%" and (0 < value < 0.01 or 0.99 < value < 1):
            return "< 1" if value < 0.5 else "> 99"
        text = format_number(value * scale, decimals=self.decimals)
        if math.isfinite(value) and math.isfinite(error):
            small = error * scale < 0.5 * 10.0**-self.decimals
            text += f" ± {format_number(error * scale, decimals=self.decimals + small)}"
        return text


def format_number(value: float, *, decimals: int) -> str:
    """Write a number for people: a true minus sign, no negative zero, an en dash for a missing value.

    Examples
    --------
    >>> format_number(-3.14159, decimals=1), format_number(-0.01, decimals=1)
    ('−3.1', '0.0')
    """
    if not math.isfinite(value):
        return MISSING
    rounded = round(value, decimals) + 0.0
    if abs(rounded) >= 10_000:
        text = f"{rounded:,.{decimals}f}".replace(",", "\u202f")
    else:
        text = f"{rounded:.{decimals}f}"
    return text.replace("-", "−")


def measure_of_column(column: str) -> Measure:
    """Describe a column of ``discs.csv``, known or not, by its name and the unit that ends it."""
    meanings = Geometry.meanings() | Intensity.meanings() | _OTHER_MEANINGS
    title, meaning = _TITLES.get(column, ""), meanings.get(column, "")
    for ending, unit, decimals in _UNITS:
        if column.endswith(ending):
            words = column.removesuffix(ending) if unit != "%" else column
            return Measure(column, title or _sentence(words), unit, decimals, meaning)
    if column.startswith("z_"):
        of = next((name for name in _TITLES if name.startswith(column.removeprefix("z_"))), column)
        return Measure(column, _TITLES.get(of, _sentence(of)), "", 1, "")
    if column.startswith("latent_"):
        number = column.removeprefix("latent_")
        return Measure(
            column, f"Latent {number}", "", 2, "A coordinate of the disc's shape; SDs from the mean."
        )
    return Measure(
        column, title or _sentence(column), "", 2 if column in Intensity.meanings() else 3, meaning
    )


def title_of_feature(name: str) -> str:
    """Name what the classifier was given, without its unit."""
    return _FEATURES.get(name) or measure_of_column(name).title


def number_of(value: object) -> float:
    """Take a cell as a number; what is none counts as missing."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return math.nan


def mark_of_score(value: float) -> str:
    """Say in a word that a z-score, as shown, is 2 or more from the reference's mean; nothing if it is not.

    Examples
    --------
    >>> mark_of_score(-2.3), mark_of_score(1.94), mark_of_score(1.96)
    ('low', '', 'high')
    """
    shown = round(value, 1)
    return "high" if shown >= 2 else "low" if shown <= -2 else ""


def per_hundred(chance: float) -> str:
    """Write a probability in whole per cent, but never one that is not certain as 0 or 100.

    Examples
    --------
    >>> per_hundred(0.644), per_hundred(0.001), per_hundred(0.999)
    ('64 %', 'under 1 %', 'over 99 %')
    """
    if 0.01 <= chance <= 0.99:
        return f"{format_number(100 * chance, decimals=0)} %"
    return "under 1 %" if chance < 0.5 else "over 99 %"


_VERDICTS = (
    (0.1, "very probably not narrowed"),
    (0.4, "probably not narrowed"),
    (0.6, "undecided"),
    (0.9, "probably narrowed"),
    (math.inf, "very probably narrowed"),
)


def verdict_of_probability(chance: float) -> tuple[str, str]:
    """Put a probability of narrowing, as shown, into words: a verdict, and what is meant by it.

    Examples
    --------
    >>> verdict_of_probability(0.64)
    ('probably narrowed', 'Of 100 discs with this answer, about 64 would be graded as narrowed.')
    """
    verdict = next(words for bound, words in _VERDICTS if round(chance, 2) < bound)
    number = format_number(100 * chance, decimals=0)
    if not 0.01 <= chance <= 0.99:
        number = "fewer than 1" if chance < 0.5 else "more than 99"
    about = "about " if number[0].isdigit() else ""
    return verdict, f"Of 100 discs with this answer, {about}{number} would be graded as narrowed."


def _sentence(name: str) -> str:
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


@dataclass(frozen=True, slots=True)
class FlagMeaning:
    """A flag in words. ``quality`` flags lower the trust in numbers; the others are notes."""

    title: str
    meaning: str
    quality: bool = True


_FLAGS = {
    "ambiguous_level": FlagMeaning(
        "Level not certain",
        "No sacrum was seen, so the levels were counted from the lowest disc, as if it were L5/S1. Check it "
        "on the pictures.",
        quality=False,
    ),
    "transitional": FlagMeaning(
        "Transitional anatomy",
        "A disc was found within the sacrum too, so S1 may be lumbarised or L5 sacralised, and every level "
        "one off.",
        quality=False,
    ),
    "doubtful_orientation": FlagMeaning(
        "Orientation in doubt",
        "The discs are not higher in front than behind, and the more so the lower they are, as those of most "
        "lumbar spines, or the spine bends most at its upper end, or hardly a canal was seen behind it. See "
        "on the pictures whether the file says rightly which way is up and back.",
    ),
    "unusual_size": FlagMeaning(
        "Size in doubt",
        "The discs are wider, narrower, closer together or farther apart than those of most adults. See "
        "whether the file's voxel sizes are right.",
    ),
    "missing_below": FlagMeaning(
        "Disc missing below",
        "The step to the disc below has room for one more, which was not found, or the mask's names skip a "
        "level there.",
    ),
    "duplicate": FlagMeaning("Too close", "Two discs lie closer together than a vertebra allows."),
    "out_of_line": FlagMeaning("Out of line", "The disc lies off the curve of the other discs."),
    "truncated": FlagMeaning(
        "Cut off",
        "The disc reaches the edge of the image, so a part of it may be missing. What a part that is clearly "
        "cut off would have changed is left out, and heights are those of the part seen.",
    ),
    "few_slices": FlagMeaning("Few slices", "Less than three voxels show the disc along one axis."),
    "fragmented": FlagMeaning("In pieces", "The disc's voxels do not hang together."),
    "merged": FlagMeaning(
        "Merged", "This may be more than one disc, or a disc that was cut from a neighbour it touched."
    ),
    "cropped_cube": FlagMeaning(
        "Too large to encode", "The disc is larger than the cube that the shape model sees."
    ),
    "implausible": FlagMeaning(
        "Implausible", "A measure has a value that no disc has, and is left out; look at the mask."
    ),
    "unusual_shape": FlagMeaning(
        "Unusual shape",
        "The shape is farther from the usual than any disc that the shape model learnt from; its latents say "
        "little.",
    ),
    "not_disc_like": FlagMeaning(
        "Not disc-like", "No disc's outline and endplates fit this shape, so most measures are missing."
    ),
}


def meaning_of_flag(flag: str) -> FlagMeaning:
    """Explain a flag; one that is not known keeps its name and counts as a quality flag.

    A flag may carry a detail after a colon, which is shown with it.
    """
    name, _, detail = flag.partition(":")
    known = _FLAGS.get(name.strip())
    if known is None:
        return FlagMeaning(
            _sentence(flag), "The analysis raised this flag; look at the disc before using its numbers."
        )
    if detail:
        return FlagMeaning(known.title, f"{known.meaning} ({detail.strip()})", known.quality)
    return known


_NO_SIGNAL = {
    "signal_over_vertebrae": "no vertebra is labelled near it, or it has no signal",
    "signal_over_canal": "no canal is labelled near it, or it has no signal",
    "signal_nucleus_over_annulus": "too few of its voxels are seen, or they have no signal",
}


def reason_missing(column: str, flags: Collection[str], *, image: bool = True) -> str:
    """Say why a disc has no value in a column, as the end of a sentence; ``image``: whether there was one."""
    if column.startswith("signal_") and not image:
        return "no image was given"
    if column in _NO_SIGNAL:
        return _NO_SIGNAL[column]
    if column == "narrowing_probability":
        return "the disc's height is not known"
    if column.startswith("latent_") or column in ("reconstruction_iou", "shape_plausibility"):
        return "the disc was not encoded"
    if column.startswith("z_"):
        return "the measure is missing, or the reference has too few discs of this level"
    if "not_disc_like" in flags:
        return "the shape is not that of a disc"
    if column == "disc_height_index":
        return "no vertebra beside it is labelled and seen whole"
    if "truncated" in flags:
        return "the image ends before the disc does"
    if "implausible" in flags:
        return "its value is none that a disc has"
    return "the mask does not determine it"
