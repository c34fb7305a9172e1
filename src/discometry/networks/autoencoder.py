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

__all__ = [
    "Autoencoder",
    "AutoencoderConfig",
    "autoencoder_component",
    "build_autoencoder",
    "decode",
    "encode_cubes",
    "load_autoencoder",
]

_BATCH = 8
_LEVELS = 5
_START_LOGIT = -4.0
"""Bias of the output before training: one voxel in sixty is disc. From 0, the first hundreds of steps go by
unlearning an empty cube."""
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
            if getattr(self, name) < 1:
                raise InputError(
                    f"{name} = {getattr(self, name)}", expected="at least 1", action=f"raise {name}"
                )

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


def autoencoder_component(network: Autoencoder, **card: Any) -> Component:
    """Pack a network for a bundle.

    Convolution and linear weights are kept in float16, the rest as it is; ``card`` joins the config as notes.
    """
    tensors = {name: _packed(tensor.detach().cpu().numpy()) for name, tensor in network.state_dict().items()}
    config = {"network": asdict(network.config), **card}
    return Component("autoencoder", config=config, tensors=tensors, payload=None)


def load_autoencoder(component: Component) -> Autoencoder:
    """Rebuild a network, float32 and in evaluation mode, from a bundle's ``autoencoder`` component.

    Raises
    ------
    BundleError
        If the weights are not those of the network that the config describes.
    """
    try:
        network = build_autoencoder(AutoencoderConfig.from_json(component.config["network"]))
        network.load_state_dict(
            {name: torch.from_numpy(np.array(value)) for name, value in component.tensors.items()}
        )
    except (KeyError, TypeError, InputError, RuntimeError) as error:
        raise BundleError(
            f"an autoencoder whose weights and config disagree ({str(error).splitlines()[0]})",
            expected="the weights of the network that the config names",
            action="train the autoencoder again, or use the shipped bundle",
        ) from error
    return network.eval()


def _packed(value: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return value.astype(np.float16) if value.ndim > 1 else value


def encode_cubes(cubes: NDArray[np.bool_], autoencoder: Autoencoder) -> NDArray[np.float64]:
    """Map cubes, Nx64x64x64, to latents, Nxk."""
    return _apply(lambda part: autoencoder.encode(part.unsqueeze(1)).double(), cubes, autoencoder)


def decode(latents: NDArray[np.float64], autoencoder: Autoencoder) -> NDArray[np.bool_]:
    """Map latents, Nxk, to cubes, Nx64x64x64: the voxels more likely disc than not."""
    return _apply(lambda part: autoencoder.decode(part)[:, 0] > 0, latents, autoencoder)


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
