"""The Student-t likelihood for errors with heavy tails; degrees of freedom are estimated."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats
from scipy.optimize import minimize
from scipy.special import digamma, gammaln

from metamix.likelihoods.location_scale import LocationScale
from metamix.likelihoods.moments import clip_to_fences, valid_errors
from metamix.protocols import FloatArray

#: Bounds of estimated degrees of freedom: 1 is the Cauchy distribution, 100 is close to normal.
_DF_BOUNDS = (1.0, 100.0)
#: With more rows than this, absolute errors are binned into this many bins, less than 1 % wide.
_MAX_BINS = 4096
#: The standard deviation is reported at no fewer degrees of freedom: up to 2 it is infinite.
_MIN_DF_FOR_STD = 2.5


class StudentT(LocationScale):
    """Student-t errors with one scale and one number of degrees of freedom per expert.

    Both maximise the weighted likelihood (Lange, Little & Taylor 1989). Outliers are downweighted: `trust` is
    the weight of each row when an expert is refitted.

    Parameters
    ----------
    df : "auto" or float, default "auto"
        Degrees of freedom; "auto" estimates them for each expert, between 1 and 100.
    floor : float, default 1e-4
        Smallest scale, in standard deviations of y.

    Attributes
    ----------
    scale_ : ndarray of shape (K,)
        Scale of the errors of each expert, in the units of y; the standard deviation is √(df / (df - 2)) times
        as large.
    df_ : ndarray of shape (K,)
    factor_ : ndarray of shape (K,)
        Ratio of the scale to an expert's own predictive standard deviation; 1 for experts without.
    smallest_ : float
        Smallest scale, in the units of y.
    mass_ : ndarray of shape (2, K)
        Mean responsibilities over the rows behind `scale_` and `factor_`; what these count for in `partial_fit`.

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

        Below 2.5 degrees of freedom the value for 2.5 is returned, √5 times the scale, since the variance is
        infinite for 2 or fewer; prediction intervals are more informative then.

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
        """Y (n,) clipped to its outer fences, for proxy models with Gaussian errors."""
        return clip_to_fences(np.asarray(y, dtype=np.float64))

    def trust(self, y: Any, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None) -> FloatArray:
        """Weights of the rows when experts are refitted: (df + 1) / (df + z²), where z are standardised errors.

        Parameters
        ----------
        y : array-like of shape (n,)
        predictions : ndarray of shape (n, K)
        scale : ndarray of shape (n, K) or None
        X : ignored

        Returns
        -------
        ndarray of shape (n, K)
            Between 0 and (df + 1) / df; 1 where an expert made no prediction.
        """
        squares = np.asarray(y, dtype=np.float64)[:, None] - predictions
        squares /= self._scales(predictions, scale, X)
        np.square(squares, out=squares)
        return np.where(np.isnan(squares), 1.0, (self.df_ + 1.0) / (self.df_ + squares))

    def _set_scales(self, errors: FloatArray, weights: FloatArray, own_scale: FloatArray | None, spread: float) -> None:
        self.df_ = np.full(errors.shape[1], self._df_bounds()[1])
        # `_fit_scale` overwrites df_: for experts with standard deviations of their own, the estimate from the
        # standardised errors comes last and is kept.
        super()._set_scales(errors, weights, own_scale, spread)

    def _df_bounds(self) -> tuple[float, float]:
        if isinstance(self.df, str):
            if self.df != "auto":
                raise ValueError(f'df={self.df!r} must be "auto" or a positive number.')
            return _DF_BOUNDS
        if not self.df > 0:
            raise ValueError(f'df={self.df!r} must be "auto" or a positive number.')
        return float(self.df), float(self.df)

    def _scale_statistic(self, errors: FloatArray, scales: FloatArray) -> FloatArray:
        squares = np.square(errors)  # one step of EM, at the scales and degrees of freedom before
        return squares * (self.df_ + 1.0) / (self.df_ + squares / np.maximum(scales, 1e-300) ** 2)

    def _fit_scale(self, errors: FloatArray, weights: FloatArray, fallback: FloatArray, least: float) -> FloatArray:
        scales = fallback.copy()
        for k in range(errors.shape[1]):
            sizes, shares = _binned(errors[:, k], weights[:, k], least)
            if len(sizes):
                scales[k], self.df_[k] = _maximise_likelihood(sizes, shares, least, self._df_bounds())
        return scales

    def _log_density(self, errors: FloatArray) -> None:
        np.square(errors, out=errors)
        errors /= self.df_
        np.log1p(errors, out=errors)
        errors *= -0.5 * (self.df_ + 1.0)
        errors += _log_constant(self.df_)

    def _unit_deviation(self) -> Any:
        df = np.maximum(self.df_, _MIN_DF_FOR_STD)
        return np.sqrt(df / (df - 2.0))

    def _scipy_distribution(self, predictions: FloatArray, scales: FloatArray) -> Any:
        return stats.t(df=np.broadcast_to(self.df_, predictions.shape), loc=predictions, scale=scales)


