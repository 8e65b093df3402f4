"""Distribution function, quantiles and samples of a mixture, given weights and the experts' distributions.

Weights are (n, K). Components are what a likelihood's ``distribution`` returns: a frozen distribution of
`scipy.stats` whose parameters broadcast to (n, K), or an object with the methods ``cdf``, ``rvs``, ``bracket``
and ``take`` of `Chosen`. Components of weight zero are ignored, even if they are NaN; a row with positive weight
on a component that is NaN is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import elementwise

from metamix.data.scalars import is_number
from metamix.protocols import FloatArray

__all__ = [
    "Chosen", "cdf", "central_levels", "check_levels", "choose", "interval", "quantile", "quantile_by_row", "sample",
]  # fmt: skip

#: Entries (rows × quantiles × experts) processed at a time, to bound the memory of temporary arrays.
_BLOCK = 2**19
#: Largest number of bisections of a range of integers; sufficient for all of float64.
_MAX_BISECTIONS = 1100
#: Tolerances of quantiles: relative to y, and to the smaller of the two tail probabilities.
_TOLERANCES = {"xrtol": 1e-13, "fatol": 1e-13}


@dataclass(frozen=True)
class Chosen:
    """A selection from an array of distributions, made by `choose` from a frozen distribution of scipy."""

    family: Any
    args: tuple[Any, ...]
    kwds: dict[str, Any]

    @property
    def discrete(self) -> bool:
        """Whether the support is the integers."""
        return hasattr(self.family, "pmf")

    def cdf(self, y: Any) -> FloatArray:
        """Probability of at most y."""
        return np.asarray(self.family.cdf(y, *self.args, **self.kwds))

    def ppf(self, q: Any) -> FloatArray:
        """Quantile at q."""
        return np.asarray(self.family.ppf(q, *self.args, **self.kwds))

    def bracket(self, q: Any) -> tuple[FloatArray, FloatArray]:
        """Lower and upper bounds of the quantile at q; here both are the quantile."""
        exact = self.ppf(q)
        return exact, exact

    def rvs(self, size: Any = None, random_state: Any = None) -> FloatArray:
        """Random samples."""
        return np.asarray(self.family.rvs(*self.args, **self.kwds, size=size, random_state=random_state))

    def take(self, index: Any, shape: tuple[int, ...]) -> Chosen:
        """The distributions at an index of this array of distributions, whose parameters broadcast to shape."""
        args = tuple(np.broadcast_to(value, shape)[index] for value in self.args)
        return Chosen(self.family, args, {n: np.broadcast_to(v, shape)[index] for n, v in self.kwds.items()})


def choose(components: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Select from the array (n, K) of distributions that a frozen distribution represents.

    Parameters
    ----------
    components : frozen distribution
    index : slice, array or tuple of arrays
        Index of an array of that shape.
    shape : tuple of int
        (n, K).

    Returns
    -------
    object with ``cdf``, ``rvs``, ``bracket`` and ``take``

    Examples
    --------
    >>> from scipy import stats
    >>> choose(stats.norm([[0.0, 1.0], [2.0, 3.0]]), ([0, 1], [1, 1]), (2, 2)).ppf(0.5)
    array([1., 3.])
    """
    if not hasattr(components, "take"):
        components = Chosen(components.dist, components.args, components.kwds)
    return components.take(index, shape)


def cdf(weights: ArrayLike, components: Any, y: ArrayLike) -> FloatArray:
    """Distribution function of the mixture at y.

    Parameters
    ----------
    weights : array-like of shape (n, K)
    components : frozen distribution, (n, K)
    y : array-like of shape (n,) or a number

    Returns
    -------
    ndarray of shape (n,)

    Examples
    --------
    >>> from scipy import stats
    >>> cdf([[0.25, 0.75]], stats.norm([[-100.0, 100.0]], 1.0), [0.0])
    array([0.25])
    """
    shares = _shares(weights)
    y = np.broadcast_to(np.asarray(y, dtype=np.float64), len(shares))
    result = np.empty(len(shares))
    for rows in _blocks(len(shares), shares.shape[1]):
        result[rows] = _mixture_cdf(shares[rows], choose(components, rows, shares.shape), y[rows])
    return result


