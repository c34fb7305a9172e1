from __future__ import annotations

import numpy as np
import pytest

from discometry.core.phantom import render_disc_mask, single_disc
from discometry.core.records import CUBE_SHAPE, CUBE_SPACING_MM, Disc
from discometry.core.volume import Grid
from discometry.networks.linear_shape import LinearShape, ShapeConfig
from discometry.stages.encode import encode
from discometry.training.disc_cubes import PhantomCubes, phantom_cubes
from discometry.training.fit_linear_shape import train_linear_shape

GRID = Grid.from_spacing(
    CUBE_SHAPE, CUBE_SPACING_MM, origin_mm=[-31.5 * spacing for spacing in CUBE_SPACING_MM]
)


CUBES = phantom_cubes(PhantomCubes(discs=12, seed=4)).cubes


@pytest.fixture(scope="module")
def coder() -> LinearShape:
    return train_linear_shape(CUBES, ShapeConfig(latents=3))[0]


def disc(height_mm: float) -> Disc:
    cube = render_disc_mask(single_disc(height_mm, half_lateral_mm=10 + 2 * height_mm), GRID)
    return Disc(201, "L5/S1", cube, cube)


def test_one_encoding_a_disc_in_order(coder: LinearShape) -> None:
    discs = [disc(height) for height in (7.0, 9.0, 11.0)]
    together = encode(discs, coder)
    assert len(together) == 3
    for one, found in zip(discs, together, strict=True):
        assert encode([one], coder) == (found,)
        assert (len(found.latents), len(found.pose)) == (3, 6)
    assert len({found.latents for found in together}) == 3


def test_an_encoding_tells_how_far_to_trust_it(coder: LinearShape) -> None:
    cube = disc(9.0).cube.with_array(CUBES[0])
    (usual,) = encode([Disc(201, "L5/S1", cube, cube)], coder)
    box = np.zeros(CUBE_SHAPE, dtype=bool)
    box[20:44, 20:44, 8:56] = True
    cube = cube.with_array(box)
    (odd,) = encode([Disc(201, "L5/S1", cube, cube)], coder)
    assert usual.reconstruction_iou > 0.85
    assert odd.reconstruction_iou < usual.reconstruction_iou - 0.1
    assert odd.plausibility < 0.05


def test_no_disc_no_encoding(coder: LinearShape) -> None:
    assert encode([], coder) == ()
