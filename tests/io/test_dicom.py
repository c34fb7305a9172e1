from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, MRImageStorage, generate_uid

from discometry.core.errors import GridError, InputError
from discometry.io import dicom
from discometry.io.dicom import list_series
from discometry.io.images import read_image

SPACING = (0.5, 0.75)  # rows apart, columns apart
STEP = 4.4
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
ROWS, COLUMNS, SLICES = 6, 5, 4


def pixels(number: int) -> np.ndarray:
    return (np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) + 100 * number).astype(np.uint16)


def write_slice(path: Path, number: int, uid: str, **tags: object) -> Dataset:
    """One MR slice; ``tags`` replace or, where None, remove elements."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[uid, str(number), str(path)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.StudyInstanceUID, data.FrameOfReferenceUID = uid, "1.2.3", "1.2.4"
    data.Modality, data.SeriesDescription, data.SeriesNumber = "MR", "T2 sag", 4
    data.InstanceNumber = number + 1
    data.ImageOrientationPatient = list(SAGITTAL)
    normal = np.cross(SAGITTAL[:3], SAGITTAL[3:])
    data.ImagePositionPatient = [round(float(x), 6) for x in (10, -50, 90) + STEP * number * normal]
    data.PixelSpacing = list(SPACING)
    data.SliceThickness = 4.0
    data.Rows, data.Columns, data.SamplesPerPixel = ROWS, COLUMNS, 1
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = pixels(number).tobytes()
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.save_as(path, enforce_file_format=True)
    return data


Writer = Callable[..., Path]


@pytest.fixture
def write_series(tmp_path: Path) -> Writer:
    """Write a series, its file names in another order than its slices."""

    def write(folder: str = "study", uid: str = "1.2.826.1", numbers=range(SLICES), **tags: object) -> Path:
        place = tmp_path / folder
        place.mkdir(parents=True, exist_ok=True)
        for number in numbers:
            write_slice(place / f"{uid}-{(number * 7) % 11:02d}", number, uid, **tags)
        return place

    return write


def refused(folder: Path, words: str, series: str | None = None) -> str:
    with pytest.raises((InputError, GridError), match=words) as caught:
        read_image(folder, series=series)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_slices_are_put_in_order_of_position(write_series: Writer, capfd) -> None:
    volume = read_image(write_series())
    assert volume.array.dtype == np.float32
    assert volume.grid.shape == (COLUMNS, ROWS, SLICES)
    assert volume.grid.spacing_mm == pytest.approx((SPACING[1], SPACING[0], STEP), abs=1e-6)
    for number in range(SLICES):
        np.testing.assert_array_equal(volume.array[:, :, number].T, pixels(number))
        first = np.array([10, -50, 90]) + STEP * number * np.cross(SAGITTAL[:3], SAGITTAL[3:])
        np.testing.assert_allclose(volume.grid.to_world(np.array([0, 0, number])), first, atol=1e-6)
    # one column to the right is posterior, one row down is inferior
    np.testing.assert_allclose(
        volume.grid.to_world(np.array([1, 2, 0])), (10, -50 + 0.75, 90 - 2 * 0.5), atol=1e-6
    )
    assert volume.grid.axis_codes == "PIR"
    assert capfd.readouterr().err == ""


def test_values_are_rescaled(write_series: Writer) -> None:
    volume = read_image(write_series(RescaleSlope=0.5, RescaleIntercept=-3))
    np.testing.assert_allclose(volume.array[:, :, 2].T, pixels(2) * 0.5 - 3, atol=1e-5)


def test_a_series_may_lie_deeper_and_beside_other_things(write_series: Writer, capfd) -> None:
    folder = write_series("study/deep/deeper")
    (folder.parents[1] / "notes.txt").write_text("not DICOM")
    (folder / "README").write_text("short")
    report = write_slice(folder / "report", 0, "1.2.826.9")
    for name in ("PixelData", "Rows", "Columns", "BitsAllocated", "ImagePositionPatient"):
        delattr(report, name)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.Modality = "SR"
    report.save_as(folder / "report", enforce_file_format=True)
    assert read_image(folder.parents[1]).grid.shape == (COLUMNS, ROWS, SLICES)
    assert capfd.readouterr().err == ""


def test_a_series_split_over_folders_is_one(write_series: Writer) -> None:
    write_series("study/a", numbers=range(2))
    folder = write_series("study/b", numbers=range(2, SLICES))
    assert read_image(folder.parent).grid.shape[2] == SLICES


def test_several_series_have_to_be_chosen_from(write_series: Writer) -> None:
    write_series(uid="1.2.826.1", SeriesDescription="T1 sag", SeriesNumber=3)
    folder = write_series(uid="1.2.826.20", numbers=range(3), SeriesDescription="T2 sag", SeriesNumber=12)
    line = refused(folder, "2 image series")
    assert "'T1 sag' (number 3, 4 slices)" in line
    assert "'T2 sag' (number 12, 3 slices)" in line
    assert "1.2.826" not in line
    assert "--series" in line
    for wanted in ("1.2.826.20", "1.2.826.2", "12", "T2 sag", "t2 SAG", "t2"):
        assert read_image(folder, series=wanted).grid.shape[2] == 3
    assert read_image(folder, series="1.2.826.1").grid.shape[2] == 4
    refused(folder, "2 image series match 'sag'", series="sag")
    assert "T1 sag" in refused(folder, "no series 'STIR'", series="STIR")


def test_series_of_one_number_are_told_apart_by_their_uids(write_series: Writer) -> None:
    write_series(uid="1.2.826.1", SeriesNumber=3)
    folder = write_series(uid="1.2.826.20", SeriesNumber=3)
    line = refused(folder, "2 image series match '3'", series="3")
    assert "of UID 1.2.826.1;" in line
    assert "of UID 1.2.826.20;" in line
    assert read_image(folder, series="1.2.826.20").grid.shape[2] == SLICES


def test_series_are_listed_by_number(write_series: Writer) -> None:
    write_series(uid="1.2.826.1", SeriesNumber=12)
    folder = write_series(uid="1.2.826.2", SeriesNumber=3)
    assert [(one.uid, one.number, len(one.files)) for one in list_series(folder)] == [
        ("1.2.826.2", "3", SLICES),
        ("1.2.826.1", "12", SLICES),
    ]


def test_a_missing_slice_is_noticed(write_series: Writer) -> None:
    assert "8.80 mm beside gaps of 4.40 mm" in refused(write_series(numbers=(0, 1, 3, 4)), "missing slices")


def test_small_differences_between_gaps_are_taken(write_series: Writer) -> None:
    folder = write_series(numbers=range(3))
    normal = np.cross(SAGITTAL[:3], SAGITTAL[3:])
    position = np.array([10, -50, 90]) + (3 * STEP + 0.2) * normal
    write_slice(folder / "last", 3, "1.2.826.1", ImagePositionPatient=position.tolist())
    assert read_image(folder).grid.spacing_mm[2] == pytest.approx(STEP + 0.2 / 3, abs=1e-6)


def test_two_images_at_one_place_are_refused(write_series: Writer) -> None:
    folder = write_series()
    write_slice(folder / "echo", 1, "1.2.826.1", InstanceNumber=17)
    refused(folder, "several images at one position")


def test_a_localizer_is_refused(write_series: Writer) -> None:
    folder = write_series()
    write_slice(folder / "axial", 1, "1.2.826.1", ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    refused(folder, "not parallel")


def test_slices_of_several_sizes_are_refused(write_series: Writer) -> None:
    folder = write_series()
    write_slice(folder / "other", 4, "1.2.826.1", Rows=5, Columns=6)
    refused(folder, "different sizes")


def test_slices_that_shift_sideways_are_refused(write_series: Writer) -> None:
    folder = write_series(numbers=())
    for number in range(SLICES):
        position = [10 + 4.4 * number, -50 + 2.0 * number, 90]
        write_slice(folder / str(number), number, "1.2.826.1", ImagePositionPatient=position)
    refused(folder, "shifted sideways")


def test_rounded_directions_are_straightened(write_series: Writer) -> None:
    grid = read_image(write_series(ImageOrientationPatient=[0, 0.9999, 0.014, 0.001, 0.014, -0.9999])).grid
    np.testing.assert_allclose(grid.direction.T @ grid.direction, np.eye(3), atol=1e-12)


def test_directions_that_are_not_perpendicular_are_refused(write_series: Writer) -> None:
    refused(write_series(ImageOrientationPatient=[0, 1, 0, 0, 0.5, -0.9]), "not perpendicular")


def test_a_single_slice_is_refused(write_series: Writer) -> None:
    refused(write_series(numbers=(0,)), "single slice")


def test_slices_without_a_place_are_refused(write_series: Writer) -> None:
    refused(write_series(ImagePositionPatient=None), "does not say where its slice lies")


def test_enhanced_objects_are_refused(write_series: Writer) -> None:
    folder = write_series(numbers=())
    write_slice(folder / "all", 0, "1.2.826.1", NumberOfFrames=2, PixelData=pixels(0).tobytes() * 2)
    refused(folder, "2 frames")


@pytest.mark.parametrize("number", [0, 1, SLICES - 1])
def test_a_truncated_slice_is_refused(write_series: Writer, number: int, capfd) -> None:
    folder = write_series(uid="1.2.826.1")
    write_series(uid="1.2.826.15", SeriesNumber=5)
    write_slice(folder / "torn", number, "1.2.826.1")
    (folder / f"1.2.826.1-{number * 7 % 11:02d}").unlink()
    (folder / "torn").write_bytes((folder / "torn").read_bytes()[:-30])
    assert "torn" in refused(folder, "cannot be read", series="4")
    assert read_image(folder, series="5").grid.shape[2] == SLICES
    assert capfd.readouterr().err == ""


def test_damaged_compressed_pixels_are_refused(write_series: Writer) -> None:
    folder = write_series()
    for file in folder.iterdir():
        data = dcmread(file)
        data.file_meta.TransferSyntaxUID = JPEG2000Lossless
        data.PixelData = encapsulate([b"\xff\x4f\xff\x51 no picture at all"])
        data["PixelData"].VR = "OB"
        data.save_as(file)
    refused(folder, "cannot be read")


def test_a_file_that_vanishes_is_named(write_series: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_series()
    (series,) = list_series(folder)
    monkeypatch.setattr(dicom, "list_series", lambda _: (series,))
    series.files[2].unlink()
    assert series.files[2].name in refused(folder, "cannot be read")


def test_a_series_of_too_many_voxels_is_refused(
    write_series: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom, "MAX_VOXELS", SLICES * ROWS * COLUMNS - 1)
    refused(write_series(), "more than 119 voxels")


@pytest.mark.parametrize("spacing", [[0.0, 0.5], [0.5, -0.5], None])
def test_a_pixel_size_that_makes_no_sense_is_refused(write_series: Writer, spacing: object) -> None:
    refused(write_series(PixelSpacing=spacing), "pixel spacing")


def test_a_single_file_is_answered_with_its_folder(write_series: Writer) -> None:
    folder = write_series()
    file = next(folder.iterdir())
    refused(file, "give the folder")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    refused(tmp_path, "no DICOM image series")
