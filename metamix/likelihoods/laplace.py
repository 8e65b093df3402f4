"""Laplace (double exponential) errors, for which maximum likelihood minimises absolute errors."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from scipy import stats

from metamix.likelihoods.location_scale import LocationScale
from metamix.likelihoods.moments import mean_absolute
from metamix.protocols import FloatArray


class Laplace(LocationScale):
    """Laplace (double exponential) errors; the scale of expert k is its weighted mean absolute error.

    Parameters
    ----------
    floor : float, default 1e-4
        Smallest scale, in standard deviations of y.

    Attributes
    ----------
    scale_ : ndarray of shape (K,)
        Weighted mean absolute error of each expert, in the units of y; the standard deviation is √2 times as
        large.
    factor_ : ndarray of shape (K,)
        Ratio of the scale to an expert's own predictive standard deviation; 1 for experts without.
    smallest_ : float
        Smallest scale, in the units of y.
    mass_ : ndarray of shape (2, K)
        Mean responsibilities over the rows behind `scale_` and `factor_`; what these count for in `partial_fit`.

    Examples
    --------
    >>> import numpy as np
    >>> y, predictions = np.array([1.0, -3.0]), np.zeros((2, 1))
    >>> fitted = Laplace().fit(y, predictions, np.ones((2, 1)))
    >>> fitted.scale_, fitted.standard_deviation(predictions[:1]).round(4)
    (array([2.]), array([[2.8284]]))
    """

    scale_power: ClassVar[int] = 1

    def _scale_statistic(self, errors: FloatArray, scales: FloatArray) -> FloatArray:
        return np.abs(errors)

    def _fit_scale(self, errors: FloatArray, weights: FloatArray, fallback: FloatArray, least: float) -> FloatArray:
        return np.maximum(mean_absolute(errors, weights, fallback), least)

    def _log_density(self, errors: FloatArray) -> None:
        np.abs(errors, out=errors)
        np.negative(errors, out=errors)
        errors -= np.log(2.0)

    def _unit_deviation(self) -> Any:
        return np.sqrt(2.0)

    def _scipy_distribution(self, predictions: FloatArray, scales: FloatArray) -> Any:
        return stats.laplace(loc=predictions, scale=scales)
