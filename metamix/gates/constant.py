"""A gate that ignores x: the same weights for all rows, as in convex stacking."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from metamix.gates.simplex import count_experts, simplex_weights
from metamix.gates.soft_labels import (
    check_responsibilities,
    check_row_weights,
    count_rows,
    mean_responsibilities,
)
from metamix.protocols import FloatArray, Objective


class ConstantWeights(BaseEstimator):
    """Base class of gates with the same weights for every row.

    Attributes
    ----------
    weights_ : ndarray of shape (K,)
    n_experts_ : int
    """

    weights_: FloatArray
    n_experts_: int

    def predict_proba(self, X: Any) -> FloatArray:
        """Weights (n, K) of the n rows of X."""
        check_is_fitted(self)
        return np.tile(self.weights_, (count_rows(X), 1))

    def weights_gradient(self, X: Any) -> FloatArray:
        """Gradient (n, K, q) of the weights at the rows of X (n, q): zero, since they do not depend on x."""
        check_is_fitted(self)
        return np.zeros((count_rows(X), self.n_experts_, np.shape(X)[1]))

    def _mean_weights(self, X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None) -> FloatArray:
        """Mean responsibilities (K,), the maximum likelihood estimate of mixing proportions."""
        n = count_rows(X)
        checked = check_responsibilities(responsibilities, n)
        return mean_responsibilities(checked, check_row_weights(sample_weight, n))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = tags.input_tags.allow_nan = True
        tags.input_tags.string = tags.input_tags.categorical = True
        return tags


class ConstantGate(ConstantWeights):
    """The same weights for every row.

    Attributes
    ----------
    weights_ : ndarray of shape (K,)
    n_experts_ : int

    Examples
    --------
    >>> gate = ConstantGate().fit([[0.0], [1.0]], [[1.0, 0.0], [0.5, 0.5]])
    >>> gate.predict_proba([[7.0]])
    array([[0.75, 0.25]])
    """

    def fit(self, X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Set the weights to the mean responsibilities, the maximum likelihood estimate of mixing proportions.

        Parameters
        ----------
        X : any table of n rows
            Only its number of rows is used.
        responsibilities : array-like of shape (n, K)
        sample_weight : array-like of shape (n,) or None

        Returns
        -------
        ConstantGate
            Itself, fitted.

        Raises
        ------
        ValueError
            If responsibilities or sample_weight do not match X or are not finite.
        """
        return self._set(self._mean_weights(X, responsibilities, sample_weight))

    def partial_fit(
        self, X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None = None, *, step: float
    ) -> Self:
        """Move the weights towards the mean responsibilities of new rows.

        Parameters
        ----------
        X : any table of n rows
            Only its number of rows is used.
        responsibilities : array-like of shape (n, K)
        sample_weight : array-like of shape (n,) or None
        step : float
            How far, between 0 and 1.

        Returns
        -------
        ConstantGate
            Itself.

        Raises
        ------
        ValueError
            If responsibilities or sample_weight do not match X or are not finite.
        """
        check_is_fitted(self)
        new = self._mean_weights(X, responsibilities, sample_weight)
        return self._set((1 - step) * self.weights_ + step * new)

    def fit_objective(
        self,
        X: Any,
        objective: Objective,
        start: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Minimise the mean objective over constant weights on the simplex (convex stacking).

        Parameters
        ----------
        X : any table of n rows
            Only its number of rows is used.
        objective : callable
            weights (n, K) -> (loss (n,), gradient (n, K)), convex in the weights.
        start : array-like of shape (K,) or None
            Initial weights; as long as all are positive, they affect the speed only.
        sample_weight : array-like of shape (n,) or None

        Returns
        -------
        ConstantGate
            Itself, fitted.

        References
        ----------
        Breiman (1996), Stacked regressions.

        Examples
        --------
        >>> import numpy as np
        >>> y, predictions = np.array([1.0, 2.0]), np.array([[1.0, 5.0], [2.0, 0.0]])
        >>> def squared(weights):
        ...     error = (weights * predictions).sum(axis=1) - y
        ...     return error**2, 2 * error[:, None] * predictions
        >>> ConstantGate().fit_objective(np.zeros((2, 1)), squared).weights_.round(6)
        array([1., 0.])
        """
        n = count_rows(X)
        row_weights = check_row_weights(sample_weight, n)
        initial = None if start is None else np.asarray(start, dtype=np.float64)
        K = count_experts(objective, n) if initial is None else len(initial)
        return self._set(simplex_weights(K, objective, row_weights, initial))

    def _set(self, weights: FloatArray) -> Self:
        self.weights_, self.n_experts_ = weights, len(weights)
        return self
