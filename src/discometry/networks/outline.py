"""The outline of a network: the shapes of its weights, known without any memory for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

__all__ = ["check_weights"]


def check_weights(build: Callable[[], nn.Module], tensors: Mapping[str, NDArray[Any]]) -> None:
    """Refuse weights of other names or shapes than those of a network before that is built, and NaN.

    A bundle's config may ask for a network that no memory holds; its weights are as large as its file.

    Parameters
    ----------
    build
        Builds the network.
    tensors
        The weights by name.

    Raises
    ------
    ValueError
        If they differ, or a weight is no finite number.
    """
    with torch.device("meta"):
        wanted = {name: tuple(value.shape) for name, value in build().state_dict().items()}
    # A bundle stores a single number as an array of one.
    scalars = {name for name, shape in wanted.items() if shape == ()}
    found = {
        name: () if name in scalars and array.shape == (1,) else array.shape
        for name, array in tensors.items()
    }
    if found != wanted:
        raise ValueError("weights of another network")
    if not all(np.isfinite(array).all() for array in tensors.values()):
        raise ValueError("weights that are no numbers")
