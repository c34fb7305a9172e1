"""The narrowing classifier: logistic regression, whose every answer is a sum that one can read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from discometry.core.errors import BundleError
from discometry.io.bundle import Component

__all__ = ["Classifier", "classifier_component", "load_classifier"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Classifier:
    """Log-odds are ``offset + sum(weights * (features - middle))``; a feature not known adds nothing."""

    features: tuple[str, ...]
    """Names of the features, in order."""
    middle: FloatArray
    """Mean of each feature, (F,), over the discs it was trained on."""
    weights: FloatArray
    """Log-odds for each unit of a feature, (F,)."""
    offset: float
    """Log-odds of a disc that is the mean of all."""

    def contributions(self, features: FloatArray) -> FloatArray:
        """Give what each feature adds to the log-odds, NxF; for a linear model these are its SHAP values.

        Lundberg and Lee (2017, NeurIPS), taking the features as independent.
        """
        shares: FloatArray = (features - self.middle) * self.weights
        return np.where(np.isfinite(shares), shares, 0.0)

    def probabilities(self, features: FloatArray) -> FloatArray:
        """Map features, NxF, to probabilities, N."""
        log_odds = self.offset + self.contributions(features).sum(axis=1)
        probability: FloatArray = 1 / (1 + np.exp(-log_odds))
        return probability


def classifier_component(classifier: Classifier, **card: Any) -> Component:
    """Pack a classifier for a bundle; ``card`` joins the config as notes."""
    config = {
        "kind": "logistic",
        "features": list(classifier.features),
        "offset": classifier.offset,
        **card,
    }
    tensors = {"middle": classifier.middle, "weights": classifier.weights}
    return Component("classifier", config=config, tensors=tensors)


def load_classifier(component: Component) -> Classifier:
    """Rebuild a classifier from a bundle's ``classifier`` component.

    Raises
    ------
    BundleError
        If it is of another kind, or its weights are not those of the features that the config names.
    """
    try:
        if component.config["kind"] != "logistic":
            raise ValueError(f"kind {component.config['kind']!r}")
        features = tuple(component.config["features"])
        if isinstance(component.config["features"], str) or not all(isinstance(x, str) for x in features):
            raise ValueError("features that have no names")
        middle, weights = (np.array(component.tensors[name], np.float64) for name in ("middle", "weights"))
        offset = float(component.config["offset"])
        if not middle.shape == weights.shape == (len(features),):
            raise ValueError(f"{len(features)} features, and weights of shape {weights.shape}")
        if not (np.isfinite(middle).all() and np.isfinite(weights).all() and np.isfinite(offset)):
            raise ValueError("weights that are not finite")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise BundleError(
            f"a classifier that cannot be read ({str(error).splitlines()[0]})",
            expected="a logistic model with a weight for each of its features",
            action="train the classifier again, or use the shipped bundle",
        ) from error
    return Classifier(features, middle, weights, offset)
