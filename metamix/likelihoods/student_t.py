"""Errors with heavy tails, whose degrees of freedom are learned too."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

from metamix.likelihoods.location_scale import LocationScale
from metamix.likelihoods.moments import counted, fenced
from metamix.protocols import FloatArray

#: Degrees of freedom that "auto" looks at: from Cauchy to what cannot be told from normal.
_DF = (1.0, 100.0)
#: More rows than this are summed up in as many classes of similar error, less than one per cent wide.
_CLASSES = 4096
#: The variance is infinite up to two degrees of freedom.
_LEAST_DF = 2.5


class StudentT(LocationScale):
    """Student-t errors with one scale and one number of degrees of freedom per expert.

    Both maximise the weighted likelihood (Lange, Little & Taylor 1989). Outliers then count for less:
    `trust` gives the weight of each row when an expert is fitted again.

    Parameters
    ----------
    df : "auto" or float, default "auto"
        Degrees of freedom; "auto" learns them, between 1 and 100, for each expert.
    floor : float, default 1e-4
        Smallest scale, in standard deviations of y.

    Attributes
    ----------
    scale_ : ndarray of shape (K,)
        Scale of the density around each expert's answer, in the units of y; the standard deviation is
        √(df / (df - 2)) times as large.
    df_ : ndarray of shape (K,)
    factor_ : ndarray of shape (K,)
        What an expert's own standard deviation is multiplied by to give the scale; 1 where it offers none.
    smallest_ : float
        The floor, in the units of y.

    References
    ----------
    Lange, Little & Taylor (1989), Robust statistical modeling using the t distribution.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = 2.0 * rng.standard_t(4, 5000)
    >>> fitted = StudentT().fit(y, np.zeros((5000, 1)), np.ones((5000, 1)))
    >>> bool(abs(fitted.scale_[0] - 2) < 0.1), bool(3 < fitted.df_[0] < 5)
    (True, True)
    """

    def __init__(self, df: float | str = "auto", floor: float = 1e-4) -> None:
        super().__init__(floor)
        self.df = df

    def standard_deviation(self, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None) -> FloatArray:
        """Standard deviation (n, K) of y around predictions (n, K), in the units of y.

        Below 2.5 degrees of freedom it is that of 2.5, √5 scales: the variance is infinite from 2 on
        downwards, and intervals are what should be asked for.

        Parameters
        ----------
        predictions : ndarray of shape (n, K)
        scale : ndarray of shape (n, K) or None
            The experts' own predictive standard deviation, NaN where an expert has none.
        X : ignored

        Returns
        -------
        ndarray of shape (n, K)
        """
        return super().standard_deviation(predictions, scale, X)

    def stabilised(self, y: FloatArray) -> FloatArray:
        """Y (n,) without what lies beyond the outer fences, for cheap mixtures with Gaussian errors."""
        return fenced(np.asarray(y, dtype=np.float64))

    def trust(self, y: Any, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None) -> FloatArray:
        """By how much rows should count when experts are fitted again: (df + 1) / (df + z²).

        Parameters
        ----------
        y : array-like of shape (n,)
        predictions : ndarray of shape (n, K)
        scale : ndarray of shape (n, K) or None
        X : ignored

        Returns
        -------
        ndarray of shape (n, K)
            Between 0 and (df + 1) / df; 1 where an expert gave no answer.
        """
        squares = np.asarray(y, dtype=np.float64)[:, None] - predictions
        squares /= self._scales(predictions, scale, X)
        np.square(squares, out=squares)
        return np.where(np.isnan(squares), 1.0, (self.df_ + 1.0) / (self.df_ + squares))

    def _learn(self, errors: FloatArray, weights: FloatArray, offered: FloatArray | None, spread: float) -> None:
        self.df_ = np.full(errors.shape[1], self._limits()[1])
        # what an expert says of itself explains part of the tails: its degrees of freedom come last, and stay
        super()._learn(errors, weights, offered, spread)

    def _limits(self) -> tuple[float, float]:
        if isinstance(self.df, str):
            if self.df != "auto":
                raise ValueError(f'df={self.df!r}: "auto" or a positive number would do')
            return _DF
        if not self.df > 0:
            raise ValueError(f'df={self.df!r}: "auto" or a positive number would do')
        return float(self.df), float(self.df)

    def _size(self, errors: FloatArray, weights: FloatArray, fallback: FloatArray, least: float) -> FloatArray:
        scales = fallback.copy()
        for k in range(errors.shape[1]):
            sizes, shares = _classes(errors[:, k], weights[:, k], least)
            if len(sizes):
                scales[k], self.df_[k] = _likeliest(sizes, shares, least, self._limits())
        return scales

    def _log_density(self, errors: FloatArray) -> None:
        np.square(errors, out=errors)
        errors /= self.df_
        np.log1p(errors, out=errors)
        errors *= -0.5 * (self.df_ + 1.0)
        errors += _log_constant(self.df_)

    def _deviation(self) -> Any:
        df = np.maximum(self.df_, _LEAST_DF)
        return np.sqrt(df / (df - 2.0))

    def _frozen(self, predictions: FloatArray, scales: FloatArray) -> Any:
        return stats.t(df=np.broadcast_to(self.df_, predictions.shape), loc=predictions, scale=scales)


def _log_constant(df: Any) -> Any:
    return gammaln(0.5 * (df + 1.0)) - gammaln(0.5 * df) - 0.5 * np.log(np.pi * df)


def _classes(errors: FloatArray, weights: FloatArray, least: float) -> tuple[FloatArray, FloatArray]:
    """Sizes (m,) of the errors (n,) that count, and their weights (m,): many rows are summed up in classes."""
    counts = counted(errors, weights)
    sizes, weights = np.abs(errors[counts]), weights[counts]
    largest = sizes.max(initial=0.0)
    if len(sizes) <= _CLASSES or not largest > 0:
        return sizes, weights
    bottom = np.log(max(1e-2 * least, 1e-12 * largest))
    width = max((np.log(largest) - bottom) / (_CLASSES - 1), 1e-300)
    with np.errstate(divide="ignore"):
        number = np.maximum((np.log(sizes) - bottom) / width, 0.0).astype(np.intp)
    total: FloatArray = np.asarray(np.bincount(number, weights), dtype=np.float64)
    mean_square = np.bincount(number, weights * (sizes / largest) ** 2)
    some = total > 0
    return largest * np.sqrt(mean_square[some] / total[some]), total[some]


def _likeliest(
    sizes: FloatArray, weights: FloatArray, least: float, limits: tuple[float, float]
) -> tuple[float, float]:
    """Scale and degrees of freedom that make errors of these sizes (m,) likeliest."""
    unit = float(np.average(sizes, weights=weights))
    if not unit > least:
        return (least or unit or 1.0), limits[1]
    shares = weights / weights.sum()
    squares = (sizes / unit) ** 2
    # A scale below that is one of rows hit exactly, and above the largest error none is likeliest.
    bounds = [(np.log(max(least / unit, 1e-10)), np.log(2.0 * sizes.max() / unit)), tuple(np.log(limits))]
    start = [0.0, float(np.clip(np.log(5.0), *bounds[1]))]
    options = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 500}
    found = minimize(_surprise, start, (squares, shares), "L-BFGS-B", True, bounds=bounds, options=options)
    scale, df = np.exp(found.x)
    return float(unit * scale), float(df)


def _surprise(logs: FloatArray, squares: FloatArray, shares: FloatArray) -> tuple[float, FloatArray]:
    """Mean negative log density in (log scale, log df), and its gradient."""
    df, ratio = np.exp(logs[1]), squares * np.exp(-2.0 * logs[0])
    tail = np.log1p(ratio / df)
    pull = (df + 1.0) * ratio / (df + ratio)
    value = logs[0] - _log_constant(df) + 0.5 * (df + 1.0) * (shares @ tail)
    slope = digamma(0.5 * (df + 1.0)) - digamma(0.5 * df) - 1.0 / df - shares @ tail + (shares @ pull) / df
    return float(value), np.array([1.0 - shares @ pull, -0.5 * df * slope])
