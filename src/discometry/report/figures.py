"""Pictures of a study's discs: sagittal, coronal and axial sections with outlines and names, as SVG."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from discometry.core.anatomy import DISC_LABEL_BASE
from discometry.core.volume import Volume
from discometry.report.planes import (
    DiscRegion,
    Sheet,
    axial_sheet,
    coronal_sheet,
    half_size_of,
    sagittal_sheet,
    sample,
)

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "FONT_PX",
    "INK",
    "NEUTRAL",
    "PALETTE",
    "Picture",
    "colour_of_label",
    "draw_axials",
    "draw_coronal",
    "draw_sagittal",
    "image_element",
    "text_element",
    "text_on",
]

PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
"""Colours that people with any common colour vision tell apart (Okabe and Ito, 2008), without their black."""

NEUTRAL = "#e4e8ed"
INK = "#1b2530"
FONT_PX = 12.0
SCALE_BAR_MM = 20.0

_BOLD_EM = 0.58
"""Mean width of a bold character in parts of its height. Names are set to just this width, in any font."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished picture: SVG in CSS pixels, its size on the page in these, and what it shows in words."""

    svg: str
    width_px: int
    height_px: int
    alt: str

    @classmethod
    def of(cls, parts: Sequence[str], size_px: tuple[float, float], *, alt: str) -> Picture:
        """Put elements of SVG, the lowest first, on plain ground."""
        width, height = map(round, size_px)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif">'
        )
        ground = f'<rect width="{width}" height="{height}" fill="{NEUTRAL}"/>'
        return cls("\n".join((head, ground, *parts, "</svg>\n")), width, height, alt)

    @property
    def data_uri(self) -> str:
        """The picture as a ``data:`` address."""
        return "data:image/svg+xml;base64," + b64encode(self.svg.encode()).decode("ascii")


def colour_of_label(label: int) -> str:
    """Colour of a disc, the same for one level in every study; neighbours always differ.

    Examples
    --------
    >>> colour_of_label(201)
    '#E69F00'
    """
    return PALETTE[(label - DISC_LABEL_BASE - 1) % len(PALETTE)]


def draw_sagittal(labels: Volume, image: Volume | None, regions: Sequence[DiscRegion]) -> Picture:
    """Draw the spine from its left side, along a sheet through every disc's centre."""
    sheet = sagittal_sheet(labels, regions, margins_mm=(34.0, 42.0, 16.0))
    alt = (
        f"Sagittal picture through the centres of the discs, anterior at the left, {_naming(image, regions)}"
    )
    return _draw_spine(sheet, image, regions, alt=alt)


def draw_coronal(labels: Volume, image: Volume | None, regions: Sequence[DiscRegion]) -> Picture:
    """Draw the spine from the front, along a sheet through every disc's centre."""
    sheet = coronal_sheet(labels, regions, margins_mm=(34.0, 26.0, 16.0))
    alt = (
        "Coronal picture through the centres of the discs, the patient's right at the viewer's left, "
        f"{_naming(image, regions)}"
    )
    return _draw_spine(sheet, image, regions, alt=alt)


def draw_axials(image: Volume | None, regions: Sequence[DiscRegion]) -> tuple[Picture, ...]:
    """Draw every disc in its own mid-plane, all at one scale, in the order of ``regions``."""
    half_size = half_size_of(regions, margin_mm=14.0)
    pictures = []
    for region in regions:
        sheet = axial_sheet(region, half_size_mm=half_size)
        alt = (
            f"Axial picture in the mid-plane of disc {region.level}, anterior at the top, the patient's "
            f"right at the viewer's left, {_naming(image, [region])}"
        )
        pictures.append(_draw(sheet, image, [region], px_per_mm=240 / sheet.size_mm[0], alt=alt))
    return tuple(pictures)


def _naming(image: Volume | None, regions: Sequence[DiscRegion]) -> str:
    names = ", ".join(region.level for region in reversed(regions))
    ground = "on the image" if image is not None else "on a plain ground because there is no image"
    return f"with the outline of {names} {ground}."


def _draw_spine(sheet: Sheet, image: Volume | None, regions: Sequence[DiscRegion], *, alt: str) -> Picture:
    px_per_mm = float(np.clip(600 / sheet.size_mm[1], 2.0, 4.0))
    return _draw(sheet, image, regions, px_per_mm=px_per_mm, alt=alt)


def _draw(
    sheet: Sheet, image: Volume | None, regions: Sequence[DiscRegion], *, px_per_mm: float, alt: str
) -> Picture:
    """Draw a sheet: image, outlines, names, edge letters and scale bar."""
    width, height = (side * px_per_mm for side in sheet.size_mm)
    parts = [] if image is None else [image_element(_grey_image(sheet, image), (width, height))]
    for region in regions:
        parts.extend(_disc(sheet, region, px_per_mm, named=len(regions) > 1))
    parts.extend(_frame(sheet.edges, (width, height), px_per_mm, on_image=image is not None))
    return Picture.of(parts, (width, height), alt=alt)


def image_element(image: Image, size_px: tuple[float, float]) -> str:
    """Stretch a Pillow image over a picture of some size on the page."""
    stream = BytesIO()
    image.save(stream, format="WEBP", quality=92, method=0)
    packed = b64encode(stream.getvalue()).decode("ascii")
    width, height = map(round, size_px)
    return (
        f'<image width="{width}" height="{height}" preserveAspectRatio="none" '
        f'href="data:image/webp;base64,{packed}"/>'
    )


