from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from discometry.core.errors import InputError
from discometry.core.phantom import phantom_grid, render_tissue, sample_phantom
from discometry.core.records import Geometry, Spine
from discometry.core.volume import Grid, Volume
from discometry.stages.judge import JudgeConfig, canal_depths_mm, judge
from discometry.stages.measure import measure
from discometry.stages.separate import SeparateConfig, separate

MASK = JudgeConfig(least_canal_mm=0.0)


def tissue(seed: int = 3) -> Volume:
    phantom = sample_phantom(seed, n_discs=6)
    return render_tissue(phantom, phantom_grid(phantom, spacing_mm=(4.0, 0.8, 0.8)))


def judged(labels: Volume, config: JudgeConfig | None = None) -> tuple[str, ...]:
    spine = separate(labels, SeparateConfig(convention="tissue"))
    return judge(spine, [measure(disc, spine.vertebrae) for disc in spine.discs], config)


def scaled(labels: Volume, *factors: float) -> Volume:
    affine = labels.grid.affine.copy()
    affine[:3, :3] *= factors
    return Volume(Grid(labels.grid.shape, affine), labels.array)


@pytest.mark.parametrize("seed", range(8))
def test_a_spine_that_lies_as_it_says_has_no_flag(seed: int) -> None:
    assert judged(tissue(seed)) == ()


def without_sacrum(labels: Volume, axis: int) -> Volume:
    """A spine turned over in its file; separating would refuse one with its sacrum on top."""
    return labels.with_array(np.flip(np.where(labels.array == 4, 0, labels.array), axis))


def test_a_spine_upside_down_is_doubted() -> None:
    assert judged(without_sacrum(tissue(), 2), MASK) == ("doubtful_orientation",)


def test_a_spine_back_to_front_is_doubted() -> None:
    labels = tissue()
    no_canal = labels.with_array(np.where(labels.array == 2, 0, labels.array))
    assert judged(without_sacrum(no_canal, 1), MASK) == ("doubtful_orientation",)


@pytest.mark.parametrize(
    "factors",
    [(1, 1, 0.6), (1, 1, 1.5), (1.6, 1.6, 1.6), (0.6, 0.6, 0.6), (1, 0.6, 1)],
    ids=["pressed", "drawn out", "too large", "too small", "flat"],
)
def test_wrong_voxel_sizes_are_doubted(factors: tuple[float, float, float]) -> None:
    assert "unusual_size" in judged(scaled(tissue(), *factors), MASK)


def test_a_thin_canal_is_doubted_and_none_is_refused_where_one_should_be_seen() -> None:
    labels = tissue()
    places = np.argwhere(labels.array == 2)
    front = places[:, 1].min()
    thin, none = labels.array.copy(), labels.array.copy()
    none[none == 2] = 0
    thin[(thin == 2) & ((np.arange(thin.shape[1]) - front) % 8 != 0)[:, None]] = 0
    assert judged(labels.with_array(thin)) == ("doubtful_orientation",)
    assert judged(labels.with_array(thin), MASK) == ()
    assert judged(labels.with_array(none), MASK) == ()
    with pytest.raises(InputError, match="no spinal canal behind"):
        judged(labels.with_array(none))


def test_depth_is_that_of_the_canal_from_front_to_back() -> None:
    spine = separate(tissue(), SeparateConfig(convention="tissue"))
    assert spine.canal is not None
    array = np.zeros(spine.canal.grid.shape, dtype=bool)
    array[:, 10:20] = True
    assert canal_depths_mm(replace(spine, canal=spine.canal.with_array(array))) == pytest.approx([8.0] * 6)
    assert canal_depths_mm(replace(spine, canal=None)).tolist() == [0.0] * 6


@pytest.mark.parametrize(("angles", "flags"), [("lower", ()), ("upper", ("doubtful_orientation",))])
def test_a_spine_that_bends_most_at_its_upper_end_is_doubted(angles: str, flags: tuple[str, ...]) -> None:
    spine = separate(tissue(), SeparateConfig(convention="tissue"))
    bent = np.array([-20.0, -8.0, 0.0, 4.0, 6.0, 7.0])
    bent = bent if angles == "lower" else -bent[::-1]
    geometries = [
        replace(measure(disc, spine.vertebrae), angle_sagittal_deg=float(angle))
        for disc, angle in zip(spine.discs, bent, strict=True)
    ]
    assert judge(spine, geometries) == flags
    assert judge(replace(spine, discs=spine.discs[:4]), geometries[:4]) == ()


def test_few_discs_and_missing_measures_give_no_reason_for_doubt() -> None:
    spine = separate(tissue(), SeparateConfig(convention="tissue"))
    lone = Spine(spine.labels, spine.discs[:1], spine.vertebrae, spine.canal)
    assert judge(lone, [Geometry()]) == ()
    assert judge(spine, [Geometry() for _ in spine.discs]) == ()
