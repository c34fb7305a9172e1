"""The command line: one frozen dataclass per command, each of whose ``run`` calls one function.

Exit codes: 0 done; 1 some studies of a cohort failed; 2 wrong call or unreadable input, with one line that
says what to do.
"""

from __future__ import annotations

import atexit
import gc
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from discometry.cli_cohort import Cohort
from discometry.cli_reproduce import Reproduce
from discometry.core.errors import DiscometryError
from discometry.fetch import SPIDER_ADDRESS, fetch_spider
from discometry.terminal import progress_bar

if TYPE_CHECKING:
    from discometry.core.records import StudyResult
    from discometry.training.loop import LoopConfig

__all__ = ["Analyse", "Cohort", "Demo", "Explain", "Fetch", "Reproduce", "Train", "main"]


@dataclass(frozen=True, slots=True)
class Analyse:
    """Find and measure every disc of one study."""

    input: tyro.conf.Positional[Path]
    """MRI (MHA, NIfTI, NRRD file or DICOM folder), or a segmentation with --mask."""
    out: Path
    """Folder in which a folder named after the study is made."""
    mask: bool = False
    """INPUT is a segmentation: SPIDER, SPINEPS, TotalSpineSeg, TotalSegmentator or binary."""
    image: Path | None = None
    """With --mask: the MRI on the same grid, for the report's pictures."""
    labels: str | None = None
    """With --mask: label convention, if it should not be recognised from the labels."""
    series: str | None = None
    """Which series of a DICOM folder: its UID or how that begins, its number, or its description."""
    bundle: Path | None = None
    """Folder of models; the shipped ones if left out."""
    device: str = "cpu"
    """Where the networks run: cpu, cuda, .."""
    keep_identifiers: bool = False
    """Write patient and UIDs of a DICOM series to study.json; otherwise no output holds them."""
    json: bool = False
    """Print the result as JSON instead of a table."""

    def run(self) -> int:
        """Analyse the study, write its folder, print its discs."""
        from discometry.study import analyse

        if (self.image or self.labels) and not self.mask:
            raise _wrong_call("--image or --labels without --mask", "--mask beside them")
        if self.series and self.mask and not self.image:
            raise _wrong_call("--series with a mask alone", "--image beside it, or no --series")
        with progress_bar("read") as progress:
            result = analyse(
                self.input,
                out=self.out,
                mask=self.mask,
                image=self.image,
                bundle=self.bundle,
                convention=self.labels,
                series=self.series,
                device=self.device,
                keep_identifiers=self.keep_identifiers,
                progress=progress,
            )
        _print_result(result, self.out, as_json=self.json)
        return 0


@dataclass(frozen=True, slots=True)
class Demo:
    """Make a phantom study and analyse it with the shipped models; needs no data and no network."""

    out: Path = Path("discometry-demo")
    """Folder for the phantom and its result."""
    seed: int = 1
    """Another seed makes another spine."""
    json: bool = False
    """Print the result as JSON instead of a table."""

    def run(self) -> int:
        """Make the phantom, analyse it, print its discs beside nothing but themselves."""
        from discometry.study import analyse, make_phantom_study

        image = make_phantom_study(self.out, seed=self.seed)
        with progress_bar("read") as progress:
            result = analyse(image, out=self.out, progress=progress)
        _print_result(result, self.out, as_json=self.json)
        return 0


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
    """fast: the shipped recipe; locator: the coarse network that runs before it; paper: SwinUNETR-V2."""
    start_from: Path | None = None
    """Bundle whose network of the same preset to start from."""
    held_out: tuple[str, ...] = ()
    """Patients to leave out, to test on."""
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
            raise _wrong_call("DATA phantom", "a folder of masks with radiological_gradings.csv")
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


