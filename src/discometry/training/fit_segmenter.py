"""Train the segmenter on scans with masks and on phantoms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from discometry.core.anatomy import Tissue
from discometry.core.errors import InputError
from discometry.core.scores import iou
from discometry.io.bundle import check_bundle_folder, write_component
from discometry.networks.runtime import predict_probabilities
from discometry.networks.segmenter import SegmenterConfig, build_segmenter, segmenter_component
from discometry.training.data import (
    IGNORED,
    PatchConfig,
    Scan,
    draw_patch,
    phantom_scans,
    read_scans,
    split_patients,
)
from discometry.training.loop import LoopConfig, fit

__all__ = ["SegmenterTraining", "dice_cross_entropy", "disc_iou", "fit_segmenter"]

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class SegmenterTraining:
    """Options of :func:`fit_segmenter`."""

    network: SegmenterConfig = field(default_factory=SegmenterConfig)
    """What to train."""
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            epochs=40, patience=40, learning_rate=1e-3, weight_decay=1e-4, gradient_clip=1.0
        )
    )
    """How long, how fast and on what."""
    steps_per_epoch: int = 100
    """Batches that make one epoch."""
    batch: int = 2
    """Patches in a batch; on a CPU one alone is slower than two together (see docs/decisions.md)."""
    phantoms: int = 60
    """Number of phantoms to draw patches from."""
    phantom_share: float = 0.5
    """Part of the patches that come from phantoms; 1 when there are no scans."""
    validation_part: float = 0.2
    """Part of the patients that validate."""

    def __post_init__(self) -> None:
        for name, least in (("steps_per_epoch", 1), ("batch", 1), ("phantoms", 0)):
            if getattr(self, name) < least:
                raise InputError(
                    f"{name} = {getattr(self, name)}", expected=f"at least {least}", action=f"raise {name}"
                )


def fit_segmenter(data: Path | None, bundle: Path, run: Path, config: SegmenterTraining) -> Path:
    """Train, keep the weights of best validation disc IoU, and put them into a bundle.

    Parameters
    ----------
    data
        Folder with ``images`` and ``masks``; None for phantoms only.
    bundle
        Bundle folder to create or to update.
    run
        Folder of checkpoints and history; a second call with it goes on where the first stopped.
    config
        All options.

    Raises
    ------
    InputError
        If there is nothing to train on.
    OutputError
        If the bundle cannot be written.
    """
    check_bundle_folder(bundle)
    spacing = config.network.spacing_mm
    real = read_scans(data, spacing_mm=spacing) if data else []
    train_real, valid = split_patients(real, part=config.validation_part, seed=config.loop.seed)
    phantoms = phantom_scans(config.phantoms + 2, seed=config.loop.seed, spacing_mm=spacing)
    phantoms, held_phantoms = phantoms[:-2], phantoms[-2:]
    sources = [source for source in (train_real, phantoms) if source]
    if not sources:
        raise InputError(
            "no scan to train on beside those that validate",
            expected="scans of two patients, or a phantom",
            action="give more patients, or raise the number of phantoms",
        )
    patches = PatchConfig(patch=config.network.patch, divisor=config.network.divisor, spacing_mm=spacing)

    held = [*valid, *_coloured(held_phantoms, config.loop.seed, patches)]
    network = _fresh_network(config)
    result = fit(
        network,
        training_step=_step,
        train_batches=lambda epoch: _Epoch(epoch, sources, patches, config),
        validate=lambda model: disc_iou(model, held, config.network),
        out=run,
        config=config.loop,
        identity=_identity(config, [*real, *phantoms, *held_phantoms]),
    )
    if not result.is_main:
        return bundle
    component = segmenter_component(
        network,
        config.network,
        validation_iou=round(result.best_iou, 4),
        epochs=len(result.history),
        steps=config.steps_per_epoch * (result.best_epoch + 1),
        trained_on=[f"{len(train_real)} scans", f"{len(phantoms)} phantoms"],
        validated_on=[scan.name for scan in held],
    )
    return write_component(bundle, component)


def _fresh_network(config: SegmenterTraining) -> nn.Module:
    """Build the network with weights that follow from the seed, in the layout that is fast on a CPU."""
    with torch.random.fork_rng([]):
        torch.manual_seed(config.loop.seed)
        network = build_segmenter(config.network)
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def _identity(config: SegmenterTraining, scans: Sequence[Scan]) -> dict[str, Any]:
    """Give what must be unchanged when a training is continued: options but the loop's, and the scans."""
    options = {name: value for name, value in asdict(config).items() if name != "loop"}
    digest = sha256()
    for scan in scans:
        digest.update(scan.name.encode() + scan.tissue.tobytes())
        digest.update(np.asarray(scan.structures if scan.image is None else scan.image).tobytes())
    return options | {"scans_sha256": digest.hexdigest()}


