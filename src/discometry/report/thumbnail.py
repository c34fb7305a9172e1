"""A study as a stamp: its sagittal section with the discs filled in, for overviews of many."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from discometry.report.figures import NEUTRAL, colour_of_label
from discometry.report.planes import find_regions, sagittal_sheet, sample

if TYPE_CHECKING:
    from discometry.io.results import StudyFiles

__all__ = ["THUMBNAIL_NAME", "draw_thumbnail"]

THUMBNAIL_NAME = "thumbnail.webp"

_HEIGHT_PX = 176
_FILL = 0.55
"""How much of a disc's colour covers the image."""


def draw_thumbnail(study: StudyFiles) -> bytes:
    """Draw a study's discs, on its image where it has one, as a small WebP picture of a few kilobytes."""
    from PIL import Image, ImageColor

    regions = find_regions(study.labels)
    sheet = sagittal_sheet(study.labels, regions, margins_mm=(18.0, 24.0, 10.0))
    canvas = np.empty((*sheet.points_lps.shape[:2], 3))
    canvas[:] = ImageColor.getrgb(NEUTRAL)
    if study.image is not None:
        grey = sample(study.image, sheet, outside=np.nan)
        known = np.isfinite(grey)
        canvas[known] = grey[known, None]
    for region in regions:
        cover = _FILL * np.clip(sample(region.mask, sheet, outside=0.0), 0, 1)[..., None]
        canvas += cover * (np.array(ImageColor.getrgb(colour_of_label(region.label))) - canvas)
    rows, columns = canvas.shape[:2]
    size = (max(1, round(columns * _HEIGHT_PX / rows)), _HEIGHT_PX)
    picture = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    stream = BytesIO()
    picture.save(stream, format="WEBP", quality=80, method=2)
    return stream.getvalue()
