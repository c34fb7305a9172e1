"""What latents mean, from phantom masks that were analysed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from discometry.cli import main
from discometry.core.errors import InputError
from discometry.core.phantom import phantom_grid, render_discs, sample_phantom
from discometry.explanation import explain_latents
from discometry.io.images import write_volume
from discometry.io.meshes import read_ply
from discometry.study import analyse


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    for seed in (1, 2, 3):
        phantom = sample_phantom(seed, n_discs=5)
        labels = render_discs(phantom, phantom_grid(phantom, spacing_mm=(3.3, 0.8, 0.8)))
        write_volume(labels, folder / f"spine{seed}.nii.gz")
        analyse(folder / f"spine{seed}.nii.gz", out=folder / "results", mask=True)
    return folder / "results"


@pytest.fixture(scope="module")
def explained(results: Path) -> Path:
    return explain_latents(results, results.parent / "explained")


def test_traversals_are_measured_from_least_to_greatest(results: Path, explained: Path) -> None:
    table = pd.read_csv(explained / "traversals.csv")
    assert list(table.groupby("latent").size()) == [6] * 8
    discs = pd.concat([pd.read_csv(path) for path in results.glob("*/discs.csv")])
    first = table[table["latent"] == 1]
    assert first["value"].min() == pytest.approx(discs["latent_1"].min(), abs=1e-9)
    assert first["value"].max() == pytest.approx(discs["latent_1"].max(), abs=1e-9)
    # The first latent is that of size.
    assert (np.diff(first["volume_mm3"]) > 0).all()


def test_meshes_are_closed(explained: Path) -> None:
    meshes = sorted((explained / "meshes").glob("*.ply"))
    assert len(meshes) == 48
    _, faces = read_ply(meshes[0])
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    assert (counts == 2).all()


def test_correlations_name_every_pair_once(explained: Path) -> None:
    table = pd.read_csv(explained / "correlations.csv")
    assert not table.duplicated(["latent", "with"]).any()
    assert len(table[table["with"].str.startswith("latent_")]) == 8 * 7 / 2
    volume = table[(table["latent"] == "latent_1") & (table["with"] == "volume_mm3")].iloc[0]
    assert volume["r"] > 0.8
    assert volume["p"] < 0.01
    assert volume["n"] == 15


def test_pictures_are_there(explained: Path) -> None:
    for name in ("traversals.png", "correlations.png"):
        assert (explained / name).read_bytes().startswith(b"\x89PNG")


def test_the_command_replaces_its_own_folder_and_no_other(
    results: Path, explained: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "explained"
    shutil.copytree(explained, again)
    assert main(["explain", str(results), "--out", str(again)]) == 0
    assert capfd.readouterr().out == f"explained: {again}\n"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert main(["explain", str(results), "--out", str(tmp_path / "mine")]) == 2
    assert len(capfd.readouterr().err.splitlines()) == 1
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_too_few_discs_are_refused(results: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="0 encoded discs"):
        explain_latents(tmp_path, tmp_path / "out")
    shutil.copytree(results / "spine1", tmp_path / "one" / "spine1")
    with pytest.raises(InputError, match="5 encoded discs"):
        explain_latents(tmp_path / "one", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_studies_of_other_models_are_refused(results: Path, tmp_path: Path) -> None:
    shutil.copytree(results, tmp_path / "results")
    manifest = tmp_path / "results" / "spine2" / "study.json"
    content = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(content | {"bundle_sha256": "0" * 64}))
    with pytest.raises(InputError, match=r"spine2.*other models"):
        explain_latents(tmp_path / "results", tmp_path / "out")
