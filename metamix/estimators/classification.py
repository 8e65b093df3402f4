"""MixtureClassifier: classes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin

from metamix import registry
from metamix.estimators.mixture import Array, Mixture
from metamix.estimators.validation import check_classes, check_known_classes, check_new_labels
from metamix.training.stacking import LogOpinionPool


class MixtureClassifier(ClassifierMixin, Mixture):
    """Mixture of experts for classification.

    Parameters and attributes are those of `MixtureRegressor`, without `likelihood`: the likelihood is the probability
    that an expert gave to the class observed. There is no feature-weighted stack. Experts are fitted to the labels of
    y, or to codes 0, 1, … where their `fit` refuses these and none of their parameters names a class; their
    probabilities are aligned by `classes_`. Those without `predict_proba` are calibrated: a logistic regression turns
    their decision values, or predicted classes, of rows held out into probabilities. `oof_predictions_` has shape
    (n, K, C).

    Attributes
    ----------
    classes_ : ndarray of shape (C,)

    Examples
    --------
    >>> from metamix import MixtureClassifier, make_regimes
    >>> X, y = make_regimes(200, task="classification", random_state=0)
    >>> mixture = MixtureClassifier(["logistic", "boosting"], specialize=False, random_state=0).fit(X, y)
    >>> mixture.predict_proba(X).shape
    (200, 2)
    """

    @property
    def _registry(self) -> Mapping[str, Any]:
        return registry.classifiers

    @property
    def _default_experts(self) -> tuple[str, ...]:
        return ("logistic", "naive_bayes", "neighbours", "extra_trees", "boosting")

    def _likelihood_and_stacks(self) -> tuple[Any, Any, Any]:
        return registry.likelihoods["categorical"](), LogOpinionPool(), None

    def _check_target(self, y: Any) -> tuple[NDArray[Any], int | None]:
        self.classes_, codes = check_classes(self, y)
        return codes, len(self.classes_)

    def _check_known_target(self, y: Any) -> NDArray[Any]:
        return check_known_classes(y, self.classes_)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of the rows of X whose class is predicted, weighted."""
        return float(super().score(X, check_new_labels(self, y), sample_weight))

    def predict_proba(self, X: Any) -> Array:
        """Class probabilities (n, C), in the order of `classes_`."""
        X = self._check_new(X)
        return self._fitted.predict_proba(X)

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class of each row, (n,)."""
        likely = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[likely])
