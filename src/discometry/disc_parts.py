"""Connected parts of a mask: found, joined where they are one disc, cut where they are several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cc3d
import numpy as np
from numpy.typing import NDArray

from discometry.core.volume import Grid, Volume

__all__ = ["Part", "connected_parts", "cut_apart", "joined", "stretched"]

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
        some = Part(self.code, self.voxels[chosen], self.points[chosen], volume, volume, self.flags)
        return some.flagged(flag)

    def flagged(self, *flags: str) -> Part:
        """Add flags, each at most once."""
        return replace(self, flags=tuple(dict.fromkeys((*self.flags, *flags))))

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


def stretched(parts: Sequence[Part], place: int, *, spread_mm: float, lone_mm: float) -> bool:
    """Tell whether a part reaches too far along the spine for one disc; see :func:`cut_apart`."""
    return bool(_heights(parts, place).std() > (lone_mm if len(parts) == 1 else spread_mm))


def cut_apart(parts: Sequence[Part], *, spread_mm: float, lone_mm: float) -> list[Part]:
    """Cut what stretches too far along the spine where it is thinnest, again and again, flagged ``merged``.

    What has no thin place stays whole, and is flagged too. This ends: every cut takes two millimetres or
    more off the height of what is cut, and what is low is not cut.

    Parameters
    ----------
    parts
        In the order of the spine.
    spread_mm
        A part whose voxels spread more along the spine (standard deviation) is more than one disc. Which way
        the spine runs, the neighbours show ..
    lone_mm
        .. and for a part without neighbours it is taken as upright, and this is the limit.
    """
    found = list(parts)
    place = 0
    while place < len(found):
        pieces = [found[place]]
        if stretched(found, place, spread_mm=spread_mm, lone_mm=lone_mm):
            pieces = _halved(found[place], _heights(found, place))
        found[place : place + 1] = pieces
        place += len(pieces) == 1
    return found


def _heights(parts: Sequence[Part], place: int) -> FloatArray:
    """Heights of a part's voxels along the spine, mm, as its neighbours show it; alone, upwards."""
    spine = np.array([0.0, 0.0, 1.0])
    if len(parts) > 1:
        spine = parts[min(place + 1, len(parts) - 1)].middle - parts[max(place - 1, 0)].middle
    heights: FloatArray = parts[place].points @ (spine / max(float(np.linalg.norm(spine)), 1e-9))
    return heights


def _halved(part: Part, heights: FloatArray) -> list[Part]:
    """Cut a part in two where its middle half is thinnest, the lower first; leave it whole if it is not thin.

    How thick it is counts by the thickest place below or above, whichever has less: the end of a bridge that
    was cut before is as thin as the next bridge, but has nothing beyond it. Of a bridge either gets a half.
    """
    counts, edges = np.histogram(heights, bins=max(8, int(np.ptp(heights) / 2.0)))
    beside = np.minimum(np.maximum.accumulate(counts), np.maximum.accumulate(counts[::-1])[::-1])
    share = counts / beside
    quarter = len(counts) // 4
    thin = quarter + int(np.argmin(share[quarter:-quarter]))
    if share[thin] > 0.5:
        return [part.flagged("merged")]
    thick = np.flatnonzero(share > share[thin] + 0.05)  # the ends, whose share is 1, among them
    level = 0.5 * (edges[thick[thick < thin][-1] + 1] + edges[thick[thick > thin][0]])
    return [part.some(heights < level, "merged"), part.some(heights >= level, "merged")]
