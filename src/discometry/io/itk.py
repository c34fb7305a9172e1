"""SimpleITK without its own words on the user's terminal, and without a trap in its NIfTI reader."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk

from discometry.core.errors import InputError

__all__ = ["by_itself", "plain_name", "quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back ITK's warnings for as long as the body runs; the setting before is restored."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def plain_name(path: Path) -> str:
    """Give a path as ITK takes it.

    Raises
    ------
    InputError
        If it has bytes that are no UTF-8.
    """
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"the file name {os.fsencode(path.name)!r}",
            expected="a name in UTF-8",
            action="rename the file",
        ) from error
    return str(path)


@contextmanager
def by_itself(path: Path) -> Iterator[Path]:
    """Give a path of the same file at which ITK reads that file.

    Where ``scan.nii`` lies beside ``scan.nii.gz``, ITK takes the voxels of the former for both
    (ITK issue 2243); the file is then read from a temporary folder of its own.
    """
    if not path.name.lower().endswith(".nii.gz") or not path.with_name(path.name[: -len(".gz")]).exists():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copyfile(path, Path(folder) / "image.nii.gz"))
