"""The numbers of the shipped bundle's model card.

    python benchmarks/model_card.py --data DATA

Segmenter: see benchmarks/segmentation.py. Shape: IoU of the reconstruction on manual disc masks of
FastCleverSeg, which no model has seen, beside principal components of the same training shapes. Classifier:
as cross-validated when it was trained.
95 % intervals by bootstrap over patients.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from discometry.core.scores import bootstrap_interval
from discometry.io.bundle import read_bundle
from discometry.networks.linear_shape import ShapeConfig
from discometry.pipeline import Models
from discometry.training.disc_cubes import CubeSet, PhantomCubes, cubes_of_masks, phantom_cubes
from discometry.training.fit_linear_shape import ShapeTraining, train_linear_shape
from discometry.training.shape_card import reconstruction_ious

PHANTOMS = 600
"""As many as the shipped model was trained on."""


def mean_with_interval(values: list[float], groups: list[str]) -> str:
    """Mean and its interval, as text."""
    found = bootstrap_interval(
        lambda sample: float(np.mean(sample)), np.array(values), groups=np.array(groups)
    )
    return f"{found.value:.3f} ({found.low:.3f}-{found.high:.3f})"


def value_with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """Write a score of a bundle as text; one without a value has none."""
    return "none" if value is None else f"{value:.3f} ({low:.3f}-{high:.3f})"


def shape(models: Models, data: Path) -> None:
    """Print the IoU of reconstructions, beside principal components of the same training shapes."""
    component = models.bundle.component("autoencoder")
    discs = cubes_of_masks(data / "fastcleverseg" / "masks")
    training = CubeSet.together(
        cubes_of_masks(data / "spider" / "masks_full"), phantom_cubes(PhantomCubes(discs=PHANTOMS))
    )
    training, _ = training.split(part=ShapeTraining().validation_part, seed=0)
    latents = component.config["network"]["latents"]
    print(f"- shape, {latents} latents, {component.config['trained_on']};")
    print(f"  on {len(discs.cubes)} manual discs of {len(set(discs.spines))} people never seen:")
    coders = {"shipped": models.shape_coder()}
    for name, pose in (("PCA in its own pose", "rigid"), ("PCA as it lies", "none")):
        config = ShapeConfig(latents=latents, pose=pose, sizes=False, fitted=False)  # type: ignore[arg-type]
        coders[f"{name}, same training shapes"] = train_linear_shape(training.cubes, config)[0]
    for name, coder in coders.items():
        scores = reconstruction_ious(discs.cubes, coder)
        told = mean_with_interval(scores.tolist(), list(discs.spines))
        print(f"  - {name}: IoU {told}, least {scores.min():.3f}")


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=None)
    options = parser.parse_args()
    models = Models(read_bundle(options.bundle))
    shape(models, options.data)
    card = models.bundle.component("classifier").config
    print(f"- classifier of {card['target']}, {card['trained_on']}, {card['positive']} of them positive;")
    print("  mean of five five-fold cross-validations by patient:")
    for name, scores in card["cross_validation"].items():
        cells = ", ".join(f"{score} {value_with_interval(*values)}" for score, values in scores.items())
        print(f"  - {name}: {cells}")


if __name__ == "__main__":
    main()
