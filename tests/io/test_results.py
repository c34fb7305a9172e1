from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from discometry.core.errors import InputError, OutputError
from discometry.core.records import (
    CUBE_SHAPE,
    CUBE_SPACING_MM,
    Disc,
    DiscResult,
    Encoding,
    Geometry,
    Intensity,
    Lordosis,
    Spine,
    StudyResult,
)
from discometry.core.volume import Grid, Volume
from discometry.io.results import Manifest, check_output, read_study, write_study

GRID = Grid.from_spacing((12, 20, 24), (3.0, 1.5, 1.0), origin_mm=(-15.0, 3.0, 40.0))
FIRST = [
    *("study", "label", "level", "flags", "height_mean_mm", "width_ap_mm", "width_lateral_mm"),
    *("angle_sagittal_deg", "angle_coronal_deg", "angle_transverse_deg", "wedge_deg", "volume_mm3"),
]


def make_result(study: str = "11", *, image: bool = True, flags: tuple[str, ...] = ()) -> StudyResult:
    """Two discs as boxes, with known numbers."""
    labels = np.zeros(GRID.shape, np.int16)
    labels[2:10, 4:15, 3:8] = 201
    labels[2:10, 4:15, 14:19] = 202
    volume = Volume(GRID, labels)
    cube = Volume(Grid.from_spacing(CUBE_SHAPE, CUBE_SPACING_MM), np.zeros(CUBE_SHAPE, bool))
    picture = np.random.default_rng(0).normal(500, 100, GRID.shape).astype(np.float32)
    discs = tuple(
        DiscResult(
            Disc(label, level, volume.with_array(labels == label), cube, ("ambiguous_level",)),
            Geometry.of({"height_mean_mm": 5 + number / 3, "volume_mm3": 1980.0}, {"height_mean_mm": 0.125}),
            Encoding((0.1, -2.5e-7, 3.0 + number), 0.987654321, 0.5, (1.5, 0.0, -2.0, 10.0, 0.0, 0.0)),
            float("nan") if number else 0.25,
            ("ambiguous_level", "truncated") if number else (),
            {"wedge_deg": 1.5} if number else {},
            Intensity(signal_over_canal=0.5) if number else Intensity(),
            {} if number else {"level_place": 0.75, "height_mean_mm": -1.5},
        )
        for number, (label, level) in enumerate([(201, "L5/S1"), (202, "L4/L5")])
    )
    scan = Volume(GRID, picture) if image else None
    curve = Lordosis("L4/L5", "L5/S1", 12.5, 0.25)
    return StudyResult(study, scan, Spine(volume, discs), discs, flags, curve)


