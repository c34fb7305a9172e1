from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from discometry import experiment as module
from discometry.cli import main
from discometry.core.errors import InputError
from discometry.experiment import ExperimentConfig, reproduce
from discometry.io.bundle import STARTER
from discometry.io.phantom_cohort import write_phantom_cohort
from discometry.training import segmenter_folds
from discometry.training.cross_validation import Folds
from tiny_segmenter import TINY

QUICK = ExperimentConfig(segmenter=STARTER, bottlenecks=(2,), folds=Folds(folds=2, repeats=2), draws=20)
NUMBERS = ("discs.csv", "bottlenecks.csv", "narrowing.json", "probabilities.csv", "excluded.csv")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four phantoms, masks only, and the image of one."""
    folder = write_phantom_cohort(
        tmp_path_factory.mktemp("cohort"), patients=4, images=False, seed=3, spacing_mm=(4.0, 1.6, 1.6)
    )
    other = tmp_path_factory.mktemp("other")
    write_phantom_cohort(other, patients=1, seed=3, spacing_mm=(4.0, 1.6, 1.6))
    shutil.copytree(other / "images", folder / "images")
    return folder


def started(finished: Path, out: Path, *, protocol: str = "strict") -> Path:
    """Copy what takes longest, the analysed studies, into an experiment that has just begun."""
    for kind in ("true", "predicted", "explained"):
        shutil.copytree(finished / kind, out / kind)
    record = json.loads((finished / ".experiment.json").read_text())
    record["options"]["protocol"] = protocol
    (out / ".experiment.json").write_text(json.dumps(record))
    return out


@pytest.fixture(scope="module")
def finished(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("experiment") / "out"
    reproduce(cohort, out, QUICK)
    return out


def test_every_step_leaves_its_file(finished: Path) -> None:
    discs = pd.read_csv(finished / "discs.csv")
    true, predicted = (discs[discs["kind"] == kind] for kind in ("true", "predicted"))
    assert true["patient"].nunique() == 4
    assert predicted["patient"].unique().tolist() == ["phantom000"]
    assert true["narrowing"].isin([0, 1]).all()
    assert true["unseen"].all()
    sweep = pd.read_csv(finished / "bottlenecks.csv")
    assert sweep["latents"].tolist() == [2]
    assert (sweep["held_out_iou"].between(0.5, 1.0) & sweep["train_iou"].between(0.5, 1.0)).all()
    scores = pd.read_csv(finished / "segmentation.csv")
    assert scores["dice"].mean() > 0.7
    rows = json.loads((finished / "narrowing.json").read_text())["true"]
    found = {row["name"]: row for row in rows}
    assert found["always the more frequent answer"]["auroc"][0] == 0.5
    assert found["level alone"]["discs"] == len(true)
    assert found["level and geometry (shipped)"]["columns"][0] == "level_place"
    assert found["level alone"]["above_level"] is None
    assert len(found["level and geometry (shipped)"]["above_level"]) == 3


def test_the_page_stands_alone(finished: Path) -> None:
    page = (finished / "index.html").read_text()
    assert "strict protocol" in page
    assert "level and geometry (shipped)" in page
    assert "0.81, 0.75" in page, "the paper's numbers stand beside ours"
    assert 'src="http' not in page
    assert "| level alone |" in (finished / "tables.md").read_text()
    assert "Narrowing was not predicted from masks of the segmenter: 1 patients" in page, (
        "of one image alone nothing can be learnt"
    )


def test_killed_at_every_step_it_ends_with_the_same_numbers(
    cohort: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = started(finished, tmp_path / "out")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    for step in ("gather_discs", "reconstruction_ious", "compare", "write_experiment_page"):
        with monkeypatch.context() as patch:
            patch.setattr(module, step, killed)
            with pytest.raises(KeyboardInterrupt):
                reproduce(cohort, out, QUICK)
        assert not (out / "index.html").exists()
    reproduce(cohort, out, QUICK)
    for name in NUMBERS:
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name


def test_another_experiment_is_not_mixed_in(cohort: Path, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="other data or options"):
        reproduce(cohort, finished, replace(QUICK, protocol="paper"))
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="other files"):
        reproduce(cohort, tmp_path, QUICK)


def test_the_papers_protocol_says_what_it_carries(cohort: Path, finished: Path, tmp_path: Path) -> None:
    out = started(finished, tmp_path / "out", protocol="paper")
    page = reproduce(cohort, out, replace(QUICK, protocol="paper")).read_text()
    assert "Folds split discs, not patients" in page
    names = [row["name"] for row in json.loads((out / "narrowing.json").read_text())["true"]]
    assert "latent, paper's XGBoost, folds by disc" in names
    assert "latent, paper's XGBoost, folds by patient" in names
    assert "held_out_iou" not in pd.read_csv(out / "bottlenecks.csv")


def test_in_a_browser_the_page_is_whole_and_the_console_silent(
    finished: Path, chromium: Callable[[Path], tuple[str, list[str]]]
) -> None:
    dom, console = chromium(finished / "index.html")
    assert console == []
    assert dom.count("<img") >= 5
    assert "level and geometry (shipped)" in dom


def test_it_trains_segmenters_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps teach a segmenter nothing: what it does not find is told, and the rest is done."""
    cohort = write_phantom_cohort(tmp_path / "cohort", patients=4, seed=1, spacing_mm=(6.0, 2.4, 2.4))
    monkeypatch.setattr(segmenter_folds, "PRESETS", {"paper": TINY})

    def too_few(*_: object, **__: object) -> None:
        raise InputError("9 discs", expected="10", action="analyse more")

    monkeypatch.setattr(module, "explain_latents", too_few)  # the page does without, too
    out = tmp_path / "out"
    reproduce(cohort, out, replace(QUICK, segmenter=None, folds=Folds(folds=2, repeats=1)))
    assert "What the latents mean" not in (out / "index.html").read_text()
    scores = pd.read_csv(out / "segmentation.csv")
    assert scores["patient"].nunique() == 4
    assert scores["dice"].mean() < 0.3
    assert len(json.loads((out / "unseen.json").read_text())) == 4


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (replace(QUICK, folds=Folds(folds=10)), "masks of 4 patients"),
        (replace(QUICK, target="happiness"), "target 'happiness'"),
        (replace(QUICK, sequence="t9"), "no scan of sequence 't9'"),
    ],
)
def test_what_cannot_end_well_is_refused_at_once(
    config: ExperimentConfig, told: str, cohort: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=told):
        reproduce(cohort, tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


def test_one_class_alone_is_refused(cohort: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cohort"
    shutil.copytree(cohort, folder)
    gradings = pd.read_csv(folder / "radiological_gradings.csv")
    gradings["Disc narrowing"] = 0
    gradings.to_csv(folder / "radiological_gradings.csv", index=False)
    with pytest.raises(InputError, match=r"0 patients of .* positive for narrowing"):
        reproduce(folder, tmp_path / "out", QUICK)


def test_without_gradings_the_rest_is_done(
    cohort: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = tmp_path / "cohort", tmp_path / "out"
    shutil.copytree(cohort, folder)
    (folder / "radiological_gradings.csv").unlink()
    started(finished, out)
    (out / ".experiment.json").unlink()
    monkeypatch.setattr(module, "_claim", lambda *_: json.loads((finished / "experiment.json").read_text()))
    page = reproduce(folder, out, QUICK)
    assert page.is_file()
    assert not (out / "narrowing.json").exists()
    assert (out / "bottlenecks.csv").is_file()


def test_a_wrong_folder_is_told_on_the_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["reproduce", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no scan in" in capsys.readouterr().err
