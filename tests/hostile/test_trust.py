"""Trust in models: a bundle is what was written, or is refused with what to do; nothing in it is ever run."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from bundle_folders import Exploit, foreign, hashed, small_bundle
from volumes_on_disk import Case
from worker import Worker, read_case

from discometry.core.errors import BundleError
from discometry.io.bundle import FORMAT_VERSION, STARTER, read_bundle
from discometry.networks.classifier import load_classifier
from discometry.networks.segmenter import load_segmenter
from discometry.networks.shape_models import load_shape_model

Files = dict[str, bytes]


def laid_out(files: Files, folder: Path) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def without(name: str) -> Callable[[Files], Files]:
    return lambda files: {key: data for key, data in files.items() if key != name}


def changed(name: str, change: Callable[[bytes], bytes]) -> Callable[[Files], Files]:
    return lambda files: files | {name: change(files[name])}


def of_version(version: int) -> Callable[[Files], Files]:
    def change(files: Files) -> Files:
        return hashed(files, json.loads(files["bundle.json"]) | {"format_version": version})

    return change


def of_kind(file: str) -> Callable[[Files], Files]:
    """Give a component another file."""

    def change(files: Files) -> Files:
        index = json.loads(files["bundle.json"])
        index["components"][file.partition(".")[0]]["file"] = file
        return hashed(files | {file: b"x"}, index)

    return change


WRONG: dict[str, tuple[Callable[[Files], Files], str, str]] = {
    "weights missing": (without("segmenter.safetensors"), "lacks 'segmenter.safetensors'", "download"),
    "index missing": (without("bundle.json"), "is not a model bundle", "discometry train"),
    "one more model": (
        lambda files: files | {"locator.safetensors": b"x"},
        "does not name",
        "take that file away",
    ),
    "a model of another kind": (of_kind("classifier.ubj"), "kind of model that this release", "train"),
    "truncated weights": (changed("segmenter.safetensors", lambda data: data[:-5]), "damaged", "download"),
    "flipped bit": (
        changed("classifier.safetensors", lambda data: data[:-5] + b"\1" + data[-4:]),
        "damaged",
        "download",
    ),
    "swapped files": (
        lambda files: files | {"segmenter.safetensors": files["autoencoder.safetensors"]},
        "damaged",
        "download",
    ),
    "index changed": (
        changed("bundle.json", lambda data: data.replace(b"width", b"depth")),
        "damaged",
        "download",
    ),
    "newer version": (of_version(FORMAT_VERSION + 1), f"format version {FORMAT_VERSION + 1}", "release"),
    "truncated weights, hashed again": (
        lambda files: hashed(changed("segmenter.safetensors", lambda data: data[:-5])(files)),
        "holds no tensors",
        "discometry train",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_bundle_that_is_not_what_was_written_is_refused(tmp_path: Path, case: str) -> None:
    change, found, action = WRONG[case]
    with pytest.raises(BundleError, match=found) as caught:
        read_bundle(laid_out(change(small_bundle()), tmp_path / "bundle"))
    assert action in caught.value.action
    assert caught.value.expected
    assert str(caught.value).isprintable()


def test_what_is_hashed_is_verified_before_it_is_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parsed(_: bytes) -> None:
        pytest.fail("parsed before its hash was compared")

    monkeypatch.setattr("discometry.io.bundle.load", parsed)
    files = changed("autoencoder.safetensors", lambda data: data[:-1] + b"\0")(small_bundle())
    with pytest.raises(BundleError, match="damaged"):
        read_bundle(laid_out(files, tmp_path / "bundle"))


@pytest.mark.parametrize(
    "name", ["segmenter.safetensors", "autoencoder.safetensors", "classifier.safetensors"]
)
@pytest.mark.parametrize("content", sorted(foreign()))
def test_no_foreign_content_is_run_or_believed(
    worker_of: Callable[[str], Worker], tmp_path: Path, name: str, content: str
) -> None:
    """The reading process watches for unpickling, commands and files written, and has little memory."""
    case = Case(hashed(small_bundle() | {name: foreign()[content]}))
    outcome, line = read_case(worker_of("bundle"), case, tmp_path / "case")
    assert outcome == "refused", f"{outcome}: {line}"
    assert name in line


def test_what_is_hidden_would_run_where_it_is_unpickled(tmp_path: Path) -> None:
    marker = tmp_path / "was here"
    pickle.loads(pickle.dumps(Exploit(marker)))
    assert marker.exists()


def test_other_files_beside_the_models_are_left_alone(tmp_path: Path) -> None:
    folder = laid_out(
        small_bundle() | {"history.csv": b"x", "weights.pkl": pickle.dumps(Exploit())}, tmp_path / "b"
    )
    assert sorted(read_bundle(folder).components) == ["autoencoder", "classifier", "segmenter"]


@pytest.mark.parametrize("name", ["starter", "paper"])
def test_a_shipped_bundle_names_a_hash_for_each_of_its_models(name: str) -> None:
    folder = STARTER.with_name(name)
    index = json.loads((folder / "bundle.json").read_text())
    named = {entry["file"] for entry in index["components"].values()}
    assert named | {"bundle.json", "MODEL_CARD.md"} == {path.name for path in folder.iterdir()}
    assert all(len(entry["sha256"]) == 64 for entry in index["components"].values())
    bundle = read_bundle(folder)
    load_segmenter(bundle.component("segmenter"))
    load_classifier(bundle.component("classifier"))
    load_shape_model(bundle.component("autoencoder"))
