"""What builds a segmentation network, whichever engine runs it: numbers only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from discometry.core.errors import BundleError, InputError
from discometry.io.bundle import Component

__all__ = ["SPUN_LEVEL", "SegmenterConfig", "agreement"]

SPUN_LEVEL = 1
"""The level below which a U-Net in use is cycle spun: there it is cheap, and its voxels are coarse."""

_MOST_WIDTH = {"residual_unet": 1024, "swin_unetr_v2": 96}
"""Channels of the first level up to which a network is built: 96 are 250 million weights."""


@dataclass(frozen=True, slots=True)
class SegmenterConfig:
    """What builds a segmentation network, and the grid that it was taught on."""

    architecture: Literal["residual_unet", "swin_unetr_v2"] = "residual_unet"
    """``swin_unetr_v2`` is He et al. 2023 (MICCAI) as MONAI builds it with ``use_v2=True``;
    ``residual_unet`` is the 3-D U-Net of residual units of Kerfoot et al. 2019 (STACOM), MONAI's UNet,
    under a last layer of its own."""
    width: int = 16
    """Channels of the first level (SwinUNETR calls it feature_size; there a multiple of 12)."""
    levels: int = 5
    """Levels of the U-Net, each of twice the channels of the one before."""
    first_stride: tuple[int, int, int] = (1, 2, 2)
    """Steps along L, P, S to the U-Net's first level; it leaves thick sagittal slices as they are."""
    window: tuple[int, int, int] = (4, 6, 6)
    """Attention window of SwinUNETR along L, P, S; one that divides the token grid costs no padding."""
    spacing_mm: tuple[float, float, float] = (2.0, 0.9, 0.9)
    """Voxel size along L, P, S of the images that the network sees."""
    patch: tuple[int, int, int] = (24, 112, 112)
    """Voxels along L, P, S of a training patch."""
    view: tuple[int, int, int] = (48, 160, 256)
    """Most voxels along L, P, S that a segmenter sees at once when it is used; a locator sees patches."""
    disc_cut: float = 0.5
    """Share of the probability of disc and its strongest rival from which a voxel is disc. Training sets it
    such that the discs of its scans keep their volume."""

    def __post_init__(self) -> None:
        sides = (*self.first_stride, *self.window, *self.patch, *self.view)
        whole = (self.width, self.levels, *sides)
        sane = (
            all(isinstance(value, int) for value in whole)
            and len(sides) == 12
            and len(self.spacing_mm) == 3
            and 2 <= self.width <= _MOST_WIDTH[self.architecture]
            and 2 <= self.levels <= 8
            and all(1 <= value <= 1024 for value in sides)
            and all(0.05 <= step <= 50 for step in self.spacing_mm)
            and 0 < self.disc_cut < 1
        )
        if not sane:
            raise InputError(
                "a segmenter whose numbers make no sense",
                expected="a width of 2 or more, 2 to 8 levels, sides of 1 to 1024 voxels of 0.05 to 50 mm",
                action="choose other numbers",
            )

    @property
    def divisor(self) -> tuple[int, int, int]:
        """Numbers of which the sides of patches are multiples; SwinUNETR takes no others."""
        if self.architecture == "swin_unetr_v2":
            return (32, 32, 32)
        i, j, k = (first * 2 ** (self.levels - 2) for first in self.first_stride)
        return i, j, k

    @property
    def step(self) -> tuple[int, int, int]:
        """Numbers of which the sides of an image in use are multiples: a U-Net takes any."""
        return self.divisor if self.architecture == "swin_unetr_v2" else (1, 1, 1)

    @property
    def strides(self) -> list[tuple[int, int, int]]:
        """Steps along L, P, S from each level of a residual U-Net to the next."""
        return [self.first_stride, *[(2, 2, 2)] * (self.levels - 2)]

    @classmethod
    def of(cls, component: Component) -> SegmenterConfig:
        """Read the config of a bundle's ``segmenter`` or ``locator``; within :func:`agreement`."""
        values: Mapping[str, Any] = component.config["network"]
        known: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**known)


@contextmanager
def agreement() -> Iterator[None]:
    """Refuse a component whose weights and config do not agree, whatever error tells it.

    Raises
    ------
    BundleError
        In place of that error.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, InputError) as error:
        raise BundleError(
            "a segmenter whose weights and config do not agree",
            expected="a network of this release",
            action="train the segmenter again, or use the shipped bundle",
        ) from error
