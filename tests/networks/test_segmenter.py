from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from discometry.networks.runtime import predict_probabilities
from discometry.networks.segmenter import (
    SegmenterConfig,
    build_segmenter,
    load_segmenter,
    segmenter_component,
)

SMALL = {
    "residual_unet": SegmenterConfig(width=4, patch=(32, 32, 32)),
    "swin_unetr_v2": SegmenterConfig(architecture="swin_unetr_v2", width=12, patch=(32, 32, 64)),
}


@pytest.mark.parametrize("name", SMALL)
def test_logits_have_one_channel_a_tissue_and_gradients_flow(name: str) -> None:
    torch.manual_seed(0)
    network = build_segmenter(SMALL[name])
    logits = network(torch.randn(1, 1, *SMALL[name].patch))
    assert logits.shape == (1, 4, *SMALL[name].patch)
    logits.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())


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


class Shift(nn.Module):
    """Logits that are the image itself, so that blending must give it back."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([image, -image, torch.zeros_like(image), torch.zeros_like(image)], dim=1)


@pytest.mark.parametrize("shape", [(40, 50, 33), (5, 16, 70), (16, 16, 16)])
def test_windows_blend_without_seams_whatever_the_size(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    found = predict_probabilities(Shift(), image, window=(16, 32, 32), divisor=16)
    expected = torch.softmax(Shift()(torch.from_numpy(image)[None, None]), dim=1)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)
