"""A uniform noise component for outliers, added to another likelihood."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from metamix.distributions import choose
from metamix.likelihoods.gaussian import Gaussian
from metamix.likelihoods.moments import clip_to_fences
from metamix.protocols import FloatArray

#: The support of the noise exceeds the range of y by this fraction on each side.
_MARGIN = 0.05
#: Largest estimated share of noise.
_MAX_SHARE = 0.5
#: EM starts at this share of noise, and stops once it changes by less than the tolerances.
_INITIAL_SHARE, _MAX_ITER, _RELATIVE_TOLERANCE, _ABSOLUTE_TOLERANCE = 0.05, 100, 1e-3, 1e-5


class Outliers(BaseEstimator):
    """A likelihood contaminated with uniform noise over the range of y.

    The density of expert k is (1 - e) p_k(y | f_k) + e / (high - low), with one share e for all experts
    (Banfield & Raftery 1993 add such a component to a mixture of Gaussians). Its parameters are estimated
    by EM, so that outliers do not inflate the scales of the experts. `trust` is the probability that a row is
    not an outlier.

    Parameters
    ----------
    likelihood : likelihood of numbers or counts, or None
        The likelihood of rows that are not outliers; None is ``Gaussian()``. With `StudentT`, whose heavy tails
        fit outliers too, EM converges slowly.
    share : "auto" or float, default "auto"
        Share of noise in [0, 1); "auto" estimates it, at most 0.5.

    Attributes
    ----------
    likelihood_ : fitted likelihood
    share_ : float
    low_, high_ : float
        Support of the noise: the range of y plus 5 % at both ends; integers for counts.

    References
    ----------
    Banfield & Raftery (1993), Model-based Gaussian and non-Gaussian clustering.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = np.r_[rng.standard_normal(950), rng.uniform(-50, 50, 50)]
    >>> fitted = Outliers().fit(y, np.zeros((1000, 1)), np.ones((1000, 1)))
    >>> bool(0.03 < fitted.share_ < 0.07), bool(0.9 < fitted.likelihood_.scale_[0] < 1.1)
    (True, True)
    """

    def __init__(self, likelihood: Any = None, share: float | str = "auto") -> None:
        self.likelihood = likelihood
        self.share = share

    @property
    def follows_units(self) -> bool:
        """Whether an affine change of the units of y and the predictions changes the log density by a constant."""
        return bool(getattr(self._inner_likelihood(), "follows_units", False))

    @property
    def discrete(self) -> bool:
        """Whether y is a count."""
        return bool(getattr(self._inner_likelihood(), "discrete", False))

    def fit(
        self,
        y: ArrayLike,
        predictions: FloatArray,
        responsibilities: FloatArray,
        scale: FloatArray | None = None,
        X: Any = None,
    ) -> Self:
        """Estimate the share of noise and the parameters of the likelihood by EM.

        Parameters
        ----------
        y : array-like of shape (n,)
        predictions : ndarray of shape (n, K)
        responsibilities : ndarray of shape (n, K)
            Multiplied by the row weights, if any.
        scale, X
            Passed to the inner likelihood.

        Returns
        -------
        Outliers
            Itself, fitted.

        Raises
        ------
        ValueError
            If the share is not "auto" or in [0, 1), or predictions are those of classes.
        """
        y, predictions = np.asarray(y, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
        if predictions.ndim != 2:
            raise ValueError(
                f"Outliers needs predictions of shape (n, K), got {predictions.shape}: it is for regression only."
            )
        self.share_ = self._initial_share()
        self._set_support(y[np.isfinite(y) & (np.nansum(responsibilities, axis=1) > 0)])
        self.likelihood_ = clone(self._inner_likelihood()).fit(y, predictions, responsibilities, scale, X)
        counts = np.isfinite(predictions) & (responsibilities > 0)
        total = responsibilities.sum(where=counts)
        noise = self.share_
        for _ in range(_MAX_ITER if total > 0 else 0):
            inlier = np.where(counts, self._inlier_share(y, predictions, scale, X), 1.0) * responsibilities
            self.likelihood_ = clone(self._inner_likelihood()).fit(y, predictions, inlier, scale, X)
            before, noise = noise, float(np.clip(1.0 - inlier.sum(where=counts) / total, 0.0, _MAX_SHARE))
            self.share_ = noise if self.share == "auto" else self.share_
            if abs(noise - before) <= _RELATIVE_TOLERANCE * before + _ABSOLUTE_TOLERANCE:
                break
        return self

    def stabilised(self, y: FloatArray) -> FloatArray:
        """Y (n,) clipped to its outer fences, for proxy models with Gaussian errors."""
        return clip_to_fences(np.asarray(y, dtype=np.float64))

    def trust(
        self, y: ArrayLike, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None
    ) -> FloatArray:
        """Probability that a row is not an outlier, times the inner likelihood's `trust` if it has one.

        Parameters
        ----------
        y : array-like of shape (n,)
        predictions : ndarray of shape (n, K)
        scale, X
            Passed to the inner likelihood.

        Returns
        -------
        ndarray of shape (n, K)
            1 where an expert made no prediction.
        """
        inlier = self._inlier_share(y, predictions, scale, X)
        if hasattr(self.likelihood_, "trust"):
            inlier *= self.likelihood_.trust(y, predictions, scale, X)
        return np.where(np.isnan(inlier), 1.0, inlier)

    def standard_deviation(self, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None) -> FloatArray:
        """Root mean squared error (n, K) of predictions (n, K), noise included, in the units of y.

        Parameters
        ----------
        predictions : ndarray of shape (n, K)
        scale, X
            Passed to the inner likelihood.

        Returns
        -------
        ndarray of shape (n, K)
        """
        check_is_fitted(self)
        own = self.likelihood_.standard_deviation(predictions, scale, X)
        noise = self._noise()
        away = np.hypot(noise.std(), np.asarray(predictions, dtype=np.float64) - noise.mean())
        return np.hypot(np.sqrt(1.0 - self.share_) * own, np.sqrt(self.share_) * away)

    def distribution(self, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None) -> Contaminated:
        """Distribution of y around predictions (n, K); parameters as in `log_prob`."""
        check_is_fitted(self)
        return Contaminated(self.likelihood_.distribution(predictions, scale, X), self._noise(), self.share_)

    def log_prob(
        self, y: ArrayLike, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None
    ) -> FloatArray:
        """Log density (n, K) of y (n,) under each expert, noise included, NaN where it made no prediction.

        Parameters
        ----------
        y : array-like of shape (n,)
        predictions : ndarray of shape (n, K)
        scale, X
            Passed to the inner likelihood.

        Returns
        -------
        ndarray of shape (n, K)
        """
        check_is_fitted(self)
        y = np.asarray(y, dtype=np.float64)
        within = (y >= self.low_) & (y <= self.high_)
        own = self.likelihood_.log_prob(y, predictions, scale, X)
        own += np.log1p(-self.share_)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.logaddexp(own, np.where(within, self._log_noise_density(), -np.inf)[:, None]))

    def _inner_likelihood(self) -> Any:
        return Gaussian() if self.likelihood is None else self.likelihood

    def _initial_share(self) -> float:
        if isinstance(self.share, str) and self.share == "auto":
            return _INITIAL_SHARE
        if isinstance(self.share, str) or not 0 <= self.share < 1:
            raise ValueError(f'share={self.share!r} must be "auto" or a number in [0, 1).')
        return float(self.share)

    def _set_support(self, y: FloatArray) -> None:
        low, high = (float(y.min()), float(y.max())) if len(y) else (0.0, 1.0)
        margin = _MARGIN * (high - low) or 0.5 * abs(high) or 0.5
        self.low_, self.high_ = low - margin, high + margin
        if self.discrete:
            self.low_, self.high_ = max(float(np.floor(self.low_)), 0.0), float(np.ceil(self.high_))

    def _noise(self) -> Any:
        if self.discrete:
            return stats.randint(int(self.low_), int(self.high_) + 1)
        return stats.uniform(self.low_, self.high_ - self.low_)

    def _log_noise_density(self) -> float:
        """Log of the share of noise times its density (for counts, its probability mass)."""
        width = self.high_ - self.low_ + (1.0 if self.discrete else 0.0)
        with np.errstate(divide="ignore"):
            return float(np.log(self.share_) - np.log(width))

    def _inlier_share(self, y: ArrayLike, predictions: FloatArray, scale: FloatArray | None, X: Any) -> FloatArray:
        """Probability (n, K) that a row is not an outlier; the noise density is used beyond its support, too."""
        check_is_fitted(self)
        own = self.likelihood_.log_prob(y, predictions, scale, X)
        own += np.log1p(-self.share_)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.exp(own - np.logaddexp(own, self._log_noise_density())))


class Contaminated:
    """The distribution of `Outliers`: a frozen distribution of `scipy.stats`, or similar, mixed with noise.

    Parameters
    ----------
    clean : frozen distribution
        Its parameters broadcast to (n, K).
    noise : frozen distribution
        The same for all rows and experts.
    share : float
        Share of noise.

    Examples
    --------
    >>> float(Contaminated(stats.norm(0, 1), stats.uniform(-5, 10), 0.5).cdf(0.0))
    0.5
    """

    def __init__(self, clean: Any, noise: Any, share: float) -> None:
        self.clean = clean
        self.noise = noise
        self.share = share

    def cdf(self, y: Any) -> FloatArray:
        """Probability of at most y, which broadcasts against (n, K)."""
        return np.asarray((1.0 - self.share) * self.clean.cdf(y) + self.share * self.noise.cdf(y))

    def rvs(self, size: Any = None, random_state: Any = None) -> FloatArray:
        """Draws; random_state is a numpy generator or random state."""
        drawn = np.asarray(self.clean.rvs(size=size, random_state=random_state), dtype=np.float64)
        noise = self.noise.rvs(size=drawn.shape, random_state=random_state)
        return np.where(random_state.random(drawn.shape) < self.share, noise, drawn)

    def bracket(self, q: Any) -> tuple[FloatArray, FloatArray]:
        """Lower and upper bounds of the quantile at q, which broadcasts against (n, K)."""
        own, noise = self.clean.ppf(q), self.noise.ppf(q)
        return (own, own) if self.share == 0 else (np.minimum(own, noise), np.maximum(own, noise))

    @property
    def discrete(self) -> bool:
        """Whether y is a count."""
        return hasattr(self.noise, "pmf")

    def take(self, index: tuple[NDArray[Any], ...] | NDArray[Any], shape: tuple[int, ...]) -> Contaminated:
        """The distributions at an index of the array (n, K)."""
        return Contaminated(choose(self.clean, index, shape), self.noise, self.share)
