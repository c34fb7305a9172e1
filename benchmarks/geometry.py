"""How true the geometry is: analytic discs on many grids, measured and compared with what they are.

    python benchmarks/geometry.py --discs 130 --paper --pyradiomics PYTHON

Discs are drawn from sampled spines (a quarter of them narrowed, half of them with a lateral wedge), tilted by
up to --tilt degrees in a random set of planes, laid at a random place of the grid and rendered as the voxels
they fill at least half; then once more with a ragged boundary. The same masks go through the shape features
of scikit-image and, with --pyradiomics, of pyradiomics. Prints Markdown for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
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
from generic_shape import by_pyradiomics, by_scikit_image, plain_error, scaled_error

MEASURES = tuple(
    name for name in Geometry.names() if name != "disc_height_index" and not name.startswith("paper_")
)
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
CELLS = "bias | mean absolute error | 95 % limits of agreement | worst | missing | in interval (%)"
TILTS = ((0.0, 5.0), (5.0, 15.0), (15.0, 30.1))


@dataclass(frozen=True, slots=True)
class Trial:
    """One measured disc: errors and standard errors by measure, its truth, largest tilt, seconds."""

    errors: dict[str, float]
    standard_errors: dict[str, float]
    truth: dict[str, float]
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
    of_paper = paper_measures(_tight(fine))
    return disc.geometry().values() | {name: found.value for name, found in of_paper.items()}


def trial(disc: PhantomDisc, mask: Volume, *, paper: bool) -> Trial:
    """Measure one disc; ``paper`` compares the paper's measures too, with the truth of those of ours."""
    start = time.process_time()
    found = measure_mask(mask)
    seconds = time.process_time() - start
    truth = disc.geometry().values()
    angles = [abs(truth[name]) for name in truth if name.startswith("angle_")]
    of_paper = PAPER if paper else {}
    truth |= {name: truth[same] for name, same in of_paper.items()}
    kept = (*MEASURES, *of_paper)
    values = found.values()
    errors = found.standard_errors.values() if found.standard_errors else {}
    return Trial(
        errors={name: (values[name] - truth[name]) * unit(name, truth) for name in kept},
        standard_errors={name: errors[name] * unit(name, truth) for name in kept},
        truth=truth,
        tilt_deg=max(angles),
        seconds=seconds,
    )


def unit(name: str, truth: dict[str, float]) -> float:
    """Areas and volumes are compared in percent."""
    return 100.0 / truth[name] if name.endswith(("mm2", "mm3")) else 1.0


def summary(trials: Sequence[Trial], name: str) -> str:
    """Cells of a table: bias, mean absolute error, 95 % limits of agreement, worst, missing, intervals."""
    values = np.array([one.errors[name] for one in trials])
    errors = np.array([one.standard_errors[name] for one in trials])
    known = np.isfinite(values)
    values, errors = values[known], errors[known]
    bias, spread = values.mean(), 1.96 * values.std(ddof=1)
    covered = 100.0 * np.mean(np.abs(values) <= 1.96 * errors)
    return (
        f"{bias:+.3f} | {np.abs(values).mean():.3f} | {bias - spread:+.2f} to {bias + spread:+.2f} | "
        f"{np.abs(values).max():.2f} | {len(trials) - len(values)} | "
        + ("" if name in PAPER else f"{covered:.1f}")
    )


def named(measure: str) -> str:
    """Give a measure's name with the unit of its error."""
    return f"`{measure}` (%)" if measure.endswith(("mm2", "mm3")) else f"`{measure}`"


def table(title: str, trials: Sequence[Trial], measures: Iterable[str]) -> list[str]:
    """Errors of measures on some discs."""
    return [
        f"**{title}**, {len(trials)} discs",
        "",
        f"| measure | {CELLS} |",
        "|---|---|---|---|---|---|---|",
        *(f"| {named(name)} | {summary(trials, name)} |" for name in measures),
        "",
    ]


