"""The negative binomial likelihood, for counts whose variance is larger than their mean."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from scipy import stats
from scipy.optimize import minimize_scalar
from scipy.special import gammaln, xlogy
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

__all__ = ["NegativeBinomial"]

#: Smallest rate, as a fraction of the mean of y; predictions below it are replaced by it.
SMALLEST_SHARE = 1e-9
#: Logarithms of the smallest and largest dispersion: almost a Poisson distribution, and almost all zeros.
RANGE = (-12.0, 6.0)


class NegativeBinomial(BaseEstimator):
    """Counts with mean m, the expert's prediction, and variance m + a m² (NB2 of Cameron & Trivedi 1986).

    Each expert has a dispersion a of its own, by weighted maximum likelihood. Standard deviations that experts
    give themselves are ignored, since mean and dispersion determine the variance.

    Attributes
    ----------
    dispersion_ : ndarray of shape (K,)

    Examples
    --------
    >>> y, rates = np.array([0.0, 9.0, 1.0, 6.0]), np.full((4, 1), 4.0)
    >>> NegativeBinomial().fit(y, rates, np.ones((4, 1))).dispersion_.round(2)
    array([1.17])
    """

    #: `log_prob` is a probability mass, not a density.
    discrete: ClassVar[bool] = True

    def fit(self, y: Any, predictions: Any, responsibilities: Any, scale: Any = None, X: Any = None) -> Any:
        """Fit to counts y (n,), predictions (n, K) and responsibilities (n, K) times weights.

        Raises
        ------
        ValueError
            If y contains anything but non-negative integers.
        """
        y = _counts(y)
        self.smallest_ = SMALLEST_SHARE * (float(y.mean()) or 1.0)
        rates = self._rates(predictions)
        self.dispersion_ = np.array([_dispersion(y, *one) for one in zip(rates.T, responsibilities.T, strict=True)])
        return self

    def log_prob(self, y: Any, predictions: Any, scale: Any = None, X: Any = None) -> Any:
        """Log probability (n, K) of y (n,) under each expert; NaN where it made no prediction."""
        check_is_fitted(self)
        return _log_mass(_counts(y)[:, None], self._rates(predictions), self.dispersion_)

    def standard_deviation(self, predictions: Any, scale: Any = None, X: Any = None) -> Any:
        """Standard deviation (n, K) of y around each prediction."""
        check_is_fitted(self)
        rates = self._rates(predictions)
        return np.sqrt(rates + self.dispersion_ * rates**2)

    def distribution(self, predictions: Any, scale: Any = None, X: Any = None) -> Any:
        """Distribution of y given predictions (n, K), as frozen by `scipy.stats`."""
        check_is_fitted(self)
        return stats.nbinom(1 / self.dispersion_, 1 / (1 + self.dispersion_ * self._rates(predictions)))

    def stabilised(self, y: Any) -> Any:
        """Square root of y + 3/8 (n,), twice: the transform of Anscombe (1948) for counts."""
        return 2 * np.sqrt(np.maximum(np.asarray(y, dtype=np.float64), 0.0) + 0.375)

    def admissible(self, predictions: Any) -> Any:
        """Predictions as rates: those that are negative are replaced by zero."""
        return np.maximum(predictions, 0.0)

    def _rates(self, predictions: Any) -> Any:
        return np.maximum(np.asarray(predictions, dtype=np.float64), self.smallest_)


def _log_mass(y: Any, rates: Any, dispersion: Any) -> Any:
    size = 1 / dispersion
    choices = gammaln(y + size) - gammaln(size) - gammaln(y + 1)
    return choices + xlogy(y, rates / (rates + size)) - size * np.log1p(rates * dispersion)


def _dispersion(y: Any, rates: Any, weights: Any) -> float:
    """Dispersion of the largest likelihood, of rows with a prediction and a weight."""
    rows = np.isfinite(rates) & (weights > 0)
    if not rows.any():
        return 1.0
    y, rates, weights = y[rows], rates[rows], weights[rows]

    def loss(logarithm: float) -> float:
        return -float(np.average(_log_mass(y, rates, np.exp(logarithm)), weights=weights))

    return float(np.exp(minimize_scalar(loss, bounds=RANGE, method="bounded", options={"xatol": 1e-8}).x))


def _counts(y: Any) -> Any:
    y = np.asarray(y, dtype=np.float64)
    wrong = ~(np.isfinite(y) & (y >= 0) & (y == np.floor(y)))
    if wrong.any():
        raise ValueError(
            f'likelihood "negative_binomial" is for counts: y must contain non-negative integers, but {wrong.sum()} of '
            f"{len(y)} values are not, such as {y[wrong][0]:g}."
        )
    return y
