"""Columns that predict the target so well alone that they may not be known beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import cross_val_predict
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix.data.category_means import CategoryMeans
from metamix.data.cells import codes_of, column_kind, date_part, dates_of, numbers_of
from metamix.data.frames import frame_columns, is_frame

__all__ = ["suspicious_columns"]

#: A column alone is suspicious if a tree that sees it only explains so much of the target out of fold.
SHARE = 0.98
#: Leaves of that tree at most, and rows that it is fitted to.
LEAVES, MOST_ROWS = 64, 5_000
#: With fewer rows, or fewer other columns, nothing is said.
FEWEST_ROWS, FEWEST_COLUMNS = 50, 2


def suspicious_columns(X: Any, y: NDArray[Any], *, classes: bool) -> list[str]:
    """Sentences about columns that explain nearly all of the target alone, or equal it some rows further on.

    Parameters
    ----------
    X : data frame of shape (n, d)
        Cleaned. Columns of arrays have no names that anybody could look up, and nothing is said of them.
    y : ndarray of shape (n,)
    classes : bool
        Whether y holds classes.

    Returns
    -------
    list of str
        Empty for few rows or columns.

    Examples
    --------
    >>> import pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> X = pd.DataFrame(rng.normal(size=(200, 3)), columns=["a", "b", "c"])
    >>> suspicious_columns(X.assign(booking=np.arange(200.0)), np.arange(200.0) ** 2, classes=False)
    ["Column 'booking' alone explains 100 % of the target: is it known beforehand?"]
    """
    columns = frame_columns(X) if is_frame(X) else []
    if len(y) < FEWEST_ROWS or len(columns) < FEWEST_COLUMNS:
        return []
    target: NDArray[Any] = np.unique(y, return_inverse=True)[1] if classes else np.asarray(y, dtype=np.float64)
    found = []
    for column in columns:
        words = column_kind(column) in ("text", "category")
        values = _as_numbers(column)
        if values is None or not np.isfinite(values).any():
            continue
        shift = None if classes or words else _shift(values, target)
        if shift is not None:
            after = "before" if shift > 0 else "after"
            rows = f"{abs(shift)} row{'s' if abs(shift) > 1 else ''} {after}"
            found.append(f"Column {str(column.name)!r} equals the target of {rows}: is it known beforehand?")
            continue
        share = _explained(values, target, classes, words=words)
        if share >= SHARE:
            percent = f"{100 * share:.0f} %"
            found.append(f"Column {str(column.name)!r} alone explains {percent} of the target: is it known beforehand?")
    return found


def _as_numbers(column: Any) -> NDArray[np.float64] | None:
    kind = column_kind(column)
    if kind in ("number", "boolean", "duration"):
        return numbers_of(column)
    if kind == "date":
        return date_part(dates_of(column), "seconds")
    return codes_of(column)[0].astype(np.float64) if kind in ("text", "category") else None


def _shift(values: NDArray[np.float64], y: NDArray[np.float64]) -> int | None:
    """By how many rows, at most two, a column is the target."""
    for shift in (1, -1, 2, -2):
        one, other = (values[shift:], y[:-shift]) if shift > 0 else (values[:shift], y[-shift:])
        if len(np.unique(y)) > len(y) / 2 and np.mean(one == other) >= SHARE:
            return shift
    return None


def _explained(values: NDArray[np.float64], y: NDArray[Any], classes: bool, *, words: bool = False) -> float:
    """Share of the variance, or of what the commonest class gets wrong, that a tree explains out of fold.

    Codes of words have no order: the means of y for each word take the place of the tree.
    """
    rows = np.random.default_rng(0).permutation(len(y))[:MOST_ROWS]
    x, y = values[rows, None], y[rows]
    if classes:
        if np.bincount(y).min() < 2:
            return 0.0
        tree: Any = DecisionTreeClassifier(max_leaf_nodes=LEAVES, random_state=0)
        predicted = _classes_by_word(x, y) if words else cross_val_predict(tree, x, y, cv=2)
        return float(1 - np.mean(predicted != y) / max(1 - np.bincount(y).max() / len(y), 1e-12))
    if np.ptp(y) == 0:
        return 0.0
    tree = DecisionTreeRegressor(max_leaf_nodes=LEAVES, random_state=0)
    predicted = _means_by_word(x, y, False)[:, 0] if words else cross_val_predict(tree, x, y, cv=2)
    return float(1 - np.mean((predicted - y) ** 2) / np.var(y))


def _means_by_word(x: NDArray[np.float64], y: NDArray[Any], classes: bool) -> NDArray[np.float64]:
    return CategoryMeans(classes).fit_transform(x[:, 0].astype(np.intp), y)


def _classes_by_word(x: NDArray[np.float64], y: NDArray[Any]) -> NDArray[np.intp]:
    shares = _means_by_word(x, y, True)
    return np.asarray((shares[:, 0] > 0.5).astype(int) if shares.shape[1] == 1 else shares.argmax(axis=1))
