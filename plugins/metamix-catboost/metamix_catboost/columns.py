"""Conversion of columns to CatBoost's format: numbers with NaN, and categories as strings."""

from __future__ import annotations

from typing import Any

import catboost
import numpy as np
import pandas as pd
from scipy import sparse

__all__ = ["NativeColumns"]

MISSING = "(missing)"


class NativeColumns:
    """Stores which columns are categorical, and converts rows to pools of CatBoost.

    Booleans become 0 and 1, dates become seconds (NaN if missing); strings and categories are categorical, with
    missing values as a category of their own.

    Examples
    --------
    >>> import pandas as pd
    >>> columns = NativeColumns().fit(pd.DataFrame({"size": [1.0, 2.0], "city": ["Rome", None]}))
    >>> columns.categories
    [1]
    """

    def fit(self, X: Any) -> NativeColumns:
        """Determine the kinds of the columns of X (n, d), and remember their names if they have any."""
        self.names: list[Any] | None = None
        if sparse.issparse(X):
            self.categories: list[int] = []
            self.n_features = X.shape[1]
            return self
        frame = _frame(X)
        self.n_features = frame.shape[1]
        self.categories = [j for j in range(self.n_features) if _is_category(frame.iloc[:, j])]
        self.names = list(frame.columns) if _has_names(X) else None
        return self

    def pool(self, X: Any, y: Any = None, sample_weight: Any = None) -> catboost.Pool:
        """Convert X (n, d), and labels and weights if given, to a pool of CatBoost.

        Raises
        ------
        ValueError
            If X has other columns than in training. Columns in another order are put into that of training.
        """
        if sparse.issparse(X):
            return catboost.Pool(X.tocsr().astype(np.float32), label=y, weight=sample_weight)
        frame = _frame(X)
        if frame.shape[1] != self.n_features:
            raise ValueError(f"X has {frame.shape[1]} columns; in training it had {self.n_features}.")
        if self.names is not None and _has_names(X) and list(frame.columns) != self.names:
            lost = [name for name in self.names if name not in frame.columns]
            if lost:
                raise ValueError(f"X lacks the column {lost[0]!r}, which it had in training.")
            frame = frame[self.names]
        ready = {
            j: _as_text(frame.iloc[:, j]) if j in self.categories else _as_number(frame.iloc[:, j])
            for j in range(self.n_features)
        }
        return catboost.Pool(pd.DataFrame(ready), label=y, weight=sample_weight, cat_features=self.categories)


def _has_names(X: Any) -> bool:
    return isinstance(X, pd.DataFrame) or hasattr(X, "to_pandas")


def _frame(X: Any) -> pd.DataFrame:
    if isinstance(X, pd.DataFrame):
        return X
    if hasattr(X, "to_pandas"):  # polars, pyarrow
        return X.to_pandas()
    frame = pd.DataFrame(X if hasattr(X, "dtype") else np.asarray(X, dtype=object))
    return frame.infer_objects()


def _is_category(column: pd.Series) -> bool:
    kinds = pd.api.types
    if kinds.is_bool_dtype(column) or kinds.is_numeric_dtype(column):
        return False
    if kinds.is_datetime64_any_dtype(column) or kinds.is_timedelta64_dtype(column):
        return False
    known = column.dropna()
    if kinds.is_object_dtype(column) and not known.map(lambda value: isinstance(value, str)).any():
        try:
            known.astype(np.float64)  # numbers or booleans of dtype object, because some are missing
        except (TypeError, ValueError):
            return True
        return False
    return True


def _as_text(column: pd.Series) -> Any:
    text = column.astype(object)
    return text.where(text.notna(), MISSING).astype(str).to_numpy(dtype=object)


def _as_number(column: pd.Series) -> Any:
    if pd.api.types.is_datetime64_any_dtype(column):
        if column.dt.tz is not None:
            column = column.dt.tz_convert(None)
        epoch = pd.Timestamp(0)
        return ((column - epoch) / pd.Timedelta(seconds=1)).to_numpy(dtype=np.float64)
    if pd.api.types.is_timedelta64_dtype(column):
        return (column / pd.Timedelta(seconds=1)).to_numpy(dtype=np.float64)
    return pd.to_numeric(column, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
