"""What final estimators share: fits on the rows of each fold, and predictions that stay near the experts'."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

__all__ = ["BoundedStack", "Stack", "StackData"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]
Pairs = Sequence[tuple[Rows, Rows]]

#: A stack has some hundred coefficients: more rows than this do not change them.
MOST_ROWS = 100_000
#: Predictions lie outside the range of the experts' by no more than out-of-fold predictions did, but for this share.
OUTLIERS = 0.01


@dataclass(frozen=True)
class StackData:
    """What a stack is fitted to.

    Parameters
    ----------
    predictions : ndarray of shape (n, K) or (n, K, C)
    y : ndarray of shape (n,)
        Numbers, or class codes.
    weight : ndarray of shape (n,)
    features : ndarray of shape (n, q) or None
    groups : ndarray of shape (n,) or None
    """

    predictions: Array
    y: NDArray[Any]
    weight: Array
    features: Array | None = None
    groups: NDArray[Any] | None = None

    def take(self, rows: Any) -> StackData:
        """Some rows."""
        features, groups = (None if part is None else part[rows] for part in (self.features, self.groups))
        return StackData(self.predictions[rows], self.y[rows], self.weight[rows], features, groups)

    def to_fit(self, rows: Rows) -> StackData:
        """Those of some rows that have weight; at most `MOST_ROWS`, the same ones every time."""
        rows = rows[self.weight[rows] > 0]
        if len(rows) > MOST_ROWS:
            rows = rows[np.sort(np.random.default_rng(0).choice(len(rows), MOST_ROWS, replace=False))]
        return self.take(rows)


class Stack(BaseEstimator, ABC):
    """A final estimator: predictions of the experts in, one prediction out, and that one out of fold too; abstract.

    Attributes
    ----------
    oof_ : ndarray of shape (n,) or (n, C)
        Out-of-fold predictions; NaN for rows that no pair judges.
    inside_ : list of ndarray of shape (n,) or (n, C), or None
        For each pair, predictions of the rows that it fits by stacks that saw neither these nor the rows it judges.
    """

    oof_: Array
    inside_: list[Array] | None

    def fit(
        self,
        predictions: Array,
        y: NDArray[Any],
        pairs: Pairs,
        *,
        rows: Rows | None = None,
        sample_weight: Array | None = None,
        features: Array | None = None,
        groups: NDArray[Any] | None = None,
        inside: Sequence[Array] | None = None,
    ) -> Self:
        """Fit to out-of-fold predictions.

        Parameters
        ----------
        predictions : ndarray of shape (n, K) or (n, K, C)
        y : ndarray of shape (n,)
            Numbers, or class codes.
        pairs : sequence of (rows to fit, rows to judge)
        rows : ndarray of int, optional
            Rows of the final fit; by default all that are judged.
        sample_weight : ndarray of shape (n,), optional
        features : ndarray of shape (n, q), optional
        groups : ndarray of shape (n,), optional
            For final estimators that split their rows once more.
        inside : sequence of ndarray, shaped like `predictions`, optional
            For each pair, what is fitted instead of `predictions`: predictions by models that have not seen the rows
            that the pair judges.
        """
        weight = np.ones(len(y)) if sample_weight is None else sample_weight
        rows = np.sort(np.concatenate([test for _, test in pairs])) if rows is None else rows
        everything = StackData(predictions, y, weight, features, groups)
        seen = [everything if inside is None else replace(everything, predictions=inside[p]) for p in range(len(pairs))]
        judged = [(seen[p].to_fit(learn), everything.take(test)) for p, (learn, test) in enumerate(pairs)]
        self._choice, choices = self._choose(judged)
        if inside is not None:
            within = ([(seen[p].to_fit(a), seen[p].take(b)) for a, b in _within(pairs, p)] for p in range(len(pairs)))
            choices = [self._choose(fitted_and_judged)[0] for fitted_and_judged in within]
        self.oof_ = np.full((len(y), *predictions.shape[2:]), np.nan)
        for (fitted, held_out), own, (_, test) in zip(judged, choices, pairs, strict=True):
            model = self._model(fitted, own)
            if model is not None:
                self.oof_[test] = self._answer(model, held_out)
        self.model_ = self._model(everything.to_fit(rows), self._choice)
        bounds = self._learn_bounds(self.oof_, everything)
        self._bounds, self.inside_ = bounds, None
        if inside is None:
            known = np.isfinite(self.oof_).reshape(len(y), -1).all(axis=1)
            self.oof_[known] = self._bounded(self.oof_[known], predictions[known], bounds)
            return self
        self.inside_ = []
        for p, (learn, test) in enumerate(pairs):  # the bounds, too, know nothing of the rows that the pair judges
            raw = self._inside(seen[p], p, pairs, choices[p])
            bounds = self._learn_bounds(raw[learn], seen[p].take(learn))
            self.oof_[test] = self._bounded(self.oof_[test], predictions[test], bounds)
            self.inside_.append(self._bounded(raw, inside[p], bounds))
        return self

    def predict(self, predictions: Array, features: Array | None = None) -> Array:
        """Predictions (n,) or (n, C) from those of the experts (n, K) or (n, K, C) and features (n, q)."""
        return self._bounded(self._unbounded(predictions, features), predictions, self._bounds)

    def _unbounded(self, predictions: Array, features: Array | None) -> Array:
        check_is_fitted(self)
        if self.model_ is None:  # too few rows to fit anything: the average
            return np.asarray(predictions.mean(axis=1))
        nothing = np.zeros(len(predictions))
        return self._answer(self.model_, StackData(predictions, nothing, nothing, features))

    def _learn_bounds(self, values: Array, data: StackData) -> Any:
        """How far predictions may lie from the experts', learned from some that are out of fold; None: anywhere."""
        return None

    def _bounded(self, values: Array, predictions: Array, bounds: Any) -> Array:
        """Predictions within bounds."""
        return values

    def _inside(self, data: StackData, p: int, pairs: Pairs, choice: Any) -> Array:
        """Predictions of the rows that pair p fits, by stacks fitted to the others of them; elsewhere the average."""
        found = np.asarray(data.predictions.mean(axis=1))
        for learn, test in _within(pairs, p):
            model = self._model(data.to_fit(learn), choice) if len(test) else None
            if model is not None:
                found[test] = self._answer(model, data.take(test))
        return found

    def _choose(self, pairs: Sequence[tuple[StackData, StackData]]) -> tuple[Any, Sequence[Any]]:
        """What is not fitted but chosen by the rows that the pairs judge; and that without the rows of each pair."""
        return None, [None] * len(pairs)

    @abstractmethod
    def _model(self, data: StackData, choice: Any) -> Any:
        """What is learned from rows that all have weight; None if they are too few."""

    @abstractmethod
    def _answer(self, model: Any, data: StackData) -> Array:
        """Predictions (n,) or (n, C) of a model for the predictions and features of some rows."""


