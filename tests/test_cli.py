"""The command line, in-process: what it prints, writes and refuses."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from discometry.cli import main
from discometry.core.phantom import phantom_grid, render_discs, sample_phantom
from discometry.core.volume import Grid, Volume
from discometry.io.bundle import STARTER, read_bundle
from discometry.io.images import read_mask, write_volume
from discometry.io.results import read_study

CLINICAL = (4.4, 0.8, 0.8)


@pytest.fixture(scope="module")
def mask(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom's disc labels as a file."""
    phantom = sample_phantom(5, n_discs=5)
    labels = render_discs(phantom, phantom_grid(phantom, spacing_mm=CLINICAL))
    return write_volume(labels, tmp_path_factory.mktemp("study") / "spine.nii.gz")


def test_help_is_quick_to_load() -> None:
    code = (
        "import sys\n"
        "from discometry.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'monai', 'pandas', 'SimpleITK', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout for word in ("demo", "analyse", "train"))


def test_version_says_which_release_this_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"discometry {version('discometry')}\n"


def test_a_whole_analysis_loads_nothing_that_only_training_needs(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from discometry.cli import main\n"
        f"sys.argv = ['discometry', 'demo', '--out', {str(tmp_path)!r}]\n"
        "assert main() == 0\n"
        "heavy = {'torch', 'monai', 'pandas', 'pyarrow', 'matplotlib', 'sklearn'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "phantom" / "report.html").stat().st_size > 100_000


def test_mask_gives_table_report_and_files(
    mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyse", str(mask), "--mask", "--out", str(tmp_path / "R")]) == 0
    printed = capsys.readouterr().out
    assert all(level in printed for level in ("L5/S1", "L4/L5", "L3/L4", "L2/L3", "L1/L2"))
    folder = tmp_path / "R" / "spine"
    assert {"study.json", "discs.csv", "discs.nii.gz", "meshes", "report.html"} <= {
        path.name for path in folder.iterdir()
    }
    study = read_study(folder)
    assert study.discs["level"] == ["L5/S1", "L4/L5", "L3/L4", "L2/L3", "L1/L2"]
    assert all(0 <= probability <= 1 for probability in study.discs["narrowing_probability"])


def test_a_flag_that_all_discs_share_is_said_once(
    mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = read_mask(mask)
    discs = labels.with_array((labels.array > 0).astype(np.uint8))
    write_volume(discs, tmp_path / "binary.nii.gz")
    assert main(["analyse", str(tmp_path / "binary.nii.gz"), "--mask", "--out", str(tmp_path / "R")]) == 0
    printed = capsys.readouterr().out
    assert printed.count("ambiguous_level") == 1
    assert "every disc: ambiguous_level\n" in printed


def test_json_is_the_only_thing_printed(
    mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["analyse", str(mask), "--mask", "--out", str(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [disc["label"] for disc in result["discs"]] == [201, 202, 203, 204, 205]
    assert Path(result["folder"]) == tmp_path / "spine"
    assert len(result["discs"][0]["latents"]) >= 1


def test_demo_finds_the_phantoms_discs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo"), "--seed", "1"]) == 0
    assert "report.html" in capsys.readouterr().out
    study = read_study(tmp_path / "demo" / "phantom")
    phantom = sample_phantom(1, n_discs=5, narrowed=[202])
    assert len(study.discs) == 5
    truth = render_discs(phantom, study.labels.grid)
    for label in range(201, 206):
        a, b = study.labels.array == label, truth.array == label
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.6, label


# -- bad input -------------------------------------------------------------------------------------------


def image_file(path: Path, array: np.ndarray | None = None) -> Path:
    values = np.random.default_rng(0).random((12, 20, 24)) * 100 if array is None else array
    return write_volume(Volume(Grid.from_spacing(values.shape, (4, 1, 1)), values.astype(np.float32)), path)


def text_as_nifti(folder: Path) -> list[str]:
    (folder / "a.nii.gz").write_text("this is no image")
    return [str(folder / "a.nii.gz")]


def truncated_mha(folder: Path) -> list[str]:
    whole = image_file(folder / "whole.mha").read_bytes()
    (folder / "a.mha").write_bytes(whole[: len(whole) // 2])
    return [str(folder / "a.mha")]


def flat_image(folder: Path) -> list[str]:
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((8, 8), np.float32)), str(folder / "a.nrrd"))
    return [str(folder / "a.nrrd")]


def empty_mask(folder: Path) -> list[str]:
    return [str(image_file(folder / "a.nii.gz", np.zeros((9, 9, 9)))), "--mask"]


def other_grid(folder: Path) -> list[str]:
    labels = np.zeros((9, 9, 9))
    labels[2:6, 2:6, 2:6] = 1
    return [
        str(image_file(folder / "a.nii.gz", labels)),
        "--mask",
        "--image",
        str(image_file(folder / "b.nii.gz")),
    ]


def not_a_number(folder: Path) -> list[str]:
    return [str(image_file(folder / "a.mha", np.full((9, 9, 9), np.nan)))]


def constant(folder: Path) -> list[str]:
    return [str(image_file(folder / "a.nii.gz", np.full((9, 9, 9), 7.0)))]


def nifti_header(folder: Path, **changes: tuple[int, str, float]) -> list[str]:
    """Write a NIfTI file and change fields of its header: name -> (offset, format, value)."""
    raw = bytearray(gzip.decompress(image_file(folder / "whole.nii.gz").read_bytes()))
    for offset, form, value in changes.values():
        struct.pack_into(form, raw, offset, value)
    (folder / "a.nii").write_bytes(bytes(raw))
    return [str(folder / "a.nii")]


def constant_picture(folder: Path) -> list[str]:
    labels = np.zeros((9, 9, 9))
    labels[2:6, 2:6, 2:6] = 1
    picture = image_file(folder / "b.nii.gz", np.full((9, 9, 9), 7.0))
    return [str(image_file(folder / "a.nii.gz", labels)), "--mask", "--image", str(picture)]


def meta_header(folder: Path, field: str, value: str, *, size: str = "8 8 8") -> list[str]:
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        f"DimSize = {size}",
        "ElementSpacing = 1 1 1",
        "ElementType = MET_FLOAT",
    ]
    lines = [f"{field} = {value}" if line.startswith(field) else line for line in lines]
    header = "\n".join([*lines, "ElementDataFile = LOCAL\n"]).encode()
    (folder / "a.mha").write_bytes(
        header + np.arange(np.prod([int(n) for n in size.split()]), dtype=np.float32).tobytes()
    )
    return [str(folder / "a.mha")]


def old_bundle(folder: Path) -> list[str]:
    shutil.copytree(STARTER, folder / "bundle")
    index = folder / "bundle" / "bundle.json"
    index.write_text(index.read_text().replace('"format_version": 1', '"format_version": 99'))
    return [str(image_file(folder / "a.nii.gz")), "--bundle", str(folder / "bundle")]


def flipped_byte(folder: Path) -> list[str]:
    shutil.copytree(STARTER, folder / "bundle")
    weights = next((folder / "bundle").glob("segmenter.*"))
    raw = bytearray(weights.read_bytes())
    raw[len(raw) // 2] ^= 1
    weights.write_bytes(bytes(raw))
    return [str(image_file(folder / "a.nii.gz")), "--bundle", str(folder / "bundle")]


BAD: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "missing file": (lambda folder: [str(folder / "none.nii.gz")], "none.nii.gz"),
    "text named nifti": (text_as_nifti, "a.nii.gz"),
    "truncated": (truncated_mha, "a.mha"),
    "2-D": (flat_image, "2"),
    "empty mask": (empty_mask, "the mask is empty"),
    "other grid": (other_grid, "grid"),
    "NaN": (not_a_number, "NaN"),
    "constant": (constant, "value 7 in every voxel"),
    "zero spacing": (lambda folder: meta_header(folder, "ElementSpacing", "1 0 1"), "voxel size 1 x 0 x 1"),
    "negative spacing": (lambda folder: nifti_header(folder, x=(80, "<f", -1.0)), "voxel size -1"),
    "voxels of a metre": (
        lambda folder: meta_header(folder, "ElementSpacing", "1000 1 1"),
        "voxel size 1000",
    ),
    "larger than a patient": (
        lambda folder: meta_header(folder, "ElementSpacing", "50 50 50", size="60 60 60"),
        "3000 x 3000 x 3000 mm",
    ),
    "no such device": (
        lambda folder: [str(image_file(folder / "a.nii.gz")), "--device", "nonsense"],
        "device",
    ),
    "picture of one value": (constant_picture, "value 7 in every voxel"),
    "series of a mask": (lambda folder: [*other_grid(folder)[:2], "--series", "1"], "--series"),
    "10^12 voxels": (lambda folder: meta_header(folder, "DimSize", "10000 10000 10000"), "voxels"),
    "old bundle": (old_bundle, "version"),
    "flipped byte": (flipped_byte, "segmenter"),
    "option without mask": (
        lambda folder: [str(image_file(folder / "a.nii.gz")), "--labels", "spider"],
        "--mask",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(
    case: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make, word = BAD[case]
    arguments = make(tmp_path)
    assert main(["analyse", *arguments, "--out", str(tmp_path / "R")]) == 2
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1, printed.err
    assert printed.err.startswith("discometry: ")
    assert word in printed.err
    assert "; expected " in printed.err
    assert not (tmp_path / "R").exists() or not any((tmp_path / "R").iterdir())


def test_output_folder_that_cannot_be_written(
    mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert main(["analyse", str(mask), "--mask", "--out", str(tmp_path / "file" / "R")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "in the way"


def test_wrong_call_exits_with_two() -> None:
    with pytest.raises(SystemExit) as end:
        main(["analyse"])
    assert end.value.code == 2


# -- training --------------------------------------------------------------------------------------------


def test_train_segmenter_on_a_phantom(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    call = ["train", "segmenter", "phantom", "--out", str(tmp_path / "models"), "--phantoms", "1"]
    assert main([*call, "--epochs", "1", "--steps-per-epoch", "1", "--accelerator", "cpu"]) == 0
    assert "models" in capsys.readouterr().out
    component = read_bundle(tmp_path / "models").component("segmenter")
    assert component.config["trained_on"] == ["0 scans", "1 phantoms"]
    assert (tmp_path / "models-segmenter-run" / "history.csv").is_file()


def test_train_autoencoder_on_masks(tmp_path: Path) -> None:
    for seed in (1, 2):
        phantom = sample_phantom(seed, n_discs=2)
        labels = render_discs(phantom, phantom_grid(phantom, spacing_mm=CLINICAL))
        (tmp_path / "masks").mkdir(exist_ok=True)
        write_volume(labels, tmp_path / "masks" / f"{seed}_t2.nii.gz")
    call = [
        "train",
        "autoencoder",
        str(tmp_path),
        "--out",
        str(tmp_path / "models"),
        "--latents",
        "3",
        "--phantoms",
        "8",
    ]
    assert main([*call, "--epochs", "1", "--accelerator", "cpu", "--time-limit-min", "1"]) == 0
    component = read_bundle(tmp_path / "models").component("autoencoder")
    assert component.config["network"]["latents"] == 3


@pytest.mark.parametrize("model", ["segmenter", "autoencoder", "classifier"])
def test_training_without_data_is_one_line(
    model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["train", model, str(tmp_path / "empty"), "--out", str(tmp_path / "models")]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert not (tmp_path / "models").exists()


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_training_on_a_folder_that_does_not_exist_says_so(
    preset: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    call = ["train", "segmenter", str(tmp_path / "nowhere"), "--out", str(tmp_path / "models")]
    assert main([*call, "--preset", preset]) == 2
    printed = capfd.readouterr().err
    assert printed.count("\n") == 1
    assert "nowhere' does not exist" in printed
    assert not any(tmp_path.iterdir())


def test_classifier_needs_gradings(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "classifier", "phantom", "--out", str(tmp_path / "models")]) == 2
    assert "radiological_gradings.csv" in capfd.readouterr().err


@pytest.mark.parametrize("preset", ["shape", "paper"])
def test_no_latents_are_refused_and_not_taken_for_the_default(
    preset: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    call = ["train", "autoencoder", "phantom", "--out", str(tmp_path / "models"), "--preset", preset]
    assert main([*call, "--latents", "0"]) == 2
    assert capfd.readouterr().err.startswith("discometry: latents = 0")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--phantoms", "0"], "no scan to train on"),
        (["--steps-per-epoch", "0"], "steps_per_epoch = 0"),
        (["--accelerator", "nonsense"], "accelerator"),
        (["--epochs", "0"], "epochs = 0"),
        (["--precision", "foo"], "precision = 'foo'"),
        (["--time-limit-min", "-5"], "--time-limit-min -5"),
        (["--held-out", "01"], "no scan of '01' to hold out"),
    ],
)
def test_wrong_training_options_are_one_line(
    options: list[str], word: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    call = ["train", "segmenter", "phantom", "--out", str(tmp_path / "models"), "--phantoms", "1"]
    assert main([*call, *options]) == 2
    printed = capfd.readouterr().err
    assert printed.count("\n") == 1
    assert word in printed
    assert not any(tmp_path.iterdir())


def test_training_refuses_an_output_in_the_way_before_it_starts(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "models").write_text("not a bundle")
    assert main(["train", "segmenter", "phantom", "--out", str(tmp_path / "models")]) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["models"]


def test_negative_seed_of_the_demo_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo"), "--seed", "-1"]) == 2
    assert "seed -1" in capfd.readouterr().err
    assert not (tmp_path / "demo").exists()