def text_element(words: str, place: tuple[float, float], size_px: float, style: str) -> str:
    """Write some words, with their middle at a height on the page; ``style`` is attributes of SVG."""
    x, y = place
    return f'<text x="{x:.1f}" y="{y:.1f}" dy="0.35em" font-size="{size_px}" {style}>{words}</text>'


def _grey_image(sheet: Sheet, image: Volume) -> Image:
    """Show the image in greys from its 0.5th to its 99.5th percentile; beyond its edges is plain ground.

    It has a pixel for each point of the sheet, which lie closer than most voxels; the page smooths them.
    """
    from PIL import Image, ImageColor

    grey = sample(image, sheet, outside=np.nan)
    known = np.isfinite(grey)
    pixels = np.empty((*grey.shape, 3), dtype=np.uint8)
    pixels[:] = ImageColor.getrgb(NEUTRAL)
    if known.any():
        low, high = np.percentile(grey[known], (0.5, 99.5))
        shade = np.clip((grey[known] - low) * (255 / max(high - low, 1e-6)), 0, 255)
        pixels[known] = shade[:, None]
    return Image.fromarray(pixels)


def _disc(sheet: Sheet, region: DiscRegion, px_per_mm: float, *, named: bool) -> Iterator[str]:
    """Outline a disc and fill it thinly; write its name before its left edge."""
    from contourpy import contour_generator

    inside = sample(region.mask, sheet, outside=0.0)
    if inside.max() <= 0.5:
        return
    step = sheet.step_mm * px_per_mm
    x, y = ((np.arange(count) + 0.5) * step for count in inside.shape[::-1])
    lines: Any = contour_generator(x, y, inside).lines(0.5)
    name, colour = f"disc-{region.label}", colour_of_label(region.label)
    yield f'<defs><path id="{name}" fill-rule="evenodd" d="{"".join(map(_path, lines))}"/></defs>'
    # A dark line under the coloured one keeps the outline visible on bright and on pale grounds.
    yield (
        f'<use href="#{name}" fill="{colour}" fill-opacity="0.28" '
        f'stroke="{INK}" stroke-width="3.2" stroke-opacity="0.75"/>'
    )
    yield f'<use href="#{name}" fill="none" stroke="{colour}" stroke-width="1.9"/>'
    if named:
        rows, columns = np.nonzero(inside > 0.5)
        left = columns.min()
        middle = y[int(rows[columns == left].mean())]
        yield _name(region.level, colour, float(x[left]) - 3 * px_per_mm, float(middle))


def _path(line: Any) -> str:
    """Write a line of points, Nx2, as part of a path; a ring ends where it began."""
    ring = bool((line[0] == line[-1]).all())
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in line[: -1 if ring else None].tolist())
    return f"M{points}{'Z' if ring else ''}"


def _name(level: str, colour: str, right: float, middle: float) -> str:
    """Write a level on a small plate that ends at ``right``."""
    wide, pad = _BOLD_EM * FONT_PX * len(level), 0.3 * FONT_PX
    plate = (
        f'<rect x="{right - wide - pad:.1f}" y="{middle - 0.5 * FONT_PX - pad:.1f}" '
        f'width="{wide + 2 * pad:.1f}" height="{FONT_PX + 2 * pad:.1f}" rx="{pad:.1f}" '
        f'fill="{colour}" stroke="{INK}" stroke-width="0.9"/>'
    )
    fitted = f'textLength="{wide:.1f}" lengthAdjust="spacingAndGlyphs"'
    style = f'{fitted} font-weight="bold" fill="{text_on(colour)}"'
    return plate + text_element(level, (right - wide, middle), FONT_PX, style)


def _frame(
    edges: Sequence[str], size_px: tuple[float, float], px_per_mm: float, *, on_image: bool
) -> Iterator[str]:
    """Write the four edge letters and a scale bar: white with a rim on an image, dark on plain ground."""
    width, height = size_px
    pad = 11
    colour, rim = ("white", INK) if on_image else (INK, NEUTRAL)
    style = (
        f'fill="{colour}" stroke="{rim}" stroke-width="3.4" stroke-linejoin="round" paint-order="stroke" '
        'text-anchor="middle"'
    )
    places = ((pad, height / 2), (width - pad, height / 2), (width / 2, pad), (width / 2, height - pad))
    for letter, place in zip(edges, places, strict=True):
        yield text_element(letter, place, FONT_PX + 1, f'font-weight="bold" {style}')
    right, base, long = width - pad, height - pad, SCALE_BAR_MM * px_per_mm
    for stroke, wide in ((rim, 5.6), (colour, 2.9)):
        line = f"M{right - long:.1f},{base:.1f}H{right:.1f}"
        yield f'<path d="{line}" stroke="{stroke}" stroke-width="{wide}"/>'
    yield text_element(f"{SCALE_BAR_MM:.0f} mm", (right - long / 2, base - 10), FONT_PX - 1, style)


def text_on(colour: str) -> str:
    """Black or white, whichever reads better on a colour (relative luminance after WCAG 2.2)."""
    channels = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return "#ffffff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#000000"
