"""The command ``discometry train``: each of the three models, into a bundle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from discometry.core.errors import DiscometryError

if TYPE_CHECKING:
    from discometry.training.loop import LoopConfig

__all__ = ["Train"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Training:
    """What the three trainings share."""

    data: tyro.conf.Positional[str]
    """Folder laid out as SPIDER (images, masks, gradings), or the word "phantom" for phantoms alone."""
    out: Path
    """Bundle folder to create or to update."""
    seed: int = 0
    """Seed of every random draw."""

    @property
    def folder(self) -> Path | None:
        """Where the data is; None for phantoms alone."""
        return None if self.data == "phantom" else Path(self.data)


@dataclass(frozen=True, slots=True, kw_only=True)
class _NetworkTraining(_Training):
    """What the trainings of networks share."""

    run_dir: Path | None = None
    """Folder of checkpoints and history; the same call again goes on. Default: OUT-MODEL-run."""
    epochs: int | None = None
    """Most epochs; the model's own default if left out."""
    patience: int | None = None
    """End after so many epochs without a better validation IoU; the model's own default if left out."""
    time_limit_min: float | None = None
    """End after the first epoch that passes this many minutes."""
    accelerator: str = "auto"
    """Lightning Fabric accelerator: auto, cpu, cuda."""
    devices: int = 1
    """How many devices train together."""
    precision: str = "32-true"
    """Lightning Fabric precision: 32-true, bf16-mixed, 16-mixed."""

    def run_folder(self, model: str) -> Path:
        """Where the training keeps its checkpoints."""
        return self.run_dir or self.out.with_name(f"{self.out.name}-{model}-run")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSegmenter(_NetworkTraining):
    """Train the segmenter on scans with masks and on phantoms."""

    preset: Literal["fast", "locator", "paper"] = "fast"
    """fast: the network that is shipped; locator: the coarse one that runs before it; paper: SwinUNETR-V2."""
    start_from: Path | None = None
    """Bundle whose network of the same preset to start from."""
    held_out: tuple[str, ...] = ()
    """Patients to leave out, to test on, as their files are named up to the first underscore."""
    steps_per_epoch: int | None = None
    """Batches that make one epoch; default: the preset's."""
    batch: int | None = None
    """Patches in a batch; default: the preset's."""
    phantoms: int | None = None
    """Number of phantoms to draw patches from; default: the preset's."""

    def run(self) -> int:
        """Train, and say where the bundle is."""
        from discometry.io.bundle import read_bundle
        from discometry.training.fit_segmenter import PRESETS, fit_segmenter

        default = PRESETS[self.preset]
        given = {name: getattr(self, name) for name in ("steps_per_epoch", "batch", "phantoms")}
        config = replace(
            default,
            loop=_loop(self, default.loop),
            held_out=self.held_out,
            **{name: value for name, value in given.items() if value is not None},
        )
        start = read_bundle(self.start_from).component(config.component) if self.start_from else None
        run = self.run_folder(config.component)
        return _said(fit_segmenter(self.folder, self.out, run, config, start=start))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainAutoencoder(_NetworkTraining):
    """Train the model of disc shape on the discs of masks, of phantoms, or of both."""

    preset: Literal["shape", "paper"] = "shape"
    """shape: the linear model of the shipped bundle, ready in minutes, for which the options of time and
    devices mean nothing; paper: the convolutional autoencoder."""
    latents: int | None = None
    """Numbers that a disc is squeezed into; default: 8 for shape, 4 for paper."""
    phantoms: int = 600
    """Phantom discs to train on; with masks, only shape takes them too."""
    validation_part: float | None = None
    """Part of the spines that validates; default: 0.1 for shape; none for paper, whose training discs do."""

    def run(self) -> int:
        """Train, and say where the bundle is."""
        part = self.validation_part
        if self.preset == "shape":
            from discometry.training.fit_linear_shape import ShapeTraining, fit_linear_shape

            shape = ShapeTraining(discs=self.phantoms, seed=self.seed)
            shape = replace(
                shape,
                network=replace(
                    shape.network, latents=shape.network.latents if self.latents is None else self.latents
                ),
                validation_part=shape.validation_part if part is None else part,
            )
            return _said(fit_linear_shape(self.folder, self.out, shape))
        from discometry.training.fit_autoencoder import AutoencoderTraining, fit_autoencoder

        paper = AutoencoderTraining(discs=self.phantoms)
        paper = replace(
            paper,
            network=replace(
                paper.network, latents=paper.network.latents if self.latents is None else self.latents
            ),
            loop=_loop(self, paper.loop),
            validation_part=paper.validation_part if part is None else part,
        )
        return _said(fit_autoencoder(self.folder, self.out, self.run_folder("autoencoder"), paper))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainClassifier(_Training):
    """Train the classifier of disc narrowing on masks with gradings."""

    def run(self) -> int:
        """Train, and say where the bundle is."""
        from discometry.training.cross_validation import Folds
        from discometry.training.fit_classifier import ClassifierTraining, fit_classifier

        if self.folder is None:
            raise DiscometryError(
                "DATA phantom",
                expected="a folder of masks with radiological_gradings.csv",
                action="see discometry --help",
            )
        config = ClassifierTraining(folds=Folds(seed=self.seed))
        return _said(fit_classifier(self.folder, self.out, config))


@dataclass(frozen=True, slots=True)
class Train:
    """Train one of the three models and put it into a bundle."""

    model: (
        Annotated[TrainSegmenter, tyro.conf.subcommand("segmenter")]
        | Annotated[TrainAutoencoder, tyro.conf.subcommand("autoencoder")]
        | Annotated[TrainClassifier, tyro.conf.subcommand("classifier")]
    )

    def run(self) -> int:
        """Train the chosen model."""
        return self.model.run()


def _loop(command: _NetworkTraining, default: LoopConfig) -> LoopConfig:
    """Put a command's options in place of the model's own."""
    limit = command.time_limit_min
    if limit is not None and not limit >= 0:
        raise DiscometryError(
            f"--time-limit-min {limit:g}",
            expected="0 or more minutes",
            action="give more, or leave it out for no limit",
        )
    return replace(
        default,
        epochs=default.epochs if command.epochs is None else command.epochs,
        patience=default.patience if command.patience is None else command.patience,
        time_limit_s=None if limit is None else 60 * limit,
        seed=command.seed,
        accelerator=command.accelerator,
        devices=command.devices,
        precision=command.precision,
    )


def _said(bundle: Path) -> int:
    print(f"bundle: {bundle}")  # noqa: T201
    return 0
