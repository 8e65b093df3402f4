"""Base class of the Gaussian, Student-t and Laplace likelihoods: y is a prediction plus scaled noise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from metamix.likelihoods.moments import valid_errors, weighted_deviation
from metamix.protocols import FloatArray


class LocationScale(BaseEstimator, ABC):
    """A location-scale density of y around each expert's prediction, fitted by weighted maximum likelihood.

    There is one scale per expert. If expert k predicts a standard deviation s_ik of its own, the scale of y_i
    is c_k s_ik, with one factor c_k per expert, also by maximum likelihood; rows without one (NaN) have
    ``scale_[k]``. Without a floor an expert that interpolates a few rows would have an infinite likelihood.

    Subclasses define the density of the noise and the estimate of its scale.

    Parameters
    ----------
    floor : float, default 1e-4
        Smallest scale, in standard deviations of y.

    Attributes
    ----------
    scale_ : ndarray of shape (K,)
        Scale of the errors of each expert, in the units of y.
    factor_ : ndarray of shape (K,)
        Ratio of the scale to an expert's own predictive standard deviation; 1 for experts without.
    smallest_ : float
        Smallest scale, in the units of y.
    mass_ : ndarray of shape (2, K)
        Mean responsibility of each expert over the rows that `scale_` was estimated from, and over those that
        `factor_` was; what these count for in `partial_fit`.

    Examples
    --------
    >>> from metamix.likelihoods import Laplace
    >>> issubclass(Laplace, LocationScale)
    True
    """

    #: An affine change of the units of y and the predictions changes the log density by a constant.
    follows_units: ClassVar[bool] = True
    #: Whether a scale is the standard deviation of y.
    scale_is_deviation: ClassVar[bool] = False
    #: The scale to this power is the mean of a statistic of the errors.
    scale_power: ClassVar[int] = 2
    scale_: FloatArray
    factor_: FloatArray
    smallest_: float
    mass_: FloatArray

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
        """Estimate the scale of each expert; rows without prediction (NaN) or responsibility are ignored.

        Parameters
        ----------
        y : array-like of shape (n,)
        predictions : ndarray of shape (n, K)
        responsibilities : ndarray of shape (n, K)
            Multiplied by the row weights, if any.
        scale : ndarray of shape (n, K) or None
            The experts' own predictive standard deviation, NaN where an expert has none.
        X : array, sparse matrix or data frame of n rows, or None
            Used by likelihoods whose scale depends on it.

        Returns
        -------
        self
        """
        y = np.asarray(y, dtype=np.float64)
        errors = y[:, None] - predictions
        spread = weighted_deviation(y, np.nansum(responsibilities, axis=1))
        self.smallest_ = self.floor * spread
        own_scale = None if scale is None else np.where(np.isnan(scale), np.nan, np.maximum(scale, self.smallest_))
        self._set_scales(errors, responsibilities, own_scale, spread)
        given = [errors, np.full(errors.shape, np.nan) if own_scale is None else errors / own_scale]
        masses = [np.where(valid_errors(one, responsibilities), responsibilities, 0.0).sum(axis=0) for one in given]
        self.mass_ = np.array(masses) / max(float(np.nansum(responsibilities)), 1e-300)
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
        """Let the scales follow new rows by decayed statistics; other parameters stay (Cappé & Moulines 2009).

        Parameters
        ----------
        y, predictions, responsibilities, scale, X
            As in `fit`; responsibilities sum to the weight of each row, in units of the mean weight.
        step : float
            Between 0 and 1: how far the mean statistics move towards those of these rows.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        errors = np.asarray(y, dtype=np.float64)[:, None] - predictions
        own = np.full(errors.shape, np.nan) if scale is None else np.maximum(scale, self.smallest_)
        K = errors.shape[1]
        mass = np.array(getattr(self, "mass_", np.full((2, K), 1 / K)))  # files of earlier versions have none
        units = (self._default_scales(errors.shape, X) / self.scale_, own)
        found = [self.scale_, self.factor_]
        for i, unit in enumerate(units):
            counts = np.isfinite(errors / unit) & (responsibilities > 0) & (np.isnan(own) if i == 0 else True)
            share = np.where(counts, responsibilities, 0.0) * (step / len(errors))
            statistic = self._scale_statistic(np.where(counts, errors / unit, 0.0), found[i])
            kept, new = (1 - step) * mass[i], share.sum(axis=0)
            moved = (kept * found[i] ** self.scale_power + (share * statistic).sum(axis=0)) / np.maximum(
                kept + new, 1e-300
            )
            found[i] = np.where(new > 0, moved ** (1 / self.scale_power), found[i])
            mass[i] = kept + new
        self.mass_, self.factor_ = mass, found[1]
        self.scale_ = np.maximum(found[0], self.smallest_)
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
        return self._scales(predictions, scale, X) * self._unit_deviation()

    def distribution(self, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None) -> Any:
        """Distribution of y around predictions (n, K), as frozen by `scipy.stats`; parameters as in `log_prob`."""
        return self._scipy_distribution(np.asarray(predictions, dtype=np.float64), self._scales(predictions, scale, X))

    def log_prob(
        self, y: ArrayLike, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None
    ) -> FloatArray:
        """Log density (n, K) of y (n,) under each expert, NaN where it made no prediction.

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
        # In place, to limit the number of temporary arrays (n, K).
        density = np.asarray(y, dtype=np.float64)[:, None] - predictions
        density /= scales
        self._log_density(density)
        density -= np.log(scales, out=scales)
        return density

    def _set_scales(self, errors: FloatArray, weights: FloatArray, own_scale: FloatArray | None, spread: float) -> None:
        """Estimate ``scale_`` and ``factor_`` from errors (n, K) and the experts' own standard deviations (n, K)."""
        none = np.full(errors.shape[1], spread)
        self.scale_ = self._fit_scale(errors, weights, none, self.smallest_)
        self.factor_ = np.ones(errors.shape[1])
        if own_scale is not None:
            self.factor_ = self._fit_scale(errors / own_scale, weights, self.factor_, 0.0)

    def _scales(self, predictions: FloatArray, scale: FloatArray | None, X: Any) -> FloatArray:
        """Scale (n, K) of y around each prediction, a new array."""
        check_is_fitted(self)
        default = self._default_scales(np.shape(predictions), X)
        if scale is None:
            return default
        # The floor is applied before the factor, as in `fit`.
        own_scale = np.maximum(np.asarray(scale, dtype=np.float64), self.smallest_)
        return np.where(np.isnan(own_scale), default, np.maximum(self.factor_ * own_scale, self.smallest_))

    def _default_scales(self, shape: tuple[int, ...], X: Any) -> FloatArray:
        """Scale (n, K) for rows without a standard deviation of the expert's own."""
        return np.broadcast_to(self.scale_, shape).copy()

    @abstractmethod
    def _fit_scale(self, errors: FloatArray, weights: FloatArray, fallback: FloatArray, least: float) -> FloatArray:
        """Maximum likelihood scale (K,), at least `least`, of errors (n, K); fallback (K,) without valid rows."""

    def _scale_statistic(self, errors: FloatArray, scales: FloatArray) -> FloatArray:
        """Statistic (n, K) of errors whose weighted mean is the scale to the power `scale_power`, given scales (K,)."""
        return np.square(errors)

    @abstractmethod
    def _log_density(self, errors: FloatArray) -> None:
        """Replace errors (n, K), divided by their scale, with their log density, in place."""

    @abstractmethod
    def _unit_deviation(self) -> Any:
        """Standard deviation, a number or (K,), of noise of scale one."""

    @abstractmethod
    def _scipy_distribution(self, predictions: FloatArray, scales: FloatArray) -> Any:
        """The same distribution as a frozen one of `scipy.stats`."""
