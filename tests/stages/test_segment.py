from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from discometry.core.anatomy import Tissue
from discometry.core.volume import Grid, Volume
from discometry.stages.prepare import prepare
from discometry.stages.segment import SegmentConfig, segment


class Threshold(nn.Module):
    """Bright is disc, dark is background: a network whose answer is known."""

    def __init__(self, level: float) -> None:
        super().__init__()
        self.level = level

    def forward(self, image: Tensor) -> Tensor:
        logits = torch.zeros(image.shape[0], len(Tissue), *image.shape[2:])
        logits[:, Tissue.DISC] = 4 * (image[:, 0] - self.level)
        logits[:, Tissue.VERTEBRA] = -50
        logits[:, Tissue.CANAL] = -50
        return logits


def bright_box(spacing: tuple[float, float, float]) -> tuple[Volume, np.ndarray]:
    """A smooth-edged bright box of 30 x 24 x 12 mm at the origin; its exact mask beside it."""
    shape = [round(80 / s) for s in spacing]
    origin = [-(n - 1) / 2 * s for n, s in zip(shape, spacing, strict=True)]
    grid = Grid.from_spacing(shape, spacing, origin_mm=origin)
    points = np.abs(grid.to_world(np.stack(np.indices(grid.shape), axis=-1)))
    depth = (np.array([15.0, 12.0, 6.0]) - points).min(axis=-1)
    return Volume(grid, np.clip(depth, -2, 2).astype(np.float32)), depth > 0


@pytest.mark.parametrize("spacing", [(4.0, 0.6, 0.6), (1.0, 1.0, 1.0)])
def test_labels_return_to_the_input_grid_in_place(spacing: tuple[float, float, float]) -> None:
    image, truth = bright_box(spacing)
    turned = image.transposed((1, 2, 0)).flipped(2)
    prepared = prepare(turned)
    level = float(prepared.image.array.max() + prepared.image.array.min()) / 2
    found = segment(prepared, Threshold(level), SegmentConfig(window=(32, 64, 64)))
    assert found.tissue.grid == turned.grid
    disc = found.tissue.oriented().array == Tissue.DISC
    overlap = 2 * (disc & truth).sum() / (disc.sum() + truth.sum())
    assert overlap > 0.9
    assert np.array_equal(found.mask(Tissue.DISC), found.tissue.array == Tissue.DISC)
    assert set(np.unique(found.tissue.array)) == {Tissue.BACKGROUND, Tissue.DISC}
