"""Train the autoencoder on disc cubes of phantoms or of masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from discometry.core.scores import iou
from discometry.io.bundle import check_bundle_folder, write_component
from discometry.networks.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    autoencoder_component,
    build_autoencoder,
    decode,
    encode_cubes,
    load_autoencoder,
)
from discometry.training.disc_cubes import CubeSet, PhantomCubes, cubes_of_masks, phantom_cubes
from discometry.training.loop import FitResult, LoopConfig, fit

__all__ = ["AutoencoderTraining", "fit_autoencoder", "reconstruction_ious", "reconstruction_loss"]

BoolArray = NDArray[np.bool_]

_VALIDATION_SEED = 1_000_003


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderTraining:
    """Options of :func:`fit_autoencoder`."""

    network: AutoencoderConfig = field(default_factory=lambda: AutoencoderConfig(width=16))
    """What to train; half the paper's width, which a CPU trains in minutes."""
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(epochs=30, patience=30, learning_rate=1e-3))
    """How long, how fast and on what."""
    batch: int = 4
    """Discs in a batch."""
    dice_weight: float = 1.0
    """Weight of a soft Dice loss beside the paper's binary cross-entropy; 0 is the paper's loss."""
    discs: int = 600
    """Phantom discs to train on."""
    validation_discs: int = 60
    """Phantom discs to validate on, of other spines."""
    validation_part: float = 0.2
    """Part of the spines that validates when the discs come from masks."""


def fit_autoencoder(
    data: Path | None, bundle: Path, run: Path, config: AutoencoderTraining | None = None
) -> Path:
    """Train, keep the weights of best validation IoU, and put them into a bundle.

    Parameters
    ----------
    data
        Folder of masks, or with a folder ``masks``; None for phantom discs.
    bundle
        Bundle folder to create or to update.
    run
        Folder of checkpoints and history; a second call with it goes on where the first stopped.
    config
        All options.

    Returns
    -------
    The bundle folder.
    """
    config = config or AutoencoderTraining()
    check_bundle_folder(bundle)
    training, held = _discs(data, config)
    network = build_autoencoder(config.network, seed=config.loop.seed)
    identity = {
        "network": asdict(config.network),
        "batch": config.batch,
        "dice_weight": config.dice_weight,
        "discs_sha256": _digest(training.cubes, held.cubes),
    }
    result = fit(
        network,
        lambda model, cubes: reconstruction_loss(model(cubes), cubes, dice_weight=config.dice_weight),
        lambda epoch: _Epoch(training.cubes, epoch, config.loop.seed, config.batch),
        lambda model: _mean_iou(model, held.cubes),
        run,
        config.loop,
        identity=identity,
    )
    if not result.is_main:
        return bundle
    source = "phantom discs" if data is None else "mask discs"
    shipped = load_autoencoder(autoencoder_component(network))
    card = _card(shipped, result, training, held, source)
    return write_component(bundle, autoencoder_component(network, **card))


def reconstruction_loss(logits: Tensor, cubes: Tensor, *, dice_weight: float) -> Tensor:
    """Binary cross-entropy, mean over voxels, plus weighted soft Dice loss, mean over discs; Bx1x64x64x64."""
    loss = functional.binary_cross_entropy_with_logits(logits, cubes)
    if dice_weight == 0:
        return loss
    axes = (1, 2, 3, 4)
    probability = logits.sigmoid()
    total = probability.sum(axes) + cubes.sum(axes)
    dice = (2 * (probability * cubes).sum(axes) + 1) / (total + 1)
    return loss + dice_weight * (1 - dice.mean())


def reconstruction_ious(cubes: BoolArray, autoencoder: Autoencoder) -> NDArray[np.float64]:
    """IoU of each cube, Nx64x64x64, with its reconstruction, the network in evaluation mode."""
    rebuilt = decode(encode_cubes(cubes, autoencoder), autoencoder)
    return np.array([iou(cube, again) for cube, again in zip(cubes, rebuilt, strict=True)])


def _discs(data: Path | None, config: AutoencoderTraining) -> tuple[CubeSet, CubeSet]:
    """Give the discs to train on and those to validate on."""
    seed = config.loop.seed
    if data is not None:
        return cubes_of_masks(data).split(part=config.validation_part, seed=seed)
    training = phantom_cubes(PhantomCubes(discs=config.discs, seed=seed))
    held = PhantomCubes(discs=config.validation_discs, seed=seed + _VALIDATION_SEED, shift_mm=0.0)
    return training, phantom_cubes(held)


class _Epoch(Sequence[Tensor]):
    """The batches of one epoch, made when asked for: cubes shuffled, half of them mirrored left to right."""

    def __init__(self, cubes: BoolArray, epoch: int, seed: int, batch: int) -> None:
        rng = np.random.default_rng([seed, epoch, 0xAE])
        self.cubes, self.batch = cubes, min(batch, len(cubes))
        self.order = rng.permutation(len(cubes))
        self.mirrored = rng.random(len(cubes)) < 0.5

    def __len__(self) -> int:
        return len(self.order) // self.batch

    def __getitem__(self, index: int) -> Tensor:  # type: ignore[override]
        if not 0 <= index < len(self):
            raise IndexError(index)
        chosen = self.order[index * self.batch : (index + 1) * self.batch]
        cubes = [self.cubes[n][::-1] if self.mirrored[n] else self.cubes[n] for n in chosen]
        return torch.from_numpy(np.stack(cubes).astype(np.float32)).unsqueeze(1)


def _mean_iou(network: nn.Module, cubes: BoolArray) -> float:
    device = next(network.parameters()).device
    scores = []
    for part in torch.split(torch.from_numpy(cubes).unsqueeze(1), 8):
        rebuilt = (network(part.to(device, torch.float32)) > 0).cpu()
        scores += [iou(a, b) for a, b in zip(part.numpy(), rebuilt.numpy(), strict=True)]
    return float(np.mean(scores))


def _card(
    network: Autoencoder, result: FitResult, training: CubeSet, held: CubeSet, source: str
) -> dict[str, object]:
    """Describe the training for the bundle, with the spread of the latents over the training discs."""
    ious = reconstruction_ious(held.cubes, network)
    latents = encode_cubes(training.cubes, network)
    low, mid, high = np.quantile(ious, (0.05, 0.5, 0.95))
    return {
        "trained_on": f"{len(training.spines)} {source} of {len(set(training.spines))} spines",
        "validated_on": f"{len(held.spines)} {source} of {len(set(held.spines))} other spines",
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "validation_iou": round(float(ious.mean()), 4),
        "validation_iou_quantiles": [round(float(value), 4) for value in (low, mid, high)],
        "latents": {
            "mean": [round(float(value), 5) for value in latents.mean(axis=0)],
            "sd": [round(float(value), 5) for value in latents.std(axis=0)],
            "low": [round(float(value), 5) for value in latents.min(axis=0)],
            "high": [round(float(value), 5) for value in latents.max(axis=0)],
        },
    }


def _digest(*arrays: BoolArray) -> str:
    found = sha256()
    for array in arrays:
        found.update(np.packbits(array).tobytes())
    return found.hexdigest()
