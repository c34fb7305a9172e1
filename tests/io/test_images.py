from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from discometry.core.errors import DiscometryError, GridError, InputError, LabelError, OutputError
from discometry.core.volume import Grid, Volume
from discometry.io.images import (
    check_image,
    check_mask,
    check_no_labels,
    check_same_grid,
    read_image,
    read_mask,
    study_name,
    write_volume,
)
from strategies import volumes

SUFFIXES = (".mha", ".nii", ".nii.gz", ".nrrd")
GRID = Grid.from_spacing((6, 5, 4), (1.0, 2.0, 3.0), origin_mm=(-7.0, 8.0, 9.5))
RAMP = Volume(GRID, np.arange(120, dtype=np.int16).reshape(6, 5, 4))


@pytest.fixture
def ramp(tmp_path: Path) -> dict[str, Path]:
    """The ramp volume in every format that is written."""
    return {suffix: write_volume(RAMP, tmp_path / f"ramp{suffix}") for suffix in SUFFIXES}


def uncompressed(path: Path) -> Path:
    """The ramp volume as a plain file of that name."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(RAMP.array.transpose()))
    image.SetSpacing(GRID.spacing_mm)
    sitk.WriteImage(image, str(path), useCompression=False)
    return path


def refused(path: Path, kind: type[DiscometryError] = InputError) -> str:
    """The one line with which reading a file as image and as mask is refused."""
    with pytest.raises(kind) as caught:
        read_image(path)
    with pytest.raises(kind):
        read_mask(path)
    line = str(caught.value)
    assert "\n" not in line
    assert path.name in line
    assert all((caught.value.found, caught.value.expected, caught.value.action))
    return line


# Round trips ---------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(volumes(), st.sampled_from(SUFFIXES))
def test_what_is_written_is_read(tmp_path: Path, volume: Volume, suffix: str) -> None:
    back = read_image(write_volume(volume, tmp_path / f"volume{suffix}"))
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_allclose(back.grid.affine, volume.grid.affine, atol=1e-4)
    assert back.grid.same_as(volume.grid, tolerance_mm=1e-3)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        *((bool, np.uint8), (np.uint8, np.uint8), (np.int16, np.int16), (np.int32, np.int32)),
        *((np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float32)),
    ],
)
def test_types_survive(tmp_path: Path, suffix: str, dtype: type, stored: type) -> None:
    volume = RAMP.with_array((RAMP.array % 2).astype(dtype))
    back = read_image(write_volume(volume, tmp_path / f"typed{suffix}"))
    assert back.array.dtype == stored
    np.testing.assert_array_equal(back.array, RAMP.array % 2)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_mask_of_whole_floats_becomes_whole_numbers(tmp_path: Path, suffix: str) -> None:
    path = write_volume(RAMP.with_array(RAMP.array.astype(np.float32)), tmp_path / f"mask{suffix}")
    mask = read_mask(path)
    assert mask.array.dtype == np.int32
    np.testing.assert_array_equal(mask.array, RAMP.array)


def test_arrays_are_in_the_order_of_the_affine(ramp: dict[str, Path]) -> None:
    image = sitk.ReadImage(str(ramp[".mha"]))
    volume = read_image(ramp[".mha"])
    for index in [(0, 0, 0), (5, 0, 0), (0, 4, 0), (3, 2, 1)]:
        assert volume.array[index] == image[index]
        expected = image.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(volume.grid.to_world(np.array(index)), expected, atol=1e-9)


@pytest.mark.parametrize("suffix", [".mha", ".nii", ".nrrd"])
def test_four_axes_with_one_time_point_are_one_volume(tmp_path: Path, suffix: str) -> None:
    image = sitk.GetImageFromArray(np.ascontiguousarray(RAMP.array.transpose()))
    path = tmp_path / f"series{suffix}"
    sitk.WriteImage(sitk.JoinSeries([image]), str(path))
    np.testing.assert_array_equal(read_image(path).array, RAMP.array)


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_a_header_with_its_data_beside_it_is_read(tmp_path: Path, suffix: str, compressed: bool) -> None:
    image = sitk.GetImageFromArray(np.ascontiguousarray(RAMP.array.transpose()))
    sitk.WriteImage(image, str(tmp_path / f"pair{suffix}"), compressed)
    np.testing.assert_array_equal(read_image(tmp_path / f"pair{suffix}").array, RAMP.array)


def test_each_of_two_files_of_one_name_gives_its_own_voxels(tmp_path: Path) -> None:
    paths = [tmp_path / f"scan{suffix}" for suffix in (*SUFFIXES, ".mhd")]
    for number, path in enumerate(paths):
        image = sitk.GetImageFromArray(np.arange(24).reshape(2, 3, 4).astype(np.int16) + 100 * number)
        sitk.WriteImage(image, str(path))
    for number, path in enumerate(paths):
        assert read_image(path).array[0, 0, 0] == 100 * number


def test_real_files_keep_their_geometry(shared_data: Path) -> None:
    mask = read_mask(shared_data / "spider/masks_full/1_t1.mha")
    assert mask.grid.shape == (50, 448, 578)
    assert mask.grid.spacing_mm == pytest.approx((3.3211471629683151, 0.625, 0.50060673), abs=1e-7)
    assert mask.grid.axis_codes == "LPS"
    assert set(range(201, 208)) <= set(np.unique(mask.array))
    image = read_image(shared_data / "fastcleverseg/images_iso/11.nii.gz")
    check_image(image)
    check_same_grid(image, read_mask(shared_data / "fastcleverseg/masks_iso/11.nii.gz"))


# Files that cannot be used -------------------------------------------------------------------------------


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "nothing.mha")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".mha", ".mhd", ".nrrd", ".nhdr"])
@pytest.mark.parametrize("text", ["", "hello\n", "a long text\n" * 200])
def test_a_text_file_by_another_name_is_refused(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"text{suffix}"
    path.write_text(text)
    assert "not the kind of file its name says" in refused(path)


def test_a_gzipped_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.nii.gz"
    path.write_bytes(gzip.compress(b"hello" * 500))
    assert "not the kind of file its name says" in refused(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("share", [0.97, 0.8, 0.6])
def test_a_truncated_file_is_refused(ramp: dict[str, Path], suffix: str, share: float, capfd) -> None:
    data = ramp[suffix].read_bytes()
    ramp[suffix].write_bytes(data[: int(len(data) * share)])
    refused(ramp[suffix])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_truncated_uncompressed_file_is_refused(tmp_path: Path, suffix: str, capfd) -> None:
    path = uncompressed(tmp_path / f"plain{suffix}")
    assert read_image(path).array[5, 4, 3] == 119
    path.write_bytes(path.read_bytes()[:-1])
    refused(path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".mha", ".nii.gz", ".nrrd"])
def test_a_flipped_byte_in_compressed_voxels_is_refused(ramp: dict[str, Path], suffix: str, capfd) -> None:
    data = bytearray(ramp[suffix].read_bytes())
    data[-20] ^= 0xFF
    ramp[suffix].write_bytes(data)
    refused(ramp[suffix])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".mha", ".nii", ".nrrd"])
@pytest.mark.parametrize("slices", [None, 1])
def test_a_flat_image_is_refused(tmp_path: Path, suffix: str, slices: int | None) -> None:
    flat = np.ones((20, 30), np.int16) if slices is None else np.ones((slices, 20, 30), np.int16)
    path = tmp_path / f"flat{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(flat), str(path))
    assert "2-D image (30 x 20" in refused(path)


@pytest.mark.parametrize("suffix", [".mha", ".nii", ".nrrd"])
def test_several_time_points_or_channels_are_refused(tmp_path: Path, suffix: str) -> None:
    image = sitk.GetImageFromArray(np.ones((4, 5, 6), np.int16))
    path = tmp_path / f"many{suffix}"
    for many in (sitk.JoinSeries([image, image]), sitk.Compose(image, image, image)):
        sitk.WriteImage(many, str(path))
        assert "not one volume" in refused(path)


def test_complex_voxels_are_refused(tmp_path: Path) -> None:
    path = uncompressed(tmp_path / "complex.nii")
    data = bytearray(path.read_bytes())
    data[70:74] = struct.pack("<2h", 32, 64)
    path.write_bytes(data)
    assert "2 values each" in refused(path)


def edited(path: Path, old: str, new: str) -> Path:
    """Change a text header."""
    data = path.read_bytes()
    assert old.encode() in data
    path.write_bytes(data.replace(old.encode(), new.encode()))
    return path


@pytest.mark.parametrize("spacing", ["0 2 3", "1 -2 3", "1 2 nan", "1 2 inf", "1 2"])
def test_a_metaimage_spacing_that_makes_no_sense_is_refused(tmp_path: Path, spacing: str) -> None:
    path = edited(uncompressed(tmp_path / "a.mha"), "ElementSpacing = 1 2 3", f"ElementSpacing = {spacing}")
    assert "voxel size" in refused(path, GridError)


def test_a_metaimage_without_spacing_is_refused_and_an_old_one_is_read(tmp_path: Path) -> None:
    path = edited(uncompressed(tmp_path / "a.mha"), "ElementSpacing = 1 2 3", "ElementSize = 1 2 3")
    assert read_image(path).grid.spacing_mm == (1, 2, 3)
    assert "voxel size none" in refused(edited(path, "ElementSize = 1 2 3\n", ""), GridError)


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_nifti_spacing_that_makes_no_sense_is_refused(tmp_path: Path, axis: int, value: float) -> None:
    path = uncompressed(tmp_path / "a.nii")
    data = bytearray(path.read_bytes())
    data[80 + 4 * axis : 84 + 4 * axis] = struct.pack("<f", value)
    path.write_bytes(data)
    assert "voxel size" in refused(path, GridError)


@pytest.mark.parametrize("vector", ["(0,0,0)", "(nan,0,0)"])
def test_an_nrrd_spacing_that_makes_no_sense_is_refused(tmp_path: Path, vector: str) -> None:
    path = edited(uncompressed(tmp_path / "a.nrrd"), "(1,0,0)", vector)
    assert "voxel size" in refused(path, GridError)


def test_a_nifti_or_nrrd_without_orientation_is_refused(tmp_path: Path) -> None:
    path = uncompressed(tmp_path / "a.nii")
    data = bytearray(path.read_bytes())
    data[252:256] = struct.pack("<2h", 0, 0)
    path.write_bytes(data)
    assert "how its axes lie" in refused(path, GridError)
    path = uncompressed(tmp_path / "a.nrrd")
    edited(path, "space directions: (1,0,0) (0,2,0) (0,0,3)", "spacings: 1 2 3")
    edited(path, "space: left-posterior-superior\n", "")
    edited(path, "space origin: (0,0,0)\n", "")
    assert "how its axes lie" in refused(path, GridError)


def test_a_sheared_nifti_is_refused(tmp_path: Path, capfd) -> None:
    path = uncompressed(tmp_path / "a.nii")
    data = bytearray(path.read_bytes())
    data[252:256] = struct.pack("<2h", 0, 1)
    data[280:296] = struct.pack("<4f", 1, 0.3, 0, 0)
    path.write_bytes(data)
    assert "not perpendicular" in refused(path, GridError)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("matrix", ["1 0 0 0.1 1 0 0 0 1", "2 0 0 0 1 0 0 0 1", "0 0 0 0 1 0 0 0 1"])
def test_a_sheared_metaimage_is_refused(tmp_path: Path, matrix: str) -> None:
    path = edited(uncompressed(tmp_path / "a.mha"), "Matrix = 1 0 0 0 1 0 0 0 1", f"Matrix = {matrix}")
    with pytest.raises((GridError, InputError), match=r"a\.mha"):
        read_image(path)


def test_rounded_axes_are_straightened(tmp_path: Path) -> None:
    path = edited(
        uncompressed(tmp_path / "a.mha"), "= 1 0 0 0 1 0 0 0 1", "= 0.707 0.707 0 -0.707 0.707 0 0 0 1"
    )
    grid = read_image(path).grid
    np.testing.assert_allclose(grid.direction.T @ grid.direction, np.eye(3), atol=1e-12)
    assert grid.spacing_mm == pytest.approx((1, 2, 3), abs=1e-12)
    assert grid.direction[0, 0] == pytest.approx(np.sqrt(0.5), abs=1e-12)
    again = read_image(write_volume(read_image(path), tmp_path / "b.nii.gz"))
    assert again.grid.same_as(grid, tolerance_mm=1e-3)


def test_a_file_that_may_not_be_read_is_refused(ramp: dict[str, Path], monkeypatch) -> None:
    (ramp[".mha"].parent / "a.unknown").write_bytes(b"")

    def locked(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", locked)  # root may read anything
    assert "Permission denied" in refused(ramp[".mha"])
    assert "no known format" in refused(ramp[".mha"].parent / "a.unknown")


@pytest.mark.parametrize("suffix", [".mha", ".nii", ".nrrd"])
def test_a_header_that_claims_a_million_million_voxels_is_refused(tmp_path: Path, suffix: str) -> None:
    path = uncompressed(tmp_path / f"huge{suffix}")
    if suffix == ".nii":
        data = bytearray(path.read_bytes())
        data[42:48] = struct.pack("<3h", 10000, 10000, 10000)
        path.write_bytes(data)
    else:
        key = "DimSize = " if suffix == ".mha" else "sizes: "
        edited(path, f"{key}6 5 4", f"{key}10000 10000 10000")
    assert "claims 10000 x 10000 x 10000 voxels" in refused(path)


@pytest.mark.parametrize("sizes", ["0 5 4", "-6 5 4", "x 5 4", "6 5", "99999999999999999999 5 4"])
def test_sizes_that_make_no_sense_are_refused(tmp_path: Path, sizes: str) -> None:
    refused(edited(uncompressed(tmp_path / "a.mha"), "DimSize = 6 5 4", f"DimSize = {sizes}"))


def test_data_that_lie_elsewhere_are_asked_for(tmp_path: Path) -> None:
    path = uncompressed(tmp_path / "pair.mhd")
    (tmp_path / "pair.raw").unlink()
    assert "'pair.raw', which is not beside it" in refused(path)
    edited(path, "ElementDataFile = pair.raw", "ElementDataFile = LIST")
    assert "several files" in refused(path)


def nifti(order: str) -> bytes:
    """The ramp volume as NIfTI-1 of that byte order, written from the format's definition."""
    head = bytearray(352)
    struct.pack_into(f"{order}i", head, 0, 348)
    struct.pack_into(f"{order}8h", head, 40, 3, *GRID.shape, 1, 1, 1, 1)
    struct.pack_into(f"{order}2h", head, 70, 4, 16)
    struct.pack_into(f"{order}8f", head, 76, 1, *GRID.spacing_mm, 0, 0, 0, 0)
    struct.pack_into(f"{order}3f", head, 108, 352, 1, 0)
    struct.pack_into(f"{order}2h", head, 252, 0, 1)
    for row, (step, start) in enumerate(zip(GRID.spacing_mm, GRID.origin_mm, strict=True)):
        flip = -1 if row < 2 else 1  # NIfTI's world is RAS
        values = [flip * step if column == row else 0.0 for column in range(3)]
        struct.pack_into(f"{order}4f", head, 280 + 16 * row, *values, flip * start)
    head[344:348] = b"n+1\0"
    return bytes(head) + RAMP.array.astype(f"{order}i2").tobytes(order="F")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
