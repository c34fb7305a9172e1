"""A cohort of phantoms laid out as SPIDER: images, masks and gradings whose truth is known."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from discometry.core.anatomy import DISC_LABEL_BASE, Tissue
from discometry.core.phantom import phantom_grid, render_discs, render_mri, render_tissue, sample_phantom
from discometry.io.images import write_volume
from discometry.io.spider import GRADINGS_FILE

__all__ = ["write_phantom_cohort"]

_CHANCE = (0.5, 0.45, 0.3, 0.2, 0.15, 0.15, 0.15)
"""Part of the discs that are narrowed, from L5/S1 up: as in life, the lower the more."""
_VERTEBRA, _CANAL = 1, 100


def write_phantom_cohort(
    folder: Path,
    *,
    patients: int = 60,
    images: bool = True,
    reader_error: float = 0.1,
    seed: int = 0,
    spacing_mm: tuple[float, float, float] = (4.0, 0.9, 0.9),
) -> Path:
    """Write phantoms of five to seven discs as patients of a data set like SPIDER.

    A narrowed disc is lower than it would be (by a factor of 0.4 to 0.8) and nothing else.

    Parameters
    ----------
    folder
        Gets ``images/``, ``masks/`` and ``radiological_gradings.csv``.
    patients
        How many.
    images
        Whether to render T2-like MRIs as well as masks.
    reader_error
        Part of the gradings that say the contrary of the truth, as readers do.
    seed
        Of every random draw.
    spacing_mm
        Voxel size along L, P, S.

    Returns
    -------
    The folder.
    """
    folder = Path(folder)
    rows = []
    for number in range(patients):
        rng = np.random.default_rng([seed, number])
        discs = int(rng.integers(5, 8))
        narrowed = rng.random(discs) < _CHANCE[:discs]
        labels = DISC_LABEL_BASE + 1 + np.arange(discs)
        phantom = sample_phantom(int(rng.integers(2**31)), n_discs=discs, narrowed=labels[narrowed].tolist())
        grid = phantom_grid(phantom, spacing_mm=spacing_mm)
        patient = f"phantom{number:03d}"
        tissue, mask = render_tissue(phantom, grid).array, render_discs(phantom, grid)
        mask.array[(mask.array == 0) & (tissue == Tissue.VERTEBRA)] = _VERTEBRA
        mask.array[(mask.array == 0) & (tissue == Tissue.CANAL)] = _CANAL
        for kind in ("masks", "images")[: 1 + images]:
            (folder / kind).mkdir(parents=True, exist_ok=True)
        write_volume(mask, folder / "masks" / f"{patient}_t2.mha")
        if images:
            mri = render_mri(phantom, grid, seed=number)
            write_volume(mri, folder / "images" / f"{patient}_t2.mha")
        wrong = rng.random(discs) < reader_error
        rows += [
            {"Patient": patient, "IVD label": place, "Disc narrowing": int(grade)}
            for place, grade in enumerate(narrowed != wrong, start=1)
        ]
    columns = ["Patient", "IVD label", "Disc narrowing"]
    with (folder / GRADINGS_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return folder
