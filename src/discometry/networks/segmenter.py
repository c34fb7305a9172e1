"""The segmentation networks as torch modules, to train them and to run them on a GPU.

Both map a normalised image, Bx1xLxPxS, to logits of the five tissues, Bx5xLxPxS.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from monai.networks.layers.simplelayers import SkipConnection
from monai.networks.nets.swin_unetr import SwinUNETR
from monai.networks.nets.unet import UNet
from torch import Tensor, nn

from discometry.core.anatomy import Tissue
from discometry.io.bundle import Component
from discometry.networks.cycle_spinning import replace_each
from discometry.networks.outline import check_weights
from discometry.networks.segmenter_config import SegmenterConfig, agreement

__all__ = ["build_segmenter", "load_segmenter", "segmenter_component"]


def build_segmenter(config: SegmenterConfig) -> nn.Module:
    """Build a network with fresh weights: Bx1xLxPxS image to Bx5xLxPxS logits; a U-Net takes any sides."""
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
        strides=config.strides,  # type: ignore[arg-type]
        num_res_units=2,
    )
    network = nn.Sequential(body, nn.Conv3d(features, len(Tissue), 1))
    replace_each(network, _with_its_sides)
    return network


class _Level(nn.Sequential):
    """A level of MONAI's U-Net, down, below, and up again, that gives back the sides that came."""

    def forward(self, batch: Tensor) -> Tensor:
        """Map BxCxLxPxS to what the level maps it to, BxCxLxPxS."""
        down, below, up = self
        grow, refine = up.children()
        i, j, k = batch.shape[2:]
        answer: Tensor = refine(grow(below(down(batch)))[:, :, :i, :j, :k])
        return answer


def _with_its_sides(module: nn.Module) -> _Level | None:
    """Give a level of MONAI's U-Net that keeps its sides, its weights under their names."""
    if isinstance(module, nn.Sequential) and any(isinstance(part, SkipConnection) for part in module):
        return _Level(*module)
    return None


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
    with agreement():
        config = SegmenterConfig.of(component)
        if config.architecture == "residual_unet":  # MONAI's SwinUNETR cannot be built without memory
            check_weights(lambda: build_segmenter(config), component.tensors)
        network = build_segmenter(config)
        network.load_state_dict(
            {name: torch.from_numpy(np.array(a)) for name, a in component.tensors.items()}
        )
    return network.float().eval(), config
