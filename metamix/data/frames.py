"""Rows and columns of arrays, sparse matrices and data frames of pandas, polars and other libraries."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import numpy as np
from scipy import sparse

from metamix.data.cells import is_pandas

__all__ = [
    "TableError",
    "append_rows",
    "array_of_lists",
    "check_frame",
    "check_size",
    "column_names",
    "find_columns",
    "frame_columns",
    "is_frame",
    "listed",
    "n_rows",
    "take_columns",
    "take_rows",
]


class TableError(ValueError):
    """Raised for a table that cannot be read or used; the message is one line with the remedy."""


def listed(names: Sequence[str], most: int = 12) -> str:
    """Join the first names for an error message.

    Examples
    --------
    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown


def is_frame(X: Any) -> bool:
    """Whether X is a data frame (pandas, polars, pyarrow or anything eager that narwhals understands).

    Parameters
    ----------
    X : object
        Anything.

    Returns
    -------
    bool

    Raises
    ------
    TableError
        For a lazy frame, with the remedy.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> is_frame(pd.DataFrame({"a": [1]})), is_frame(pd.Series([1])), is_frame(np.ones((1, 1)))
    (True, False, False)
    """
    if isinstance(X, np.ndarray | list | tuple) or sparse.issparse(X):
        return False
    if is_pandas(X):
        return True
    if type(X).__module__.startswith("dask."):
        raise TableError(
            f"A dask {type(X).__name__} has no rows before it is computed; give X.compute(), or predict a partition "
            "after the other, as in X.map_partitions(mixture.predict)."
        )
    import narwhals as nw

    if isinstance(nw.from_native(X, pass_through=True), nw.LazyFrame):
        raise TableError(
            f"A {type(X).__module__.split('.')[0]} {type(X).__name__} has no rows before it is computed; give "
            "X.collect()."
        )
    return isinstance(X, nw.DataFrame) or bool(nw.dependencies.is_into_dataframe(X))


def column_names(X: Any) -> list[str] | None:
    """Names of the columns of a frame, as scikit-learn understands them.

    Parameters
    ----------
    X : object
        A table (n, d) of any kind.

    Returns
    -------
    list of str, or None
        (d,) names; None for what is not a frame and for a frame whose names are not all text.

    Examples
    --------
    >>> import pandas as pd
    >>> column_names(pd.DataFrame({"a": [1], "b": [2]}))
    ['a', 'b']
    >>> column_names([[1, 2]]) is None
    True
    """
    if not is_frame(X):
        return None
    if is_pandas(X):
        names = list(X.columns)
    else:
        import narwhals as nw

        names = nw.from_native(X, eager_only=True).columns
    return [str(name) for name in names] if all(isinstance(name, str) for name in names) else None


def frame_columns(X: Any) -> list[Any]:
    """List the columns of a frame.

    Parameters
    ----------
    X : data frame
        (n, d).

    Returns
    -------
    list
        (d,) pandas Series for pandas, else narwhals Series.

    Examples
    --------
    >>> import pandas as pd
    >>> [column.tolist() for column in frame_columns(pd.DataFrame({"a": [1], "b": [2]}))]
    [[1], [2]]
    """
    if is_pandas(X):
        return [column for _, column in X.items()]
    import narwhals as nw

    return list(nw.from_native(X, eager_only=True).iter_columns())


def find_columns(names: list[str], known: list[str]) -> list[int]:
    """Find the positions of the training columns in a new frame.

    Parameters
    ----------
    names : list of str
        Names of the new frame, in any order.
    known : list of str
        (d,) names seen in training.

    Returns
    -------
    list of int
        (d,) position of each known column in `names`.

    Raises
    ------
    TableError
        A known column is absent, or there are others.

    Examples
    --------
    >>> find_columns(["b", "a"], ["a", "b"])
    [1, 0]
    """
    place = {name: i for i, name in enumerate(names)}
    absent = [name for name in known if name not in place]
    if absent:
        near = get_close_matches(absent[0], names, n=1)
        hint = f"; is {absent[0]!r} the one that is now {near[0]!r}?" if near else ""
        raise TableError(f"X lacks the column(s) {', '.join(map(repr, absent))} seen in training{hint}")
    extra = [name for name in names if name not in set(known)]
    if extra or len(names) != len(known):
        raise TableError(
            f"X has {len(names)} columns, training had {len(known)}: leave out "
            f"{', '.join(map(repr, extra)) or 'the repeated ones'}"
        )
    return [place[name] for name in known]


def check_size(estimator: Any, X: Any) -> None:
    """Check that X (n, d) has rows and columns, in the words of scikit-learn's check of arrays.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_size(None, np.empty((0, 2)))
    Traceback (most recent call last):
    ...
    ValueError: Found array with 0 sample(s) (shape=(0, 2)) while a minimum of 1 is required by NoneType.
    """
    for size, what in zip(X.shape, ("sample(s)", "feature(s)"), strict=True):
        if not size:
            raise ValueError(
                f"Found array with 0 {what} (shape={tuple(X.shape)}) while a minimum of 1 is required by "
                f"{type(estimator).__name__}."
            )


def n_rows(X: Any) -> int:
    """Count the rows of X.

    Parameters
    ----------
    X : array, sparse matrix, frame, series or sequence
        (n, ...).

    Returns
    -------
    int
        n.

    Raises
    ------
    TableError
        X has no rows to count: a scalar, or a lazy frame that was not collected.

    Examples
    --------
    >>> n_rows([[1, 2], [3, 4], [5, 6]])
    3
    """
    shape = getattr(X, "shape", None)
    if isinstance(shape, tuple) and shape:
        return int(shape[0])
    try:
        return len(X)
    except TypeError:
        remedy = "collect() it first" if hasattr(X, "collect") else "give an array or a data frame"
        raise TableError(f"a {type(X).__name__} has no rows to count: {remedy}") from None


