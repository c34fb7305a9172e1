"""Draw the pictures of docs/geometry.md from analytic discs.

python benchmarks/draw_geometry.py --out docs/pictures
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc

from discometry.core.disc_shape import fit_disc_shape
from discometry.core.phantom import PhantomDisc, phantom_grid, render_disc_mask, single_disc
from discometry.core.shape_measures import INSET
from discometry.core.voxel_surface import voxel_surface
from discometry.stages.measure import measure_mask

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"


def panel(axes: Axes, title: str, left: str, right: str) -> None:
    """Give a panel equal scales, a title, and the directions of its sides."""
    axes.set_aspect("equal")
    axes.set_title(title, fontsize=10)
    axes.axis("off")
    for place, text in ((0.0, left), (1.0, right)):
        axes.text(
            place, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=GREY, fontsize=9
        )


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], text: str, color: str) -> None:
    """Draw a double arrow with a word at its middle."""
    axes.annotate("", start, end, arrowprops={"arrowstyle": "<->", "color": color, "lw": 1.6})
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    axes.text(
        *middle,
        text,
        color=color,
        ha="center",
        va="center",
        fontsize=9,
        bbox={"fc": "white", "ec": "none", "pad": 1},
    )


def section(axes: Axes, disc: PhantomDisc, plane: str) -> None:
    """Fill the cut through a disc's centre: ``sagittal`` (anterior left), ``coronal`` or ``footprint``."""
    first, second = np.meshgrid(np.linspace(-32, 32, 257), np.linspace(-26, 26, 209))
    zero = np.zeros_like(first)
    if plane == "footprint":
        inside = disc.radius(first, -second) <= 1.0 + disc.bulge
    elif plane == "sagittal":
        inside = disc.inside(zero, first, second)
    else:
        inside = disc.inside(first, zero, second)
    axes.contourf(first, second, inside, levels=[0.5, 1.5], colors=[BLUE], alpha=0.25)
    axes.contour(first, second, inside, levels=[0.5], colors=[BLUE], linewidths=1.5)


def own_frame(disc: PhantomDisc) -> Figure:
    """Mean height, widths and wedge in the disc's own frame."""
    figure = Figure(figsize=(9, 3.0), layout="constrained")
    side, top = figure.subplots(1, 2)
    section(side, disc, "sagittal")
    panel(side, "from the side: height and wedge", "anterior", "posterior")
    b = disc.half_ap_mm * (1 + disc.bulge)
    mean = disc.geometry().height_mean_mm
    for sign in (1, -1):
        side.plot([-b, b], [sign * mean / 2] * 2, color=ORANGE, lw=1, ls="--")
        slope = math.tan(math.radians(disc.wedge_deg / 2))
        at = disc.height_mm / 2 + disc.dome_superior_mm / 2
        side.plot([-30, 30], [sign * (at + 30 * slope), sign * (at - 30 * slope)], color=GREEN, lw=1.2)
    arrow(side, (6, -mean / 2), (6, mean / 2), "mean", ORANGE)
    side.text(-27, 13, "wedge: between the fitted endplates", color=GREEN, fontsize=9)
    side.text(-27, -15, "mean height = volume / footprint", color=ORANGE, fontsize=9)
    side.set(xlim=(-34, 34), ylim=(-18, 18))
    section(top, disc, "footprint")
    panel(top, "along its own axis: footprint and widths", "right", "left")
    a = disc.half_lateral_mm * (1 + disc.bulge)
    arrow(top, (-a, -2.5), (a, -2.5), "lateral width", ORANGE)
    arrow(top, (3, -b), (3, b), "AP width", GREEN)
    top.set(xlim=(-36, 36), ylim=(-24, 24))
    return figure


