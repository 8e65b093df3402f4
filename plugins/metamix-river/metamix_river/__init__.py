"""Models of river (Montiel et al. 2021), which learn from one row after the other, as experts of metamix."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from river.forest import AMFClassifier, AMFRegressor
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

__all__ = ["RiverClassifier", "RiverRegressor", "classifier", "regressor"]


class RiverRegressor(RegressorMixin, BaseEstimator):
    """A regressor of river: `fit` takes the rows once, in their order; `partial_fit` continues.

    Parameters
    ----------
    model : river regressor, or None
        Copied; by default an aggregated Mondrian forest (Mourtada, Gaïffas & Scornet 2021).
    random_state : int or None
        Of the forest.
    """

    #: A mixture lets it learn itself, not a copy: copying a forest takes many times as long as a batch. It checks all
    #: rows before it learns from the first.
    learns_in_place = True
    _forest = AMFRegressor

    def __init__(self, model: Any = None, random_state: int | None = None) -> None:
        self.model, self.random_state = model, random_state

    def fit(self, X: Any, y: Any) -> Any:
        """Learn from X (n, d) and y (n,) alone."""
        self.__dict__.pop("model_", None)
        return self.partial_fit(X, y)

    def partial_fit(self, X: Any, y: Any) -> Any:
        """Learn from X (n, d) and y (n,) too."""
        X, y = validate_data(self, X, y, reset=not hasattr(self, "model_"), dtype=np.float64)
        if not hasattr(self, "model_"):
            given = self.model is not None  # models of river may have a length of zero
            self.model_ = copy.deepcopy(self.model) if given else self._forest(seed=self.random_state)
        for x, target in zip(X.tolist(), y.tolist(), strict=True):
            self.model_.learn_one(dict(enumerate(x)), target)
        return self

    def predict(self, X: Any) -> Any:
        """Predictions (n,)."""
        return np.array([self.model_.predict_one(x) for x in self._rows(X)])

    def _rows(self, X: Any) -> list[dict[int, float]]:
        check_is_fitted(self, "model_")
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return [dict(enumerate(x)) for x in X.tolist()]


class RiverClassifier(ClassifierMixin, RiverRegressor):
    """A classifier of river, as `RiverRegressor`."""

    _forest = AMFClassifier

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> Any:
        """Learn from X (n, d) and y (n,) too; `classes` are all that may come, by default those of the first y."""
        if not hasattr(self, "model_"):
            self.classes_ = np.unique(y if classes is None else classes)
        y = np.asarray(y)
        unknown = np.setdiff1d(y, self.classes_)
        if len(unknown):
            raise ValueError(
                f"y has the classes {unknown.tolist()!r}, which are not among {self.classes_.tolist()!r}; pass all "
                "that may come as classes to the first call of partial_fit."
            )
        return super().partial_fit(X, np.searchsorted(self.classes_, y))

    def predict_proba(self, X: Any) -> Any:
        """Probabilities (n, C), equal ones where the model has none."""
        rows, classes = self._rows(X), range(len(self.classes_))
        given = [self.model_.predict_proba_one(x) for x in rows]
        table = np.array([[float(one.get(c, 0.0)) for c in classes] for one in given])
        total = table.sum(axis=1, keepdims=True)
        return np.divide(table, total, out=np.full(table.shape, 1 / len(classes)), where=total > 0)

    def predict(self, X: Any) -> Any:
        """The most probable class (n,)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


def regressor(**parameters: Any) -> Any:
    """A regressor of river on prepared columns; parameters are those of `RiverRegressor`.

    Examples
    --------
    >>> regressor().named_steps["model"].regressor
    RiverRegressor()
    """
    from metamix.experts import prepared_pipeline

    return prepared_pipeline(RiverRegressor(**parameters))


def classifier(**parameters: Any) -> Any:
    """A classifier of river on prepared columns; parameters are those of `RiverClassifier`.

    Examples
    --------
    >>> classifier().named_steps["model"]
    RiverClassifier()
    """
    from metamix.experts import prepared_pipeline

    return prepared_pipeline(RiverClassifier(**parameters))
