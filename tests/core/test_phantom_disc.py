"""The disc's truth in closed form, against integration and against rotations written out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from discometry.core.errors import InputError, LabelError
from discometry.core.phantom import PhantomDisc, disc_fraction, phantom_grid, render_disc_mask, single_disc
from discometry.core.phantom_disc import angles_of_rotation, rotation_from_angles
from discometry.core.phantom_slabs import fine_slabs, subsamples
from discometry.core.volume import Grid

angles = st.tuples(*[st.floats(-40.0, 40.0)] * 3)
shapes = st.fixed_dictionaries(
    {
        "height_mm": st.floats(4.0, 14.0),
        "half_lateral_mm": st.floats(18.0, 30.0),
        "half_ap_mm": st.floats(13.0, 21.0),
        "exponent": st.floats(2.0, 3.5),
        "dome_superior_mm": st.floats(0.0, 3.0),
        "dome_inferior_mm": st.floats(0.0, 3.0),
        "wedge_deg": st.floats(-9.0, 9.0),
        "lateral_wedge_deg": st.floats(-3.0, 3.0),
        "bulge": st.floats(0.0, 0.15),
    }
)


def integrated(disc: PhantomDisc, nodes: int = 60) -> tuple[float, float, float, float]:
    """Volume, footprint area and the slopes of both endplates' best planes, by quadrature.

    Gauss-Legendre over direction (in eighths, on which the outline is smooth), radius and height; what bulges
    beyond the rim in rings.
    """
    a, b, g, n = disc.half_lateral_mm, disc.half_ap_mm, disc.bulge, disc.exponent
    gauss, weight = np.polynomial.legendre.leggauss(nodes)
    theta = np.concatenate([(k + 0.5 + 0.5 * gauss) * math.pi / 4 for k in range(8)])
    theta_weight = np.tile(weight * math.pi / 8, 8)
    rim = (np.abs(np.cos(theta)) ** n + np.abs(np.sin(theta)) ** n) ** (-1 / n)
    v = rim * np.sin(theta)
    direction = theta_weight * rim**2
    r, r_weight = 0.5 + 0.5 * gauss, 0.5 * weight
    rho, y = r[:, None], b * np.outer(r, v)
    cell = a * b * direction[None] * (r * r_weight)[:, None]
    dome = 1 - rho**2 + 0 * y
    half = disc.half_height(a * np.outer(r, rim * np.cos(theta)), y, rho + 0 * y)
    top = half + disc.dome_superior_mm * dome
    bottom = -half - disc.dome_inferior_mm * dome
    volume = float((cell * (top - bottom)).sum())
    slope_top, slope_bottom = (float((cell * y * z).sum() / (cell * y * y).sum()) for z in (top, bottom))
    # Beyond the rim: rings of radius 1 .. 1 + g (1 - t^2) at height t of the rim's half height.
    rim_half = disc.half_height(a * rim * np.cos(theta), b * v, np.ones_like(v))
    for t, w in zip(gauss, weight, strict=True):
        ring = ((1 + g * (1 - t * t)) ** 2 - 1) / 2
        volume += float((a * b * direction * rim_half).sum() * ring * w)
    area = float((a * b * direction).sum()) * (1 + g) ** 2 / 2
    return volume, area, slope_top, slope_bottom


@given(shapes)
def test_truth_agrees_with_quadrature(shape: dict[str, float]) -> None:
    disc = single_disc(**shape)
    truth = disc.geometry()
    volume, area, slope_top, slope_bottom = integrated(disc)
    assert truth.volume_mm3 == pytest.approx(volume, rel=1e-8)
    assert truth.footprint_mm2 == pytest.approx(area, rel=1e-8)
    assert truth.height_mean_mm == pytest.approx(volume / area, rel=1e-8)
    wedge = math.degrees(math.atan(slope_bottom) - math.atan(slope_top))
    assert truth.wedge_deg == pytest.approx(wedge, abs=1e-6)


def test_truth_of_an_ellipse_is_exact() -> None:
    disc = single_disc(8.0, half_lateral_mm=25.0, half_ap_mm=18.0, exponent=2.0, dome_superior_mm=2.0)
    truth = disc.geometry()
    assert truth.footprint_mm2 == pytest.approx(math.pi * 25 * 18, rel=1e-12)
    assert truth.height_mean_mm == pytest.approx(9.0, rel=1e-12)
    assert (truth.width_lateral_mm, truth.width_ap_mm) == (50.0, 36.0)
    assert math.isnan(truth.paper_height_mm)


@given(shapes, angles)
def test_inside_fills_the_true_volume(shape: dict[str, float], tilt: tuple[float, float, float]) -> None:
    disc = single_disc(**shape, tilt_deg=tilt)
    rng = np.random.default_rng(5)
    reach = disc.reach_mm
    points = rng.uniform(-1, 1, (200_000, 3)) * reach
    share = disc.inside(*points.T).mean()
    volume = share * 8 * reach.prod()
    spread = 8 * reach.prod() * math.sqrt(share * (1 - share) / len(points))
    assert abs(volume - disc.geometry().volume_mm3) < 5 * spread


@given(angles)
def test_angles_survive_the_rotation(tilt: tuple[float, float, float]) -> None:
    rotation = rotation_from_angles(tilt)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1.0)
    assert angles_of_rotation(rotation) == pytest.approx(tilt, abs=1e-9)


def test_signs_of_the_angles() -> None:
    def up(tilt: tuple[float, float, float], towards: tuple[float, float, float]) -> float:
        """Height of the disc's plane one step towards a direction."""
        normal = rotation_from_angles(tilt)[:, 2]
        return -(normal[0] * towards[0] + normal[1] * towards[1]) / normal[2]

    assert up((10.0, 0.0, 0.0), (0.0, -1.0, 0.0)) == pytest.approx(math.tan(math.radians(10.0)))
    assert up((0.0, 10.0, 0.0), (1.0, 0.0, 0.0)) == pytest.approx(math.tan(math.radians(10.0)))
    left = rotation_from_angles((0.0, 0.0, 10.0))[:, 0]
    assert left == pytest.approx([math.cos(math.radians(10.0)), math.sin(math.radians(10.0)), 0.0])
    assert (
        single_disc(wedge_deg=5.0).half_height(np.array(0.0), np.array(-10.0), np.array(0.5)) > 4.5
    )  # taller in front


