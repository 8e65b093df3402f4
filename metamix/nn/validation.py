"""Validation of tables, targets and weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils import assert_all_finite, check_array, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from metamix.data.frames import array_of_lists, check_size, is_frame
from metamix.data.vectors import as_weights, check_labels, check_mask, check_present

Array = NDArray[np.float64]


def check_table(estimator: Any, X: Any, *, reset: bool) -> Any:
    """Validate X for the encoder: frames unchanged, arrays checked, missing values allowed.

    Raises
    ------
    ValueError
        If X is sparse, not two-dimensional, empty, has infinite values, or other columns than in fit.

    Examples
    --------
    >>> from sklearn.base import BaseEstimator
    >>> check_table(BaseEstimator(), [[1.0, float("nan")]], reset=True)
    array([[ 1., nan]])
    """
    check_mask(X, "X")
    if isinstance(X, list | tuple):
        X = array_of_lists(X)
    if isinstance(X, np.ndarray) and X.dtype.kind in "US":
        X = X.astype(object)
    if is_frame(X) or (isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype == object and not _numeric(X)):
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        check_size(estimator, X)
        return X
    return validate_data(estimator, X, reset=reset, accept_sparse=False, ensure_all_finite="allow-nan", dtype="numeric")


def check_numbers(estimator: Any, y: Any, n: int) -> Array:
    """Validate the target (n,) of a regression.

    Raises
    ------
    ValueError
        If y is missing, not n numbers, or has NaN or infinite values.

    Examples
    --------
    >>> check_numbers(None, [1, 2], 2)
    array([1., 2.])
    """
    y = column_or_1d(_check_present(estimator, y), warn=True)
    if y.dtype.kind in "OUST":
        y = check_array(y, ensure_2d=False, dtype=np.float64, ensure_all_finite=False, input_name="y")
    assert_all_finite(y, input_name="y")
    return np.asarray(_of_length(y, n), dtype=np.float64)


def check_classes(estimator: Any, y: Any, n: int) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Classes (C,) and codes (n,) of a classification target.

    Raises
    ------
    ValueError
        If y is missing, continuous, not n labels, has missing labels, or has a single class.

    Examples
    --------
    >>> check_classes(None, ["b", "a"], 2)
    (array(['a', 'b'], dtype='<U1'), array([1, 0]))
    """
    check_labels(y)
    y = column_or_1d(_check_present(estimator, y), warn=True)
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y")
    elif is_missing(y).any():
        raise ValueError("y has missing labels (None or NaN); remove those rows or assign a class to them.")
    check_classification_targets(y)
    classes, codes = np.unique(_of_length(y, n), return_inverse=True)
    if len(classes) == 1:
        only = classes[:1].tolist()[0]
        raise ValueError(f"y has one class only, {only!r}; a classifier needs at least two.")
    return classes, codes


def is_missing(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Mask of labels that are NaN, None, pandas.NA or NaT.

    Examples
    --------
    >>> is_missing(np.array([1.0, np.nan])).tolist()
    [False, True]
    """
    import pandas as pd

    return np.asarray(pd.isna(labels), dtype=bool)


def units_of(y: Array, weight: Array) -> tuple[float, float]:
    """Weighted mean and standard deviation of y (n,).

    For a constant y the scale is 1e-6 times its absolute value, so that predictions stay close to it.

    Examples
    --------
    >>> units_of(np.array([1.0, 3.0]), np.ones(2)), units_of(np.array([4.0, 4.0]), np.ones(2))
    ((2.0, 1.0), (4.0, 4e-06))
    """
    if y.min() == y.max():
        return float(y[0]), 1e-6 * (abs(float(y[0])) or 1.0)
    mean = float(np.average(y, weights=weight))
    deviation = np.abs(y - mean)
    largest = float(deviation.max())
    # Relative to the largest deviation, so that squares do not overflow or underflow.
    spread = largest * float(np.sqrt(np.average((deviation / largest) ** 2, weights=weight))) if largest > 0 else 0.0
    return mean, spread if spread > 1e-12 * abs(mean) else 1e-6 * (abs(mean) or 1.0)


def codes_of_known(y: Any, classes: NDArray[Any], n: int, what: str = "y") -> NDArray[np.intp]:
    """Codes (n,) of labels seen in fit.

    Raises
    ------
    ValueError
        If a label was not seen in fit.

    Examples
    --------
    >>> codes_of_known(["b", "a"], np.array(["a", "b"]), 2)
    array([1, 0])
    """
    labels = _of_length(np.asarray(column_or_1d(y)), n)
    known = {label: code for code, label in enumerate(classes.tolist())}
    unknown = [label for label in labels.tolist() if label not in known]
    if unknown:
        raise ValueError(f"{what} has the label {unknown[0]!r}, which was not seen in fit; known: {list(known)}.")
    return np.array([known[label] for label in labels.tolist()], dtype=np.intp)


def check_weights(sample_weight: Any, shape: tuple[int, ...]) -> Array:
    """Validate row weights; None gives ones.

    Raises
    ------
    ValueError
        If the shape is wrong, a weight is negative or not finite, or all are zero.

    Examples
    --------
    >>> check_weights(None, (2,)), check_weights(3.0, (2,))
    (array([1., 1.]), array([3., 3.]))
    """
    if sample_weight is None:
        return np.ones(shape)
    return as_weights(sample_weight, shape)


def _check_present(estimator: Any, y: Any) -> Any:
    check_present(estimator, y)
    check_mask(y, "y")
    if sparse.issparse(y):
        raise ValueError("y is sparse; give a dense array, for example y.toarray().ravel().")
    return y


def _of_length(y: NDArray[Any], n: int) -> NDArray[Any]:
    if len(y) != n:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: X has {n} rows, y has {len(y)}.")
    return y


def _numeric(X: NDArray[Any]) -> bool:
    try:
        X.astype(np.float64)
    except (ValueError, TypeError):
        return False
    return True