def make_manifest(study: str = "11", **changes: object) -> Manifest:
    return replace(
        Manifest(
            study=study,
            input="11.nii.gz",
            input_sha256="ab" * 32,
            bundle="starter",
            bundle_sha256="cd" * 32,
            versions={"python": "3.11", "torch": "2.13.0"},
            options={"mask": False, "series": None},
            device="cpu",
            timings_s={"prepare": 0.25, "segment": 3.5},
        ),
        **changes,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_study(make_result(), tmp_path / "out", make_manifest())


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_study_folder_holds_what_is_promised(folder: Path) -> None:
    assert folder.name == "11"
    assert names(folder.parent) == [
        "11",
        *(f"11/{name}" for name in ("discs.csv", "discs.nii.gz", "image.nii.gz", "meshes")),
        *("11/meshes/L4_L5.ply", "11/meshes/L5_S1.ply", "11/study.json"),
    ]


def test_the_tables_first_columns_are_the_promised_ones(folder: Path) -> None:
    header, low, high = (folder / "discs.csv").read_text().splitlines()
    columns = header.split(",")
    assert columns[:12] == FIRST
    names = list(Geometry.names())
    assert columns[12:20] == [f"{name}_se" for name in names[:8]]
    assert columns[20 : 20 + 2 * len(names[8:])] == [
        part for name in names[8:] for part in (name, f"{name}_se")
    ]
    scores = columns[20 + 2 * len(names[8:]) : -17]
    assert scores[:3] == ["z_width_ap", "z_angle_sagittal", "z_wedge"]
    assert all(column.startswith("z_") for column in scores)
    assert columns[-17:] == [
        *("reconstruction_iou", "shape_plausibility"),
        *("pose_shift_left_mm", "pose_shift_posterior_mm", "pose_shift_superior_mm"),
        *("pose_turn_left_deg", "pose_turn_posterior_deg", "pose_turn_superior_deg"),
        *("latent_1", "latent_2", "latent_3"),
        *("signal_over_vertebrae", "signal_over_canal", "signal_nucleus_over_annulus"),
        *("shap_level_place", "shap_height_mean_mm", "narrowing_probability"),
    ]
    assert low.startswith("11,201,L5/S1,,5.0,,,,,,,1980.0,")
    assert low.endswith(",0.987654321,0.5,1.5,0.0,-2.0,10.0,0.0,0.0,0.1,-2.5e-07,3.0,,,,0.75,-1.5,0.25")
    assert high.startswith(f"11,202,L4/L5,ambiguous_level truncated,{16 / 3},,,")
    assert high.endswith(",4.0,,0.5,,,,")


def test_a_study_comes_back_as_it_was(folder: Path) -> None:
    result, study = make_result(), read_study(folder)
    assert study.folder == folder
    curve = {"upper": "L4/L5", "lower": "L5/S1", "angle_deg": 12.5, "standard_error_deg": 0.25}
    assert study.manifest == make_manifest(lordosis=curve)
    assert study.discs["height_mean_mm_se"] == [0.125, 0.125]
    assert np.isnan(study.discs["volume_mm3_se"]).all()
    assert np.isnan(study.discs["z_wedge"]).tolist() == [True, False]
    np.testing.assert_array_equal(study.labels.array, result.spine.labels.array)
    assert study.labels.array.dtype == np.int16
    assert study.labels.grid.same_as(GRID)
    assert study.discs["label"] == [201, 202]
    assert study.discs["study"] == ["11", "11"]
    assert study.discs["flags"] == ["", "ambiguous_level truncated"]
    assert study.discs["height_mean_mm"] == [5.0, 16 / 3]
    assert np.isnan(study.discs["wedge_deg"]).all()
    assert np.isnan(study.discs["narrowing_probability"]).tolist() == [False, True]
    assert list(study.meshes) == [201, 202]
    for label, (vertices, faces) in study.meshes.items():
        places = GRID.to_world(np.argwhere(result.spine.labels.array == label))
        np.testing.assert_allclose(vertices.mean(axis=0), places.mean(axis=0), atol=0.5)
        assert faces.max() == len(vertices) - 1


def test_the_image_is_kept_for_looking_at(folder: Path) -> None:
    image, source = read_study(folder).image, make_result().image
    assert image is not None
    assert source is not None
    assert image.array.dtype == np.uint8
    assert image.grid.same_as(GRID)
    assert (image.array.min(), image.array.max()) == (0, 255)
    low, high = np.percentile(source.array, (0.5, 99.5))
    middle = (source.array > low) & (source.array < high)
    shown = low + image.array.astype(float) * (high - low) / 255
    np.testing.assert_allclose(shown[middle], source.array[middle], atol=(high - low) / 255)


def test_a_bare_mask_has_no_image(tmp_path: Path) -> None:
    folder = write_study(make_result(image=False), tmp_path, make_manifest(bundle=None, bundle_sha256=None))
    assert not (folder / "image.nii.gz").exists()
    study = read_study(folder)
    assert study.image is None
    assert study.manifest.bundle is None


def test_a_study_without_discs_is_still_a_study(tmp_path: Path) -> None:
    labels = Volume(GRID, np.zeros(GRID.shape, np.int16))
    folder = write_study(StudyResult("none", None, Spine(labels, ()), ()), tmp_path, make_manifest("none"))
    study = read_study(folder)
    assert len(study.discs) == 0
    assert list(study.discs.columns[:12]) == FIRST
    assert dict(study.meshes) == {}


@pytest.mark.parametrize("name", ["NA", "001", "1e5", "null", "ä b"])
def test_odd_study_names_stay_words(tmp_path: Path, name: str) -> None:
    study = read_study(write_study(make_result(name), tmp_path, make_manifest(name)))
    assert study.folder.name == study.manifest.study == name
    assert study.discs["study"] == [name, name]


def test_flags_of_result_and_manifest_are_joined(tmp_path: Path) -> None:
    result = make_result(flags=("odd_levels", "few_discs"))
    folder = write_study(result, tmp_path, make_manifest(flags=("few_discs", "slow")))
    assert read_study(folder).manifest.flags == ("odd_levels", "few_discs", "slow")


def test_an_older_result_is_replaced(folder: Path) -> None:
    (folder / "report.html").write_text("old report")
    (folder / "meshes" / "L1_L2.ply").write_text("old mesh")
    write_study(make_result(image=False), folder.parent, make_manifest(device="cuda"))
    assert names(folder) == [
        *("discs.csv", "discs.nii.gz", "meshes", "meshes/L4_L5.ply", "meshes/L5_S1.ply", "study.json")
    ]
    assert read_study(folder).manifest.device == "cuda"


@pytest.mark.parametrize("strange", ["notes.txt", "meshes/mine.stl", "export/a.dcm"])
def test_a_result_with_strange_files_in_it_is_not_replaced(folder: Path, strange: str) -> None:
    (folder / strange).parent.mkdir(exist_ok=True)
    (folder / strange).write_text("precious")
    before = names(folder.parent)
    with pytest.raises(OutputError, match="move those files away"):
        write_study(make_result(), folder.parent, make_manifest())
    assert names(folder.parent) == before


@pytest.mark.parametrize("manifest", [None, "{", "[]", '{"format": "discometry-study", "study": "12"}'])
def test_a_foreign_folder_is_never_deleted(tmp_path: Path, manifest: str | None) -> None:
    (tmp_path / "11").mkdir()
    (tmp_path / "11" / ("study.json" if manifest else "holiday.jpg")).write_text(manifest or "precious")
    before = names(tmp_path)
    for attempt in (
        lambda: check_output(tmp_path, "11"),
        lambda: write_study(make_result(), tmp_path, make_manifest()),
    ):
        with pytest.raises(OutputError, match="not an earlier result"):
            attempt()
    assert names(tmp_path) == before


def test_a_file_for_an_output_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    for out in (tmp_path / "out", tmp_path / "out" / "deeper"):
        with pytest.raises(OutputError, match="is a file"):
            check_output(out, "11")
        with pytest.raises(OutputError, match="is a file"):
            write_study(make_result(), out, make_manifest())
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "..\\up", "a\0"])
def test_a_name_that_is_no_folders_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="study name"):
        check_output(tmp_path, name)


