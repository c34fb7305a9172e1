"""Train the segmenter on scans with masks and on phantoms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from discometry.core.anatomy import Tissue
from discometry.core.errors import BundleError, InputError
from discometry.core.scores import iou
from discometry.io.bundle import Component, check_bundle_folder, write_component
from discometry.networks.engine_torch import TorchPredictor
from discometry.networks.runtime import even_window, predict_probabilities
from discometry.networks.segmenter import build_segmenter, load_segmenter, segmenter_component
from discometry.networks.segmenter_config import SegmenterConfig
from discometry.training.loop import LoopConfig, check_devices, fit
from discometry.training.losses import dice_binary_cross_entropy, dice_cross_entropy
from discometry.training.patches import PatchConfig, draw_patch, whole_scan
from discometry.training.scans import (
    IGNORED,
    Scan,
    check_held_out,
    phantom_scans,
    read_scans,
    split_patients,
)

__all__ = ["PRESETS", "SegmenterTraining", "disc_iou", "fit_segmenter", "volume_keeping_cut"]

Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class SegmenterTraining:
    """Options of :func:`fit_segmenter`."""

    network: SegmenterConfig = field(default_factory=SegmenterConfig)
    """What to train."""
    component: Literal["segmenter", "locator"] = "segmenter"
    """Which component of the bundle it becomes."""
    loss: Literal["cross_entropy", "binary_cross_entropy"] = "cross_entropy"
    """What stands beside the Dice loss: one choice among the tissues, or the paper's yes or no for each."""
    loop: LoopConfig = field(
        default_factory=lambda: LoopConfig(
            epochs=60, patience=60, learning_rate=1e-3, weight_decay=1e-4, gradient_clip=1.0
        )
    )
    """How long, how fast and on what."""
    steps_per_epoch: int | None = 100
    """Batches that make one epoch; None: as many as give one patch of every scan."""
    batch: int = 2
    """Patches in a batch; on a CPU one alone is slower than two together (see docs/decisions.md)."""
    phantoms: int = 80
    """Number of phantoms to draw patches from."""
    phantom_share: float = 0.5
    """Part of the patches that come from phantoms; 1 when there are no scans."""
    validation_part: float = 0.1
    """Part of the patients that validate."""
    held_out: tuple[str, ...] = ()
    """Patients that take no part at all, to test on."""

    def __post_init__(self) -> None:
        for name, least in (("steps_per_epoch", 1), ("batch", 1), ("phantoms", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} = {value}", expected=f"at least {least}", action=f"raise {name}")


PRESETS: Mapping[str, SegmenterTraining] = MappingProxyType(
    {
        "fast": SegmenterTraining(),
        "locator": SegmenterTraining(
            component="locator",
            network=SegmenterConfig(
                width=12,
                levels=4,
                first_stride=(2, 2, 2),
                spacing_mm=(4.0, 2.7, 2.7),
                patch=(16, 64, 64),
            ),
            loop=LoopConfig(epochs=30, patience=30, learning_rate=2e-3, weight_decay=1e-4, gradient_clip=1.0),
            batch=4,
        ),
        "paper": SegmenterTraining(
            network=SegmenterConfig(
                architecture="swin_unetr_v2",
                width=12,
                spacing_mm=(1.4, 1.2, 1.5),
                patch=(32, 96, 96),
                view=(32, 96, 96),
            ),
            loss="binary_cross_entropy",
            loop=LoopConfig(epochs=200, patience=15, learning_rate=4e-4, schedule="constant"),
            steps_per_epoch=None,
            batch=4,
            phantoms=0,
            validation_part=0.2,
        ),
    }
)
"""Recipes by name: ``fast`` is the network of the shipped bundle, after a ``locator`` has found the spine;
``paper`` is Perrone et al. 2025, with a width and a learning rate of ours, since the paper names neither."""


def fit_segmenter(
    data: Path | None, bundle: Path, run: Path, config: SegmenterTraining, *, start: Component | None = None
) -> Path:
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
    start
        A trained network of the same build to start from; None starts from random weights.

    Raises
    ------
    InputError
        If there is nothing to train on, the data has not a patient held out, or a device is not here.
    BundleError
        If the network to start from is of another build.
    OutputError
        If the bundle cannot be written.
    """
    check_bundle_folder(bundle)
    check_devices(config.loop)
    network = _first_network(config, start)
    spacing = config.network.spacing_mm
    real = _real_scans(data, config)
    train_real, valid = split_patients(real, part=config.validation_part, seed=config.loop.seed)
    if not (train_real or config.phantoms):
        raise InputError(
            "no scan to train on beside those that validate",
            expected="scans of two patients, or a phantom",
            action="give more patients, or raise the number of phantoms",
        )
    held = 2 if config.phantoms or not real else 0
    drawn = phantom_scans(config.phantoms + held, seed=config.loop.seed, spacing_mm=spacing)
    phantoms, held_phantoms = drawn[: config.phantoms], drawn[config.phantoms :]
    sources = [source for source in (train_real, phantoms) if source]
    validation = [whole_scan(scan, spacing) for scan in [*valid, *held_phantoms]]
    result = fit(
        network,
        training_step=partial(_step, _LOSSES[config.loss]),
        train_batches=lambda epoch: _Epoch(epoch, sources, config),
        validate=lambda model: disc_iou(model, validation, config.network),
        out=run,
        config=config.loop,
        identity=_identity(config, drawn + real, start),
    )
    if not result.is_main:
        return bundle
    cut = volume_keeping_cut(network, [*real, *held_phantoms], config.network)
    component = segmenter_component(
        network,
        replace(config.network, disc_cut=cut),
        name=config.component,
        validation_iou=round(result.best_iou, 4),
        epochs=len(result.history),
        steps=result.history[result.best_epoch].step,
        hours=round(sum(record.seconds for record in result.history) / 3600, 2),
        trained_on=[f"{len(train_real)} scans", f"{len(phantoms)} phantoms"],
        patients=sorted({scan.patient for scan in real}),
        validated_on=[scan.name for scan in validation],
        held_out=list(config.held_out),
    )
    return write_component(bundle, component)


def _real_scans(data: Path | None, config: SegmenterTraining) -> list[Scan]:
    """Read the scans that take part."""
    if data is None:
        check_held_out(config.held_out, ())
        return []
    return read_scans(data, spacing_mm=config.network.spacing_mm, held_out=config.held_out)


def _first_network(config: SegmenterTraining, start: Component | None) -> nn.Module:
    """Build the network, in the layout that is fast on a CPU, with trained weights or the seed's."""
    with torch.random.fork_rng([]):
        torch.manual_seed(config.loop.seed)
        network = build_segmenter(config.network)
    if start is not None:
        trained, found = load_segmenter(start)
        free = {name: getattr(config.network, name) for name in ("patch", "view", "spacing_mm", "disc_cut")}
        if replace(found, **free) != config.network:
            raise BundleError(
                f"a network to start from that is {found}",
                expected=f"one built as {config.network}",
                action="start from a bundle of the same preset, or from none",
            )
        network.load_state_dict(trained.state_dict())
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return network


def _identity(config: SegmenterTraining, scans: Sequence[Scan], start: Component | None) -> dict[str, Any]:
    """Give what must be unchanged when a training goes on: options but the loop's, scans, first weights."""
    options = {name: value for name, value in asdict(config).items() if name != "loop"}
    digest = sha256()
    for scan in scans:
        digest.update(scan.name.encode() + scan.tissue.tobytes())
        digest.update(np.asarray(scan.codes if scan.image is None else scan.image).tobytes())
    for name, tensor in sorted(({} if start is None else start.tensors).items()):
        digest.update(name.encode() + tensor.tobytes())
    return options | {"data_sha256": digest.hexdigest()}


@dataclass(frozen=True, slots=True)
class _Epoch(Sequence[Batch]):
    """The batches of one epoch, each drawn when it is asked for."""

    epoch: int
    sources: list[list[Scan]]
    config: SegmenterTraining

    def __len__(self) -> int:
        steps = self.config.steps_per_epoch
        return steps or math.ceil(sum(map(len, self.sources)) / self.config.batch)

    def __getitem__(self, step: int) -> Batch:  # type: ignore[override]
        rng = np.random.default_rng([self.config.loop.seed, self.epoch, step])
        from_phantom = len(self.sources) == 1 or rng.random() < self.config.phantom_share
        network = self.config.network
        patches = PatchConfig(patch=network.patch, divisor=network.divisor, spacing_mm=network.spacing_mm)
        return _batch(self.sources[-1 if from_phantom else 0], rng, patches, self.config.batch)


def _batch(scans: list[Scan], rng: np.random.Generator, config: PatchConfig, size: int) -> Batch:
    """Draw ``size`` patches and pad them to a common shape, padding ignored.

    None is so thin that a network's lowest level is one voxel deep if its patches need not be: there torch
    2.13 goes backwards through a convolution in bfloat16 on a CPU and corrupts its memory.
    """
    drawn = [draw_patch(scans[int(rng.integers(len(scans)))], rng, config) for _ in range(size)]
    least = np.minimum(2 * np.array(config.divisor), config.patch)
    shape = np.max([least, *(target.shape for _, target in drawn)], axis=0)
    images = np.zeros((size, 1, *shape), dtype=np.float32)
    targets = np.full((size, *shape), IGNORED, dtype=np.int64)
    for number, (image, target) in enumerate(drawn):
        i, j, k = target.shape
        images[number, 0, :i, :j, :k] = image[0]
        targets[number, :i, :j, :k] = target
    batch = torch.from_numpy(images).contiguous(memory_format=torch.channels_last_3d)
    return batch, torch.from_numpy(targets)


_LEAST_CUT = 0.2
"""Disc is called at no less than this share, and at no more than what is left of one."""

_LOSSES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": partial(dice_cross_entropy, dice_weight=0.2),
    "binary_cross_entropy": dice_binary_cross_entropy,
}


