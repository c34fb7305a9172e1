from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from discometry.core.errors import BundleError, OutputError
from discometry.io import bundle as module
from discometry.io.bundle import STARTER, Component, bundle_folder, read_bundle, write_component

WEIGHTS = {"w": np.arange(12, dtype=np.float32).reshape(3, 4), "b": np.array([1, 2], np.float16)}
CODER = Component("autoencoder", {"latents": 4, "widths": [8, 16]}, WEIGHTS)
LINE = Component("classifier", {"features": ["volume_mm3"]}, {"weights": np.array([1.5])})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle of two components."""
    place = tmp_path / "small"
    write_component(place, CODER, card="# Small\n")
    return write_component(place, LINE)


def refused(folder: Path, words: str) -> None:
    with pytest.raises(BundleError, match=words) as caught:
        read_bundle(folder)
    assert "\n" not in str(caught.value)
    assert folder.name in str(caught.value)


def test_a_bundle_comes_back_as_it_was(folder: Path) -> None:
    bundle = read_bundle(folder)
    assert (bundle.name, bundle.version, bundle.card) == ("small", "1", "# Small\n")
    assert sorted(bundle.components) == ["autoencoder", "classifier"]
    coder, line = bundle.component("autoencoder"), bundle.component("classifier")
    assert coder.config == {"latents": 4, "widths": [8, 16]}
    assert {name: array.tolist() for name, array in line.tensors.items()} == {"weights": [1.5]}
    for name, array in WEIGHTS.items():
        np.testing.assert_array_equal(coder.tensors[name], array)
        assert coder.tensors[name].dtype == array.dtype
    assert sorted(path.name for path in folder.iterdir()) == [
        *("MODEL_CARD.md", "autoencoder.safetensors", "bundle.json", "classifier.safetensors")
    ]


@given(arrays(st.sampled_from([np.float32, np.int64, np.uint8]), array_shapes(max_dims=4)), st.booleans())
def test_tensors_survive_whatever_their_memory_order(tmp_path: Path, array: np.ndarray, turned: bool) -> None:
    array = array.transpose() if turned else array
    folder = write_component(tmp_path / "any", Component("net", {}, {"w": array}))
    np.testing.assert_array_equal(read_bundle(folder).components["net"].tensors["w"], array)


def test_the_hash_follows_weights_and_configs_only(folder: Path) -> None:
    first = read_bundle(folder).sha256
    (folder / "MODEL_CARD.md").write_text("other words")
    write_component(folder, CODER)
    assert read_bundle(folder).sha256 == first
    assert read_bundle(folder).card == "other words"
    write_component(folder, Component("autoencoder", {"latents": 5, "widths": [8, 16]}, WEIGHTS))
    second = read_bundle(folder).sha256
    write_component(folder, Component("classifier", LINE.config, {"weights": np.array([2.5])}))
    assert len({first, second, read_bundle(folder).sha256}) == 3


def test_a_shipped_bundle_is_named_unless_a_folder_of_that_name_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bundle_folder(None) == bundle_folder(Path("starter")) == STARTER
    assert bundle_folder(Path("paper")) == STARTER.with_name("paper")
    assert bundle_folder(Path("./elsewhere/paper")) == Path("elsewhere/paper")
    assert bundle_folder(Path("..")) == Path("..")
    write_component(Path("paper"), LINE)
    assert read_bundle(Path("paper")).components.keys() == {"classifier"}


def test_the_papers_bundle_differs_from_the_starter_in_its_segmenter_alone() -> None:
    starter, paper = read_bundle(), read_bundle(Path("paper"))
    for name in ("locator", "autoencoder", "classifier"):
        files = [bundle_folder(Path(bundle)) / f"{name}.safetensors" for bundle in ("starter", "paper")]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert starter.component(name).config == paper.component(name).config
    segmenter = paper.component("segmenter")
    assert segmenter.config["network"]["architecture"] == "swin_unetr_v2"
    assert segmenter.config["held_out"] == starter.component("segmenter").config["held_out"]


def test_name_version_and_card_can_be_set(folder: Path) -> None:
    write_component(folder, LINE, name="starter", version="2026.1", card="# Starter\n")
    bundle = read_bundle(folder)
    assert (bundle.name, bundle.version, bundle.card) == ("starter", "2026.1", "# Starter\n")


def test_every_flipped_byte_of_a_component_is_noticed(folder: Path) -> None:
    for name in ("autoencoder.safetensors", "classifier.safetensors"):
        data = (folder / name).read_bytes()
        for place in range(0, len(data), 5):
            (folder / name).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            refused(folder, f"{name}' was damaged")
        (folder / name).write_bytes(data)
    read_bundle(folder)


def test_every_flipped_byte_of_the_index_is_noticed(folder: Path) -> None:
    text = (folder / "bundle.json").read_bytes()
    for place, byte in enumerate(text):
        if byte not in b" \n":  # white space between values means nothing
            (folder / "bundle.json").write_bytes(text[:place] + bytes([byte ^ 1]) + text[place + 1 :])
            refused(folder, "damaged|format|not the index")


def test_a_truncated_component_is_noticed(folder: Path) -> None:
    data = (folder / "autoencoder.safetensors").read_bytes()
    (folder / "autoencoder.safetensors").write_bytes(data[:-3])
    refused(folder, "damaged")


def edit(folder: Path, **changes: object) -> None:
    """Change the index and sign it again, as another program would have."""
    index = json.loads((folder / "bundle.json").read_text()) | changes
    index["sha256"] = module._index_sha256(index)
    (folder / "bundle.json").write_text(json.dumps(index))


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_format_version_is_refused(folder: Path, version: object) -> None:
    edit(folder, format_version=version)
    refused(folder, f"format version {version}; expected version 1")


def test_a_model_in_another_kind_of_file_is_of_another_release(folder: Path) -> None:
    index = json.loads((folder / "bundle.json").read_text())
    (folder / "classifier.safetensors").rename(folder / "classifier.ubj")
    entry = index["components"]["classifier"] | {"file": "classifier.ubj"}
    edit(folder, components=index["components"] | {"classifier": entry})
    refused(folder, "made for another release of discometry")
    with pytest.raises(BundleError, match="another release"):
        write_component(folder, CODER)


def test_an_index_of_something_else_is_refused(folder: Path) -> None:
    edit(folder, format="zoo")
    refused(folder, "not the index of a bundle")
    (folder / "bundle.json").write_text("[]")
    refused(folder, "not the index of a bundle")
    (folder / "bundle.json").write_text("{")
    refused(folder, "damaged")


def test_missing_parts_are_named(folder: Path, tmp_path: Path) -> None:
    (folder / "classifier.safetensors").unlink()
    refused(folder, r"lacks 'classifier\.safetensors'")
    refused(tmp_path / "nowhere", "not a model bundle")


def test_a_file_outside_the_folder_is_not_read(folder: Path) -> None:
    index = json.loads((folder / "bundle.json").read_text())
    entry = index["components"]["classifier"] | {"file": "../small/classifier.safetensors"}
    edit(folder, components={"classifier": entry})
    refused(folder, "damaged")


def test_a_hashed_file_that_is_no_safetensors_is_refused(folder: Path) -> None:
    import hashlib

    data = b"not tensors at all"
    (folder / "autoencoder.safetensors").write_bytes(data)
    entry = {"file": "autoencoder.safetensors", "sha256": hashlib.sha256(data).hexdigest(), "config": {}}
    (folder / "classifier.safetensors").unlink()
    edit(folder, components={"autoencoder": entry})
    refused(folder, r"autoencoder\.safetensors' holds no tensors")


def test_an_unknown_component_is_answered_with_those_there_are(folder: Path) -> None:
    with pytest.raises(BundleError, match="no segmenter; expected one beside autoencoder"):
        read_bundle(folder).component("segmenter")


def test_without_a_path_the_shipped_bundle_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STARTER", folder)
    assert read_bundle().name == "small"
    assert read_bundle(None).sha256 == read_bundle(folder).sha256


def test_a_lost_card_does_no_harm(folder: Path) -> None:
    (folder / "MODEL_CARD.md").unlink()
    assert read_bundle(folder).card == ""
    write_component(folder, LINE)
    assert "# small" in read_bundle(folder).card


@pytest.mark.parametrize(
    ("name", "config", "tensors", "words"),
    [
        ("../up", {}, WEIGHTS, "plain word"),
        ("net", {}, {}, "without tensors"),
        ("net", {"rate": float("nan")}, WEIGHTS, "JSON"),
        ("net", {"path": Path("x")}, WEIGHTS, "JSON"),
    ],
)
def test_a_component_that_makes_no_sense_cannot_be_made(
    name: str, config: dict, tensors: dict, words: str
) -> None:
    with pytest.raises(BundleError, match=words):
        Component(name, config, tensors)


def test_a_foreign_folder_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match="not an earlier result"):
        write_component(tmp_path, LINE)
    with pytest.raises(OutputError, match="is a file"):
        write_component(tmp_path / "notes.txt" / "bundle", LINE)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_other_files_in_a_bundle_folder_stay(folder: Path) -> None:
    (folder / "history.csv").write_text("epoch\n")
    write_component(folder, CODER)
    assert (folder / "history.csv").read_text() == "epoch\n"


def test_a_failed_write_leaves_the_bundle_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read_bundle(folder).sha256

    def fail(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_packed", fail)
    with pytest.raises(OutputError, match="No space left"):
        write_component(folder, Component("autoencoder", {}, {"w": np.zeros(3)}))
    assert read_bundle(folder).sha256 == before
    assert [path.name for path in folder.parent.iterdir()] == ["small"]
