"""The command ``discometry reproduce``: the paper's experiment on a cohort."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from discometry.terminal import progress_bar

__all__ = ["Reproduce"]


@dataclass(frozen=True, slots=True)
class Reproduce:
    """Run the paper's experiment on a cohort. The same call again goes on where it was interrupted."""

    data: tyro.conf.Positional[Path]
    """Folder laid out as SPIDER, or a CSV table of study, image, mask, level and gradings."""
    out: Path
    """Folder to make or to go on with; index.html shows the result."""
    protocol: Literal["strict", "paper"] = "strict"
    """strict: everything by patient, with baselines and calibration; paper: as the paper did it."""
    segmenter: Path | None = None
    """Bundle whose segmenter to take; the word "shipped" for the starter, "paper" for SwinUNETR-V2, which
    comes along too. Default: train one."""
    preset: Literal["paper", "fast"] = "paper"
    """Recipe of a segmenter that is trained: SwinUNETR-V2, or the shipped one's."""
    segmenter_epochs: int | None = None
    """Most epochs of a segmenter; the recipe's own if left out."""
    segmenter_minutes: float | None = None
    """End the training of each segmenter after the first epoch that passes this."""
    sequence: str | None = None
    """Which scans, such as t1, t2 or t2_SPACE; default: those of which there are most masks."""
    target: str = "narrowing"
    """Grading to predict: narrowing, bulging, herniation, pfirrmann (4 or more), modic, endplate_upper,
    endplate_lower, spondylolisthesis."""
    autoencoder: Literal["linear", "paper"] = "linear"
    """Shape model of the sweep over bottlenecks: linear (minutes), or the paper's (hours without a GPU)."""
    autoencoder_epochs: int = 1000
    """Most epochs of the paper's autoencoder."""
    folds: int = 5
    """Parts that discs are split into for narrowing."""
    repeats: int = 5
    """Times that they are split anew."""
    seed: int = 0
    """Of every split and training."""

    def run(self) -> int:
        """Run the experiment, print its tables, say where the page is."""
        from discometry.experiment import ExperimentConfig, reproduce
        from discometry.io.bundle import STARTER
        from discometry.training.cross_validation import Folds
        from discometry.training.segmenter_folds import SegmenterBudget

        config = ExperimentConfig(
            protocol=self.protocol,
            segmenter=STARTER if self.segmenter == Path("shipped") else self.segmenter,
            budget=SegmenterBudget(
                preset=self.preset,
                epochs=self.segmenter_epochs,
                minutes=self.segmenter_minutes,
                seed=self.seed,
            ),
            sequence=self.sequence,
            target=self.target,
            autoencoder=self.autoencoder,
            autoencoder_epochs=self.autoencoder_epochs,
            folds=Folds(folds=self.folds, repeats=self.repeats, seed=self.seed),
        )
        with progress_bar("read") as progress:
            page = reproduce(self.data, self.out, config, progress=progress)
        print((page.parent / "tables.md").read_text(encoding="utf-8"))  # noqa: T201
        print(f"page: {page}")  # noqa: T201
        return 0
