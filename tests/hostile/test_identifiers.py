"""Who was scanned: no text of a DICOM file reaches an output unless it is asked for."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from dicom_folders import TEXT_VRS, Element, Tag, slice_elements, written
from pydicom.datadict import DicomDictionary

from discometry.cli import main
from discometry.core.phantom import phantom_grid, render_discs, render_mri, sample_phantom
from discometry.core.volume import Volume
from discometry.io.images import read_image, write_volume

NEEDED = {
    *(
        (0x0008, 0x0005),
        (0x0008, 0x0016),
        (0x0008, 0x0060),
        (0x0020, 0x000E),
        (0x0020, 0x0011),
        (0x0020, 0x0013),
    ),
    *(
        (0x0020, 0x0032),
        (0x0020, 0x0037),
        (0x0028, 0x0004),
        (0x0028, 0x0008),
        (0x0028, 0x0030),
        (0x0028, 0x1052),
    ),
    (0x0028, 0x1053),
}
SERIES_UID = "1.2.999.55501.1"
DATES = {(0x0010, 0x0030): "19470813", (0x0008, 0x0020): "20130917"}
IDENTIFIERS = {
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyDate",
}


def planted() -> tuple[dict[Tag, Element], list[str]]:
    """Elements with a text of its own in every tag of the standard that takes text, and those texts."""
    elements: dict[Tag, Element] = {}
    tokens = [SERIES_UID]
    for number, (code, (vr, _, _, retired, _)) in enumerate(sorted(DicomDictionary.items())):
        tag = (code >> 16, code & 0xFFFF)
        if (
            vr not in TEXT_VRS
            or vr in ("DS", "IS", "TM", "AS")
            or tag in NEEDED
            or retired
            or tag[0] > 0x4000
        ):
            continue
        if not tag[0] >= 0x0008:
            continue
        text = f"1.2.999.{55502 + number}" if vr == "UI" else f"Zq{number:05d}yX"
        text = DATES.get(tag, text) if vr in ("DA", "DT") else text
        if vr in ("DA", "DT") and tag not in DATES:
            continue
        tokens.append(text)
        elements[tag] = (vr, text.encode())
    for number, tag in enumerate(((0x0009, 0x0010), (0x0009, 0x1001), (0x0029, 0x1010))):
        tokens.append(f"Private{number}yX")
        elements[tag] = ("LO", tokens[-1].encode())
    tokens.append("NestedNameyX")
    name = struct.pack("<HH2sH", 0x0010, 0x0010, b"PN", 12) + b"NestedNameyX"
    item = struct.pack("<HHI", 0xFFFE, 0xE000, len(name)) + name
    elements[0x0008, 0x1115] = ("SQ", item)
    return elements, tokens


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """A phantom's MRI as DICOM with texts planted in it, its mask on the same grid, and the texts."""
    phantom = sample_phantom(3, n_discs=2)
    grid = phantom_grid(phantom, spacing_mm=(4.0, 1.0, 1.0))
    image = render_mri(phantom, grid, seed=1)
    folder = tmp_path_factory.mktemp("scans") / "patient-7"
    folder.mkdir()
    elements, tokens = planted()
    array = np.round(image.array - image.array.min()).astype("<u2")
    for number in range(grid.shape[0]):
        position = "\\".join(f"{x:.6f}" for x in grid.to_world(np.array([number, 0, 0])))
        own = {
            (0x0020, 0x0032): ("DS", position.encode()),
            (0x0020, 0x0037): ("DS", b"0\\1\\0\\0\\0\\1"),
            (0x0028, 0x0030): ("DS", b"1\\1"),
            (0x0028, 0x0010): ("US", struct.pack("<H", grid.shape[2])),
            (0x0028, 0x0011): ("US", struct.pack("<H", grid.shape[1])),
            (0x7FE0, 0x0010): ("OW", array[number].T.tobytes()),
        }
        data = written(slice_elements(number, uid=SERIES_UID) | elements | own)
        (folder / f"FileNameyX-{number:03d}.dcm").write_bytes(data)
    labels = render_discs(phantom, grid).transposed([1, 2, 0])
    shown = read_image(folder)
    assert shown.grid.same_as(labels.grid, tolerance_mm=1e-3)
    mask = write_volume(Volume(shown.grid, labels.array), folder.parent / "mask.nii.gz")
    return folder, mask, [*tokens, "FileNameyX"]