def test_checking_first_writes_nothing(tmp_path: Path) -> None:
    assert check_output(tmp_path / "a" / "b", "11") == tmp_path / "a" / "b" / "11"
    assert names(tmp_path) == []


def test_the_report_is_part_of_the_whole(tmp_path: Path) -> None:
    def finish(folder: Path) -> None:
        assert len(read_study(folder).discs) == 2
        assert not (tmp_path / "11").exists()
        (folder / "report.html").write_text("<p>")

    folder = write_study(make_result(), tmp_path, make_manifest(), finish=finish)
    assert (folder / "report.html").read_text() == "<p>"


def test_a_failing_report_leaves_nothing(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_study(make_result(), tmp_path / "new" / "out", make_manifest(), finish=fail)
    assert names(tmp_path) == []


def test_manifest_and_result_go_together(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'12' for the study '11'"):
        write_study(make_result("11"), tmp_path, make_manifest("12"))
    assert names(tmp_path) == []


def test_the_same_study_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = (write_study(make_result(), tmp_path / out, make_manifest()) for out in "ab")
    for name in names(one):
        if (one / name).is_file():
            assert (one / name).read_bytes() == (other / name).read_bytes(), name


# Folders that cannot be read -----------------------------------------------------------------------------


def refused(folder: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_study(folder)
    assert "\n" not in str(caught.value)


def edit(folder: Path, **changes: object) -> None:
    content = json.loads((folder / "study.json").read_text()) | changes
    (folder / "study.json").write_text(json.dumps(content))


def test_another_format_version_is_refused(folder: Path) -> None:
    edit(folder, format_version=99)
    refused(folder, "format version 99; expected version 2")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "discometry-study", "format_version": 1}'])
def test_a_folder_of_something_else_is_refused(folder: Path, text: str) -> None:
    (folder / "study.json").write_text(text)
    refused(folder, "not a result folder")
    refused(folder.parent, "not a result folder")


def test_a_foreign_format_is_refused(folder: Path) -> None:
    edit(folder, format="else")
    refused(folder, "not a result folder")


@pytest.mark.parametrize("name", ["discs.csv", "discs.nii.gz"])
def test_a_lost_part_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    refused(folder, name)


@pytest.mark.parametrize(
    "text",
    [
        *("", "study,label\n11,many\n", "hello\n", "study,label,level,flags\n11,201,L5/S1\n"),
        *(
            "study,label,level,flags\n11,many,L5/S1,\n",
            "study,label,level,flags\n11,99,L5/S1,\n",
            "study,label,level,flags,flags\n11,201,L5/S1,,\n",
        ),
        *("study,label,level,flags,a\n11,201,L5/S1,,wide\n", 'study,label,level,flags\n"11"1,201,L5/S1,\n'),
    ],
)
def test_a_broken_table_is_named(folder: Path, text: str) -> None:
    (folder / "discs.csv").write_text(text)
    refused(folder, r"discs\.csv")


def test_a_table_that_a_spreadsheet_saved_can_be_read(folder: Path) -> None:
    before = read_study(folder).discs
    text = (folder / "discs.csv").read_text()
    (folder / "discs.csv").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n")
    after = read_study(folder).discs
    assert after.columns == before.columns
    assert after.to_csv() == before.to_csv()


def test_the_table_reads_in_plain_pandas(folder: Path) -> None:
    table = pd.read_csv(folder / "discs.csv")
    assert table["volume_mm3"].tolist() == [1980.0, 1980.0]
    assert table["latent_2"].tolist() == [-2.5e-7, -2.5e-7]


def test_a_folder_of_before_standard_errors_can_still_be_read(folder: Path) -> None:
    manifest = json.loads((folder / "study.json").read_text())
    del manifest["lordosis"]
    (folder / "study.json").write_text(json.dumps(manifest))
    table = pd.read_csv(folder / "discs.csv")
    older = [name for name in table.columns if not name.endswith("_se") and not name.startswith("z_")]
    table[older].to_csv(folder / "discs.csv", index=False)
    study = read_study(folder)
    assert study.manifest.lordosis is None
    assert study.discs["height_mean_mm"] == [5.0, 16 / 3]
