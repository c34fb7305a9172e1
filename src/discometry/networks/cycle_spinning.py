"""A U-Net whose answer depends less on where its coarse voxels fall."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from monai.networks.layers.simplelayers import SkipConnection
from torch import Tensor, nn

from discometry.networks.segmenter_config import SPUN_LEVEL

__all__ = ["replace_each", "spun"]


class _CycleSpinning(nn.Module):
    """The mean of what a module says of an array, and of the array moved by one voxel, moved back.

    Of the moved array the last voxels come first, as in Coifman & Donoho, Translation-invariant de-noising
    (1995).
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, batch: Tensor) -> Tensor:
        """Map BxCxLxPxS to what the module maps it to."""
        moved = torch.roll(batch, (-1, -1), (3, 4))
        mean: Tensor = (self.module(batch) + torch.roll(self.module(moved), (1, 1), (3, 4))) / 2
        return mean


def spun(network: nn.Module) -> nn.Module:
    """Copy a network for use, in eval mode, a U-Net cycle spun.

    Its answer depends less on where the voxels fall of the levels below :data:`SPUN_LEVEL`.
    """
    network = copy.deepcopy(network).eval()
    levels = [module for module in network.modules() if isinstance(module, SkipConnection)]
    if len(levels) > SPUN_LEVEL:
        levels[SPUN_LEVEL].submodule = _CycleSpinning(levels[SPUN_LEVEL].submodule)
    return network


def replace_each(module: nn.Module, other: Callable[[nn.Module], nn.Module | None]) -> None:
    """Replace every module below one for which there is another."""
    for name, child in module.named_children():
        replace_each(child, other)
        replacement = other(child)
        if replacement is not None:
            setattr(module, name, replacement)
