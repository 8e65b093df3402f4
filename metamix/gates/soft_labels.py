"""Validation of the input common to all gates: responsibilities and row weights; their weighted mean."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from metamix.data.vectors import as_weights
from metamix.protocols import FloatArray


def count_rows(X: Any) -> int:
    """Number of rows of an array, sparse matrix, frame or list.

    Examples
    --------
    >>> count_rows([[1.0], [2.0]])
    2
    """
    return int(X.shape[0]) if hasattr(X, "shape") else len(X)


def check_responsibilities(responsibilities: ArrayLike, n: int) -> FloatArray:
    """Responsibilities (n, K) as floats.

    Raises
    ------
    ValueError
        If the shape is not (n, K), or an entry is NaN, infinite or negative.

    Examples
    --------
    >>> check_responsibilities([[1, 0], [0, 1]], 2).dtype
    dtype('float64')
    """
    checked = np.asarray(responsibilities, dtype=np.float64)
    if checked.ndim != 2 or checked.shape[0] != n or checked.shape[1] < 1:
        raise ValueError(f"responsibilities have shape {checked.shape}; X has {n} rows, so ({n}, K) is needed.")
    if not np.isfinite(checked).all() or (checked < 0).any():
        raise ValueError(
            "responsibilities must be finite and non-negative; leave out the rows that were never held out."
        )
    return checked


def check_row_weights(sample_weight: ArrayLike | None, n: int) -> FloatArray:
    """Row weights (n,) normalised to sum to one; equal weights for None.

    Raises
    ------
    ValueError
        If the length is not n, an entry is negative or not finite, or all are zero.

    Examples
    --------
    >>> check_row_weights([1.0, 3.0], 2)
    array([0.25, 0.75])
    """
    if n == 0:
        raise ValueError("A gate needs at least one row; X has none.")
    if sample_weight is None:
        return np.full(n, 1.0 / n)
    weight = as_weights(sample_weight, (n,))
    weight = weight / weight.max()
    return weight / weight.sum()


def mean_responsibilities(responsibilities: FloatArray, row_weights: FloatArray) -> FloatArray:
    """Weighted mean responsibilities (K,), normalised to sum to one; uniform where all are zero.

    Examples
    --------
    >>> import numpy as np
    >>> mean_responsibilities(np.array([[1.0, 0.0], [0.5, 0.5]]), np.array([0.5, 0.5]))
    array([0.75, 0.25])
    """
    share = row_weights @ responsibilities
    total = float(share.sum())
    return share / total if total > 0 else np.full(share.shape, 1.0 / len(share))
