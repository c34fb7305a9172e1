from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from discometry.core.errors import InputError
from discometry.core.phantom import phantom_grid, render_discs, sample_phantom
from discometry.io.images import write_volume
from discometry.stages.classify import FEATURES
from discometry.training.graded_discs import GradedDiscs, read_graded_discs, read_gradings

HEADER = "Patient,IVD label,Modic,Disc narrowing\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("graded")
    (place / "masks").mkdir()
    phantom = sample_phantom(3, n_discs=2, narrowed=["L4/L5"])
    mask = render_discs(phantom, phantom_grid(phantom, spacing_mm=(3.0, 1.0, 1.0)))
    for patient in ("7", "8", "9"):
        write_volume(mask, place / "masks" / f"{patient}_t1.mha")
    table = HEADER + "7,1,0,0\n7,2,0,1\n8,1,0,1\n8,2,1,1\n8,3,0,0\n9,2,0,2\n"
    (place / "radiological_gradings.csv").write_text(table)
    return place


def test_discs_meet_their_gradings(folder: Path) -> None:
    discs = read_graded_discs(folder)
    assert discs.patients.tolist() == ["7", "7", "8", "8", "9"]
    assert discs.narrowed.tolist() == [False, True, True, True, True]
    assert discs.features[:, FEATURES.index("level_place")].tolist() == [0, 1, 0, 1, 1]
    truth = sample_phantom(3, n_discs=2, narrowed=["L4/L5"]).discs
    heights = discs.features[:2, FEATURES.index("height_mean_mm")]
    np.testing.assert_allclose(heights, [disc.geometry().height_mean_mm for disc in truth], rtol=0, atol=0.5)


def test_patients_can_be_left_out(folder: Path) -> None:
    assert set(read_graded_discs(folder, left_out=("8",)).patients) == {"7", "9"}
    with pytest.raises(InputError, match="no graded disc"):
        read_graded_discs(folder, left_out=("7", "8", "9"))


@pytest.mark.parametrize(
    "table", [None, "Patient,IVD label\n1,1\n", HEADER + "1,one,0,0\n", HEADER + "1\n", HEADER + "1,1,0,\n"]
)
def test_gradings_that_cannot_be_read_are_named(tmp_path: Path, table: str | None) -> None:
    path = tmp_path / "radiological_gradings.csv"
    if table is not None:
        path.write_text(table)
    with pytest.raises(InputError, match="gradings"):
        read_gradings(path)


def test_gradings_by_patient_and_place(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("\ufeff" + HEADER + "12,1,0,0\n12,2,3,1\n")
    assert read_gradings(path) == {("12", 1): False, ("12", 2): True}


def test_tables_of_different_length_are_refused() -> None:
    with pytest.raises(InputError, match="different length"):
        GradedDiscs(np.zeros((2, 7)), np.zeros(2, dtype=bool), np.array(["a"]))
