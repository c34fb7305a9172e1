"""The training loop that every network shares: devices, checkpoints, resuming, early stopping, history.

A training lives in one folder: ``history.csv``, ``loss.png``, ``best.safetensors`` (the network of the
highest validation IoU), and ``state.json`` with a checkpoint. Killed at any moment and called again, it goes
on from the checkpoint and ends with the same weights as a run that was left alone.
"""

from __future__ import annotations

import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from discometry.core.errors import DiscometryError, InputError, OutputError
from discometry.training.checkpoint import (
    read_checkpoint,
    read_weights,
    write_atomically,
    write_checkpoint,
    write_weights,
)
from discometry.training.history import EpochRecord, Progress, epoch_bar, history_csv, loss_png

__all__ = ["EpochRecord", "FitResult", "LoopConfig", "check_devices", "fit"]

Batch = TypeVar("Batch")
Stop = Literal["epochs", "patience", "time", "enough"]

_log = logging.getLogger(__name__)

_PRECISIONS = ("32-true", "16-mixed", "bf16-mixed")

_FREE = ("epochs", "patience", "enough", "accelerator", "checkpoint_every_s", "time_limit_s")
"""Options that may differ when a training is continued."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopConfig:
    """Options of the training loop."""

    epochs: int = 200
    """Most epochs to train."""
    patience: int = 15
    """Stop after this many epochs without a better validation IoU."""
    enough: float | None = None
    """Stop at a validation IoU above this; none: never."""
    learning_rate: float = 1e-3
    """Learning rate at the start."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Keep the learning rate, or lower it to zero along half a cosine over ``epochs``."""
    weight_decay: float = 0.0
    """Decoupled weight decay: Adam at 0, AdamW above."""
    gradient_clip: float | None = None
    """Largest norm of the gradient; none: not clipped."""
    seed: int = 0
    """Every random draw follows from this, the epoch and the step."""
    accelerator: str = "auto"
    """Lightning Fabric accelerator: ``auto``, ``cpu``, ``cuda``, ``mps``."""
    devices: int = 1
    """Number of devices; each takes its share of every epoch's batches."""
    precision: str = "32-true"
    """Lightning Fabric precision: ``32-true``, ``16-mixed``, ``bf16-mixed``."""
    checkpoint_every_s: float = 300.0
    """Write a checkpoint at the end of every epoch, and whenever the last one is older than this, s."""
    time_limit_s: float | None = None
    """End after the first epoch that passes this much training time over all calls, s."""

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("patience", 1), ("devices", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise InputError(
                    f"{name} = {getattr(self, name)}", expected=f"at least {least}", action=f"raise {name}"
                )
        if not (self.learning_rate > 0 and math.isfinite(self.learning_rate)):
            raise InputError(
                f"learning_rate = {self.learning_rate}",
                expected="a number above zero",
                action="try 1e-3",
            )
        if self.precision not in _PRECISIONS:
            raise InputError(
                f"precision = {self.precision!r}",
                expected=f"one of {', '.join(_PRECISIONS)}",
                action="choose one of these",
            )
        if self.time_limit_s is not None and not self.time_limit_s >= 0:
            raise InputError(
                f"time_limit_s = {self.time_limit_s}", expected="at least 0", action="raise time_limit_s"
            )

    def learning_rate_at(self, epoch: int) -> float:
        """Learning rate of an epoch."""
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * min(epoch / self.epochs, 1.0)))


@dataclass(frozen=True, slots=True)
class FitResult:
    """What a training came to."""

    history: tuple[EpochRecord, ...]
    """Every finished epoch."""
    best_epoch: int
    """Epoch whose weights were kept."""
    best_iou: float
    """Its validation IoU."""
    best: Path
    """Its weights, safetensors."""
    stopped_by: Stop
    """Why the training ended."""
    is_main: bool = True
    """Whether this process writes files; with several devices all but one do not."""


