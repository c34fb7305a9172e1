"""The convolutional autoencoder of disc shape: one disc cube to a few numbers, and back.

Architecture of Perrone, Moore, Ukeba and Martin (Ann Biomed Eng 2025, doi 10.1007/s10439-025-03840-w):
five strided convolutions, a linear bottleneck, five transposed convolutions, no skip connections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from discometry.core.errors import BundleError, InputError
from discometry.core.records import CUBE_SHAPE
from discometry.io.bundle import Component
from discometry.networks.outline import check_weights
from discometry.networks.shape_coder import Codes, share_beyond

__all__ = [
    "Autoencoder",
    "AutoencoderConfig",
    "ConvolutionalShape",
    "build_autoencoder",
    "convolutional_component",
    "load_convolutional",
]

_BATCH = 8
_MOST = 4096
"""Latents, and channels of the first level."""
_LEVELS = 5
_START_LOGIT = -4.0
"""Bias of the output before training: one voxel in sixty is disc. From 0, the first hundreds of steps go by
unlearning an empty cube."""
_DISTANCES = "distances"
_SMALLEST = CUBE_SHAPE[0] // 2**_LEVELS


@dataclass(frozen=True, slots=True)
class AutoencoderConfig:
    """What builds an autoencoder."""

    latents: int = 4
    """Numbers that describe a disc."""
    width: int = 32
    """Channels of the first level, doubled at each of the five; the paper's is 32 (9.4 million weights)."""

    def __post_init__(self) -> None:
        for name in ("latents", "width"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name} = {value}", expected="at least 1", action=f"raise {name}")
            if value > _MOST:
                raise InputError(f"{name} = {value}", expected=f"at most {_MOST}", action=f"lower {name}")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> AutoencoderConfig:
        """Rebuild a config from its JSON form."""
        return cls(**values)


class Autoencoder(nn.Module):
    """Autoencoder of 64x64x64 disc cubes.

    Parameters
    ----------
    config
        Numbers of latents and channels.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        channels = [config.width * 2**level for level in range(_LEVELS)]
        self.bottom = (channels[-1], _SMALLEST, _SMALLEST, _SMALLEST)
        flat = channels[-1] * _SMALLEST**3
        self.encoder = nn.Sequential(
            *(_down(a, b) for a, b in zip([1, *channels], channels, strict=False)), nn.Flatten()
        )
        self.to_latents = nn.Linear(flat, config.latents)
        self.from_latents = nn.Linear(config.latents, flat)
        self.decoder = nn.Sequential(
            *(_up(a, b) for a, b in zip(channels[:0:-1], channels[-2::-1], strict=True)),
            nn.ConvTranspose3d(channels[0], 1, kernel_size=3, stride=2, padding=1, output_padding=1),
        )
        nn.init.constant_(self.decoder[-1].get_parameter("bias"), _START_LOGIT)

    def encode(self, cubes: Tensor) -> Tensor:
        """Map cubes, Bx1x64x64x64 in 0..1, to latents, Bxk."""
        latents: Tensor = self.to_latents(self.encoder(cubes))
        return latents

    def decode(self, latents: Tensor) -> Tensor:
        """Map latents, Bxk, to logits of being disc, Bx1x64x64x64."""
        logits: Tensor = self.decoder(self.from_latents(latents).unflatten(1, self.bottom))
        return logits

    def forward(self, cubes: Tensor) -> Tensor:
        """Encode and decode: cubes to logits, both Bx1x64x64x64."""
        return self.decode(self.encode(cubes))


def _down(channels: int, out: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(channels, out, kernel_size=3, stride=2, padding=1, bias=False),
        nn.BatchNorm3d(out),
        nn.ReLU(),
    )


def _up(channels: int, out: int) -> nn.Module:
    return nn.Sequential(
        nn.ConvTranspose3d(channels, out, kernel_size=3, stride=2, padding=1, output_padding=1, bias=False),
        nn.BatchNorm3d(out),
        nn.ReLU(),
    )


def build_autoencoder(config: AutoencoderConfig, *, seed: int = 0) -> Autoencoder:
    """Build an autoencoder with fresh weights drawn from ``seed``."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return Autoencoder(config)


