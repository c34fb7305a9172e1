"""Sheets: places against known discs, whatever the order of the voxel axes."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_study import SEMI_AXES_MM, disc_centre, make_labels

from discometry.core.volume import Grid, Volume
from discometry.report.planes import (
    axial_sheet,
    coronal_sheet,
    find_regions,
    half_size_of,
    sagittal_sheet,
    sample,
)

MARGINS = (20.0, 20.0, 10.0)


def area_mm2(region, sheet) -> float:
    return float((sample(region.mask, sheet, outside=0.0) > 0.5).sum() * sheet.step_mm**2)


def test_regions_are_the_discs_from_the_lowest_up():
    regions = find_regions(make_labels(3))
    assert [(region.label, region.level) for region in regions] == [
        (201, "L5/S1"),
        (202, "L4/L5"),
        (203, "L3/L4"),
    ]
    for place, region in enumerate(regions):
        assert region.centre_lps == pytest.approx(disc_centre(place), abs=0.3)
        assert region.axis == pytest.approx((0, 0, 1), abs=0.02)
        assert region.mask.array.sum() == len(region.points_lps)


@pytest.mark.parametrize("tilt_deg", [0.0, 15.0, 35.0])
def test_axis_follows_the_tilt_of_a_disc(tilt_deg):
    tilt = np.deg2rad(tilt_deg)
    axis = np.array([0.0, -np.sin(tilt), np.cos(tilt)])
    forward = np.array([0.0, np.cos(tilt), np.sin(tilt)])
    grid = Grid.from_spacing((60, 50, 40), (1, 1, 1), origin_mm=(-30, -25, -20))
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1).astype(float))
    inside = (points[..., 0] / 22) ** 2 + (points @ forward / 16) ** 2 + (points @ axis / 4.5) ** 2 <= 1
    (region,) = find_regions(Volume(grid, np.where(inside, 201, 0).astype(np.int16)))
    assert np.rad2deg(np.arccos(region.axis @ axis)) < 1.0


def test_axis_of_a_thing_that_is_no_disc_points_up():
    array = np.zeros((20, 20, 40), dtype=np.int16)
    array[9:11, 5:15, 4:36] = 201
    (region,) = find_regions(Volume(Grid.from_spacing(array.shape, (1, 1, 1)), array))
    assert region.axis.tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize(("make", "right"), [(sagittal_sheet, (0, 1, 0)), (coronal_sheet, (1, 0, 0))])
def test_spinal_sheet_runs_through_every_centre(make, right):
    labels = make_labels()
    regions = find_regions(labels)
    sheet = make(labels, regions, margins_mm=MARGINS)
    for region in regions:
        nearest = np.linalg.norm(sheet.points_lps - region.centre_lps, axis=-1).min()
        assert nearest < sheet.step_mm
    assert sheet.points_lps[0, 1] - sheet.points_lps[0, 0] == pytest.approx(np.multiply(right, sheet.step_mm))
    assert (np.diff(sheet.points_lps[:, 0, 2]) < 0).all()
    width, height = sheet.size_mm
    extent = np.ptp(np.concatenate([region.points_lps for region in regions]), axis=0)
    assert width == pytest.approx(extent @ right + 40, abs=1)
    assert height == pytest.approx(extent[2] + 20, abs=1)


def test_cut_discs_have_the_area_of_ellipses():
    labels = make_labels()
    regions = find_regions(labels)
    lateral, ap, height = SEMI_AXES_MM
    sagittal = sagittal_sheet(labels, regions, margins_mm=MARGINS)
    coronal = coronal_sheet(labels, regions, margins_mm=MARGINS)
    half_size = half_size_of(regions, margin_mm=10)
    assert half_size == pytest.approx((lateral + 10, ap + 10), abs=2)
    for region in regions:
        assert area_mm2(region, sagittal) == pytest.approx(np.pi * ap * height, rel=0.06)
        assert area_mm2(region, coronal) == pytest.approx(np.pi * lateral * height, rel=0.06)
        axial = axial_sheet(region, half_size_mm=half_size)
        assert area_mm2(region, axial) == pytest.approx(np.pi * lateral * ap, rel=0.03)


def test_axial_sheet_is_seen_from_the_feet():
    (region,) = find_regions(make_labels(1))
    sheet = axial_sheet(region, half_size_mm=(30, 20))
    rightwards = sheet.points_lps[0, -1] - sheet.points_lps[0, 0]
    downwards = sheet.points_lps[-1, 0] - sheet.points_lps[0, 0]
    assert rightwards == pytest.approx((60, 0, 0), abs=2)
    assert downwards == pytest.approx((0, 40, 0), abs=2)
    assert sheet.points_lps.mean(axis=(0, 1)) == pytest.approx(region.centre_lps)
    assert sheet.edges == ("R", "L", "A", "P")


@settings(max_examples=8)
@given(
    order=st.sampled_from(list(permutations(range(3)))),
    flips=st.lists(st.integers(0, 2), unique=True, max_size=3),
)
def test_pictures_do_not_depend_on_the_order_of_the_axes(order, flips):
    labels = make_labels(2).cropped((0, 0, 0), (40, 120, 70))
    turned = labels.transposed(order)
    for axis in flips:
        turned = turned.flipped(axis)
    for make in (sagittal_sheet, coronal_sheet):
        pictures = []
        for volume in (labels, turned):
            regions = find_regions(volume)
            sheet = make(volume, regions, margins_mm=MARGINS)
            pictures.append(sample(volume, sheet, outside=-1))
        assert pictures[0] == pytest.approx(pictures[1], abs=0.05)


def test_sheet_follows_the_axes_of_an_oblique_grid():
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    plain = make_labels(2)
    grid = Grid.from_spacing(
        plain.grid.shape, plain.grid.spacing_mm, origin_mm=turn @ plain.grid.origin_mm, direction=turn
    )
    labels = Volume(grid, plain.array)
    sheet = sagittal_sheet(labels, find_regions(labels), margins_mm=MARGINS)
    step = sheet.points_lps[0, 1] - sheet.points_lps[0, 0]
    assert step / sheet.step_mm == pytest.approx(turn[:, 1])


def test_sample_interpolates_and_marks_what_lies_outside():
    labels = make_labels(2)
    grid = labels.grid
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1).astype(float))
    ramp = Volume(grid, (2 * points[..., 0] - points[..., 1] + 3 * points[..., 2]).astype(np.float32))
    sheet = sagittal_sheet(labels, find_regions(labels), margins_mm=(60.0, 5.0, 5.0))
    picture = sample(ramp, sheet, outside=np.nan)
    expected = sheet.points_lps @ (2, -1, 3)
    index = grid.to_index(sheet.points_lps)
    top = np.array(grid.shape) - 1
    within = ((index >= 0) & (index <= top)).all(axis=-1)
    beyond = ((index < -0.5) | (index > top + 0.5)).any(axis=-1)
    assert beyond.any()
    assert picture[within] == pytest.approx(expected[within], abs=0.01)
    assert np.array_equal(np.isnan(picture), beyond)
