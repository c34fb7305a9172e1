from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from discometry.core.anatomy import Tissue
from discometry.training.losses import dice_binary_cross_entropy, dice_cross_entropy
from discometry.training.scans import IGNORED, MAYBE_SACRUM

Loss = Callable[[Tensor, Tensor], Tensor]

BOTH = pytest.mark.parametrize("loss", [dice_cross_entropy, dice_binary_cross_entropy])


def answer() -> tuple[Tensor, Tensor]:
    """A random target and logits that are sure and right."""
    target = torch.randint(0, len(Tissue), (2, 8, 8, 8), generator=torch.Generator().manual_seed(0))
    return 80.0 * functional.one_hot(target, len(Tissue)).movedim(-1, 1).float() - 40, target


@BOTH
def test_is_zero_for_a_sure_and_right_answer_and_blind_where_ignored(loss: Loss) -> None:
    sure, target = answer()
    assert float(loss(sure, target)) == pytest.approx(0, abs=1e-4)
    hidden = target.clone()
    hidden[0] = IGNORED
    wrong_there = sure.clone()
    wrong_there[0] = torch.randn_like(wrong_there[0])
    assert float(loss(wrong_there, hidden)) == pytest.approx(0, abs=1e-4)
    assert float(loss(-sure, target)) > 10


@BOTH
@pytest.mark.parametrize("said", [Tissue.BACKGROUND, Tissue.SACRUM])
def test_either_answer_will_do_where_it_may_be_sacrum(loss: Loss, said: Tissue) -> None:
    sure, target = answer()
    unsure = target.clone()
    unsure[:, :, :, :4] = MAYBE_SACRUM
    sure[:, :, :, :, :4] = -40
    sure[:, said, :, :, :4] = 40
    assert float(loss(sure, unsure)) == pytest.approx(0, abs=1e-3)
    sure[:, said, :, :, :4] = -40
    sure[:, Tissue.DISC, :, :, :4] = 40
    assert float(loss(sure, unsure)) > 0.2


def test_equals_the_plain_definition() -> None:
    torch.manual_seed(0)
    logits, (_, target) = torch.randn(2, len(Tissue), 8, 8, 8), answer()
    probability = torch.softmax(logits, 1)
    truth = functional.one_hot(target, len(Tissue)).movedim(-1, 1)
    axes = (0, 2, 3, 4)
    dice = (2 * (probability * truth).sum(axes) + 1) / (probability.sum(axes) + truth.sum(axes) + 1)
    expected = functional.cross_entropy(logits, target) + 1 - dice.mean()
    assert float(dice_cross_entropy(logits, target)) == pytest.approx(float(expected), abs=1e-5)
    binary = functional.binary_cross_entropy_with_logits(logits, truth.float())
    sigmoid = torch.sigmoid(logits)
    dice = (2 * (sigmoid * truth).sum(axes) + 1) / (sigmoid.sum(axes) + truth.sum(axes) + 1)
    assert float(dice_binary_cross_entropy(logits, target)) == pytest.approx(
        float(binary + 1 - dice.mean()), abs=1e-5
    )
