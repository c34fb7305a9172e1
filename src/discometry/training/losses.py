"""Losses of the segmenter: soft Dice beside cross-entropy over tissues, or beside the paper's binary one."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from discometry.core.anatomy import Tissue
from discometry.training.scans import IGNORED, MAYBE_SACRUM

__all__ = ["dice_binary_cross_entropy", "dice_cross_entropy"]


def dice_cross_entropy(logits: Tensor, target: Tensor, *, dice_weight: float = 1.0) -> Tensor:
    """Sum of cross-entropy and weighted soft Dice loss over the tissues.

    Parameters
    ----------
    logits
        BxCxLxPxS.
    target
        BxLxPxS, int64. :data:`~discometry.training.scans.IGNORED` counts in neither; where it is
        :data:`~discometry.training.scans.MAYBE_SACRUM`, background and sacrum together are the answer.
    dice_weight
        Soft Dice calls a voxel disc from a probability of half the Dice reached, so much of it makes
        discs too large (docs/decisions.md).
    """
    logs = torch.log_softmax(logits, dim=1)
    unsure = target == MAYBE_SACRUM
    either = torch.logaddexp(logs[:, Tissue.BACKGROUND], logs[:, Tissue.SACRUM])
    background = torch.where(unsure, either, logs[:, Tissue.BACKGROUND])
    sacrum = logs[:, Tissue.SACRUM].masked_fill(unsure, -20.0)
    logs = torch.cat([background[:, None], logs[:, 1 : Tissue.SACRUM], sacrum[:, None]], dim=1)
    known = target != IGNORED
    target = target.masked_fill(unsure | ~known, Tissue.BACKGROUND)
    at_target = logs.gather(1, target[:, None])[:, 0]
    cross_entropy = -(at_target * known).sum() / known.sum().clamp(min=1)
    dice = _dice(logs.exp(), target, known[:, None].expand_as(logs)).mean()
    return cross_entropy + dice_weight * (1 - dice)


def dice_binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Sum of binary cross-entropy and soft Dice loss over one sigmoid a tissue, equal weights: the paper's.

    Parameters are as for :func:`dice_cross_entropy`; where it may be sacrum neither background nor sacrum
    counts.
    """
    classes = torch.arange(logits.shape[1], device=logits.device)[:, None, None, None]
    unsure = (target == MAYBE_SACRUM)[:, None] & ((classes == Tissue.BACKGROUND) | (classes == Tissue.SACRUM))
    known = (target != IGNORED)[:, None] & ~unsure
    target = target.masked_fill(target >= logits.shape[1], Tissue.BACKGROUND)
    truth = (target[:, None] == classes).to(logits.dtype)
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    cross_entropy = (entropy * known).sum() / known.sum().clamp(min=1)
    return cross_entropy + 1 - _dice(torch.sigmoid(logits), target, known).mean()


def _dice(probability: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Soft Dice of each class (C,) over a batch: probability and known BxCx.., target Bx.. of classes."""
    counted = probability * known
    at_target = counted.gather(1, target[:, None])[:, 0].flatten()
    number = known.gather(1, target[:, None])[:, 0].flatten().to(probability.dtype)
    empty = probability.new_zeros(probability.shape[1])
    overlap = empty.index_add(0, target.flatten(), at_target)
    total = counted.sum((0, 2, 3, 4)) + empty.index_add(0, target.flatten(), number)
    return (2 * overlap + 1) / (total + 1)