def test_nifti_of_either_byte_order_is_read(tmp_path: Path, order: str, packed: bool) -> None:
    path = tmp_path / ("a.nii.gz" if packed else "a.nii")
    path.write_bytes(gzip.compress(nifti(order)) if packed else nifti(order))
    volume = read_image(path)
    np.testing.assert_array_equal(volume.array, RAMP.array)
    np.testing.assert_allclose(volume.grid.affine, GRID.affine, atol=1e-6)


def test_nifti_that_simpleitk_cannot_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(struct.pack("<i", 540) + b"n+2\0" + bytes(600))
    assert "NIfTI-2" in refused(tmp_path / "a.nii")


@pytest.mark.parametrize("rank", [0, 8, -1])
def test_a_nifti_without_dimensions_is_refused(tmp_path: Path, rank: int) -> None:
    data = bytearray(nifti("<"))
    data[40:42] = struct.pack("<h", rank)
    (tmp_path / "a.nii").write_bytes(data)
    assert "not the kind of file" in refused(tmp_path / "a.nii")


def test_a_folder_named_like_an_image_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").mkdir()
    with pytest.raises(InputError, match="no DICOM image series"):
        read_image(tmp_path / "a.nii.gz")


def test_a_folder_where_a_file_should_be_and_the_other_way_round(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no DICOM image series"):
        read_image(tmp_path)
    with pytest.raises(InputError, match="is a folder"):
        read_mask(tmp_path)
    path = write_volume(RAMP, tmp_path / "a.mha")
    with pytest.raises(InputError, match="leave out --series"):
        read_image(path, series="1.2")


def test_unknown_formats_are_refused_with_those_that_are_known(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    assert ".nii.gz" in refused(tmp_path / "a.png")
    (tmp_path / "slice.dcm").write_bytes(b"x")
    assert "give the folder" in refused(tmp_path / "slice.dcm")
    (tmp_path / "noending").write_bytes(bytes(128) + b"DICM")
    assert "give the folder" in refused(tmp_path / "noending")


def test_itk_speaks_up_again_after_a_file_is_read(ramp: dict[str, Path]) -> None:
    for shown in (True, False):
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
        read_image(ramp[".mha"])
        assert sitk.ProcessObject.GetGlobalWarningDisplay() is shown
    sitk.ProcessObject.SetGlobalWarningDisplay(True)


# Voxels that cannot be used ------------------------------------------------------------------------------


def test_a_segmentation_is_told_from_an_mri() -> None:
    rng = np.random.default_rng(0)
    grid = Grid.from_spacing((30, 30, 30), (1.0, 1.0, 1.0))
    labels = rng.integers(0, 30, grid.shape)
    for kind in (np.int16, np.uint8, np.float32):
        with pytest.raises(InputError, match=r"has 30 different values.*--mask"):
            check_no_labels(Volume(grid, labels.astype(kind)))
    check_no_labels(Volume(grid, rng.integers(0, 200, grid.shape)))
    check_no_labels(Volume(grid, labels + 0.5))
    check_no_labels(Volume(Grid.from_spacing((5, 5, 5), (1.0, 1.0, 1.0)), labels[:5, :5, :5]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_image_with_a_value_that_is_no_number_is_refused(bad: float) -> None:
    array = RAMP.array.astype(np.float32)
    check_image(RAMP.with_array(array))
    array[1, 1, 1] = bad
    with pytest.raises(InputError, match=r"a\.mha has 1 voxels that are NaN or infinite"):
        check_image(RAMP.with_array(array), name="a.mha")


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_constant_image_is_refused(dtype: type) -> None:
    with pytest.raises(InputError, match="has the value 7 in every voxel"):
        check_image(RAMP.with_array(np.full(GRID.shape, 7, dtype)))


def test_an_empty_or_negative_mask_is_refused() -> None:
    check_mask(RAMP)
    with pytest.raises(LabelError, match="the mask is empty"):
        check_mask(RAMP.with_array(np.zeros(GRID.shape, np.uint8)))
    with pytest.raises(LabelError, match="label -1"):
        check_mask(RAMP.with_array(RAMP.array - 1))


@pytest.mark.parametrize("value", [0.5, np.nan, 1e12])
def test_a_mask_of_probabilities_is_refused(tmp_path: Path, value: float) -> None:
    array = RAMP.array.astype(np.float32)
    array[0, 0, 0] = value
    path = write_volume(RAMP.with_array(array), tmp_path / "soft.mha")
    with pytest.raises(InputError, match="not whole numbers"):
        read_mask(path)


@pytest.mark.parametrize(
    ("spacing", "origin", "shape"),
    [
        ((1.0, 2.0, 3.2), (-7.0, 8.0, 9.5), (6, 5, 4)),
        ((1.0, 2.0, 3.0), (-7.0, 8.0, 10.0), (6, 5, 4)),
        ((1.0, 2.0, 3.0), (-7.0, 8.0, 9.5), (6, 5, 3)),
    ],
)
def test_a_mask_off_its_images_grid_is_refused(spacing: tuple, origin: tuple, shape: tuple) -> None:
    mask = Volume(Grid.from_spacing(shape, spacing, origin_mm=origin), np.ones(shape, np.uint8))
    with pytest.raises(GridError, match="6 x 5 x 4 voxels of 1 x 2 x 3 mm") as caught:
        check_same_grid(RAMP, mask)
    assert "\n" not in str(caught.value)


def test_a_mask_may_be_off_by_rounding() -> None:
    moved = Grid.from_spacing(GRID.shape, GRID.spacing_mm, origin_mm=(-7.04, 8.0, 9.5))
    check_same_grid(RAMP, Volume(moved, RAMP.array))


# Writing -------------------------------------------------------------------------------------------------


def test_a_file_name_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="one that ends in"):
        write_volume(RAMP, tmp_path / "a.mhd")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        write_volume(RAMP, tmp_path / "file" / "a.mha")
    with pytest.raises(OutputError, match="cannot be written"):
        write_volume(RAMP, tmp_path / "absent" / "a.mha")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_failed_write_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_volume(RAMP, tmp_path / "a.mha")
    before = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no space left")

    monkeypatch.setattr(sitk, "WriteImage", fail)
    with pytest.raises(OutputError, match=r"a\.mha"):
        write_volume(RAMP.with_array(RAMP.array + 1), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_sheared_grid_cannot_be_written(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.2
    with pytest.raises(GridError, match="perpendicular"):
        write_volume(Volume(Grid(GRID.shape, affine), RAMP.array), tmp_path / "a.mha")


@pytest.mark.parametrize("suffix", [".mha", ".nii.gz", ".nrrd"])
def test_files_are_compressed(tmp_path: Path, suffix: str) -> None:
    zeros = Volume(Grid.from_spacing((40, 40, 40), (1, 1, 1)), np.zeros((40, 40, 40), np.int16))
    assert write_volume(zeros, tmp_path / f"z{suffix}").stat().st_size < 2000


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("scans/11.nii.gz", "11"),
        ("1_t1.mha", "1_t1"),
        ("A.B.NRRD", "A.B"),
        ("folder/series 4", "series 4"),
        ("folder/", "folder"),
        (".nii.gz", "study"),
    ],
)
def test_a_study_is_named_after_its_input(path: str, name: str) -> None:
    assert study_name(Path(path)) == name