def quantile(weights: ArrayLike, components: Any, q: ArrayLike) -> FloatArray:
    """Quantiles of the mixture.

    For counts, the smallest integer at which the distribution function is at least q. If the distribution
    function is constant at level q, between components that lie far apart, the result is some point of that
    interval.

    Parameters
    ----------
    weights : array-like of shape (n, K)
    components : frozen distribution, (n, K)
    q : float or array-like of shape (m,)
        Probabilities in [0, 1].

    Returns
    -------
    ndarray of shape (n,) or (n, m)

    Raises
    ------
    ValueError
        If a probability is outside [0, 1].

    References
    ----------
    Chandrupatla (1997) for the root finder, bracketed by the smallest and largest quantile of the components.

    Examples
    --------
    >>> from scipy import stats
    >>> quantile([[0.5, 0.5]], stats.norm([[-1.0, 1.0]], 1.0), [0.5, 0.9]).round(3)
    array([[0.   , 1.849]])
    """
    levels = check_levels(q)
    shares, flat = _shares(weights), np.atleast_1d(levels)
    n, K = shares.shape
    result = np.empty((n, len(flat)))
    for rows in _blocks(n, K * max(len(flat), 1)):
        at = np.repeat(np.arange(n)[rows], len(flat))
        wanted = np.tile(flat, len(at) // max(len(flat), 1))
        found = _mixture_quantile(shares[at], choose(components, at, (n, K)), wanted)
        result[rows] = found.reshape(len(result[rows]), len(flat))
    return result if levels.ndim else result[:, 0]


def check_levels(q: Any) -> FloatArray:
    """Probabilities as floats, () or (m,).

    Raises
    ------
    ValueError
        If they are not numbers in [0, 1], or have more than one axis.

    Examples
    --------
    >>> check_levels([0.1, 0.9])
    array([0.1, 0.9])
    """
    try:
        levels = np.asarray(q, dtype=np.float64)
    except (TypeError, ValueError):
        levels = np.full((), np.nan)
    if levels.ndim > 1 or not ((levels >= 0) & (levels <= 1)).all():
        raise ValueError(f"q={q!r} must be a probability between 0 and 1, or a list of them.")
    return levels


def interval(weights: ArrayLike, components: Any, coverage: float) -> FloatArray:
    """Central prediction interval, with equal probabilities below and above.

    Parameters
    ----------
    weights : array-like of shape (n, K)
    components : frozen distribution, (n, K)
    coverage : float
        Between 0 and 1, both excluded.

    Returns
    -------
    ndarray of shape (n, 2)
        Lower and upper bounds.

    Raises
    ------
    ValueError
        If the coverage is not between 0 and 1.

    Examples
    --------
    >>> from scipy import stats
    >>> interval([[1.0]], stats.norm([[0.0]], 1.0), 0.9).round(3)
    array([[-1.645,  1.645]])
    """
    return quantile(weights, components, central_levels(coverage))


def central_levels(coverage: float) -> list[float]:
    """Probabilities below the two ends of a central interval.

    Raises
    ------
    ValueError
        If the coverage is not between 0 and 1.

    Examples
    --------
    >>> central_levels(0.5)
    [0.25, 0.75]
    """
    if not (is_number(coverage) and 0 < coverage < 1):
        raise ValueError(f"coverage={coverage!r} must be a probability between 0 and 1, such as 0.9.")
    return [0.5 * (1.0 - coverage), 0.5 * (1.0 + coverage)]


def quantile_by_row(weights: ArrayLike, components: Any, q: FloatArray) -> FloatArray:
    """Quantiles (n,) of the mixture, for each row at a probability of its own (n,).

    Examples
    --------
    >>> from scipy import stats
    >>> quantile_by_row([[1.0], [1.0]], stats.norm([[0.0], [5.0]], 1.0), np.array([0.5, 0.9])).round(3)
    array([0.   , 6.282])
    """
    shares = _shares(weights)
    n, K = shares.shape
    result = np.empty(n)
    for rows in _blocks(n, K):
        at = np.arange(n)[rows]
        result[rows] = _mixture_quantile(shares[at], choose(components, at, (n, K)), q[rows])
    return result


def sample(weights: ArrayLike, components: Any, rng: Any) -> FloatArray:
    """One random sample for each row: an expert drawn by its weight, then a value from its distribution.

    Parameters
    ----------
    weights : array-like of shape (n, K)
    components : frozen distribution, (n, K)
    rng : numpy Generator or RandomState

    Returns
    -------
    ndarray of shape (n,)
        NaN where the drawn expert made no prediction.

    Examples
    --------
    >>> from scipy import stats
    >>> rng = np.random.default_rng(0)
    >>> bool(abs(sample([[0.0, 1.0]], stats.norm([[np.nan, 50.0]], 1.0), rng)[0] - 50) < 6)
    True
    """
    shares = _shares(weights)
    cumulated = np.cumsum(shares, axis=1)
    # An expert of weight zero must not be drawn because of rounding.
    cumulated[cumulated >= cumulated[:, -1:]] = np.inf
    expert = np.argmax(rng.random(len(shares))[:, None] < cumulated, axis=1)
    known = np.flatnonzero(np.isfinite(choose(components, (np.arange(len(shares)), expert), shares.shape).cdf(0.0)))
    drawn = np.full(len(shares), np.nan)
    if len(known):
        chosen = choose(components, (known, expert[known]), shares.shape)
        drawn[known] = chosen.rvs(size=len(known), random_state=rng)
    return drawn


def _shares(weights: ArrayLike) -> FloatArray:
    """Weights (n, K) normalised to row sums of one; NaN for rows without weight."""
    weights = np.asarray(weights, dtype=np.float64)
    total = weights.sum(axis=1, keepdims=True)
    return np.divide(weights, total, out=np.full(weights.shape, np.nan), where=total > 0)


def _blocks(n: int, width: int) -> list[slice]:
    size = max(_BLOCK // max(width, 1), 1)
    return [slice(begin, begin + size) for begin in range(0, n, size)]


def _mixture_cdf(shares: FloatArray, chosen: Any, y: FloatArray) -> FloatArray:
    """Distribution function (a,) at y (a,) of mixtures with weights shares (a, K)."""
    each = np.where(shares == 0, 0.0, chosen.cdf(y[:, None]))
    return np.minimum(np.einsum("ak,ak->a", shares, each), 1.0)


def _mixture_quantile(shares: FloatArray, chosen: Any, q: FloatArray) -> FloatArray:
    """Quantile (a,) at q (a,) of mixtures with weights shares (a, K)."""
    low, high = (np.asarray(end, dtype=np.float64) for end in chosen.bracket(q[:, None]))
    counts = shares != 0
    low = np.where(counts, low, np.inf).min(axis=1)  # NaN stays NaN
    high = np.where(counts, high, -np.inf).max(axis=1)

    def excess(y: FloatArray, at: NDArray[Any]) -> FloatArray:
        tail = np.minimum(q[at], 1.0 - q[at])
        return (_mixture_cdf(shares[at], chosen.take(at, shares.shape), y) - q[at]) / tail

    if chosen.discrete:
        return _smallest_count(low, high, lambda y: _mixture_cdf(shares, chosen, y) >= q)
    # The distribution function is at most q at low and at least q at high, up to rounding: otherwise that end is
    # the root.
    result = np.where(
        _mixture_cdf(shares, chosen, low) >= q, low, np.where(_mixture_cdf(shares, chosen, high) <= q, high, np.nan)
    )
    unsolved = np.flatnonzero(np.isnan(result) & np.isfinite(low) & np.isfinite(high))
    if len(unsolved):
        result[unsolved] = elementwise.find_root(
            excess, (low[unsolved], high[unsolved]), args=(unsolved,), tolerances=_TOLERANCES
        ).x
    return result


def _smallest_count(low: FloatArray, high: FloatArray, reaches: Callable[[FloatArray], NDArray[Any]]) -> FloatArray:
    """Smallest integer (a,) between low and high for which `reaches` is true, by bisection; it is for high."""
    low, high = np.maximum(low, 0.0), np.maximum(high, 0.0)
    low = np.where(np.isfinite(high), low, high)
    for _ in range(_MAX_BISECTIONS):
        unsolved = low < high
        if not unsolved.any():
            break
        middle = np.where(unsolved, np.floor(0.5 * low + 0.5 * high), high)
        reached = reaches(middle)
        low, high = np.where(unsolved & ~reached, middle + 1.0, low), np.where(unsolved & reached, middle, high)
    return high
