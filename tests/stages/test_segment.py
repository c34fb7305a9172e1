from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from discometry.core.anatomy import Tissue
from discometry.core.records import Prepared, Region, Segmentation
from discometry.core.volume import Grid, Volume
from discometry.networks.runtime import Predictor
from discometry.stages.prepare import LOOKS, PrepareConfig, prepare, prepare_looks
from discometry.stages.segment import SegmentConfig, most_probable, segment, view_probabilities


def threshold(level: float) -> Predictor:
    """Bright is disc, dark is background: a network whose answer is known."""

    def predict(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        logits = np.full((len(windows), len(Tissue), *windows.shape[2:]), -50.0, dtype=np.float32)
        logits[:, Tissue.BACKGROUND] = 0
        logits[:, Tissue.DISC] = 4 * (windows[:, 0] - level)
        return logits

    return predict


def bright_box(spacing: tuple[float, float, float]) -> tuple[Volume, np.ndarray]:
    """A smooth-edged bright box of 30 x 24 x 12 mm at the origin; its exact mask beside it."""
    shape = [round(80 / s) for s in spacing]
    origin = [-(n - 1) / 2 * s for n, s in zip(shape, spacing, strict=True)]
    grid = Grid.from_spacing(shape, spacing, origin_mm=origin)
    points = np.abs(grid.to_world(np.stack(np.indices(grid.shape), axis=-1)))
    depth = (np.array([15.0, 12.0, 6.0]) - points).min(axis=-1)
    return Volume(grid, np.clip(depth, -2, 2).astype(np.float32)), depth > 0


def half_segmented(prepared: Prepared) -> Segmentation:
    """Segment at half of the image's range."""
    level = float(prepared.image.array.max() + prepared.image.array.min()) / 2
    return segment([prepared], threshold(level))


@pytest.mark.parametrize("spacing", [(4.0, 0.6, 0.6), (1.0, 1.0, 1.0)])
def test_labels_return_to_the_input_grid_in_place(spacing: tuple[float, float, float]) -> None:
    image, truth = bright_box(spacing)
    turned = image.transposed((1, 2, 0)).flipped(2)
    prepared = prepare(turned)
    found = half_segmented(prepared)
    assert found.tissue.grid == turned.grid
    disc = found.tissue.oriented().array == Tissue.DISC
    overlap = 2 * (disc & truth).sum() / (disc.sum() + truth.sum())
    assert overlap > 0.9
    assert np.array_equal(found.mask(Tissue.DISC), found.tissue.array == Tissue.DISC)
    assert set(np.unique(found.tissue.array)) == {Tissue.BACKGROUND, Tissue.DISC}


def test_only_the_region_is_segmented_and_lands_in_its_place() -> None:
    image, _ = bright_box((1.0, 1.0, 1.0))
    turned = image.transposed((2, 0, 1)).flipped(1)
    region = Region(np.array([13.0, 0.0, 0.0]), np.array([34.0, 40.0, 24.0]), np.eye(3))
    whole, part = (half_segmented(prepare(turned, region=chosen)) for chosen in (None, region))
    assert part.tissue.grid == turned.grid
    inside = np.zeros(image.grid.shape, dtype=bool)
    points = image.grid.to_world(np.stack(np.indices(image.grid.shape), axis=-1).astype(float))
    inside[((points >= [-4.6, -20.6, -12.6]) & (points <= [30.6, 20.6, 12.6])).all(axis=-1)] = True
    found = part.tissue.oriented().array == Tissue.DISC
    assert not found[~inside].any()
    expected = (whole.tissue.oriented().array == Tissue.DISC) & inside
    assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.9


def test_beyond_a_turned_region_is_background() -> None:
    image, truth = bright_box((1.0, 1.0, 1.0))
    cos, sin = np.cos(0.4), np.sin(0.4)
    axes = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    region = Region(np.zeros(3), np.array([80.0, 80.0, 12.0]), axes)
    found = half_segmented(prepare(image, region=region)).mask(Tissue.DISC)
    points = image.grid.to_world(np.stack(np.indices(image.grid.shape), axis=-1).astype(float))
    along = np.abs(points @ axes[:, 2])
    assert not found[along > 6 + 1.5].any()  # half a working voxel is rounded up
    inside = truth & (along < 6)
    assert found[inside].mean() > 0.9
    assert (truth & (along > 8)).any()


def test_a_higher_cut_calls_less_disc() -> None:
    prepared = prepare(bright_box((1.0, 1.0, 1.0))[0])
    level = float(prepared.image.array.max() + prepared.image.array.min()) / 2
    counts = [
        segment([prepared], threshold(level), SegmentConfig(disc_cut=cut)).mask(Tissue.DISC).sum()
        for cut in (0.3, 0.5, 0.9)
    ]
    assert counts[0] > counts[1] > counts[2] > 0


def test_looks_on_voxels_that_lie_apart_agree_where_the_image_is_smooth() -> None:
    image, truth = bright_box((1.0, 1.0, 1.0))
    views = prepare_looks(image, PrepareConfig(order=3))
    first = views[0].image.grid
    for view, (p, s) in zip(views, LOOKS, strict=True):
        begins = first.to_index(np.array(view.image.grid.origin_mm))
        np.testing.assert_allclose(begins, (0, p / 2, s / 2), atol=1e-9)
    level = float(views[0].image.array.max() + views[0].image.array.min()) / 2
    both, one = (segment(seen, threshold(level)).mask(Tissue.DISC) for seen in (views, views[:1]))
    assert 2 * (both & truth).sum() / (both.sum() + truth.sum()) > 0.9
    assert 2 * (both & one).sum() / (both.sum() + one.sum()) > 0.97


def test_every_second_view_is_seen_mirrored_and_turned_back() -> None:
    def slope(windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Tell the place along L, whatever the image."""
        logits = np.zeros((len(windows), len(Tissue), *windows.shape[2:]), dtype=np.float32)
        logits[:, Tissue.DISC] = np.linspace(-3, 3, windows.shape[2])[None, :, None, None]
        return logits

    image = Volume(Grid.from_spacing((16, 32, 32), (1.4, 1.2, 1.5)), np.arange(16384.0).reshape(16, 32, 32))
    view = prepare(image)
    once, mirrored = view_probabilities([view, view], slope, SegmentConfig())
    assert np.ptp(once[Tissue.DISC]) > 0.5
    np.testing.assert_allclose(mirrored, once[:, ::-1], atol=1e-6)


@pytest.mark.parametrize("turn", [0.0, 8.0])
def test_looks_brought_back_together_are_the_sum_of_each_brought_back(turn: float) -> None:
    image, _ = bright_box((2.0, 1.5, 1.5))
    axes = Rotation.from_euler("XYZ", (turn, turn, -turn), degrees=True).as_matrix()
    region = Region(np.zeros(3), np.array([40.0, 30.0, 24.0]), axes)
    grids = [view.image.grid for view in prepare_looks(image, region=region)]
    answers = np.random.default_rng(0).random((len(grids), len(Tissue), *grids[0].shape)).astype(np.float32)
    sums = np.zeros((len(Tissue), *image.grid.shape))
    for grid, answer in zip(grids, answers, strict=True):
        matrix, start = image.grid.sampling_in(grid)
        for tissue in Tissue:
            sums[tissue] += ndimage.affine_transform(
                answer[tissue],
                matrix,
                start,
                output_shape=image.grid.shape,
                order=1,
                mode="constant",
                cval=-99,
            )
    seen_by_all = sums.min(axis=0) >= 0
    found = most_probable(answers, grids, image.grid)
    assert seen_by_all.sum() > 1000
    np.testing.assert_array_equal(found[seen_by_all], np.argmax(sums, axis=0)[seen_by_all])
