"""Compressed DICOM slices, unpacked in a process of its own.

The codecs that SimpleITK brings tell of damaged pixels on standard error, and give some all the same; a codec
is also where a crafted file does most harm. So the process unpacks, listens, and may die without the caller.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

__all__ = ["read_stack", "unpack"]

_LIMIT_S = 600.0
_DAMAGED = 3


def read_stack(files: Sequence[str]) -> NDArray[np.float32]:
    """Read slices in their order, [slice, row, column], rescaled.

    Raises
    ------
    RuntimeError
        If SimpleITK cannot.
    """
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames(list(files))
    reader.SetOutputPixelType(sitk.sitkFloat32)
    array: NDArray[np.float32] = sitk.GetArrayFromImage(reader.Execute())
    return array


def unpack(files: Sequence[str]) -> NDArray[np.float32]:
    """Read compressed slices as :func:`read_stack` does, in another process.

    Raises
    ------
    RuntimeError
        If they cannot be read, or a codec had anything to say.
    """
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "slices.npy"
        call = [sys.executable, "-P", "-m", "discometry.io.packed_slices", str(target)]
        try:
            done = subprocess.run(
                call,
                input=json.dumps(list(files)).encode(),
                capture_output=True,
                timeout=_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError("no end") from error
        if done.returncode or not target.is_file():
            raise RuntimeError(f"exit code {done.returncode}")
        array: NDArray[np.float32] = np.load(target, allow_pickle=False)
        return array


def main(target: Path) -> int:
    """Read the slices that standard input names into a file; give the exit code."""
    files = json.loads(sys.stdin.buffer.read())
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            array = read_stack(files)
        except (RuntimeError, MemoryError):
            return _DAMAGED
        if said.seek(0, os.SEEK_END):
            return _DAMAGED
    np.save(target, array, allow_pickle=False)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
