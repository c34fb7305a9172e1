from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from discometry.core.anatomy import Tissue
from discometry.core.errors import BundleError, InputError
from discometry.core.phantom import phantom_grid, render_discs, render_mri, sample_phantom
from discometry.io.bundle import read_bundle
from discometry.io.images import write_volume
from discometry.networks.segmenter import build_segmenter, load_segmenter
from discometry.networks.segmenter_config import SegmenterConfig
from discometry.training import fit_segmenter as module
from discometry.training.fit_segmenter import (
    PRESETS,
    SegmenterTraining,
    disc_iou,
    fit_segmenter,
    volume_keeping_cut,
)
from discometry.training.loop import LoopConfig
from discometry.training.losses import dice_binary_cross_entropy
from discometry.training.scans import IGNORED, Scan

COARSE = (4.2, 3.6, 4.5)  # thrice the working voxel: quick
NETWORK = SegmenterConfig(width=4, levels=4, spacing_mm=COARSE, patch=(16, 32, 32))


def training(epochs: int) -> SegmenterTraining:
    loop = LoopConfig(epochs=epochs, learning_rate=1e-2, schedule="constant", accelerator="cpu")
    return SegmenterTraining(network=NETWORK, loop=loop, steps_per_epoch=4, phantoms=2)


def test_trains_on_phantoms_and_fills_a_bundle(tmp_path: Path) -> None:
    bundle = fit_segmenter(None, tmp_path / "bundle", tmp_path / "run", training(3))
    network, config = load_segmenter(read_bundle(bundle).component("segmenter"))
    assert replace(config, disc_cut=0.5) == NETWORK
    assert 0.2 <= config.disc_cut <= 0.8
    with (tmp_path / "run" / "history.csv").open() as file:
        losses = [float(row["train_loss"]) for row in csv.DictReader(file)]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert (tmp_path / "run" / "loss.png").stat().st_size > 1000
    logits = network(torch.zeros(1, 1, 16, 32, 32))
    assert logits.shape == (1, len(Tissue), 16, 32, 32)


def test_continued_training_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    fit_segmenter(None, tmp_path / "a", tmp_path / "run-a", training(2))
    fit_segmenter(None, tmp_path / "b", tmp_path / "run-b", training(1))
    fit_segmenter(None, tmp_path / "b", tmp_path / "run-b", training(2))
    first, second = (read_bundle(tmp_path / name).component("segmenter") for name in "ab")
    for name, tensor in first.tensors.items():
        np.testing.assert_allclose(second.tensors[name], tensor, atol=2e-3, err_msg=name)  # float16


def test_held_out_patients_take_no_part(tmp_path: Path) -> None:
    scans = tmp_path / "scans"
    for kind in ("images", "masks"):
        (scans / kind).mkdir(parents=True)
    for number in range(3):
        phantom = sample_phantom(number, n_discs=5)
        grid = phantom_grid(phantom, spacing_mm=(6.0, 4.0, 4.0))
        write_volume(render_mri(phantom, grid), scans / "images" / f"{number}_t2.nii.gz")
        write_volume(render_discs(phantom, grid), scans / "masks" / f"{number}_t2.nii.gz")
    config = replace(training(1), held_out=("1",), phantoms=0, steps_per_epoch=None)
    card = read_bundle(fit_segmenter(scans, tmp_path / "bundle", tmp_path / "run", config)).component(
        "segmenter"
    )
    assert card.config["trained_on"] == ["1 scans", "0 phantoms"]
    assert card.config["validated_on"] in (["0_t2"], ["2_t2"])
    assert card.config["held_out"] == ["1"]
    assert card.config["steps"] == 1


