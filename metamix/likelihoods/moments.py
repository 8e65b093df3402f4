"""Weighted moments of errors (n, K) per expert, over the rows with a prediction; a robust clip."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.protocols import FloatArray


def valid_errors(errors: FloatArray, weights: FloatArray) -> NDArray[Any]:
    """Mask (n, K) of the errors that are finite and have a positive weight.

    Examples
    --------
    >>> valid_errors(np.array([[1.0, np.nan]]), np.ones((1, 2)))
    array([[ True, False]])
    """
    return np.isfinite(errors) & (weights > 0)


def mean_absolute(errors: FloatArray, weights: FloatArray, fallback: FloatArray) -> FloatArray:
    """Weighted mean of absolute errors (K,); fallback (K,) for experts without valid rows.

    Parameters
    ----------
    errors, weights : ndarrays of shape (n, K)
    fallback : ndarray of shape (K,)

    Returns
    -------
    ndarray of shape (K,)

    Examples
    --------
    >>> mean_absolute(np.array([[1.0], [-3.0]]), np.ones((2, 1)), np.zeros(1))
    array([2.])
    """
    counts = valid_errors(errors, weights)
    total = np.sum(weights, axis=0, where=counts)
    sizes = np.abs(errors)
    sizes *= weights
    mean = np.divide(np.sum(sizes, axis=0, where=counts), total, out=np.zeros_like(total), where=total > 0)
    return np.where(total > 0, mean, fallback)


def root_mean_square(errors: FloatArray, weights: FloatArray, fallback: FloatArray) -> FloatArray:
    """Weighted root mean square (K,) of errors; fallback (K,) for experts without valid rows.

    Parameters
    ----------
    errors, weights : ndarrays of shape (n, K)
    fallback : ndarray of shape (K,)

    Returns
    -------
    ndarray of shape (K,)

    Examples
    --------
    >>> root_mean_square(np.array([[3.0], [-3.0]]), np.ones((2, 1)), np.zeros(1))
    array([3.])
    """
    counts = valid_errors(errors, weights)
    size = np.maximum(
        np.max(errors, axis=0, where=counts, initial=0.0), -np.min(errors, axis=0, where=counts, initial=0.0)
    )
    unit = np.where(size > 0, size, 1.0)  # squares of very large or small numbers would overflow or underflow
    squares = errors / unit
    np.square(squares, out=squares)
    total = np.sum(weights, axis=0, where=counts)
    squares *= weights
    mean = np.divide(np.sum(squares, axis=0, where=counts), total, out=np.zeros_like(total), where=total > 0)
    return np.where(total > 0, unit * np.sqrt(mean), fallback)


def weighted_deviation(y: FloatArray, weights: FloatArray) -> float:
    """Weighted standard deviation of y (n,); its absolute value if y is constant, and 1 if that is zero.

    Examples
    --------
    >>> weighted_deviation(np.array([1.0, 3.0]), np.ones(2)), weighted_deviation(np.full(2, 7.0), np.ones(2))
    (1.0, 7.0)
    """
    counts = np.isfinite(y) & (weights > 0)
    if not counts.any():
        counts, weights = np.isfinite(y), np.ones_like(y)
    y, weights = y[counts], weights[counts]
    if not len(y):
        return 1.0
    centre = float(np.average(y, weights=weights))
    size = float(np.max(np.abs(y)))
    unit = float(np.max(np.abs(y - centre)))
    if unit <= 1e-12 * size:
        return size or 1.0
    return unit * float(np.sqrt(np.average(((y - centre) / unit) ** 2, weights=weights)))


def clip_to_fences(y: FloatArray) -> FloatArray:
    """Clip y (n,) to the outer fences: three interquartile ranges beyond the quartiles (Tukey 1977).

    Examples
    --------
    >>> clip_to_fences(np.array([0.0, 1.0, 2.0, 3.0, 100.0]))
    array([0., 1., 2., 3., 9.])
    """
    low, high = np.quantile(y, [0.25, 0.75])
    reach = 3 * (high - low)
    return np.asarray(np.clip(y, low - reach, high + reach)) if reach > 0 else y
