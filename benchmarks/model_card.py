"""The numbers of the shipped bundle's model card.

    python benchmarks/model_card.py --data DATA

Segmenter: Dice and IoU of the discs (all together, and each found level) on the SPIDER patients that it was
not trained on, on the images' own grid. Autoencoder: IoU of the reconstruction on manual disc masks of
FastCleverSeg, which no model has seen. Classifier: as cross-validated when it was trained.
95 % intervals by bootstrap over patients.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from discometry.core.scores import bootstrap_interval, dice, iou
from discometry.io.bundle import read_bundle
from discometry.io.images import read_image, read_mask
from discometry.pipeline import Models, analyse_image
from discometry.stages.encode import encode
from discometry.stages.measure import measure_mask
from discometry.stages.separate import separate


def mean_with_interval(values: list[float], groups: list[str]) -> str:
    """Mean and its interval, as text."""
    found = bootstrap_interval(
        lambda sample: float(np.mean(sample)), np.array(values), groups=np.array(groups)
    )
    return f"{found.value:.3f} ({found.low:.3f}-{found.high:.3f})"


def segmenter(models: Models, spider: Path) -> None:
    """Print Dice and IoU on the held-out patients."""
    component = models.bundle.component("segmenter")
    held = [name for name in component.config["validated_on"] if not name.startswith("phantom")]
    dices, ious, patients, each, owners, higher = [], [], [], [], [], []
    for name in held:
        truth = read_mask(spider / "masks" / f"{name}.mha")
        result = analyse_image(name, read_image(spider / "images" / f"{name}.mha"), models).result
        found, manual = result.spine.labels.array > 0, truth.array > 200
        dices.append(dice(found, manual))
        ious.append(iou(found, manual))
        patients.append(name)
        for label in np.unique(truth.array[manual]):
            disc = truth.array == label
            # Levels are counted from the lowest disc seen; a disc is scored against what covers it most.
            covering = np.bincount(result.spine.labels.array[disc])
            best = int(covering[1:].argmax()) + 1 if covering[1:].sum() else -1
            each.append(dice(result.spine.labels.array == best, disc) if best > 0 else 0.0)
            owners.append(name)
            if best > 0:
                heights = [
                    measure_mask(volume.with_array(volume.array == value)).height_mean_mm
                    for volume, value in ((result.spine.labels, best), (truth, label))
                ]
                higher.append(heights[0] - heights[1])
    print(f"- segmenter, {len(held)} SPIDER patients not trained on: all discs of a patient together, Dice ")
    print(f"  {mean_with_interval(dices, patients)}, IoU {mean_with_interval(ious, patients)};")
    print(f"  single discs, Dice {mean_with_interval(each, owners)}, least {min(each):.3f}, n = {len(each)};")
    known = np.array(higher)[np.isfinite(higher)]
    shift, spread = known.mean(), known.std(ddof=1)
    print(f"  mean height, found minus manual: {shift:+.2f} mm, SD {spread:.2f}, n = {known.size}")


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
    segmenter(models, options.data / "spider")
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
