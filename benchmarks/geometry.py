"""How true the geometry is: analytic discs on many grids, measured and compared with what they are.

    python benchmarks/geometry.py --discs 60 --out geometry.md

Discs are drawn from sampled spines (a quarter of them narrowed), tilted by up to --tilt degrees in a random
set of planes, laid at a random place of the grid and rendered as the voxels they fill at least half. Prints
Markdown for docs/benchmarks.md and, with --out, writes it.
"""

from __future__ import annotations

import argparse
import itertools
import math
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from discometry.core.paper_measures import paper_measures
from discometry.core.phantom import (
    PhantomDisc,
    phantom_grid,
    render_disc_mask,
    rotation_from_angles,
    sample_phantom,
)
from discometry.core.phantom_slabs import SUBSAMPLE_MM
from discometry.core.records import Geometry
from discometry.core.volume import Grid, Volume
from discometry.stages.measure import measure_mask

MEASURES = Geometry.names()[: Geometry.names().index("paper_height_mm")]
PAPER = {
    "paper_height_mm": "height_mean_mm",
    "paper_width_ap_mm": "width_ap_mm",
    "paper_width_lateral_mm": "width_lateral_mm",
    "paper_angle_sagittal_deg": "angle_sagittal_deg",
    "paper_angle_coronal_deg": "angle_coronal_deg",
    "paper_angle_transverse_deg": "angle_transverse_deg",
}
GRIDS = (
    ("4.4 x 0.43 x 0.43 mm sagittal", (4.4, 0.43, 0.43), "sagittal"),
    ("3.3 x 0.6 x 0.5 mm sagittal", (3.3, 0.6, 0.5), "sagittal"),
    ("1 x 1 x 1 mm", (1.0, 1.0, 1.0), "sagittal"),
    ("3.3 x 0.6 x 0.6 mm coronal", (3.3, 0.6, 0.6), "coronal"),
)
NOISES_MM = (0.0, 0.4)
"""Standard deviations of the boundary's shift within a slice."""
TILTS = ((0.0, 5.0), (5.0, 15.0), (15.0, 25.0))


@dataclass(frozen=True, slots=True)
class Trial:
    """One measured disc: errors by measure (volume and area in percent), largest tilt, seconds."""

    errors: dict[str, float]
    tilt_deg: float
    seconds: float


def discs(count: int, *, tilt_deg: float, seed: int) -> Iterable[PhantomDisc]:
    """Draw discs of sampled spines, tilted and shifted."""
    rng = np.random.default_rng(seed)

    def spines() -> Iterable[PhantomDisc]:
        for number in itertools.count():
            narrowed = [201 + place for place in range(5) if rng.random() < 0.25]
            yield from sample_phantom(seed * 10_000 + number, narrowed=narrowed).discs

    for disc in itertools.islice(spines(), count):
        tilt = rng.uniform(-tilt_deg, tilt_deg, 3) * (rng.random(3) < 0.5)
        thin = disc.height_mm / 2 - disc.half_ap_mm * math.tan(math.radians(abs(disc.wedge_deg)) / 2)
        steepest = math.degrees(2 * math.atan(0.7 * thin / disc.half_lateral_mm))
        yield replace(
            disc,
            lateral_wedge_deg=float(np.clip(rng.normal(0.0, 2.0), -steepest, steepest))
            * (rng.random() < 0.5),
            rotation=rotation_from_angles((float(tilt[0]), float(tilt[1]), float(tilt[2]))),
            centre_lps=rng.uniform(-50.0, 50.0, 3),
        )


def render(
    disc: PhantomDisc, spacing_mm: Sequence[float], slice_axis: str, *, subsample_mm: float = SUBSAMPLE_MM
) -> Volume:
    """Render a disc's mask with a few voxels around it; its place between voxels is that of its centre."""
    margin = 3.0 + 2.0 * max(spacing_mm)
    grid = phantom_grid(
        disc,
        spacing_mm=spacing_mm,
        slice_axis=slice_axis,
        lateral_mm=2.0 * float((np.abs(disc.rotation) @ disc.reach_mm)[0]) + 2.0 * margin,
        anterior_mm=margin,
        posterior_mm=margin,
        inferior_mm=margin,
        superior_mm=margin,
    )
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (disc.centre_lps % 1.0 - 0.5)
    return render_disc_mask(disc, Grid(grid.shape, affine), subsample_mm=subsample_mm)


def ragged(mask: Volume, noise_mm: float, seed: int) -> Volume:
    """Shift a mask's boundary within every slice, as hands do.

    The shift has a standard deviation of ``noise_mm``, is smooth along the boundary (Gaussian, 1.5 mm), and
    that of one slice has nothing to do with that of the next.
    """
    if noise_mm == 0.0:
        return mask
    rng = np.random.default_rng(seed)
    spacing = np.array(mask.grid.spacing_mm[1:])
    array = np.zeros_like(mask.array)
    for number in np.flatnonzero(mask.array.any(axis=(1, 2))):
        inside = mask.array[number]
        distance = ndimage.distance_transform_edt(inside, sampling=spacing)
        distance -= ndimage.distance_transform_edt(~inside, sampling=spacing)
        shift = ndimage.gaussian_filter(rng.normal(size=inside.shape), 1.5 / spacing)
        # Distances are to the nearest centre of another voxel; the boundary lies half a voxel before it.
        distance -= np.sign(distance) * 0.5 * spacing.min()
        array[number] = distance + shift * (noise_mm / shift.std()) > 0.0
    return mask.with_array(array)


