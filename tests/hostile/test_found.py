"""What the hostile files brought to light, one test each: crashes, endless work, silent errors."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundle_folders import hashed, small_bundle
from dicom_folders import SLICES, packed_slices, slice_elements, with_sequences, written
from safetensors.numpy import save
from tables_and_results import small_study
from volumes_on_disk import VOXELS, Case, nifti, whole_volumes
from worker import Worker, read_case

from discometry.core.errors import BundleError
from discometry.io.bundle import Component, write_component
from discometry.io.dicom import list_series
from discometry.io.manifest import find_studies
from discometry.io.results import check_output
from discometry.io.study_input import content_hash
from discometry.io.tables import LARGEST_TABLE

WorkerOf = Callable[[str], Worker]


@pytest.fixture
def refusal(worker_of: WorkerOf, tmp_path: Path) -> Callable[[str, Case], str]:
    """Give the line with which a case is refused."""

    def read(reader: str, case: Case) -> str:
        outcome, line = read_case(worker_of(reader), case, tmp_path / "case")
        assert outcome == "refused", f"{outcome}: {line}"
        return line

    return read


Refusal = Callable[[str, Case], str]


def one(name: str, data: bytes) -> Case:
    return Case({name: data}, name)


# Image files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [100, 400, 1000, 5000, 100_000])
def test_a_long_field_of_an_nrrd_ends_no_process(refusal: Refusal, length: int) -> None:
    whole = whole_volumes()["a.nrrd"].files["a.nrrd"]
    refusal("image", one("a.nrrd", whole.replace(b"type: short", b"type: " + b"1" * length)))


@pytest.mark.parametrize("name", ["b.mha", "c.mha"])
def test_compressed_voxels_of_no_told_length_are_not_made_up(refusal: Refusal, name: str) -> None:
    """ITK 5.4 gives whatever lies in memory for them, and says so on standard error only."""
    lines = whole_volumes()[name].files[name].split(b"\n", 14)
    kept = [line for line in lines if not line.startswith(b"CompressedDataSize")]
    assert "how long its compressed voxels are" in refusal("image", one("a.mha", b"\n".join(kept)))
    short = [line.replace(b"Size = ", b"Size = 9") if line in lines[:14] else line for line in lines]
    assert "cut short" in refusal("image", one("a.mha", b"\n".join(short)))


@pytest.mark.parametrize(
    "line",
    [b"ID = MET_STRING", b"DimSize = 9 9 9", b"no field at all", b"Comment = \x1b[2J", b"Offset = 1 2"],
)
def test_a_metaimage_that_itk_reads_otherwise_is_refused(refusal: Refusal, line: bytes) -> None:
    whole = whole_volumes()["a.mha"].files["a.mha"]
    lines = [part for part in whole.split(b"\n", 13) if not part.startswith(line[:6] + b" ")]
    lines = lines if line.startswith(b"Offset") else whole.split(b"\n", 13)
    lines.insert(4, line)
    assert "not the kind of file" in refusal("image", one("a.mha", b"\n".join(lines)))


def test_fields_before_their_number_of_axes_are_refused(refusal: Refusal) -> None:
    whole = whole_volumes()["a.mha"].files["a.mha"]
    moved = whole.replace(b"NDims = 3\n", b"", 1).replace(b"DimSize", b"NDims = 3\nDimSize", 1)
    assert "not the kind of file" in refusal("image", one("a.mha", moved))


@pytest.mark.parametrize("name", ["../secret.raw", "/etc/passwd", "deep/other.raw", "..", "a" * 5000])
@pytest.mark.parametrize("form", ["detached.mhd", "detached.nhdr"])
def test_voxels_are_not_fetched_from_another_folder(refusal: Refusal, form: str, name: str) -> None:
    data = whole_volumes()[form].files[form].replace(b"other.raw", name.encode())
    line = refusal("image", Case({form: data, "deep/other.raw": VOXELS}, form))
    assert "in another folder" in line or "not the kind of file" in line


@pytest.mark.parametrize("field", [(280, np.nan), (284, np.inf), (292, -np.inf), (300, 1e38), (256, np.nan)])
def test_a_nifti_orientation_of_no_numbers_is_refused_in_one_line(
    refusal: Refusal, field: tuple[int, float]
) -> None:
    data = bytearray(nifti("<"))
    struct.pack_into("<f", data, *field)
    assert "orientation" in refusal("image", one("a.nii", bytes(data)))


@pytest.mark.parametrize("offset", [112, 116])
def test_a_nifti_scaled_by_no_number_is_refused(refusal: Refusal, offset: int) -> None:
    data = bytearray(nifti("<"))
    struct.pack_into("<f", data, offset, np.nan)
    assert "scales its values" in refusal("image", one("a.nii", bytes(data)))


def test_a_gzipped_nifti_by_another_name_is_told_its_own(refusal: Refusal) -> None:
    data = whole_volumes()["c.nii.gz"].files["c.nii.gz"]
    assert "rename it to 'a.nii.gz'" in refusal("image", one("a.nii", data))


@pytest.mark.parametrize("bits", [8, 32, 0, -16])
def test_a_nifti_of_another_number_of_bits_than_its_kind_is_refused(refusal: Refusal, bits: int) -> None:
    data = bytearray(nifti("<"))
    struct.pack_into("<h", data, 72, bits)
    assert "not the kind of file" in refusal("image", one("a.nii", bytes(data)))


def test_values_beyond_single_precision_are_told_of(refusal: Refusal) -> None:
    data = bytearray(nifti("<", kind=(64, 64, "f8")))
    struct.pack_into("<d", data, 352, 1e300)
    assert "1 voxels that are NaN or infinite" in refusal("image", one("a.nii", bytes(data)))


@pytest.mark.parametrize("space", ["scanner-xyz", "right-anterior-superior-time", "3D-right-handed"])
def test_a_space_that_is_not_the_patients_is_not_taken_for_lps(refusal: Refusal, space: str) -> None:
    whole = whole_volumes()["a.nrrd"].files["a.nrrd"]
    data = whole.replace(b"left-posterior-superior", space.encode())
    assert "how its axes lie" in refusal("image", one("a.nrrd", data))


def test_a_metaimage_that_unpacks_without_end_is_left(refusal: Refusal) -> None:
    whole = whole_volumes()["b.mha"].files["b.mha"]
    bomb = zlib.compress(bytes(1 << 27))
    head = whole[: whole.index(b"LOCAL\n") + 6]
    head = head.replace(b"CompressedDataSize = 26", f"CompressedDataSize = {len(bomb)}".encode())
    assert "unpacks to more" in refusal("image", one("a.mha", head + bomb))


# DICOM -----------------------------------------------------------------------------------------------------


def slice_bytes(number: int) -> bytes:
    return written(slice_elements(number))


def series(**changed: bytes) -> Case:
    """Three slices, some of them other bytes."""
    slices = {f"slice{number}": written(slice_elements(number)) for number in range(SLICES)}
    return Case(slices | changed)


@pytest.mark.parametrize(("depth", "defined"), [(100_000, False), (1000, True), (9, False)])
def test_sequences_in_sequences_end_no_process(refusal: Refusal, depth: int, defined: bool) -> None:
    assert "cannot be read" in refusal(
        "dicom", series(slice1=with_sequences(slice_bytes(1), depth, defined=defined))
    )


@pytest.mark.parametrize(("depth", "defined"), [(8, False), (8, True)])
def test_a_few_sequences_are_walked(worker_of: WorkerOf, tmp_path: Path, depth: int, defined: bool) -> None:
    case = series(slice1=with_sequences(slice_bytes(1), depth, defined=defined))
    assert read_case(worker_of("dicom"), case, tmp_path / "case") == ("result", "")


@pytest.mark.parametrize("samples", [0, 2, 3, 65535])
def test_samples_of_no_picture_are_one_line(refusal: Refusal, samples: int) -> None:
    elements = slice_elements(1) | {(0x0028, 0x0002): ("US", struct.pack("<H", samples))}
    assert "no plain grey slice" in refusal("dicom", series(slice1=written(elements)))


def test_a_description_without_end_is_cut(refusal: Refusal) -> None:
    files = {}
    for number in range(SLICES):
        elements = slice_elements(number, uid=f"1.2.{number}")
        elements[0x0008, 0x103E] = ("LO", b"a" * 1000 + b"\x1b[2J\n")
        files[f"slice{number}"] = written(elements)
    line = refusal("dicom", Case(files))
    assert "3 image series" in line
    assert len(line) < 800


@pytest.mark.parametrize("tag", [(0x0020, 0x0032), (0x0020, 0x0037), (0x0028, 0x0030), (0x0028, 0x1053)])
def test_numbers_that_are_none_are_refused(refusal: Refusal, tag: tuple[int, int]) -> None:
    vr, value = slice_elements(1)[tag]
    elements = slice_elements(1) | {tag: (vr, value.replace(b"0", b"nan").replace(b"1", b"1e999"))}
    refusal("dicom", series(slice1=written(elements)))


def test_names_that_are_no_text_are_no_crash(worker_of: WorkerOf, tmp_path: Path) -> None:
    folder = tmp_path / "scan"
    folder.mkdir()
    for name, data in series().files.items():
        (folder / name).write_bytes(data)
    (folder / os.fsdecode(b"note \xff\xfe")).write_bytes(b"x")
    assert worker_of("dicom").ask(folder) == ("result", "")
    assert len(content_hash(folder)) == 64
    (folder / "slice1").rename(folder / os.fsdecode(b"slice \xff"))
    outcome, line = worker_of("dicom").ask(folder)
    assert (outcome, "a name in UTF-8" in line) == ("refused", True)


def test_pixels_that_a_codec_complains_of_are_refused(refusal: Refusal) -> None:
    """libjpeg says "Corrupt JPEG data: bad Huffman code" on standard error and gives other pixels."""
    files = packed_slices("JPEG")
    data = bytearray(files["1.dcm"])
    scan = data.rindex(b"\xff\xda") + 40
    data[scan : scan + 300] = bytes(byte ^ 0x55 for byte in data[scan : scan + 300])
    assert "cannot be read" in refusal("dicom", Case(files | {"1.dcm": bytes(data)}))


def test_a_broken_file_of_another_kind_hides_no_series(tmp_path: Path) -> None:
    for name, data in series().files.items():
        (tmp_path / name).write_bytes(data)
    other = slice_elements(0, uid="1.2.9")
    (tmp_path / "report").write_bytes(written(other)[:-9])
    (found,) = list_series(tmp_path)
    assert (len(found.files), found.damaged) == (SLICES, ())


# Bundles ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["middle", "weights"])
def test_a_classifier_of_no_numbers_is_refused(refusal: Refusal, name: str, number: float) -> None:
    tensors = {"middle": np.zeros(2), "weights": np.zeros(2)} | {name: np.array([0, number])}
    files = small_bundle() | {"classifier.safetensors": save(tensors)}
    assert "weights that are not finite" in refusal("bundle", Case(hashed(files)))


@pytest.mark.parametrize("config", [{"kind": "trees"}, {"features": ["a"]}, {"offset": 10**400}])
def test_a_classifier_of_another_config_is_refused(refusal: Refusal, config: dict[str, object]) -> None:
    index = json.loads(small_bundle()["bundle.json"])
    index["components"]["classifier"]["config"] |= config
    assert "classifier that cannot be read" in refusal("bundle", Case(hashed(small_bundle(), index)))


@pytest.mark.parametrize(
    "entry", [None, [], {}, {"file": 3}, {"file": "../classifier.safetensors", "sha256": "", "config": {}}]
)
def test_an_index_of_other_things_is_refused(refusal: Refusal, entry: object) -> None:
    files = small_bundle()
    index = json.loads(files["bundle.json"])
    index["components"]["classifier"] = entry
    assert "was damaged or changed" in refusal("bundle", Case(hashed(files, index)))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_an_index_with_numbers_that_are_none_is_refused(refusal: Refusal, number: float) -> None:
    index = json.loads(small_bundle()["bundle.json"])
    index["components"]["classifier"]["config"]["note"] = number
    refusal("bundle", Case(hashed(small_bundle(), index)))


def test_training_into_a_bundle_deletes_nothing_outside_it(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    bundle = tmp_path / "bundle"
    write_component(bundle, Component("net", {}, {"w": np.zeros(2)}))
    index = json.loads((bundle / "bundle.json").read_text())
    index["components"]["net"]["file"] = "../mine.txt"
    plain = {key: value for key, value in index.items() if key != "sha256"}
    index["sha256"] = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    (bundle / "bundle.json").write_text(json.dumps(index))
    with pytest.raises(BundleError, match="damaged or changed"):
        write_component(bundle, Component("net", {}, {"w": np.zeros(2)}))
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    "change", [{"width": 10**6}, {"levels": 10**6}, {"patch": [10**9] * 3}, {"width": "2"}]
)
def test_a_network_that_no_memory_holds_is_not_built(refusal: Refusal, change: dict[str, object]) -> None:
    index = json.loads(small_bundle()["bundle.json"])
    index["components"]["segmenter"]["config"]["network"] |= change
    assert "do not agree" in refusal("bundle", Case(hashed(small_bundle(), index)))


# Tables and result folders ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", ["x" * 200_000, "1" * 5000, "\0"])
def test_cells_that_no_grading_is_are_one_line(refusal: Refusal, cell: str) -> None:
    table = f"Patient,IVD label,Disc narrowing\n1,1,{cell}\n".encode()
    line = refusal("gradings", Case({"radiological_gradings.csv": table, "masks/1_t1.mha": b""}))
    assert "gradings" in line
    assert len(line) < 2000


@pytest.mark.parametrize("level", ["\u00b2", "\u0662\u0660\u0661", "9" * 5000])
def test_a_level_in_other_digits_is_one_line(refusal: Refusal, level: str) -> None:
    table = f"study,mask,level\n1,own.csv,{level}\n".encode()
    assert "not one such as L4/L5" in refusal("gradings", one("own.csv", table))


@pytest.mark.parametrize(("reader", "name"), [("gradings", "own.csv"), ("studies", "list.csv")])
@pytest.mark.parametrize("path", ["a" * 300, "a\0b", "own.csv/b", "a/" * 5000])
def test_a_path_that_no_file_can_have_is_one_line(
    worker_of: WorkerOf, tmp_path: Path, reader: str, name: str, path: str
) -> None:
    data = f"study,mask\n1,{path}\n".encode()
    outcome, line = read_case(worker_of(reader), one(name, data), tmp_path / "case")
    assert outcome == ("refused" if reader == "gradings" else "result"), line


@pytest.mark.parametrize(
    ("reader", "name"),
    [("gradings", "own.csv"), ("studies", "list.csv"), ("studies", "list.tsv"), ("studies", "list.parquet")],
)
def test_a_table_without_end_is_not_read(worker_of: WorkerOf, tmp_path: Path, reader: str, name: str) -> None:
    with (tmp_path / name).open("wb") as file:
        file.truncate(LARGEST_TABLE + 1)
    outcome, line = worker_of(reader).ask(tmp_path / name)
    assert (outcome, "more than 64 MiB" in line) == ("refused", True), line


def test_a_small_parquet_file_of_many_rows_is_not_read(worker_of: WorkerOf, tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    write_table(pa.table({"image": pa.repeat("a.mha", 10**7 + 1)}), tmp_path / "list.parquet")
    assert (tmp_path / "list.parquet").stat().st_size < 10**6
    outcome, line = worker_of("studies").ask(tmp_path / "list.parquet")
    assert (outcome, "more than 10,000,000 rows" in line) == ("refused", True), line


def test_names_of_scans_in_other_digits_are_no_crash(worker_of: WorkerOf, tmp_path: Path) -> None:
    case = Case({f"masks/{name}_t1.mha": b"" for name in ("\u00b2", "\u0663", "1")})
    assert read_case(worker_of("gradings"), case, tmp_path / "case") == ("result", "")


def test_studies_of_odd_names_in_a_folder_get_names_that_results_can_have(tmp_path: Path) -> None:
    for name in (
        b"a\xff.mha",
        b"a\xfe.mha",
        b"-rf.mha",
        b"+1.mha",
        b"=1.mha",
        b"\xe2\x80\xaex.mha",
        b"CON.mha",
    ):
        (tmp_path / os.fsdecode(name)).touch()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "study.json").write_text("[" * 200_000)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "study.json")
    found = find_studies(tmp_path)
    assert (len(found.studies), found.refused) == (7, ())
    for study in found.studies:
        check_output(tmp_path / "out", study.study)


def test_a_manifest_nested_deeply_is_one_line(refusal: Refusal) -> None:
    assert "not a result folder" in refusal("study", Case(small_study() | {"study.json": b"[" * 200_000}))


@pytest.mark.parametrize(
    "key", ["versions", "options", "timings_s", "lordosis", "flags", "study", "identifiers"]
)
def test_a_manifest_of_other_things_is_refused(refusal: Refusal, key: str) -> None:
    files = small_study()
    entries = json.loads(files["study.json"]) | {key: [1]}
    assert "not a result folder" in refusal(
        "study", Case(files | {"study.json": json.dumps(entries).encode()})
    )


@pytest.mark.parametrize("corner", [-1, 10**6])
def test_a_mesh_with_corners_that_are_no_vertices_is_refused(refusal: Refusal, corner: int) -> None:
    files = small_study()
    mesh = files["meshes/L5_S1.ply"]
    assert "mesh" in refusal(
        "study", Case(files | {"meshes/L5_S1.ply": mesh[:-4] + struct.pack("<i", corner)})
    )
