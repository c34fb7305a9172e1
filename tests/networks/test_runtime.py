from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from discometry.networks.cycle_spinning import spun
from discometry.networks.runtime import build_predictor, even_window, predict_probabilities
from discometry.networks.segmenter import SegmenterConfig, build_segmenter

WINDOW, DIVISOR = (16, 32, 32), (8, 16, 16)


class Shift(nn.Module):
    """Logits that are the image itself, so that blending must give it back."""

    def forward(self, image: Tensor) -> Tensor:
        return torch.cat([image, -image, torch.zeros_like(image), torch.zeros_like(image)], dim=1)


@pytest.mark.parametrize("shape", [(40, 50, 33), (5, 16, 70), (16, 16, 16)])
def test_windows_blend_without_seams_whatever_the_size(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    predictor = build_predictor(Shift())
    images = np.stack([image, image[::-1]])
    found = predict_probabilities(predictor, images, window=WINDOW, divisor=DIVISOR)
    expected = torch.softmax(Shift()(torch.from_numpy(images)[:, None]), dim=1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_every_window_is_reported() -> None:
    told: list[tuple[int, int]] = []
    predict_probabilities(
        build_predictor(Shift()),
        np.zeros((1, 20, 70, 40), dtype=np.float32),
        window=WINDOW,
        divisor=DIVISOR,
        on_windows=lambda done, total: told.append((done, total)),
    )
    assert told[-1][0] == told[-1][1] == told[0][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_making_a_network_ready_leaves_it_as_it_was_and_answers_alike() -> None:
    torch.manual_seed(0)
    network = build_segmenter(SegmenterConfig(width=4)).eval()
    kinds = [type(module) for module in network.modules()]
    windows = torch.randn(2, 1, 16, 32, 64)
    with torch.inference_mode():
        np.testing.assert_allclose(build_predictor(network)(windows), spun(network)(windows), atol=2e-3)
    assert [type(module) for module in network.modules()] == kinds


def test_openvino_and_torch_agree_at_any_size_and_batch() -> None:
    torch.manual_seed(0)
    network = build_segmenter(SegmenterConfig(width=4))
    engines = [build_predictor(network, engine=engine) for engine in ("openvino", "torch")]  # type: ignore[arg-type]
    for shape in ((1, 1, 16, 32, 32), (3, 1, 8, 48, 64)):
        windows = torch.randn(shape)
        with torch.inference_mode():
            first, second = (engine(windows) for engine in engines)
            again = engines[0](windows)
        np.testing.assert_allclose(first, second, atol=2e-3)
        assert torch.equal(first, again), "the same input gives the same bytes"


@given(
    shape=st.tuples(*[st.integers(1, 600)] * 3),
    overlap=st.sampled_from([0.0, 0.25, 0.5]),
    longest=st.tuples(*[st.integers(1, 300)] * 3),
)
def test_windows_are_few_and_none_is_too_long(
    shape: tuple[int, int, int], overlap: float, longest: tuple[int, int, int]
) -> None:
    sides = even_window(shape, longest=longest, divisor=DIVISOR, overlap=overlap)
    for side, length, most, step in zip(sides, shape, longest, DIVISOR, strict=True):
        assert side % step == 0
        assert side < length + step
        assert side <= max(most, step)
        further = max(0, int(np.ceil((length - side) / (side * (1 - overlap)) - 1e-9)))
        if further:  # one window fewer would be too long
            needed = length / (1 + (further - 1) * (1 - overlap))
            assert step * np.ceil(needed / step - 1e-9) > max(most, step)
