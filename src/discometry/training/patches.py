"""Random patches of scans: placed, turned, sheared, scaled, and given another contrast and other flaws.

Real scans keep their anatomy and have their contrast changed; phantoms keep their labels and are given
any contrast at all, in the manner of SynthSeg (Billot et al. 2023, Medical Image Analysis 86, 102789).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from discometry.core.anatomy import Tissue
from discometry.training.contrast import (
    colour_codes,
    degrade,
    endplate_changes,
    recolour,
    smooth_noise,
    textured,
)
from discometry.training.scans import IGNORED, Scan

__all__ = ["PatchConfig", "draw_patch", "whole_scan"]

FloatArray = NDArray[np.float32]
LabelArray = NDArray[np.uint8]
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PatchConfig:
    """How patches are drawn and changed."""

    patch: tuple[int, int, int] = (24, 112, 112)
    """Voxels along L, P, S."""
    divisor: tuple[int, int, int] = (8, 16, 16)
    """A patch of a thin scan is no wider than the scan, rounded up to multiples of these."""
    spacing_mm: tuple[float, float, float] = (2.0, 0.9, 0.9)
    """Voxel size of the patch."""
    rotation_deg: tuple[float, float, float] = (15.0, 6.0, 6.0)
    """Greatest rotation about L, P, S; thin slabs leave little room for the latter two."""
    scale: tuple[float, float] = (0.75, 1.25)
    """Smallest and greatest magnification."""
    shear: float = 0.1
    """Greatest shear in the sagittal plane."""
    bend_mm: float = 1.5
    """Greatest spread of the smooth shifts by which each place moves, along each axis."""
    bend_scale_mm: float = 40.0
    """From one such shift to another that does not depend on it."""
    disc_share: float = 0.7
    """Part of the patches that is centred on a disc voxel."""
    endplate_share: float = 0.25
    """Part of the patches in which the marrow beside some discs has another signal."""
    cut_share: float = 0.2
    """Part of the patches at one of whose sides the field of view ends."""


@dataclass(frozen=True, slots=True)
class _Placement:
    """Where each voxel of a patch lies in the scan, 3xLxPxS, voxels."""

    places: FloatArray

    def sample(
        self,
        array: NDArray[np.generic],
        order: Literal[0, 1],
        outside: float,
        *,
        table: FloatArray | None = None,
    ) -> NDArray[np.generic]:
        """Sample an array of the scan, looked up in a ``table`` first, only where the patch reaches."""
        axes = (1, 2, 3)
        low = np.clip(np.floor(self.places.min(axes)).astype(int) - 1, 0, np.array(array.shape) - 1)
        high = np.clip(np.ceil(self.places.max(axes)).astype(int) + 2, low + 1, array.shape)
        window = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        sampled: NDArray[np.generic] = ndimage.map_coordinates(
            array[window] if table is None else table[array[window]],
            self.places - low.astype(np.float32)[:, None, None, None],
            order=order,
            mode="constant",
            cval=outside,
        )
        return sampled


def _laid(matrix: Array, middle: Array, shape: tuple[int, int, int]) -> FloatArray:
    """Give the places of a patch's voxels, 3xLxPxS, about its middle; ``matrix`` has its steps in columns."""
    steps = [np.arange(n, dtype=np.float32) - np.float32((n - 1) / 2) for n in shape]
    i, j, k = np.meshgrid(*steps, indexing="ij", sparse=True)
    along = matrix.astype(np.float32)[:, :, None, None, None]
    places: FloatArray = along[:, 0] * i + along[:, 1] * j + along[:, 2] * k
    places += middle.astype(np.float32)[:, None, None, None]
    return places


def draw_patch(scan: Scan, rng: np.random.Generator, config: PatchConfig) -> tuple[FloatArray, LabelArray]:
    """Cut a randomly placed, turned, sheared, scaled and re-contrasted patch.

    Returns
    -------
    tuple of ndarray
        Image, 1xLxPxS float32, about zero mean and unit spread; target, LxPxS uint8 with
        :data:`~discometry.training.scans.IGNORED` outside the scan, where the image is zero.
    """
    placement = _placement(scan, rng, config)
    target = placement.sample(scan.tissue, 0, IGNORED).astype(np.uint8)
    if rng.random() < config.cut_share:
        _end_view(target, rng)
    inside = target != IGNORED
    if not inside.any():
        return np.zeros((1, *target.shape), dtype=np.float32), target
    image = _intensities(scan, placement, target, rng)
    if rng.random() < config.endplate_share:
        image = endplate_changes(image, target, rng, config.spacing_mm)
    image = degrade(image, rng, config.spacing_mm)
    image = (image - image[inside].mean()) / (image[inside].std() + 1e-6)
    image = image * np.exp(rng.normal(0, 0.2)) + rng.normal(0, 0.3)
    return np.where(inside, image, 0).astype(np.float32)[None], target


