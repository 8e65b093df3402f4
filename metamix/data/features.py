"""Columns of a table of any kind: which ones, their names, their values, and other values in their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from metamix.data.cells import is_pandas
from metamix.data.frames import column_names, frame_columns, is_frame, listed
from metamix.data.scalars import is_whole

__all__ = ["feature_names", "feature_values", "find_feature", "find_features", "replace_feature", "shuffle_feature"]


def feature_names(X: Any) -> list[str]:
    """Names (d,) of the columns; x0, x1, … where they have none.

    Examples
    --------
    >>> feature_names(np.ones((1, 2)))
    ['x0', 'x1']
    """
    names = column_names(X)
    if names is not None:
        return names
    if is_frame(X):  # names that are not text
        return [str(name) for name in X.columns]
    return [f"x{j}" for j in range(X.shape[1])]


def find_feature(names: list[str], asked: Any) -> int:
    """Position of a column that is given by name or number.

    Raises
    ------
    ValueError
        If there is no such column.

    Examples
    --------
    >>> find_feature(["size", "city"], "city"), find_feature(["size", "city"], -1)
    (1, 1)
    """
    if is_whole(asked, -len(names)) and asked < len(names):
        return int(asked) % len(names)
    if isinstance(asked, str) and asked in names:
        return names.index(asked)
    near = get_close_matches(str(asked), names, n=1)
    hint = f" did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"X has no column {asked!r};{hint} give a name or a position below {len(names)}: {listed(names)}.")


def find_features(columns: Any, X: Any) -> list[int]:
    """Positions of columns as scikit-learn's ColumnTransformer takes them.

    Parameters
    ----------
    columns : str, int, list of these, boolean mask, slice, or callable, such as `make_column_selector`
    X : array, sparse matrix or frame of shape (n, d)

    Raises
    ------
    ValueError
        For an unknown column, one that is given twice, a mask of another length, or no columns at all.

    Examples
    --------
    >>> import pandas as pd
    >>> X = pd.DataFrame({"size": [1.0], "rooms": [2], "city": ["Rome"]})
    >>> find_features(["city", "size"], X), find_features(slice("size", "rooms"), X), find_features(-1, X)
    ([2, 0], [0, 1], [2])
    >>> find_features(["town"], X)
    Traceback (most recent call last):
    ...
    ValueError: X has no column 'town'; give a name or a position below 3: size, rooms, city.
    """
    columns = columns(X) if callable(columns) else columns
    names = feature_names(X)
    if isinstance(columns, slice):
        found = _of_slice(columns, names)
    elif isinstance(columns, str | int | np.integer) and not isinstance(columns, bool):
        found = [find_feature(names, columns)]
    else:
        if isinstance(columns, Set | Mapping) or not isinstance(columns, Iterable):
            raise ValueError("give a list of names or positions, a boolean mask, a slice or a callable.")
        listed_columns = list(columns)
        if listed_columns and all(isinstance(one, bool | np.bool_) for one in listed_columns):
            if len(listed_columns) != len(names):
                raise ValueError(f"the mask has {len(listed_columns)} values, X has {len(names)} columns.")
            found = np.flatnonzero(listed_columns).tolist()
        else:
            found = [find_feature(names, one) for one in listed_columns]
    if not found:
        raise ValueError("these are no columns; name at least one.")
    if len(set(found)) < len(found):
        twice = next(j for j in found if found.count(j) > 1)
        raise ValueError(f"column {names[twice]!r} is given twice; name each once.")
    return found


def _of_slice(columns: slice, names: list[str]) -> list[int]:
    """Positions of a slice of positions, or of names, whose end is included."""
    start, stop = columns.start, columns.stop
    if isinstance(start, str) or isinstance(stop, str):
        start = None if start is None else find_feature(names, start)
        stop = None if stop is None else find_feature(names, stop) + 1
    return list(range(len(names)))[slice(start, stop, columns.step)]


def feature_values(X: Any, j: int) -> Any:
    """Values (n,) of one column: an array, or a series of the frame's library.

    Examples
    --------
    >>> feature_values(np.array([[1.0, 2.0]]), 1)
    array([2.])
    """
    if is_frame(X):
        return frame_columns(X)[j]
    if sparse.issparse(X):
        return X[:, [j]].toarray()[:, 0]
    return np.asarray(X)[:, j]


def shuffle_feature(X: Any, j: int, order: NDArray[np.intp]) -> Any:
    """A copy of X with the values of one column in another order (n,); of any type.

    Examples
    --------
    >>> shuffle_feature(np.array([[1, "a"], [2, "b"]], dtype=object), 1, np.array([1, 0])).tolist()
    [[1, 'b'], [2, 'a']]
    """
    if is_pandas(X):
        X = X.copy()
        X.isetitem(j, X.iloc[order, j].array)  # a series would be brought back into order by its index
        return X
    if is_frame(X):
        import narwhals as nw

        frame = nw.from_native(X, eager_only=True)
        return frame.with_columns(frame[frame.columns[j]][order]).to_native()
    return replace_feature(X, j, feature_values(X, j)[order])


def replace_feature(X: Any, j: int, values: Any) -> Any:
    """A copy of X with other values (n,) in one column: an array, or of a frame a series of its library.

    Examples
    --------
    >>> replace_feature(np.array([[1, 2], [3, 4]]), 0, np.array([0.5, 0.7]))
    array([[0.5, 2. ],
           [0.7, 4. ]])
    """
    if is_pandas(X):
        X = X.copy()
        X.isetitem(j, values.array if is_pandas(values, "Series") else values)  # a series would be aligned
        return X
    if is_frame(X):
        import narwhals as nw

        frame = nw.from_native(X, eager_only=True)
        name = frame.columns[j]
        if isinstance(values, np.ndarray):
            new = nw.new_series(name, values, backend=frame.implementation)
        else:
            new = nw.from_native(values, series_only=True).alias(name)
        return frame.with_columns(new).to_native()
    if sparse.issparse(X):
        X = X.tolil(copy=True)
        X[:, j] = values[:, None]
        return X.tocsr()
    kinds = [X.dtype] if X.dtype == object else [X.dtype, values.dtype]
    X = X.astype(np.result_type(*kinds))
    X[:, j] = values
    return X
