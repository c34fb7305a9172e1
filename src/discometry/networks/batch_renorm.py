"""Normalisation by what was seen in training: a voxel's answer does not depend on what else is in view."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BatchRenorm3d"]

_RAMP = 1000
"""Steps in which training goes over from the statistics of a batch to the running ones."""
_MOST_SCALE, _MOST_SHIFT = 3.0, 5.0
"""How far a batch's statistics may be corrected at the end of the ramp."""


class BatchRenorm3d(nn.BatchNorm3d):
    """Batch renormalisation (Ioffe 2017, NeurIPS): batch normalisation that trains as it is used.

    A batch of two patches of any contrast tells little of the next image. So a batch, normalised by its own
    mean and spread, is brought to what the running mean and spread would have made of it, the gradient going
    through its own.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise BxCxLxPxS, channel by channel."""
        if not self.training:
            answer: Tensor = super().forward(input)
            return answer
        assert self.running_mean is not None  # the class keeps them, unless told not to
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        with torch.no_grad():
            variance, mean = torch.var_mean(input.float(), dim=(0, 2, 3, 4), correction=0)
            spread = (self.running_var + self.eps).sqrt()
            done = min(1.0, int(self.num_batches_tracked) / _RAMP)
            most = 1 + (_MOST_SCALE - 1) * done
            scale = ((variance + self.eps).sqrt() / spread).clamp(1 / most, most)
            shift = ((mean - self.running_mean) / spread).clamp(-_MOST_SHIFT * done, _MOST_SHIFT * done)
            self.running_mean.lerp_(mean, self.momentum or 0.0)
            self.running_var.lerp_(variance, self.momentum or 0.0)
            self.num_batches_tracked += 1
        weight, bias = self.weight * scale, self.weight * shift + self.bias
        return functional.batch_norm(input, None, None, weight, bias, training=True, eps=self.eps)