def fit(
    model: nn.Module,
    training_step: Callable[[nn.Module, Batch], Tensor],
    train_batches: Callable[[int], Iterable[Batch]],
    validate: Callable[[nn.Module], float],
    out: Path,
    config: LoopConfig | None = None,
    *,
    on_epoch: Callable[[EpochRecord], None] | None = None,
    identity: Mapping[str, Any] | None = None,
) -> FitResult:
    """Train a network, or continue the training that ``out`` holds.

    Parameters
    ----------
    model
        The network, already initialised; it ends on the CPU in evaluation mode,
        with the best epoch's weights.
    training_step
        Gives the loss of one batch. It calls the network only as ``model(...)``, never another method.
    train_batches
        Gives the batches of an epoch (tensors, or tuples and dicts of them), the same whenever the same
        epoch is asked for. From a sequence only the batches needed are taken, so that resuming and several
        devices cost nothing; another iterable is read through.
    validate
        Gives the validation IoU of the network itself, which is in evaluation mode and in the precision of
        its weights; gradients are off.
    out
        Folder of the training, made where absent.
    config
        Options of the loop.
    on_epoch
        Called after each epoch.
    identity
        What else must be unchanged when the training is continued (data, network); plain JSON values.

    Raises
    ------
    OutputError
        If ``out`` cannot be written or holds another training.
    DiscometryError
        If the loss is no longer finite.
    """
    config = config or LoopConfig()
    fabric = _fabric(config)
    _make_folder(out)
    fabric.launch()
    run = _Run(fabric, model, out, config, dict(identity or {}))
    devices = [fabric.device.index or 0] if fabric.device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices),
        epoch_bar(config.epochs, shown=fabric.is_global_zero and sys.stderr.isatty()) as advance,
    ):
        progress = run.resume()
        while (reason := _stop_reason(progress, config)) is None:
            progress = run.epoch(progress, training_step, train_batches, validate)
            record = progress.history[-1]
            _log.info("epoch %d: loss %.4f, val IoU %.4f", record.epoch, record.train_loss, record.val_iou)
            advance(progress)
            if on_epoch is not None:
                on_epoch(record)
    return run.finish(progress, reason)


