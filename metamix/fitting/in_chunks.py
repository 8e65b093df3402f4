"""Fits that go on from chunk to chunk of the rows, for experts whose libraries can do so."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline

from metamix.data.tables import take_rows
from metamix.fitting.early_stopping import stops_early
from metamix.fitting.expert import systematic_sample
from metamix.fitting.fitted import FittedExpert

__all__ = ["ChunkwiseFit", "learns_in_chunks"]

Array = NDArray[np.float64]

#: Parameters by which a booster goes on from another, by the library of its class.
CONTINUED_FROM = {"xgboost": "xgb_model", "lightgbm": "init_model"}
#: Attributes in which a fitted wrapper keeps what it wraps, fitted to the same rows.
INNER = ("regressor_", "classifier_")


def learns_in_chunks(expert: Any) -> bool:
    """Whether a fitted expert can go on learning from further rows.

    These are boosters of XGBoost and LightGBM without early stopping, and what has `partial_fit`, in pipelines and
    under scaled targets and encoded labels too. What comes before the last step stays as it was fitted.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge, SGDRegressor
    >>> x, y = np.zeros((3, 1)), np.zeros(3)
    >>> [learns_in_chunks(FittedExpert("one", model.fit(x, y))) for model in (Ridge(), SGDRegressor())]
    [False, True]
    """
    return isinstance(expert, FittedExpert) and expert.n_targets is None and _last(expert.model) is not None


@dataclass
class ChunkwiseFit:
    """An expert that is fitted to one chunk of rows after the other.

    Trees are grown anew, on each chunk as many as its share of the rows, as stochastic gradient boosting draws rows for
    each tree. What has `partial_fit` goes on from where it was, with one pass over the rows.

    Parameters
    ----------
    expert : FittedExpert
        Fitted to a sample, for which `learns_in_chunks` holds.
    n_rows : int
        Of all chunks.

    References
    ----------
    Friedman (2002), Stochastic gradient boosting; Breiman (1999), Pasting small votes.
    """

    expert: FittedExpert
    n_rows: int
    _seen: int = 0
    _grown: int = 0
    _booster: Any = None

    @property
    def begins_anew(self) -> bool:
        """Whether nothing is kept of what was learned from the sample, which is then a chunk like others."""
        return _library(_last(self.expert.model)) is not None

    def learn(self, X: Any, y: NDArray[Any], weight: Array | None = None) -> None:
        """Go on with the next rows.

        Parameters
        ----------
        X : array, sparse matrix or frame of shape (n, d)
        y : ndarray of shape (n,)
            Codes of classes.
        weight : ndarray of shape (n,), optional
        """
        self._seen += len(y)
        model, rows = self.expert.model, np.arange(len(y))
        if weight is not None:
            rows = rows[weight > 0]
        if self.expert.n_classes is not None:
            y, known = _labels(self.expert, y)
            rows = rows[known[rows]]
        if not len(rows):
            return
        if len(rows) < len(y):
            X, y, weight = take_rows(X, rows), y[rows], None if weight is None else weight[rows]
        found = _with_last(model, X, y, lambda last, X, y: self._go_on(last, X, y, weight))
        self.expert = replace(self.expert, model=found)

    def _go_on(self, last: Any, X: Any, y: NDArray[Any], weight: Array | None) -> Any:
        library = _library(last)
        if library is None:
            return _partial_fit(last, X, y, weight, self._seen)
        given = last.get_params(deep=False)
        trees = round(given["n_estimators"] * self._seen / self.n_rows) - self._grown
        lacks_class = hasattr(last, "classes_") and len(np.unique(y)) < len(last.classes_)
        if trees < 1 or lacks_class:  # the next chunk makes up for it
            return last
        # Another seed for each chunk, or trees of all chunks would see the same columns.
        seed = given["random_state"]
        other = seed
        if isinstance(seed, Integral):
            other = int(np.random.default_rng([int(seed), self._seen]).integers(2**31))
        part = clone(last).set_params(n_estimators=trees, random_state=other)
        more = {} if weight is None else {"sample_weight": weight}
        if self._booster is not None:
            more[CONTINUED_FROM[library]] = self._booster
        # A copy of a booster of LightGBM is without the one that it went on from, which it keeps otherwise.
        self._booster = copy.deepcopy(part.fit(X, y, **more))
        self._grown += trees
        return copy.copy(self._booster).set_params(n_estimators=given["n_estimators"], random_state=seed)


def _last(model: Any) -> Any:
    """The fitted learner at the end of pipelines and wrappers; None if it cannot go on."""
    if isinstance(model, Pipeline):
        return _last(model.steps[-1][1])
    for name in INNER:
        if hasattr(model, name):
            handles = isinstance(model, TransformedTargetRegressor) or getattr(model, "hands_rows_on", False)
            return _last(getattr(model, name)) if handles else None
    library = _library(model)
    if library is not None:
        usable = not stops_early(model) and getattr(model, "n_estimators", None) is not None
        return model if usable and CONTINUED_FROM[library] in inspect.signature(model.fit).parameters else None
    return model if hasattr(model, "partial_fit") else None


def _library(model: Any) -> str | None:
    """XGBoost or LightGBM, if the class of a learner is one of theirs or derived from it."""
    modules = [base.__module__.partition(".")[0] for base in type(model).__mro__]
    return next((one for one in modules if one in CONTINUED_FROM), None)


def _with_last(model: Any, X: Any, y: NDArray[Any], go_on: Callable[[Any, Any, NDArray[Any]], Any]) -> Any:
    """A model like the given one, whose last learner went on with what those before it make of X and y."""
    new = copy.copy(model)
    if isinstance(model, Pipeline):
        for _, step in model.steps[:-1]:
            X = X if step in (None, "passthrough") else step.transform(X)
        name, last = model.steps[-1]
        new.steps = [*model.steps[:-1], (name, _with_last(last, X, y, go_on))]
        return new
    for name in INNER:
        if hasattr(model, name):
            inner = _with_last(getattr(model, name), X, _inner_target(model, y), go_on)
            setattr(new, name, inner)
            return new
    return go_on(model, X, y)


def _inner_target(model: Any, y: NDArray[Any]) -> NDArray[Any]:
    """Y as what a wrapper wraps was fitted to it."""
    if isinstance(model, TransformedTargetRegressor):
        return np.asarray(model.transformer_.transform(y[:, None])).reshape(len(y))
    if hasattr(model, "classes_"):
        return np.searchsorted(model.classes_, y)
    return np.asarray((y - model.mean_) / np.where(model.scale_ > 0, model.scale_, 1.0))


def _labels(expert: FittedExpert, y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Labels (n,) as the model was fitted to them, of codes, and whether it knows them."""
    codes = np.asarray(expert.classes)
    place = np.full(max(int(codes.max(initial=0)), int(y.max(initial=0))) + 1, -1)
    place[codes[codes >= 0]] = np.flatnonzero(codes >= 0)
    position = place[y]
    return np.asarray(expert.model.classes_)[np.maximum(position, 0)], position >= 0


def _partial_fit(learner: Any, X: Any, y: NDArray[Any], weight: Array | None, seed: int) -> Any:
    """A copy of a learner that went on; rows are drawn in proportion to weights that it does not take."""
    one, more = copy.deepcopy(learner), {}
    if weight is not None:
        if "sample_weight" in inspect.signature(one.partial_fit).parameters:
            more = {"sample_weight": weight}
        else:
            rows = systematic_sample(weight, seed)
            X, y = take_rows(X, rows), y[rows]
    early = getattr(one, "early_stopping", None)
    if early is True:  # needs more than one pass
        one.set_params(early_stopping=False)
        one.best_loss_ = np.inf  # None after a fit that stopped early, and compared with
    one.partial_fit(X, y, **more)
    return one.set_params(early_stopping=True) if early is True else one
