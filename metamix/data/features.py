"""Single columns of a table of any kind: their names, their values, and other values in their place."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from metamix.data.cells import is_pandas
from metamix.data.frames import column_names, frame_columns, is_frame, listed
from metamix.data.scalars import is_whole

__all__ = ["feature_names", "feature_values", "find_feature", "replace_feature", "shuffle_feature"]


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


def replace_feature(X: Any, j: int, values: NDArray[Any]) -> Any:
    """A copy of X with other values (n,) in one column.

    Examples
    --------
    >>> replace_feature(np.array([[1, 2], [3, 4]]), 0, np.array([0.5, 0.7]))
    array([[0.5, 2. ],
           [0.7, 4. ]])
    """
    if is_pandas(X):
        X = X.copy()
        X.isetitem(j, values)
        return X
    if is_frame(X):
        import narwhals as nw

        frame = nw.from_native(X, eager_only=True)
        name = frame.columns[j]
        return frame.with_columns(nw.new_series(name, values, backend=frame.implementation)).to_native()
    if sparse.issparse(X):
        X = X.tolil(copy=True)
        X[:, j] = values[:, None]
        return X.tocsr()
    kinds = [X.dtype] if X.dtype == object else [X.dtype, values.dtype]
    X = X.astype(np.result_type(*kinds))
    X[:, j] = values
    return X