@given(angles, st.tuples(*[st.floats(-99.0, 99.0)] * 3))
def test_moving_turns_the_angles_and_nothing_else(
    tilt: tuple[float, float, float], shift: tuple[float, float, float]
) -> None:
    disc = single_disc(9.0, wedge_deg=6.0, bulge=0.05)
    moved = disc.moved(rotation_from_angles(tilt), np.array(shift))
    before, after = disc.geometry().values(), moved.geometry().values()
    for name in ("height_mean_mm", "width_ap_mm", "width_lateral_mm", "wedge_deg", "volume_mm3"):
        assert after[name] == before[name]
    turned = [after[f"angle_{plane}_deg"] for plane in ("sagittal", "coronal", "transverse")]
    assert turned == pytest.approx(tilt, abs=1e-9)
    np.testing.assert_allclose(moved.centre_lps, shift)


@pytest.mark.parametrize("spacing", [(4.4, 0.43, 0.43), (3.3, 0.6, 0.5), (1.0, 1.0, 1.0)])
def test_mask_holds_the_true_volume(spacing: tuple[float, float, float]) -> None:
    disc = single_disc(9.0, tilt_deg=(20.0, 8.0, 5.0), wedge_deg=8.0, bulge=0.05, dome_superior_mm=1.5)
    margins = {"anterior_mm": 5.0, "posterior_mm": 5.0, "inferior_mm": 5.0, "superior_mm": 5.0}
    grid = phantom_grid(disc, spacing_mm=spacing, lateral_mm=66.0, **margins)
    mask = render_disc_mask(disc, grid)
    volume = disc.geometry().volume_mm3
    assert disc_fraction(disc, grid).array.sum() * grid.voxel_volume_mm3 == pytest.approx(volume, rel=2e-3)
    # Cutting at one half takes a little off the ends that curve within a thick slice.
    assert mask.array.sum() * grid.voxel_volume_mm3 == pytest.approx(volume, rel=0.02)
    points = np.random.default_rng(3).uniform(-1, 1, (400_000, 3)) * disc.reach_mm
    expected = disc.centre_lps + disc.rotation @ points[disc.inside(*points.T)].mean(axis=0)
    centroid = grid.to_world(np.argwhere(mask.array)).mean(axis=0)
    np.testing.assert_allclose(centroid, expected, atol=0.15)


def test_mask_off_the_grid_is_empty() -> None:
    grid = Grid.from_spacing((3, 4, 5), (1, 1, 1), origin_mm=(500, 0, 0))
    assert not render_disc_mask(single_disc(), grid).array.any()


@pytest.mark.parametrize(
    "shape",
    [
        {"height_mm": 0.0},
        {"height_mm": 2.0, "wedge_deg": 20.0},
        {"half_ap_mm": -1.0},
        {"exponent": 0.5},
        {"bulge": -0.1},
        {"dome_inferior_mm": -1.0},
    ],
)
def test_impossible_discs_are_refused(shape: dict[str, float]) -> None:
    with pytest.raises(InputError, match="raise the height or lower the wedge"):
        single_disc(**shape)


