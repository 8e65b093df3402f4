"""Row weights of the models in this package: merging of equal rows, standardisation of columns and targets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.vectors import as_weights

__all__ = ["MergedRows", "Units", "checked_weights", "merge_equal_rows", "standardise"]

Array = NDArray[np.float64]


def checked_weights(sample_weight: Any, n: int) -> Array:
    """Validate weights (n,); all one for None.

    Raises
    ------
    ValueError
        If they are not n finite numbers, one is negative, or all are zero.

    Examples
    --------
    >>> checked_weights(None, 2), checked_weights([1, 0], 2)
    (array([1., 1.]), array([1., 0.]))
    """
    return np.ones(n) if sample_weight is None else as_weights(sample_weight, (n,))


@dataclass(frozen=True)
class MergedRows:
    """Distinct rows with the statistics of the equal rows merged into each: a weight of two equals a repeated row.

    Attributes
    ----------
    X : ndarray of shape (n, d)
    Y : ndarray of shape (n, T)
        Weighted means of the targets of equal rows.
    weight : ndarray of shape (n,)
        Sums of weights.
    within : ndarray of shape (T,)
        Weighted sums of squares of the targets around these means.
    count : float
        Sum of the weights, after the scaling in `merge_equal_rows`.
    index : ndarray of shape (N,)
        Index of the distinct row of each original row.
    """

    X: Array
    Y: Array
    weight: Array
    within: Array
    count: float
    index: NDArray[np.intp]


def merge_equal_rows(X: Array, Y: Array, weight: Array) -> MergedRows:
    """Merge equal rows of X (N, d), with targets Y (N, T) and positive weights (N,).

    Examples
    --------
    >>> import numpy as np
    >>> rows = merge_equal_rows(np.array([[0.0], [1.0], [0.0]]), np.array([[1.0], [5.0], [3.0]]), np.ones(3))
    >>> rows.Y.tolist(), rows.weight.tolist(), rows.within.tolist()
    ([[2.0], [5.0]], [2.0, 1.0], [2.0])
    """
    unique, index = np.unique(X, axis=0, return_inverse=True)
    index = index.reshape(-1)
    total = np.bincount(index, weight)
    means = np.column_stack([np.bincount(index, weight * column) for column in Y.T]) / total[:, None]
    within = weight @ (Y - means[index]) ** 2
    # Weights with a sum of at most 2 are taken as relative and scaled to a mean of one.
    scale = 1.0 if weight.sum() > 2 else len(weight) / weight.sum()
    return MergedRows(unique, means, total * scale, within * scale, float(weight.sum() * scale), index)


@dataclass(frozen=True)
class Units:
    """Means and standard deviations of columns (d,) and of targets (T,); that of a constant target is zero."""

    x_mean: Array
    x_scale: Array
    y_mean: Array
    y_scale: Array


def standardise(rows: MergedRows) -> tuple[MergedRows, Units]:
    """Standardise columns and targets to weighted mean zero and standard deviation one; also return the units.

    Examples
    --------
    >>> import numpy as np
    >>> rows, units = standardise(merge_equal_rows(np.array([[0.0], [4.0]]), np.array([[5.0], [5.0]]), np.ones(2)))
    >>> rows.X.tolist(), rows.Y.tolist(), units.x_mean.tolist(), units.y_scale.tolist()
    ([[-1.0], [1.0]], [[0.0], [0.0]], [2.0], [0.0])
    """
    x_mean, x_scale = _moments(rows.X, rows.weight, 0.0)
    y_mean, y_scale = _moments(rows.Y, rows.weight, rows.within)
    x_scale = np.where(x_scale > 0, x_scale, 1.0)
    unit = np.where(y_scale > 0, y_scale, 1.0)
    Y = np.where(y_scale > 0, (rows.Y - y_mean) / unit, 0.0)
    within = np.where(y_scale > 0, rows.within / unit**2, 0.0)
    standard = MergedRows((rows.X - x_mean) / x_scale, Y, rows.weight, within, rows.count, rows.index)
    return standard, Units(x_mean, x_scale, y_mean, y_scale)


def _moments(values: Array, weight: Array, within: Array | float) -> tuple[Array, Array]:
    """Weighted mean and standard deviation of columns; zero for columns that are constant up to rounding."""
    mean = weight @ values / weight.sum()
    scale = np.sqrt((weight @ (values - mean) ** 2 + within) / weight.sum())
    return mean, np.where(scale <= 1e-12 * np.abs(mean), 0.0, scale)
