"""``discometry cohort``, in-process: exit codes, what is printed, what is refused with one line."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from discometry import cli_cohort, cohort, cohort_client
from discometry.cli import main
from discometry.cohort import CohortSummary, Standing
from discometry.core.phantom import phantom_grid, render_discs, sample_phantom
from discometry.io.cohort_folder import Failure, claim
from discometry.io.images import write_volume


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Masks of two phantoms of two discs, and a file that is none."""
    folder = tmp_path_factory.mktemp("scans")
    for seed in (1, 2):
        spine = sample_phantom(seed, n_discs=2)
        grid = phantom_grid(spine, spacing_mm=(4.4, 1.5, 1.5))
        write_volume(render_discs(spine, grid), folder / f"p{seed}.mha")
    (folder / "broken.mha").write_text("no image")
    return folder


def test_a_cohort_of_masks(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["cohort", str(scans), "--mask", "--out", str(tmp_path / "out"), "--workers", "1", "--bids"]
    assert main(call) == 1
    printed = capsys.readouterr()
    assert "2 studies done (0 of them found done), 1 failed" in printed.out
    assert "broken: " in printed.out
    assert str(tmp_path / "out" / "failures.csv") in printed.out
    assert "dashboard: http://127.0.0.1:" in printed.err
    with (tmp_path / "out" / "cohort.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["study"], row["level"]) for row in rows] == [
        (study, level) for study in ("p1", "p2") for level in ("L5/S1", "L4/L5")
    ]
    assert all(float(row["height_mean_mm"]) > 3 for row in rows)
    labels = tmp_path / "out/bids/sub-p1/anat/sub-p1_space-orig_desc-discs_dseg.nii.gz"
    assert labels.samefile(tmp_path / "out/p1/discs.nii.gz")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--workers", "0"], "--workers 0"),
        (["--threads", "0"], "--threads 0"),
        (["--memory-gb", "0"], "--memory-gb 0"),
        (["--time-limit-min", "-1"], "--time-limit-min -1"),
        (["--workers", "2", "--scheduler", "tcp://x:1"], "--workers beside --scheduler"),
        (["--scheduler", "tcp://127.0.0.1:9"], "no dask scheduler answers"),
        (["--bundle", "nowhere"], "is not a model bundle"),
    ],
)
def test_wrong_calls_end_with_one_line(
    options: list[str],
    words: str,
    scans: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cohort_client, "ANSWER_S", 0.5)
    assert main(["cohort", str(scans), "--out", str(tmp_path / "out"), *options]) == 2
    said = capsys.readouterr().err
    assert said.startswith("discometry: ")
    assert words in said
    assert said.count("\n") == 1


def test_a_folder_in_use(scans: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with claim(tmp_path):
        assert main(["cohort", str(scans), "--out", str(tmp_path)]) == 2
    assert "in use by another cohort run" in capsys.readouterr().err


def test_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cohort", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "holds no study" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def stand_in(summary: CohortSummary) -> Callable[..., CohortSummary]:
    def run_cohort(
        *_: object, watch: Callable[[Standing], None], say: Callable[[str], None], **__: object
    ) -> CohortSummary:
        say("dashboard: somewhere")
        watch(Standing(total=20, done=3, failed=1, workers=2))
        return summary

    return run_cohort


def test_the_bar_and_the_last_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = tuple(
        Failure(study=f"s{n}", stage="read", found="no discs", expected="discs", action="look")
        for n in range(12)
    )
    monkeypatch.setattr(cohort, "run_cohort", stand_in(CohortSummary(tmp_path, 8, 0, failures)))
    monkeypatch.setattr(cli_cohort.sys.stderr, "isatty", lambda: True, raising=False)
    assert main(["cohort", str(tmp_path), "--out", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert "8 studies done" in printed.out
    assert "and 2 more" in printed.out
    monkeypatch.setattr(cohort, "run_cohort", stand_in(CohortSummary(tmp_path, 8, 0, ())))
    assert main(["cohort", str(tmp_path), "--out", str(tmp_path)]) == 0


def test_interrupted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_cohort(*_: object, **__: object) -> CohortSummary:
        raise KeyboardInterrupt

    monkeypatch.setattr(cohort, "run_cohort", run_cohort)
    assert main(["cohort", str(tmp_path), "--out", str(tmp_path)]) == cli_cohort.INTERRUPTED
    assert "the same call goes on from here" in capsys.readouterr().err
