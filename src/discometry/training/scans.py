"""Scans that the segmenter learns from: real ones with masks, and phantoms, each on a grid of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from discometry.core.anatomy import DISC_LABEL_BASE, Tissue, detect_convention
from discometry.core.errors import InputError
from discometry.core.phantom import phantom_grid, sample_phantom
from discometry.core.phantom_anatomy import TISSUE_OF, Structure
from discometry.core.phantom_paint import paint, structure_of_code
from discometry.core.volume import Volume
from discometry.io.headers import has_suffix
from discometry.io.images import check_image, check_same_grid, read_image, read_mask
from discometry.sampling import smoothing_sigma
from discometry.stages.prepare import PrepareConfig, normalise

__all__ = ["IGNORED", "MAYBE_SACRUM", "Scan", "phantom_scans", "read_scans", "split_patients"]

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


def read_scans(folder: Path, *, spacing_mm: tuple[float, float, float]) -> list[Scan]:
    """Read ``folder/images/*`` with the masks of the same names in ``folder/masks``.

    Voxels stay those of the file; intensities are normalised, and smoothed so that they can be sampled at
    ``spacing_mm``. The patient is the file name up to its first underscore, as SPIDER names files.

    Raises
    ------
    InputError
        If the folder holds no image that has a mask.
    """
    scans = []
    for path in sorted((folder / "images").glob("*")):
        mask_path = folder / "masks" / path.name
        if not (has_suffix(path) and mask_path.is_file()):
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
        scans.append(Scan(name, name.split("_")[0], spacing, tissue_of_mask(mask.oriented()), image=array))
    if not scans:
        raise InputError(
            f"no image with a mask in {folder}",
            expected="images/NAME.mha with masks/NAME.mha",
            action="give a folder laid out as SPIDER",
        )
    return scans


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
    discs = np.flatnonzero((tissue == Tissue.DISC).any(axis=(0, 1)))
    if discs.size and not np.isin(present, list(convention.sacrum)).any():
        named = [value for value in present if value in classes[Tissue.DISC]]
        lowest = min(float(np.argwhere(mask.array == value)[:, 2].mean()) for value in named)
        below = tissue[:, :, : int(lowest) + 1]
        below[below == Tissue.BACKGROUND] = MAYBE_SACRUM
    return tissue


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
