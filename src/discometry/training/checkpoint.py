"""Where a training stands, on disk: safetensors beside JSON, whole at any moment a process may be killed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from discometry.core.errors import OutputError
from discometry.io.atomic import new_file
from discometry.training.history import EpochRecord, Progress

__all__ = [
    "read_checkpoint",
    "read_weights",
    "write_atomically",
    "write_checkpoint",
    "write_weights",
]

FORMAT = "discometry-training"
FORMAT_VERSION = 1
STATE = "state.json"


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that its place holds either the old or the new content, whole.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    """
    with new_file(path) as partial:
        partial.write_bytes(data)


def write_weights(path: Path, module: nn.Module) -> None:
    """Write a network's weights and buffers as safetensors, atomically."""
    write_atomically(path, save_tensors(_detached(module.state_dict())))


def read_weights(path: Path, module: nn.Module) -> None:
    """Load what :func:`write_weights` wrote into a network of the same build.

    Raises
    ------
    OutputError
        If the file is missing, damaged, or of another network.
    """
    try:
        module.load_state_dict(load_tensors(path.read_bytes()))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise _unusable(path.parent, f"unreadable weights {path.name}") from error


def write_checkpoint(
    out: Path,
    progress: Progress,
    *,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: Mapping[str, Any],
    recipe: Mapping[str, Any],
) -> None:
    """Write all that is needed to continue; the file ``state.json``, replaced last, makes it count.

    Parameters
    ----------
    out
        Folder of the training.
    progress
        How far it has come.
    module, optimizer, scaler
        The network, its optimiser and the state of the precision's gradient scaler.
    recipe
        Everything that must be the same when the training is continued.
    """
    tensors = {f"model/{name}": value for name, value in module.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in slots.items()}
    data = save_tensors(_detached(tensors))
    weights = out / f"checkpoint-{progress.epoch:05d}-{progress.step:06d}.safetensors"
    write_atomically(weights, data)
    state = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "weights": {"file": weights.name, "sha256": sha256(data).hexdigest()},
        "progress": asdict(progress),
        "scaler": dict(scaler),
        "recipe": dict(recipe),
    }
    write_atomically(out / STATE, json.dumps(state, indent=1).encode())
    for old in out.glob("*checkpoint-*.safetensors"):
        if old != weights:
            old.unlink(missing_ok=True)


def read_checkpoint(
    out: Path, *, module: nn.Module, optimizer: torch.optim.Optimizer, recipe: Mapping[str, Any]
) -> tuple[Progress, dict[str, Any]] | None:
    """Load the checkpoint in ``out`` into a network and optimiser, giving the progress and scaler state.

    Returns
    -------
    The progress and the gradient scaler's state, or ``None`` where the folder holds no checkpoint.

    Raises
    ------
    OutputError
        If the folder's training has another recipe or network, or its files are damaged.
    """
    if not (out / STATE).exists():
        return None
    try:
        state = json.loads((out / STATE).read_text())
        if (state["format"], state["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise _unusable(out, f"format {state['format']!r} version {state['format_version']}")
        data = (out / state["weights"]["file"]).read_bytes()
        if sha256(data).hexdigest() != state["weights"]["sha256"]:
            raise _unusable(out, f"damaged file {state['weights']['file']}")
        tensors = load_tensors(data)
        history = tuple(EpochRecord(**record) for record in state["progress"].pop("history"))
        progress = Progress(**state["progress"], history=history)
        found, scaler = state["recipe"], dict(state["scaler"])
    except (KeyError, TypeError, AttributeError, ValueError, OSError, SafetensorError) as error:
        raise _unusable(out, f"unreadable checkpoint ({error})") from error
    _check_recipe(out, found, recipe)
    try:
        module.load_state_dict(_below("model/", tensors))
        _load_optimizer(optimizer, _below("optimizer/", tensors))
    except (RuntimeError, KeyError, ValueError) as error:
        raise _unusable(out, "checkpoint of another network") from error
    return progress, scaler


def _check_recipe(out: Path, found: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    wanted = json.loads(json.dumps(recipe))
    differing = sorted(key for key in {*found, *wanted} if found.get(key) != wanted.get(key))
    if differing:
        raise _unusable(out, f"training with other options ({', '.join(differing)})")


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split("/")
        slots.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": slots, "param_groups": groups})


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _detached(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}


def _unusable(out: Path, found: str) -> OutputError:
    return OutputError(
        f"{out}: {found}",
        expected="a new folder, or one of the same training to continue",
        action="give the options it was started with, or another folder",
    )