class _Run:
    """One training on one process: the wrapped network and optimiser, and where they are kept."""

    def __init__(
        self, fabric: Fabric, model: nn.Module, out: Path, config: LoopConfig, identity: dict[str, Any]
    ) -> None:
        self.fabric, self.plain, self.out, self.config = fabric, model, out, config
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )
        self.model, self.optimizer = fabric.setup(model, optimizer)
        options = {key: value for key, value in asdict(config).items() if key not in _FREE}
        self.recipe = options | identity
        self.saved_at = self.drawn_at = time.monotonic()

    @property
    def best(self) -> Path:
        return self.out / "best.safetensors"

    def resume(self) -> Progress:
        found = read_checkpoint(self.out, module=self.plain, optimizer=self.optimizer, recipe=self.recipe)
        if found is None:
            return Progress()
        progress, scaler = found
        if scaler:
            self.fabric.strategy.precision.load_state_dict(scaler)
        _log.info("continuing at epoch %d, step %d", progress.epoch, progress.step)
        return progress

    def save(self, progress: Progress) -> None:
        if self.fabric.is_global_zero:
            write_checkpoint(
                self.out,
                progress,
                module=self.plain,
                optimizer=self.optimizer,
                scaler=self.fabric.strategy.precision.state_dict(),
                recipe=self.recipe,
            )
        self.saved_at = time.monotonic()

    def epoch(
        self,
        progress: Progress,
        training_step: Callable[[nn.Module, Batch], Tensor],
        train_batches: Callable[[int], Iterable[Batch]],
        validate: Callable[[nn.Module], float],
    ) -> Progress:
        """Finish the epoch that ``progress`` stands in."""
        clock = time.monotonic() - progress.seconds
        rate = self.config.learning_rate_at(progress.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        self._seed(progress.epoch, 0)
        for batch in self._share(train_batches(progress.epoch), progress):
            loss = self._step(training_step, batch, progress)
            progress = replace(
                progress,
                step=progress.step + 1,
                total_steps=progress.total_steps + 1,
                loss_sum=progress.loss_sum + loss,
                seconds=time.monotonic() - clock,
            )
            if time.monotonic() - self.saved_at >= self.config.checkpoint_every_s:
                self.save(progress)
        if progress.step == 0:
            raise InputError(
                "an epoch without a batch", expected="at least one batch a device", action="give more data"
            )
        return self._close(progress, self._validate(validate), rate, clock)

    def _step(
        self, training_step: Callable[[nn.Module, Batch], Tensor], batch: Batch, progress: Progress
    ) -> float:
        loss = training_step(self.model, self.fabric.to_device(batch))
        value = float(self.fabric.all_reduce(loss.detach()))  # type: ignore[arg-type]
        if not math.isfinite(value):
            raise DiscometryError(
                f"a loss of {value} in epoch {progress.epoch}, step {progress.step}",
                expected="a finite number",
                action="check the data, or lower the learning rate in a new folder",
            )
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        if self.config.gradient_clip is not None:
            self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.config.gradient_clip)
        self.optimizer.step()
        return value

    def _validate(self, validate: Callable[[nn.Module], float]) -> float:
        self.model.eval()
        # Not the wrapped network, which with several devices cannot be copied.
        with torch.no_grad():
            value = float(validate(self.plain))
        return float(self.fabric.broadcast(value))

    def _close(self, progress: Progress, val_iou: float, rate: float, clock: float) -> Progress:
        """Record a finished epoch; everything of it is on disk before the checkpoint says so."""
        record = EpochRecord(
            epoch=progress.epoch,
            step=progress.total_steps,
            train_loss=progress.loss_sum / progress.step,
            val_iou=val_iou,
            learning_rate=rate,
            seconds=time.monotonic() - clock,
        )
        progress = Progress(
            epoch=progress.epoch + 1,
            total_steps=progress.total_steps,
            history=(*progress.history, record),
        )
        if self.fabric.is_global_zero:
            if progress.best in (record, None):
                write_weights(self.best, self.plain)
            write_atomically(self.out / "history.csv", history_csv(progress.history))
            if time.monotonic() - self.drawn_at > 60:
                self._draw(progress)
        self.save(progress)
        self.fabric.barrier()
        return progress

    def _draw(self, progress: Progress) -> None:
        write_atomically(self.out / "loss.png", loss_png(progress.history))
        self.drawn_at = time.monotonic()

    def finish(self, progress: Progress, reason: Stop) -> FitResult:
        if self.fabric.is_global_zero:
            self._draw(progress)
        read_weights(self.best, self.plain)
        self.plain.cpu().eval()
        best = progress.best or progress.history[-1]
        return FitResult(
            progress.history, best.epoch, best.val_iou, self.best, reason, self.fabric.is_global_zero
        )

    def _share(self, batches: Iterable[Batch], progress: Progress) -> Iterator[Batch]:
        """Give this device's batches still to do: of each group of as many batches as devices, its own one.

        A last group that is not full is left out, so that all devices make the same number of steps.
        """
        world, rank = self.fabric.world_size, self.fabric.global_rank
        if isinstance(batches, Sequence):
            for step in range(progress.step, len(batches) // world):
                self._seed(progress.epoch, step)
                yield batches[step * world + rank]
            return
        source = iter(batches)
        for step in range(sys.maxsize):
            self._seed(progress.epoch, step)
            group = [batch for _, batch in zip(range(world), source, strict=False)]
            if len(group) < world:
                return
            if step >= progress.step:
                yield group[rank]

    def _seed(self, epoch: int, step: int) -> None:
        entropy = (self.config.seed, epoch, step, self.fabric.global_rank)
        torch.manual_seed(
            int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
        )


def _stop_reason(progress: Progress, config: LoopConfig) -> Stop | None:
    if progress.epoch >= config.epochs:
        return "epochs"
    if config.enough is not None and progress.best and progress.best.val_iou > config.enough:
        return "enough"
    if progress.epochs_without_better >= config.patience:
        return "patience"
    spent = sum(record.seconds for record in progress.history)
    if progress.history and config.time_limit_s is not None and spent >= config.time_limit_s:
        return "time"
    return None


def check_devices(config: LoopConfig) -> None:
    """Refuse devices that are not here, before work is done for them.

    Raises
    ------
    InputError
        If there is no such accelerator, or fewer devices of it.
    """
    _fabric(config)


def _fabric(config: LoopConfig) -> Fabric:
    try:
        return Fabric(
            accelerator=config.accelerator,
            devices=config.devices,
            precision=config.precision,  # type: ignore[arg-type]
        )
    except (ValueError, RuntimeError, NotImplementedError, ImportError, MisconfigurationException) as error:
        raise InputError(
            f"accelerator {config.accelerator!r} with {config.devices} device(s)",
            expected="auto, cpu, or as many devices as are here",
            action="choose another, or fewer",
        ) from error


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{out}: {error.strerror}", expected="a folder that can be made", action="choose another place"
        ) from error