def _log_constant(df: Any) -> Any:
    return gammaln(0.5 * (df + 1.0)) - gammaln(0.5 * df) - 0.5 * np.log(np.pi * df)


def _binned(errors: FloatArray, weights: FloatArray, least: float) -> tuple[FloatArray, FloatArray]:
    """Absolute values (m,) of the valid errors (n,) and their weights (m,); binned if there are many rows."""
    counts = valid_errors(errors, weights)
    sizes, weights = np.abs(errors[counts]), weights[counts]
    largest = sizes.max(initial=0.0)
    if len(sizes) <= _MAX_BINS or not largest > 0:
        return sizes, weights
    bottom = np.log(max(1e-2 * least, 1e-12 * largest))
    width = max((np.log(largest) - bottom) / (_MAX_BINS - 1), 1e-300)
    with np.errstate(divide="ignore"):
        bin_index = np.maximum((np.log(sizes) - bottom) / width, 0.0).astype(np.intp)
    total: FloatArray = np.asarray(np.bincount(bin_index, weights), dtype=np.float64)
    mean_square = np.bincount(bin_index, weights * (sizes / largest) ** 2)
    nonempty = total > 0
    return largest * np.sqrt(mean_square[nonempty] / total[nonempty]), total[nonempty]


def _maximise_likelihood(
    sizes: FloatArray, weights: FloatArray, least: float, limits: tuple[float, float]
) -> tuple[float, float]:
    """Maximum likelihood scale and degrees of freedom of errors with absolute values sizes (m,)."""
    unit = float(np.average(sizes, weights=weights))
    if not unit > least:
        return (least or unit or 1.0), limits[1]
    shares = weights / weights.sum()
    squares = (sizes / unit) ** 2
    # The likelihood has no maximum above the largest error; the lower bound matters if most errors are zero.
    bounds = [(np.log(max(least / unit, 1e-10)), np.log(2.0 * sizes.max() / unit)), tuple(np.log(limits))]
    start = [0.0, float(np.clip(np.log(5.0), *bounds[1]))]
    options = {"ftol": 1e-14, "gtol": 1e-9, "maxiter": 500}
    found = minimize(
        _mean_negative_log_density, start, (squares, shares), "L-BFGS-B", True, bounds=bounds, options=options
    )
    scale, df = np.exp(found.x)
    return float(unit * scale), float(df)


def _mean_negative_log_density(logs: FloatArray, squares: FloatArray, shares: FloatArray) -> tuple[float, FloatArray]:
    """Mean negative log density as a function of (log scale, log df), and its gradient."""
    df, ratio = np.exp(logs[1]), squares * np.exp(-2.0 * logs[0])
    tail = np.log1p(ratio / df)
    pull = (df + 1.0) * ratio / (df + ratio)
    value = logs[0] - _log_constant(df) + 0.5 * (df + 1.0) * (shares @ tail)
    slope = digamma(0.5 * (df + 1.0)) - digamma(0.5 * df) - 1.0 / df - shares @ tail + (shares @ pull) / df
    return float(value), np.array([1.0 - shares @ pull, -0.5 * df * slope])
