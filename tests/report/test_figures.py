"""Pictures: outlines where the discs are, names beside them, the image below, words for who cannot see."""

from __future__ import annotations

import re

import numpy as np
import pytest
from drawings import area, colours, image_of, outline, texts
from made_up_study import GRID, make_image, make_labels

from discometry.core.anatomy import DISC_LABEL_BASE, LEVELS
from discometry.report.figures import (
    INK,
    NEUTRAL,
    PALETTE,
    colour_of_label,
    draw_axials,
    draw_coronal,
    draw_sagittal,
    text_on,
)
from discometry.report.planes import find_regions


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
def test_every_disc_is_outlined_in_its_colour_and_named_from_top_to_bottom(draw, with_image):
    labels = make_labels()
    regions = find_regions(labels)
    picture = draw(labels, make_image(labels) if with_image else None, regions)
    if with_image:
        rows, columns = image_of(picture).shape[:2]
        assert rows / columns == pytest.approx(picture.height_px / picture.width_px, rel=0.01)
    assert ("<image" in picture.svg) == with_image
    written = texts(picture)
    heights = []
    for region in regions:
        (ring,) = outline(picture, region.label)
        assert colours(picture, region.label) == {colour_of_label(region.label), INK, "none"}
        assert region.level in picture.alt
        x, y = written[region.level]
        assert 0 < x < ring[:, 0].min() < ring[:, 0].max() < picture.width_px
        assert ring[:, 1].min() < y < ring[:, 1].max()
        heights.append(ring[:, 1].mean())
    assert heights == sorted(heights, reverse=True)
    assert np.ptp(np.diff(heights)) < 15


def test_an_outline_holds_the_section_of_its_disc_and_the_bar_is_as_long_as_it_says():
    labels = make_labels(2)
    regions = find_regions(labels)
    picture = draw_axials(None, regions)[0]
    rings = outline(picture, 201)
    across, along = np.ptp(np.concatenate(rings), axis=0)
    assert across / along == pytest.approx(44 / 32, rel=0.05)
    bar = re.search(r"M([0-9.]+),[0-9.]+H([0-9.]+)", picture.svg)
    px_per_mm = (float(bar[2]) - float(bar[1])) / 20
    assert "20 mm" in texts(picture)
    assert across / px_per_mm == pytest.approx(44, abs=2)
    assert area(rings) / px_per_mm**2 == pytest.approx(np.pi * 22 * 16, rel=0.05)


def test_axials_share_one_scale_and_keep_the_order():
    labels = make_labels(3)
    regions = find_regions(labels)[::-1]
    pictures = draw_axials(make_image(labels), regions)
    assert len({(picture.width_px, picture.height_px) for picture in pictures}) == 1
    assert ["L3/L4" in pictures[0].alt, "L4/L5" in pictures[1].alt, "L5/S1" in pictures[2].alt] == [True] * 3


def test_the_image_lies_under_the_outlines():
    labels = make_labels(3)
    regions = find_regions(labels)
    image = make_image(labels)
    plain = draw_sagittal(labels, image, regions)
    brighter = image.with_array(np.where(labels.array == 202, image.array + 80, image.array))
    drawn = image_of(draw_sagittal(labels, brighter, regions))
    changed = np.argwhere(np.abs(drawn - image_of(plain)).max(axis=-1) > 30)[:, ::-1] + 0.5
    changed *= plain.width_px / drawn.shape[1]
    (ring,) = outline(plain, 202)
    assert np.percentile(changed, (2, 98), axis=0) == pytest.approx(
        np.array([ring.min(axis=0), ring.max(axis=0)]), abs=6
    )


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_constant_image_is_drawn(value):
    labels = make_labels(1)
    image = labels.with_array(np.full(GRID.shape, value, dtype=np.float32))
    drawn = image_of(draw_coronal(labels, image, find_regions(labels)))
    grey = np.ptp(drawn, axis=-1) < 4
    assert grey.any()
    assert np.ptp(drawn[grey]) <= 8


def test_image_that_lies_elsewhere_leaves_the_plain_ground():
    labels = make_labels(1)
    far = make_image(labels).cropped((0, 0, 150), GRID.shape)
    (picture,) = draw_axials(far, find_regions(labels))
    ground = [int(NEUTRAL[k : k + 2], 16) for k in (1, 3, 5)]
    assert np.abs(image_of(picture) - ground).max() <= 6


def test_disc_outside_a_sheet_is_left_out():
    # A ring has its centre where it has no voxel: its outline is still drawn, and its hole.
    labels = make_labels(1)
    points = GRID.to_world(np.moveaxis(np.indices(GRID.shape), 0, -1).astype(float))
    (region,) = find_regions(labels)
    hollow = np.hypot(points[..., 0] - region.centre_lps[0], points[..., 1] - region.centre_lps[1]) < 8
    ring = labels.with_array(np.where(hollow, 0, labels.array).astype(np.int16))
    (whole,), (holed,) = (draw_axials(None, find_regions(volume)) for volume in (labels, ring))
    assert len(outline(draw_sagittal(ring, None, find_regions(ring)), 201)) == 2  # before and behind the hole
    assert area(outline(holed, 201)) / area(outline(whole, 201)) == pytest.approx(
        1 - np.pi * 8**2 / (np.pi * 22 * 16), abs=0.03
    )


def test_sheet_that_misses_a_disc_draws_nothing_of_it():
    # Two sheets of voxels with a gap between them: the mid-plane meets none.
    array = np.zeros((30, 30, 30), dtype=np.int16)
    array[5:25, 5:25, 10] = array[5:25, 5:25, 16] = 201
    labels = make_labels(1)
    gap = type(labels)(type(GRID).from_spacing(array.shape, (1, 1, 1)), array)
    (picture,) = draw_axials(None, find_regions(gap))
    assert not outline(picture, 201)