def _step(loss: Callable[[Tensor, Tensor], Tensor], network: nn.Module, batch: Batch) -> Tensor:
    images, targets = batch
    return loss(network(images), targets)


def disc_iou(network: nn.Module, scans: list[Scan], config: SegmenterConfig) -> float:
    """Mean IoU of the disc class over whole scans."""
    scores = []
    for scan, probabilities in _predictions(network, scans, config):
        known = scan.tissue != IGNORED
        predicted = (probabilities.argmax(axis=0) == Tissue.DISC) & known
        scores.append(iou(predicted, scan.tissue == Tissue.DISC))
    return float(np.mean(scores))


def volume_keeping_cut(network: nn.Module, scans: list[Scan], config: SegmenterConfig) -> float:
    """Find the ``disc_cut`` at which the discs of some scans have, all together, the volume of their masks.

    Soft Dice, and boundaries that the image does not show, make a network call too much or too little disc.
    """
    shares, truth = [], 0
    whole = (whole_scan(scan, config.spacing_mm) for scan in scans)
    for scan, probabilities in _predictions(network, whole, config):
        known = scan.tissue != IGNORED
        disc = probabilities[Tissue.DISC][known]
        rival = np.delete(probabilities, Tissue.DISC, axis=0).max(axis=0)[known]
        share = disc / (disc + rival)
        shares.append(share[share > _LEAST_CUT])
        truth += int(np.count_nonzero(scan.tissue == Tissue.DISC))
    every = np.sort(np.concatenate(shares))
    if truth >= every.size:
        return _LEAST_CUT
    # Half way between the last voxel that is disc and the first that is not.
    first = every.size - truth
    cut = (every[first - 1] + every[min(first, every.size - 1)]) / 2
    return round(float(np.clip(cut, _LEAST_CUT, 1 - _LEAST_CUT)), 3)


def _predictions(
    network: nn.Module, scans: Iterable[Scan], config: SegmenterConfig
) -> Iterator[tuple[Scan, NDArray[np.float32]]]:
    """Give each scan, already at the network's spacing, with its tissue probabilities."""
    predictor = TorchPredictor(network, str(next(network.parameters()).device))
    for scan in scans:
        assert scan.image is not None  # whole_scan gives even a phantom its intensities
        window = even_window(scan.image.shape, longest=config.view, divisor=config.divisor, overlap=0.0)
        (probabilities,) = predict_probabilities(
            predictor, scan.image[None], window=window, divisor=config.divisor, overlap=0.0
        )
        yield scan, probabilities
