"""From a fitted mixture to weights and answers: gate, then each expert only on the rows where it counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.tables import n_rows, take_rows
from metamix.estimators.walks import Learned, Side
from metamix.recombination import keep_top

__all__ = ["Opinion", "every_answer", "opinions", "weights_of"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Opinion:
    """What a mixture has to say about some rows and one target.

    Parameters
    ----------
    side : Side
    weights : ndarray of shape (n, K)
    values : ndarray of shape (n, K) or (n, K, C)
        NaN where an expert has no weight and was not asked.
    scale : ndarray of shape (n, K) or None
        The experts' own standard deviations, where any has one and they were asked for.
    X : array, sparse matrix or frame, n rows
    """

    side: Side
    weights: Array
    values: Array
    scale: Array | None = None
    X: Any = None

    def log_prob(self, y: Any) -> Array:
        """Log density (n, K) of y under each expert."""
        return np.asarray(self.side.likelihood.log_prob(y, self.values, scale=self.scale, X=self.X))

    def deviation(self) -> Array:
        """Standard deviation (n, K) of y around each expert's answer."""
        return np.asarray(self.side.likelihood.standard_deviation(self.values, scale=self.scale, X=self.X))

    def distribution(self) -> Any:
        """Distribution (n, K) of y under each expert."""
        return self.side.likelihood.distribution(self.values, scale=self.scale, X=self.X)


def weights_of(learned: Learned, X: Any, top_k: int | None, values: list[Array] | None = None) -> list[Array]:
    """Gate weights (n, K) of each target; `values` are its experts' answers, for a gate that looks at them."""
    base = learned.features.base(X)
    found = []
    for t, side in enumerate(learned.sides):
        Z = learned.features.join(base, None if values is None else values[t])
        found.append(keep_top(side.gate.predict_proba(Z), top_k))
    return found


def opinions(
    learned: Learned, X: Any, top_k: int | None, *, scaled: bool = False, everywhere: bool = False
) -> list[Opinion]:
    """Weights and answers of each target.

    Parameters
    ----------
    learned : Learned
    X : array, sparse matrix or frame, n rows
    top_k : int or None
    scaled : bool
        Ask experts for their own standard deviations too.
    everywhere : bool
        Ask every expert about every row, and not only where it has weight.
    """
    if learned.features.asks_experts or everywhere:
        values, scale = every_answer(learned, X, scaled=scaled)
        parts = _by_target(learned, values, scale)
        weights = weights_of(learned, X, top_k, [part[0] for part in parts])
    else:
        weights = weights_of(learned, X, top_k)
        values, scale = _needed_answers(learned, X, weights, scaled)
        parts = _by_target(learned, values, scale)
    return [Opinion(side, weight, *part, X) for side, weight, part in zip(learned.sides, weights, parts, strict=True)]


def every_answer(learned: Learned, X: Any, *, scaled: bool = False) -> tuple[Array, Array | None]:
    """Every expert's answer to every row, the stack last: (n, K), (n, K, C) or (n, K, T); and scales alike."""
    rows = np.arange(n_rows(X))
    return _with_stack(learned, X, *_asked(learned, X, [rows] * len(learned.columns), scaled))


def _needed_answers(learned: Learned, X: Any, weights: list[Array], scaled: bool) -> tuple[Array, Array | None]:
    E = len(learned.columns)
    needed = np.any([weight[:, :E] > 0 for weight in weights], axis=0)
    if learned.sides[0].stacker is not None:  # the stack asks everybody
        needed = needed | np.any([weight[:, [-1]] > 0 for weight in weights], axis=0)
    for weight, side in zip(weights, learned.sides, strict=True):
        if scaled and side.scatter is not None:  # deviations that follow the mixture's need it
            needed[:, side.scatter.column] |= (weight[:, side.scatter.follows] > 0).any(axis=1)
    return _with_stack(learned, X, *_asked(learned, X, [np.flatnonzero(column) for column in needed.T], scaled))


def _asked(learned: Learned, X: Any, rows: list[NDArray[np.intp]], scaled: bool) -> tuple[Array, Array | None]:
    """OutOfFold of each column to its rows, NaN elsewhere."""
    n, E = n_rows(X), len(learned.columns)
    values: Array | None = None
    scales: Array | None = None
    for k, column in enumerate(learned.columns):
        if not len(rows[k]):
            continue
        part = X if len(rows[k]) == n else take_rows(X, rows[k])
        given, own = column.predict_with_scale(part) if scaled else (column.predict(part), None)
        if values is None:
            values = np.full((n, E, *given.shape[1:]), np.nan)
        values[rows[k], k] = given
        if own is not None:
            scales = np.full(values.shape, np.nan) if scales is None else scales
            scales[rows[k], k] = own
    assert values is not None
    return values, scales


def _with_stack(learned: Learned, X: Any, values: Array, scale: Array | None) -> tuple[Array, Array | None]:
    """The stack's answers as last column, where all experts have answered."""
    if learned.sides[0].stacker is None:
        return values, scale
    several = learned.n_targets is not None
    known = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    stacked = np.full((len(values), 1, *values.shape[2:]), np.nan)
    if known.any():
        rows = X if known.all() else take_rows(X, np.flatnonzero(known))
        features = None if learned.stack_columns is None else learned.stack_columns.dense(learned.features.base(rows))
        for t, side in enumerate(learned.sides):
            given = values[known, :, t] if several else values[known]
            answer = side.stacker.predict(given, features)
            if several:
                stacked[known, 0, t] = answer
            else:
                stacked[known, 0] = answer
    if scale is not None:
        wide = np.concatenate([scale, np.full(stacked.shape, np.nan)], axis=1)
        for t, side in enumerate(learned.sides):
            if side.scatter is not None:
                here = (..., t) if several else ...
                wide[here] = side.scatter(scale[here])
        scale = wide
    return np.concatenate([values, stacked], axis=1), scale


def _by_target(learned: Learned, values: Array, scale: Array | None) -> list[tuple[Array, Array | None]]:
    if learned.n_targets is None:
        return [(values, scale)]
    return [(values[:, :, t], None if scale is None else scale[:, :, t]) for t in range(values.shape[2])]
