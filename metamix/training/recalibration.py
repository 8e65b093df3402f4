"""Recalibration of the predictive distribution by out-of-fold probability integral transforms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline
from scipy.optimize import elementwise
from scipy.stats import norm

from metamix.distributions import cdf, choose, quantile

__all__ = ["Calibration", "Moments", "calibrated_moments", "fit_calibration"]

Array = NDArray[np.float64]

#: The map is a sum of so many kernels at quantiles of the transforms, and of the identity with this share.
NODES, IDENTITY = 200, 0.01
#: Normal scores are cut off here, where probabilities differ from 0 and 1 by rounding.
FARTHEST = 8.0
#: With fewer effective rows nothing is recalibrated.
FEWEST_ROWS = 20.0
#: Fits of the map and of the shift that keeps the mean, which depend on each other.
ROUNDS = 3
#: The map is tabulated at so many normal scores.
GRID = 1601
#: Levels of the quantiles that are judged, and rows, spread over all, that judge them.
LEVELS, MOST_JUDGED = np.arange(1, 20) / 20, 2000
#: Points of the Gauss-Hermite rule in each component, and entries processed at a time.
POINTS, BLOCK = 21, 2**19


@dataclass(frozen=True)
class Calibration:
    """A smooth, strictly increasing map T of [0, 1], such that T(F(y)) is a calibrated distribution function.

    T is the distribution function of the normal scores of out-of-fold transforms F(y), smoothed by a normal kernel.

    Parameters
    ----------
    scores : ndarray of shape (m,)
        Nodes, in normal scores.
    bandwidth : float

    References
    ----------
    Dawid (1984) for the transforms; Gneiting & Ranjan (2013) for recalibrated pools; Silverman (1986) for the kernel.

    Examples
    --------
    >>> found = Calibration(np.array([-0.5, 0.5]), 0.5)
    >>> found(np.array([0.0, 0.5, 1.0])).round(3), found.inverse(found(np.array([0.2]))).round(6)
    (array([0. , 0.5, 1. ]), array([0.2]))
    """

    scores: Array
    bandwidth: float

    def __call__(self, u: Array) -> Array:
        """T at probabilities u."""
        return self._of_scores(_scores(u))

    def density(self, u: Array) -> Array:
        """Derivative of T at probabilities u, positive."""
        z, _, log_density = self._table
        return np.asarray(np.exp(np.interp(_scores(u), z, log_density)))

    def inverse(self, q: Array) -> Array:
        """Probabilities (m,) at which T is q (m,)."""
        q = np.asarray(q, dtype=np.float64)
        found = q.copy()  # beyond the farthest scores only 0 and 1 are left
        low, high = self._of_scores(np.array([-FARTHEST, FARTHEST]))
        inside = np.flatnonzero((q > low) & (q < high))
        if len(inside):
            ends = np.full(len(inside), -FARTHEST), np.full(len(inside), FARTHEST)
            roots = elementwise.find_root(lambda z, wanted: self._of_scores(z) - wanted, ends, args=(q[inside],)).x
            found[inside] = norm.cdf(roots)
        return found

    def _of_scores(self, z: Array) -> Array:
        return np.asarray(self._table[1](z))

    @cached_property
    def _table(self) -> tuple[Array, CubicHermiteSpline, Array]:
        """T as a spline in normal scores z (g,), and the logarithm of its density (g,): sums of many kernels."""
        z = np.linspace(-FARTHEST, FARTHEST, GRID)
        away = (z[:, None] - self.scores) / self.bandwidth
        value = (1 - IDENTITY) * norm.cdf(away).mean(axis=1) + IDENTITY * norm.cdf(z)
        slope = (1 - IDENTITY) * norm.pdf(away).mean(axis=1) / self.bandwidth + IDENTITY * norm.pdf(z)
        return z, CubicHermiteSpline(z, value, slope), np.log(slope) - norm.logpdf(z)

    def __getstate__(self) -> dict[str, Any]:
        return {"scores": self.scores, "bandwidth": self.bandwidth}  # without the table


@dataclass(frozen=True)
class Moments:
    """Moments of recalibrated distributions before they are shifted: mean (n,) and standard deviation (n,)."""

    mean: Array
    deviation: Array


def fit_calibration(
    y: Array, weights: Array, components: Any, mean: Array, sample_weight: Array, groups: NDArray[Any] | None = None
) -> Calibration | None:
    """The map for out-of-fold predictions.

    Parameters
    ----------
    y : ndarray of shape (n,)
    weights : ndarray of shape (n, K)
    components : frozen distribution, (n, K)
    mean : ndarray of shape (n,)
        Combined predictions, which stay the means.
    sample_weight : ndarray of shape (n,)
    groups : ndarray of shape (n,), optional
        Rows of one group are not independent, and are smoothed as if they were one.

    Returns
    -------
    Calibration or None
        None for counts, which no continuous map can recalibrate, for components without quantiles in closed form,
        where rows are few, and where the mean quantile loss, which is half the continuous ranked probability score, is
        smaller without: one map for all rows is no remedy where a few of them lie beyond a border, far from all that
        was expected, and the rest is right.

    References
    ----------
    Laio & Tamea (2007) for the score as a mean over quantiles.
    """
    if not hasattr(components, "ppf") or hasattr(getattr(components, "dist", components), "pmf"):
        return None
    rows = (sample_weight > 0) & np.isfinite(mean)
    if not rows.any():
        return None
    share = sample_weight[rows] / sample_weight[rows].sum()
    units = share if groups is None else np.bincount(np.unique(groups[rows], return_inverse=True)[1], share)
    effective = 1 / float(np.square(units).sum())
    if effective < FEWEST_ROWS:
        return None
    part = choose(components, np.flatnonzero(rows), weights.shape)
    y, weights, mean = y[rows], weights[rows], mean[rows]
    found, shift = None, np.zeros(len(y))
    for _ in range(ROUNDS):
        found = _smoothed(_scores(cdf(weights, part, y + shift)), share, effective)
        shift = calibrated_moments(found, weights, part).mean - mean
    assert found is not None
    some = np.unique(np.linspace(0, len(y) - 1, MOST_JUDGED).round().astype(int))
    judged, shares = choose(part, some, weights.shape), weights[some]
    loss = [
        share[some] @ _quantile_loss(y[some], quantile(shares, judged, levels) - moved)
        for levels, moved in ((LEVELS, 0.0), (found.inverse(LEVELS), shift[some, None]))
    ]
    return found if loss[1] <= loss[0] else None


def _quantile_loss(y: Array, quantiles: Array) -> Array:
    """Mean over LEVELS of the quantile loss (n,), or pinball loss, of quantiles (n, m)."""
    above = y[:, None] - quantiles
    return np.asarray(np.maximum(LEVELS * above, (LEVELS - 1) * above).mean(axis=1))


def calibrated_moments(calibration: Calibration, weights: Array, components: Any) -> Moments:
    """Moments of T(F), by a Gauss-Hermite rule in every component: E[y T'(F(y))] under F.

    Parameters
    ----------
    calibration : Calibration
    weights : ndarray of shape (n, K)
    components : distribution, (n, K)
    """
    n, K = weights.shape
    mean, deviation = np.full(n, np.nan), np.full(n, np.nan)
    z, rule = hermegauss(POINTS)
    levels, rule = norm.cdf(z), rule / rule.sum()
    size = max(BLOCK // (K * K * POINTS), 1)
    for begin in range(0, n, size):
        rows = np.arange(begin, min(begin + size, n))
        part, mine = choose(components, rows, (n, K)), weights[rows]
        points = np.stack([part.ppf(level) for level in levels], axis=-1).reshape(len(rows), -1)
        mass = (mine[:, :, None] * rule).reshape(len(rows), -1)
        points = np.where(mass > 0, points, 0.0)
        repeated = np.repeat(np.arange(len(rows)), K * POINTS)
        u = cdf(mine[repeated], choose(components, rows[repeated], (n, K)), points.ravel()).reshape(points.shape)
        mass = mass * calibration.density(u)
        mass /= mass.sum(axis=1, keepdims=True)
        mean[rows] = (mass * points).sum(axis=1)
        deviation[rows] = np.sqrt((mass * np.square(points - mean[rows, None])).sum(axis=1))
    return Moments(mean, deviation)


def _scores(u: Array) -> Array:
    """Normal scores of probabilities, cut off where rounding begins."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(norm.ppf(u), -FARTHEST, FARTHEST))


def _smoothed(scores: Array, share: Array, effective: float) -> Calibration:
    """The kernel estimate, whose variance is that of the scores."""
    order = np.argsort(scores)
    reached = np.cumsum(share[order]) - 0.5 * share[order]
    nodes = np.interp((np.arange(NODES) + 0.5) / NODES, reached, scores[order])
    quarter = np.subtract(*np.interp([0.75, 0.25], reached, scores[order])) / 1.349
    spread = float(np.std(nodes)) or 1.0
    bandwidth = 0.9 * (min(spread, float(quarter)) or spread) * effective**-0.2
    centre = float(nodes.mean())
    return Calibration(centre + (nodes - centre) / np.hypot(1.0, bandwidth / spread), bandwidth)
