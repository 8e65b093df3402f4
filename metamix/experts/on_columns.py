"""An expert that sees some columns of X: which ones, found in the X of fit, and taken out of every X."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from metamix.data.features import feature_names, find_features
from metamix.data.frames import is_frame, listed, take_columns

__all__ = ["ColumnSelection", "OnColumns", "on_columns", "with_positions"]


class ColumnSelection(TransformerMixin, BaseEstimator, auto_wrap_output_keys=None):  # type: ignore[call-arg]
    """Some columns of X; frames stay frames of their library, sparse matrices stay sparse.

    Parameters
    ----------
    columns : str, int, list of these, boolean mask, slice, or callable, such as `make_column_selector`
        As in scikit-learn's ColumnTransformer.

    Attributes
    ----------
    positions_ : list of int

    Examples
    --------
    >>> ColumnSelection([2, 0]).fit_transform(np.array([[1.0, 2.0, 3.0]]))
    array([[3., 1.]])
    """

    def __init__(self, columns: Any) -> None:
        self.columns = columns

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the columns in X (n, d)."""
        self.positions_ = find_features(self.columns, X)
        self.n_features_in_ = X.shape[1]
        self.names_ = feature_names(X)
        return self

    def transform(self, X: Any) -> Any:
        """The columns (n, m) of X (n, d)."""
        check_is_fitted(self)
        return take_columns(X, self.positions_)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """Names (m,) of the columns; those of fit, or of `input_features` (d,)."""
        check_is_fitted(self)
        names = self.names_ if input_features is None else list(input_features)
        return np.array([names[j] for j in self.positions_], dtype=object)

    def jacobian(self, X: Any) -> NDArray[np.float64]:
        """Jacobian (n, m, d) of the columns with respect to x."""
        check_is_fitted(self)
        n, d = X.shape
        return np.broadcast_to(np.eye(d)[self.positions_], (n, len(self.positions_), d))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        for kind in ("sparse", "allow_nan", "string", "categorical"):  # of columns that the expert does not see
            setattr(tags.input_tags, kind, True)
        return tags


class OnColumns(Pipeline):
    """A pipeline of a `ColumnSelection` and an expert of any library.

    scikit-learn's pipeline asks its last step whether it is fitted, which experts of other libraries need not know.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> line = on_columns(LinearRegression(), [1]).fit(np.array([[7.0, 0.0], [3.0, 1.0]]), [1.0, 3.0])
    >>> line.predict(np.array([[5.0, 2.0]])).round(6)
    array([5.])
    """

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self.steps[0][1], "positions_")


def on_columns(expert: Any, columns: Any) -> OnColumns:
    """An expert that sees these columns alone."""
    return OnColumns([("columns", ColumnSelection(columns)), ("expert", expert)])


def with_positions(named: Sequence[tuple[str, Any]], given: Any, X: Any) -> list[tuple[str, Any]]:
    """Named experts whose columns are positions in X.

    Parameters
    ----------
    named : sequence of (str, estimator)
        Of which those of `on_columns` have columns.
    given : array, sparse matrix or frame of shape (n, d')
        As the user gave it: what names, positions, masks and slices refer to.
    X : array, sparse matrix or frame of shape (n, d)
        As experts see it, without the columns that were left out of a frame; callables are called with it.

    Raises
    ------
    ValueError
        For columns that do not exist or were left out, and where there are none.

    Examples
    --------
    >>> X = np.ones((2, 3))
    >>> with_positions([("near", on_columns("an expert", slice(1, None)))], X, X)[0][1].steps[0]
    ('columns', ColumnSelection(columns=[1, 2]))
    """
    found = []
    for name, expert in named:
        if isinstance(expert, OnColumns):
            selection = expert.steps[0][1]
            try:
                positions = _positions_in(selection.columns, given, X)
            except ValueError as error:
                raise ValueError(f"expert {name!r} is to see columns={selection.columns!r}: {error}") from error
            expert = on_columns(expert.steps[1][1], positions)
        found.append((name, expert))
    return found


def _positions_in(columns: Any, given: Any, X: Any) -> list[int]:
    if callable(columns) or not is_frame(X):
        return find_features(columns, X)
    known, names = feature_names(given), feature_names(X)
    asked = [known[j] for j in find_features(columns, given)]
    absent = [name for name in asked if name not in names]
    if absent:
        raise ValueError(
            f"{listed([repr(name) for name in absent])} was left out when the table was read; "
            f"the parameter columns={{{absent[0]!r}: kind}} keeps it."
        )
    return [names.index(name) for name in asked]
