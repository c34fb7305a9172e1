"""Shape features of masks by pyradiomics, which needs a Python of its own; called by benchmarks/geometry.py.

    python benchmarks/pyradiomics_shape.py masks.npz features.json

To install it: pip install "numpy<2" "setuptools<70" wheel versioneer cython scikit-build, then
pip install --no-build-isolation pyradiomics.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from radiomics import __version__
from radiomics.shape import RadiomicsShape

FEATURES = ("MeshVolume", "SurfaceArea", "LeastAxisLength", "MinorAxisLength", "MajorAxisLength")


def main(masks: Path, out: Path) -> None:
    """Measure every mask of an archive; write features and seconds of processor time of each."""
    logging.disable(logging.CRITICAL)
    archive = np.load(masks)
    rows, seconds = [], []
    for number, spacing in enumerate(archive["spacing_mm"]):
        image = sitk.GetImageFromArray(archive[f"mask_{number}"].astype(np.uint8).T)
        image.SetSpacing(spacing.tolist())
        start = time.process_time()
        shape = RadiomicsShape(image, image, label=1)
        shape.disableAllFeatures()
        for name in FEATURES:
            shape.enableFeatureByName(name)
        found = shape.execute()
        seconds.append(time.process_time() - start)
        rows.append({name: float(found[name]) for name in FEATURES})
    out.write_text(json.dumps({"version": __version__, "rows": rows, "seconds": seconds}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