def heights() -> Figure:
    """Heights of the mid-sagittal section; asymmetry and bulge in the mid-coronal one."""
    disc = single_disc(
        9.0, wedge_deg=10.0, lateral_wedge_deg=5.0, dome_superior_mm=1.6, dome_inferior_mm=1.6, bulge=0.08
    )
    figure = Figure(figsize=(9.5, 3.2), layout="constrained")
    side, front = figure.subplots(1, 2)
    section(side, disc, "sagittal")
    panel(side, "mid-sagittal section", "anterior", "posterior")
    b = disc.half_ap_mm * (1 + disc.bulge)
    inset = 1.0 - 2.0 * INSET
    for place, name, color in (
        (-inset, "anterior", ORANGE),
        (0.0, "middle", GREEN),
        (inset, "posterior", ORANGE),
    ):
        half = disc.height_at(0.0, place * b) / 2
        arrow(side, (place * b, -half), (place * b, half), name, color)
    side.plot([-b, b], [0, 0], color=GREY, lw=1, ls=":")
    for place in (-1.0, -inset, inset, 1.0):
        side.plot([place * b] * 2, [-11.5, -10.5], color=GREY, lw=1)
    side.plot([-b, b], [-11, -11], color=GREY, lw=1)
    side.text(0, -13.2, "diameter; ends a tenth inside", color=GREY, fontsize=9, ha="center")
    side.text(
        0,
        10.5,
        "Dabbs = (anterior + posterior) / 2\nFyllos = (anterior + middle + posterior) / 3",
        fontsize=9,
        ha="center",
    )
    side.set(xlim=(-34, 34), ylim=(-16, 16))
    section(front, disc, "coronal")
    panel(front, "mid-coronal section", "right", "left")
    a, rim = disc.half_lateral_mm * (1 + disc.bulge), disc.half_lateral_mm
    for place, name in ((-inset, "right"), (inset, "left")):
        half = disc.height_at(place * a, 0.0) / 2
        arrow(front, (place * a, -half), (place * a, half), name, ORANGE)
    for place in (-1, 1):
        front.plot([place * rim] * 2, [-10, 10], color=GREEN, lw=1, ls="--")
        front.plot([place * a] * 2, [-10, 10], color=GREEN, lw=1)
    front.annotate("bulge", (a, -8.5), (rim - 10, -9.0), color=GREEN, fontsize=9, va="center")
    front.annotate("", (rim, -9.0), (a, -9.0), arrowprops={"arrowstyle": "<->", "color": GREEN})
    front.text(0, 11.5, "asymmetry = left - right", color=ORANGE, fontsize=9, ha="center")
    front.set(xlim=(-36, 36), ylim=(-16, 16))
    return figure


