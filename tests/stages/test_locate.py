from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from discometry.core.anatomy import Tissue
from discometry.core.errors import InputError
from discometry.core.volume import Grid, Volume
from discometry.stages.locate import LocateConfig, locate
from discometry.stages.prepare import PrepareConfig, prepare


def by_brightness(windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Bright is disc, middling is bone: an answer that is known."""
    logits = np.zeros((len(windows), len(Tissue), *windows.shape[2:]), dtype=np.float32)
    logits[:, Tissue.BACKGROUND] = 10.0
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


def test_the_region_holds_the_discs_and_room_for_one_beneath_the_lowest_bone() -> None:
    image = scan()
    config = LocateConfig(lean_deg=0.0)
    region = locate(prepare(image, PrepareConfig(spacing_mm=(4.0, 2.7, 2.7))), by_brightness, config)
    np.testing.assert_allclose(region.axes, np.eye(3), atol=0.02)
    low, high = region.middle_mm - region.size_mm / 2, region.middle_mm + region.size_mm / 2
    # In mm; the lowest disc begins at 66, the bone beneath it at 48.
    assert low == pytest.approx(np.array([-60 + 36, -90 + 90, -120 + 48]) - config.margin_mm, abs=5.0)
    assert high == pytest.approx(np.array([-60 + 75, -90 + 123, -120 + 147]) + config.margin_mm, abs=5.0)
    part = region.crop(image)
    assert part.array.size < 0.5 * image.array.size
    assert np.count_nonzero(part.array > 0.9) == np.count_nonzero(image.array > 0.9)


def test_bone_that_stands_apart_does_not_stretch_the_region() -> None:
    image = scan()
    apart = image.with_array(image.array.copy())
    apart.array[12:26, 4:16, 2:8] = 0.4
    config = LocateConfig(lean_deg=0.0)
    alone, beside = (
        locate(prepare(volume, PrepareConfig(spacing_mm=(4.0, 2.7, 2.7))), by_brightness, config)
        for volume in (image, apart)
    )
    assert beside.size_mm[2] == pytest.approx(alone.size_mm[2], abs=5.0)


def test_bone_without_discs_is_no_lumbar_spine() -> None:
    with pytest.raises(InputError, match="no lumbar spine"):
        locate(prepare(scan(disc=False), PrepareConfig(spacing_mm=(4.0, 2.7, 2.7))), by_brightness)


def test_a_mirrored_image_has_the_mirrored_region() -> None:
    def one_sided(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Miss discs in the half of each window that comes last along L."""
        logits = by_brightness(windows)
        logits[:, Tissue.DISC, windows.shape[2] // 2 :] = -9.0
        return logits

    image = scan()
    seen, mirrored = (
        locate(prepare(volume, PrepareConfig(spacing_mm=(4.0, 2.7, 2.7))), one_sided)
        for volume in (image, image.with_array(image.array[::-1].copy()))
    )
    middle = image.grid.to_world((np.array(image.grid.shape) - 1) / 2)[0]
    expected = np.array([2 * middle - seen.middle_mm[0], *seen.middle_mm[1:]])
    np.testing.assert_allclose(mirrored.middle_mm, expected, atol=1e-6)
    np.testing.assert_allclose(mirrored.size_mm, seen.size_mm, atol=1e-6)
    other_side = np.diag([-1.0, 1.0, 1.0])
    np.testing.assert_allclose(mirrored.axes, other_side @ seen.axes @ other_side, atol=1e-6)


@pytest.mark.parametrize("degrees", [-12.0, 10.0])
def test_the_region_turns_with_the_patient(degrees: float) -> None:
    image = scan()
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    middle = (np.array(image.grid.shape) - 1) / 2
    array = ndimage.affine_transform(image.array, turn, middle - turn @ middle, order=1, mode="nearest")
    before, after = (
        locate(prepare(volume, PrepareConfig(spacing_mm=(4.0, 2.7, 2.7))), by_brightness)
        for volume in (image, image.with_array(array))
    )
    np.testing.assert_allclose(after.axes, turn.T @ before.axes, atol=np.deg2rad(1.5))
    centre = image.grid.to_world(middle)
    np.testing.assert_allclose(after.middle_mm, centre + turn.T @ (before.middle_mm - centre), atol=2.0)
    np.testing.assert_allclose(after.size_mm, before.size_mm, atol=3.5)


def test_the_region_ends_with_the_image_and_with_a_lean_that_a_spine_can_have() -> None:
    image = scan().cropped((0, 0, 18), (40, 60, 62))
    upright = LocateConfig(lean_deg=0.0, margin_mm=(16.0, 20.0, 60.0))
    region = locate(prepare(image, PrepareConfig(spacing_mm=(4.0, 2.7, 2.7))), by_brightness, upright)
    assert region.size_mm[2] == pytest.approx(44 * 3.0, abs=1.0)
    lying = image.with_array(image.array).transposed((0, 2, 1))  # as if the header had P and S exchanged
    exchanged = Volume(Grid.from_spacing(lying.array.shape, (3.0, 3.0, 3.0)), lying.array)
    config = LocateConfig()
    region = locate(prepare(exchanged, PrepareConfig(spacing_mm=(4.0, 2.7, 2.7))), by_brightness, config)
    assert np.abs(np.arcsin(region.axes[1, 2])) == pytest.approx(np.deg2rad(config.most_turned_deg), abs=1e-6)


def test_a_very_oblique_scan_keeps_its_own_axes() -> None:
    image = scan()
    cos, sin = np.cos(np.deg2rad(40)), np.sin(np.deg2rad(40))
    axes = np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])
    oblique = Volume(Grid.from_spacing(image.array.shape, (3.0, 3.0, 3.0), direction=axes), image.array)
    for lean, expected in ((0.0, axes), (10.0, axes), (-10.0, None)):
        prepared = prepare(oblique, PrepareConfig(spacing_mm=(4.0, 2.7, 2.7)))
        region = locate(prepared, by_brightness, LocateConfig(lean_deg=lean))
        assert prepare(oblique, region=region).image.grid.axis_codes == "LPS"
        if expected is not None:
            np.testing.assert_allclose(region.axes, expected, atol=0.02)
