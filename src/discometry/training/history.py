"""The history of a training: one record an epoch, as a table, as a picture and as a bar that grows."""

from __future__ import annotations

import contextlib
import csv
import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields

__all__ = ["EpochRecord", "Progress", "epoch_bar", "history_csv", "loss_png"]


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """One finished epoch: a row of ``history.csv``."""

    epoch: int
    """Number of the epoch, from 0."""
    step: int
    """Optimiser steps since the start."""
    train_loss: float
    """Mean loss over the epoch's steps."""
    val_iou: float
    """Validation IoU after the epoch."""
    learning_rate: float
    """Learning rate of the epoch."""
    seconds: float
    """Time of training and validating in the epoch, s."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a training has come: ``step`` batches of epoch ``epoch`` are done."""

    epoch: int = 0
    step: int = 0
    total_steps: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: tuple[EpochRecord, ...] = ()

    @property
    def best(self) -> EpochRecord | None:
        """The first epoch of the highest validation IoU; none before one epoch with a finite IoU."""
        finished = [record for record in self.history if math.isfinite(record.val_iou)]
        return max(finished, key=lambda record: record.val_iou) if finished else None

    @property
    def epochs_without_better(self) -> int:
        """Epochs finished since the best one."""
        return len(self.history) if self.best is None else self.history[-1].epoch - self.best.epoch


def history_csv(history: Sequence[EpochRecord]) -> bytes:
    """Write epochs as CSV text, one row an epoch, UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([item.name for item in fields(EpochRecord)])
    writer.writerows(astuple(record) for record in history)
    return text.getvalue().encode()


def loss_png(history: Sequence[EpochRecord]) -> bytes:
    """Draw training loss and validation IoU over the epochs as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left = figure.subplots()
    right = left.twinx()
    epochs = [record.epoch for record in history]
    left.plot(epochs, [record.train_loss for record in history], color="#0072B2", marker=".")
    right.plot(epochs, [record.val_iou for record in history], color="#D55E00", marker=".", linestyle="--")
    left.set(xlabel="epoch", ylabel="training loss (solid)")
    right.set(ylabel="validation IoU (dashed)", ylim=(0, 1))
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    return picture.getvalue()


@contextlib.contextmanager
def epoch_bar(epochs: int, *, shown: bool) -> Iterator[Callable[[Progress], None]]:
    """Show a progress bar over the epochs, if it is to be shown; give the function that moves it."""
    if not shown:
        yield lambda progress: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("training", total=epochs)

        def advance(progress: Progress) -> None:
            last, best = progress.history[-1], progress.best or progress.history[-1]
            text = f"loss {last.train_loss:.4f}  IoU {last.val_iou:.4f}  best {best.val_iou:.4f}"
            bar.update(task, completed=progress.epoch, description=text)

        yield advance
