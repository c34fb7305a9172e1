from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from discometry.core.anatomy import Tissue
from discometry.core.errors import InputError
from discometry.core.records import Region
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


@pytest.mark.parametrize("brightness", [0.4, 1.0])
def test_what_stands_apart_neither_stretches_nor_turns_the_region(brightness: float) -> None:
    """Such as bone, or discs that the network imagines in the belly."""
    image = scan()
    apart = image.with_array(image.array.copy())
    apart.array[12:26, 4:16, 2:8] = 0.4
    apart.array[12:26, 4:16, 6:9] = brightness
    alone, beside = (
        locate(prepare(volume, PrepareConfig(spacing_mm=(4.0, 2.7, 2.7))), by_brightness)
        for volume in (image, apart)
    )
    np.testing.assert_allclose(beside.size_mm, alone.size_mm, atol=5.0)
    np.testing.assert_allclose(beside.axes, alone.axes, atol=0.02)


def test_a_vertebra_that_is_missed_leaves_the_spine_one() -> None:
    image = scan()
    image.array[12:26, 30:42, 26:34] = 0.0
    low = locate(prepare(image, PrepareConfig(spacing_mm=(4.0, 2.7, 2.7))), by_brightness)
    whole = locate(prepare(scan(), PrepareConfig(spacing_mm=(4.0, 2.7, 2.7))), by_brightness)
    assert low.size_mm[2] == pytest.approx(whole.size_mm[2], abs=5.0)


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


def tilted(image: Volume, degrees: tuple[float, float, float]) -> tuple[Volume, NDArray[np.float64]]:
    """Turn what an image shows about its middle; the turn beside it."""
    turn = Rotation.from_euler("XYZ", degrees, degrees=True).as_matrix()
    middle = (np.array(image.grid.shape) - 1) / 2
    array = ndimage.affine_transform(image.array, turn, middle - turn @ middle, order=1, mode="nearest")
    return image.with_array(array), turn


def located(image: Volume, config: LocateConfig | None = None) -> Region:
    """Locate by brightness, from the canal, which is darkest, to bone and disc."""
    prepared = prepare(image, PrepareConfig(spacing_mm=(4.0, 2.7, 2.7)))
    dark, bright = float(prepared.image.array.min()), float(prepared.image.array.max())

    def predict(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        level = (windows[:, 0] - dark) / (bright - dark)
        logits = np.zeros((len(windows), len(Tissue), *windows.shape[2:]), dtype=np.float32)
        logits[:, Tissue.BACKGROUND] = 10.0
        logits[:, Tissue.CANAL] = 20.0 * (level < 0.15)
        logits[:, Tissue.VERTEBRA] = 20.0 * (level > 0.43)
        logits[:, Tissue.DISC] = 30.0 * (level > 0.8)
        return logits

    return locate(prepared, predict, config)


def scan_with_canal() -> Volume:
    """The scan with a canal behind the column."""
    image = scan()
    image.array[15:23, 46:52, 16:60] = -0.4
    return image


@pytest.mark.parametrize(
    "degrees", [(-12.0, 0.0, 0.0), (10.0, 0.0, 0.0), (0.0, 9.0, 0.0), (0.0, 0.0, -9.0), (6.0, -7.0, 5.0)]
)
def test_the_region_turns_with_the_patient(degrees: tuple[float, float, float]) -> None:
    image = scan_with_canal()
    changed, turn = tilted(image, degrees)
    before, after = located(image), located(changed)
    off = 1.5 if not any(degrees[1:]) else 2.0  # what lies to the side is seen on voxels of 4 mm
    np.testing.assert_allclose(after.axes, turn.T @ before.axes, atol=np.deg2rad(off))
    centre = image.grid.to_world((np.array(image.grid.shape) - 1) / 2)
    np.testing.assert_allclose(after.middle_mm, centre + turn.T @ (before.middle_mm - centre), atol=2.0)
    np.testing.assert_allclose(after.size_mm, before.size_mm, atol=3.5)


def test_a_slab_has_no_region_that_turns_to_the_side() -> None:
    changed, _ = tilted(scan_with_canal(), (0.0, 9.0, -9.0))
    slab = changed.cropped((14, 0, 0), (26, 60, 80))
    region = located(slab)
    np.testing.assert_allclose(region.axes[:, 0], (1, 0, 0), atol=1e-9)
    assert located(changed).axes[0, 0] < 0.99


def test_the_region_ends_with_the_image_to_the_sides_only_and_leans_as_a_spine_can() -> None:
    image = scan_with_canal().cropped((10, 0, 18), (28, 60, 62))
    upright = LocateConfig(lean_deg=0.0, margin_mm=(16.0, 20.0, 60.0))
    region = located(image, upright)
    assert region.size_mm[0] == pytest.approx(18 * 3.0, abs=1.0)
    assert region.size_mm[2] > 44 * 3.0 + 60.0
    # As if the header had P and S exchanged.
    lying = scan().cropped((0, 0, 18), (40, 60, 62)).transposed((0, 2, 1))
    exchanged = Volume(Grid.from_spacing(lying.array.shape, (3.0, 3.0, 3.0)), lying.array)
    config = LocateConfig()
    region = locate(prepare(exchanged, PrepareConfig(spacing_mm=(4.0, 2.7, 2.7))), by_brightness, config)
    turned, *_ = np.abs(Rotation.from_matrix(region.axes).as_euler("XYZ", degrees=True))
    assert turned == pytest.approx(config.most_turned_deg[0], abs=1e-6)


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
