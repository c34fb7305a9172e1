"""Connected parts of a mask: found, joined where they are one disc, cut where they are two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cc3d
import numpy as np
from numpy.typing import NDArray

from discometry.core.volume import Grid, Volume

__all__ = ["Part", "connected_parts", "cut_apart", "joined"]

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Part:
    """Voxels (n, 3) that belong together, with their places (n, 3; mm, off by a shift), code and flags."""

    code: int
    voxels: NDArray[np.intp]
    points: FloatArray
    volume_mm3: float
    solid_mm3: float
    """Volume of the largest connected piece."""
    flags: tuple[str, ...] = ()

    @property
    def middle(self) -> FloatArray:
        """Mean place of the voxels, mm."""
        middle: FloatArray = self.points.mean(axis=0)
        return middle

    def some(self, chosen: BoolArray, flag: str) -> Part:
        """Take some of the voxels, flagged."""
        volume = self.volume_mm3 * float(chosen.mean())
        flags = (*self.flags, flag)
        return Part(self.code, self.voxels[chosen], self.points[chosen], volume, volume, flags)

    def joined(self, other: Part) -> Part:
        """Take a fragment in."""
        return replace(
            self,
            voxels=np.concatenate([self.voxels, other.voxels]),
            points=np.concatenate([self.points, other.points]),
            volume_mm3=self.volume_mm3 + other.volume_mm3,
        )

    def at_border(self, grid: Grid) -> bool:
        """Whether the part reaches the border of its grid."""
        ends = np.array(grid.shape) - 1
        return bool(((self.voxels.min(axis=0) == 0) | (self.voxels.max(axis=0) == ends)).any())


def connected_parts(source: Volume, codes: dict[int, int], least_mm3: float, *, corners: bool) -> list[Part]:
    """Find the connected parts of each code but specks; voxels may touch at ``corners`` or at faces only."""
    coded = np.zeros(source.grid.shape, dtype=np.int16)
    for value, code in codes.items():
        coded[source.array == value] = code
    used = [np.flatnonzero(coded.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if used[0].size == 0:
        return []
    window = tuple(slice(int(side[0]), int(side[-1]) + 1) for side in used)
    block = np.ascontiguousarray(coded[window])
    components = cc3d.connected_components(block, connectivity=26 if corners else 6)
    voxels = np.argwhere(components)
    numbers = components[tuple(voxels.T)]
    order = np.argsort(numbers, kind="stable")
    ends = np.flatnonzero(np.diff(numbers[order])) + 1
    parts = []
    for group in np.split(voxels[order], ends):
        volume = len(group) * source.grid.voxel_volume_mm3
        if volume >= least_mm3:
            voxels = group + np.array([side.start for side in window])
            places = voxels.astype(np.float64) @ source.grid.affine[:3, :3].T
            parts.append(Part(int(block[tuple(group[0])]), voxels, places, volume, volume))
    return parts


def joined(parts: Sequence[Part], grid: Grid, *, within_mm: float, reach_mm: float) -> list[Part]:
    """Join fragments to the disc in whose mid-plane they lie until no more do; the largest comes first.

    Parameters
    ----------
    within_mm
        A part whose middle is this near to another's mid-plane belongs to the same disc ..
    reach_mm
        .. if their middles are no farther apart than this.
    """
    whole: list[Part] = []
    for part in sorted(parts, key=lambda one: -one.volume_mm3):
        for place, disc in enumerate(whole):
            between = part.middle - disc.middle
            near = float(np.linalg.norm(between)) < reach_mm
            if near and abs(float(between @ _normal(disc, grid))) < within_mm:
                whole[place] = disc.joined(part)
                break
        else:
            whole.append(part)
    return whole if len(whole) == len(parts) else joined(whole, grid, within_mm=within_mm, reach_mm=reach_mm)


def _normal(part: Part, grid: Grid) -> FloatArray:
    """Direction in which a part is thinnest, its voxels' own extent included."""
    off = part.points - part.middle
    cell = grid.affine[:3, :3] @ grid.affine[:3, :3].T / 12.0
    _, axes = np.linalg.eigh(off.T @ off / len(off) + cell)
    normal: FloatArray = axes[:, 0]
    return normal


def cut_apart(parts: Sequence[Part], *, spread_mm: float) -> list[Part]:
    """Cut what stretches too far along the spine, as its neighbours show it, in two, flagged ``merged``.

    Parameters
    ----------
    parts
        In the order of the spine.
    spread_mm
        A part whose voxels spread more along the spine (standard deviation) is more than one disc.
    """
    found: list[Part] = []
    for place, part in enumerate(parts):
        spine = parts[min(place + 1, len(parts) - 1)].middle - parts[max(place - 1, 0)].middle
        height = part.points @ (spine / max(float(np.linalg.norm(spine)), 1e-9))
        if height.std() <= spread_mm:
            found.append(part)
            continue
        counts, edges = np.histogram(height, bins=max(8, int(np.ptp(height) / 2.0)))
        quarter = len(counts) // 4
        thin = quarter + int(np.argmin(counts[quarter:-quarter]))
        level = 0.5 * (edges[thin] + edges[thin + 1])
        if counts[thin] > 0.5 * min(counts[:thin].max(), counts[thin + 1 :].max()):
            found.append(replace(part, flags=(*part.flags, "merged")))
        else:
            found += [part.some(height < level, "merged"), part.some(height >= level, "merged")]
    return found
