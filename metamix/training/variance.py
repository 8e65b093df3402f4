"""Standard deviations of the stacks and of experts without their own: those of the mixture, and noise besides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ColumnVariance", "fit_column_variance"]

Array = NDArray[np.float64]

#: Noise beyond the mixture's own deviation is looked for on this grid, in root mean squares of the errors.
NOISE_GRID = np.append(0.0, np.geomspace(1e-5, 3.0, 60))
#: No deviation is smaller than this share of that of y, as in the likelihoods.
SMALLEST_DEVIATION = 1e-4


@dataclass(frozen=True)
class ColumnVariance:
    """Standard deviations that depend on x: those of the mixture, and noise of each column.

    The mixture knows where regimes meet, and how far apart their predictions are there; other columns are as uncertain
    in the same places.

    Parameters
    ----------
    mixture : int
        Column of the mixture.
    noise : ndarray of shape (K,)
        Root of what is added to the mixture's variance for each column; NaN for columns that do not follow it.

    Examples
    --------
    >>> ColumnVariance(0, np.array([0.0, 3.0]))(np.array([[4.0, np.nan]]))
    array([[4., 5.]])
    """

    mixture: int
    noise: Array

    @property
    def follows(self) -> NDArray[np.bool_]:
        """Which columns (K,) follow the mixture."""
        return np.isfinite(self.noise)

    def __call__(self, scale: Array) -> Array:
        """Standard deviations (n, K) from those that the columns have of their own (n, K)."""
        return np.where(self.follows, np.hypot(scale[:, [self.mixture]], self.noise), scale)


def fit_column_variance(errors: Array, own: Array, mixture: int, y: Array, weight: Array) -> ColumnVariance:
    """Which columns follow the mixture's deviation, and their noise, by maximum likelihood of normal errors.

    Parameters
    ----------
    errors : ndarray of shape (n, K)
        Out of fold.
    own : ndarray of shape (n, K)
        Standard deviations that columns have of their own; NaN where there is none.
    mixture : int
        Column of the mixture.
    y : ndarray of shape (n,)
    weight : ndarray of shape (n,)
        Zero for rows that are not judged.

    Returns
    -------
    ColumnVariance
        A column follows the mixture if that is likelier than its own deviation times a factor or, without one, than
        one scale for all rows; each has one parameter.
    """
    K = errors.shape[1]
    noise = np.full(K, np.nan)
    rows = (weight > 0) & np.isfinite(own[:, mixture]) & np.isfinite(errors).all(axis=1)
    if not rows.any():
        return ColumnVariance(mixture, noise)
    weight, deviation = weight[rows], own[rows, mixture][:, None]
    # A constant target has no scale; squares must stay within the range of floats.
    least = max(SMALLEST_DEVIATION * float(np.std(y[rows])), np.finfo(float).tiny ** 0.5)
    for k in range(K):
        given = errors[rows, k]
        unit = max(_root_mean_square(given, weight), least)
        following = _loss(given, np.maximum(np.hypot(deviation, unit * NOISE_GRID), least))
        best = int(np.argmin(weight @ following))
        if np.isnan(own[:, k]).all():
            other = np.full((len(given), 1), unit)
        else:  # its own deviation, times the factor that suits its errors
            alone = np.maximum(own[rows, k][:, None], least)
            other = np.maximum(_root_mean_square(given / alone[:, 0], weight) * alone, least)
        if k == mixture or weight @ following[:, best] < weight @ _loss(given, other)[:, 0]:
            noise[k] = unit * NOISE_GRID[best]
    return ColumnVariance(mixture, noise)


def _root_mean_square(values: Array, weight: Array) -> float:
    return float(np.sqrt(weight @ np.square(values) / weight.sum()))


def _loss(errors: Array, deviation: Array) -> Array:
    """Minus the log density of normal errors, without its constant."""
    return np.asarray(0.5 * np.square(errors[:, None] / deviation) + np.log(deviation))
