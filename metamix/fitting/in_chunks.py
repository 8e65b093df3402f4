"""Fits that continue from chunk to chunk of the rows, for experts whose libraries can do so."""

from __future__ import annotations

import copy
import inspect
import math
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import Pipeline

from metamix.data.frames import append_rows, take_rows
from metamix.fitting.early_stopping import library_of, stops_early
from metamix.fitting.fitted import FittedExpert
from metamix.fitting.incremental import labels_by_code, partial_fit_expert
from metamix.fitting.problem import Problem

__all__ = ["TINY", "ChunkwiseFit", "last_learner", "learns_in_chunks", "reaching", "with_last"]

Array = NDArray[np.float64]

#: Parameters by which a booster continues from another, by the library of its class.
CONTINUED_FROM = {"xgboost": "xgb_model", "lightgbm": "init_model"}
#: Attributes in which a fitted wrapper keeps what it wraps, fitted to the same rows.
INNER = ("regressor_", "classifier_")
#: Weight, relative to the mean of a chunk, of a row of a class that the chunk lacks: present, and of no influence.
TINY = 1e-6


def learns_in_chunks(expert: Any) -> bool:
    """Whether a fitted expert can continue to learn from further rows.

    These are boosters of XGBoost and LightGBM without early stopping, and what has `partial_fit`, in pipelines and
    under scaled targets and encoded labels too. What comes before the last step stays as it was fitted.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge, SGDRegressor
    >>> x, y = np.zeros((3, 1)), np.zeros(3)
    >>> [learns_in_chunks(FittedExpert("one", model.fit(x, y))) for model in (Ridge(), SGDRegressor())]
    [False, True]
    """
    return isinstance(expert, FittedExpert) and expert.n_targets is None and last_learner(expert.model) is not None


@dataclass
class ChunkwiseFit:
    """An expert that is fitted to one chunk of rows after the other.

    Trees are grown anew, on each chunk as many as its share of the rows, as stochastic gradient boosting draws rows for
    each tree. The libraries refuse a chunk that lacks a class: it gets a row of that class from an earlier chunk, with
    hardly any weight. What has `partial_fit` continues from where it was, with one pass over the rows.

    Parameters
    ----------
    expert : FittedExpert
        Fitted to a sample, for which `learns_in_chunks` holds.
    n_rows : int
        Of all chunks.

    Attributes
    ----------
    n_learned : int
        Rows with weight that were learned from.

    References
    ----------
    Friedman (2002), Stochastic gradient boosting; Breiman (1999), Pasting small votes.
    """

    expert: FittedExpert
    n_rows: int
    n_learned: int = 0
    _seen: int = 0
    _grown: int = 0
    _booster: Any = None
    _carried: float = 0.0
    _of_class: dict[Any, Any] = field(default_factory=dict)

    @property
    def begins_anew(self) -> bool:
        """Whether nothing is kept of what was learned from the sample, which is then a chunk like others."""
        return library_of(last_learner(self.expert.model), CONTINUED_FROM) is not None

    @property
    def result(self) -> FittedExpert | None:
        """The expert; None where no chunk taught it anything."""
        return self.expert if self.n_learned else None

    def learn(self, X: Any, y: NDArray[Any], weight: Array | None = None) -> None:
        """Continue with the next rows.

        Parameters
        ----------
        X : array, sparse matrix or frame of shape (n, d)
        y : ndarray of shape (n,)
            Codes of classes.
        weight : ndarray of shape (n,), optional
        """
        self._seen += len(y)
        trees = self._trees(len(y))
        model, rows = self.expert.model, np.arange(len(y))
        if weight is not None:
            rows = rows[weight > 0]
        if self.expert.n_classes is not None:
            labels, known_codes = labels_by_code(self.expert, self.expert.n_classes)
            known = known_codes[y]
            y, rows = labels[y], rows[known[rows]]
            if trees is not None:
                self._keep_classes(X, y, known)
        n = len(rows)
        if not n or (trees is not None and trees < 1):
            return
        if n < len(y):
            X, y, weight = take_rows(X, rows), y[rows], None if weight is None else weight[rows]
        if trees is not None and self.expert.n_classes is not None:
            X, y, weight = self._with_every_class(X, y, weight)
            if len(np.unique(y)) < len(model.classes_):
                return
        last = self._continue(last_learner(model), *reaching(model, X, y), weight, trees)
        self.expert = replace(self.expert, model=with_last(model, last))
        self.n_learned += n

    def end(self) -> None:
        """What is left to do after the last rows: nothing, where each chunk was learned from when it came."""

    def _trees(self, n: int) -> int | None:
        """How many trees to grow on the next n rows: never more than their share; None for what has no trees."""
        last = last_learner(self.expert.model)
        if library_of(last, CONTINUED_FROM) is None:
            return None
        whole = last.get_params(deep=False)["n_estimators"]
        return min(round(whole * self._seen / self.n_rows) - self._grown, math.ceil(whole * n / self.n_rows))

    def _keep_classes(self, X: Any, y: NDArray[Any], known: NDArray[np.bool_]) -> None:
        """Keep a row of each class that was not there before."""
        where = np.flatnonzero(known)
        for label, first in zip(*np.unique(y[where], return_index=True), strict=True):
            if label not in self._of_class:
                self._of_class[label] = take_rows(X, where[[first]])

    def _with_every_class(
        self, X: Any, y: NDArray[Any], weight: Array | None
    ) -> tuple[Any, NDArray[Any], Array | None]:
        """Rows and weights with a row of each class that they lack."""
        absent = [label for label in self._of_class if label not in y]
        if not absent:
            return X, y, weight
        weight = np.ones(len(y)) if weight is None else weight
        weight = np.append(weight, np.full(len(absent), TINY * weight.mean()))
        for label in absent:
            X, y = append_rows(X, self._of_class[label]), np.append(y, np.asarray([label], dtype=y.dtype))
        return X, y, weight

    def _continue(self, last: Any, X: Any, y: NDArray[Any], weight: Array | None, trees: int | None) -> Any:
        library = library_of(last, CONTINUED_FROM)
        if library is None:
            return self._partial_fit(last, X, y, weight)
        given = last.get_params(deep=False)
        # Another seed for each chunk, or trees of all chunks would see the same columns.
        seed = given["random_state"]
        other = seed
        if isinstance(seed, Integral):
            other = int(np.random.default_rng([int(seed), self._seen]).integers(2**31))
        part = clone(last).set_params(n_estimators=trees, random_state=other)
        more = {} if weight is None else {"sample_weight": weight}
        if self._booster is not None:
            more[CONTINUED_FROM[library]] = self._booster
        # A copy of a booster of LightGBM is without the one that it continued from, which it keeps otherwise.
        self._booster = copy.deepcopy(part.fit(X, y, **more))
        self._grown += trees or 0
        return copy.copy(self._booster).set_params(n_estimators=given["n_estimators"], random_state=seed)

    def _partial_fit(self, learner: Any, X: Any, y: NDArray[Any], weight: Array | None) -> Any:
        """A copy of a learner that learned more; of weights that it does not take the effective number is drawn."""
        one = copy.deepcopy(learner)
        early = getattr(one, "early_stopping", None)
        if early is True:  # needs more than one pass
            one.set_params(early_stopping=False)
            one.best_loss_ = np.inf  # None after a fit that stopped early, and compared with
        if weight is not None and "sample_weight" not in inspect.signature(one.partial_fit).parameters:
            weight = weight * weight.sum() / np.square(weight).sum()
        rows, classes = Problem(X, y, weight), None
        if self.expert.n_classes is not None:
            labels = np.asarray(one.classes_)
            classes = np.arange(len(labels))
            rows = Problem(X, np.searchsorted(labels, y), weight, n_classes=len(labels), labels=labels)
        inner = FittedExpert(self.expert.name, one, rows.n_classes, classes)
        self._carried = partial_fit_expert(inner, rows, carried=self._carried)[1]
        return one.set_params(early_stopping=True) if early is True else one


