"""Train the convolutional autoencoder on disc cubes of phantoms or of masks."""

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
    ConvolutionalShape,
    build_autoencoder,
    convolutional_component,
    load_convolutional,
)
from discometry.training.disc_cubes import PhantomCubes, cubes_of_masks, phantom_cubes
from discometry.training.latent_order import order_latents, radius_quantiles
from discometry.training.loop import FitResult, LoopConfig, check_devices, fit
from discometry.training.shape_card import shape_card

__all__ = ["AutoencoderTraining", "fit_autoencoder", "reconstruction_loss", "train_autoencoder"]

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderTraining:
    """Options of :func:`fit_autoencoder`; the defaults are the paper's, but for the output's first bias."""

    network: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    """What to train."""
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            epochs=1000, patience=1000, learning_rate=1e-3, schedule="constant", enough=0.995
        )
    )
    """How long, how fast and on what."""
    batch: int = 4
    """Discs in a batch."""
    dice_weight: float = 0.0
    """Weight of a soft Dice loss beside the binary cross-entropy."""
    mirrored: bool = False
    """Show half of the discs mirrored left-right."""
    discs: int = 600
    """Phantom discs to train on, where there are no masks."""
    validation_part: float = 0.0
    """Part of the spines that validates; at 0 the training discs do, as in the paper, and ``enough`` is a
    measure of memory."""


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
    check_devices(config.loop)
    seed = config.loop.seed
    discs = (
        phantom_cubes(PhantomCubes(discs=config.discs, seed=seed)) if data is None else cubes_of_masks(data)
    )
    training = held = discs
    if config.validation_part:
        training, held = discs.split(part=config.validation_part, seed=seed)
    model, result, explained = train_autoencoder(training.cubes, held.cubes, run, config)
    if not result.is_main:
        return bundle
    shipped = load_convolutional(convolutional_component(model))
    card = shape_card(shipped, training, held, explained) | {
        "epochs": len(result.history),
        "best_epoch": result.best_epoch,
        "stopped_by": result.stopped_by,
    }
    return write_component(bundle, convolutional_component(model, **card))


def train_autoencoder(
    cubes: BoolArray, held: BoolArray, run: Path, config: AutoencoderTraining
) -> tuple[ConvolutionalShape, FitResult, NDArray[np.float64]]:
    """Train on cubes, Nx64x64x64, keep the epoch of the best IoU on those held, and order the latents.

    Returns the model, how its training went, and the share of the boundary's variance that each latent
    explains.
    """
    network = build_autoencoder(config.network, seed=config.loop.seed)
    options = {name: value for name, value in asdict(config).items() if name != "loop"}
    result = fit(
        network,
        lambda model, batch: reconstruction_loss(model(batch), batch, dice_weight=config.dice_weight),
        lambda epoch: _Epoch(cubes, epoch, config),
        lambda model: _mean_iou(model, held),
        run,
        config.loop,
        identity=options | {"discs_sha256": _digest(cubes, held)},
    )
    explained = _standardise(network, cubes)
    plain = ConvolutionalShape(network, np.zeros(1))
    return (
        ConvolutionalShape(network, radius_quantiles(plain.encode(cubes).latents)),
        result,
        explained,
    )


def _standardise(network: Autoencoder, cubes: BoolArray) -> NDArray[np.float64]:
    """Write the standard form of the latents into the two linear layers around them."""
    latents = ConvolutionalShape(network, np.zeros(1)).encode(cubes).latents
    middle, spread = latents.mean(axis=0), np.maximum(latents.std(axis=0), 1e-9)
    ends = np.concatenate([middle + np.diag(spread), middle - np.diag(spread)])
    with torch.no_grad():
        weight = network.to_latents.weight
        shown = network.decode(torch.from_numpy(ends).to(weight)).sigmoid().flatten(1).cpu().double().numpy()
        moves = (shown[: len(spread)] - shown[len(spread) :]).T / (2 * spread)
        order = order_latents(latents, moves)
        forward, back, mean = (
            torch.from_numpy(value).to(weight) for value in (order.forward, order.back, order.mean)
        )
        inward, outward = network.to_latents, network.from_latents
        inward.bias.copy_(forward @ (inward.bias - mean))
        inward.weight.copy_(forward @ inward.weight)
        outward.bias.copy_(outward.bias + outward.weight @ mean)
        outward.weight.copy_(outward.weight @ back)
    return order.explained


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


class _Epoch(Sequence[Tensor]):
    """The batches of one epoch, made when asked for: cubes shuffled, and mirrored if so wanted."""

    def __init__(self, cubes: BoolArray, epoch: int, config: AutoencoderTraining) -> None:
        rng = np.random.default_rng([config.loop.seed, epoch, 0xAE])
        self.cubes, self.batch = cubes, min(config.batch, len(cubes))
        self.order = rng.permutation(len(cubes))
        self.mirrored = (rng.random(len(cubes)) < 0.5) & config.mirrored

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


def _digest(*arrays: BoolArray) -> str:
    found = sha256()
    for array in arrays:
        found.update(np.packbits(array).tobytes())
    return found.hexdigest()
