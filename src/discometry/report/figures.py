"""Pictures of a study's discs: sagittal, coronal and axial sections with outlines and names."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

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

__all__ = [
    "FONT_PX",
    "INK",
    "PALETTE",
    "Picture",
    "blank_axes",
    "colour_of_label",
    "draw_axials",
    "draw_coronal",
    "draw_sagittal",
    "finish_picture",
    "points_of_px",
    "text_on",
]

PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
"""Colours that people with any common colour vision tell apart (Okabe and Ito, 2008), without their black."""

CSS_PX_PER_INCH = 96
SHARPNESS = 2
"""Pixels of a picture for each pixel of the page at its full size."""

NEUTRAL = "#e4e8ed"
INK = "#1b2530"
FONT_PX = 12.0
SCALE_BAR_MM = 20.0


@dataclass(frozen=True, slots=True)
class Picture:
    """A finished picture: WebP bytes, its size on the page in CSS pixels, and what it shows in words."""

    webp: bytes
    width_px: int
    height_px: int
    alt: str

    @property
    def data_uri(self) -> str:
        """The picture as a ``data:`` address."""
        return "data:image/webp;base64," + b64encode(self.webp).decode("ascii")


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
    width, height = sheet.size_mm
    figure, axes = blank_axes(width * px_per_mm, height * px_per_mm)
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    ground = None if image is None else _grey_image(sheet, image, figure.canvas.get_width_height())
    for region in regions:
        _show_disc(axes, sheet, region, named=len(regions) > 1)
    _show_frame(axes, sheet, on_image=image is not None, px_per_mm=px_per_mm)
    return finish_picture(figure, alt=alt, ground=ground)


def blank_axes(width_px: float, height_px: float) -> tuple[Any, Any]:
    """Make a figure of a size in CSS pixels with axes that fill it."""
    from matplotlib.figure import Figure

    size = (round(width_px) / CSS_PX_PER_INCH, round(height_px) / CSS_PX_PER_INCH)
    figure = Figure(figsize=size, dpi=CSS_PX_PER_INCH * SHARPNESS, facecolor="none")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_axis_off()
    return figure, axes


def finish_picture(figure: Any, *, alt: str, ground: Any = None) -> Picture:
    """Render a figure, apart from any global state, over a Pillow image or over plain ground, and pack it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    width, height = figure.get_size_inches() * CSS_PX_PER_INCH
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba()))
    picture = Image.new("RGB", drawn.size, NEUTRAL) if ground is None else ground
    picture.paste(drawn, mask=drawn)
    stream = BytesIO()
    picture.save(stream, format="WEBP", quality=92, method=2)
    return Picture(stream.getvalue(), round(width), round(height), alt)


def _grey_image(sheet: Sheet, image: Volume, size: tuple[int, int]) -> Any:
    """Show the image in greys from its 0.5th to its 99.5th percentile; beyond its edges is plain ground.

    Enlarged and laid under the drawing by Pillow: matplotlib takes several times as long for the same.
    """
    from PIL import Image

    ground = Image.new("RGB", size, NEUTRAL)
    grey = sample(image, sheet, outside=np.nan)
    known = np.isfinite(grey)
    if not known.any():
        return ground
    low, high = np.percentile(grey[known], (0.5, 99.5))
    shade = np.clip((np.nan_to_num(grey, nan=low) - low) * (255 / max(high - low, 1e-6)), 0, 255)
    enlarged = Image.fromarray(shade.astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    cover = Image.fromarray(known.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)
    ground.paste(enlarged.convert("RGB"), mask=cover)
    return ground


def _show_disc(axes: Any, sheet: Sheet, region: DiscRegion, *, named: bool) -> None:
    """Outline a disc and fill it thinly; write its name before its left edge."""
    from contourpy import contour_generator
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    inside = sample(region.mask, sheet, outside=0.0)
    if inside.max() <= 0.5:
        return
    colour = colour_of_label(region.label)
    x = (np.arange(inside.shape[1]) + 0.5) * sheet.step_mm
    y = (np.arange(inside.shape[0]) + 0.5) * sheet.step_mm
    lines: Any = contour_generator(x, y, inside).lines(0.5)
    outline = Path.make_compound_path(*map(Path, lines))
    axes.add_artist(PathPatch(outline, facecolor=colour, alpha=0.28, linewidth=0))
    # A dark line under the coloured one keeps the outline visible on bright and on pale grounds.
    axes.add_artist(PathPatch(outline, fill=False, edgecolor=INK, linewidth=2.4, alpha=0.75))
    axes.add_artist(PathPatch(outline, fill=False, edgecolor=colour, linewidth=1.4))
    if named:
        rows, columns = np.nonzero(inside > 0.5)
        left = columns.min()
        _write_name(axes, x[left] - 3.0, y[int(rows[columns == left].mean())], region)


def _write_name(axes: Any, x: float, y: float, region: DiscRegion) -> None:
    colour = colour_of_label(region.label)
    axes.text(
        x,
        y,
        region.level,
        ha="right",
        va="center",
        fontsize=points_of_px(FONT_PX),
        fontweight="bold",
        color=text_on(colour),
        bbox={"boxstyle": "round,pad=0.28", "facecolor": colour, "edgecolor": INK, "linewidth": 0.7},
    )


def points_of_px(px: float) -> float:
    """Size in points, matplotlib's unit, of CSS pixels."""
    return px * 72 / CSS_PX_PER_INCH


def text_on(colour: str) -> str:
    """Black or white, whichever reads better on a colour (relative luminance after WCAG 2.2)."""
    channels = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return "#ffffff" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "#000000"


def _show_frame(axes: Any, sheet: Sheet, *, on_image: bool, px_per_mm: float) -> None:
    """Write the four edge letters and a scale bar: white with a rim on an image, dark on plain ground."""
    from matplotlib.patheffects import withStroke

    width, height = sheet.size_mm
    pad = 11 / px_per_mm
    colour, rim = ("white", INK) if on_image else (INK, NEUTRAL)
    halo = [withStroke(linewidth=2.6, foreground=rim)]
    style = {"color": colour, "path_effects": halo, "ha": "center", "va": "center"}
    places = ((pad, height / 2), (width - pad, height / 2), (width / 2, pad), (width / 2, height - pad))
    for letter, (x, y) in zip(sheet.edges, places, strict=True):
        axes.text(x, y, letter, fontsize=points_of_px(FONT_PX + 1), fontweight="bold", **style)
    right, base = width - pad, height - pad
    axes.plot(
        [right - SCALE_BAR_MM, right],
        [base, base],
        color=colour,
        linewidth=2.2,
        path_effects=[withStroke(linewidth=4.2, foreground=rim)],
        solid_capstyle="butt",
    )
    middle = right - SCALE_BAR_MM / 2
    told = f"{SCALE_BAR_MM:.0f} mm"
    axes.text(middle, base - 10 / px_per_mm, told, fontsize=points_of_px(FONT_PX - 1), **style)
