"""Training data for the segmenter: real scans with masks, phantoms, and random patches of both.

Real scans keep their anatomy and have their contrast changed; phantoms keep their labels and are given
any contrast at all, in the manner of SynthSeg (Billot et al. 2023, Medical Image Analysis 86, 102789).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from discometry.core.anatomy import DISC_LABEL_BASE, Tissue, detect_convention
from discometry.core.errors import InputError
from discometry.core.phantom import Structure, phantom_grid, render_structures, sample_phantom
from discometry.core.phantom_anatomy import TISSUE_OF
from discometry.core.phantom_mri import CONTRASTS
from discometry.core.volume import Volume
from discometry.io.headers import has_suffix
from discometry.io.images import check_image, check_same_grid, read_image, read_mask
from discometry.stages.prepare import PrepareConfig, prepare

__all__ = ["IGNORED", "PatchConfig", "Scan", "draw_patch", "phantom_scans", "read_scans", "split_patients"]

IGNORED = 255
"""Target value of voxels that lie outside the scan and count in no loss."""

FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """A scan on the working grid: intensities or, for a phantom, structures to give intensities to.

    ``tissue`` and ``image`` (or ``structures``) are LxPxS; exactly one of the latter two is given.
    """

    name: str
    patient: str
    tissue: LabelArray
    image: FloatArray | None = None
    structures: LabelArray | None = None

    def __post_init__(self) -> None:
        if (self.image is None) == (self.structures is None):
            raise InputError(
                f"scan {self.name} with both image and structures, or neither",
                expected="exactly one of them",
                action="give real scans an image and phantoms their structures",
            )


@dataclass(frozen=True, slots=True)
class PatchConfig:
    """How patches are drawn and changed."""

    patch: tuple[int, int, int] = (32, 96, 96)
    """Voxels along L, P, S."""
    divisor: int = 16
    """A patch of a thin scan is no wider than the scan, rounded up to this."""
    spacing_mm: tuple[float, float, float] = (1.4, 1.2, 1.5)
    """Voxel size of the scans."""
    rotation_deg: tuple[float, float, float] = (15.0, 6.0, 6.0)
    """Greatest rotation about L, P, S; thin slabs leave little room for the latter two."""
    scale: tuple[float, float] = (0.8, 1.2)
    """Smallest and greatest magnification."""
    disc_share: float = 0.8
    """Part of the patches that is centred on a disc voxel."""


def read_scans(folder: Path, *, spacing_mm: tuple[float, float, float]) -> list[Scan]:
    """Read ``folder/images/*`` with the masks of the same names in ``folder/masks``.

    The patient is the file name up to its first underscore, as SPIDER names files.

    Raises
    ------
    InputError
        If the folder holds no image that has a mask.
    """
    config = PrepareConfig(spacing_mm=spacing_mm)
    scans = []
    for path in sorted((folder / "images").glob("*")):
        mask_path = folder / "masks" / path.name
        if not (has_suffix(path) and mask_path.is_file()):
            continue
        image, mask = read_image(path), read_mask(mask_path)
        check_image(image, name=f"'{path}'")
        check_same_grid(image, mask)
        prepared = prepare(image, config)
        tissue = _tissue_on(mask, prepared.image)
        name = path.name.split(".")[0]
        scans.append(Scan(name, name.split("_")[0], tissue, image=prepared.image.array))
    if not scans:
        raise InputError(
            f"no image with a mask in {folder}",
            expected="images/NAME.mha with masks/NAME.mha",
            action="give a folder laid out as SPIDER",
        )
    return scans


def _tissue_on(mask: Volume, image: Volume) -> LabelArray:
    """Sample a label map on the image's working grid as tissue, by the nearest voxel."""
    convention = detect_convention(np.unique(mask.array))
    source = mask.oriented()
    tissue = np.zeros(source.array.shape, dtype=np.uint8)
    tissue[np.isin(source.array, list(convention.vertebrae))] = Tissue.VERTEBRA
    tissue[np.isin(source.array, list(convention.canal))] = Tissue.CANAL
    tissue[np.isin(source.array, [*convention.discs, *convention.unnamed_discs])] = Tissue.DISC
    step, start = image.grid.sampling_in(source.grid)
    sampled: LabelArray = ndimage.affine_transform(
        tissue, step, offset=start, output_shape=image.grid.shape, order=0, mode="nearest"
    )
    return sampled


def phantom_scans(count: int, *, seed: int, spacing_mm: tuple[float, float, float]) -> list[Scan]:
    """Draw phantoms of five to seven discs, some of them narrowed, on the working grid."""
    tissue_of = np.array([TISSUE_OF[structure] for structure in Structure], dtype=np.uint8)
    scans = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        discs = int(rng.integers(5, 8))
        narrowed = [DISC_LABEL_BASE + 1 + int(place) for place in np.flatnonzero(rng.random(discs) < 0.3)]
        phantom = sample_phantom(int(rng.integers(2**31)), n_discs=discs, narrowed=narrowed)
        grid = phantom_grid(
            phantom, spacing_mm=spacing_mm, slice_axis="lps", lateral_mm=float(rng.uniform(70, 130))
        )
        structures = render_structures(phantom, grid).array
        name = f"phantom{number:03d}"
        scans.append(Scan(name, name, tissue_of[structures], structures=structures))
    return scans


def split_patients(scans: Sequence[Scan], *, part: float, seed: int) -> tuple[list[Scan], list[Scan]]:
    """Split scans into training and validation so that no patient is in both; at least one validates."""
    if not scans:
        return [], []
    patients = sorted({scan.patient for scan in scans})
    held = max(1, round(part * len(patients)))
    chosen = set(np.random.default_rng(seed).permutation(patients)[:held].tolist())
    return [s for s in scans if s.patient not in chosen], [s for s in scans if s.patient in chosen]


def draw_patch(scan: Scan, rng: np.random.Generator, config: PatchConfig) -> tuple[FloatArray, LabelArray]:
    """Cut a randomly placed, turned, scaled and re-contrasted patch.

    Returns
    -------
    tuple of ndarray
        Image, 1xLxPxS float32, about zero mean and unit spread; target, LxPxS uint8 with
        :data:`IGNORED` outside the scan, where the image is zero.
    """
    matrix, offset, shape = _placement(scan, rng, config)

    def sample(array: NDArray[Any], order: Literal[0, 1], outside: float) -> NDArray[Any]:
        return ndimage.affine_transform(
            array, matrix, offset=offset, output_shape=shape, order=order, mode="constant", cval=outside
        )

    target = sample(scan.tissue, 0, IGNORED).astype(np.uint8)
    inside = target != IGNORED
    if scan.image is not None:
        image = _recolour(sample(scan.image, 1, 0.0).astype(np.float32), target, rng)
    else:
        image = _colour(sample(np.asarray(scan.structures), 0, 0).astype(np.uint8), rng)
    image = _degrade(image, rng, config)
    image = (image - image[inside].mean()) / (image[inside].std() + 1e-6)
    image = image * np.exp(rng.normal(0, 0.2)) + rng.normal(0, 0.3)
    return np.where(inside, image, 0).astype(np.float32)[None], target


def _placement(
    scan: Scan, rng: np.random.Generator, config: PatchConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[int, int, int]]:
    """Draw the affine map from patch index to scan index, and the patch's shape."""
    sides = np.array(scan.tissue.shape)
    rounded = config.divisor * np.ceil(sides / config.divisor).astype(int)
    i, j, k = np.minimum(config.patch, rounded)
    shape = (int(i), int(j), int(k))
    centre = rng.random(3) * (sides - 1)
    discs = np.flatnonzero(scan.tissue == Tissue.DISC)
    if discs.size and rng.random() < config.disc_share:
        centre = np.array(np.unravel_index(rng.choice(discs), scan.tissue.shape), dtype=np.float64)
    centre += rng.uniform(-0.3, 0.3, 3) * shape
    # A patch that reaches over the border is pulled back in, as far as it fits.
    half = np.array(shape) / 2
    centre = np.where(sides > shape, np.clip(centre, half, np.maximum(half, sides - half)), (sides - 1) / 2)
    turn = _rotation(np.deg2rad(rng.uniform(-1, 1, 3) * np.array(config.rotation_deg)))
    low, high = np.sqrt(config.scale)
    zoom = rng.uniform(low, high) * rng.uniform(low, high, size=3)
    spacing = np.array(config.spacing_mm)
    matrix = (turn / zoom) * spacing / spacing[:, None]
    if rng.random() < 0.5:
        matrix = matrix * np.array([-1.0, 1.0, 1.0])
    offset = centre - matrix @ ((np.array(shape) - 1) / 2)
    return matrix, offset, shape


def _rotation(angles_rad: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotate about L, then P, then S."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles_rad), np.sin(angles_rad)
    about_l = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_p = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_s = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    turn: NDArray[np.float64] = about_s @ about_p @ about_l
    return turn


def _smooth_noise(shape: tuple[int, ...], rng: np.random.Generator, scale: float) -> FloatArray:
    """Noise of unit spread whose features are about ``scale`` voxels wide."""
    coarse = tuple(max(2, round(side / scale)) for side in shape)
    noise = rng.standard_normal(coarse).astype(np.float32)
    field: FloatArray = ndimage.zoom(noise, np.array(shape) / coarse, order=1)
    field /= field.std() + 1e-6
    return field


def _colour(structures: LabelArray, rng: np.random.Generator) -> FloatArray:
    """Give every structure an intensity, near a real contrast or any at all; then texture and blur."""
    names = list(CONTRASTS)
    choice = int(rng.integers(len(names) + 1))
    levels = rng.random(len(Structure))
    if choice < len(names):
        table = CONTRASTS[names[choice]]
        levels = np.array([table[structure] for structure in Structure]) + rng.normal(0, 0.08, len(Structure))
    levels[Structure.AIR] = rng.uniform(0, 0.05)
    image = levels[structures].astype(np.float32)
    texture = rng.uniform(0.0, 0.12, len(Structure)).astype(np.float32)[structures]
    image += texture * _smooth_noise(structures.shape, rng, rng.uniform(1.5, 4))
    image += texture * _smooth_noise(structures.shape, rng, rng.uniform(6, 16))
    blurred: FloatArray = ndimage.gaussian_filter(image, rng.uniform(0.3, 0.7))
    return blurred


def _recolour(image: FloatArray, target: LabelArray, rng: np.random.Generator) -> FloatArray:
    """Change a real scan's contrast: a random tone curve, and a shift of whole tissues."""
    if rng.random() < 0.6:
        low, high = np.percentile(image, (1, 99))
        knots = np.linspace(low, high, int(rng.integers(4, 8)))
        tones = np.linspace(0, 1, knots.size) + rng.normal(0, 0.25, knots.size)
        if rng.random() < 0.3:
            tones = tones[::-1]
        image = np.interp(image, knots, tones).astype(np.float32)
    if rng.random() < 0.4:
        shift = np.zeros(256, dtype=np.float32)
        shift[: len(Tissue)] = rng.normal(0, 0.5, len(Tissue)) * image.std()
        image = image + ndimage.gaussian_filter(shift[target], 0.5)
    return image


def _degrade(image: FloatArray, rng: np.random.Generator, config: PatchConfig) -> FloatArray:
    """Add what a scanner adds: thick slices, blur, a bias field, noise."""
    if rng.random() < 0.6:
        image = _thick_slices(image, rng.uniform(2.0, 5.0) / config.spacing_mm[0], rng)
    if rng.random() < 0.3:
        image = ndimage.gaussian_filter(image, (0, *rng.uniform(0, 1.0, 2)))
    if rng.random() < 0.5:
        image = image * np.exp(rng.uniform(0.05, 0.3) * _smooth_noise(image.shape, rng, 40))
    noise = rng.standard_normal(image.shape, dtype=np.float32) * rng.uniform(0, 0.15) * image.std()
    noisy: FloatArray = (image + noise).astype(np.float32)
    return noisy


def _thick_slices(image: FloatArray, step: float, rng: np.random.Generator) -> FloatArray:
    """Average over sagittal slices ``step`` voxels thick and interpolate between their centres."""
    if step <= 1:
        return image
    blurred = ndimage.uniform_filter1d(image, max(1, round(step)), axis=0)
    places = np.arange(image.shape[0], dtype=np.float64)
    centres = np.arange(rng.uniform(0, step) - step, image.shape[0] + step, step)
    # Each slice is the linear blend of its two neighbours among the thick slices.
    right = np.clip(np.searchsorted(centres, places, side="right"), 1, centres.size - 1)
    weight = ((places - centres[right - 1]) / step).astype(np.float32)[:, None, None]
    index = np.clip(np.round(centres), 0, image.shape[0] - 1).astype(int)
    mixed = (1 - weight) * blurred[index[right - 1]] + weight * blurred[index[right]]
    thick: FloatArray = mixed.astype(np.float32)
    return thick
