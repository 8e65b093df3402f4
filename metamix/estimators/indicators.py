"""Several labels for each row: y as zeros and ones (n, L), and the names of the labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from metamix.data.cells import is_missing
from metamix.data.frames import column_names, frame_columns, is_frame, listed
from metamix.data.vectors import check_mask, check_present

__all__ = ["check_indicators", "check_known_indicators", "has_several_labels"]


def has_several_labels(y: Any) -> bool:
    """Whether y has several columns, a label each.

    Examples
    --------
    >>> has_several_labels([[0, 1], [1, 1]]), has_several_labels([0, 1])
    (True, False)
    """
    shape = y.shape if sparse.issparse(y) or is_frame(y) else np.asarray(y, dtype=object).shape
    return len(shape) == 2 and shape[1] > 1


def check_indicators(estimator: Any, y: Any) -> tuple[list[Any], NDArray[np.intp]]:
    """Names of L labels, those of the columns of a frame or else numbers; and zeros and ones (n, L).

    A label may have the same value in all rows, as long as there is another that has not.

    Parameters
    ----------
    estimator : estimator
        Named where y is missing.
    y : array-like, sparse matrix or data frame of shape (n, L)

    Raises
    ------
    ValueError
        If there are no rows, missing values, or others than 0 and 1; or all labels have the same value in all rows.

    Examples
    --------
    >>> names, zeros_and_ones = check_indicators(None, [[False, True], [True, True]])
    >>> names, zeros_and_ones.tolist()
    ([0, 1], [[0, 1], [1, 1]])
    """
    check_present(estimator, y)
    check_mask(y, "y")
    names: list[Any] | None = column_names(y)
    given = _as_array(y)
    if not len(given):
        raise ValueError(f"Found array with 0 sample(s) (shape={given.shape}) in y, while a minimum of 1 is required.")
    _check_values(given)
    found = given.astype(np.intp)
    if not np.ptp(found, axis=0).any():
        raise ValueError("each label of y has the same value in all rows; a classifier needs rows to tell apart.")
    return list(range(found.shape[1])) if names is None else names, found


def _as_array(y: Any) -> NDArray[Any]:
    if is_frame(y):
        return np.column_stack([np.asarray(column) for column in frame_columns(y)])
    return np.asarray(y.toarray() if sparse.issparse(y) else y)


def _check_values(given: NDArray[Any]) -> None:
    """ValueError where a value is neither 0 nor 1."""
    if given.dtype.kind in "biuf" and ((given == 0) | (given == 1)).all():
        return
    cells = given.ravel().tolist()
    missing = sum(is_missing(cell) for cell in cells)
    if missing:
        raise ValueError(f"y is missing in {missing} of {len(cells)} places; give 0 or 1 there, or drop those rows.")
    odd = [cell for cell in cells if isinstance(cell, str | bytes) or cell not in (0, 1)]
    if odd:
        raise ValueError(
            f"y has shape {given.shape}, {given.shape[1]} labels for each row, and values other than 0 and 1, such as "
            f"{odd[0]!r}. Give each label a column of 0 and 1; columns of classes are fitted one by one: "
            "sklearn.multioutput.MultiOutputClassifier(mixture).fit(X, y)."
        )


def check_known_indicators(estimator: Any, y: Any, names: list[Any]) -> NDArray[np.intp]:
    """Zeros and ones (n, L) of new rows.

    Parameters
    ----------
    estimator : estimator
        Named where y is missing.
    y : array-like, sparse matrix or data frame of shape (n, L)
    names : list of L names
        As they were in fit.

    Raises
    ------
    ValueError
        If the labels are others or in another order, or values are neither 0 nor 1.

    Examples
    --------
    >>> check_known_indicators(None, [[0, 1]], ["red", "round"])
    array([[0, 1]])
    """
    check_present(estimator, y)
    check_mask(y, "y")
    known = listed([str(name) for name in names])
    own = column_names(y)
    if own is not None and own != names and not isinstance(names[0], int):
        raise ValueError(
            f"y has the columns {listed(own)}, and the mixture was fitted on {known}; give these in order."
        )
    given = _as_array(y)
    if given.ndim != 2 or given.shape[1] != len(names):
        raise ValueError(f"y has shape {given.shape}, and the mixture was fitted on {len(names)} labels ({known}).")
    _check_values(given)
    return given.astype(np.intp)
