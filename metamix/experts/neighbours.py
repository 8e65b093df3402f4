"""Nearest neighbours where there are fewer rows than neighbours, as in a small regime: all rows are neighbours then."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

__all__ = ["NeighboursClassifier", "NeighboursRegressor"]


class NeighboursRegressor(KNeighborsRegressor):
    """`KNeighborsRegressor` that takes all rows for neighbours where there are fewer than `n_neighbors`.

    `X_fit_` and `y_fit_` are what it was fitted to.

    Examples
    --------
    >>> NeighboursRegressor(5).fit([[0.0], [1.0]], [4.0, 6.0]).predict([[0.2]])
    array([5.])
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Fit to X (n, d) and y (n,) or (n, T)."""
        super().fit(X, y)
        self.X_fit_, self.y_fit_ = X, y
        self.few_ = _with_all_rows(self, X, y)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the rows of X (n, d): (n,) or (n, T)."""
        return np.asarray(super().predict(X) if self.few_ is None else self.few_.predict(X))


class NeighboursClassifier(KNeighborsClassifier):
    """`KNeighborsClassifier` that takes all rows for neighbours where there are fewer than `n_neighbors`.

    `X_fit_` and `y_fit_` are what it was fitted to.

    Examples
    --------
    >>> NeighboursClassifier(5).fit([[0.0], [1.0]], ["no", "yes"]).predict_proba([[0.2]])
    array([[0.5, 0.5]])
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Fit to X (n, d) and labels y (n,) or (n, L)."""
        super().fit(X, y)
        self.X_fit_, self.y_fit_ = X, y
        self.few_ = _with_all_rows(self, X, y)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the labels (n,) or (n, L) of the rows of X (n, d)."""
        return np.asarray(super().predict(X) if self.few_ is None else self.few_.predict(X))

    def predict_proba(self, X: Any) -> Any:
        """Predict probabilities (n, C), in the order of `classes_`; of several labels, a list of such arrays."""
        return super().predict_proba(X) if self.few_ is None else self.few_.predict_proba(X)


def _with_all_rows(model: Any, X: Any, y: Any) -> Any:
    """A fitted clone with as many neighbours as there are rows; None where these suffice."""
    if model.n_neighbors <= model.n_samples_fit_:
        return None
    return clone(model).set_params(n_neighbors=model.n_samples_fit_).fit(X, y)
