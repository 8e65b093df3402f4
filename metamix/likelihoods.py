"""How good an answer was: Gaussian for numbers, Categorical for classes; vectorised over experts."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from metamix.protocols import FloatArray

_LOG_ROOT_TWO_PI = 0.5 * np.log(2.0 * np.pi)


class Gaussian(BaseEstimator):
    """Normal errors with one standard deviation per expert, by weighted maximum likelihood.

    The variance of expert k is sum_i r_ik e_ik^2 / sum_i r_ik, exactly, as long as its root stays above
    ``floor`` times the standard deviation of y; without a floor an expert that passes through a few rows
    has an infinite likelihood. An expert that offers its own predictive standard deviation s_ik is taken
    at its word up to one factor per expert, also by maximum likelihood: c_k^2 is the weighted mean of
    (e_ik / s_ik)^2 and y_i has standard deviation c_k s_ik there. Rows where it offers none (NaN) have
    ``scale_[k]``.

    Parameters
    ----------
    floor : float, default 1e-4
        Smallest standard deviation, in standard deviations of y.

    Attributes
    ----------
    scale_ : ndarray of shape (K,)
        Standard deviation of y around each expert's answer, in the units of y.
    factor_ : ndarray of shape (K,)
        What an expert's own standard deviation is multiplied by; 1 where it offers none.
    smallest_ : float
        The floor, in the units of y.

    Examples
    --------
    >>> import numpy as np
    >>> y, predictions = np.array([1.0, -1.0, 3.0]), np.zeros((3, 1))
    >>> Gaussian().fit(y, predictions, np.array([[0.5], [0.5], [0.0]])).scale_
    array([1.])
    """

    def __init__(self, floor: float = 1e-4) -> None:
        self.floor = floor

    def fit(
        self,
        y: ArrayLike,
        predictions: FloatArray,
        responsibilities: FloatArray,
        scale: FloatArray | None = None,
        X: Any = None,
    ) -> Self:
        """Estimate each expert's scale; rows without an answer (NaN) or without responsibility do not count.

        Parameters
        ----------
        y : array-like of shape (n,)
        predictions : ndarray of shape (n, K)
        responsibilities : ndarray of shape (n, K)
            Multiplied by row weights where there are any.
        scale : ndarray of shape (n, K) or None
            The experts' own predictive standard deviation, NaN where an expert has none.
        X : ignored

        Returns
        -------
        Gaussian
            Itself, fitted.
        """
        y = np.asarray(y, dtype=np.float64)
        errors = y[:, None] - predictions
        self.smallest_ = self.floor * _spread_of(y, np.nansum(responsibilities, axis=1))
        fallback = np.full(errors.shape[1], self.smallest_ / self.floor if self.floor else np.nan)
        self.scale_ = np.maximum(_root_mean_square(errors, responsibilities, fallback), self.smallest_)
        self.factor_ = np.ones(errors.shape[1])
        if scale is not None:
            offered = np.where(np.isnan(scale), np.nan, np.maximum(scale, self.smallest_))
            self.factor_ = _root_mean_square(errors / offered, responsibilities, self.factor_)
        return self

    def standard_deviation(self, predictions: FloatArray, scale: FloatArray | None = None) -> FloatArray:
        """Standard deviation (n, K) of y around predictions (n, K), in the units of y.

        Parameters
        ----------
        predictions : ndarray of shape (n, K)
        scale : ndarray of shape (n, K) or None
            The experts' own predictive standard deviation, NaN where an expert has none.

        Returns
        -------
        ndarray of shape (n, K)

        Examples
        --------
        >>> import numpy as np
        >>> fitted = Gaussian().fit([1.0, -1.0], np.zeros((2, 2)), np.ones((2, 2)))
        >>> fitted.standard_deviation(np.zeros((1, 2)))
        array([[1., 1.]])
        """
        check_is_fitted(self)
        common = np.broadcast_to(self.scale_, np.shape(predictions)[:2])
        if scale is None:
            return common.copy()
        # nobody is believed to be certain: the floor comes before the factor, as it did in fit
        offered = np.maximum(np.asarray(scale, dtype=np.float64), self.smallest_)
        return np.where(np.isnan(offered), common, np.maximum(self.factor_ * offered, self.smallest_))

    def log_prob(
        self, y: ArrayLike, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None
    ) -> FloatArray:
        """Log density (n, K) of y (n,) under each expert, NaN where it gave no answer.

        Parameters
        ----------
        y : array-like of shape (n,)
        predictions : ndarray of shape (n, K)
        scale : ndarray of shape (n, K) or None
            The experts' own predictive standard deviation, NaN where an expert has none.
        X : ignored

        Returns
        -------
        ndarray of shape (n, K)

        Examples
        --------
        >>> import numpy as np
        >>> fitted = Gaussian().fit([1.0, -1.0], np.zeros((2, 1)), np.ones((2, 1)))
        >>> fitted.log_prob([0.0], np.zeros((1, 1))).round(4)
        array([[-0.9189]])
        """
        deviation = self.standard_deviation(predictions, scale)
        # In place, in this order: a table of a million rows is not held five times over.
        density = np.asarray(y, dtype=np.float64)[:, None] - predictions
        density /= deviation
        np.square(density, out=density)
        density *= -0.5
        density -= np.log(deviation, out=deviation)
        density -= _LOG_ROOT_TWO_PI
        return density


class Categorical(BaseEstimator):
    """The probability an expert gave to the class that came; nothing to learn.

    Parameters
    ----------
    eps : float, default 1e-6
        Probabilities are clipped to at least this, so that one overconfident answer is not infinitely bad.

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
        """Remember the number of classes.

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

    def log_prob(
        self, y: ArrayLike, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None
    ) -> FloatArray:
        """Log probability (n, K) of the class that came, NaN where an expert gave no answer.

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
        given = np.take_along_axis(predictions, codes[:, None, None], axis=2)[:, :, 0]
        return np.log(np.clip(given, self.eps, 1.0))


def _root_mean_square(errors: FloatArray, weights: FloatArray, fallback: FloatArray) -> FloatArray:
    """Weighted root mean square (K,) over rows with an answer; fallback (K,) where nothing counts."""
    counts = np.isfinite(errors) & (weights > 0)
    size = np.maximum(
        np.max(errors, axis=0, where=counts, initial=0.0), -np.min(errors, axis=0, where=counts, initial=0.0)
    )
    unit = np.where(size > 0, size, 1.0)
    squares = errors / unit
    np.square(squares, out=squares)
    total = np.sum(weights, axis=0, where=counts)
    squares *= weights
    mean = np.divide(np.sum(squares, axis=0, where=counts), total, out=np.zeros_like(total), where=total > 0)
    return np.where(total > 0, unit * np.sqrt(mean), fallback)


def _spread_of(y: FloatArray, weights: FloatArray) -> float:
    """Weighted standard deviation of y; its size where it is constant, and 1 where it is zero."""
    counts = np.isfinite(y) & (weights > 0)
    if not counts.any():
        counts, weights = np.isfinite(y), np.ones_like(y)
    y, weights = y[counts], weights[counts]
    if not len(y):
        return 1.0
    centre = float(np.average(y, weights=weights))
    size = float(np.max(np.abs(y)))
    unit = float(np.max(np.abs(y - centre)))
    if unit <= 1e-12 * size:
        return size or 1.0
    return unit * float(np.sqrt(np.average(((y - centre) / unit) ** 2, weights=weights)))
