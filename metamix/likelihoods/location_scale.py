"""What Gaussian, Student-t and Laplace share: y is an answer plus a scale times noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from metamix.likelihoods.moments import spread_of
from metamix.protocols import FloatArray


class LocationScale(BaseEstimator, ABC):
    """A density of y around each expert's answer, with one scale per expert, by weighted maximum likelihood.

    An expert that offers its own predictive standard deviation s_ik is taken at its word up to one factor
    per expert, also by maximum likelihood: the scale of y_i is then c_k s_ik. Rows where it offers none
    (NaN) have ``scale_[k]``. Without a floor an expert that passes through a few rows would have an
    infinite likelihood.

    A subclass says how a scale is estimated and what the density of the noise is.

    Parameters
    ----------
    floor : float, default 1e-4
        Smallest scale, in standard deviations of y.

    Examples
    --------
    >>> from metamix.likelihoods import Laplace
    >>> issubclass(Laplace, LocationScale)
    True
    """

    #: Shifting and stretching y and the answers alike changes the log density by a constant.
    follows_units: ClassVar[bool] = True
    #: Whether a scale is the standard deviation of y.
    scale_is_deviation: ClassVar[bool] = False
    scale_: FloatArray
    factor_: FloatArray
    smallest_: float

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
        X : array, sparse matrix or data frame of n rows, or None
            Read only by a scale that depends on it.

        Returns
        -------
        self
        """
        y = np.asarray(y, dtype=np.float64)
        errors = y[:, None] - predictions
        spread = spread_of(y, np.nansum(responsibilities, axis=1))
        self.smallest_ = self.floor * spread
        offered = None if scale is None else np.where(np.isnan(scale), np.nan, np.maximum(scale, self.smallest_))
        self._learn(errors, responsibilities, offered, spread)
        return self

    def standard_deviation(self, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None) -> FloatArray:
        """Standard deviation (n, K) of y around predictions (n, K), in the units of y.

        Parameters
        ----------
        predictions : ndarray of shape (n, K)
        scale : ndarray of shape (n, K) or None
            The experts' own predictive standard deviation, NaN where an expert has none.
        X : array, sparse matrix or data frame of n rows, or None
            As in `fit`.

        Returns
        -------
        ndarray of shape (n, K)
        """
        return self._scales(predictions, scale, X) * self._deviation()

    def distribution(self, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None) -> Any:
        """Distribution of y around predictions (n, K), as frozen by `scipy.stats`; parameters as in `log_prob`."""
        return self._frozen(np.asarray(predictions, dtype=np.float64), self._scales(predictions, scale, X))

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
        X : array, sparse matrix or data frame of n rows, or None
            As in `fit`.

        Returns
        -------
        ndarray of shape (n, K)
        """
        scales = self._scales(predictions, scale, X)
        # In place, in this order: a table of a million rows is not held five times over.
        density = np.asarray(y, dtype=np.float64)[:, None] - predictions
        density /= scales
        self._log_density(density)
        density -= np.log(scales, out=scales)
        return density

    def _learn(self, errors: FloatArray, weights: FloatArray, offered: FloatArray | None, spread: float) -> None:
        """Estimate ``scale_`` and ``factor_`` from errors (n, K), and what experts offer of their own."""
        none = np.full(errors.shape[1], spread)
        self.scale_ = self._size(errors, weights, none, self.smallest_)
        self.factor_ = np.ones(errors.shape[1])
        if offered is not None:
            self.factor_ = self._size(errors / offered, weights, self.factor_, 0.0)

    def _scales(self, predictions: FloatArray, scale: FloatArray | None, X: Any) -> FloatArray:
        """Scale (n, K) of y around each answer, a fresh array."""
        check_is_fitted(self)
        usual = self._usual(np.shape(predictions), X)
        if scale is None:
            return usual
        # nobody is believed to be certain: the floor comes before the factor, as it did in fit
        offered = np.maximum(np.asarray(scale, dtype=np.float64), self.smallest_)
        return np.where(np.isnan(offered), usual, np.maximum(self.factor_ * offered, self.smallest_))

    def _usual(self, shape: tuple[int, ...], X: Any) -> FloatArray:
        """Scale (n, K) where an expert offers none of its own."""
        return np.broadcast_to(self.scale_, shape).copy()

    @abstractmethod
    def _size(self, errors: FloatArray, weights: FloatArray, fallback: FloatArray, least: float) -> FloatArray:
        """Scale (K,), at least the least, that makes errors (n, K) likeliest; fallback (K,) where nothing counts."""

    @abstractmethod
    def _log_density(self, errors: FloatArray) -> None:
        """Put the log density of errors (n, K) of scale one in their place."""

    @abstractmethod
    def _deviation(self) -> Any:
        """Standard deviation, one number or (K,), of noise of scale one."""

    @abstractmethod
    def _frozen(self, predictions: FloatArray, scales: FloatArray) -> Any:
        """The same density as scipy has it."""