def _intensities(
    scan: Scan, placement: _Placement, target: LabelArray, rng: np.random.Generator
) -> FloatArray:
    """Sample a real scan's intensities, or make up those of a phantom."""
    if scan.image is not None:
        return recolour(placement.sample(scan.image, 1, 0.0).astype(np.float32), target, rng)
    assert scan.codes is not None  # a Scan has one or the other
    signal, unevenness = colour_codes(rng)
    image = placement.sample(scan.codes, 1, 0.0, table=signal).astype(np.float32)
    return textured(image, unevenness[placement.sample(scan.codes, 0, 0)], rng)


def whole_scan(scan: Scan, spacing_mm: tuple[float, float, float], *, seed: int = 0) -> Scan:
    """Lay a scan on a grid of another spacing, unchanged but for a phantom's contrast, which it is given."""
    spacing = np.array(spacing_mm)
    i, j, k = np.maximum(1, np.ceil(np.array(scan.tissue.shape) * scan.spacing_mm / spacing - 1e-6)).astype(
        int
    )
    middle = (np.array(scan.tissue.shape) - 1) / 2
    placement = _Placement(_laid(np.diag(spacing / scan.spacing_mm), middle, (int(i), int(j), int(k))))
    target = placement.sample(scan.tissue, 0, IGNORED).astype(np.uint8)
    if scan.image is not None:
        image = placement.sample(scan.image, 1, 0.0).astype(np.float32)
    else:
        image = _intensities(scan, placement, target, np.random.default_rng(seed))
        image = (image - image.mean()) / image.std()
    return Scan(scan.name, scan.patient, spacing_mm, target, image=image)


def _placement(scan: Scan, rng: np.random.Generator, config: PatchConfig) -> _Placement:
    spacing, divisor = np.array(config.spacing_mm), np.array(config.divisor)
    to_scan = spacing / np.array(scan.spacing_mm)
    sides = np.array(scan.tissue.shape)
    rounded = divisor * np.ceil(sides / to_scan / divisor).astype(int)
    i, j, k = np.minimum(config.patch, rounded)
    shape = (int(i), int(j), int(k))
    centre = rng.random(3) * (sides - 1)
    if rng.random() < config.disc_share:
        centre = _disc_voxel(scan, rng, centre)
    reach = np.array(shape) * to_scan
    centre += rng.uniform(-0.35, 0.35, 3) * reach
    # A patch that reaches over the border is pulled back in, as far as it fits.
    half = reach / 2
    centre = np.where(sides > reach, np.clip(centre, half, np.maximum(half, sides - half)), (sides - 1) / 2)
    turn = _rotation(np.deg2rad(rng.uniform(-1, 1, 3) * np.array(config.rotation_deg)))
    shear = np.eye(3)
    shear[1, 2], shear[2, 1] = rng.uniform(-config.shear, config.shear, 2)
    low, high = np.sqrt(config.scale)
    zoom = rng.uniform(low, high) * rng.uniform(low, high, size=3)
    matrix = (turn @ shear / zoom) * spacing / np.array(scan.spacing_mm)[:, None]
    if rng.random() < 0.5:
        matrix = matrix * np.array([-1.0, 1.0, 1.0])
    places = _laid(matrix, centre, shape)
    for along, step in zip(places, scan.spacing_mm, strict=True):
        bent = smooth_noise(shape, rng, config.bend_scale_mm / spacing)
        along += bent * np.float32(rng.uniform(0, config.bend_mm) / step)
    return _Placement(places)


def _disc_voxel(scan: Scan, rng: np.random.Generator, otherwise: Array) -> Array:
    """Pick a voxel of disc: a slice by chance, then one in it; a whole scan is slow to search."""
    plane = int(rng.integers(scan.tissue.shape[0] // 4, scan.tissue.shape[0] - scan.tissue.shape[0] // 4))
    discs = np.argwhere(scan.tissue[plane] == Tissue.DISC)
    if not len(discs):
        return otherwise
    return np.array([plane, *discs[rng.integers(len(discs))]], dtype=np.float64)


def _end_view(target: LabelArray, rng: np.random.Generator) -> None:
    """Let the field of view end up to a third before one side, as at a scan's border."""
    axis = int(rng.integers(3))
    count = int(rng.uniform(0, 0.35) * target.shape[axis])
    rows = slice(0, count) if rng.random() < 0.5 else slice(target.shape[axis] - count, None)
    target[tuple(rows if a == axis else slice(None) for a in range(3))] = IGNORED


def _rotation(angles_rad: Array) -> Array:
    """Rotate about L, then P, then S."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles_rad), np.sin(angles_rad)
    about_l = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_p = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_s = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    turn: Array = about_s @ about_p @ about_l
    return turn
