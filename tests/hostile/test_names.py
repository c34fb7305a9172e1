"""Names: whatever an input is called, files appear in the output folder only, or not at all."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from dicom_folders import SLICES, slice_elements, written

from discometry.cli import main
from discometry.core.errors import InputError, OutputError
from discometry.core.phantom import phantom_grid, render_discs, sample_phantom
from discometry.core.volume import Grid, Volume
from discometry.io.images import study_name, write_volume
from discometry.io.results import check_output, read_study

GRID = Grid.from_spacing((9, 9, 9), (4.0, 1.0, 1.0))

REFUSED = (
    *("a\nb", "a\rb", "a\tb", "\x1b[2J", "a\x7fb", "\u202egnp.a", "a\u2028b", "a\x85b", "..\\..\\x", "C:x"),
    *("<script>", "a|b", "a*b", 'a"b', "?", "=1+1", "+1", "-rf", "@x", "x" * 201, "日" * 67),
)
TAKEN = (
    "日本語",
    "a b",
    "$(touch x)",
    "`touch x`",
    "a;b",
    "%s%n",
    "~",
    "x" * 200,
    "{{7+7}}",
    "&amp;",
    "é",
    "'",
    "None",
)


def around(folder: Path) -> dict[str, bytes]:
    """Everything below a folder but its results, by name."""
    kept = (path for path in folder.rglob("*") if folder / "out" not in (path, *path.parents))
    return {str(path): path.read_bytes() if path.is_file() else b"" for path in kept}


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_names_that_mislead_are_refused_before_any_work(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    values = np.random.default_rng(0).random(GRID.shape).astype(np.float32)
    path = tmp_path / "scan.mha"
    write_volume(Volume(GRID, values), path)
    path = path.rename(tmp_path / f"{name}.mha")
    assert main(["analyse", "--out", str(tmp_path / "out"), "--", str(path)]) == 2
    printed = capfd.readouterr().err
    assert printed.count("\n") == 1
    assert printed.rstrip("\n").isprintable()
    assert "rename the input" in printed
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", TAKEN)
def test_names_that_are_only_odd_are_taken(tmp_path: Path, name: str) -> None:
    assert study_name(tmp_path / f"{name}.mha") == name
    assert check_output(tmp_path / "out", name) == tmp_path / "out" / name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        *(("..nii.gz", "study"), ("...mha", "study"), (". .mha", "study"), (".hidden.nii", "hidden")),
        *(("a.mha.nii.gz", "a.mha"), ("/", "study"), ("x/../..", None), ("dir/.", "dir")),
    ],
)
def test_no_name_climbs_out_of_its_folder(path: str, name: str | None) -> None:
    found = study_name(Path(path))
    assert found == name if name else "/" not in found
    assert found.strip(".")
    assert Path(found).name == found


def test_a_name_of_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="study name"):
        check_output(tmp_path, os.fsdecode(b"a\xff"))


def test_an_odd_name_writes_inside_the_output_folder_only(tmp_path: Path) -> None:
    phantom = sample_phantom(5, n_discs=2)
    labels = render_discs(phantom, phantom_grid(phantom, spacing_mm=(4.4, 1.0, 1.0)))
    name = "日本 $(touch x); {{7+7}}, 'quoted' & more"
    write_volume(labels, tmp_path / "mask.nii.gz").rename(tmp_path / f"{name}.nii.gz")
    before = around(tmp_path)
    call = ["analyse", str(tmp_path / f"{name}.nii.gz"), "--mask", "--out", str(tmp_path / "out")]
    assert main(call) == 0
    assert around(tmp_path) == before
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]
    assert set(read_study(tmp_path / "out" / name).discs["study"]) == {name}
    with (tmp_path / "out" / name / "discs.csv").open(encoding="utf-8", newline="") as file:
        assert [row["study"] for row in csv.DictReader(file)] == [name] * 2
    page = (tmp_path / "out" / name / "report.html").read_text(encoding="utf-8")
    assert "{{7+7}}" in page
    assert "&amp; more" in page


def test_a_link_in_place_of_a_study_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scan").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutputError, match="is a link to another place"):
        check_output(tmp_path / "out", "scan")
    (tmp_path / "out" / "gone").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="is a link to another place"):
        check_output(tmp_path / "out", "gone")


def test_an_output_folder_that_is_a_link_is_the_users_choice(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    assert check_output(tmp_path / "out", "scan") == tmp_path / "out" / "scan"


def test_dicom_texts_name_no_file(tmp_path: Path) -> None:
    """Neither descriptions nor UIDs become paths, and an answer with them is one line."""
    from discometry.io.images import read_image

    for uid in ("../../x", "/etc/passwd"):
        for number in range(SLICES):
            elements = slice_elements(number, uid=uid)
            elements[0x0008, 0x103E] = ("LO", b"../../up\n\x1b[2J")
            (tmp_path / f"{len(uid)} {number}").write_bytes(written(elements))
    with pytest.raises(InputError) as caught:
        read_image(tmp_path)
    assert str(caught.value).isprintable()
    assert len(list(tmp_path.iterdir())) == 2 * SLICES
