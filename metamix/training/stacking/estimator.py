"""Any estimator as the second level."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.derivatives import gradient as model_gradient
from metamix.fitting import FittedExpert, NamedExpert, NestedFitError, Problem, fit_expert
from metamix.training.stacking.base import BoundedStack, Pairs, StackData

__all__ = ["EstimatorStack"]

Array = NDArray[np.float64]


class EstimatorStack(BoundedStack):
    """Any estimator as the second level, on the experts' predictions as columns.

    Of classes the columns are probabilities, without the first class where there are two, as in `StackingClassifier`.

    Parameters
    ----------
    estimator : estimator
        Unfitted; cloned, never changed.
    labels : ndarray of shape (C,), optional
        The classes as the estimator sees them.

    Attributes
    ----------
    oof_, inside_, margin_
        As of `BoundedStack`; probabilities are not bounded.
    fitted_ : FittedExpert

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> y = np.arange(8.0)
    >>> halves = [(np.arange(4), np.arange(4, 8)), (np.arange(4, 8), np.arange(4))]
    >>> stack = EstimatorStack(LinearRegression()).fit(np.column_stack([y, -y]), y, halves)
    >>> stack.predict(np.array([[2.5, -2.5]])).round(6)
    array([2.5])
    """

    def __init__(self, estimator: Any, labels: NDArray[Any] | None = None) -> None:
        self.estimator = estimator
        self.labels = labels

    @property
    def fitted_(self) -> FittedExpert:
        """The estimator, fitted to all rows."""
        fitted: FittedExpert = self.model_
        return fitted

    def _learn_bounds(self, values: Array, data: StackData) -> Any:
        return super()._learn_bounds(values, data) if values.ndim == 1 else None  # probabilities have bounds already

    def _bounded(self, values: Array, predictions: Array, bounds: Any) -> Array:
        return values if bounds is None else super()._bounded(values, predictions, bounds)

    def _model(self, data: StackData, choice: Any) -> FittedExpert | None:
        n_classes = data.predictions.shape[2] if data.predictions.ndim == 3 else None
        if not len(data.y):
            return None
        problem = Problem(_as_columns(data.predictions), data.y, data.weight, data.groups, n_classes, self.labels)
        return fit_expert(NamedExpert("final_estimator", self.estimator), problem, None, None)

    def _inside(self, data: StackData, p: int, pairs: Pairs, choice: Any) -> Array:
        try:
            return super()._inside(data, p, pairs, choice)
        except Exception as error:  # an estimator of the user's that refuses so few rows
            raise NestedFitError(f"final_estimator: {error}") from error

    def _answer(self, model: Any, data: StackData) -> Array:
        return np.asarray(model.predict(_as_columns(data.predictions)))

    def _gradient(
        self, predictions: Array, features: Array | None, slopes: Array, features_jacobian: Array | None
    ) -> Array:
        inside = model_gradient(self.fitted_.model, predictions)
        return np.einsum("nk,nkd->nd", inside, slopes)


def _as_columns(predictions: Array) -> Array:
    """Columns (n, p) of predictions (n, K), or of probabilities (n, K, C)."""
    if predictions.ndim == 2:
        return predictions
    first = 1 if predictions.shape[2] == 2 else 0
    return np.asarray(predictions[:, :, first:].reshape(len(predictions), -1))
