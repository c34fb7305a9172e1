from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from discometry.core.errors import InputError
from discometry.io.bundle import read_bundle
from discometry.io.phantom_cohort import write_phantom_cohort
from discometry.io.spider import read_cohort
from discometry.training import segmenter_folds as module
from discometry.training.segmenter_folds import SegmenterBudget, file_safe, train_segmenters
from tiny_segmenter import TINY


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("cohort")
    return read_cohort(write_phantom_cohort(folder, patients=6, seed=1, spacing_mm=(6.0, 2.4, 2.4)))


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PRESETS", {"paper": TINY})


@pytest.mark.usefixtures("tiny")
def test_each_patient_is_segmented_by_a_network_of_the_others(cohort, tmp_path: Path) -> None:
    plan = train_segmenters(cohort, tmp_path, SegmenterBudget(), protocol="strict")
    assert len(plan) == 2
    seen: list[str] = []
    for bundle, studies in plan:
        trained_on = set(read_bundle(bundle).component("segmenter").config["patients"])
        own = {one.patient for one in studies}
        assert not own & trained_on
        assert len(trained_on) == 3
        assert {"autoencoder", "classifier", "segmenter"} == set(read_bundle(bundle).components)
        seen += sorted(own)
    assert sorted(seen) == sorted(one.patient for one in cohort.studies)


@pytest.mark.usefixtures("tiny")
def test_the_paper_keeps_a_fifth_to_test_on(cohort, tmp_path: Path) -> None:
    ((bundle, studies),) = train_segmenters(cohort, tmp_path, SegmenterBudget(), protocol="paper")
    assert len(studies) == 1
    assert len(read_bundle(bundle).component("segmenter").config["patients"]) == 5


@pytest.mark.usefixtures("tiny")
def test_odd_names_of_patients_stay_apart_and_odd_pairs_of_files_are_refused(cohort, tmp_path: Path) -> None:
    odd = replace(cohort, studies=tuple(replace(s, patient=f"a_{s.patient}.1") for s in cohort.studies))
    ((bundle, _),) = train_segmenters(odd, tmp_path / "a", SegmenterBudget(), protocol="paper")
    trained_on = read_bundle(bundle).component("segmenter").config["patients"]
    assert len(trained_on) == 5
    assert set(trained_on) < {file_safe(one.patient) for one in odd.studies}
    folder = replace(cohort, studies=tuple(replace(s, image=tmp_path) for s in cohort.studies))
    with pytest.raises(InputError, match="same ending"):
        train_segmenters(folder, tmp_path / "b", SegmenterBudget(), protocol="paper")


@pytest.mark.usefixtures("tiny")
def test_what_is_trained_is_not_trained_again(
    cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train_segmenters(cohort, tmp_path, SegmenterBudget(), protocol="paper")

    def trained(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "fit_segmenter", trained)
    assert train_segmenters(cohort, tmp_path, SegmenterBudget(), protocol="paper") == first
