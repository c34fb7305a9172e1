"""Scans that the segmenter learns from: real ones with masks, and phantoms, each on a grid of its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from discometry.core.anatomy import DISC_LABEL_BASE, Convention, Tissue, detect_convention
from discometry.core.errors import InputError
from discometry.core.phantom import phantom_grid, sample_phantom
from discometry.core.phantom_anatomy import TISSUE_OF, Structure
from discometry.core.phantom_paint import paint, structure_of_code
from discometry.core.volume import Volume
from discometry.disc_parts import connected_parts, cut_apart, joined
from discometry.io.headers import has_suffix
from discometry.io.images import check_image, check_same_grid, read_image, read_mask
from discometry.sampling import smoothing_sigma
from discometry.stages.prepare import PrepareConfig, normalise
from discometry.stages.separate import SeparateConfig

__all__ = [
    "IGNORED",
    "MAYBE_SACRUM",
    "Scan",
    "check_held_out",
    "phantom_scans",
    "read_scans",
    "split_patients",
]

IGNORED = 255
"""Target value of voxels that lie outside the scan and count in no loss."""

MAYBE_SACRUM = 254
"""Target value of voxels that are background or sacrum: SPIDER's masks leave the sacrum out."""

FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A scan with axes along L, P, S: intensities or, for a phantom, painted codes to give intensities to.

    ``tissue`` and ``image`` (or ``codes``) are LxPxS; exactly one of the latter two is given.
    """

    name: str
    patient: str
    spacing_mm: tuple[float, float, float]
    tissue: LabelArray
    image: FloatArray | None = None
    codes: LabelArray | None = None

    def __post_init__(self) -> None:
        if (self.image is None) == (self.codes is None):
            raise InputError(
                f"scan {self.name} with both image and codes, or neither",
                expected="exactly one of them",
                action="give real scans an image and phantoms their codes",
            )


def read_scans(
    folder: Path, *, spacing_mm: tuple[float, float, float], held_out: Collection[str] = ()
) -> list[Scan]:
    """Read ``folder/images/*`` with the masks of the same names in ``folder/masks``.

    Voxels stay those of the file; intensities are normalised, and smoothed so that they can be sampled at
    ``spacing_mm``. The patient is the file name up to its first underscore, as SPIDER names files;
    patients ``held_out`` are not read.

    Raises
    ------
    InputError
        If the folder does not exist or holds no image that has a mask, or none of a patient held out.
    """
    files = _paired(folder)
    check_held_out(held_out, {_patient(path) for path, _ in files})
    scans = []
    for path, mask_path in files:
        if _patient(path) in held_out:
            continue
        image, mask = read_image(path), read_mask(mask_path)
        check_image(image, name=f"'{path}'")
        check_same_grid(image, mask)
        source = image.oriented()
        spacing = source.grid.spacing_mm
        array = normalise(source.array.astype(np.float32), percentiles=PrepareConfig().percentiles)
        sigma = smoothing_sigma(np.array(spacing_mm) / np.array(spacing))
        array = ndimage.gaussian_filter(array, sigma, mode="nearest")
        name = path.name.split(".")[0]
        scans.append(Scan(name, _patient(path), spacing, tissue_of_mask(mask.oriented()), image=array))
    return scans


def _paired(folder: Path) -> list[tuple[Path, Path]]:
    """Find the images that have a mask, with these, in the order of their names."""
    if not folder.is_dir():
        raise InputError(
            f"'{folder}' is no folder" if folder.exists() else f"the folder '{folder}' does not exist",
            expected="images/NAME.mha with masks/NAME.mha in it",
            action="give another folder, or the word phantom",
        )
    images = sorted(path for path in (folder / "images").glob("*") if has_suffix(path))
    files = [(path, folder / "masks" / path.name) for path in images]
    files = [(path, mask) for path, mask in files if mask.is_file()]
    if not files:
        raise InputError(
            f"no image with a mask in {folder}",
            expected="images/NAME.mha with masks/NAME.mha",
            action="give a folder laid out as SPIDER",
        )
    return files


def _patient(path: Path) -> str:
    return path.name.split(".")[0].split("_")[0]


def check_held_out(held_out: Collection[str], patients: Collection[str]) -> None:
    """Refuse to hold out patients that the data does not have.

    Raises
    ------
    InputError
        If one of them is not among the patients.
    """
    unknown = sorted(set(held_out) - set(patients))
    if unknown:
        known = sorted(patients)
        listed = f"some of {', '.join(known[:12])}{' ..' if len(known) > 12 else ''}"
        raise InputError(
            f"no scan of {', '.join(map(repr, unknown))} to hold out",
            expected=listed if known else "no patient held out where phantoms train alone",
            action="name patients as their files are named up to the first underscore",
        )


def tissue_of_mask(mask: Volume) -> LabelArray:
    """Turn an oriented label map in any convention into :class:`~discometry.core.anatomy.Tissue`.

    Where the convention knows no sacrum, background below the middle of the lowest disc may be sacrum
    (:data:`MAYBE_SACRUM`).
    """
    present = np.unique(mask.array)
    convention = detect_convention(present)
    classes = {
        Tissue.VERTEBRA: convention.vertebrae,
        Tissue.CANAL: convention.canal,
        Tissue.SACRUM: convention.sacrum,
        Tissue.DISC: frozenset(convention.discs) | convention.unnamed_discs,
    }
    tissue = np.zeros(mask.array.shape, dtype=np.uint8)
    for kind, values in classes.items():
        tissue[np.isin(mask.array, list(values))] = kind
    discs = [int(value) for value in present if value in classes[Tissue.DISC]]
    if discs and not np.isin(present, list(convention.sacrum)).any():
        below = tissue[:, :, : int(_lowest_middle(mask, discs, convention)) + 1]
        below[below == Tissue.BACKGROUND] = MAYBE_SACRUM
    return tissue


def _lowest_middle(mask: Volume, values: Sequence[int], convention: Convention) -> float:
    """Give the height of the lowest disc's middle, voxels: of a named value, or of a part of unnamed ones.

    Small parts are none, fragments in one plane are one disc, and what holds two discs is cut.
    """
    if convention.names_levels:
        return min(float(np.argwhere(mask.array == value)[:, 2].mean()) for value in values)
    config = SeparateConfig()
    parts = connected_parts(mask, dict.fromkeys(values, 1), 0.0, corners=False)
    least = config.least_share * max(part.volume_mm3 for part in parts)
    parts = joined(
        [part for part in parts if part.volume_mm3 >= least],
        mask.grid,
        within_mm=config.join_mm,
        reach_mm=config.join_reach_mm,
    )
    parts = cut_apart(
        sorted(parts, key=lambda part: part.middle[2]),
        spread_mm=config.merged_spread_mm,
        lone_mm=config.lone_spread_mm,
    )
    return min(float(part.voxels[:, 2].mean()) for part in parts)


def phantom_scans(count: int, *, seed: int, spacing_mm: tuple[float, float, float]) -> list[Scan]:
    """Draw phantoms of five to seven discs, some of them narrowed; their voxels are finer than asked for."""
    tissue_of = np.array([TISSUE_OF[Structure(item)] for item in structure_of_code()], dtype=np.uint8)
    left, posterior, superior = (0.8 * step for step in spacing_mm)
    scans = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        discs = int(rng.integers(5, 8))
        narrowed = [DISC_LABEL_BASE + 1 + int(place) for place in np.flatnonzero(rng.random(discs) < 0.3)]
        phantom = sample_phantom(int(rng.integers(2**31)), n_discs=discs, narrowed=narrowed)
        grid = phantom_grid(
            phantom,
            spacing_mm=(left, posterior, superior),
            slice_axis="lps",
            lateral_mm=float(rng.uniform(70, 130)),
        )
        codes = paint(phantom, grid)
        name = f"phantom{number:03d}"
        scans.append(Scan(name, name, grid.spacing_mm, tissue_of[codes], codes=codes))
    return scans


def split_patients(scans: Sequence[Scan], *, part: float, seed: int) -> tuple[list[Scan], list[Scan]]:
    """Split scans into training and validation so that no patient is in both; at least one validates."""
    if not scans:
        return [], []
    patients = sorted({scan.patient for scan in scans})
    held = max(1, round(part * len(patients)))
    chosen = set(np.random.default_rng(seed).permutation(patients)[:held].tolist())
    return [s for s in scans if s.patient not in chosen], [s for s in scans if s.patient in chosen]
