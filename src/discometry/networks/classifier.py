"""The narrowing classifier: boosted trees, and the logistic map that calibrates them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from discometry.core.errors import BundleError
from discometry.io.bundle import Component
from discometry.networks.tree_model import check_trees

if TYPE_CHECKING:
    from xgboost import Booster

__all__ = ["Classifier", "calibrated", "classifier_component", "load_classifier", "margins"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Classifier:
    """Boosted trees with calibration: the probability is ``1 / (1 + exp(-(slope * margin + offset)))``.

    ``margin`` is the trees' raw output (log-odds); slope and offset are Platt's (1999).
    """

    trees: Booster
    """XGBoost trees on the features, NaN where one is not known."""
    features: tuple[str, ...]
    """Names of the features, in order."""
    slope: float = 1.0
    """Factor on the trees' log-odds."""
    offset: float = 0.0
    """Added to the scaled log-odds."""

    def probabilities(self, features: FloatArray) -> FloatArray:
        """Map features, NxF in the order of ``self.features``, to calibrated probabilities, N."""
        return calibrated(margins(self.trees, features), self.slope, self.offset)


def margins(trees: Booster, features: FloatArray) -> FloatArray:
    """Give the trees' log-odds, N, of features, NxF."""
    from xgboost import DMatrix

    if not len(features):
        return np.empty(0)
    found: FloatArray = trees.predict(DMatrix(features), output_margin=True).astype(np.float64)
    return found


def calibrated(margin: FloatArray, slope: float, offset: float) -> FloatArray:
    """Map log-odds to probabilities by a logistic map."""
    probability: FloatArray = 1 / (1 + np.exp(-(slope * margin + offset)))
    return probability


def classifier_component(classifier: Classifier, **card: Any) -> Component:
    """Pack a classifier for a bundle; ``card`` joins the config as notes."""
    config = {
        "features": list(classifier.features),
        "calibration": {"slope": classifier.slope, "offset": classifier.offset},
        **card,
    }
    payload = bytes(classifier.trees.save_raw(raw_format="ubj"))
    return Component("classifier", config=config, tensors={}, payload=payload)


def load_classifier(component: Component) -> Classifier:
    """Rebuild a classifier from a bundle's ``classifier`` component.

    Raises
    ------
    BundleError
        If the trees cannot be read, or are not of the features that the config names.
    """
    from xgboost import Booster
    from xgboost.core import XGBoostError

    try:
        features = tuple(str(name) for name in component.config["features"])
        calibration = component.config["calibration"]
        slope, offset = float(calibration["slope"]), float(calibration["offset"])
        if not np.isfinite((slope, offset)).all():
            raise ValueError("a calibration that is no number")
        payload = component.payload or b""
        check_trees(payload, n_features=len(features))
        trees = Booster({"nthread": 1})
        trees.load_model(bytearray(payload))
    except (KeyError, TypeError, ValueError, XGBoostError) as error:
        raise BundleError(
            f"a classifier that cannot be read ({str(error).splitlines()[0]})",
            expected="XGBoost trees with their features and calibration",
            action="train the classifier again, or use the shipped bundle",
        ) from error
    return Classifier(trees, features, slope, offset)
