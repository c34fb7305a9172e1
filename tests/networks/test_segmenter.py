from __future__ import annotations

import pytest
import torch

from discometry.core.anatomy import Tissue
from discometry.networks.segmenter import build_segmenter, load_segmenter, segmenter_component
from discometry.networks.segmenter_config import SegmenterConfig

SMALL = {
    "residual_unet": SegmenterConfig(width=4, patch=(16, 32, 32)),
    "swin_unetr_v2": SegmenterConfig(architecture="swin_unetr_v2", width=12, patch=(32, 32, 64)),
}


@pytest.mark.parametrize("name", SMALL)
def test_logits_have_one_channel_a_tissue_and_gradients_flow(name: str) -> None:
    torch.manual_seed(0)
    network = build_segmenter(SMALL[name])
    logits = network(torch.randn(1, 1, *SMALL[name].patch))
    assert logits.shape == (1, len(Tissue), *SMALL[name].patch)
    logits.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_any_sides_that_divide_will_do(name: str) -> None:
    network = build_segmenter(SMALL[name]).eval()
    sides = [2 * step for step in SMALL[name].divisor]
    with torch.inference_mode():
        assert network(torch.zeros(1, 1, *sides)).shape == (1, len(Tissue), *sides)


def test_the_first_level_leaves_thick_slices_as_they_are() -> None:
    assert SegmenterConfig().divisor == (8, 16, 16)
    assert SegmenterConfig(levels=4, first_stride=(2, 2, 2)).divisor == (8, 8, 8)


def test_swin_unetr_is_the_second_version() -> None:
    names = [name for name, _ in build_segmenter(SMALL["swin_unetr_v2"]).named_modules()]
    assert any("layers1c" in name for name in names), "V2 puts a residual convolution before each stage"


@pytest.mark.parametrize("name", SMALL)
def test_bundle_component_rebuilds_the_network(name: str) -> None:
    torch.manual_seed(1)
    network = build_segmenter(SMALL[name]).eval()
    rebuilt, config = load_segmenter(segmenter_component(network, SMALL[name], steps=3))
    assert config == SMALL[name]
    image = torch.randn(1, 1, *config.patch)
    with torch.inference_mode():
        torch.testing.assert_close(rebuilt(image), network(image), atol=2e-2, rtol=2e-2)  # float16 weights
