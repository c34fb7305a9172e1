from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from discometry.core.volume import Grid
from discometry.sampling import sampler


@pytest.mark.parametrize("order", [1, 3])
def test_on_a_grid_turned_to_the_side_smooth_values_are_what_they_are_there(order: Literal[1, 3]) -> None:
    def values(points: np.ndarray) -> np.ndarray:
        x, y, z = np.moveaxis(points, -1, 0)
        return np.sin(x / 9) + np.cos(y / 8 + z / 11) + 0.01 * x * y

    before = Grid.from_spacing((30, 40, 50), (1.5, 1.0, 0.8), origin_mm=(-20.0, -18.0, -19.0))
    axes = Rotation.from_euler("xyz", (12, -9, 7), degrees=True).as_matrix()
    after = Grid.from_spacing((9, 14, 12), (2.0, 0.9, 1.3), origin_mm=(-8.0, -6.0, -7.0), direction=axes)
    there = values(after.to_world(np.moveaxis(np.indices(after.shape), 0, -1)))
    here = values(before.to_world(np.moveaxis(np.indices(before.shape), 0, -1))).astype(np.float32)
    atol = 2e-2 if order == 1 else 5e-4
    np.testing.assert_allclose(sampler(before, after, order=order)(here), there, atol=atol)
