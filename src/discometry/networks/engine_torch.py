"""A segmentation network as torch runs it: on a GPU, and every one that OpenVINO does not."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from discometry.networks.cycle_spinning import spun
from discometry.networks.runtime import Predictor

__all__ = ["torch_predictor"]


def torch_predictor(network: nn.Module, device: str = "cpu") -> Predictor:
    """Make a copy of a network ready to run; a U-Net's answer depends less on where its coarse voxels fall.

    Parameters
    ----------
    network
        Maps Bx1xLxPxS to BxCxLxPxS logits, for any B and sides.
    device
        Where torch computes, as torch names it.
    """
    network = spun(network).to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    _normalise_channels_last(network)

    def predict(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits: NDArray[np.float32] = network(torch.from_numpy(windows).to(device)).float().cpu().numpy()
        return logits

    return predict


class _InstanceNorm(nn.Module):
    """Instance normalisation without weights that keeps channels last, where torch's own copies."""

    def __init__(self, eps: float) -> None:
        super().__init__()
        self.eps = eps

    def forward(self, batch: Tensor) -> Tensor:
        """Normalise BxCxLxPxS, each channel of each image by itself."""
        return torch.cat(
            [F.batch_norm(one, None, None, training=True, eps=self.eps) for one in torch.split(batch, 1)]
        )


def _normalise_channels_last(module: nn.Module) -> None:
    """Replace, below a module, every instance normalisation that has no weights."""
    for name, child in module.named_children():
        if isinstance(child, nn.InstanceNorm3d) and not child.affine and not child.track_running_stats:
            setattr(module, name, _InstanceNorm(child.eps))
        else:
            _normalise_channels_last(child)
