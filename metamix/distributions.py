"""The mixture's distribution function, its quantiles and its draws, from weights and the experts' distributions.

Weights are (n, K). Components are what a likelihood's ``distribution`` returns: a frozen distribution of
`scipy.stats` whose parameters broadcast to (n, K), or an object with ``cdf``, ``rvs``, ``bracket`` and
``take`` of the same meaning. Components without weight are ignored, NaN included; a row with weight on a
component that is NaN is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import elementwise

from metamix.protocols import FloatArray

__all__ = ["Chosen", "cdf", "choose", "interval", "quantile", "sample"]

#: Numbers (row, quantile and expert) at a time: what is between takes several times as much as the answer.
_BLOCK = 2**19
#: Halvings of a range of whole numbers before what is left is rounding.
_HALVINGS = 1100
#: Where a quantile is close enough: relative to y, and of the smaller of the two tails.
_TOLERANCES = {"xrtol": 1e-13, "fatol": 1e-13}


@dataclass(frozen=True)
class Chosen:
    """Some of the distributions that a frozen one of scipy stands for; made by `choose`."""

    family: Any
    args: tuple[Any, ...]
    kwds: dict[str, Any]

    @property
    def discrete(self) -> bool:
        """Whether it is about whole numbers."""
        return hasattr(self.family, "pmf")

    def cdf(self, y: Any) -> FloatArray:
        """Probability of at most y."""
        return np.asarray(self.family.cdf(y, *self.args, **self.kwds))

    def ppf(self, q: Any) -> FloatArray:
        """Quantile at q."""
        return np.asarray(self.family.ppf(q, *self.args, **self.kwds))

    def bracket(self, q: Any) -> tuple[FloatArray, FloatArray]:
        """Numbers between which the quantile at q lies: itself, twice."""
        exact = self.ppf(q)
        return exact, exact

    def rvs(self, size: Any = None, random_state: Any = None) -> FloatArray:
        """Draws."""
        return np.asarray(self.family.rvs(*self.args, **self.kwds, size=size, random_state=random_state))

    def take(self, index: Any, shape: tuple[int, ...]) -> Chosen:
        """The distributions at an index of those, which broadcast to shape."""
        args = tuple(np.broadcast_to(value, shape)[index] for value in self.args)
        return Chosen(self.family, args, {n: np.broadcast_to(v, shape)[index] for n, v in self.kwds.items()})


def choose(components: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """Some of the (n, K) distributions that one frozen distribution stands for.

    Parameters
    ----------
    components : frozen distribution
    index : slice, array or tuple of arrays
        As of an array of that shape.
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
    """Probability that the mixture gives at most y.

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
        result[rows] = _below(shares[rows], choose(components, rows, shares.shape), y[rows])
    return result


def quantile(weights: ArrayLike, components: Any, q: ArrayLike) -> FloatArray:
    """The number that the mixture stays below with probability q.

    Of counts it is the smallest whole number whose distribution function reaches q. Where a distribution
    function is flat at q, between components that lie far apart, it is some number of the flat stretch.

    Parameters
    ----------
    weights : array-like of shape (n, K)
    components : frozen distribution, (n, K)
    q : float or array-like of shape (m,)
        Probabilities, 0 and 1 included.

    Returns
    -------
    ndarray of shape (n,) or (n, m)

    Raises
    ------
    ValueError
        If a probability is outside 0 ... 1.

    References
    ----------
    Chandrupatla (1997) for the root finder, between the smallest and largest quantile of the components.

    Examples
    --------
    >>> from scipy import stats
    >>> quantile([[0.5, 0.5]], stats.norm([[-1.0, 1.0]], 1.0), [0.5, 0.9]).round(3)
    array([[0.   , 1.849]])
    """
    levels = np.asarray(q, dtype=np.float64)
    if levels.ndim > 1 or not ((levels >= 0) & (levels <= 1)).all():
        raise ValueError(f"q={q!r}: a probability between 0 and 1, or a list of them, would do.")
    shares, flat = _shares(weights), np.atleast_1d(levels)
    n, K = shares.shape
    result = np.empty((n, len(flat)))
    for rows in _blocks(n, K * max(len(flat), 1)):
        at = np.repeat(np.arange(n)[rows], len(flat))
        wanted = np.tile(flat, len(at) // max(len(flat), 1))
        found = _solve(shares[at], choose(components, at, (n, K)), wanted)
        result[rows] = found.reshape(len(result[rows]), len(flat))
    return result if levels.ndim else result[:, 0]


def interval(weights: ArrayLike, components: Any, coverage: float) -> FloatArray:
    """Interval that holds y with some probability, as much being left out below as above.

    Parameters
    ----------
    weights : array-like of shape (n, K)
    components : frozen distribution, (n, K)
    coverage : float
        Between 0 and 1, both excluded.

    Returns
    -------
    ndarray of shape (n, 2)
        Lower and upper end.

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
    if not 0 < coverage < 1:
        raise ValueError(f"coverage={coverage!r}: a probability between 0 and 1, such as 0.9, would do.")
    return quantile(weights, components, [0.5 * (1.0 - coverage), 0.5 * (1.0 + coverage)])


