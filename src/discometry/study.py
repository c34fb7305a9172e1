"""One study from file to result folder: read, analyse, write, report."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from discometry.core.anatomy import label_of_level
from discometry.core.beside import beside
from discometry.core.errors import InputError
from discometry.core.records import StudyResult
from discometry.core.volume import Volume
from discometry.io.bundle import read_bundle
from discometry.io.dicom import Series, choose_series, identifiers_of, read_slices
from discometry.io.images import (
    check_image,
    check_mask,
    check_no_labels,
    check_same_grid,
    read_image,
    read_mask,
    write_volume,
)
from discometry.io.results import Manifest, check_output, write_study
from discometry.io.study_input import StudyInput
from discometry.pipeline import Analysis, Models, Progress, analyse_image, analyse_mask
from discometry.report.page import write_report

__all__ = ["analyse", "analyse_study", "make_phantom_study", "open_models"]

_REPORTED_VERSIONS = (
    "discometry",
    "torch",
    "openvino",
    "monai",
    "SimpleITK",
    "numpy",
    "scipy",
    "xgboost-cpu",
)


def analyse(
    source: str | Path,
    *,
    out: str | Path | None = None,
    mask: bool = False,
    image: str | Path | None = None,
    bundle: str | Path | None = None,
    convention: str | None = None,
    series: str | None = None,
    device: str = "cpu",
    keep_identifiers: bool = False,
    progress: Progress | None = None,
) -> StudyResult:
    """Analyse one study, and write its result folder and report if asked.

    Parameters
    ----------
    source
        MRI as MHA, NIfTI or NRRD file or DICOM folder; with ``mask``, a segmentation.
    out
        Folder in which ``<study>/`` is made; None writes nothing.
    mask
        Whether ``source`` is a segmentation in a known label convention.
    image
        The MRI on the grid of a mask, for the report's pictures.
    bundle
        Folder of models, or ``"paper"`` for the paper's SwinUNETR-V2, which comes along; None takes the
        starter.
    convention
        Label convention of a mask; None recognises it from the labels.
    series
        Which series of a DICOM folder: its UID or how that begins, its number, or its description.
    device
        Where the segmenter runs, as torch names it.
    keep_identifiers
        Write patient and UIDs of a DICOM series to ``study.json``; otherwise no output holds them.
    progress
        Called with the name of a stage, how much of it is done, and how much there is.

    Returns
    -------
    StudyResult
        The discs from the lowest up.

    Raises
    ------
    DiscometryError
        If the input, the bundle or the output folder cannot be used; nothing is left half-written.
    """
    what = StudyInput(
        source=Path(source),
        mask=mask,
        image=None if image is None else Path(image),
        convention=convention,
        series=series,
    )
    folder = None if out is None else Path(out)
    if folder is not None:
        check_output(folder, what.study)
    models = open_models(bundle, device, mask=mask)
    return analyse_study(what, models, out=folder, keep_identifiers=keep_identifiers, progress=progress)


def analyse_study(
    what: StudyInput,
    models: Models,
    *,
    out: Path | None = None,
    options: Mapping[str, Any] = MappingProxyType({}),
    keep_identifiers: bool = False,
    finish: Callable[[Path], object] = write_report,
    progress: Progress | None = None,
) -> StudyResult:
    """Analyse one study with models that are open already; the rest is as in :func:`analyse`.

    Parameters
    ----------
    what
        The study.
    models
        Of :func:`open_models`.
    out
        Folder in which ``<study>/`` is made; None writes nothing.
    options
        More for the manifest to name.
    keep_identifiers
        As in :func:`analyse`.
    finish
        Completes the folder while it still has a hidden name.
    progress
        As in :func:`analyse`.

    Raises
    ------
    DiscometryError
        If the input or the output folder cannot be used; nothing is left half-written.
    """
    if out is not None:
        check_output(out, what.study)
    if progress is not None:
        progress("read", 0, 1)
    if what.mask:
        labels = _read_labels(what.source)
        picture, chosen = _read_picture(what.image, what.series, labels)
        analysis = analyse_mask(
            what.study, labels, models, image=picture, convention=what.convention, progress=progress
        )
    else:
        with beside(partial(_read_scan, what.source, what.series)) as reading:
            models.make_ready()
            scan, chosen = reading()
        check_no_labels(scan)
        analysis = analyse_image(what.study, scan, models, progress=progress)
    if out is not None:
        if progress is not None:
            progress("write", 0, 1)
        manifest = _manifest(what, models, analysis, options)
        if keep_identifiers:
            manifest = replace(manifest, identifiers=_identifiers(chosen))
        write_study(analysis.result, out, manifest, finish=finish)
    return analysis.result


def open_models(bundle: str | Path | None = None, device: str = "cpu", *, mask: bool = False) -> Models:
    """Read a bundle and see that it holds what studies will need, and that the device is there.

    Raises
    ------
    BundleError
        If the bundle cannot be read, or lacks a model that images (with ``mask``: masks) need.
    InputError
        If torch cannot compute on the device.
    """
    _check_device(device)
    models = Models(read_bundle(None if bundle is None else Path(bundle)), device=device)
    for name in ("autoencoder", "classifier") if mask else ("segmenter", "autoencoder", "classifier"):
        models.bundle.component(name)
    return models


def _manifest(what: StudyInput, models: Models, analysis: Analysis, options: Mapping[str, Any]) -> Manifest:
    """Say how a result came about."""
    sha256, own_options = what.fingerprint()
    return Manifest(
        study=analysis.result.study,
        input=what.source.name,
        input_sha256=sha256,
        bundle=models.bundle.name,
        bundle_sha256=models.bundle.sha256,
        versions=_versions(),
        options={**own_options, **options},
        device=models.device,
        timings_s=analysis.timings_s,
        flags=analysis.result.flags,
    )


def _check_device(device: str) -> None:
    """Find out whether torch can compute on a device, before anything else is done.

    Raises
    ------
    InputError
        If it cannot.
    """
    if device == "cpu":
        return
    import torch  # slow to import, and a CPU does without it

    try:
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InputError(
            f"device {device!r}",
            expected="a device that torch can use here, such as cpu or cuda",
            action="leave --device out to use the CPU",
        ) from error


def _read_scan(path: Path, wanted: str | None) -> tuple[Volume, Series | None]:
    """Read an MRI that is not empty; give the series too that was chosen in a DICOM folder."""
    chosen = choose_series(path, wanted) if path.is_dir() else None
    scan = read_image(path, series=wanted) if chosen is None else read_slices(chosen)
    check_image(scan)
    return scan, chosen


def _read_picture(
    image: str | Path | None, wanted: str | None, labels: Volume
) -> tuple[Volume | None, Series | None]:
    """Read the MRI that lies beside a mask, if there is one."""
    if image is None:
        return None, None
    picture, chosen = _read_scan(Path(image), wanted)
    check_same_grid(picture, labels)
    return picture, chosen


def _identifiers(chosen: Series | None) -> dict[str, str]:
    """Say who was scanned; nothing where the input is no DICOM."""
    return {} if chosen is None else identifiers_of(chosen)


def _read_labels(path: Path) -> Volume:
    """Read a mask, and see that it is not empty."""
    labels = read_mask(path)
    check_mask(labels)
    return labels


def _versions() -> dict[str, str]:
    found: dict[str, Any] = {"python": platform.python_version()}
    return found | {name: version(name) for name in _REPORTED_VERSIONS}


def make_phantom_study(out: Path, *, seed: int) -> Path:
    """Render a phantom spine as a clinical T2-like MRI into ``out/phantom.nii.gz``; give that path.

    Its five discs lie in sagittal slices of 4 mm with 0.6 mm pixels; one of the lower two is narrowed.
    """
    from discometry.core.phantom import phantom_grid, render_mri, sample_phantom

    if seed < 0:
        raise InputError(f"seed {seed}", expected="a whole number from 0", action="choose another seed")
    check_output(out, "phantom")
    narrowed = label_of_level("L4/L5" if seed % 2 else "L5/S1")
    phantom = sample_phantom(seed, n_discs=5, narrowed=[narrowed])
    grid = phantom_grid(phantom, spacing_mm=(4.0, 0.6, 0.6))
    out.mkdir(parents=True, exist_ok=True)
    return write_volume(render_mri(phantom, grid, seed=seed), out / "phantom.nii.gz")
