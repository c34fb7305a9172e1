"""Hostile model bundles: a small one, damaged as it lies, or changed and hashed again."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import struct
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from mutations import damaged
from safetensors.numpy import save
from volumes_on_disk import Case

__all__ = ["Exploit", "bundle_folders", "foreign", "hashed", "small_bundle"]

JSON_VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        False,
        0,
        1,
        -1,
        2,
        1.5,
        10**6,
        2**31,
        2**63,
        10**30,
        float("nan"),
        float("inf"),
        "",
        "x",
        "../x",
    ),
    *(
        "/etc/passwd",
        "a" * 10000,
        "\0",
        "日本",
        [],
        {},
        [[]],
        [1],
        ["x"] * 9,
        {"a": {"b": []}},
        "linear_shape",
    ),
    *("swin_unetr_v2", "1.5", "nan"),
)


@cache
def small_bundle() -> dict[str, bytes]:
    """Files of a bundle with all three models, each as small as it can be."""
    from discometry.io.bundle import write_component
    from discometry.networks.autoencoder import (
        AutoencoderConfig,
        ConvolutionalShape,
        build_autoencoder,
        convolutional_component,
    )
    from discometry.networks.classifier import Classifier, classifier_component
    from discometry.networks.segmenter import build_segmenter, segmenter_component
    from discometry.networks.segmenter_config import SegmenterConfig

    line = Classifier(("height", "width"), np.array([8.0, 30.0]), np.array([-0.5, 0.1]), -1.0)
    config = SegmenterConfig(width=2, levels=2)
    network = build_autoencoder(AutoencoderConfig(latents=1, width=1))
    components = (
        segmenter_component(build_segmenter(config), config),
        convolutional_component(ConvolutionalShape(network.eval(), np.linspace(0, 3, 5))),
        classifier_component(line),
    )
    with tempfile.TemporaryDirectory() as folder:
        for component in components:
            write_component(Path(folder) / "small", component)
        return {file.name: file.read_bytes() for file in sorted((Path(folder) / "small").iterdir())}


def hashed(files: dict[str, bytes], index: Any = None) -> dict[str, bytes]:
    """The same files, the index hashed again so that nothing looks damaged."""
    found = json.loads(files["bundle.json"]) if index is None else index
    if isinstance(found, dict) and isinstance(found.get("components"), dict):
        for entry in found["components"].values():
            if isinstance(entry, dict) and isinstance(entry.get("file"), str) and entry["file"] in files:
                entry["sha256"] = hashlib.sha256(files[entry["file"]]).hexdigest()
    if isinstance(found, dict):
        plain = {key: value for key, value in found.items() if key != "sha256"}
        found["sha256"] = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    return files | {"bundle.json": json.dumps(found).encode()}


class Exploit:
    """Makes a folder when it is unpickled."""

    def __init__(self, marker: Path = Path("/nowhere/discometry-was-here")) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.marker),)


def foreign() -> dict[str, bytes]:
    """Contents that are no safetensors, by what they are."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", pickle.dumps(Exploit()))
    array = io.BytesIO()
    np.save(array, np.array([Exploit()], dtype=object), allow_pickle=True)
    huge = {"w": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}
    head = json.dumps(huge).encode()
    return {
        "nothing": b"",
        "pickle": pickle.dumps(Exploit()),
        "torch archive": archive.getvalue(),
        "numpy objects": array.getvalue(),
        "JSON": b'{"middle": [8, 30], "weights": [0, 0]}',
        "safetensors of a terabyte": struct.pack("<Q", len(head)) + head,
        "safetensors of an endless header": struct.pack("<Q", 2**63) + b"{}",
    }


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the way to every value within a value."""
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


def _set(value: Any, path: tuple[Any, ...], new: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    value[path[-1]] = deepcopy(new)


_NUMBERS = (0.0, -1.0, 1e30, -1e308, 1e-308, float("nan"), float("inf"), -float("inf"))
_KINDS = ("<f8", "<f4", "<f2", "<i8", "<i4", "|u1", "|b1")


@st.composite
def _other_line(draw: st.DrawFn, config: dict[str, Any]) -> bytes:
    """Tensors of a classifier of which values, shapes, kinds or names are others; its config may be, too."""
    tensors = {"middle": np.array([8.0, 30.0]), "weights": np.array([-0.5, 0.1])}
    for _ in range(draw(st.sampled_from((1, 1, 1, 2)))):
        name = draw(st.sampled_from(("middle", "weights")))
        kind = draw(
            st.sampled_from(("number", "shape", "dtype", "lose", "more", "features", "kind", "offset"))
        )
        if kind == "number" and name in tensors and tensors[name].size:
            tensors[name] = tensors[name].astype(float)
            tensors[name].flat[0] = draw(st.sampled_from(_NUMBERS))
        elif kind == "shape":
            shape = draw(st.sampled_from(((), (0,), (1,), (3,), (2, 1), (1, 2), (100_000,))))
            tensors[name] = np.ones(shape)
        elif kind == "dtype" and name in tensors:
            with np.errstate(all="ignore"):
                tensors[name] = np.nan_to_num(tensors[name]).astype(draw(st.sampled_from(_KINDS)))
        elif kind == "lose":
            tensors.pop(name, None)
        elif kind == "more":
            tensors[draw(st.sampled_from(("", "x", "../x", "x" * 10_000, "offset")))] = np.ones(2)
        elif kind == "features":
            names = (
                ["height"],
                ["width", "height", "x"],
                ["a", "a"],
                "ab",
                [1, 2],
                [[], {}],
                {"a": 1, "b": 2},
            )
            config["features"] = draw(st.sampled_from((*names, ["x" * 10_000] * 2, None, ["no feature"] * 2)))
        elif kind == "kind":
            config["kind"] = draw(
                st.sampled_from(("trees", "", None, 1, ["logistic"], "Logistic", "x" * 9999))
            )
        else:
            config["offset"] = draw(st.sampled_from((*JSON_VALUES, "1", "1_0", "-inf", *_NUMBERS[:5])))
    return save(tensors)


def bundle_folders() -> st.SearchStrategy[Case]:
    """Bundles that are damaged, or made with ill will and a true hash."""
    return _attacked(small_bundle())


@st.composite
def _attacked(draw: st.DrawFn, whole: dict[str, bytes]) -> Case:
    files = dict(whole)
    names = [name for name in files if name not in ("bundle.json", "MODEL_CARD.md")]
    kind = draw(
        st.sampled_from(("damage", "index", "index", "bytes", "bytes", "line", "line", "foreign", "lose"))
    )
    name = draw(st.sampled_from(names))
    if kind == "damage":
        name = draw(st.sampled_from(sorted(files)))
        return Case(files | {name: draw(damaged(files[name]))})
    if kind == "lose":
        del files[draw(st.sampled_from(sorted(files)))]
        return Case(files | draw(st.sampled_from(({}, {"more.safetensors": b"x"}, {"weights.pkl": b"x"}))))
    index = json.loads(files["bundle.json"])
    if kind == "index":
        for _ in range(draw(st.sampled_from((1, 1, 2)))):
            path = draw(st.sampled_from(list(_places(index))))
            _set(index, path, draw(st.sampled_from(JSON_VALUES)))
    elif kind == "bytes":
        files[name] = draw(damaged(files[name], early=600))
    elif kind == "line":
        config = index["components"]["classifier"]["config"]
        files["classifier.safetensors"] = draw(_other_line(config))
    else:
        files[name] = draw(st.sampled_from(sorted(foreign().values())))
    return Case(hashed(files, index))
