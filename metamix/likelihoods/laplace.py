"""Double exponential errors: a mixture that minds absolute rather than squared errors."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from metamix.likelihoods.location_scale import LocationScale
from metamix.likelihoods.moments import mean_absolute
from metamix.protocols import FloatArray


class Laplace(LocationScale):
    """Double exponential errors; the scale of expert k is its weighted mean absolute error, exactly.

    Parameters
    ----------
    floor : float, default 1e-4
        Smallest scale, in standard deviations of y.

    Attributes
    ----------
    scale_ : ndarray of shape (K,)
        Mean absolute error around each expert's answer, in the units of y; the standard deviation is √2
        times as large.
    factor_ : ndarray of shape (K,)
        What an expert's own standard deviation is multiplied by to give the scale; 1 where it offers none.
    smallest_ : float
        The floor, in the units of y.

    Examples
    --------
    >>> import numpy as np
    >>> y, predictions = np.array([1.0, -3.0]), np.zeros((2, 1))
    >>> fitted = Laplace().fit(y, predictions, np.ones((2, 1)))
    >>> fitted.scale_, fitted.standard_deviation(predictions[:1]).round(4)
    (array([2.]), array([[2.8284]]))
    """

    def _size(self, errors: FloatArray, weights: FloatArray, fallback: FloatArray, least: float) -> FloatArray:
        return np.maximum(mean_absolute(errors, weights, fallback), least)

    def _log_density(self, errors: FloatArray) -> None:
        np.abs(errors, out=errors)
        np.negative(errors, out=errors)
        errors -= np.log(2.0)

    def _deviation(self) -> Any:
        return np.sqrt(2.0)

    def _frozen(self, predictions: FloatArray, scales: FloatArray) -> Any:
        return stats.laplace(loc=predictions, scale=scales)
