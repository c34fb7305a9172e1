from __future__ import annotations

import torch
from torch import nn

from discometry.networks.cycle_spinning import spun
from discometry.networks.segmenter import build_segmenter
from discometry.networks.segmenter_config import SegmenterConfig


def inner(image: torch.Tensor) -> torch.Tensor:
    """Leave out what the borders may have touched."""
    return image[..., 4:-4, 24:-24, 24:-24]


def test_a_spun_network_depends_less_on_where_its_coarse_voxels_fall() -> None:
    torch.manual_seed(0)
    network = build_segmenter(SegmenterConfig(width=4)).eval()
    image = torch.randn(1, 1, 16, 96, 96)
    image = torch.nn.functional.avg_pool3d(image, 5, stride=1, padding=2)
    moved = torch.roll(image, (4, 4), (3, 4))  # one voxel where the network is spun
    changes = []
    with torch.inference_mode():
        for chosen in (network, spun(network)):
            back = torch.roll(chosen(moved), (-4, -4), (3, 4))
            changes.append(float(inner(back - chosen(image)).abs().mean()))
    assert changes[1] < 0.8 * changes[0]


def test_only_what_has_coarse_levels_is_spun_and_in_a_copy() -> None:
    flat = nn.Sequential(nn.Conv3d(1, 5, 1))
    network = build_segmenter(SegmenterConfig(width=4)).train()
    image = torch.randn(1, 1, 8, 32, 32)
    before = [type(module) for module in network.modules()]
    with torch.inference_mode():
        assert torch.equal(spun(flat)(image), flat(image))
        assert not torch.equal(spun(network)(image), network(image))
    assert [type(module) for module in network.modules()] == before
    assert network.training
    assert not spun(network).training


def test_sides_that_do_not_divide_change_little_but_at_their_end() -> None:
    torch.manual_seed(0)
    network = spun(build_segmenter(SegmenterConfig(width=4)))
    image = torch.nn.functional.avg_pool3d(torch.randn(1, 1, 16, 96, 96), 5, stride=1, padding=2)
    with torch.inference_mode():
        whole, part = network(image), network(image[:, :, :15, :91, :93])
    assert part.shape == (1, 5, 15, 91, 93)
    difference = (whole[:, :, :15, :91, :93] - part).abs()
    assert inner(difference).mean() < 0.1 * inner(whole).std()
