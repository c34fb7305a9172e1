"""The shape model of a bundle, whichever kind it is."""

from __future__ import annotations

from discometry.io.bundle import Component
from discometry.networks.shape_coder import ShapeCoder

__all__ = ["load_shape_model"]


def load_shape_model(component: Component) -> ShapeCoder:
    """Rebuild the model of a bundle's ``autoencoder`` component, linear or convolutional.

    Raises
    ------
    BundleError
        If its weights are not those that its config describes.
    """
    if component.config.get("kind") == "linear_shape":
        from discometry.networks.linear_shape import load_linear_shape

        return load_linear_shape(component)
    # torch is slow to import, so only those who decode with a network pay for it.
    from discometry.networks.autoencoder import load_convolutional

    return load_convolutional(component)
