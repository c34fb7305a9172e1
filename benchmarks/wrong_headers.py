"""What becomes of scans whose file says wrongly how they lie, or how large their voxels are.

    python benchmarks/wrong_headers.py --data DATA [--bundle BUNDLE]

Prints Markdown for docs/benchmarks.md. Each real scan is analysed as it is; with its voxels upside down, back
to front and both under the same header; and, every fourth of them, with other voxel sizes in the header. To
be *believed* is to get a report without a flag: right for a scan as it is, and wrong for all others.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from discometry.core.errors import DiscometryError
from discometry.core.volume import Grid, Volume
from discometry.io.bundle import read_bundle
from discometry.io.images import read_image
from discometry.pipeline import Models, analyse_image
from segmentation_scores import head

DOUBTS = ("doubtful_orientation", "unusual_size")
TURNED = {"as it is": (), "upside down": (2,), "back to front": (1,), "both": (1, 2)}
SCALED = {
    "voxels 0.6 as high": (1.0, 1.0, 0.6),
    "voxels 1.5 as high": (1.0, 1.0, 1.5),
    "voxels 1.6 as large": (1.6, 1.6, 1.6),
}


def outcome(image: Volume, models: Models) -> str:
    """Say what became of an image."""
    try:
        discs = analyse_image("scan", image, models).result.discs
    except DiscometryError:
        return "refused"
    flags = [flag for flag in DOUBTS if flag in discs[0].flags]
    return " and ".join(f"`{flag}`" for flag in flags) or "believed"


def scaled(image: Volume, factors: tuple[float, float, float]) -> Volume:
    """Tell another size of the same voxels."""
    affine = image.grid.affine.copy()
    affine[:3, :3] *= factors
    return Volume(Grid(image.grid.shape, affine), image.array)


def main() -> None:
    """Run everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, default=None)
    options = parser.parse_args()
    models = Models(read_bundle(options.bundle))
    patterns = ("fastcleverseg/images_iso/*", "spider/images/*", "vertebrae/*/*_image.nii.gz")
    paths = [path for pattern in patterns for path in sorted(options.data.glob(pattern))]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    odd = []
    for number, path in enumerate(paths):
        image = read_image(path).oriented()
        changed = {name: image.with_array(np.flip(image.array, axes)) for name, axes in TURNED.items()}
        if number % 4 == 0:
            changed |= {name: scaled(image, factors) for name, factors in SCALED.items()}
        for name, volume in changed.items():
            found = outcome(volume, models)
            counts[name][found] += 1
            if (found == "believed") != (name == "as it is"):
                odd.append(f"{path.parent.name}/{path.name}, {name}: {found}")
    columns = sorted({found for row in counts.values() for found in row})
    head(f"{len(paths)} scans | {' | '.join(columns)}")
    for name, row in counts.items():
        print(f"| {name} | {' | '.join(str(row[found]) for found in columns)} |")
    print("\nNot as it should be:", *odd, sep="\n- ")


if __name__ == "__main__":
    main()
