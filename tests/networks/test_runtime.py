from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import softmax

from discometry.networks.runtime import even_window, predict_probabilities

WINDOW, DIVISOR = (16, 32, 32), (8, 16, 16)
Images = NDArray[np.float32]


def as_it_is(windows: Images) -> Images:
    """Logits that are the image itself, so that blending must give it back."""
    return np.concatenate([windows, -windows, np.zeros_like(windows)], axis=1)


@pytest.mark.parametrize("shape", [(40, 50, 33), (5, 16, 70), (16, 16, 16)])
def test_windows_blend_without_seams_whatever_the_size(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    found = predict_probabilities(as_it_is, images, window=WINDOW, divisor=DIVISOR)
    np.testing.assert_allclose(found, softmax(as_it_is(images[:, None]), axis=1), atol=1e-5)


def test_what_a_window_says_of_its_middle_counts_most() -> None:
    def ends(windows: Images) -> Images:
        """Be wrong in the outer quarters along S."""
        logits = np.zeros((len(windows), 2, *windows.shape[2:]), dtype=np.float32)
        logits[:, 1] = 4.0
        logits[:, 1, :, :, :8] = logits[:, 1, :, :, -8:] = -4.0
        return logits

    image = np.zeros((1, 8, 16, 80), dtype=np.float32)
    (_, right) = predict_probabilities(ends, image, window=WINDOW, divisor=DIVISOR, overlap=0.5)[0]
    assert (right[:, :, 10:70] > 0.5).all()
    assert (right[:, :, :8] < 0.5).all()


@pytest.mark.parametrize("length", [33, 40, 78])
def test_a_mirrored_image_has_the_mirrored_answer(length: int) -> None:
    def first_half(windows: Images) -> Images:
        return np.concatenate([windows, np.cumsum(windows, axis=4)], axis=1)

    def last_half(windows: Images) -> Images:
        return np.ascontiguousarray(first_half(windows[..., ::-1])[..., ::-1])

    image = np.random.default_rng(1).standard_normal((1, 8, 16, length)).astype(np.float32)
    seen = predict_probabilities(first_half, image, window=WINDOW, divisor=DIVISOR)
    mirrored = predict_probabilities(last_half, image[..., ::-1], window=WINDOW, divisor=DIVISOR)
    np.testing.assert_allclose(mirrored[..., ::-1], seen, atol=1e-5)


def test_every_window_is_reported() -> None:
    told: list[tuple[int, int]] = []
    windows: list[tuple[int, ...]] = []

    def network(seen: Images) -> Images:
        windows.append(seen.shape)
        return as_it_is(seen)

    predict_probabilities(
        network,
        np.zeros((2, 20, 70, 40), dtype=np.float32),
        window=WINDOW,
        divisor=DIVISOR,
        on_windows=lambda done, total: told.append((done, total)),
    )
    assert told == [(2 * done, 2 * len(windows)) for done in range(1, len(windows) + 1)]
    assert set(windows) == {(2, 1, *WINDOW)}


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
