"""The segmentation networks: numbers to modules, nothing else.

Both map a normalised image, Bx1xLxPxS, to logits of the five tissues, Bx5xLxPxS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from discometry.core.anatomy import Tissue
from discometry.core.errors import BundleError, InputError
from discometry.io.bundle import Component
from discometry.networks.outline import check_weights

__all__ = ["SegmenterConfig", "build_segmenter", "load_segmenter", "segmenter_component"]

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
        """Numbers that the sides of an input must divide by."""
        if self.architecture == "swin_unetr_v2":
            return (32, 32, 32)
        i, j, k = (first * 2 ** (self.levels - 2) for first in self.first_stride)
        return i, j, k

    @property
    def traceable(self) -> bool:
        """Whether the network, once traced for OpenVINO, takes windows of any size: SwinUNETR does not."""
        return self.architecture != "swin_unetr_v2"

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> SegmenterConfig:
        """Rebuild a config from its JSON form."""
        known: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**known)


def build_segmenter(config: SegmenterConfig) -> nn.Module:
    """Build a network with fresh weights: Bx1xLxPxS image to Bx5xLxPxS logits."""
    # MONAI is slow to import, so only those who segment pay for it.
    from monai.networks.nets.swin_unetr import SwinUNETR
    from monai.networks.nets.unet import UNet

    if config.architecture == "swin_unetr_v2":
        network: nn.Module = SwinUNETR(
            in_channels=1,
            out_channels=len(Tissue),
            feature_size=config.width,
            window_size=config.window,
            use_v2=True,
        )
        return network
    features = config.width // 2
    body = UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=features,
        channels=[config.width * 2**level for level in range(config.levels)],
        strides=[config.first_stride, *[2] * (config.levels - 2)],  # type: ignore[list-item]
        num_res_units=2,
    )
    return nn.Sequential(body, nn.Conv3d(features, len(Tissue), 1))


def segmenter_component(
    network: nn.Module, config: SegmenterConfig, *, name: str = "segmenter", **card: Any
) -> Component:
    """Pack a network for a bundle; weights are kept in float16, ``card`` joins the config as notes."""
    tensors = {
        key: tensor.detach().cpu().numpy().astype(np.float16 if tensor.is_floating_point() else np.int64)
        for key, tensor in network.state_dict().items()
    }
    return Component(name, config={"network": asdict(config), **card}, tensors=tensors)


def load_segmenter(component: Component) -> tuple[nn.Module, SegmenterConfig]:
    """Rebuild a network in eval mode from a bundle's ``segmenter`` component.

    Raises
    ------
    BundleError
        If the weights are not those of the network that the config describes.
    """
    try:
        config = SegmenterConfig.from_json(component.config["network"])
        if config.architecture == "residual_unet":  # MONAI's SwinUNETR cannot be built without memory
            check_weights(lambda: build_segmenter(config), component.tensors)
        network = build_segmenter(config)
        network.load_state_dict(
            {name: torch.from_numpy(np.array(a)) for name, a in component.tensors.items()}
        )
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, InputError) as error:
        raise BundleError(
            "a segmenter whose weights and config do not agree",
            expected="a network of this release",
            action="train the segmenter again, or use the shipped bundle",
        ) from error
    return network.float().eval(), config
