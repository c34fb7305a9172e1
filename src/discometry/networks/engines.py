"""Make a bundle's segmenter ready to run, by the engine that suits it."""

from __future__ import annotations

from typing import Literal

from discometry.io.bundle import Component
from discometry.networks.runtime import ExpectantPredictor
from discometry.networks.segmenter_config import SegmenterConfig, agreement

__all__ = ["Engine", "load_predictor"]

Engine = Literal["openvino", "torch"]


def load_predictor(
    component: Component, *, engine: Engine = "openvino", device: str = "cpu"
) -> tuple[ExpectantPredictor, SegmenterConfig]:
    """Make a bundle's ``segmenter`` or ``locator`` ready to run.

    Parameters
    ----------
    component
        Its weights and config.
    engine
        What runs it. OpenVINO runs residual U-Nets on a CPU; SwinUNETR, and other devices, always take torch.
    device
        Where torch computes, as torch names it.

    Raises
    ------
    BundleError
        If the weights are not those of the network that the config describes.
    """
    with agreement():
        config = SegmenterConfig.of(component)
    if engine == "openvino" and device == "cpu" and config.architecture == "residual_unet":
        from discometry.networks.engine_openvino import OpenvinoPredictor, residual_unet

        with agreement():
            model = residual_unet(component.tensors, config)
        return OpenvinoPredictor(model), config
    # torch and MONAI are slow to import, so only those who need them pay for it.
    from discometry.networks.engine_torch import TorchPredictor
    from discometry.networks.segmenter import load_segmenter

    network, config = load_segmenter(component)
    return TorchPredictor(network, device), config