def sample(weights: ArrayLike, components: Any, rng: Any) -> FloatArray:
    """One draw for each row: an expert by its weight, then a number from its distribution.

    Parameters
    ----------
    weights : array-like of shape (n, K)
    components : frozen distribution, (n, K)
    rng : numpy Generator or RandomState

    Returns
    -------
    ndarray of shape (n,)
        NaN where the expert that was drawn has no answer.

    Examples
    --------
    >>> from scipy import stats
    >>> rng = np.random.default_rng(0)
    >>> bool(abs(sample([[0.0, 1.0]], stats.norm([[np.nan, 50.0]], 1.0), rng)[0] - 50) < 6)
    True
    """
    shares = _shares(weights)
    cumulated = np.cumsum(shares, axis=1)
    # whatever rounding does, an expert without weight is never drawn
    cumulated[cumulated >= cumulated[:, -1:]] = np.inf
    expert = np.argmax(rng.random(len(shares))[:, None] < cumulated, axis=1)
    known = np.flatnonzero(np.isfinite(choose(components, (np.arange(len(shares)), expert), shares.shape).cdf(0.0)))
    drawn = np.full(len(shares), np.nan)
    if len(known):
        chosen = choose(components, (known, expert[known]), shares.shape)
        drawn[known] = chosen.rvs(size=len(known), random_state=rng)
    return drawn


def _shares(weights: ArrayLike) -> FloatArray:
    """Weights (n, K) whose rows sum to one; NaN where a row has none."""
    weights = np.asarray(weights, dtype=np.float64)
    total = weights.sum(axis=1, keepdims=True)
    return np.divide(weights, total, out=np.full(weights.shape, np.nan), where=total > 0)


def _blocks(n: int, width: int) -> list[slice]:
    size = max(_BLOCK // max(width, 1), 1)
    return [slice(begin, begin + size) for begin in range(0, n, size)]


def _below(shares: FloatArray, chosen: Any, y: FloatArray) -> FloatArray:
    """Distribution function (a,) of mixtures with shares (a, K) at y (a,)."""
    each = np.where(shares == 0, 0.0, chosen.cdf(y[:, None]))
    return np.minimum(np.einsum("ak,ak->a", shares, each), 1.0)


def _solve(shares: FloatArray, chosen: Any, q: FloatArray) -> FloatArray:
    """Quantile (a,) at q (a,) of mixtures with shares (a, K)."""
    low, high = (np.asarray(end, dtype=np.float64) for end in chosen.bracket(q[:, None]))
    counts = shares != 0
    low = np.where(counts, low, np.inf).min(axis=1)  # NaN stays NaN
    high = np.where(counts, high, -np.inf).max(axis=1)

    def excess(y: FloatArray, at: NDArray[Any]) -> FloatArray:
        tail = np.minimum(q[at], 1.0 - q[at])
        return (_below(shares[at], chosen.take(at, shares.shape), y) - q[at]) / tail

    if chosen.discrete:
        return _smallest_count(low, high, lambda y: _below(shares, chosen, y) >= q)
    # Every component is at most q at the lower end and at least q at the upper: an end that is not is a root.
    result = np.where(_below(shares, chosen, low) >= q, low, np.where(_below(shares, chosen, high) <= q, high, np.nan))
    open_ = np.flatnonzero(np.isnan(result) & np.isfinite(low) & np.isfinite(high))
    if len(open_):
        result[open_] = elementwise.find_root(
            excess, (low[open_], high[open_]), args=(open_,), tolerances=_TOLERANCES
        ).x
    return result


def _smallest_count(low: FloatArray, high: FloatArray, reaches: Callable[[FloatArray], NDArray[Any]]) -> FloatArray:
    """Smallest whole number (a,) between low and high that reaches what is asked for; high is known to."""
    low, high = np.maximum(low, 0.0), np.maximum(high, 0.0)
    low = np.where(np.isfinite(high), low, high)
    for _ in range(_HALVINGS):
        open_ = low < high
        if not open_.any():
            break
        middle = np.where(open_, np.floor(0.5 * low + 0.5 * high), high)
        enough = reaches(middle)
        low, high = np.where(open_ & ~enough, middle + 1.0, low), np.where(open_ & enough, middle, high)
    return high
