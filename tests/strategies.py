"""Random grids and volumes for property tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from discometry.core.volume import Grid, Volume


def rotations(largest_angle_deg: float = 180.0) -> st.SearchStrategy[np.ndarray]:
    """Proper rotation matrices, by Rodrigues' formula from an axis and an angle."""
    axis = st.tuples(*[_plain(-1.0, 1.0)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1)
    angle = _plain(-largest_angle_deg, largest_angle_deg)
    return st.builds(_rotation, axis, angle)


def _plain(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers as a scanner would write them: not 1e-300, which no file format keeps."""
    return st.floats(low, high).map(lambda x: round(x, 4) + 0.0)


def _rotation(axis: tuple[float, float, float], angle_deg: float) -> np.ndarray:
    x, y, z = np.asarray(axis) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(angle_deg)
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@st.composite
def grids(draw: st.DrawFn, *, largest: int = 6, largest_angle_deg: float = 180.0) -> Grid:
    """Grids of 2 to ``largest`` voxels an axis, rotated, with permuted and flipped axes."""
    shape = draw(st.tuples(*[st.integers(2, largest)] * 3))
    spacing = draw(st.tuples(*[_plain(0.2, 10.0)] * 3))
    origin = draw(st.tuples(*[_plain(-300.0, 300.0)] * 3))
    order = draw(st.permutations(range(3)))
    signs = draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3))
    direction = draw(rotations(largest_angle_deg))[:, order] * np.array(signs)
    return Grid.from_spacing(shape, spacing, origin_mm=origin, direction=direction)


@st.composite
def volumes(draw: st.DrawFn, *, dtype: type = np.int16, largest: int = 6) -> Volume:
    """Volumes on :func:`grids` in which every voxel has a value of its own."""
    grid = draw(grids(largest=largest))
    values = np.random.default_rng(draw(st.integers(0, 2**16))).permutation(int(np.prod(grid.shape)))
    return Volume(grid, values.reshape(grid.shape).astype(dtype))
