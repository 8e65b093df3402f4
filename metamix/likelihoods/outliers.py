"""A uniform noise component that takes the rows which no expert explains."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from sklearn.base import BaseEstimator, clone
from sklearn.utils.validation import check_is_fitted

from metamix.distributions import choose
from metamix.likelihoods.gaussian import Gaussian
from metamix.likelihoods.moments import fenced
from metamix.protocols import FloatArray

#: The noise reaches beyond the range of y by this part of it on each side.
_MARGIN = 0.05
#: Noise is what is rare: it never takes more than this share of the rows.
_MOST = 0.5
_START, _ROUNDS, _RELATIVE, _ABSOLUTE = 0.05, 100, 1e-3, 1e-5


class Outliers(BaseEstimator):
    """Another likelihood, contaminated: a share of the rows is noise, uniform over the range of y.

    The density of expert k is (1 - e) p_k(y | f_k) + e / (high - low), with one share e for all experts
    (Banfield & Raftery 1993 give such a component to a mixture of Gaussians). Its parameters are estimated
    by EM, so that what is noise does not widen the scale of an expert. `trust` tells which rows those are.

    Parameters
    ----------
    likelihood : likelihood of numbers or counts, or None
        What rows follow that are no noise; None is ``Gaussian()``. A `StudentT` explains the same rows by
        its tails and is slow to settle beside noise.
    share : "auto" or float, default "auto"
        Share of noise, 0 to less than 1; "auto" estimates it, up to one half.

    Attributes
    ----------
    likelihood_ : fitted likelihood
    share_ : float
    low_, high_ : float
        Where noise lies: the range of y, a twentieth wider at both ends; for counts whole numbers.

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
        """Whether shifting and stretching y and the answers alike changes the log density by a constant."""
        return bool(getattr(self._inner(), "follows_units", False))

    @property
    def discrete(self) -> bool:
        """Whether it is about counts."""
        return bool(getattr(self._inner(), "discrete", False))

    def fit(
        self,
        y: ArrayLike,
        predictions: FloatArray,
        responsibilities: FloatArray,
        scale: FloatArray | None = None,
        X: Any = None,
    ) -> Self:
        """Estimate the share of noise, and the parameters of the likelihood from what is none.

        Parameters
        ----------
        y : array-like of shape (n,)
        predictions : ndarray of shape (n, K)
        responsibilities : ndarray of shape (n, K)
            Multiplied by row weights where there are any.
        scale, X
            Handed on to the likelihood.

        Returns
        -------
        Outliers
            Itself, fitted.

        Raises
        ------
        ValueError
            If the share is no share, or predictions are of classes.
        """
        y, predictions = np.asarray(y, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
        if predictions.ndim != 2:
            raise ValueError(f"Outliers needs predictions of shape (n, K), not {predictions.shape}: it is for numbers.")
        self.share_ = self._first_share()
        self._find_range(y[np.isfinite(y) & (np.nansum(responsibilities, axis=1) > 0)])
        self.likelihood_ = clone(self._inner()).fit(y, predictions, responsibilities, scale, X)
        counts = np.isfinite(predictions) & (responsibilities > 0)
        total = responsibilities.sum(where=counts)
        noise = self.share_
        for _ in range(_ROUNDS if total > 0 else 0):
            clean = np.where(counts, self._clean(y, predictions, scale, X), 1.0) * responsibilities
            self.likelihood_ = clone(self._inner()).fit(y, predictions, clean, scale, X)
            before, noise = noise, float(np.clip(1.0 - clean.sum(where=counts) / total, 0.0, _MOST))
            self.share_ = noise if self.share == "auto" else self.share_
            if abs(noise - before) <= _RELATIVE * before + _ABSOLUTE:
                break
        return self

    def stabilised(self, y: FloatArray) -> FloatArray:
        """Y (n,) without what lies beyond the outer fences, for cheap mixtures with Gaussian errors."""
        return fenced(np.asarray(y, dtype=np.float64))

    def trust(
        self, y: ArrayLike, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None
    ) -> FloatArray:
        """Probability that a row is no noise, times the likelihood's own trust where it has one.

        Parameters
        ----------
        y : array-like of shape (n,)
        predictions : ndarray of shape (n, K)
        scale, X
            Handed on to the likelihood.

        Returns
        -------
        ndarray of shape (n, K)
            1 where an expert gave no answer.
        """
        clean = self._clean(y, predictions, scale, X)
        if hasattr(self.likelihood_, "trust"):
            clean *= self.likelihood_.trust(y, predictions, scale, X)
        return np.where(np.isnan(clean), 1.0, clean)

    def standard_deviation(self, predictions: FloatArray, scale: FloatArray | None = None, X: Any = None) -> FloatArray:
        """Root mean square distance (n, K) of y from predictions (n, K), noise included, in the units of y.

        Parameters
        ----------
        predictions : ndarray of shape (n, K)
        scale, X
            Handed on to the likelihood.

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
        """Log density (n, K) of y (n,) under each expert, noise included, NaN where it gave no answer.

        Parameters
        ----------
        y : array-like of shape (n,)
        predictions : ndarray of shape (n, K)
        scale, X
            Handed on to the likelihood.

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
            return np.asarray(np.logaddexp(own, np.where(within, self._log_noise(), -np.inf)[:, None]))

    def _inner(self) -> Any:
        return Gaussian() if self.likelihood is None else self.likelihood

    def _first_share(self) -> float:
        if isinstance(self.share, str) and self.share == "auto":
            return _START
        if isinstance(self.share, str) or not 0 <= self.share < 1:
            raise ValueError(f'share={self.share!r}: "auto", or a number from 0 to less than 1, would do')
        return float(self.share)

    def _find_range(self, y: FloatArray) -> None:
        low, high = (float(y.min()), float(y.max())) if len(y) else (0.0, 1.0)
        margin = _MARGIN * (high - low) or 0.5 * abs(high) or 0.5
        self.low_, self.high_ = low - margin, high + margin
        if self.discrete:
            self.low_, self.high_ = max(float(np.floor(self.low_)), 0.0), float(np.ceil(self.high_))

    def _noise(self) -> Any:
        if self.discrete:
            return stats.randint(int(self.low_), int(self.high_) + 1)
        return stats.uniform(self.low_, self.high_ - self.low_)

    def _log_noise(self) -> float:
        """Log of the share of noise times its density, or of the probability of one count."""
        width = self.high_ - self.low_ + (1.0 if self.discrete else 0.0)
        with np.errstate(divide="ignore"):
            return float(np.log(self.share_) - np.log(width))

    def _clean(self, y: ArrayLike, predictions: FloatArray, scale: FloatArray | None, X: Any) -> FloatArray:
        """Probability (n, K) that a row is no noise; beyond the range of y noise is taken as likely as within."""
        check_is_fitted(self)
        own = self.likelihood_.log_prob(y, predictions, scale, X)
        own += np.log1p(-self.share_)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.exp(own - np.logaddexp(own, self._log_noise())))


class Contaminated:
    """The distribution of `Outliers`: one of `scipy.stats`, or like it, with a share of noise.

    Parameters
    ----------
    clean : frozen distribution
        Its parameters broadcast to (n, K).
    noise : frozen distribution
        One for all.
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
        """Numbers between which the quantile at q lies; q broadcasts against (n, K)."""
        own, noise = self.clean.ppf(q), self.noise.ppf(q)
        return (own, own) if self.share == 0 else (np.minimum(own, noise), np.maximum(own, noise))

    @property
    def discrete(self) -> bool:
        """Whether it is about counts."""
        return hasattr(self.noise, "pmf")

    def take(self, index: tuple[NDArray[Any], ...] | NDArray[Any], shape: tuple[int, ...]) -> Contaminated:
        """The distributions at an index of the (n, K)."""
        return Contaminated(choose(self.clean, index, shape), self.noise, self.share)
