"""Disc cubes to train the autoencoder on: rendered from phantom discs, or cut from masks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from discometry.core.anatomy import DISC_LABEL_BASE
from discometry.core.errors import InputError
from discometry.core.phantom import (
    PhantomConfig,
    PhantomDisc,
    disc_fraction,
    render_disc_mask,
    sample_phantom,
)
from discometry.core.records import CUBE_SHAPE, CUBE_SPACING_MM
from discometry.core.volume import Grid
from discometry.io.images import read_mask
from discometry.stages.separate import SeparateConfig, separate

__all__ = ["CubeSet", "PhantomCubes", "cubes_of_masks", "phantom_cubes"]

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]

_SUFFIXES = (".mha", ".mhd", ".nii", ".nii.gz", ".nrrd")


@dataclass(frozen=True, slots=True, eq=False)
class CubeSet:
    """Boolean cubes, Nx64x64x64, and the spine that each comes from."""

    cubes: BoolArray
    spines: tuple[str, ...]

    @classmethod
    def together(cls, *sets: CubeSet) -> CubeSet:
        """Join several sets, one after the other."""
        names = tuple(name for one in sets for name in one.spines)
        return cls(np.concatenate([one.cubes for one in sets]), names)

    def split(self, *, part: float, seed: int) -> tuple[CubeSet, CubeSet]:
        """Split into training and validation so that no spine is in both; at least one validates.

        Raises
        ------
        InputError
            If there is only one spine.
        """
        names = sorted(set(self.spines))
        if len(names) < 2:
            raise InputError(
                f"the discs of {len(names)} spine(s)",
                expected="two or more, so that one can validate",
                action="give more masks",
            )
        count = min(len(names) - 1, max(1, round(part * len(names))))
        held = set(np.random.default_rng(seed).permutation(names)[:count].tolist())
        inside = np.array([name in held for name in self.spines])
        return self._chosen(~inside), self._chosen(inside)

    def _chosen(self, chosen: BoolArray) -> CubeSet:
        return CubeSet(self.cubes[chosen], tuple(n for n, c in zip(self.spines, chosen, strict=True) if c))


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomCubes:
    """How phantom discs are drawn."""

    discs: int = 600
    """Number of discs."""
    seed: int = 0
    """Another seed draws other spines."""
    narrowed_share: float = 0.25
    """Chance of a disc to be narrowed."""
    tilt_deg: tuple[float, float, float] = (6.0, 4.0, 5.0)
    """Spread of the whole spine's sagittal, coronal and transverse tilt: how people lie in the scanner."""
    shift_mm: float = 0.5
    """Greatest distance along each axis of the cube's centre from the disc's centroid."""
    population: PhantomConfig = field(default_factory=PhantomConfig)
    """Which spines there are."""


def phantom_cubes(config: PhantomCubes) -> CubeSet:
    """Render discs of phantom spines of five to eight discs, each in a cube of its own."""
    cubes = np.zeros((config.discs, *CUBE_SHAPE), dtype=bool)
    spines = []
    for number, (spine, disc, shift) in zip(range(config.discs), _phantom_discs(config), strict=False):
        cubes[number] = _render(disc, shift)
        spines.append(spine)
    return CubeSet(cubes, tuple(spines))


def _phantom_discs(config: PhantomCubes) -> Iterator[tuple[str, PhantomDisc, FloatArray]]:
    """Draw discs without end: name of the spine, disc, shift of the cube in mm."""
    number = 0
    while True:
        rng = np.random.default_rng([config.seed, number, 0xC0BE])
        n_discs = int(rng.integers(5, 9))
        narrowed = np.flatnonzero(rng.random(n_discs) < config.narrowed_share) + DISC_LABEL_BASE + 1
        tilt = np.clip(rng.normal(0.0, config.tilt_deg), -30.0, 30.0)
        phantom = sample_phantom(
            int(rng.integers(2**31)),
            n_discs=n_discs,
            narrowed=[int(label) for label in narrowed],
            tilt_deg=(float(tilt[0]), float(tilt[1]), float(tilt[2])),
            config=config.population,
        )
        for disc in phantom.discs:
            yield f"phantom{number:04d}", disc, rng.uniform(-config.shift_mm, config.shift_mm, 3)
        number += 1


def _render(disc: PhantomDisc, shift_mm: FloatArray) -> BoolArray:
    """Render a disc in a cube whose centre lies ``shift_mm`` from the disc's centroid."""
    coarse = disc_fraction(disc, _cube_grid(disc.centre_lps, refine=2))
    voxels = np.argwhere(coarse.array > 0)
    centroid = coarse.grid.to_world(np.average(voxels, axis=0, weights=coarse.array[tuple(voxels.T)]))
    cube: BoolArray = render_disc_mask(disc, _cube_grid(centroid + shift_mm)).array
    return cube


def _cube_grid(centre_lps: FloatArray, *, refine: int = 1) -> Grid:
    """Grid of a disc cube about a centre, or of a field as large with voxels ``refine`` times as large."""
    spacing = np.array(CUBE_SPACING_MM) * refine
    shape = np.array(CUBE_SHAPE) // refine
    origin = centre_lps - spacing * (shape - 1) / 2
    return Grid.from_spacing(shape.tolist(), spacing.tolist(), origin_mm=origin.tolist())


def cubes_of_masks(folder: Path) -> CubeSet:
    """Cut the discs of all masks in a folder, or in its folder ``masks``; incomplete discs are left out.

    The spine is the file name up to its first underscore, as SPIDER names files.

    Raises
    ------
    InputError
        If the folder holds no mask, or no complete disc.
    LabelError
        If a mask holds no disc.
    """
    place = folder / "masks" if (folder / "masks").is_dir() else folder
    paths = sorted(path for path in place.glob("*") if path.name.lower().endswith(_SUFFIXES))
    cubes: list[BoolArray] = []
    spines: list[str] = []
    for path in paths:
        discs = separate(read_mask(path), SeparateConfig()).discs
        whole = [disc.cube.array.astype(bool) for disc in discs if "truncated" not in disc.flags]
        cubes += whole
        spines += [path.name.split(".")[0].split("_")[0]] * len(whole)
    if not cubes:
        raise InputError(
            f"{len(paths)} masks with no complete disc in '{place}'",
            expected=f"masks ({', '.join(_SUFFIXES)}) whose discs do not touch the image border",
            action="give another folder, or the word phantom",
        )
    return CubeSet(np.stack(cubes), tuple(spines))
