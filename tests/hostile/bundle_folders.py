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
from volumes_on_disk import Case

from discometry.io.ubjson import read_ubjson

__all__ = ["Exploit", "bundle_folders", "foreign", "hashed", "small_bundle", "written_ubjson"]

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
    from xgboost import DMatrix, train

    from discometry.io.bundle import write_component
    from discometry.networks.autoencoder import (
        AutoencoderConfig,
        ConvolutionalShape,
        build_autoencoder,
        convolutional_component,
    )
    from discometry.networks.classifier import Classifier, classifier_component
    from discometry.networks.segmenter import SegmenterConfig, build_segmenter, segmenter_component

    x = np.random.default_rng(0).normal(size=(60, 2))
    trees = train({"objective": "binary:logistic", "nthread": 1}, DMatrix(x, x[:, 0] < 0), num_boost_round=2)
    config = SegmenterConfig(width=2, levels=2)
    network = build_autoencoder(AutoencoderConfig(latents=1, width=1))
    components = (
        segmenter_component(build_segmenter(config), config),
        convolutional_component(ConvolutionalShape(network.eval(), np.linspace(0, 3, 5))),
        classifier_component(Classifier(trees, ("height", "width"))),
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
    """Contents that are neither safetensors nor trees, by what they are."""
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
        "JSON": b'{"learner": {"gradient_booster": {"name": "gbtree"}}}',
        "safetensors of a terabyte": struct.pack("<Q", len(head)) + head,
        "safetensors of an endless header": struct.pack("<Q", 2**63) + b"{}",
        "ubjson of an endless string": b"{L" + struct.pack(">q", 2**62) + b"x",
        "ubjson of an endless array": b"{L" + struct.pack(">q", 1) + b"a[$d#L" + struct.pack(">q", 2**60),
        "ubjson of many nothings": b"{L" + struct.pack(">q", 1) + b"a[#L" + struct.pack(">q", 2**40),
        "ubjson nested deeply": b"{L\0\0\0\0\0\0\0\1a" * 100_000,
        "old binary model": b"binf" + bytes(400),
    }


def written_ubjson(value: Any) -> bytes:
    """Write UBJSON as XGBoost does."""
    if isinstance(value, dict):
        parts = [b"L" + _text(key) + written_ubjson(item) for key, item in value.items()]
        return b"{" + b"".join(parts) + b"}"
    if isinstance(value, np.ndarray):
        kind = {"f4": b"d", "f8": b"D", "u1": b"U", "i1": b"i", "i2": b"I", "i4": b"l", "i8": b"L"}
        return b"[$" + kind[value.dtype.str[1:]] + b"#L" + struct.pack(">q", len(value)) + value.tobytes()
    if isinstance(value, list):
        return b"[#L" + struct.pack(">q", len(value)) + b"".join(map(written_ubjson, value))
    if isinstance(value, str):
        return b"SL" + _text(value)
    if isinstance(value, bool) or value is None:
        return {True: b"T", False: b"F", None: b"Z"}[value]
    if isinstance(value, float):
        return b"D" + struct.pack(">d", value)
    return b"L" + struct.pack(">Q", int(value) % 2**64)


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">q", len(raw)) + raw


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


@st.composite
def _other_trees(draw: st.DrawFn, payload: bytes) -> bytes:
    """Trees of which one value, or one number within an array, is another."""
    model = read_ubjson(payload)
    for _ in range(draw(st.sampled_from((1, 1, 1, 2)))):
        path = draw(st.sampled_from(list(_places(model))))
        old = model
        for key in path:
            old = old[key]
        if isinstance(old, np.ndarray) and len(old) and draw(st.integers(0, 3)) > 0:
            new = old.copy()
            if new.dtype.kind == "f":
                number = draw(st.sampled_from((0, -1, 1e30, float("nan"), float("inf"))))
            else:
                top = np.iinfo(new.dtype)
                number = draw(st.sampled_from((0, 1, 2, len(old) - 1, top.max, top.min)))
            new[draw(st.integers(0, len(old) - 1))] = number
            _set(model, path, new)
        elif isinstance(old, np.ndarray) and draw(st.booleans()):
            _set(model, path, old[: draw(st.integers(0, len(old)))])
        elif isinstance(old, str):
            texts = (
                "0",
                "1",
                "-1",
                "2",
                "999999999",
                "99999999999999999999",
                "nan",
                "[]",
                "",
                "dart",
                "multi:softmax",
            )
            _set(model, path, draw(st.sampled_from(texts)))
        else:
            _set(
                model,
                path,
                draw(st.sampled_from((*JSON_VALUES[:10], "", "x", [], {}, [1], np.zeros(3, ">f4")))),
            )
    return written_ubjson(model)


def bundle_folders() -> st.SearchStrategy[Case]:
    """Bundles that are damaged, or made with ill will and a true hash."""
    return _attacked(small_bundle())


@st.composite
def _attacked(draw: st.DrawFn, whole: dict[str, bytes]) -> Case:
    files = dict(whole)
    names = [name for name in files if name not in ("bundle.json", "MODEL_CARD.md")]
    kind = draw(
        st.sampled_from(("damage", "index", "index", "bytes", "bytes", "trees", "trees", "foreign", "lose"))
    )
    name = draw(st.sampled_from(names))
    if kind == "damage":
        name = draw(st.sampled_from(sorted(files)))
        return Case(files | {name: draw(damaged(files[name]))})
    if kind == "lose":
        del files[draw(st.sampled_from(sorted(files)))]
        return Case(files | draw(st.sampled_from(({}, {"more.ubj": b"x"}, {"weights.pkl": b"x"}))))
    index = json.loads(files["bundle.json"])
    if kind == "index":
        for _ in range(draw(st.sampled_from((1, 1, 2)))):
            path = draw(st.sampled_from(list(_places(index))))
            _set(index, path, draw(st.sampled_from(JSON_VALUES)))
    elif kind == "bytes":
        files[name] = draw(damaged(files[name], early=600))
    elif kind == "trees":
        files["classifier.ubj"] = draw(_other_trees(files["classifier.ubj"]))
    else:
        files[name] = draw(st.sampled_from(sorted(foreign().values())))
    return Case(hashed(files, index))