def last_learner(model: Any) -> Any:
    """The fitted learner at the end of pipelines and wrappers; None if it cannot continue."""
    if isinstance(model, Pipeline):
        return last_learner(model.steps[-1][1])
    for name in INNER:
        if hasattr(model, name):
            handles = isinstance(model, TransformedTargetRegressor) or getattr(model, "hands_rows_on", False)
            return last_learner(getattr(model, name)) if handles else None
    library = library_of(model, CONTINUED_FROM)
    if library is not None:
        usable = not stops_early(model) and getattr(model, "n_estimators", None) is not None
        return model if usable and CONTINUED_FROM[library] in inspect.signature(model.fit).parameters else None
    return model if hasattr(model, "partial_fit") else None


def reaching(model: Any, X: Any, y: NDArray[Any]) -> tuple[Any, NDArray[Any]]:
    """What the last learner sees of X and y: what those before it make of them."""
    if isinstance(model, Pipeline):
        for _, step in model.steps[:-1]:
            X = X if step in (None, "passthrough") else step.transform(X)
        return reaching(model.steps[-1][1], X, y)
    for name in INNER:
        if hasattr(model, name):
            return reaching(getattr(model, name), X, _inner_target(model, y))
    return X, y


def with_last(model: Any, last: Any) -> Any:
    """A model like the given one with another last learner."""
    new = copy.copy(model)
    if isinstance(model, Pipeline):
        name, one = model.steps[-1]
        new.steps = [*model.steps[:-1], (name, with_last(one, last))]
        return new
    for name in INNER:
        if hasattr(model, name):
            setattr(new, name, with_last(getattr(model, name), last))
            return new
    return last


def _inner_target(model: Any, y: NDArray[Any]) -> NDArray[Any]:
    """Y as what a wrapper wraps was fitted to it."""
    if isinstance(model, TransformedTargetRegressor):
        return np.asarray(model.transformer_.transform(y[:, None])).reshape(len(y))
    if hasattr(model, "classes_"):
        return np.searchsorted(model.classes_, y)
    return np.asarray((y - model.mean_) / np.where(model.scale_ > 0, model.scale_, 1.0))
