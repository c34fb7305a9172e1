from __future__ import annotations

import numpy as np
import pytest
import torch

from discometry.core.phantom import render_disc_mask, single_disc
from discometry.core.records import CUBE_SHAPE, CUBE_SPACING_MM, Disc
from discometry.core.volume import Grid
from discometry.networks.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    build_autoencoder,
    decode,
    encode_cubes,
)
from discometry.stages.encode import encode

GRID = Grid.from_spacing(
    CUBE_SHAPE, CUBE_SPACING_MM, origin_mm=[-31.5 * spacing for spacing in CUBE_SPACING_MM]
)


def disc(height_mm: float, label: int = 201) -> Disc:
    cube = render_disc_mask(single_disc(height_mm, half_lateral_mm=10 + 2 * height_mm), GRID)
    return Disc(label, "L5/S1", cube, cube)


@pytest.fixture(scope="module")
def discs() -> list[Disc]:
    return [disc(height) for height in (6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0)]


@pytest.fixture
def autoencoder() -> Autoencoder:
    """Fresh weights, the output shifted so that it calls about half the voxels disc."""
    network = build_autoencoder(AutoencoderConfig(latents=3, width=2), seed=5)
    with torch.no_grad():
        network.decoder[-1].get_parameter("bias").zero_()
    return network.eval()


def test_one_encoding_a_disc_in_order_whatever_the_batch(discs: list[Disc], autoencoder: Autoencoder) -> None:
    together = encode(discs, autoencoder)
    assert len(together) == 9
    for one, found in zip(discs, together, strict=True):
        (alone,) = encode([one], autoencoder)
        np.testing.assert_allclose(found.latents, alone.latents, rtol=0, atol=1e-5)
        assert found.reconstruction_iou == pytest.approx(alone.reconstruction_iou, abs=1e-3)
    assert len({found.latents for found in together}) == 9


def test_latents_and_iou_are_the_networks(discs: list[Disc], autoencoder: Autoencoder) -> None:
    (found,) = encode(discs[:1], autoencoder)
    cube = torch.from_numpy(discs[0].cube.array)[None, None].float()
    with torch.no_grad():
        latents = autoencoder.encode(cube)
        rebuilt = (autoencoder.decode(latents) > 0)[0, 0].numpy()
    inside = discs[0].cube.array
    np.testing.assert_allclose(found.latents, latents[0].numpy(), rtol=0, atol=1e-6)
    assert 0 < found.reconstruction_iou < 1
    expected = (inside & rebuilt).sum() / (inside | rebuilt).sum()
    assert found.reconstruction_iou == pytest.approx(expected, abs=1e-6)


def test_a_network_in_training_mode_is_used_as_in_evaluation_and_left_alone(
    discs: list[Disc], autoencoder: Autoencoder
) -> None:
    expected = encode(discs[:2], autoencoder)
    autoencoder.train()
    before = {name: value.clone() for name, value in autoencoder.state_dict().items()}
    assert encode(discs[:2], autoencoder) == expected
    assert autoencoder.training
    assert all(torch.equal(before[name], value) for name, value in autoencoder.state_dict().items())


def test_decoding_latents_gives_boolean_cubes(discs: list[Disc], autoencoder: Autoencoder) -> None:
    latents = encode_cubes(np.stack([one.cube.array for one in discs[:2]]), autoencoder)
    assert latents.shape == (2, 3)
    assert latents.dtype == np.float64
    cubes = decode(latents, autoencoder)
    assert cubes.shape == (2, *CUBE_SHAPE)
    assert cubes.dtype == bool


def test_no_disc_no_encoding(autoencoder: Autoencoder) -> None:
    assert encode([], autoencoder) == ()
