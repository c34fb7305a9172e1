from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from discometry.core.anatomy import Tissue
from discometry.core.errors import InputError
from discometry.core.volume import Grid, Volume
from discometry.stages.locate import LocateConfig, locate
from discometry.stages.prepare import PrepareConfig, prepare


def by_brightness(windows: Tensor) -> Tensor:
    """Bright is disc, middling is bone: an answer that is known."""
    logits = torch.zeros(len(windows), len(Tissue), *windows.shape[2:])
    logits[:, Tissue.DISC] = 30.0 * (windows[:, 0] > 6)
    logits[:, Tissue.VERTEBRA] = 20.0 * (windows[:, 0] > 0.9)
    return logits


def scan(*, disc: bool = True) -> Volume:
    """Dark, with a column of bone of which every other part is disc."""
    grid = Grid.from_spacing((40, 60, 80), (3.0, 3.0, 3.0), origin_mm=(-60.0, -90.0, -120.0))
    array = np.random.default_rng(0).normal(0, 0.01, grid.shape).astype(np.float32)
    array[12:26, 30:42, 16:60] = 0.4
    if disc:
        for low in (22, 34, 46):
            array[12:26, 30:42, low : low + 4] = 1.0
    return Volume(grid, array)


def test_the_region_holds_the_discs_and_leaves_the_rest() -> None:
    image = scan()
    config = LocateConfig()
    region = locate(prepare(image, PrepareConfig(spacing_mm=(4.0, 2.7, 2.7))), by_brightness, config)
    low, high = region.corners_lps
    assert low == pytest.approx(np.array([-60 + 36, -90 + 90, -120 + 66]) - config.margin_mm, abs=5.0)  # mm
    assert high == pytest.approx(np.array([-60 + 75, -90 + 123, -120 + 147]) + config.margin_mm, abs=5.0)
    part = region.crop(image)
    assert part.array.size < 0.5 * image.array.size
    assert np.count_nonzero(part.array > 0.9) == np.count_nonzero(image.array > 0.9)


def test_bone_without_discs_is_no_lumbar_spine() -> None:
    with pytest.raises(InputError, match="no lumbar spine"):
        locate(prepare(scan(disc=False), PrepareConfig(spacing_mm=(4.0, 2.7, 2.7))), by_brightness)


def test_a_mirrored_image_has_the_mirrored_region() -> None:
    def one_sided(windows: Tensor) -> Tensor:
        """Miss discs in the half of each window that comes last along L."""
        logits = by_brightness(windows)
        logits[:, Tissue.DISC, windows.shape[2] // 2 :] = -9.0
        return logits

    image = scan()
    seen, mirrored = (
        locate(prepare(volume, PrepareConfig(spacing_mm=(4.0, 2.7, 2.7))), one_sided).corners_lps
        for volume in (image, image.with_array(image.array[::-1].copy()))
    )
    middle = image.grid.to_world((np.array(image.grid.shape) - 1) / 2)[0]
    np.testing.assert_allclose(np.sort(2 * middle - mirrored[:, 0]), np.sort(seen[:, 0]), atol=1e-6)
    np.testing.assert_allclose(mirrored[:, 1:], seen[:, 1:], atol=1e-6)
