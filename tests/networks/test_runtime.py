from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from discometry.networks.runtime import build_predictor, predict_probabilities
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
    found = predict_probabilities(predictor, image, window=WINDOW, divisor=DIVISOR)
    expected = torch.softmax(Shift()(torch.from_numpy(image)[None, None]), dim=1)[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_every_window_is_reported() -> None:
    told: list[tuple[int, int]] = []
    predict_probabilities(
        build_predictor(Shift()),
        np.zeros((20, 70, 40), dtype=np.float32),
        window=WINDOW,
        divisor=DIVISOR,
        on_windows=lambda done, total: told.append((done, total)),
    )
    assert told[-1][0] == told[-1][1] == told[0][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)


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


def test_the_mirrored_answer_is_averaged_in() -> None:
    class Slope(nn.Module):
        """Tells the place along L, whatever the image: mirrored and averaged, all places are alike."""

        def forward(self, image: Tensor) -> Tensor:
            place = torch.linspace(-3, 3, image.shape[2])[None, None, :, None, None].expand(image.shape)
            return torch.cat([place, -place], dim=1)

    image = np.zeros((16, 32, 32), dtype=np.float32)
    predictor = build_predictor(Slope())
    plain, averaged = (
        predict_probabilities(predictor, image, window=WINDOW, divisor=DIVISOR, mirror=mirror)
        for mirror in (False, True)
    )
    assert np.ptp(plain[0]) > 0.9
    np.testing.assert_allclose(averaged, 0.5, atol=1e-6)
