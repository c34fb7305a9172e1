from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from discometry.core.anatomy import Tissue
from discometry.io.bundle import read_bundle
from discometry.networks.segmenter import SegmenterConfig, build_segmenter, load_segmenter
from discometry.training.data import IGNORED, Scan
from discometry.training.fit_segmenter import (
    SegmenterTraining,
    dice_cross_entropy,
    disc_iou,
    fit_segmenter,
)
from discometry.training.loop import LoopConfig

COARSE = (4.2, 3.6, 4.5)  # thrice the working voxel: quick
NETWORK = SegmenterConfig(width=4, spacing_mm=COARSE, patch=(16, 32, 32))


def training(epochs: int) -> SegmenterTraining:
    loop = LoopConfig(epochs=epochs, learning_rate=1e-2, schedule="constant", accelerator="cpu")
    return SegmenterTraining(network=NETWORK, loop=loop, steps_per_epoch=4, phantoms=2)


def test_trains_on_phantoms_and_fills_a_bundle(tmp_path: Path) -> None:
    bundle = fit_segmenter(None, tmp_path / "bundle", tmp_path / "run", training(3))
    network, config = load_segmenter(read_bundle(bundle).component("segmenter"))
    assert config == NETWORK
    with (tmp_path / "run" / "history.csv").open() as file:
        losses = [float(row["train_loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert (tmp_path / "run" / "loss.png").stat().st_size > 1000
    logits = network(torch.zeros(1, 1, 16, 32, 32))
    assert logits.shape == (1, 4, 16, 32, 32)


def test_continued_training_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    fit_segmenter(None, tmp_path / "a", tmp_path / "run-a", training(2))
    fit_segmenter(None, tmp_path / "b", tmp_path / "run-b", training(1))
    fit_segmenter(None, tmp_path / "b", tmp_path / "run-b", training(2))
    first, second = (read_bundle(tmp_path / name).component("segmenter") for name in "ab")
    for name, tensor in first.tensors.items():
        np.testing.assert_allclose(second.tensors[name], tensor, atol=2e-3, err_msg=name)  # float16


def test_swin_unetr_v2_learns_a_step() -> None:
    torch.manual_seed(0)
    network = build_segmenter(SegmenterConfig(architecture="swin_unetr_v2", width=12))
    image = torch.randn(1, 1, 32, 32, 64)
    target = torch.randint(0, len(Tissue), (1, 32, 32, 64))
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(4):
        loss = dice_cross_entropy(network(image), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


def test_loss_is_zero_for_a_sure_and_right_answer_and_blind_where_ignored() -> None:
    target = torch.randint(0, len(Tissue), (2, 8, 8, 8), generator=torch.Generator().manual_seed(0))
    sure = 40.0 * nn.functional.one_hot(target, len(Tissue)).movedim(-1, 1).float()
    assert float(dice_cross_entropy(sure, target)) == pytest.approx(0, abs=1e-4)
    hidden = target.clone()
    hidden[0] = IGNORED
    wrong_there = sure.clone()
    wrong_there[0] = torch.randn_like(wrong_there[0])
    assert float(dice_cross_entropy(wrong_there, hidden)) == pytest.approx(0, abs=1e-4)
    assert float(dice_cross_entropy(-sure, target)) > 10


class Answer(nn.Module):
    """Says disc where the image is bright."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, image: Tensor) -> Tensor:
        logits = torch.zeros(image.shape[0], len(Tissue), *image.shape[2:])
        logits[:, Tissue.DISC] = 10 * image[:, 0] * self.scale
        return logits


def test_disc_iou_counts_only_known_voxels() -> None:
    tissue = np.zeros((16, 16, 16), dtype=np.uint8)
    tissue[:, :, :4] = Tissue.DISC
    image = np.where(tissue == Tissue.DISC, 1.0, -1.0).astype(np.float32)
    image[:, :, 4:6] = 1.0  # two slices too many
    scan = Scan("a", "a", tissue, image=image)
    assert disc_iou(Answer(), [scan], NETWORK) == pytest.approx(4 / 6)
    unknown = tissue.copy()
    unknown[:, :, 4:6] = IGNORED
    assert disc_iou(Answer(), [Scan("a", "a", unknown, image=image)], NETWORK) == pytest.approx(1.0)
