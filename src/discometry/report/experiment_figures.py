"""Pictures of an experiment: reconstruction, ROC and calibration curves, and every quantity by level."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from discometry.core.anatomy import LEVELS
from discometry.core.scores import calibration_curve
from discometry.report.figures import Picture

__all__ = ["draw_answers", "draw_bottlenecks", "draw_by_level"]

_CSS_PX_PER_INCH = 96
_STYLES = ("-", "--", "-.", ":")
_COLOURS = ("#53606d", "#005a8c", "#E69F00", "#009E73")
"""Dark enough for lines on white, and told apart by the colour-blind; line styles differ as well."""


def draw_bottlenecks(sweep: pd.DataFrame) -> Picture:
    """Draw IoU against the number of latents, in training and, where known, held out."""
    figure = Figure(figsize=(6.4, 3.8), layout="constrained")
    axes = figure.subplots()
    told = []
    for number, (name, start) in enumerate((("held out by patient", "held_out"), ("in training", "train"))):
        if f"{start}_iou" not in sweep:
            continue
        low, high = sweep[f"{start}_low"], sweep[f"{start}_high"]
        axes.plot(
            sweep["latents"],
            sweep[f"{start}_iou"],
            f"o{_STYLES[number]}",
            color=_COLOURS[number + 1],
            label=name,
        )
        axes.fill_between(sweep["latents"], low, high, color=_COLOURS[number + 1], alpha=0.2, linewidth=0)
        told.append(name)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sweep["latents"], [str(size) for size in sweep["latents"]])
    axes.set(xlabel="latents", ylabel="IoU of the reconstruction")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return _finished(figure, alt=f"IoU of reconstructed discs by number of latents, {' and '.join(told)}.")


def draw_answers(answers: pd.DataFrame, names: Sequence[str]) -> Picture:
    """Draw ROC curves and calibration of some rivals; columns of ``answers`` beside ``positive``."""
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    truth = answers["positive"].to_numpy(dtype=bool)
    for number, name in enumerate(names):
        look: dict[str, Any] = {"color": _COLOURS[number % 4], "linestyle": _STYLES[number % 4]}
        values = answers[name].to_numpy(dtype=float)
        left.plot(*_roc(truth, values), label=name, **look)
        predicted, observed, _ = calibration_curve(truth, values).T
        right.plot(predicted, observed, marker="o", markersize=4, **look)
    for axes in (left, right):
        axes.plot([0, 1], [0, 1], color="#8b97a3", linewidth=0.8)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        axes.grid(alpha=0.3)
    left.set(xlabel="1 − specificity", ylabel="sensitivity", title="ROC curves")
    right.set(
        xlabel="predicted probability", ylabel="share found positive", title="Calibration, discs in sixths"
    )
    left.legend(frameon=False, fontsize=8, loc="lower right")
    return _finished(figure, alt=f"ROC and calibration curves of: {'; '.join(names)}.")


def _roc(
    truth: NDArray[np.bool_], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    order = np.argsort(-values, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)
    hits, misses = np.cumsum(truth[order])[ends], np.cumsum(~truth[order])[ends]
    return (
        np.concatenate([[0.0], misses / max(1, (~truth).sum())]),
        np.concatenate([[0.0], hits / max(1, truth.sum())]),
    )


def draw_by_level(discs: pd.DataFrame, titles: Mapping[str, str]) -> Picture:
    """Draw the distribution of every quantity by level: quartiles, whiskers to 1.5 of their distance."""
    levels = [level for level in LEVELS if level in set(discs["level"])]
    names = [name for name in titles if name in discs and discs[name].notna().any()]
    across = 3
    down = -(-len(names) // across)
    figure = Figure(figsize=(10.0, 2.5 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False)
    for axes in panels.ravel()[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(panels.ravel(), names, strict=False):
        groups = [discs.loc[discs["level"] == level, name].dropna().to_numpy() for level in levels]
        axes.boxplot(
            groups,
            tick_labels=levels,
            widths=0.6,
            flierprops={"markersize": 2.5},
            medianprops={"color": "#005a8c"},
        )
        axes.set_title(titles[name], fontsize=9)
        axes.tick_params(axis="x", labelrotation=60, labelsize=7)
        axes.tick_params(axis="y", labelsize=7)
        axes.grid(axis="y", alpha=0.3)
    return _finished(figure, alt=f"Distribution by level of: {', '.join(titles[name] for name in names)}.")


def _finished(figure: Figure, *, alt: str) -> Picture:
    """Draw a figure as SVG, alike in all its bytes every time."""
    stream = StringIO()
    with mpl.rc_context({"svg.hashsalt": "discometry"}):
        figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    width, height = figure.get_size_inches() * _CSS_PX_PER_INCH
    return Picture(stream.getvalue(), round(width), round(height), alt)