@dataclass(frozen=True, slots=True)
class Explain:
    """Say what the latents of analysed studies mean: correlations, and discs along each latent."""

    results: tyro.conf.Positional[Path]
    """Folder of result folders, all analysed with the same bundle."""
    out: Path
    """Folder to make."""
    bundle: Path | None = None
    """Folder of models; the shipped ones if left out."""

    def run(self) -> int:
        """Explain, and say where it is."""
        from discometry.explanation import explain_latents

        print(f"explained: {explain_latents(self.results, self.out, bundle=self.bundle)}")  # noqa: T201
        return 0


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetch a public data set, checked and unpacked; the same call again goes on where it ended."""

    dataset: tyro.conf.Positional[Literal["spider"]]
    """spider: lumbar MRI of 218 patients with masks and gradings, from Zenodo (CC BY 4.0)."""
    out: Path = Path("spider")
    """Folder to fill with images, masks and tables."""
    base_address: str = SPIDER_ADDRESS
    """Where the files are served, before /NAME."""
    keep_archives: bool = False
    """Keep the zip files after they were unpacked."""

    def run(self) -> int:
        """Fetch, and say where the data are."""
        with progress_bar("connect", of_bytes=True) as progress:
            fetch_spider(
                self.out,
                base_address=self.base_address,
                keep_archives=self.keep_archives,
                progress=progress,
            )
        print(f"fetched: {self.out}")  # noqa: T201
        return 0


Command = (
    Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Analyse, tyro.conf.subcommand("analyse")]
    | Annotated[Cohort, tyro.conf.subcommand("cohort")]
    | Annotated[Explain, tyro.conf.subcommand("explain")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Fetch, tyro.conf.subcommand("fetch")]
    | Annotated[Reproduce, tyro.conf.subcommand("reproduce")]
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; give its exit code."""
    if arguments is None:
        # A program's modules live until it ends. Looking for garbage among them, and again at the end, finds
        # none and takes half a second of five.
        gc.set_threshold(100_000)
        atexit.register(gc.freeze)
    command = tyro.cli(
        Command,
        prog="discometry",
        description="Geometry, latent shape and narrowing of every lumbar disc. Not a medical device.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes),
    )
    try:
        code: int = command.run()
    except DiscometryError as error:
        print(f"discometry: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return code


def _wrong_call(found: str, expected: str) -> DiscometryError:
    return DiscometryError(found, expected=expected, action="see discometry --help")


def _print_result(result: StudyResult, out: Path, *, as_json: bool) -> None:
    """Print the discs and where the report is: a table for a person, or one JSON object."""
    folder = out / result.study
    if as_json:
        discs = [
            {
                "label": item.disc.label,
                "level": item.disc.level,
                "flags": list(item.flags),
                **{name: _finite(value) for name, value in item.geometry.values().items()},
                "latents": [_finite(value) for value in item.encoding.latents],
                "pose": list(item.encoding.pose),
                "reconstruction_iou": _finite(item.encoding.reconstruction_iou),
                "shape_plausibility": _finite(item.encoding.plausibility),
                "narrowing_probability": _finite(item.narrowing_probability),
            }
            for item in result.discs
        ]
        summary = {"study": result.study, "folder": str(folder), "flags": list(result.flags), "discs": discs}
        print(json.dumps(summary, indent=2, allow_nan=False))  # noqa: T201
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(title=result.study)
    columns = ("level", "height\nmm", "AP\nmm", "lateral\nmm", "wedge\n°", "volume\nmm³", "narrowed", "flags")
    for column in columns:
        table.add_column(column, justify="left" if column in ("level", "flags") else "right", overflow="fold")
    for item in reversed(result.discs):
        shape = item.geometry
        table.add_row(
            item.disc.level,
            _rounded(shape.height_mean_mm, ".1f"),
            _rounded(shape.width_ap_mm, ".1f"),
            _rounded(shape.width_lateral_mm, ".1f"),
            _rounded(shape.wedge_deg, ".1f"),
            _rounded(shape.volume_mm3, ".0f"),
            _rounded(item.narrowing_probability, ".0%"),
            " ".join(item.flags),
        )
    console = Console()
    console.print(table)
    console.print(f"report: {folder / 'report.html'}", soft_wrap=True, highlight=False)


def _rounded(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def _finite(value: float) -> float | None:
    """JSON knows no NaN: a missing number is null."""
    return value if math.isfinite(value) else None


def _loop(command: _NetworkTraining, default: LoopConfig) -> LoopConfig:
    """Put a command's options in place of the model's own."""
    limit = command.time_limit_min
    return replace(
        default,
        epochs=default.epochs if command.epochs is None else command.epochs,
        time_limit_s=None if limit is None else 60 * limit,
        seed=command.seed,
        accelerator=command.accelerator,
        devices=command.devices,
        precision=command.precision,
    )


def _said(bundle: Path) -> int:
    print(f"bundle: {bundle}")  # noqa: T201
    return 0
