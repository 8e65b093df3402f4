"""The likelihood for classification: the predicted probability of the observed class."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from metamix.protocols import FloatArray


class Categorical(BaseEstimator):
    """The predicted probability of the observed class; it has no parameters to estimate.

    Parameters
    ----------
    eps : float, default 1e-6
        Smaller probabilities are clipped to this value, so that the log probability is finite.

    Attributes
    ----------
    n_classes_ : int
        C, the number of classes seen in the predictions.

    Examples
    --------
    >>> import numpy as np
    >>> predictions = np.array([[[0.5, 0.5], [1.0, 0.0]]])
    >>> Categorical().fit([0], predictions, np.ones((1, 2))).log_prob([0], predictions).round(4)
    array([[-0.6931,  0.    ]])
    """

    def __init__(self, eps: float = 1e-6) -> None:
        self.eps = eps

    def fit(
        self,
        y: ArrayLike,
        predictions: FloatArray,
        responsibilities: FloatArray,
        scale: FloatArray | None = None,
        X: Any = None,
    ) -> Self:
        """Store the number of classes.

        Parameters
        ----------
        y : array-like of shape (n,)
            Codes 0 ... C - 1.
        predictions : ndarray of shape (n, K, C)
        responsibilities : ndarray of shape (n, K)
        scale, X : ignored

        Returns
        -------
        Categorical
            Itself, fitted.
        """
        self.n_classes_ = predictions.shape[2]
        return self

    def partial_fit(
        self,
        y: ArrayLike,
        predictions: FloatArray,
        responsibilities: FloatArray,
        scale: FloatArray | None = None,
        X: Any = None,
        *,
        step: float,
    ) -> Self:
        """Do nothing: there is no parameter that could follow new rows."""
        return self

    def log_prob(
        self, y: ArrayLike, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None
    ) -> FloatArray:
        """Log probability (n, K) of the observed class, NaN where an expert made no prediction.

        Parameters
        ----------
        y : array-like of shape (n,)
            Codes 0 ... C - 1.
        predictions : ndarray of shape (n, K, C)
            Probabilities.
        scale, X : ignored

        Returns
        -------
        ndarray of shape (n, K)
        """
        check_is_fitted(self)
        codes = np.asarray(y, dtype=np.intp)
        observed = np.take_along_axis(predictions, codes[:, None, None], axis=2)[:, :, 0]
        return np.log(np.clip(observed, self.eps, 1.0))