def take_columns(X: Any, columns: Sequence[int]) -> Any:
    """Take columns by position; the result is of the kind that X is.

    Parameters
    ----------
    X : array, sparse matrix or frame of shape (n, d)
    columns : sequence of int
        (m,) positions.

    Returns
    -------
    object
        (n, m) of the same kind as X; a new C-ordered array for numpy.

    Examples
    --------
    >>> import numpy as np
    >>> take_columns(np.arange(6).reshape(2, 3), [2, 0]).tolist()
    [[2, 0], [5, 3]]
    """
    columns = list(columns)
    if is_pandas(X):
        return X.iloc[:, columns]
    if is_frame(X):
        import narwhals as nw

        return nw.from_native(X, eager_only=True)[:, columns].to_native()
    if sparse.issparse(X):
        return X.tocsr()[:, columns]
    return np.take(np.asarray(X), columns, axis=1)


def take_rows(X: Any, rows: Any) -> Any:
    """Take rows by position; the result is of the kind that X is.

    Parameters
    ----------
    X : array, sparse matrix, frame, series or sequence
        (n, ...).
    rows : array of int or bool
        (m,) positions, repeats allowed, or an (n,) mask.

    Returns
    -------
    object
        (m, ...) of the same kind as X; a new C-ordered array for numpy; pandas keeps its index labels.

    Raises
    ------
    IndexError
        A position is outside X, or a mask is not n long.
    TableError
        X is not something rows can be taken from.

    Examples
    --------
    >>> import numpy as np
    >>> take_rows(np.arange(6).reshape(3, 2), [2, 0]).tolist()
    [[4, 5], [0, 1]]
    """
    rows = _positions(X, rows)
    if isinstance(X, np.ndarray):
        # take, unlike X[rows], gives C order whatever the order of X; a memory map becomes plain memory.
        return np.take(np.asarray(X) if isinstance(X, np.memmap) else X, rows, axis=0)
    if sparse.issparse(X):
        return X[rows] if X.format == "csr" else X.tocsr()[rows].asformat(X.format)
    if is_pandas(X) or is_pandas(X, "Series"):
        return X.take(rows)
    if isinstance(X, list | tuple):
        return type(X)([X[i] for i in rows])
    return _take_other(X, rows)


def append_rows(X: Any, *more: Any) -> Any:
    """X with further rows of the same columns.

    Parameters
    ----------
    X, *more : array, sparse matrix or data frame of shape (n, d) and (m, d)
        All of one kind. Columns keep the types of X: a category that X does not know is missing.

    Examples
    --------
    >>> append_rows(np.array([[1, 2]]), np.array([[3, 4]])).tolist()
    [[1, 2], [3, 4]]
    """
    if sparse.issparse(X):
        return sparse.vstack([X, *more], format="csr")
    if is_pandas(X):
        import pandas as pd

        return pd.concat([X, *(one.astype(dict(X.dtypes)) for one in more)], ignore_index=True)
    if is_frame(X):
        import narwhals as nw

        return nw.concat([nw.from_native(one) for one in (X, *more)]).to_native()
    return np.concatenate([np.asarray(one) for one in (X, *more)])


def _take_other(X: Any, rows: np.ndarray) -> Any:
    import narwhals as nw

    try:
        taken = nw.from_native(X, eager_only=True, allow_series=True)[rows]
    except TypeError:
        if isinstance(getattr(X, "shape", None), tuple):  # a tensor of some array library
            return X[rows]
        raise TableError(
            f"rows cannot be taken from a {type(X).__name__}: give an array, a sparse matrix or a data frame"
        ) from None
    return taken if isinstance(X, nw.DataFrame | nw.Series) else taken.to_native()


def _positions(X: Any, rows: Any) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.dtype == bool:
        if len(rows) != n_rows(X):
            raise IndexError(f"a mask of {len(rows)} entries does not fit {n_rows(X)} rows")
        return np.flatnonzero(rows)
    return rows if rows.size else rows.astype(np.intp)


def check_frame(columns: list[Any], names: list[str] | None) -> None:
    """Raise an error for a frame without rows or columns, or with duplicate column names.

    Parameters
    ----------
    columns : list
        (d,) as from `frame_columns`.
    names : list of str or None
        (d,) as from `column_names`.

    Raises
    ------
    TableError
        The frame has no rows or columns, or a name is not unique.

    Examples
    --------
    >>> check_frame([], [])
    Traceback (most recent call last):
    metamix.data.frames.TableError: Found array with 0 feature(s) (shape=(0, 0)) while a minimum of 1 is required.
    """
    if not columns or not len(columns[0]):
        shape = (len(columns[0]) if columns else 0, len(columns))
        what = "sample" if columns else "feature"
        raise TableError(f"Found array with 0 {what}(s) (shape={shape}) while a minimum of 1 is required.")
    if names is not None and len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise TableError(f"X has more than one column named {twice!r}: rename one of them")


def array_of_lists(X: Any) -> Any:
    """Convert nested lists to an array; of dtype object if they mix numbers and text.

    Examples
    --------
    >>> array_of_lists([[1, "a"]]).tolist()
    [[1, 'a']]
    """
    try:
        values = np.asarray(X) if not any(map(sparse.issparse, X)) else X
    except ValueError:
        raise TableError("X is a list of rows that differ in length: one value for each column would do") from None
    # numpy would turn the numbers of [[1, "a"]] into text.
    return np.array(X, dtype=object) if values.dtype.kind in "US" else values
