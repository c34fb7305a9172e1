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
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from discometry import __version__
from discometry.cli_cohort import Cohort
from discometry.cli_reproduce import Reproduce
from discometry.cli_train import Train
from discometry.core.errors import DiscometryError
from discometry.fetch import SPIDER_ADDRESS, fetch_spider
from discometry.terminal import progress_bar

if TYPE_CHECKING:
    from discometry.core.records import StudyResult

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
    """Folder of models, or "paper" for the paper's SwinUNETR-V2, which comes along. Default: the starter."""
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


@dataclass(frozen=True, slots=True)
class Explain:
    """Say what the latents of analysed studies mean: correlations, and discs along each latent."""

    results: tyro.conf.Positional[Path]
    """Folder of result folders, all analysed with the same bundle."""
    out: Path
    """Folder to make."""
    bundle: Path | None = None
    """Folder of models, or "paper" for the paper's SwinUNETR-V2, which comes along. Default: the starter."""

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
        arguments = sys.argv[1:]
    if list(arguments) == ["--version"]:
        print(f"discometry {__version__}")  # noqa: T201
        return 0
    command = tyro.cli(
        Command,
        prog="discometry",
        description="Geometry, latent shape and narrowing of every lumbar disc. Not a medical device. "
        "--version alone says which release this is.",
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
    # What all discs share is said once, beneath: words as long as these do not fit into a column.
    shared = [flag for flag in result.discs[0].flags if all(flag in item.flags for item in result.discs)]
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
            " ".join(flag for flag in item.flags if flag not in shared),
        )
    console = Console()
    console.print(table)
    if shared:
        console.print(f"every disc: {' '.join(shared)}", soft_wrap=True, highlight=False)
    console.print(f"report: {folder / 'report.html'}", soft_wrap=True, highlight=False)


def _rounded(value: float, form: str) -> str:
    return format(value, form) if math.isfinite(value) else "-"


def _finite(value: float) -> float | None:
    """JSON knows no NaN: a missing number is null."""
    return value if math.isfinite(value) else None
