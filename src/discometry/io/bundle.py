"""Model bundles: weights and the configs that build them, without pickle.

A bundle is a folder: ``bundle.json`` names each component's file, its SHA-256 and its config, and carries a
hash of itself; tensors lie in ``<name>.safetensors``; ``MODEL_CARD.md`` says what it was trained on. Every
file is verified by its hash before it is parsed. The card is outside the hash: words may be mended without
new models, and no number depends on them. A hash finds damage; it does not say who made the bundle, so what a
file holds is taken for hostile all the same, and judged before it is used.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from discometry.core.errors import BundleError
from discometry.io.atomic import check_folder, new_folder

__all__ = [
    "FORMAT_VERSION",
    "STARTER",
    "Bundle",
    "Component",
    "bundle_folder",
    "check_bundle_folder",
    "read_bundle",
    "write_component",
]

FORMAT = "discometry-bundle"
FORMAT_VERSION = 1
"""Version of the layout on disk that this release reads and writes."""

_SHIPPED = Path(__file__).parent.parent / "bundles"
STARTER = _SHIPPED / "starter"
"""The bundle that is used if none is named; beside it comes ``paper``, with the paper's segmenter."""

_INDEX, _CARD = "bundle.json", "MODEL_CARD.md"
_TENSORS = ".safetensors"
_LARGEST_TEXT, _LARGEST_WEIGHTS = 2**24, 2**32
"""Bytes of an index or card, and of a component."""