def spine() -> Figure:
    """Disc height index and lordosis on a chain of discs and bodies."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    index, curve = figure.subplots(1, 2)
    for low, high, color in ((-32.0, -4.6, "#DDDDDD"), (-3.8, 3.8, "#BFDCEE"), (4.6, 32.0, "#DDDDDD")):
        index.fill([-17, 17, 17, -17], [low, low, high, high], fc=color, ec=GREY)
    arrow(index, (0, 4.6), (0, 32.0), "body above", GREEN)
    arrow(index, (0, -32.0), (0, -4.6), "body below", GREEN)
    arrow(index, (-5, -3.8), (-5, 3.8), "disc (Fyllos)", ORANGE)
    panel(index, "disc height index: disc over the mean of both bodies", "", "")
    index.set(xlim=(-40, 40), ylim=(-36, 36))
    angles_deg = (-32.0, -13.0, -2.0, 5.0, 9.0)
    place = np.zeros(2)
    for number, angle in enumerate(angles_deg):
        turn = math.radians(-angle)
        along, up = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
        corners = [place + 17 * a * along + 4 * b * up for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
        curve.fill(*np.transpose(corners), fc="#BFDCEE", ec=BLUE, lw=1.2)
        if number in (0, len(angles_deg) - 1):
            ends = [place - 30 * along, place + 75 * along]
            curve.plot(*np.transpose(ends), color=ORANGE, lw=1.4)
        place = place + 36 * up
    curve.text(34, 62, "lordosis: angle between\nhighest and lowest disc", color=ORANGE, fontsize=9)
    panel(curve, "lordosis over the discs seen", "anterior", "")
    curve.set(xlim=(-60, 95), ylim=(-30, 165))
    return figure


def angles() -> Figure:
    """Show the three angles, each with the sign that is positive."""
    figure = Figure(figsize=(9, 3.0), layout="constrained")
    shown = (
        ("sagittal: anterior edge up", "anterior", "posterior", -14.0, -1),
        ("coronal: left edge up", "right", "left", 14.0, 1),
        ("transverse: left end posterior", "right", "left", -20.0, 1),
    )
    for axes, (title, left, right, angle, side) in zip(figure.subplots(1, 3), shown, strict=True):
        panel(axes, title, left, right)
        half = (25.0, 17.0) if "trans" in title else (24.0 if side > 0 else 17.0, 4.0)
        turn = math.radians(angle)
        around = np.linspace(0, 2 * np.pi, 200)
        size = (np.abs(np.cos(around)) ** 4 + np.abs(np.sin(around)) ** 4) ** -0.25
        x, y = half[0] * size * np.cos(around), half[1] * size * np.sin(around)
        axes.fill(
            x * math.cos(turn) - y * math.sin(turn),
            x * math.sin(turn) + y * math.cos(turn),
            fc="#0072B240",
            ec=BLUE,
            lw=1.5,
        )
        axes.plot([-30, 30], [0, 0], color=GREY, lw=1, ls=":")
        end = 30 * side
        axes.plot([0, end * math.cos(turn)], [0, end * math.sin(turn)], color=ORANGE, lw=1.6)
        start, stop = sorted((0.0, angle)) if side > 0 else (180 + angle, 180)
        axes.add_patch(Arc((0, 0), 48, 48, theta1=start, theta2=stop, color=ORANGE, lw=1.6))
        axes.text(
            end * 1.12, end * 0.55 * math.tan(turn), "+", color=ORANGE, fontsize=14, ha="center", va="center"
        )
        axes.set(xlim=(-38, 38), ylim=(-24, 24))
    return figure


def thick_slices() -> Figure:
    """Show what 4.4 mm slices leave of a disc, and what is fitted to them."""
    disc = single_disc(9.0, half_lateral_mm=24.5, half_ap_mm=17.0, exponent=2.5, centre_lps=(1.2, 0.1, 0.2))
    margins = dict.fromkeys(("anterior_mm", "posterior_mm", "inferior_mm", "superior_mm"), 6.0)
    mask = render_disc_mask(disc, phantom_grid(disc, spacing_mm=(4.4, 0.43, 0.43), **margins))
    index = np.argwhere(mask.array)
    low, high = index.min(axis=0), index.max(axis=0) + 1
    tight = mask.cropped(low, high)
    shape = fit_disc_shape(tight, voxel_surface(tight))
    if shape is None:
        raise RuntimeError("the disc of the picture has no shape")
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    first = tight.grid.to_world(np.zeros(3))
    seen = tight.array.any(axis=2)
    for row, column in enumerate(seen):
        inside = np.flatnonzero(column)
        bottom = first[1] + (inside[0] - 0.5) * 0.43
        axes.bar(
            first[0] + 4.4 * row,
            len(inside) * 0.43,
            bottom=-bottom - len(inside) * 0.43,
            width=4.4,
            color="#E8E8E8",
            ec=GREY,
            lw=0.7,
        )
    outline = shape.footprint.outline
    world = outline @ shape.frame.axes[:2, :2].T + shape.frame.origin[:2] + first[:2]
    closed = np.vstack([world, world[:1]])
    axes.plot(closed[:, 0], -closed[:, 1], color=ORANGE, lw=2, label="fitted outline")
    around = np.linspace(-30, 30, 400)
    x, y = np.meshgrid(around, around)
    axes.contour(x + 1.2, -(y + 0.1), disc.radius(x, y), levels=[1.0], colors=[BLUE], linestyles="--")
    axes.plot([], [], color=BLUE, ls="--", label="the disc")
    axes.bar([0], [0], color="#E8E8E8", ec=GREY, label="voxels, 4.4 mm slices")
    panel(axes, "", "right", "left")
    axes.legend(loc="lower center", ncols=3, fontsize=9, frameon=False, bbox_to_anchor=(0.5, -0.1))
    axes.set(xlim=(-34, 34), ylim=(-23, 23))
    return figure


def paper_slices() -> Figure:
    """Show the paper's definitions beside ours on a tilted disc."""
    disc = single_disc(6.0, tilt_deg=(-35.0, 0.0, 0.0), wedge_deg=6.0)
    margins = dict.fromkeys(("anterior_mm", "posterior_mm", "inferior_mm", "superior_mm"), 6.0)
    mask = render_disc_mask(disc, phantom_grid(disc, spacing_mm=(4.4, 1.0, 1.0), **margins))
    found = measure_mask(mask)
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    middle = mask.array[mask.array.shape[0] // 2]
    used = np.argwhere(middle)
    axes.imshow(
        np.where(middle.T, 1.0, np.nan),
        origin="lower",
        cmap=matplotlib.colors.ListedColormap(["#BFDCEE"]),
        interpolation="nearest",
    )
    front, back = used[:, 0].min(), used[:, 0].max()
    column = used[used[:, 0] == (front + back) // 2, 1]
    bottom = used[:, 1].min() - 4
    arrow(
        axes,
        (front - 0.5, bottom),
        (back + 0.5, bottom),
        f"paper: AP width {found.paper_width_ap_mm:.1f} mm",
        ORANGE,
    )
    arrow(
        axes,
        ((front + back) / 2, column.min() - 0.5),
        ((front + back) / 2, column.max() + 0.5),
        f"paper: {found.paper_height_mm:.1f}",
        ORANGE,
    )
    along = disc.rotation[1:, 1] * found.width_ap_mm / 2
    up = disc.rotation[1:, 2] * 10
    centre = used.mean(axis=0) + up
    ours = f"own frame: AP width {found.width_ap_mm:.1f} mm, height {found.height_mean_mm:.1f} mm"
    arrow(axes, tuple(centre - along), tuple(centre + along), ours, GREEN)
    panel(axes, "", "anterior", "posterior")
    axes.set(xlim=(-2, middle.shape[0] + 2), ylim=(used[:, 1].min() - 8, used[:, 1].max() + 8))
    return figure


def main() -> None:
    """Draw all pictures."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    matplotlib.rcParams.update({"svg.hashsalt": "discometry", "svg.fonttype": "none"})
    disc = single_disc(
        8.0, wedge_deg=10.0, dome_superior_mm=1.6, dome_inferior_mm=1.6, bulge=0.04, exponent=2.5
    )
    pictures = {
        "geometry_frame": own_frame(disc),
        "geometry_angles": angles(),
        "geometry_slices": thick_slices(),
        "geometry_heights": heights(),
        "geometry_spine": spine(),
        "geometry_paper": paper_slices(),
    }
    for name, figure in pictures.items():
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
