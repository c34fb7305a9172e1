"""The stages in order, on a phantom whose answer is known and on real scans."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import openvino
import pytest

import discometry
from discometry.core.anatomy import Tissue
from discometry.core.errors import DiscometryError, InputError, LabelError
from discometry.core.phantom import (
    phantom_grid,
    render_discs,
    render_mri,
    render_tissue,
    sample_phantom,
)
from discometry.core.records import CUBE_SHAPE, CUBE_SPACING_MM, Disc, Encoding, Geometry
from discometry.core.volume import Grid, Volume
from discometry.io.bundle import read_bundle
from discometry.io.images import read_image, read_mask
from discometry.networks.engine_openvino import OpenvinoPredictor
from discometry.pipeline import Models, analyse_image, analyse_mask, flags_of
from discometry.study import make_phantom_study


@pytest.fixture(scope="module")
def models() -> Models:
    return Models(read_bundle())


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize("contrast", ["t1", "t2"])
def test_phantom_image_gives_its_discs(models: Models, contrast: str) -> None:
    phantom = sample_phantom(11, n_discs=5)
    grid = phantom_grid(phantom, spacing_mm=(4.0, 0.8, 0.8))
    image = render_mri(phantom, grid, contrast=contrast, seed=2)
    analysis = analyse_image("phantom", image, models)
    assert list(analysis.timings_s) == [
        "locate", "prepare", "segment", "separate", "measure", "encode", "classify",
    ]  # fmt: skip
    result = analysis.result
    assert [item.disc.level for item in result.discs] == ["L5/S1", "L4/L5", "L3/L4", "L2/L3", "L1/L2"]
    truth = render_discs(phantom, grid)
    for item, known in zip(result.discs, phantom.discs, strict=True):
        found = result.spine.labels.array == item.disc.label
        assert dice(found, truth.array == known.label) > 0.8
        assert item.geometry.height_mean_mm == pytest.approx(known.geometry().height_mean_mm, abs=1.5)  # mm
        assert 0 < item.narrowing_probability < 1
        assert "ambiguous_level" not in item.flags


def test_networks_are_made_ready_for_just_the_windows_that_come(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, ...]] = []
    compiling = OpenvinoPredictor._compile

    def noted(network: OpenvinoPredictor, shape: tuple[int, ...]) -> openvino.CompiledModel:
        made.append(shape)
        return compiling(network, shape)

    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # with one, nothing is made ready beforehand
    monkeypatch.setattr(OpenvinoPredictor, "_compile", noted)
    phantom = sample_phantom(11, n_discs=5)
    image = render_mri(phantom, phantom_grid(phantom, spacing_mm=(4.0, 0.8, 0.8)), seed=2)
    models = Models(read_bundle())
    analyse_image("phantom", image, models)
    assert len(made) == 2, "one shape for the locator, one for the segmenter"
    analyse_image("phantom", image, models)
    assert len(made) == 2, "and none again for the same image"


def test_axis_order_of_a_mask_changes_no_number(models: Models) -> None:
    phantom = sample_phantom(12, n_discs=5)
    labels = render_discs(phantom, phantom_grid(phantom, spacing_mm=(4.4, 0.8, 0.8)))
    turned = labels.transposed((2, 0, 1)).flipped(0).flipped(2)
    first, second = (analyse_mask("a", mask, models).result for mask in (labels, turned))
    for one, other in zip(first.discs, second.discs, strict=True):
        assert one.disc.level == other.disc.level
        for name, value in one.geometry.values().items():
            assert other.geometry.values()[name] == pytest.approx(value, abs=1e-6, nan_ok=True), name
        assert other.encoding.latents == pytest.approx(one.encoding.latents, abs=1e-4)


def test_vertebrae_of_a_mask_give_indices_and_the_spine_its_lordosis(models: Models) -> None:
    phantom = sample_phantom(14, n_discs=5)
    grid = phantom_grid(phantom, spacing_mm=(3.3, 0.8, 0.8), lateral_mm=95.0, superior_mm=45.0)
    tissue = render_tissue(phantom, grid)
    labels = tissue.with_array(
        np.where(tissue.array == Tissue.VERTEBRA, 1, render_discs(phantom, grid).array).astype(np.int16)
    )
    result = analyse_mask("a", labels, models).result
    for item, known in zip(result.discs, phantom.discs, strict=True):
        assert 0.1 < item.geometry.disc_height_index < 0.6
        assert item.flags == ()
        errors = item.geometry.standard_errors
        assert errors is not None
        off = item.geometry.height_fyllos_mm - known.geometry().height_fyllos_mm
        assert abs(off) < 4 * errors.height_fyllos_mm
        scores = [score for score in item.z_scores.values() if np.isfinite(score)]
        assert len(scores) == (0 if item.disc.level == "L5/S1" else 10)
    curve = result.lordosis
    assert curve is not None
    assert (curve.upper, curve.lower) == ("L1/L2", "L5/S1")
    low, *_, high = (disc.geometry().angle_sagittal_deg for disc in phantom.discs)
    assert curve.angle_deg == pytest.approx(high - low, abs=1.0)


KNOWN = Geometry(height_mean_mm=9.0, height_fyllos_mm=9.0, width_ap_mm=35.0, wedge_deg=8.0)


@pytest.mark.parametrize(
    ("geometry", "plausibility", "flags"),
    [
        (Geometry(), 0.5, ("few_slices",)),
        (Geometry(paper_height_mm=3.0), 0.5, ("few_slices", "not_disc_like")),
        (
            Geometry(paper_height_mm=3.0, height_mean_mm=3.0, wedge_deg=2.0),
            0.5,
            ("few_slices", "implausible"),
        ),
        (KNOWN, 0.001, ("few_slices",)),
        (KNOWN, 0.0, ("few_slices", "unusual_shape")),
    ],
    ids=["cut off", "no shape", "no disc's height", "rare", "unlike all"],
)
def test_flags_say_why_to_trust_less(geometry: Geometry, plausibility: float, flags: tuple[str, ...]) -> None:
    cube = Volume(Grid.from_spacing(CUBE_SHAPE, CUBE_SPACING_MM), np.zeros(CUBE_SHAPE, bool))
    disc = Disc(202, "L4/L5", cube, cube, ("few_slices",))
    assert flags_of(disc, geometry, Encoding((0.0,), 0.9, plausibility)) == flags


@pytest.mark.parametrize("subject", ["11", "25"])
def test_real_t2_scan_not_trained_on(shared_data: Path, models: Models, subject: str) -> None:
    folder = shared_data / "fastcleverseg"
    image = read_image(folder / "images_iso" / f"{subject}.nii.gz")
    truth = read_mask(folder / "masks_iso" / f"{subject}.nii.gz")
    result = analyse_image(subject, image, models).result
    assert len(result.discs) >= 5
    scores = {
        label: dice(result.spine.labels.array == label, truth.array == label) for label in range(201, 206)
    }
    assert min(scores.values()) >= 0.75, scores


def test_real_t1_scan_has_discs_between_its_bodies(shared_data: Path, models: Models) -> None:
    folder = shared_data / "vertebrae" / "VB1"
    bodies = read_mask(folder / "02_bodies.nii.gz")
    result = analyse_image("02", read_image(folder / "02_image.nii.gz"), models).result
    discs = result.spine.labels.array > 0
    assert (discs & (bodies.array > 0)).sum() < 0.05 * discs.sum()
    heights = {
        int(label): float(bodies.grid.to_world(np.argwhere(bodies.array == label)).mean(axis=0)[2])
        for label in np.unique(bodies.array[bodies.array > 0])
    }
    ordered = sorted(heights.values())
    middles = [
        item.disc.mask.grid.to_world(np.argwhere(item.disc.mask.array)).mean(axis=0)[2]
        for item in result.discs
    ]
    between = [sum(low < middle < high for middle in middles) for low, high in itertools.pairwise(ordered)]
    assert between == [1] * len(between), between


def test_original_spider_mask_has_seven_discs(shared_data: Path, tmp_path: Path) -> None:
    result = discometry.analyse(shared_data / "spider" / "masks_full" / "1_t1.mha", mask=True, out=tmp_path)
    assert [item.disc.level for item in result.discs] == [
        "L5/S1", "L4/L5", "L3/L4", "L2/L3", "L1/L2", "T12/L1", "T11/T12",
    ]  # fmt: skip
    assert (tmp_path / "1_t1" / "report.html").is_file()


def test_the_same_image_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    image = make_phantom_study(tmp_path, seed=1)
    for place in ("first", "second"):
        discometry.analyse(image, out=tmp_path / place)
    first, second = tmp_path / "first" / "phantom", tmp_path / "second" / "phantom"
    files = [file.relative_to(first) for file in sorted(first.rglob("*")) if file.is_file()]
    # The manifest tells how long each stage took, and the report shows it.
    same = [name for name in files if name.name not in ("study.json", "report.html")]
    assert len(same) == 3 + 5, same
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in same)


def spheres() -> Volume:
    """A quality-control phantom: bright spheres in a dark box."""
    grid = Grid.from_spacing((60, 100, 100), (2.0, 2.0, 2.0))
    array = np.random.default_rng(0).normal(10, 2, grid.shape)
    points = grid.to_world(np.stack(np.indices(grid.shape), axis=-1).astype(float))
    for centre in np.random.default_rng(1).uniform(20, 110, (12, 3)):
        array[np.linalg.norm(points - centre, axis=-1) < 14] += 80
    return Volume(grid, array.astype(np.float32))


def noise() -> Volume:
    grid = Grid.from_spacing((20, 200, 200), (4.0, 1.0, 1.0))
    return Volume(grid, np.random.default_rng(0).rayleigh(30, grid.shape).astype(np.float32))


def column(*, boxes: bool) -> Volume:
    """Spheres, or boxes, one above the other as vertebrae are."""
    grid = Grid.from_spacing((40, 180, 220), (2.0, 1.0, 1.0))
    array = np.random.default_rng(0).normal(10, 2, grid.shape)
    points = grid.to_world(np.stack(np.indices(grid.shape), axis=-1).astype(float))
    for number in range(6):
        if boxes:
            array[10:30, 70:105, 20 + 34 * number : 46 + 34 * number] += 80
        else:
            array[np.linalg.norm(points - (39, 90, 40 + 24 * number), axis=-1) < 10] += 80
    return Volume(grid, array.astype(np.float32))


@pytest.mark.parametrize("image", [spheres(), noise()], ids=["spheres", "noise"])
def test_an_image_without_a_spine_is_refused(models: Models, image: Volume) -> None:
    with pytest.raises(DiscometryError, match=r"no lumbar spine|no disc"):
        analyse_image("none", image, models)


@pytest.mark.parametrize("boxes", [True, False], ids=["boxes", "spheres"])
def test_a_column_that_is_no_spine_is_refused_or_doubted(models: Models, boxes: bool) -> None:
    assert refused_or_doubted(column(boxes=boxes), models)


def refused_or_doubted(image: Volume, models: Models) -> bool:
    """Whether an image is refused, or all its discs carry the flag that doubts how it lies."""
    try:
        discs = analyse_image("turned", image, models).result.discs
    except (InputError, LabelError):
        return True
    return all("doubtful_orientation" in disc.flags for disc in discs)


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2)], ids=["back to front", "upside down", "both"])
def test_a_spine_that_lies_wrongly_is_refused_or_doubted(models: Models, axes: tuple[int, ...]) -> None:
    phantom = sample_phantom(11, n_discs=5)
    image = render_mri(phantom, phantom_grid(phantom, spacing_mm=(4.0, 0.8, 0.8)), seed=2)
    assert not refused_or_doubted(image, models)
    assert refused_or_doubted(image.with_array(np.flip(image.array, axes)), models)


@pytest.mark.parametrize("axes", [(1,), (2,), (1, 2)], ids=["back to front", "upside down", "both"])
def test_a_real_spine_that_lies_wrongly_is_refused_or_doubted(
    shared_data: Path, models: Models, axes: tuple[int, ...]
) -> None:
    image = read_image(shared_data / "fastcleverseg" / "images_iso" / "11.nii.gz").oriented()
    assert not refused_or_doubted(image, models)
    assert refused_or_doubted(image.with_array(np.flip(image.array, axes)), models)
