"""Surfaces of discs, and PLY files of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from discometry.core.errors import InputError
from discometry.core.volume import Volume

__all__ = ["Mesh", "disc_surface", "read_ply", "write_ply"]

Mesh = tuple[NDArray[np.float32], NDArray[np.int32]]
"""Vertices (n, 3) in LPS mm and triangles (m, 3) as vertex numbers, anticlockwise seen from outside."""

_STEP_MM = 0.8
_SMOOTHING_MM = 0.8

_VERTEX = np.dtype([("xyz", "<f4", 3)])
_FACE = np.dtype([("n", "u1"), ("corners", "<i4", 3)])
_HEADER = (
    "ply\nformat binary_little_endian 1.0\ncomment millimetres, LPS\n"
    "element vertex {}\nproperty float x\nproperty float y\nproperty float z\n"
    "element face {}\nproperty list uchar int vertex_indices\nend_header\n"
)


def disc_surface(mask: Volume) -> Mesh:
    """Wrap a mask in a smooth closed surface that encloses the mask's volume.

    The signed distance to the mask is resampled to cubes of 0.8 mm and smoothed, which takes away the steps
    of thick slices; the surface is the level of it that keeps the volume.

    Parameters
    ----------
    mask
        Boolean, with at least one voxel set.

    Returns
    -------
    Mesh
        Vertices in LPS mm, and triangles.
    """
    from scipy import ndimage
    from skimage.measure import marching_cubes

    from discometry.signed_distance import signed_distance

    spacing = np.array(mask.grid.spacing_mm)
    margin = np.ceil(4 * _SMOOTHING_MM / spacing).astype(int) + 1
    inside = np.pad(mask.array.astype(bool), [(int(n), int(n)) for n in margin])
    distance = signed_distance(inside, spacing.tolist())
    step = _STEP_MM / spacing
    shape = 1 + np.floor((np.array(inside.shape) - 1) / step + 1e-9).astype(int)
    field = ndimage.affine_transform(distance, step, output_shape=tuple(shape), order=1, mode="nearest")
    field = ndimage.gaussian_filter(field, _SMOOTHING_MM / _STEP_MM)
    wanted = max(round(int(inside.sum()) * mask.grid.voxel_volume_mm3 / _STEP_MM**3), 8)
    level = (
        float(np.partition(field.ravel(), -wanted)[-wanted]) - 1e-3
    )  # below the peak, however small the mask
    found, faces, _, _ = marching_cubes(field, level)
    vertices = mask.grid.to_world(found * step - margin)
    a, b, c = (vertices[faces[:, n]] - vertices.mean(axis=0) for n in range(3))
    if np.einsum("ij,ij->", a, np.cross(b, c)) < 0:
        faces = faces[:, ::-1]
    return vertices.astype(np.float32), np.ascontiguousarray(faces, dtype=np.int32)


def write_ply(mesh: Mesh, path: Path) -> None:
    """Write a mesh as binary PLY."""
    vertices, faces = mesh
    corners = np.empty(len(faces), _FACE)
    corners["n"] = 3
    corners["corners"] = faces
    head = _HEADER.format(len(vertices), len(faces)).encode()
    path.write_bytes(head + np.ascontiguousarray(vertices, "<f4").tobytes() + corners.tobytes())


def read_ply(path: Path) -> Mesh:
    """Read a mesh that :func:`write_ply` wrote.

    Raises
    ------
    InputError
        If the file is missing or is anything else.
    """
    try:
        if not path.is_file():
            raise ValueError("no file")
        head, end, body = path.read_bytes().partition(b"end_header\n")
        counts = [int(line.split()[2]) for line in head.decode("latin-1").splitlines() if "element" in line]
        n_vertices, n_faces = counts
        if (head + end).decode("latin-1") != _HEADER.format(n_vertices, n_faces):
            raise ValueError("another layout")
        if min(counts) < 0 or len(body) != n_vertices * _VERTEX.itemsize + n_faces * _FACE.itemsize:
            raise ValueError("another length")
        vertices: NDArray[Any] = np.frombuffer(body, _VERTEX, n_vertices)["xyz"]
        faces: NDArray[Any] = np.frombuffer(body, _FACE, n_faces, n_vertices * _VERTEX.itemsize)["corners"]
        if not np.isfinite(vertices).all() or not ((faces >= 0) & (faces < n_vertices)).all():
            raise ValueError("corners that are no vertices")
    except (OSError, ValueError, IndexError) as error:
        raise InputError(
            f"'{path}' is not a mesh of ours",
            expected="a binary PLY file that discometry wrote",
            action="analyse the study again",
        ) from error
    return vertices.astype(np.float32), faces.astype(np.int32)
