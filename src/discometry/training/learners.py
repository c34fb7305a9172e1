"""What learns to tell discs apart: the paper's trees, and the shipped logistic regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from discometry.networks.classifier import Classifier
from discometry.training.cross_validation import Outcomes

if TYPE_CHECKING:
    from xgboost import Booster

__all__ = ["Logistic", "Trees"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trees:
    """Gradient-boosted trees (XGBoost) with the paper's settings."""

    depth: int = 3
    """Depth of a tree."""
    trees: int = 200
    """Number of trees."""
    rate: float = 0.1
    """Learning rate."""
    seed: int = 0
    """Of XGBoost, which draws nothing with these settings."""

    def fit(self, features: FloatArray, outcomes: Outcomes) -> _Boosted:
        """Grow the trees; they choose by themselves where discs go of which a feature is not known."""
        from xgboost import DMatrix, train

        options = {
            "objective": "binary:logistic",
            "max_depth": self.depth,
            "eta": self.rate,
            "seed": self.seed,
            "nthread": 1,
        }
        matrix = DMatrix(features, outcomes.positive.astype(np.float64))
        return _Boosted(train(options, matrix, num_boost_round=self.trees))


@dataclass(frozen=True, slots=True)
class _Boosted:
    booster: Booster

    def probabilities(self, features: FloatArray) -> FloatArray:
        from xgboost import DMatrix

        found: FloatArray = self.booster.predict(DMatrix(features)).astype(np.float64)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Logistic:
    """Logistic regression on standardised features, with a ridge; a feature not known counts as its mean."""

    features: tuple[str, ...] = ()
    """Names to give the classifier's features."""
    strength: float = 0.5
    """Inverse of the ridge, for features of unit spread (scikit-learn's C)."""

    def fit(self, features: FloatArray, outcomes: Outcomes) -> Classifier:
        """Find the weights, and write the standard form into them."""
        from sklearn.linear_model import LogisticRegression

        known = np.isfinite(features)
        count = np.maximum(known.sum(axis=0), 1)
        middle = np.where(known, features, 0.0).sum(axis=0) / count
        apart = np.where(known, features - middle, 0.0)
        spread = np.sqrt((apart**2).sum(axis=0) / count)
        spread[spread < 1e-12] = 1.0
        model = LogisticRegression(C=self.strength, max_iter=5000).fit(apart / spread, outcomes.positive)
        weights = model.coef_[0].astype(np.float64) / spread
        return Classifier(self.features, middle, weights, float(model.intercept_[0]))
