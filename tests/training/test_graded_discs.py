from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from discometry.core.errors import GridError, InputError
from discometry.core.phantom import phantom_grid, render_discs, render_mri, sample_phantom
from discometry.io.images import write_volume
from discometry.stages.classify import FEATURES
from discometry.training.cross_validation import Outcomes
from discometry.training.graded_discs import TARGETS, GradedDiscs, outcome_of, read_graded_discs

HEADER = "Patient,IVD label,Modic,Disc narrowing,Pfirrman grade\n"
PHANTOM = sample_phantom(3, n_discs=2, narrowed=["L4/L5"])
GRID = phantom_grid(PHANTOM, spacing_mm=(3.0, 1.0, 1.0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Patient 7 has an image and fits, 8 has a grading too many, 9 one too few, 10 fits."""
    place = tmp_path_factory.mktemp("graded")
    for part in ("images", "masks"):
        (place / part).mkdir()
    mask = render_discs(PHANTOM, GRID)
    for patient in ("7", "8", "9", "10"):
        write_volume(mask, place / "masks" / f"{patient}_t1.mha")
    write_volume(render_mri(PHANTOM, GRID, contrast="t1", seed=1), place / "images" / "7_t1.mha")
    table = (
        HEADER + "7,1,0,0,3\n7,2,0,1,4\n8,1,0,1,5\n8,2,1,1,5\n8,3,0,0,2\n9,2,0,2,3\n10,1,2,1,5\n10,2,0,,2\n"
    )
    (place / "radiological_gradings.csv").write_text(table)
    return place


def column(discs: GradedDiscs, name: str) -> list[float]:
    return list(discs.columns((name,))[:, 0])


def test_discs_meet_their_gradings(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        discs = read_graded_discs(folder)
    assert discs.outcomes.patients.tolist() == ["7", "7", "10"]
    assert discs.outcomes.positive.tolist() == [False, True, True]
    assert column(discs, "level_place") == [0, 1, 0]
    truth = [disc.geometry().height_mean_mm for disc in PHANTOM.discs]
    np.testing.assert_allclose(column(discs, "height_mean_mm")[:2], truth, rtol=0, atol=0.5)
    told = [record.getMessage() for record in caplog.records if record.name.startswith("discometry.training")]
    assert [line.split(":")[0] for line in told] == ["8_t1", "9_t1"], (
        "what does not fit is named, and only that"
    )
    assert all("its gradings" in line for line in told)


def test_the_image_gives_the_signal_where_there_is_one(folder: Path) -> None:
    found = column(read_graded_discs(folder), "signal_nucleus_over_annulus")
    assert np.isfinite(found).tolist() == [True, True, False]


def test_an_image_on_another_grid_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    other = phantom_grid(PHANTOM, spacing_mm=(3.0, 2.0, 2.0))
    write_volume(
        render_mri(PHANTOM, other, contrast="t1", seed=1), tmp_path / "copy" / "images" / "10_t1.mha"
    )
    with pytest.raises(GridError):
        read_graded_discs(tmp_path / "copy")


def test_another_target(folder: Path) -> None:
    discs = read_graded_discs(folder, target="pfirrmann")
    assert discs.outcomes.patients.tolist() == ["7", "7", "10", "10"]
    assert discs.outcomes.positive.tolist() == [False, True, True, False]
    with pytest.raises(InputError, match=r"no grading of 'bulging'; expected one of .*narrowing"):
        read_graded_discs(folder, target="bulging")
    with pytest.raises(InputError, match="no grading of 'luck'"):
        read_graded_discs(folder, target="luck")


def test_a_folder_without_gradings_or_without_masks_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "images", tmp_path / "images")
    with pytest.raises(InputError, match="no graded disc"):
        read_graded_discs(tmp_path)
    shutil.copytree(folder / "masks", tmp_path / "masks")
    with pytest.raises(InputError, match="no graded disc"):
        read_graded_discs(tmp_path)


@pytest.mark.parametrize(("target", "grades"), [("narrowing", [0, 1, 2]), ("pfirrmann", [3, 4, 5])])
def test_a_finding_begins_at_its_grade(target: str, grades: list[float]) -> None:
    table = pd.DataFrame({TARGETS[target][0]: [*grades, np.nan]}, dtype=float)
    np.testing.assert_array_equal(outcome_of(table, target), [0, 1, 1, np.nan])


def test_columns_come_in_the_order_of_their_names() -> None:
    discs = GradedDiscs(
        np.arange(2.0 * len(FEATURES)).reshape(2, -1), Outcomes(np.ones(2, bool), np.array(["a", "b"]))
    )
    np.testing.assert_array_equal(discs.columns((FEATURES[3], FEATURES[1]))[0], [3, 1])
