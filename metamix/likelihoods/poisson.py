"""The Poisson likelihood for counts; an expert predicts the rate."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats
from scipy.special import gammaln, xlogy
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from metamix.protocols import FloatArray

#: Smallest rate, as a fraction of the mean of y.
_SMALLEST_SHARE = 1e-9


class Poisson(BaseEstimator):
    """Counts 0, 1, 2, ... whose rate is the expert's prediction, or zero where that is negative.

    The experts' own predictive standard deviations are ignored, since the rate determines the variance.

    Parameters
    ----------
    floor : float, default 1e-9
        Smallest rate, as a fraction of the mean of y. Predictions below it, including negative ones, are
        replaced by it, so that the log probability is finite. It is so small that it moves no optimum.

    Attributes
    ----------
    smallest_ : float
        The smallest rate.

    Examples
    --------
    >>> import numpy as np
    >>> y, rates = np.array([0.0, 2.0]), np.array([[1.0], [2.0]])
    >>> Poisson().fit(y, rates, np.ones((2, 1))).log_prob(y, rates).round(4)
    array([[-1.    ],
           [-1.3069]])
    """

    #: `log_prob` is a probability mass, not a density.
    discrete: ClassVar[bool] = True

    def __init__(self, floor: float = _SMALLEST_SHARE) -> None:
        self.floor = floor

    def fit(
        self,
        y: ArrayLike,
        predictions: FloatArray,
        responsibilities: FloatArray,
        scale: FloatArray | None = None,
        X: Any = None,
    ) -> Self:
        """Set the smallest rate.

        Parameters
        ----------
        y : array-like of shape (n,)
            Non-negative integers.
        predictions : ndarray of shape (n, K)
        responsibilities : ndarray of shape (n, K)
            Multiplied by the row weights, if any.
        scale, X : ignored

        Returns
        -------
        Poisson
            Itself, fitted.

        Raises
        ------
        ValueError
            If y contains anything but non-negative integers.
        """
        y = _counts(y)
        weights = np.nansum(responsibilities, axis=1)
        weights = weights if weights.sum() > 0 else np.ones_like(y)
        mean = float(np.average(y, weights=weights)) if len(y) else 0.0
        self.smallest_ = self.floor * (mean or 1.0)
        return self

    def stabilised(self, y: FloatArray) -> FloatArray:
        """Anscombe transform 2 √(y + 3/8) of y (n,), whose variance is close to one for any rate (Anscombe 1948)."""
        return 2 * np.sqrt(np.maximum(np.asarray(y, dtype=np.float64), 0.0) + 0.375)

    def admissible(self, predictions: FloatArray) -> FloatArray:
        """Predictions as rates: those that are negative are replaced by zero; the likelihood need not be fitted."""
        return np.maximum(predictions, 0.0)

    def deviance(self, y: FloatArray, predictions: FloatArray) -> FloatArray:
        """Poisson deviance of each row, 2 (y log(y / rate) - y + rate), for arrays that broadcast against each other.

        A rate of zero counts as the smallest rate of the default floor, relative to the mean of y, so that the
        deviance is finite.
        """
        rates = np.maximum(predictions, _SMALLEST_SHARE * (float(np.mean(y)) or 1.0))
        return np.asarray(2.0 * (xlogy(y, y / rates) - y + rates))

    def standard_deviation(self, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None) -> FloatArray:
        """Square root of the rates (n, K); NaN where an expert made no prediction.

        Parameters
        ----------
        predictions : ndarray of shape (n, K)
        scale, X : ignored

        Returns
        -------
        ndarray of shape (n, K)
        """
        return np.sqrt(self._rates(predictions))

    def distribution(self, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None) -> Any:
        """Distribution of y given predictions (n, K), as frozen by `scipy.stats`; parameters as in `log_prob`."""
        return stats.poisson(mu=self._rates(predictions))

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
        """Log probability (n, K) of y (n,) under each expert, NaN where it made no prediction.

        Parameters
        ----------
        y : array-like of shape (n,)
            Non-negative integers.
        predictions : ndarray of shape (n, K)
            Rates.
        scale, X : ignored

        Returns
        -------
        ndarray of shape (n, K)

        Raises
        ------
        ValueError
            If y contains anything but non-negative integers.
        """
        y, rates = _counts(y)[:, None], self._rates(predictions)
        return xlogy(y, rates) - rates - gammaln(y + 1.0)

    def _rates(self, predictions: FloatArray) -> FloatArray:
        check_is_fitted(self)
        return np.maximum(np.asarray(predictions, dtype=np.float64), self.smallest_)


def _counts(y: ArrayLike) -> FloatArray:
    """Y (n,) as floats; ValueError unless all are non-negative integers."""
    y = np.asarray(y, dtype=np.float64)
    wrong = ~(np.isfinite(y) & (y >= 0) & (y == np.floor(y)))
    if wrong.any():
        raise ValueError(
            f'likelihood "poisson" is for counts: y must contain non-negative integers, but {wrong.sum()} of '
            f'{len(y)} values are not, such as {y[wrong][0]:g}; "gaussian", "laplace" and "student_t" take any number.'
        )
    return y