def true_measures(disc: PhantomDisc) -> dict[str, float]:
    """Give a disc's true measures; the paper's have no other truth than what voxels of 0.25 mm show."""
    fine = render(disc, (0.25, 0.25, 0.25), "lps", subsample_mm=0.25)
    index = np.argwhere(fine.array)
    tight = fine.cropped(index.min(axis=0).tolist(), (index.max(axis=0) + 1).tolist())
    return disc.geometry().values() | {name: found.value for name, found in paper_measures(tight).items()}


def trial(disc: PhantomDisc, mask: Volume) -> Trial:
    """Measure one disc."""
    start = time.process_time()
    found = measure_mask(mask)
    seconds = time.process_time() - start
    true = disc.geometry()
    errors = {name: getattr(found, name) - getattr(true, name) for name in MEASURES}
    errors |= {name: getattr(found, name) - getattr(true, same) for name, same in PAPER.items()}
    for name in ("volume_mm3", "footprint_mm2", "surface_mm2"):
        errors[name] *= 100.0 / getattr(true, name)
    angles = (true.angle_sagittal_deg, true.angle_coronal_deg, true.angle_transverse_deg)
    return Trial(errors, max(abs(angle) for angle in angles), seconds)


def summary(values: NDArray[np.float64]) -> str:
    """Cells of a table: bias, mean absolute error, 95 % limits of agreement, worst, number missing."""
    known = values[np.isfinite(values)]
    if known.size == 0:
        return f" | | | | {values.size}"
    bias, spread = known.mean(), 1.96 * known.std(ddof=1) if known.size > 1 else math.nan
    return (
        f"{bias:+.3f} | {np.abs(known).mean():.3f} | {bias - spread:+.2f} to {bias + spread:+.2f} | "
        f"{np.abs(known).max():.2f} | {values.size - known.size}"
    )


def column(trials: Sequence[Trial], name: str) -> NDArray[np.float64]:
    """Errors of one measure."""
    return np.array([one.errors[name] for one in trials])


def named(measure: str) -> str:
    """Give a measure's name with the unit of its error."""
    return f"{measure} (%)" if measure.endswith(("mm2", "mm3")) else measure


def grid_table(title: str, trials: Sequence[Trial], measures: Iterable[str]) -> list[str]:
    """Errors of all measures on one grid."""
    times = np.array([one.seconds for one in trials]) * 1e3
    return [
        f"**{title}**, {len(trials)} discs, {np.median(times):.0f} ms of processor time a disc "
        f"(quartiles {np.percentile(times, 25):.0f} to {np.percentile(times, 75):.0f})",
        "",
        "| measure | bias | mean absolute error | 95 % limits of agreement | worst | missing |",
        "|---|---|---|---|---|---|",
        *(f"| {named(name)} | {summary(column(trials, name))} |" for name in measures),
        "",
    ]


def tilt_table(trials: Sequence[Trial]) -> list[str]:
    """Errors by tilt, all grids together."""
    names = ("height_mean_mm", "width_lateral_mm", "angle_sagittal_deg", "angle_transverse_deg")
    lines = [
        "**By largest tilt, all grids together**",
        "",
        "| tilt | measure | bias | mean absolute error | 95 % limits of agreement | worst | missing |",
        "|---|---|---|---|---|---|---|",
    ]
    for low, high in TILTS:
        chosen = [one for one in trials if low <= one.tilt_deg < high]
        if chosen:
            tilt = f"{low:.0f} to {high:.0f} degrees, {len(chosen)} discs"
            lines += [f"| {tilt} | {name} | {summary(column(chosen, name))} |" for name in names]
    return [*lines, ""]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--discs", type=int, default=60, help="discs on each grid")
    parser.add_argument("--tilt", type=float, default=25.0, help="largest tilt in each plane, degrees")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--paper", action="store_true", help="also compare the paper's definitions")
    parser.add_argument("--out", type=Path, help="write the Markdown here")
    options = parser.parse_args()
    command = (
        f"python benchmarks/geometry.py --discs {options.discs} --tilt {options.tilt:g} --seed {options.seed}"
    )
    lines = [
        f"`{command}`, on {platform.processor() or platform.machine()}, Python {platform.python_version()}",
        "",
    ]
    everything = []
    for number, (title, spacing_mm, slice_axis) in enumerate(GRIDS):
        drawn = discs(options.discs, tilt_deg=options.tilt, seed=options.seed * len(GRIDS) + number)
        trials = [trial(disc, render(disc, spacing_mm, slice_axis)) for disc in drawn]
        everything += trials
        lines += grid_table(title, trials, [*MEASURES, *(PAPER if options.paper else ())])
    lines += tilt_table(everything)
    text = "\n".join(lines)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
