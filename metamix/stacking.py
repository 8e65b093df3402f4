"""Final estimators of the stack: how out-of-fold answers become one answer, whatever the row."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.utils.validation import check_is_fitted

__all__ = ["LinearStack", "LogitStack"]

Array = NDArray[np.float64]


class LinearStack(BaseEstimator):
    """Ridge regression of y on the experts' answers, in standard units, penalty by leave-one-out.

    Weights may be negative, so a bias that all experts share can be undone (Breiman 1996).

    Examples
    --------
    >>> answers = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 3.0], [3.0, 2.0]])
    >>> LinearStack().fit(answers, 2 * answers[:, 0]).predict(answers).round(2)
    array([0., 2., 4., 6.])
    """

    def __init__(self, alphas: Any = tuple(np.logspace(-4, 4, 17))) -> None:
        self.alphas = alphas

    def fit(self, predictions: Array, y: Array, sample_weight: Array | None = None) -> Self:
        """Learn from predictions (n, K), y (n,) and weights (n,)."""
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        # Powers of the standard deviation of y: predictions live on its scale, and units must not matter.
        self.centre_ = float(np.average(y, weights=weight))
        self.unit_ = float(np.sqrt(np.average((y - self.centre_) ** 2, weights=weight))) or 1.0
        scaled = (predictions - self.centre_) / self.unit_
        self.ridge_ = RidgeCV(alphas=self.alphas)
        self.ridge_.fit(scaled, (y - self.centre_) / self.unit_, sample_weight=sample_weight)
        return self

    def predict(self, predictions: Array) -> Array:
        """Answers (n,) from predictions (n, K)."""
        check_is_fitted(self)
        scaled = (predictions - self.centre_) / self.unit_
        return np.asarray(self.centre_ + self.unit_ * self.ridge_.predict(scaled))


class LogitStack(BaseEstimator):
    """Ridge-penalised logistic regression on the experts' log probabilities.

    Examples
    --------
    >>> answers = np.array([[[0.9, 0.1]], [[0.2, 0.8]], [[0.7, 0.3]], [[0.1, 0.9]]])
    >>> LogitStack().fit(answers, np.array([0, 1, 0, 1])).predict(answers).argmax(axis=1)
    array([0, 1, 0, 1])
    """

    def __init__(self, C: float = 0.01, eps: float = 1e-3) -> None:
        self.C = C
        self.eps = eps

    def fit(self, predictions: Array, y: NDArray[np.intp], sample_weight: Array | None = None) -> Self:
        """Learn from predictions (n, K, C), codes y (n,) and weights (n,)."""
        self.n_classes_ = predictions.shape[2]
        self.classes_ = np.unique(y)
        if len(self.classes_) > 1:
            self.model_ = LogisticRegression(C=self.C, max_iter=300)
            self.model_.fit(self._logits(predictions), y, sample_weight=sample_weight)
        return self

    def predict(self, predictions: Array) -> Array:
        """Probabilities (n, C) from predictions (n, K, C)."""
        check_is_fitted(self, "classes_")
        answers = np.zeros((len(predictions), self.n_classes_))
        if len(self.classes_) == 1:
            answers[:, self.classes_] = 1.0
        else:
            answers[:, self.classes_] = self.model_.predict_proba(self._logits(predictions))
        return answers

    def _logits(self, predictions: Array) -> Array:
        p = np.clip(predictions, self.eps, 1 - self.eps)
        logits = np.log(p)
        if self.n_classes_ == 2:
            return np.asarray(logits[:, :, 1] - logits[:, :, 0])
        return np.asarray((logits - logits.mean(axis=2, keepdims=True)).reshape(len(p), -1))