@dataclass(frozen=True, slots=True, eq=False)
class ConvolutionalShape:
    """A trained autoencoder; a :class:`~discometry.networks.shape_coder.ShapeCoder` of raw poses.

    ``distances`` (m,) are quantiles of the training discs' distance from the middle of all latents.
    """

    network: Autoencoder
    distances: NDArray[np.float64]

    @property
    def latents(self) -> int:
        """Numbers that describe a disc's shape, its pose included."""
        return self.network.config.latents

    @property
    def pose_numbers(self) -> int:
        """None: the pose is in the latents."""
        return 0

    def encode(self, cubes: NDArray[np.bool_]) -> Codes:
        """Describe disc cubes, Nx64x64x64."""
        if len(cubes) == 0:
            return Codes(np.zeros((0, self.latents)), np.zeros((0, 0)))
        latents = _apply(lambda part: self.network.encode(part.unsqueeze(1)).double(), cubes, self.network)
        return Codes(latents, np.zeros((len(cubes), 0)))

    def decode(self, codes: Codes) -> NDArray[np.bool_]:
        """Give the cubes, Nx64x64x64, that codes stand for: the voxels more likely disc than not."""
        if len(codes.latents) == 0:
            return np.zeros((0, *CUBE_SHAPE), dtype=bool)
        return _apply(lambda part: self.network.decode(part)[:, 0] > 0, codes.latents, self.network)

    def plausibility(self, latents: NDArray[np.float64]) -> NDArray[np.float64]:
        """Share of the training discs that lie at least as far from the middle of all, (N,), 0 to 1."""
        return share_beyond(latents, self.distances)


def convolutional_component(model: ConvolutionalShape, **card: Any) -> Component:
    """Pack a model for a bundle.

    Convolution and linear weights are kept in float16, the rest as it is; ``card`` joins the config as notes.
    """
    state = model.network.state_dict().items()
    tensors = {name: _packed(tensor.detach().cpu().numpy()) for name, tensor in state}
    config = {"kind": "convolutional", "network": asdict(model.network.config), **card}
    tensors[_DISTANCES] = model.distances.astype(np.float32)
    return Component("autoencoder", config=config, tensors=tensors)


def load_convolutional(component: Component) -> ConvolutionalShape:
    """Rebuild a model, float32 and in evaluation mode, from a bundle's ``autoencoder`` component.

    Raises
    ------
    BundleError
        If the weights are not those of the network that the config describes.
    """
    try:
        tensors = {name: np.array(value) for name, value in component.tensors.items()}
        distances = tensors.pop(_DISTANCES).astype(np.float64)
        config = AutoencoderConfig.from_json(component.config["network"])
        check_weights(lambda: Autoencoder(config), tensors)
        if distances.ndim != 1 or len(distances) < 1:
            raise ValueError("distances of another shape")
        network = build_autoencoder(config)
        network.load_state_dict({name: torch.from_numpy(value) for name, value in tensors.items()})
    except (KeyError, TypeError, ValueError, AttributeError, InputError, RuntimeError) as error:
        raise BundleError(
            f"an autoencoder whose weights and config disagree ({str(error).splitlines()[0]})",
            expected="the weights of the network that the config names",
            action="train the autoencoder again, or use the shipped bundle",
        ) from error
    return ConvolutionalShape(network.eval(), distances)


def _packed(value: NDArray[Any]) -> NDArray[Any]:
    return value.astype(np.float16) if value.ndim > 1 else value


def _apply(
    function: Callable[[Tensor], Tensor], array: NDArray[Any], autoencoder: Autoencoder
) -> NDArray[Any]:
    """Apply a function of float32 tensors batch by batch, the network in evaluation mode, and put it back."""
    weight = autoencoder.to_latents.weight
    training = autoencoder.training
    autoencoder.eval()
    try:
        with torch.no_grad():
            parts = torch.split(torch.from_numpy(np.ascontiguousarray(array)), _BATCH)
            return np.concatenate([function(part.to(weight)).cpu().numpy() for part in parts])
    finally:
        autoencoder.train(training)
