"""Calibrate the standard errors: the table of factors of ``discometry/core/standard_errors.py``.

    python benchmarks/standard_errors.py --discs 150

Phantom discs of other seeds than those of benchmarks/geometry.py, on the same grids, with and without ragged
boundaries. For every measure the two factors are sought that bring the 95th percentile of the error, in
standard errors, as near to 1.96 as they can in every one of these groups; then both are scaled until 95 % of
all intervals hold the truth. Prints the table, and the coverage by group.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from discometry.core.anatomy import Tissue
from discometry.core.body_heights import body_height_mm
from discometry.core.phantom import PhantomDisc, phantom_grid, render_discs, render_tissue, sample_phantom
from discometry.core.volume import Volume
from discometry.stages.measure import estimates
from geometry import GRIDS, NOISES_MM, discs, ragged, render, true_measures

FloatArray = NDArray[np.float64]
QUANTILES = (0.92, 0.95, 0.97)
"""Averaged, for a steadier 95th percentile."""
FIELD_MM = {"anterior_mm": 25.0, "posterior_mm": 12.0, "superior_mm": 45.0, "inferior_mm": 20.0}
STARTS = (-5.0, -3.0, -1.0, 0.0, 1.0)
"""Logarithms of the step's factor from which the search starts."""


def collect(count: int, seed: int) -> tuple[list[str], FloatArray]:
    """Error, spread and step (groups, discs, measures, 3) of every measure."""
    groups = []
    names: list[str] = []
    for number, (_, spacing_mm, slice_axis) in enumerate(GRIDS):
        drawn = list(discs(count, tilt_deg=30.0, seed=seed + number))
        truths = [true_measures(disc) for disc in drawn]
        masks = [render(disc, spacing_mm, slice_axis) for disc in drawn]
        for noise_mm in NOISES_MM:
            rows = []
            for place, (truth, mask) in enumerate(zip(truths, masks, strict=True)):
                found = estimates(ragged(mask, noise_mm, seed + place))
                names = names or list(found)
                rows.append([(one.value - truth[name], one.spread, one.step) for name, one in found.items()])
            groups.append(rows)
    return names, np.array(groups)


def collect_indices(spines: int, seed: int) -> FloatArray:
    """Error, spread and step (grids, discs, 3) of the disc height index, in whole spines."""
    groups = []
    for number, (_, spacing_mm, slice_axis) in enumerate(GRIDS):
        rows = []
        for place in range(spines):
            spine = sample_phantom(seed + 100 * number + place, n_discs=5)
            tissue = render_tissue(
                spine, phantom_grid(spine, spacing_mm=spacing_mm, slice_axis=slice_axis, **FIELD_MM)
            ).oriented()
            labels = render_discs(spine, tissue.grid)
            narrow = FIELD_MM | {"lateral_mm": 12.0}
            fine = phantom_grid(spine, spacing_mm=(0.3, 0.3, 0.3), slice_axis="lps", **narrow)
            bone = render_tissue(spine, fine, subsample_mm=0.3)
            for disc in spine.discs:
                truth = true_index(disc, bone.with_array(bone.array == Tissue.VERTEBRA))
                mask = labels.with_array(labels.array == disc.label)
                vertebrae = tissue.with_array(tissue.array == Tissue.VERTEBRA)
                found = estimates(mask, vertebrae, below=disc.label != 201)["disc_height_index"]
                if np.isfinite(found.value - truth):
                    rows.append((found.value - truth, found.spread, found.step))
        groups.append(rows)
    least = min(map(len, groups))
    return np.array([rows[:least] for rows in groups])


def true_index(disc: PhantomDisc, vertebrae: Volume) -> float:
    """Height of a disc over that of the bodies beside it, along the normals of its endplates."""
    slope = np.tan(np.radians(disc.wedge_deg) / 2)
    heights = []
    for side, dome in ((1.0, disc.dome_superior_mm), (-1.0, disc.dome_inferior_mm)):
        if side > 0 or disc.label != 201:
            outward = np.array([0.0, slope, side]) / np.hypot(slope, 1.0)
            axes = np.stack([[1.0, 0.0, 0.0], np.cross(outward, [1.0, 0.0, 0.0]), outward], axis=1)
            start = np.array([0.0, 0.0, side * (disc.height_mm + dome) / 2])
            world = disc.centre_lps + disc.rotation @ start
            heights.append(body_height_mm(vertebrae, world, disc.rotation @ axes))
    return disc.geometry().height_fyllos_mm / float(np.nanmean(heights))


def fit(groups: FloatArray) -> tuple[float, float]:
    """Factors of spread and step of one measure, from error, spread and step (groups, discs, 3)."""

    def size(logs: Sequence[float]) -> FloatArray:
        of_spread, of_step = np.exp(np.clip(logs, -12.0, 5.0))
        error: FloatArray = np.hypot(of_spread * groups[..., 1], of_step * groups[..., 2])
        return np.abs(groups[..., 0]) / np.maximum(error, 1e-12)

    def cost(logs: Sequence[float]) -> float:
        ends = np.quantile(size(logs), QUANTILES, axis=1).mean(axis=0)
        return float((np.log(ends / 1.96) ** 2).sum())

    stepped = bool(groups[..., 2].any())
    found = [
        minimize(cost, [0.0, start], method="Nelder-Mead") for start in (STARTS if stepped else (-12.0,))
    ]
    best = min(found, key=lambda one: one.fun).x
    scale = float(np.quantile(size(best), 0.95)) / 1.96
    of_spread, of_step = scale * np.exp(np.clip(best, -12.0, 5.0))
    return float(of_spread), float(of_step) if stepped else 0.0


def main() -> None:
    """Calibrate, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--discs", type=int, default=150, help="discs in each group")
    parser.add_argument("--spines", type=int, default=8, help="spines on each grid, for the height index")
    parser.add_argument("--seed", type=int, default=5000)
    options = parser.parse_args()
    names, groups = collect(options.discs, options.seed)
    measures = {name: groups[:, :, place] for place, name in enumerate(names)}
    measures["disc_height_index"] = collect_indices(options.spines, options.seed)
    for name, of_one in measures.items():
        of_spread, of_step = fit(of_one)
        error = np.hypot(of_spread * of_one[..., 1], of_step * of_one[..., 2])
        covered = (np.abs(of_one[..., 0]) <= 1.96 * error).mean(axis=1)
        shares = " ".join(f"{100 * share:.0f}" for share in covered)
        print(f'    "{name}": ({of_spread:.3g}, {of_step:.3g}),  # {shares}')


if __name__ == "__main__":
    main()
