"""A segmentation network as torch runs it: on a GPU, and every one that OpenVINO does not."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from discometry.networks.cycle_spinning import replace_each, spun

__all__ = ["TorchPredictor"]


class TorchPredictor:
    """A copy of a network ready to run; a U-Net's answer depends less on where its coarse voxels fall.

    Parameters
    ----------
    network
        Maps Bx1xLxPxS to BxCxLxPxS logits, for any B and sides.
    device
        Where torch computes, as torch names it.
    """

    def __init__(self, network: nn.Module, device: str = "cpu") -> None:
        self._device = device
        self._network: nn.Module = (
            spun(network).to(device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        )
        replace_each(self._network, _channels_last)

    def expect(self, shape: tuple[int, ...]) -> None:
        """Do nothing: torch runs any shape as it is."""

    def __call__(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Map Bx1xLxPxS images to BxCxLxPxS logits."""
        with torch.inference_mode():
            answer = self._network(torch.from_numpy(windows).to(self._device))
        logits: NDArray[np.float32] = answer.float().cpu().numpy()
        return logits


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


def _channels_last(module: nn.Module) -> _InstanceNorm | None:
    """Give an instance normalisation that has no weights as one that keeps channels last."""
    if isinstance(module, nn.InstanceNorm3d) and not module.affine and not module.track_running_stats:
        return _InstanceNorm(module.eps)
    return None