@dataclass(frozen=True, slots=True)
class _Epoch(Sequence[Batch]):
    """The batches of one epoch, each drawn when it is asked for."""

    epoch: int
    sources: list[list[Scan]]
    patches: PatchConfig
    config: SegmenterTraining

    def __len__(self) -> int:
        return self.config.steps_per_epoch

    def __getitem__(self, step: int) -> Batch:  # type: ignore[override]
        rng = np.random.default_rng([self.config.loop.seed, self.epoch, step])
        from_phantom = len(self.sources) == 1 or rng.random() < self.config.phantom_share
        return _batch(self.sources[-1 if from_phantom else 0], rng, self.patches, self.config.batch)


def _batch(scans: list[Scan], rng: np.random.Generator, config: PatchConfig, size: int) -> Batch:
    """Draw ``size`` patches and pad them to a common shape, padding ignored."""
    drawn = [draw_patch(scans[int(rng.integers(len(scans)))], rng, config) for _ in range(size)]
    shape = np.max([target.shape for _, target in drawn], axis=0)
    images = np.zeros((size, 1, *shape), dtype=np.float32)
    targets = np.full((size, *shape), IGNORED, dtype=np.int64)
    for number, (image, target) in enumerate(drawn):
        i, j, k = target.shape
        images[number, 0, :i, :j, :k] = image[0]
        targets[number, :i, :j, :k] = target
    batch = torch.from_numpy(images).contiguous(memory_format=torch.channels_last_3d)
    return batch, torch.from_numpy(targets)


def _coloured(phantoms: list[Scan], seed: int, config: PatchConfig) -> list[Scan]:
    """Turn held-out phantoms into images, so that validation sees the same ones each time."""
    whole = replace(config, patch=(64, 128, 160), rotation_deg=(0, 0, 0), scale=(1, 1), disc_share=0)
    coloured = []
    for number, scan in enumerate(phantoms):
        image, target = draw_patch(scan, np.random.default_rng([seed, 7, number]), whole)
        coloured.append(Scan(scan.name, scan.patient, target, image=image[0]))
    return coloured


def _step(network: nn.Module, batch: Batch) -> Tensor:
    images, targets = batch
    return dice_cross_entropy(network(images), targets)


def dice_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Sum of cross-entropy and soft Dice loss over the tissues, equal weights.

    Parameters
    ----------
    logits
        BxCxLxPxS.
    target
        BxLxPxS, int64; :data:`~discometry.training.data.IGNORED` counts in neither.
    """
    known = (target != IGNORED).unsqueeze(1)
    cross_entropy = functional.cross_entropy(logits, target, ignore_index=IGNORED)
    truth = functional.one_hot(target.clamp(max=len(Tissue)), len(Tissue) + 1)[..., :-1].movedim(-1, 1)
    probability = torch.softmax(logits, dim=1) * known
    axes = (0, 2, 3, 4)
    overlap = (probability * truth).sum(axes)
    total = probability.sum(axes) + truth.sum(axes)
    dice = (2 * overlap + 1) / (total + 1)
    return cross_entropy + 1 - dice.mean()


def disc_iou(network: nn.Module, scans: list[Scan], config: SegmenterConfig) -> float:
    """Mean IoU of the disc class over whole scans."""
    device = str(next(network.parameters()).device)
    scores = []
    for scan in scans:
        if scan.image is None:
            continue
        probabilities = predict_probabilities(
            network, scan.image, window=config.patch, divisor=config.divisor, overlap=0.0, device=device
        )
        known = scan.tissue != IGNORED
        predicted = (probabilities.argmax(axis=0) == Tissue.DISC) & known
        scores.append(iou(predicted, scan.tissue == Tissue.DISC))
    return float(np.mean(scores))
