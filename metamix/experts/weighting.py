"""Rows and weights of our own models: equal rows taken together, columns and targets in standard units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Rows", "Units", "checked_weights", "gather", "standardise"]

Array = NDArray[np.float64]


def checked_weights(sample_weight: Any, n: int) -> Array:
    """Weights (n,), all one where none are given.

    Raises
    ------
    ValueError
        They are not n finite numbers, one is negative, or every one is zero.

    Examples
    --------
    >>> checked_weights(None, 2), checked_weights([1, 0], 2)
    (array([1., 1.]), array([1., 0.]))
    """
    weight = np.ones(n) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
    if weight.shape != (n,) or not np.isfinite(weight).all() or (weight < 0).any():
        raise ValueError(f"sample_weight must be {n} finite numbers, none negative")
    if not weight.sum() > 0:
        raise ValueError("Every sample weight is zero; at least one row needs a positive weight.")
    return weight


@dataclass(frozen=True)
class Rows:
    """Different rows only: what equal ones say together, so that a weight of two is a row given twice.

    Attributes
    ----------
    X : ndarray of shape (n, d)
    Y : ndarray of shape (n, T)
        Weighted means of the targets of equal rows.
    weight : ndarray of shape (n,)
        Sums of weights.
    within : ndarray of shape (T,)
        Weighted squares about those means.
    count : float
        Rows that the weights stand for.
    place : ndarray of shape (N,)
        Where each row that was given went to.
    """

    X: Array
    Y: Array
    weight: Array
    within: Array
    count: float
    place: NDArray[np.intp]


def gather(X: Array, Y: Array, weight: Array) -> Rows:
    """Equal rows of X (N, d) taken together, with targets Y (N, T) and positive weights (N,).

    Examples
    --------
    >>> import numpy as np
    >>> rows = gather(np.array([[0.0], [1.0], [0.0]]), np.array([[1.0], [5.0], [3.0]]), np.ones(3))
    >>> rows.Y.tolist(), rows.weight.tolist(), rows.within.tolist()
    ([[2.0], [5.0]], [2.0, 1.0], [2.0])
    """
    unique, place = np.unique(X, axis=0, return_inverse=True)
    place = place.reshape(-1)
    total = np.bincount(place, weight)
    means = np.column_stack([np.bincount(place, weight * column) for column in Y.T]) / total[:, None]
    within = weight @ (Y - means[place]) ** 2
    # Weights that sum to less than a few rows are shares rather than counts.
    share = 1.0 if weight.sum() > 2 else len(weight) / weight.sum()
    return Rows(unique, means, total * share, within * share, float(weight.sum() * share), place)


@dataclass(frozen=True)
class Units:
    """Means and scales of columns (d,) and of targets (T,); the scale of a constant target is zero."""

    x_mean: Array
    x_scale: Array
    y_mean: Array
    y_scale: Array


def standardise(rows: Rows) -> tuple[Rows, Units]:
    """Rows with columns and targets of weighted mean zero and standard deviation one, and what they were.

    Examples
    --------
    >>> import numpy as np
    >>> rows, units = standardise(gather(np.array([[0.0], [4.0]]), np.array([[5.0], [5.0]]), np.ones(2)))
    >>> rows.X.tolist(), rows.Y.tolist(), units.x_mean.tolist(), units.y_scale.tolist()
    ([[-1.0], [1.0]], [[0.0], [0.0]], [2.0], [0.0])
    """
    x_mean, x_scale = _moments(rows.X, rows.weight, 0.0)
    y_mean, y_scale = _moments(rows.Y, rows.weight, rows.within)
    x_scale = np.where(x_scale > 0, x_scale, 1.0)
    unit = np.where(y_scale > 0, y_scale, 1.0)
    Y = np.where(y_scale > 0, (rows.Y - y_mean) / unit, 0.0)
    within = np.where(y_scale > 0, rows.within / unit**2, 0.0)
    standard = Rows((rows.X - x_mean) / x_scale, Y, rows.weight, within, rows.count, rows.place)
    return standard, Units(x_mean, x_scale, y_mean, y_scale)


def _moments(values: Array, weight: Array, within: Array | float) -> tuple[Array, Array]:
    """Weighted mean and standard deviation of columns; zero where they are constant but for rounding."""
    mean = weight @ values / weight.sum()
    scale = np.sqrt((weight @ (values - mean) ** 2 + within) / weight.sum())
    return mean, np.where(scale <= 1e-12 * np.abs(mean), 0.0, scale)
