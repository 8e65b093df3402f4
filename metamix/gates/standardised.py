"""Implicit standardisation of columns, applied to the coefficients so that a large X is not copied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse

from metamix.protocols import FloatArray

#: Rows per block.
_BLOCK = 8192
#: A dense X of at most this many entries is standardised explicitly: the copy is small and products are faster.
_COPY_ENTRIES = 2**18
#: A column is treated as constant if its standard deviation is below this fraction of its mean (rounding).
_CONSTANT = 1e-13


def row_blocks(n: int) -> Iterator[slice]:
    """Consecutive slices that cover n rows, each small enough for the processor cache.

    Examples
    --------
    >>> list(row_blocks(3))
    [slice(0, 3, None)]
    """
    return (slice(at, min(at + _BLOCK, n)) for at in range(0, n, _BLOCK))


def column_moments(X: Any, row_weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted mean and standard deviation (q,) of the columns; the deviation of a constant column is exactly 0.

    Two passes over the rows, since E[x²] - E[x]² cancels when the mean of a column is large.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, q)
    row_weights : ndarray of shape (n,)
        Summing to one.

    Returns
    -------
    mean, deviation : ndarrays of shape (q,)

    Examples
    --------
    >>> import numpy as np
    >>> column_moments(np.array([[1e9 - 1.0, 5.0], [1e9 + 1.0, 5.0]]), np.array([0.5, 0.5]))
    (array([1.e+09, 5.e+00]), array([1., 0.]))
    """
    n, q = X.shape
    mean, square = np.zeros(q), np.zeros(q)
    if sparse.issparse(X):
        mean = np.asarray(X.T @ row_weights, dtype=np.float64)
        entries = X.tocsr()
        stored = np.repeat(row_weights, np.diff(entries.indptr))
        weight = np.bincount(entries.indices, stored, q)
        around = (entries.data - mean[entries.indices]) ** 2
        square = np.bincount(entries.indices, stored * around, q) + np.maximum(1.0 - weight, 0.0) * mean**2
    else:
        for rows in row_blocks(n):
            mean += row_weights[rows] @ X[rows]
        correction = np.zeros(q)
        for rows in row_blocks(n):
            correction += row_weights[rows] @ (X[rows] - mean)
        mean += correction
        for rows in row_blocks(n):
            square += row_weights[rows] @ (X[rows] - mean) ** 2
    deviation = np.sqrt(square)
    return mean, np.where(deviation > _CONSTANT * np.abs(mean), deviation, 0.0)


class StandardisedColumns:
    """Linear predictors on columns with weighted mean 0 and standard deviation 1; constant columns are 0.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, q)
        Not copied if large; may be memory-mapped or read-only.
    row_weights : ndarray of shape (n,)
        Summing to one.
    moments : (ndarray of shape (q,), ndarray of shape (q,)), optional
        Mean and standard deviation of other rows to standardise by.

    Attributes
    ----------
    mean, deviation : ndarrays of shape (q,)

    Examples
    --------
    >>> import numpy as np
    >>> columns = StandardisedColumns(np.array([[0.0], [4.0]]), np.array([0.5, 0.5]))
    >>> columns.logits(np.array([[1.0]]), np.zeros(1), slice(0, 2))
    array([[-1.],
           [ 1.]])
    """

    def __init__(self, X: Any, row_weights: FloatArray, moments: tuple[FloatArray, FloatArray] | None = None) -> None:
        self.mean, self.deviation = column_moments(X, row_weights) if moments is None else moments
        varies = self.deviation > 0
        self._inverse = np.divide(1.0, self.deviation, out=np.zeros_like(self.deviation), where=varies)
        self._shift, self._scale = self.mean, self._inverse
        self._X, self._row_weights = X, row_weights
        self.n, self.q = X.shape
        if not sparse.issparse(X) and X.size <= _COPY_ENTRIES:
            self._X = (X - self.mean) * self._inverse
            self._shift, self._scale = np.zeros(self.q), np.ones(self.q)

    def logits(self, slopes: FloatArray, intercept: FloatArray, rows: slice) -> FloatArray:
        """Linear predictor (rows, K) for slopes (q, K) of standardised columns and intercept (K,)."""
        raw = self._scale[:, None] * slopes
        block = self._X if rows == slice(0, self.n) else self._X[rows]
        level = (intercept - self._shift @ raw)[:, None]
        if sparse.issparse(block):
            return (np.ascontiguousarray((block @ raw).T) + level).T
        # Stored with the experts first: reductions over a short last axis are slow.
        return (raw.T @ block.T + level).T

    def pull_back(self, gradient: FloatArray, rows: slice) -> tuple[FloatArray, FloatArray]:
        """Gradient for slopes (q, K) and intercept (K,), given that for the logits (rows, K)."""
        block = self._X if rows == slice(0, self.n) else self._X[rows]
        total = gradient.sum(axis=0)
        raw = block.T @ gradient - np.outer(self._shift, total)
        return self._scale[:, None] * raw, total

    def correlation(self) -> FloatArray:
        """Weighted second moments (q, q) of the standardised columns."""
        moments = np.zeros((self.q, self.q))
        if sparse.issparse(self._X):
            weighted = self._X.multiply(self._row_weights[:, None]).tocsr()
            moments = np.asarray((self._X.T @ weighted).todense()) - np.outer(self.mean, self.mean)
            return self._inverse[:, None] * moments * self._inverse
        for rows in row_blocks(self.n):
            block = (self._X[rows] - self._shift) * self._scale
            moments += block.T @ (self._row_weights[rows, None] * block)
        return moments

    def to_units_of_x(self, slopes: FloatArray, intercept: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Equivalent slopes (q, K) and intercept (K,) for the columns of X in their own units."""
        raw = self._inverse[:, None] * slopes
        return raw, intercept - self.mean @ raw