def tilt_table(trials: Sequence[Trial]) -> list[str]:
    """Errors by tilt, all grids together."""
    names = ("height_mean_mm", "width_lateral_mm", "angle_sagittal_deg", "angle_transverse_deg")
    lines = [
        "**By largest tilt, all grids together**",
        "",
        f"| tilt | measure | {CELLS} |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for low, high in TILTS:
        chosen = [one for one in trials if low <= one.tilt_deg < high]
        tilt = f"{low:.0f} to {high:.0f} degrees, {len(chosen)} discs"
        lines += [f"| {tilt} | {named(name)} | {summary(chosen, name)} |" for name in names]
    return [*lines, ""]


def coverage_table(groups: dict[str, list[Trial]]) -> list[str]:
    """Share of 95 % intervals that hold the truth, by group and over all."""
    groups = groups | {"all": [one for trials in groups.values() for one in trials]}
    lines = [
        "**Truth within 1.96 standard errors, % of discs**",
        "",
        f"| measure | {' | '.join(groups)} |",
        "|---|" + "---|" * len(groups),
    ]
    for name in MEASURES:
        shares = [
            100.0 * np.mean([abs(one.errors[name]) <= 1.96 * one.standard_errors[name] for one in trials])
            for trials in groups.values()
        ]
        lines.append(f"| `{name}` | {' | '.join(f'{share:.0f}' for share in shares)} |")
    return [*lines, ""]


def generic_table(masks: Sequence[Volume], trials: Sequence[Trial], python: str | None) -> list[str]:
    """Mean height by generic features, each with the scale that suits it best; time of each library."""
    true = np.array([one.truth["height_mean_mm"] for one in trials])
    ours = np.array([one.errors["height_mean_mm"] for one in trials])
    times = {"discometry: everything, with standard errors": np.array([one.seconds for one in trials])}
    tight = [_tight(mask.oriented()) for mask in masks]
    some = [by_scikit_image(tight)] + ([by_pyradiomics(tight, python)] if python else [])
    lines = [
        f"**Mean height by generic shape features of the same {len(masks)} discs**",
        "",
        "Taken for the height as it is, and times the one factor that suits these very discs best.",
        "",
        "| library | feature | error as it is (mm) | of ours | best factor | error with it (mm) | of ours |",
        "|---|---|---|---|---|---|---|",
        f"| discometry | `height_mean_mm` | {np.abs(ours).mean():.3f} | 1 | | | |",
    ]
    for generic in some:
        times[f"{generic.library}: volume, axes, surface"] = generic.seconds
        if generic.seconds_with_feret is not None:
            times[f"{generic.library}: and the largest diameter"] = generic.seconds_with_feret
        for name, length in generic.lengths.items():
            error, scale = scaled_error(length, true)
            plain, of_ours = plain_error(length, true), np.abs(ours).mean()
            lines.append(
                f"| {generic.library} | {name} | {plain:.3f} | {plain / of_ours:.0f} | {scale:.3f} | "
                f"{error:.3f} | {error / of_ours:.0f} |"
            )
    lines += ["", "| library | discs per second | ms a disc, median | quartiles |", "|---|---|---|---|"]
    for library, seconds in times.items():
        low, middle, high = np.percentile(1e3 * seconds, (25, 50, 75))
        lines.append(f"| {library} | {1 / seconds.mean():.0f} | {middle:.1f} | {low:.1f} to {high:.1f} |")
    return [*lines, ""]


def _tight(mask: Volume) -> Volume:
    index = np.argwhere(mask.array)
    return mask.cropped(index.min(axis=0).tolist(), (index.max(axis=0) + 1).tolist())


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--discs", type=int, default=130, help="discs on each grid")
    parser.add_argument("--tilt", type=float, default=30.0, help="largest tilt in each plane, degrees")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--paper", action="store_true", help="also compare the paper's definitions")
    parser.add_argument("--pyradiomics", metavar="PYTHON", help="a Python that has pyradiomics")
    parser.add_argument("--out", type=Path, help="write the Markdown here")
    options = parser.parse_args()
    lines, everything, masks = [], [], []
    groups: dict[str, list[Trial]] = {}
    for number, (title, spacing_mm, slice_axis) in enumerate(GRIDS):
        drawn = list(discs(options.discs, tilt_deg=options.tilt, seed=options.seed * len(GRIDS) + number))
        clean = [render(disc, spacing_mm, slice_axis) for disc in drawn]
        for noise_mm in NOISES_MM:
            made = [ragged(mask, noise_mm, place) for place, mask in enumerate(clean)]
            trials = [
                trial(disc, mask, paper=options.paper and not noise_mm)
                for disc, mask in zip(drawn, made, strict=True)
            ]
            groups[title + (f", ragged by {noise_mm} mm" if noise_mm else "")] = trials
            if not noise_mm:
                lines += table(title, trials, [*MEASURES, *(PAPER if options.paper else ())])
                everything += trials
                masks += made
    noisy = [one for title, trials in groups.items() if "ragged" in title for one in trials]
    lines += table(f"All grids, boundary ragged by {NOISES_MM[-1]} mm", noisy, MEASURES)
    lines += tilt_table(everything) + coverage_table(groups)
    lines += generic_table(masks, everything, options.pyradiomics)
    text = "\n".join(lines)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