@dataclass(frozen=True, slots=True, eq=False)
class Component:
    """One model of a bundle: ``tensors``, with the config that builds it.

    Raises
    ------
    BundleError
        If the name is no plain word, there are no tensors, or the config is not JSON.
    """

    name: str
    config: Mapping[str, Any]
    tensors: Mapping[str, NDArray[Any]]

    def __post_init__(self) -> None:
        if not self.name.isidentifier():
            raise BundleError(
                f"a component named '{self.name}'", expected="a plain word", action="rename the component"
            )
        if not self.tensors:
            raise BundleError(
                f"component '{self.name}' without tensors",
                expected="at least one",
                action="give the weights as tensors, by name",
            )
        try:
            json.dumps(dict(self.config), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise BundleError(
                f"the config of component '{self.name}' ({error})",
                expected="numbers, words, lists and mappings",
                action="turn the config into plain JSON values",
            ) from error

    @property
    def file_name(self) -> str:
        """Name of its file in the bundle folder."""
        return self.name + _TENSORS


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """Models that belong together. ``sha256`` covers every weight and config, not the model card."""

    name: str
    version: str
    components: Mapping[str, Component]
    card: str
    sha256: str

    def component(self, name: str) -> Component:
        """Give a component by name.

        Raises
        ------
        BundleError
            If the bundle has none of that name.
        """
        if name not in self.components:
            raise BundleError(
                f"bundle '{self.name}' has no {name}",
                expected=f"one beside {', '.join(sorted(self.components)) or 'nothing'}",
                action=f"train one with `discometry train {name}`, or choose another bundle",
            )
        return self.components[name]


def bundle_folder(path: Path | None) -> Path:
    """Give the folder of a bundle: where the path leads, or that which comes along by this name.

    None is the starter's. What is here comes before what comes along.
    """
    if path is None:
        return STARTER
    shipped = _SHIPPED / path.name
    return shipped if str(path) == path.name and shipped.is_dir() and not path.exists() else path


def read_bundle(path: Path | None = None) -> Bundle:
    """Read a bundle's folder, as :func:`bundle_folder` finds it, and verify its models and settings.

    Raises
    ------
    BundleError
        If the folder is missing, is not a bundle, is of another format version, was damaged, or holds models
        that its index does not name.
    """
    folder = bundle_folder(path if path is None else Path(path))
    index = _read_index(folder)
    _check_nothing_else(folder, index)
    components = {name: _read_component(folder, name, entry) for name, entry in index["components"].items()}
    try:
        card = _read_bytes(folder / _CARD, _LARGEST_TEXT).decode("utf-8")
    except (OSError, UnicodeDecodeError):
        card = ""
    return Bundle(
        str(index["name"]), str(index["version"]), MappingProxyType(components), card, str(index["sha256"])
    )


def write_component(
    bundle_dir: Path,
    component: Component,
    *,
    name: str | None = None,
    version: str | None = None,
    card: str | None = None,
) -> Path:
    """Write a component into a bundle folder, made if absent; other components in it stay.

    The folder changes as a whole: it holds the old bundle or the new one at any moment.

    Parameters
    ----------
    bundle_dir
        The bundle folder.
    component
        Replaces an older one of its name.
    name, version, card
        Of the bundle; None keeps what is there (for a new bundle: the folder's name, ``"1"``, a stub).

    Raises
    ------
    OutputError
        If the folder holds something else, or cannot be written.
    BundleError
        If the folder's own index cannot be read.
    """
    bundle_dir = Path(bundle_dir)
    with new_folder(bundle_dir, ours=_is_bundle) as fresh:
        index: dict[str, Any] = {"name": bundle_dir.resolve().name, "version": "1", "components": {}}
        if _is_bundle(bundle_dir):
            index = _read_index(bundle_dir)
            shutil.copytree(bundle_dir, fresh, dirs_exist_ok=True)
        replaced = index["components"].get(component.name)
        if replaced:
            (fresh / replaced["file"]).unlink(missing_ok=True)
        data = _packed(component)
        (fresh / component.file_name).write_bytes(data)
        index["components"][component.name] = {
            "file": component.file_name,
            "sha256": hashlib.sha256(data).hexdigest(),
            "config": dict(component.config),
        }
        index |= {key: value for key, value in (("name", name), ("version", version)) if value is not None}
        if card is not None or not (fresh / _CARD).exists():
            text = (
                card if card is not None else f"# {index['name']}\n\nNobody has described this bundle yet.\n"
            )
            (fresh / _CARD).write_text(text, encoding="utf-8")
        (fresh / _INDEX).write_text(_signed(index), encoding="utf-8")
    return bundle_dir


def check_bundle_folder(folder: Path) -> None:
    """Refuse a place where :func:`write_component` could not put a bundle, before hours of training.

    Raises
    ------
    OutputError
        If the folder holds something else, or cannot be written.
    BundleError
        If the folder's own index cannot be read.
    """
    check_folder(Path(folder), ours=_is_bundle)
    if _is_bundle(Path(folder)):
        _read_index(Path(folder))


def _is_bundle(folder: Path) -> bool:
    return (folder / _INDEX).is_file()


def _packed(component: Component) -> bytes:
    # safetensors writes the memory as it lies, so a transposed view would come back scrambled
    return save({name: np.ascontiguousarray(array) for name, array in component.tensors.items()})


def _signed(index: Mapping[str, Any]) -> str:
    """JSON text of an index with its format and its own hash."""
    content = {"format": FORMAT, "format_version": FORMAT_VERSION} | {
        key: value for key, value in index.items() if key != "sha256"
    }
    return json.dumps(content | {"sha256": _index_sha256(content)}, indent=2, sort_keys=True) + "\n"


def _index_sha256(content: Mapping[str, Any]) -> str:
    plain = {key: value for key, value in content.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(plain, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _read_index(folder: Path) -> dict[str, Any]:
    try:
        index = json.loads(_read_bytes(folder / _INDEX, _LARGEST_TEXT))
        found = _index_sha256(index) if isinstance(index, dict) else ""
    except OSError as error:
        raise BundleError(
            f"'{folder}' is not a model bundle",
            expected=f"a folder with a {_INDEX}, or the name of a bundle that comes along: paper, starter",
            action="check the path, or train a bundle with `discometry train`",
        ) from error
    except (ValueError, RecursionError) as error:
        raise _damaged(folder, _INDEX) from error
    if not isinstance(index, dict) or index.get("format") != FORMAT:
        raise BundleError(
            f"'{folder / _INDEX}' is not the index of a bundle",
            expected=f'"format": "{FORMAT}"',
            action="choose a bundle that discometry wrote",
        )
    if index.get("format_version") != FORMAT_VERSION:
        raise BundleError(
            f"bundle '{folder}' has format version {index.get('format_version')}",
            expected=f"version {FORMAT_VERSION}",
            action="use the discometry release that wrote it, or train it again",
        )
    entries = index.get("components")
    if not {"name", "version", "sha256"} <= index.keys() or index["sha256"] != found:
        raise _damaged(folder, _INDEX)
    if not isinstance(entries, dict) or not all(_is_entry(*item, folder) for item in entries.items()):
        raise _damaged(folder, _INDEX)
    return index


def _is_entry(name: str, entry: object, folder: Path) -> bool:
    """Tell whether a component's entry has all that it needs, and names a file of its own in the folder.

    Raises
    ------
    BundleError
        If its file is of a kind that this release has not.
    """
    file = entry.get("file") if isinstance(entry, dict) else None
    if not isinstance(entry, dict) or not isinstance(file, str) or not name.isidentifier():
        return False
    stem, _, ending = file.partition(".")
    if stem == name and ending.isalnum() and file != name + _TENSORS:
        raise BundleError(
            f"bundle '{folder}' holds '{file}', a kind of model that this release does not read",
            expected=f"models in {_TENSORS} files; it was made for another release of discometry",
            action="use the discometry release that wrote it, or train it again",
        )
    return (
        file == name + _TENSORS
        and isinstance(entry.get("sha256"), str)
        and isinstance(entry.get("config"), dict)
    )


def _check_nothing_else(folder: Path, index: Mapping[str, Any]) -> None:
    known = {entry["file"] for entry in index["components"].values()}
    others = [file.name for file in folder.iterdir() if file.suffix.lower() == _TENSORS]
    strange = sorted(set(others) - known)
    if strange:
        raise BundleError(
            f"bundle '{folder}' holds '{strange[0]}', which its index does not name",
            expected="the models that were hashed when the bundle was written, and no others",
            action="take that file away, or copy or download the bundle again",
        )


def _read_bytes(path: Path, largest: int) -> bytes:
    """Read a file that is a file, and not without end."""
    if not path.is_file() or path.stat().st_size > largest:
        raise OSError(f"no file of at most {largest:,} bytes")
    return path.read_bytes()


def _read_component(folder: Path, name: str, entry: Mapping[str, Any]) -> Component:
    file = str(entry["file"])
    try:
        data = _read_bytes(folder / file, _LARGEST_WEIGHTS)
    except OSError as error:
        raise BundleError(
            f"bundle '{folder}' lacks '{file}'",
            expected="every file that its index names",
            action="copy or download the bundle again",
        ) from error
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise _damaged(folder, file)
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:  # KeyError: a type that NumPy lacks
        raise _foreign(folder, file, "no tensors that can be read") from error
    return Component(name, entry["config"], tensors)


def _foreign(folder: Path, file: str, what: str) -> BundleError:
    return BundleError(
        f"'{folder / file}' holds {what}",
        expected="safetensors that discometry wrote",
        action="choose a bundle that discometry wrote, or train it again with `discometry train`",
    )


def _damaged(folder: Path, file: str) -> BundleError:
    return BundleError(
        f"'{folder / file}' was damaged or changed",
        expected="the bytes that were hashed when the bundle was written",
        action="copy or download the bundle again",
    )
