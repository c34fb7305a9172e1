"""What to analyse: its name, and a hash that knows it again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from discometry.core.volume import Grid, Volume
from discometry.io.images import write_volume
from discometry.io.study_input import StudyInput, content_hash


def test_a_fingerprint_holds_hash_and_options(tmp_path: Path) -> None:
    (tmp_path / "a.mha").write_bytes(b"abc")
    what = StudyInput(source=tmp_path / "a.mha", mask=True, image=tmp_path / "a.mha")
    assert (what.study, StudyInput(source=what.source, name="b").study) == ("a", "b")
    sha256, options = what.fingerprint()
    assert sha256 == content_hash(what.source) == options["image_sha256"]
    assert options.keys() == {"mask", "convention", "series", "image", "image_sha256"}


@pytest.mark.parametrize("suffix", [".mha", ".mhd", ".nrrd", ".nhdr", ".nii.gz"])
def test_a_file_too_broken_to_name_its_data_has_a_hash_all_the_same(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"\xff\0 no header at all")
    assert len(content_hash(path)) == 64


def test_a_files_hash_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(b"abc")
    assert content_hash(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_a_folders_hash_follows_names_and_bytes(tmp_path: Path) -> None:
    hashes = set()
    for files in ({"a": b"1", "b": b"2"}, {"a": b"1", "c": b"2"}, {"a": b"12", "b": b""}, {"x/a": b"1"}):
        folder = tmp_path / str(len(hashes))
        for name, data in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
        hashes.add(content_hash(folder))
        assert content_hash(folder) in hashes
    assert len(hashes) == 4


def test_a_headers_hash_covers_its_data(tmp_path: Path) -> None:
    for suffix, data in ((".mhd", "a.raw"), (".nhdr", "a.raw")):
        path = tmp_path / f"a{suffix}"
        sitk.WriteImage(sitk.GetImageFromArray(np.ones((3, 4, 5), np.uint8)), str(path))
        before = content_hash(path)
        (tmp_path / data).write_bytes(bytes(60))
        assert content_hash(path) != before
    mha = write_volume(
        Volume(Grid.from_spacing((3, 4, 5), (1, 1, 1)), np.ones((3, 4, 5), np.uint8)), tmp_path / "b.mha"
    )
    (tmp_path / "copy.mha").write_bytes(mha.read_bytes())
    assert content_hash(mha) == content_hash(tmp_path / "copy.mha")