def everything(folder: Path) -> dict[str, bytes]:
    """Every byte of every output: names, contents, what is packed in them, and pictures within pages."""
    found: dict[str, bytes] = {}
    for path in folder.rglob("*"):
        data = path.read_bytes() if path.is_file() else b""
        if path.suffix == ".gz":
            data += gzip.decompress(data)
        pictures = re.findall(rb"base64,([A-Za-z0-9+/=]+)", data)
        found[path.name] = b"\0".join([data, path.name.encode(), *map(base64.b64decode, pictures)])
    return found


def told(outputs: dict[str, bytes], tokens: list[str]) -> set[tuple[str, str]]:
    """Which output holds which text, in UTF-8 or as UTF-16 would."""
    return {
        (name, token)
        for name, data in outputs.items()
        for token in tokens
        if token.encode() in data or token.encode("utf-16-le") in data
    }


def test_hundreds_of_texts_are_planted(scan: tuple[Path, Path, list[str]]) -> None:
    folder, _, tokens = scan
    assert len(tokens) > 500
    first = next(folder.iterdir()).read_bytes()
    assert all(token.encode() in first for token in tokens if token != "FileNameyX")


@pytest.mark.parametrize("series", [None, "4", SERIES_UID, "Zq"])
def test_no_output_tells_who_was_scanned(
    scan: tuple[Path, Path, list[str]],
    tmp_path: Path,
    series: str | None,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder, mask, tokens = scan
    call = ["analyse", str(mask), "--mask", "--image", str(folder), "--out", str(tmp_path / "out")]
    assert main([*call, *(() if series is None else ("--series", series))]) == 0
    outputs = everything(tmp_path / "out")
    assert {"study.json", "discs.csv", "report.html", "image.nii.gz", "discs.nii.gz"} <= set(outputs)
    printed = capfd.readouterr()
    assert told(outputs | {"printed": (printed.out + printed.err).encode()}, tokens) == set()
    manifest = json.loads(outputs["study.json"].split(b"\0")[0])
    assert manifest["identifiers"] is None
    hashed = f"sha256:{hashlib.sha256((series or '').encode()).hexdigest()[:16]}"
    assert manifest["options"]["series"] == (series if series in (None, "4") else hashed)
    assert manifest["options"]["image"] == "patient-7"


def test_identifiers_are_kept_where_they_are_asked_for(
    scan: tuple[Path, Path, list[str]], tmp_path: Path
) -> None:
    folder, mask, tokens = scan
    call = ["analyse", str(mask), "--mask", "--image", str(folder), "--out", str(tmp_path / "out")]
    assert main([*call, "--keep-identifiers"]) == 0
    outputs = everything(tmp_path / "out")
    kept = json.loads(outputs["study.json"].split(b"\0")[0])["identifiers"]
    assert set(kept) == IDENTIFIERS
    assert kept["SeriesInstanceUID"] == SERIES_UID
    assert (kept["PatientBirthDate"], kept["StudyDate"]) == tuple(DATES.values())
    assert told(outputs, tokens) == {("study.json", text) for text in kept.values()}


def test_refusals_tell_nobodys_name(
    scan: tuple[Path, Path, list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The description is the one text that a refusal shows: a series has to be chosen by something."""
    folder, mask, tokens = scan
    call = ["analyse", str(mask), "--mask", "--image", str(folder), "--out", str(tmp_path / "out")]
    assert main([*call, "--series", "STIR"]) == 2
    printed = capfd.readouterr().err
    shown = [token for token in tokens if token in printed]
    assert len(shown) == 1
    assert shown[0] in printed.split("(number 4")[0]


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """Folders of DICOM slices that cannot be analysed, of texts that name somebody, and those texts."""
    root = tmp_path_factory.mktemp("several")
    elements, tokens = planted()

    def write(folder: str, uid: str, numbers: Sequence[int], *, number: bytes = b"4") -> None:
        (root / folder).mkdir(exist_ok=True)
        for place in numbers:
            own = {(0x0020, 0x0011): ("IS", number)}
            data = written(slice_elements(place, uid=uid) | elements | own)
            (root / folder / f"{uid[-1]}-{place}.dcm").write_bytes(data)

    write("two numbers", f"{SERIES_UID}.1", range(3))
    write("two numbers", f"{SERIES_UID}.2", range(3), number=b"5")
    write("one number", f"{SERIES_UID}.1", range(3))
    write("one number", f"{SERIES_UID}.2", range(3))
    write("a name for a number", f"{SERIES_UID}.1", range(3), number=b"Zq99999yX")
    write("a name for a number", f"{SERIES_UID}.2", range(3))
    write("a gap", f"{SERIES_UID}.1", (0, 1, 4, 5))
    write("damaged", f"{SERIES_UID}.1", range(3))
    (root / "damaged" / "1-1.dcm").write_bytes((root / "damaged" / "1-1.dcm").read_bytes()[:-9])
    return root, [*tokens, "Zq99999yX"]


@pytest.mark.parametrize("series", [None, SERIES_UID, "Zq", "NestedNameyX"])
def test_no_output_of_a_cohort_tells_who_was_scanned(
    several: tuple[Path, list[str]], tmp_path: Path, series: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    root, tokens = several
    call = ["cohort", str(root), "--out", str(tmp_path / "out"), "--workers", "1"]
    assert main([*call, *(() if series is None else ("--series", series))]) == 1
    outputs = everything(tmp_path / "out")
    assert {"failures.csv", "cohort.csv", "one number.json"} <= set(outputs)
    printed = capfd.readouterr()
    assert told(outputs | {"printed": (printed.out + printed.err).encode()}, tokens) == set()
    table = outputs["failures.csv"].decode()
    assert table.count("\n") == 1 + len(list(root.iterdir()))
    if series != "NestedNameyX":
        assert "number 4, 3 slices; number 5, 3 slices" in table
        assert "number ?, 3 slices" in table
        assert "the series (number 4, 4 slices) has a gap" in table
        assert "'1-1.dcm'" in table.replace(f"{root / 'damaged'}/", "")
    else:
        assert "not the series of --series" in table


def test_identifiers_of_a_file_are_none(scan: tuple[Path, Path, list[str]], tmp_path: Path) -> None:
    _, mask, _ = scan
    assert main(["analyse", str(mask), "--mask", "--out", str(tmp_path), "--keep-identifiers"]) == 0
    assert json.loads((tmp_path / "mask" / "study.json").read_text())["identifiers"] == {}


@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".nii"])
def test_texts_in_other_headers_reach_no_output(tmp_path: Path, suffix: str) -> None:
    phantom = sample_phantom(3, n_discs=1)
    labels = render_discs(phantom, phantom_grid(phantom, spacing_mm=(4.0, 1.5, 1.5)))
    path = write_volume(labels, tmp_path / f"mask{suffix}")
    data = path.read_bytes()
    if suffix == ".nii":
        data = data[:148] + b"Zq00001yX".ljust(80, b"\0") + data[228:]
    elif suffix == ".mha":
        data = data.replace(b"NDims", b"PatientName = Zq00001yX\nNDims", 1)
    else:
        data = data.replace(b"type:", b"PatientName:=Zq00001yX\ncontent: Zq00001yX\ntype:", 1)
    path.write_bytes(data)
    assert b"Zq00001yX" in path.read_bytes()
    assert main(["analyse", str(path), "--mask", "--out", str(tmp_path / "out")]) == 0
    assert told(everything(tmp_path / "out"), ["Zq00001yX"]) == set()
