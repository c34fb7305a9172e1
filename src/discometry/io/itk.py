"""SimpleITK without its own words on the user's terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import SimpleITK as sitk

__all__ = ["quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back ITK's warnings for as long as the body runs; the setting before is restored."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
