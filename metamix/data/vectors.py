"""Columns that come beside X: labels, weights and groups, checked before they become arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.cells import is_missing

__all__ = ["as_groups", "as_weights", "check_labels", "check_mask", "check_present"]


def check_present(estimator: Any, y: Any) -> None:
    """ValueError where y is None, in the words of scikit-learn.

    Examples
    --------
    >>> check_present(None, None)
    Traceback (most recent call last):
    ...
    ValueError: This NoneType estimator requires y to be passed, but the target y is None.
    """
    if y is None:
        name = type(estimator).__name__
        raise ValueError(f"This {name} estimator requires y to be passed, but the target y is None.")


def check_mask(values: Any, what: str) -> None:
    """ValueError where values of a masked array are masked, since what is behind a mask is no value.

    Examples
    --------
    >>> check_mask(np.ma.masked_array([1.0, 2.0], mask=[False, True]), "y")
    Traceback (most recent call last):
    ...
    ValueError: y is a masked array with 1 masked value; fill it first, for example with y.filled(numpy.nan), or leave \
out those rows.
    """
    if isinstance(values, np.ma.MaskedArray) and (hidden := int(np.ma.getmaskarray(values).sum())):
        raise ValueError(
            f"{what} is a masked array with {hidden} masked value{'s' if hidden > 1 else ''}; fill it first, for "
            f"example with {what}.filled(numpy.nan), or leave out those rows."
        )


def check_labels(y: Any) -> None:
    """ValueError where some labels are text and others are not: as an array all would become text without a word.

    Examples
    --------
    >>> check_labels([1, "b"])
    Traceback (most recent call last):
    ...
    ValueError: y has labels of different types, such as 'b' and 1; give labels of one type, for example all as text.
    """
    if isinstance(y, list | tuple):
        cells: Any = y
    elif str(getattr(y, "dtype", "")) == "object" and getattr(y, "ndim", 0) == 1:
        cells = np.asarray(y).tolist()
    else:
        return
    present = [cell for cell in cells if not is_missing(cell)]
    text = next((cell for cell in present if isinstance(cell, str | bytes)), None)
    other = next((cell for cell in present if not isinstance(cell, str | bytes)), None)
    if text is not None and other is not None:
        raise ValueError(
            f"y has labels of different types, such as {text!r} and {other!r}; give labels of one type, for example "
            "all as text."
        )


def as_weights(sample_weight: Any, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Sample weights as an array of a shape; one number weighs every row alike.

    Parameters
    ----------
    sample_weight : number or array-like
    shape : tuple of int
        The shape expected, (n,), or (n, T) for weights of each task.

    Raises
    ------
    ValueError
        If they are not numbers, have another shape, are negative or not finite, or all are zero.

    Examples
    --------
    >>> as_weights([1, 2], (2,))
    array([1., 2.])
    """
    check_mask(sample_weight, "sample_weight")
    try:
        weight = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sample_weight is not numbers ({error}); give one number per row, {shape}.") from error
    if weight.ndim == 0:
        weight = np.full(shape, float(weight))
    if weight.shape != shape:
        raise ValueError(
            f"sample_weight has shape {weight.shape}, X has {shape[0]} rows; give one weight per row, {shape}."
        )
    if not np.isfinite(weight).all() or (weight < 0).any() or not weight.any():
        raise ValueError("sample_weight must be finite and not negative, and not zero everywhere.")
    return weight


def as_groups(groups: Any, n: int) -> NDArray[Any]:
    """Groups as an array (n,).

    Raises
    ------
    ValueError
        If they are no single column, have another length, or some are missing.

    Examples
    --------
    >>> as_groups(["a", "b"], 2)
    array(['a', 'b'], dtype='<U1')
    """
    check_mask(groups, "groups")
    found = np.asarray(groups)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1 or len(found) != n:
        raise ValueError(f"groups has shape {found.shape}, X has {n} rows; give one group per row, ({n},).")
    gaps = int(np.sum([is_missing(one) for one in found.tolist()])) if found.dtype.kind in "fOMm" else 0
    if gaps:
        raise ValueError(
            f"groups is missing in {gaps} of {n} rows; give those rows a group, for example one of their own each."
        )
    try:
        np.unique(found)
    except TypeError as error:
        raise ValueError(f"groups cannot be told apart ({error}); give labels of one type, as text.") from error
    return found
