from __future__ import annotations

import pytest
import torch

from discometry.networks.batch_renorm import BatchRenorm3d
from discometry.networks.segmenter import build_segmenter
from discometry.networks.segmenter_config import SegmenterConfig


def batch(seed: int) -> torch.Tensor:
    """Two patches of another brightness and contrast with every seed."""
    random = torch.Generator().manual_seed(seed)
    offset, factor = torch.randn(2, generator=random)
    return offset + torch.exp(factor / 2) * torch.randn(2, 3, 4, 6, 6, generator=random)


def seen(norm: BatchRenorm3d, steps: int) -> BatchRenorm3d:
    """Let a normalisation see many batches."""
    norm.train()
    for seed in range(steps):
        norm(batch(seed))
    return norm


def test_it_begins_as_batch_normalisation() -> None:
    ours, theirs = BatchRenorm3d(3), torch.nn.BatchNorm3d(3)
    torch.testing.assert_close(ours(batch(0)), theirs(batch(0)), atol=1e-5, rtol=1e-5)


def test_it_ends_as_it_is_used() -> None:
    norm = seen(BatchRenorm3d(3), 1100)
    with torch.no_grad():
        in_use, in_training = norm.eval()(batch(7)), norm.train()(batch(7))
        plainly = torch.nn.functional.batch_norm(batch(7), None, None, training=True)
    torch.testing.assert_close(in_training, in_use, atol=1e-3, rtol=1e-3)
    assert (plainly - in_use).abs().max() > 0.1


def test_the_gradient_goes_through_the_batchs_own_spread() -> None:
    """To add to every voxel, or to multiply all, changes nothing of what a batch is brought to."""
    norm = seen(BatchRenorm3d(3), 1100)
    image = batch(7).requires_grad_()
    (norm(image) * torch.randn_like(image)).sum().backward()
    assert image.grad is not None
    assert image.grad.sum((0, 2, 3, 4)).abs().max() < 1e-3
    assert (image.grad * image).sum((0, 2, 3, 4)).abs().max() < 1e-2
    assert norm.weight.grad is not None
    assert norm.weight.grad.abs().min() > 0


@pytest.mark.parametrize(("norm", "far"), [("batch", False), ("instance", True)])
def test_what_is_far_away_changes_nothing(norm: str, far: bool) -> None:
    torch.manual_seed(0)
    network = build_segmenter(SegmenterConfig(width=4, levels=2, norm=norm)).eval()  # type: ignore[arg-type]
    image = torch.randn(1, 1, 8, 16, 64)
    other = image.clone()
    other[..., 48:] *= 9
    with torch.inference_mode():
        change = (network(image) - network(other)).abs()[..., :16].max()
    assert (change > 1e-3) == far