def test_impossible_labels_and_tilts_are_refused() -> None:
    with pytest.raises(LabelError):
        single_disc(label=100)
    with pytest.raises(InputError, match="80 degrees"):
        single_disc(tilt_deg=(0.0, 85.0, 0.0))


def test_level_and_largest_height() -> None:
    disc = single_disc(8.0, label=202, dome_superior_mm=1.0, dome_inferior_mm=0.5)
    assert disc.level == "L4/L5"
    assert disc.height_max_mm == pytest.approx(9.5)


@given(st.tuples(*[st.floats(0.3, 5.0)] * 3), st.floats(0.3, 3.0), st.booleans())
def test_samples_lie_close_enough(spacing: tuple[float, float, float], step: float, odd: bool) -> None:
    grid = Grid.from_spacing((4, 3, 2), spacing)
    counts = subsamples(grid, step, odd=odd)
    for size, count in zip(spacing, counts, strict=True):
        assert size / count <= step + 1e-5
        assert not odd or count % 2


def test_slabs_cover_the_grid_and_keep_the_mean() -> None:
    grid = Grid.from_spacing(
        (5, 4, 3), (3.0, 0.5, 1.0), origin_mm=(7, 8, 9), direction=np.eye(3)[:, [1, 0, 2]]
    )
    seen = np.zeros(5, dtype=int)
    for rows, fine, merge in fine_slabs(grid, 0.5):
        seen[rows] += 1
        index = np.stack(np.meshgrid(*[np.arange(n) for n in fine.shape], indexing="ij"), axis=-1)
        places = fine.to_world(index.astype(float))
        means = np.stack([merge(places[..., axis]) for axis in range(3)], axis=-1)
        expected = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
        np.testing.assert_allclose(means, grid.to_world(expected.astype(float))[rows], atol=1e-4)
    assert (seen == 1).all()


def test_sample_distance_must_be_positive() -> None:
    with pytest.raises(InputError, match="positive distance"):
        subsamples(Grid.from_spacing((2, 2, 2), (1, 1, 1)), 0.0)


def test_surface_of_a_round_cylinder_is_exact() -> None:
    disc = single_disc(8.0, half_lateral_mm=20.0, half_ap_mm=20.0, exponent=2.0)
    expected = 2 * math.pi * 20.0**2 + 2 * math.pi * 20.0 * 8.0
    assert disc.geometry().surface_mm2 == pytest.approx(expected, rel=1e-4)


@given(shapes)
@settings(max_examples=15)
def test_heights_are_where_the_disc_begins_and_ends(shape: dict[str, float]) -> None:
    disc = single_disc(**shape)
    truth = disc.geometry()
    grow = 1 + disc.bulge
    z = np.arange(-16.0, 16.0, 0.004)
    places = {
        "height_anterior_mm": (0.0, -0.8 * grow * disc.half_ap_mm),
        "height_middle_mm": (0.0, 0.0),
        "height_posterior_mm": (0.0, 0.8 * grow * disc.half_ap_mm),
    }
    for name, (x, y) in places.items():
        counted = disc.inside(np.full_like(z, x), np.full_like(z, y), z).sum() * 0.004
        assert getattr(truth, name) == pytest.approx(counted, abs=0.02), name
    left, right = (
        disc.inside(np.full_like(z, x), np.zeros_like(z), z).sum() * 0.004
        for x in (0.8 * grow * disc.half_lateral_mm, -0.8 * grow * disc.half_lateral_mm)
    )
    assert truth.asymmetry_mm == pytest.approx(left - right, abs=0.02)
    assert truth.height_dabbs_mm == pytest.approx((truth.height_anterior_mm + truth.height_posterior_mm) / 2)
    assert 3 * truth.height_fyllos_mm == pytest.approx(2 * truth.height_dabbs_mm + truth.height_middle_mm)
    assert truth.height_hurxthal_mm == truth.height_middle_mm


def test_height_beyond_the_rim_and_outside() -> None:
    disc = single_disc(8.0, half_ap_mm=18.0, bulge=0.1)
    assert disc.height_at(0.0, 18.0) == pytest.approx(8.0)
    assert disc.height_at(0.0, 18.0 * 1.1) == pytest.approx(0.0, abs=1e-6)
    assert disc.height_at(0.0, 18.0 * 1.05) == pytest.approx(8.0 * math.sqrt(0.5))
    assert single_disc(8.0).height_at(0.0, 18.1) == 0.0


def test_bulge_is_the_difference_of_the_radii_of_equal_circles() -> None:
    truth = single_disc(8.0, half_lateral_mm=25.0, half_ap_mm=16.0, exponent=2.0, bulge=0.05).geometry()
    assert truth.bulge_mm == pytest.approx(0.05 * math.sqrt(25.0 * 16.0))