def _within(pairs: Pairs, p: int) -> list[tuple[Rows, Rows]]:
    """The other pairs, restricted to the rows that pair p fits."""
    mine = pairs[p][0]
    others = [pair for q, pair in enumerate(pairs) if q != p]
    return [(np.intersect1d(learn, mine), np.intersect1d(test, mine)) for learn, test in others]


class BoundedStack(Stack):
    """A final estimator for numbers, whose predictions stay near those of the experts; abstract.

    A linear combination with free signs may be far from every expert where experts disagree as they never did before.
    Predictions are therefore bounded by the smallest and the largest of the experts' in each row, widened by
    `margin_`, which is learned out of fold.

    Attributes
    ----------
    oof_, inside_
        As of `Stack`.
    margin_ : float
        Of `predict`, in the units of y.
    """

    @property
    def margin_(self) -> float:
        """How far predictions may lie outside those of the experts."""
        return float(self._bounds)

    def _learn_bounds(self, values: Array, data: StackData) -> Any:
        judged = np.flatnonzero(np.isfinite(values) & (data.weight > 0))
        if not len(judged):
            return 0.0
        values, predictions = values[judged], data.predictions[judged]
        outside = np.maximum(np.maximum(predictions.min(axis=1) - values, values - predictions.max(axis=1)), 0.0)
        return np.quantile(outside, 1 - OUTLIERS, weights=data.weight[judged], method="inverted_cdf")

    def _bounded(self, values: Array, predictions: Array, bounds: Any) -> Array:
        return np.clip(values, predictions.min(axis=1) - bounds, predictions.max(axis=1) + bounds)

    def predict_gradient(
        self,
        predictions: Array,
        features: Array | None,
        predictions_gradient: Array,
        features_jacobian: Array | None,
    ) -> Array:
        """Gradient (n, d) of the predictions in x.

        Parameters
        ----------
        predictions : ndarray of shape (n, K)
        features : ndarray of shape (n, q) or None
        predictions_gradient : ndarray of shape (n, K, d)
            Gradients of the experts' predictions.
        features_jacobian : ndarray of shape (n, q, d) or None
            Gradients of the features.
        """
        raw = self._unbounded(predictions, features)
        gradient = self._gradient(predictions, features, predictions_gradient, features_jacobian)
        rows = np.arange(len(raw))
        for outside, expert in (
            (raw < predictions.min(axis=1) - self.margin_, predictions.argmin(axis=1)),
            (raw > predictions.max(axis=1) + self.margin_, predictions.argmax(axis=1)),
        ):
            gradient = np.where(outside[:, None], predictions_gradient[rows, expert], gradient)
        return gradient

    @abstractmethod
    def _gradient(
        self, predictions: Array, features: Array | None, slopes: Array, features_jacobian: Array | None
    ) -> Array:
        """Gradient (n, d) of the predictions before they are bounded."""
