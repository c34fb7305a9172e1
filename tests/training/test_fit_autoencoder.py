from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from discometry.core.errors import OutputError
from discometry.io.bundle import read_bundle
from discometry.networks.autoencoder import AutoencoderConfig, load_convolutional
from discometry.training import fit_autoencoder as module
from discometry.training.disc_cubes import CubeSet, PhantomCubes, phantom_cubes
from discometry.training.fit_autoencoder import (
    AutoencoderTraining,
    fit_autoencoder,
    reconstruction_loss,
    train_autoencoder,
)
from discometry.training.loop import LoopConfig
from discometry.training.shape_card import reconstruction_ious


def options(epochs: int, **loop: float) -> AutoencoderTraining:
    return AutoencoderTraining(
        network=AutoencoderConfig(latents=3, width=4),
        loop=LoopConfig(epochs=epochs, patience=epochs, learning_rate=5e-3, accelerator="cpu", **loop),  # type: ignore[arg-type]
        discs=18,
        dice_weight=1.0,
        mirrored=True,
        validation_part=0.2,
    )


def test_loss_of_a_known_cube() -> None:
    cubes = torch.zeros(1, 1, 64, 64, 64)
    cubes[..., :16, :16, :16] = 1  # 4096 of 262144 voxels
    logits = torch.zeros_like(cubes)
    assert float(reconstruction_loss(logits, cubes, dice_weight=0)) == pytest.approx(np.log(2), abs=1e-6)
    # one half everywhere: overlap 2048, total 131072 + 4096
    dice = (2 * 2048 + 1) / (131072 + 4096 + 1)
    weighted = float(reconstruction_loss(logits, cubes, dice_weight=2.0))
    assert weighted == pytest.approx(np.log(2) + 2 * (1 - dice), abs=1e-5)
    perfect = reconstruction_loss(40 * (2 * cubes - 1), cubes, dice_weight=1.0)
    assert float(perfect) == pytest.approx(0.0, abs=1e-6)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    return fit_autoencoder(None, folder / "bundle", folder / "run", options(25))


def test_a_small_network_learns_discs_that_it_never_saw(trained: Path) -> None:
    component = read_bundle(trained).component("autoencoder")
    network = load_convolutional(component)
    fresh = phantom_cubes(PhantomCubes(discs=6, seed=99))
    assert reconstruction_ious(fresh.cubes, network).mean() > 0.4
    assert component.config["validation_iou"] > 0.4


def test_the_card_tells_the_training(trained: Path) -> None:
    card = read_bundle(trained).component("autoencoder").config
    assert card["network"] == {"latents": 3, "width": 4}
    assert card["epochs"] == 25
    assert card["trained_on"].endswith("discs of phantoms, 0 of masks; 2 spines in all")
    low, mid, high = card["validation_iou_quantiles"]
    assert low <= mid <= high
    assert sum(card["explained"]) == pytest.approx(1.0, abs=1e-3)
    assert (trained.parent / "run" / "history.csv").exists()


def test_broken_off_it_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole = fit_autoencoder(None, tmp_path / "a", tmp_path / "run_a", options(2))
    fit_autoencoder(None, tmp_path / "b", tmp_path / "run_b", options(2, time_limit_s=0.0))
    assert read_bundle(tmp_path / "b").component("autoencoder").config["epochs"] == 1
    again = fit_autoencoder(None, tmp_path / "b", tmp_path / "run_b", options(2))
    first, second = (read_bundle(path).component("autoencoder").tensors for path in (whole, again))
    for name, value in first.items():
        np.testing.assert_allclose(value, second[name], rtol=0, atol=1e-6)


def test_a_run_of_other_discs_is_not_continued(tmp_path: Path) -> None:
    config = options(1)
    fit_autoencoder(None, tmp_path / "a", tmp_path / "run", config)
    with pytest.raises(OutputError, match="discs_sha256"):
        fit_autoencoder(
            None,
            tmp_path / "a",
            tmp_path / "run",
            replace(config, discs=19),
        )


def test_masks_are_split_by_spine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cubes = phantom_cubes(PhantomCubes(discs=12, seed=1))
    monkeypatch.setattr(module, "cubes_of_masks", lambda folder: cubes)
    bundle = fit_autoencoder(tmp_path, tmp_path / "bundle", tmp_path / "run", options(1))
    card = read_bundle(bundle).component("autoencoder").config
    counted = [int(card[name].split()[0]) for name in ("trained_on", "validated_on")]
    assert sum(counted) == 12
    assert min(counted) > 0


MIRRORED = AutoencoderTraining(mirrored=True)


def test_an_epoch_shows_every_disc_once_and_mirrors_half() -> None:
    cubes = np.zeros((40, 64, 64, 64), dtype=bool)
    cubes[np.arange(40), 0, np.arange(40), 0] = True  # its place along P names the disc, L says mirrored
    epoch = module._Epoch(cubes, 3, MIRRORED)
    assert len(epoch) == 10
    seen = torch.cat(list(epoch))[:, 0]
    assert seen.shape == (40, 64, 64, 64)
    side, disc, _ = torch.nonzero(seen, as_tuple=False)[:, 1:].T
    assert sorted(disc.tolist()) == list(range(40))
    assert 8 <= int((side == 63).sum()) <= 32
    assert set(side.tolist()) == {0, 63}
    again, other = module._Epoch(cubes, 3, MIRRORED), module._Epoch(cubes, 4, MIRRORED)
    assert torch.equal(again[2], epoch[2])
    assert not torch.equal(other[2], epoch[2])
    with pytest.raises(IndexError):
        epoch[10]


def test_cube_sets_shorter_than_a_batch_make_one_batch() -> None:
    few = CubeSet(np.zeros((3, 64, 64, 64), dtype=bool), ("a", "a", "b"))
    epoch = module._Epoch(few.cubes, 0, MIRRORED)
    assert [batch.shape[0] for batch in epoch] == [3]


def test_the_paper_stops_at_enough_on_its_training_discs_and_mirrors_none(tmp_path: Path) -> None:
    paper = AutoencoderTraining()
    assert (paper.dice_weight, paper.batch, paper.validation_part, paper.loop.enough) == (0, 4, 0, 0.995)
    cubes = np.zeros((4, 64, 64, 64), dtype=bool)
    cubes[:, 0] = True
    assert all((batch[:, 0, 0] == 1).all() for batch in module._Epoch(cubes, 0, paper))
    config = replace(options(30), loop=replace(options(30).loop, enough=0.01), validation_part=0.0)
    fit_autoencoder(None, tmp_path / "bundle", tmp_path / "run", config)
    card = read_bundle(tmp_path / "bundle").component("autoencoder").config
    assert card["stopped_by"] == "enough"
    assert card["trained_on"] == card["validated_on"]


def test_latents_come_out_standardised_and_ordered_and_decode_to_the_same(tmp_path: Path) -> None:
    cubes = phantom_cubes(PhantomCubes(discs=12, seed=1)).cubes
    model, result, explained = train_autoencoder(cubes, cubes, tmp_path / "run", options(4))
    latents = model.encode(cubes).latents
    np.testing.assert_allclose(latents.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(np.cov(latents.T), np.eye(3), atol=1e-2)
    assert (np.diff(explained) <= 0).all()
    assert reconstruction_ious(cubes, model).mean() == pytest.approx(result.best_iou, abs=0.01)
