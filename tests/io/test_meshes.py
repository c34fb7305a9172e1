from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from discometry.core.errors import InputError
from discometry.core.volume import Grid, Volume
from discometry.io.meshes import Mesh, disc_surface, read_ply, write_ply
from strategies import rotations

RADII_MM = np.array([25.0, 17.0, 6.0])  # about a disc's
CENTRE_MM = np.array([4.0, -30.0, 55.0])


def ellipsoid(spacing: tuple[float, ...], direction: np.ndarray) -> Volume:
    """Mask of an upright ellipsoid on a grid of any direction."""
    shape = tuple(int(n) for n in np.ceil(60 / np.array(spacing)) + 1)
    corner = CENTRE_MM - direction @ (np.array(spacing) * (np.array(shape) - 1) / 2)
    grid = Grid.from_spacing(shape, spacing, origin_mm=corner, direction=direction)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    inside = (((grid.to_world(index) - CENTRE_MM) / RADII_MM) ** 2).sum(axis=-1) <= 1
    return Volume(grid, inside)


def enclosed_mm3(mesh: Mesh) -> float:
    """Volume by the divergence theorem; positive where faces turn outwards."""
    vertices, faces = mesh[0].astype(float) - CENTRE_MM, mesh[1]
    a, b, c = (vertices[faces[:, n]] for n in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def is_closed(mesh: Mesh) -> bool:
    """Every edge has two faces, one in each direction."""
    faces = mesh[1]
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    there = {tuple(edge) for edge in edges.tolist()}
    return len(there) == len(edges) and {(b, a) for a, b in there} == there


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (4.4, 0.9, 0.9), (0.6, 0.6, 3.3)])
@pytest.mark.parametrize("flip", [1.0, -1.0])
def test_a_surface_is_closed_faces_outwards_and_keeps_the_volume(spacing: tuple, flip: float) -> None:
    mask = ellipsoid(spacing, np.diag([flip, 1.0, 1.0]))
    mesh = disc_surface(mask)
    assert is_closed(mesh)
    assert enclosed_mm3(mesh) == pytest.approx(mask.array.sum() * np.prod(spacing), rel=0.02)
    np.testing.assert_allclose(mesh[0].mean(axis=0), CENTRE_MM, atol=0.3)


@settings(max_examples=5)
@given(rotations())
def test_a_surface_lies_where_the_disc_is_whatever_the_grid(direction: np.ndarray) -> None:
    vertices, _ = disc_surface(ellipsoid((1.0, 1.2, 1.5), direction))
    reach = np.linalg.norm((vertices - CENTRE_MM) / RADII_MM, axis=1)
    assert abs(reach - 1).max() < 0.15  # 1 mm at the thin side
    np.testing.assert_allclose(np.abs(vertices - CENTRE_MM).max(axis=0), RADII_MM, atol=0.8)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 1), (2, 2, 1)])
def test_a_few_voxels_without_margin_still_have_a_surface(shape: tuple[int, ...]) -> None:
    mesh = disc_surface(Volume(Grid.from_spacing(shape, (0.4, 0.4, 0.4)), np.ones(shape, bool)))
    assert is_closed(mesh)


def test_a_mesh_survives_its_file(tmp_path: Path) -> None:
    vertices, faces = disc_surface(ellipsoid((2.0, 2.0, 2.0), np.eye(3)))
    write_ply((vertices, faces), tmp_path / "a.ply")
    again = read_ply(tmp_path / "a.ply")
    np.testing.assert_array_equal(again[0], vertices)
    np.testing.assert_array_equal(again[1], faces)
    head = (tmp_path / "a.ply").read_bytes()[:300].decode("latin-1")
    assert head.startswith("ply\nformat binary_little_endian 1.0\n")
    assert f"element vertex {len(vertices)}\n" in head


@pytest.mark.parametrize("damage", ["missing", "text", "short", "ascii"])
def test_other_files_are_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.ply"
    write_ply((np.zeros((3, 3), np.float32), np.array([[0, 1, 2]], np.int32)), path)
    data = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        text = data.replace(b"binary_little_endian", b"ascii")
        path.write_bytes({"text": b"hello", "short": data[:-1], "ascii": text}[damage])
    with pytest.raises(InputError, match=r"a\.ply"):
        read_ply(path)
