"""Pictures: size, colours where the discs are, words for those who cannot see them."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from made_up_study import GRID, make_image, make_labels
from PIL import Image

from discometry.core.anatomy import DISC_LABEL_BASE, LEVELS
from discometry.report.figures import (
    PALETTE,
    SHARPNESS,
    colour_of_label,
    draw_axials,
    draw_coronal,
    draw_sagittal,
    text_on,
)
from discometry.report.planes import find_regions


def pixels(picture) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(picture.webp)).convert("RGB")).astype(int)


def near(array, colour, *, within=45) -> np.ndarray:
    wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
    return (np.abs(array - wanted) <= within).all(axis=-1)


def test_neighbouring_discs_never_share_a_colour():
    colours = [colour_of_label(DISC_LABEL_BASE + 1 + place) for place in range(len(LEVELS))]
    for distance in range(1, len(PALETTE)):
        assert all(a != b for a, b in zip(colours, colours[distance:], strict=False))


@pytest.mark.parametrize("colour", PALETTE)
def test_text_on_a_colour_has_enough_contrast(colour):
    def luminance(text):
        linear = [((int(text[k : k + 2], 16) / 255 + 0.055) / 1.055) ** 2.4 for k in (1, 3, 5)]
        return np.dot(linear, (0.2126, 0.7152, 0.0722))

    a, b = sorted((luminance(colour), luminance(text_on(colour))))
    assert (b + 0.05) / (a + 0.05) >= 4.5


@pytest.mark.parametrize("draw", [draw_sagittal, draw_coronal])
@pytest.mark.parametrize("with_image", [True, False])
def test_every_disc_is_drawn_in_its_colour_from_top_to_bottom(draw, with_image):
    labels = make_labels()
    regions = find_regions(labels)
    picture = draw(labels, make_image(labels) if with_image else None, regions)
    array = pixels(picture)
    assert array.shape[:2] == (picture.height_px * SHARPNESS, picture.width_px * SHARPNESS)
    heights = [np.median(np.nonzero(near(array, colour_of_label(region.label)))[0]) for region in regions]
    assert heights == sorted(heights, reverse=True)
    assert np.ptp(np.diff(heights)) < 30
    for region in regions:
        assert region.level in picture.alt


def test_scale_is_the_same_along_and_across():
    labels = make_labels(2)
    regions = find_regions(labels)
    picture = draw_axials(None, regions)[0]
    colour = near(pixels(picture), colour_of_label(201), within=40)
    rows, columns = np.nonzero(colour)
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(44 / 32, rel=0.05)


def test_axials_share_one_scale_and_keep_the_order():
    labels = make_labels(3)
    regions = find_regions(labels)[::-1]
    pictures = draw_axials(make_image(labels), regions)
    assert len({(picture.width_px, picture.height_px) for picture in pictures}) == 1
    assert ["L3/L4" in pictures[0].alt, "L4/L5" in pictures[1].alt, "L5/S1" in pictures[2].alt] == [True] * 3


def test_image_stays_visible_under_the_discs():
    labels = make_labels(3)
    regions = find_regions(labels)
    image = make_image(labels)
    plain = pixels(draw_sagittal(labels, image, regions))
    brighter = image.with_array(np.where(labels.array == 202, image.array + 80, image.array))
    changed = np.abs(pixels(draw_sagittal(labels, brighter, regions)) - plain).max(axis=-1) > 20
    rows = np.nonzero(changed)[0]
    assert rows.size > 1000
    assert rows.mean() == pytest.approx(plain.shape[0] / 2, rel=0.1)


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_constant_image_is_drawn(value):
    labels = make_labels(1)
    image = labels.with_array(np.full(GRID.shape, value, dtype=np.float32))
    assert pixels(draw_coronal(labels, image, find_regions(labels))).size


def test_image_that_lies_elsewhere_leaves_the_plain_ground():
    labels = make_labels(1)
    far = make_image(labels).cropped((0, 0, 150), GRID.shape)
    regions = find_regions(labels)
    (picture,) = draw_axials(far, regions)
    assert near(pixels(picture), "#e4e8ed", within=6).mean() > 0.4


def test_disc_outside_a_sheet_is_left_out():
    # A ring has its centre where it has no voxel: its outline is still drawn.
    labels = make_labels(1)
    points = GRID.to_world(np.moveaxis(np.indices(GRID.shape), 0, -1).astype(float))
    (region,) = find_regions(labels)
    hollow = np.hypot(points[..., 0] - region.centre_lps[0], points[..., 1] - region.centre_lps[1]) < 5
    ring = labels.with_array(np.where(hollow, 0, labels.array).astype(np.int16))
    picture = draw_sagittal(ring, None, find_regions(ring))
    assert near(pixels(picture), colour_of_label(201)).any()


def test_sheet_that_misses_a_disc_draws_nothing_of_it():
    # Two sheets of voxels with a gap between them: the mid-plane meets none.
    array = np.zeros((30, 30, 30), dtype=np.int16)
    array[5:25, 5:25, 10] = array[5:25, 5:25, 16] = 201
    labels = make_labels(1)
    gap = type(labels)(type(GRID).from_spacing(array.shape, (1, 1, 1)), array)
    (picture,) = draw_axials(None, find_regions(gap))
    assert not near(pixels(picture), colour_of_label(201), within=25).any()
