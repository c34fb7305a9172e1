"""The numbers of the shipped bundle's model card.

    python benchmarks/model_card.py --data DATA

Segmenter: see benchmarks/segmentation.py. Autoencoder: IoU of the reconstruction on manual disc masks of
FastCleverSeg, which no model has seen. Classifier: as cross-validated when it was trained.
95 % intervals by bootstrap over patients.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from discometry.core.scores import bootstrap_interval
from discometry.io.bundle import read_bundle
from discometry.io.images import read_mask
from discometry.pipeline import Models
from discometry.stages.encode import encode
from discometry.stages.separate import separate


def mean_with_interval(values: list[float], groups: list[str]) -> str:
    """Mean and its interval, as text."""
    found = bootstrap_interval(
        lambda sample: float(np.mean(sample)), np.array(values), groups=np.array(groups)
    )
    return f"{found.value:.3f} ({found.low:.3f}-{found.high:.3f})"


def autoencoder(models: Models, masks: Path) -> None:
    """Print the IoU of reconstructions."""
    network = models.autoencoder()
    scores: list[float] = []
    owners: list[str] = []
    for path in sorted(masks.glob("*.nii.gz")):
        for encoding in encode(separate(read_mask(path)).discs, network):
            scores.append(encoding.reconstruction_iou)
            owners.append(path.name)
    latents = models.bundle.component("autoencoder").config["network"]["latents"]
    print(f"- autoencoder, {latents} latents, {len(scores)} manual discs of {len(set(owners))} people:")
    print(f"  IoU {mean_with_interval(scores, owners)}, least {min(scores):.3f}")


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=None)
    options = parser.parse_args()
    models = Models(read_bundle(options.bundle))
    autoencoder(models, options.data / "fastcleverseg" / "masks")
    card = models.bundle.component("classifier").config
    print(
        f"- classifier, {card['trained_on']}, {card['narrowed']} narrowed, patient-grouped cross-validation:"
    )
    for name, scores in card["cross_validation"].items():
        cells = ", ".join(f"{score} {v[0]:.3f} ({v[1]:.3f}-{v[2]:.3f})" for score, v in scores.items())
        print(f"  - {name}: {cells}")


if __name__ == "__main__":
    main()
