"""The discs in space: what reaches the browser is what the meshes say."""

from __future__ import annotations

from base64 import b64decode

import numpy as np
import pytest
from drawings import image_of, texts
from made_up_study import SEMI_AXES_MM, disc_centre, make_labels, make_meshes

from discometry.core.anatomy import level_of_label
from discometry.report import scene
from discometry.report.figures import colour_of_label
from discometry.report.scene import SHARPNESS, build_scene, draw_meshes, thin_mesh


@pytest.fixture(scope="module")
def meshes():
    return make_meshes(make_labels(3))


def enclosed_mm3(mesh) -> float:
    vertices, faces = mesh
    a, b, c = (vertices[faces[:, n]].astype(float) for n in range(3))
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def test_thinning_keeps_the_shape(meshes):
    mesh = meshes[201]
    thin = thin_mesh(mesh, cell_mm=1.5)
    assert len(thin[1]) < 0.5 * len(mesh[1])
    assert enclosed_mm3(thin) == pytest.approx(enclosed_mm3(mesh), rel=0.03)
    assert thin[0].min(axis=0) == pytest.approx(mesh[0].min(axis=0), abs=1.5)
    assert thin[1].max() < len(thin[0])


def test_thinning_goes_on_until_vertices_can_be_numbered(meshes, monkeypatch):
    once = len(thin_mesh(meshes[201], cell_mm=1.0)[0])
    monkeypatch.setattr(scene, "MOST_VERTICES", once - 1)
    assert len(thin_mesh(meshes[201], cell_mm=1.0)[0]) == len(thin_mesh(meshes[201], cell_mm=2.0)[0])


def test_scene_unpacks_to_the_meshes(meshes):
    made = build_scene(meshes)
    everything = np.concatenate([vertices for vertices, _ in meshes.values()])
    middle = (everything.min(axis=0) + everything.max(axis=0)) / 2
    assert [disc["level"] for disc in made["discs"]] == ["L3/L4", "L4/L5", "L5/S1"]
    for disc, label in zip(made["discs"], (203, 202, 201), strict=True):
        steps = np.frombuffer(b64decode(disc["vertices"]), "<u2").reshape(-1, 3)
        vertices = steps * made["step_mm"] - made["half_mm"] + middle
        assert vertices == pytest.approx(meshes[label][0], abs=0.01)
        assert np.array_equal(np.frombuffer(b64decode(disc["faces"]), "<u2").reshape(-1, 3), meshes[label][1])
        assert middle + disc["centre_mm"] == pytest.approx(disc_centre(label - 201), abs=1.5)
        assert disc["extent_mm"] == pytest.approx(SEMI_AXES_MM, abs=1.5)
        assert disc["colour"] == colour_of_label(label)


def test_scene_fits_whichever_way_it_is_turned(meshes):
    across, along = build_scene(meshes)["reach_mm"]
    everything = np.concatenate([vertices for vertices, _ in meshes.values()]).astype(float)
    offsets = everything - (everything.min(axis=0) + everything.max(axis=0)) / 2
    for yaw in np.deg2rad(range(0, 360, 30)):
        right = np.array([np.cos(yaw), np.sin(yaw), 0])
        assert np.abs(offsets @ right).max() <= across + 0.01
        for pitch in np.deg2rad(range(-90, 91, 15)):
            up = np.array([-np.sin(pitch) * np.sin(yaw), np.sin(pitch) * np.cos(yaw), np.cos(pitch)])
            assert np.abs(offsets @ up).max() <= along + 0.01


def test_a_mesh_that_is_inside_out_leaves_an_empty_still(meshes):
    vertices, faces = meshes[201]
    toward = np.array([vertices[faces[0]]])[0]
    normal = np.cross(toward[1] - toward[0], toward[2] - toward[0]) @ scene._view_axes()[2]
    away = np.array([[0, 1, 2] if normal < 0 else [0, 2, 1]], dtype=np.int32)
    picture = draw_meshes({201: (toward.astype(np.float32), away)})
    assert np.ptp(image_of(picture), axis=(0, 1)).max() <= 4
    assert "L5/S1" in texts(picture)


def test_still_shows_every_disc_above_the_next(meshes):
    picture = draw_meshes(meshes)
    array = image_of(picture).astype(float)
    written = texts(picture)
    heights = []
    for label in (201, 202, 203):
        wanted = np.array([int(colour_of_label(label)[k : k + 2], 16) for k in (1, 3, 5)], dtype=float)
        # The same hue at any brightness, and not grey.
        size = np.linalg.norm(array, axis=-1)
        like = (array @ wanted) / np.maximum(size * np.linalg.norm(wanted), 1) > 0.998
        rows, columns = np.nonzero(like & (np.ptp(array, axis=-1) > 40)) / np.array(SHARPNESS)
        x, y = written[level_of_label(label)]
        assert x > columns.max()
        assert rows.min() < y < rows.max()
        heights.append(rows.mean())
    assert heights == sorted(heights, reverse=True)
    assert all(level in picture.alt for level in ("L5/S1", "L4/L5", "L3/L4"))
