"""Disc height by generic shape features of scikit-image and pyradiomics, on the same masks as ours."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import skimage
from numpy.typing import NDArray
from skimage.measure import marching_cubes, mesh_surface_area, regionprops

from discometry.core.volume import Volume

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Generic:
    """What a library makes of n masks: lengths (n,) that might stand for height, seconds (n,) a mask."""

    library: str
    lengths: Mapping[str, FloatArray]
    seconds: FloatArray
    seconds_with_feret: FloatArray | None = None
    """The same with the largest diameter, the only width there is."""


def by_scikit_image(masks: Sequence[Volume]) -> Generic:
    """Volume, axis lengths and orientation by regionprops, surface by marching cubes."""
    rows, seconds, ferets = [], [], []
    for mask in masks:
        array, spacing = mask.array.astype(np.uint8), mask.grid.spacing_mm
        start = time.process_time()
        found = regionprops(array, spacing=spacing)[0]
        volume, minor, _, _ = (
            found.area,
            found.axis_minor_length,
            found.axis_major_length,
            found.inertia_tensor,
        )
        low, high = found.bbox[2], found.bbox[5]
        vertices, faces, _, _ = marching_cubes(np.pad(array, 1).astype(np.float32), 0.5, spacing=spacing)
        surface = mesh_surface_area(vertices, faces)
        seconds.append(time.process_time() - start)
        start = time.process_time()
        _ = found.feret_diameter_max
        ferets.append(seconds[-1] + time.process_time() - start)
        rows.append((minor, volume / surface, (high - low) * spacing[2]))
    names = ("axis_minor_length", "area / mesh_surface_area", "height of bbox")
    lengths = dict(zip(names, np.array(rows).T, strict=True))
    name = f"scikit-image {skimage.__version__}"
    return Generic(name, lengths, np.array(seconds), np.array(ferets))


def by_pyradiomics(masks: Sequence[Volume], python: str) -> Generic:
    """Mesh volume, surface and axis lengths by pyradiomics, in the Python that has it."""
    script = Path(__file__).with_name("pyradiomics_shape.py")
    with tempfile.TemporaryDirectory() as folder:
        archive, answer = Path(folder) / "masks.npz", Path(folder) / "features.json"
        arrays = {f"mask_{number}": mask.array for number, mask in enumerate(masks)}
        np.savez_compressed(archive, spacing_mm=np.array([mask.grid.spacing_mm for mask in masks]), **arrays)
        subprocess.run([python, str(script), str(archive), str(answer)], check=True)
        found = json.loads(answer.read_text(encoding="utf-8"))
    rows = {name: np.array([row[name] for row in found["rows"]]) for name in found["rows"][0]}
    lengths = {
        "LeastAxisLength": rows["LeastAxisLength"],
        "1 / SurfaceVolumeRatio": rows["MeshVolume"] / rows["SurfaceArea"],
    }
    return Generic(f"pyradiomics {found['version']}", lengths, np.array(found["seconds"]))


def plain_error(length: FloatArray, true: FloatArray) -> float:
    """Mean absolute error of a feature taken for the height as it is."""
    return float(np.abs(length - true).mean())


def scaled_error(length: FloatArray, true: FloatArray) -> tuple[float, float]:
    """Mean absolute error with the scale that makes it least, to be generous, and that scale."""
    order = np.argsort(true / length)
    share = np.cumsum(length[order]) / length.sum()
    scale = float((true / length)[order][np.searchsorted(share, 0.5)])
    return float(np.abs(scale * length - true).mean()), scale
