"""Rows by content: equal ones, an order that the order of the rows does not change, and effective numbers of rows."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from metamix.data.frames import frame_columns, is_frame, n_rows, take_rows

__all__ = ["DistinctRows", "content_order", "count_once", "distinct_rows", "effective_weights", "row_keys", "table_key"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Keys = NDArray[np.uint64]

#: Columns that rows are sorted by; of rows that agree in these the rest decides.
_SORTED_COLUMNS = 16
#: Rows whose keys are made at once where only a key of all is asked for; they take three times the memory of the rows.
_BLOCK = 20_000


def row_keys(*tables: Any) -> Keys:
    """Keys (n,) of the rows of one or more tables: equal for equal rows, and a function of their content alone.

    Parameters
    ----------
    *tables : array of shape (n,), (n, d) or more, sparse matrix or data frame of n rows
        What is None is left out.

    Returns
    -------
    ndarray of uint64, shape (n,)
        Different for different rows, up to collisions of 64-bit hashes.

    Examples
    --------
    >>> keys = row_keys(np.array([[1.0, 2.0], [3.0, 4.0], [1.0, 2.0]]), np.array(["a", "b", "a"]))
    >>> bool(keys[0] == keys[2]), bool(keys[0] == keys[1])
    (True, False)
    """
    from pandas import DataFrame
    from pandas.util import hash_pandas_object

    columns = [_hashed(column) for table in tables if table is not None for column in _columns(table)]
    if not columns:
        return np.zeros(n_rows(tables[0]), dtype=np.uint64)
    return np.asarray(hash_pandas_object(DataFrame(dict(enumerate(columns))), index=False), dtype=np.uint64)


def table_key(*tables: Any) -> str:
    """A key of tables of n rows: equal for equal rows in the same order.

    Examples
    --------
    >>> table_key(np.ones((2, 1))) == table_key(np.ones((2, 1))), table_key(np.ones(2)) == table_key(np.zeros(2))
    (True, False)
    """
    tables = tuple(one.tocsr() if sparse.issparse(one) else one for one in tables if one is not None)
    digest, n = sha256(), n_rows(tables[0])
    for begin in range(0, n, _BLOCK):
        rows = np.arange(begin, min(begin + _BLOCK, n))
        digest.update(row_keys(*(take_rows(one, rows) for one in tables)).tobytes())
    return digest.hexdigest()


def _columns(table: Any) -> list[NDArray[Any]]:
    """Columns (n,) of an array or a frame; of a sparse matrix a single one, of the entries of each row."""
    if sparse.issparse(table):
        rows = table.tocsr().sorted_indices()
        rows.eliminate_zeros()
        entries = rows.data.astype(np.float64) + 0.0
        pairs = zip(np.split(rows.indices, rows.indptr[1:-1]), np.split(entries, rows.indptr[1:-1]), strict=True)
        return [np.array([(j.tobytes() + v.tobytes()).hex() for j, v in pairs], dtype=object)]
    if is_frame(table):
        return [np.asarray(column) for column in frame_columns(table)]
    array = np.asarray(table)
    return list(np.asfortranarray(array.reshape(len(array), int(np.prod(array.shape[1:])))).T)


def content_order(X: Any, *more: Any) -> Rows:
    """Positions of the rows in an order that their content decides.

    They are sorted by the columns of X, and equal rows of X by other tables, and shuffled the same way every time,
    since many models break ties by position. The order that the rows had, units of numeric columns and the order of
    the columns of the other tables do not matter.

    Parameters
    ----------
    X : array of shape (n, d), sparse matrix or data frame
    *more : array of shape (n,) or (n, T)

    Examples
    --------
    >>> content_order(np.array([[3.0], [1.0], [3.0]]), np.array([2.0, 0.0, 1.0]))
    array([0, 1, 2])
    """
    first = X[:, :_SORTED_COLUMNS].toarray() if sparse.issparse(X) else X
    columns = [one if one.dtype.kind in "iubf" else _hashed(one) for one in _columns(first)[:_SORTED_COLUMNS]]
    ranks = [np.sum([np.unique(one, return_inverse=True)[1] for one in _columns(table)], axis=0) for table in more]
    keys: list[NDArray[Any]] = [row_keys(X), *ranks[::-1], *columns[::-1]]
    found = np.lexsort(keys)
    return np.asarray(found[np.random.default_rng(0).permutation(len(found))])


def _hashed(column: NDArray[Any]) -> Keys:
    """Hashes (n,) of the values of a column; both zeros are one value, and so are a whole number and a float."""
    from pandas.util import hash_array

    values = column.astype(np.float64) + 0.0 if column.dtype.kind in "iubf" else column.astype(str).astype(object)
    return np.asarray(hash_array(values), dtype=np.uint64)


@dataclass(frozen=True)
class DistinctRows:
    """Rows with weight, equal ones once, in an order that depends on their content only.

    Parameters
    ----------
    rows : ndarray of int, shape (m,)
        A position of each distinct row.
    weight : ndarray of shape (m,)
        Sums of the weights of equal rows.
    index : ndarray of int, shape (n,)
        Distinct row of each row; -1 for rows without weight that are equal to none with weight.
    """

    rows: Rows
    weight: Array
    index: Rows


def distinct_rows(weight: Array, *tables: Any) -> DistinctRows:
    """Merge equal rows of tables: a row of weight two is the same as two rows, a row of weight zero is none.

    Parameters
    ----------
    weight : ndarray of shape (n,)
    *tables
        As of `row_keys`.

    Examples
    --------
    >>> found = distinct_rows(np.array([1.0, 0.0, 3.0]), np.array([[5.0], [7.0], [5.0]]))
    >>> found.rows, found.weight, found.index
    (array([0]), array([4.]), array([ 0, -1,  0]))
    """
    found = _merged(weight, *tables)
    order = content_order(*(take_rows(table, found.rows) for table in tables))
    place = np.empty(len(order) + 1, dtype=np.intp)
    place[order], place[-1] = np.arange(len(order)), -1
    return DistinctRows(found.rows[order], found.weight[order], place[found.index])


def _merged(weight: Array, *tables: Any) -> DistinctRows:
    """`distinct_rows`, in any order."""
    keys, counts = row_keys(*tables), np.flatnonzero(weight > 0)
    known, first, inverse = np.unique(keys[counts], return_index=True, return_inverse=True)
    position = np.minimum(np.searchsorted(known, keys), max(len(known) - 1, 0))
    index = np.where(known[position] == keys, position, -1) if len(known) else np.full(len(keys), -1)
    total = np.asarray(np.bincount(inverse, weight[counts], len(known)), dtype=np.float64)
    return DistinctRows(counts[first], total, index)


def count_once(weight: Array, *tables: Any) -> Array:
    """How much each row adds to the number of distinct rows: 1 over the number of rows with weight equal to it.

    Examples
    --------
    >>> count_once(np.array([1.0, 0.0, 3.0, 1.0]), np.array([[5.0], [5.0], [5.0], [6.0]]))
    array([0.5, 0. , 0.5, 1. ])
    """
    positive = np.where(weight > 0, 1.0, 0.0)
    found = _merged(positive, *tables)
    return np.where(positive > 0, 1 / np.maximum(found.weight[found.index], 1.0), 0.0) if len(found.rows) else positive


def effective_weights(weight: Array, *tables: Any) -> Array:
    """Weights (n,) scaled to sum to the effective number of rows, (Σ w)² / Σ w², equal rows counted as one.

    The unit of the weights does not matter, and a row of weight two is the same as two rows.

    Parameters
    ----------
    weight : ndarray of shape (n,)
        Not negative.
    *tables
        As of `row_keys`.

    References
    ----------
    Kish (1965), Survey sampling.

    Examples
    --------
    >>> effective_weights(np.array([2.0, 2.0]), np.array([0.0, 1.0])).sum()
    np.float64(2.0)
    >>> effective_weights(np.array([1.0, 1.0, 2.0]), np.array([0.0, 0.0, 1.0]))
    array([0.5, 0.5, 1. ])
    """
    merged = _merged(weight, *tables).weight
    squares = float(np.square(merged / merged.max()).sum()) if len(merged) else 0.0
    return weight * (merged.sum() / merged.max() / squares / merged.max()) if squares > 0 else np.zeros(len(weight))