@pytest.mark.parametrize(
    ("options", "loop", "word"),
    [
        ({"held_out": ("1",)}, {}, "no scan of '1' to hold out"),
        ({"phantoms": 0}, {}, "no scan to train on"),
        ({}, {"accelerator": "nonsense"}, "accelerator 'nonsense'"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_phantoms_are_drawn(
    options: dict[str, object],
    loop: dict[str, str],
    word: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "phantom_scans", None)
    config = replace(training(1), **options)  # type: ignore[arg-type]
    config = replace(config, loop=replace(config.loop, **loop))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=word):
        fit_segmenter(None, tmp_path / "bundle", tmp_path / "run", config)
    assert not any(tmp_path.iterdir())


TWO = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
import test_fit_segmenter as t

if __name__ == "__main__":
    config = t.training(1)
    config = replace(config, loop=replace(config.loop, devices=2), phantoms=1)
    t.fit_segmenter(None, Path("bundle"), Path("run"), config)
"""


def test_two_devices_train_and_validate_together(tmp_path: Path) -> None:
    script = tmp_path / "two.py"
    script.write_text(TWO.format(tests=str(Path(__file__).parent)))
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    card = read_bundle(tmp_path / "bundle").component("segmenter").config
    assert (card["epochs"], card["steps"]) == (1, 2)  # four batches: two each
    assert 0 <= card["validation_iou"] <= 1


def test_starts_from_trained_weights_of_the_same_build_only(tmp_path: Path) -> None:
    first = read_bundle(fit_segmenter(None, tmp_path / "a", tmp_path / "run-a", training(1)))
    start = first.component("segmenter")
    still = replace(training(1), loop=LoopConfig(epochs=1, learning_rate=1e-9, accelerator="cpu"))
    fit_segmenter(None, tmp_path / "b", tmp_path / "run-b", still, start=start)
    again = read_bundle(tmp_path / "b").component("segmenter")
    for name, tensor in start.tensors.items():
        np.testing.assert_allclose(again.tensors[name], tensor, atol=1e-3, err_msg=name)  # float16
    wider = replace(training(1), network=replace(NETWORK, width=6))
    with pytest.raises(BundleError, match="same preset"):
        fit_segmenter(None, tmp_path / "c", tmp_path / "run-c", wider, start=start)


def test_no_batch_leaves_the_lowest_level_one_voxel_deep() -> None:
    """There torch goes backwards in bfloat16 and corrupts its memory."""
    config = replace(PRESETS["fast"], loop=LoopConfig(accelerator="cpu"))
    thin = np.zeros((3, 130, 130), dtype=np.uint8)
    scan = Scan("7_t2", "7", (4.0, 0.9, 0.9), thin, image=np.random.default_rng(0).random(thin.shape))
    images, targets = module._Epoch(0, [[scan]], config)[0]
    assert images.shape[2:] == targets.shape[1:] == (16, 112, 112)
    assert (targets[:, 8:] == IGNORED).all()


def test_presets_are_what_they_say() -> None:
    paper = PRESETS["paper"]
    assert paper.network.architecture == "swin_unetr_v2"
    assert paper.network.spacing_mm == (1.4, 1.2, 1.5)
    assert (paper.batch, paper.loop.epochs, paper.loop.patience, paper.validation_part) == (4, 200, 15, 0.2)
    assert (paper.loss, paper.phantoms) == ("binary_cross_entropy", 0)
    assert PRESETS["locator"].component == "locator"
    for preset in PRESETS.values():
        sides = zip(preset.network.patch, preset.network.divisor, strict=True)
        assert all(side % step == 0 for side, step in sides)


def test_swin_unetr_v2_learns_a_step() -> None:
    torch.manual_seed(0)
    network = build_segmenter(SegmenterConfig(architecture="swin_unetr_v2", width=12))
    image = torch.randn(1, 1, 32, 32, 64)
    target = torch.randint(0, len(Tissue), (1, 32, 32, 64))
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    losses = []
    for _ in range(4):
        loss = dice_binary_cross_entropy(network(image), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]


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
    scan = Scan("a", "a", COARSE, tissue, image=image)
    assert disc_iou(Answer(), [scan], NETWORK) == pytest.approx(4 / 6)
    unknown = tissue.copy()
    unknown[:, :, 4:6] = IGNORED
    assert disc_iou(Answer(), [Scan("a", "a", COARSE, unknown, image=image)], NETWORK) == pytest.approx(1.0)


def test_the_cut_gives_discs_the_volume_of_their_masks() -> None:
    tissue = np.zeros((16, 32, 32), dtype=np.uint8)
    tissue[:, :, :8] = Tissue.DISC
    # Probability falls off across the boundary; at one half the disc is four slices too thick.
    image = np.broadcast_to(np.linspace(0.3, -0.5, 32, dtype=np.float32), tissue.shape).copy()
    scan = Scan("a", "a", COARSE, tissue, image=image)
    cut = volume_keeping_cut(Answer(), [scan], NETWORK)
    share = 1 / (1 + np.exp(-10 * image[0, 0]))
    assert cut == pytest.approx((share[7] + share[8]) / 2, abs=0.06)
    assert (share > cut).sum() == 8
    assert volume_keeping_cut(Answer(), [Scan("a", "a", COARSE, tissue, image=image - 2)], NETWORK) == 0.2
