"""Capacity of the proxy models: how far they may bend, which is no further than the experts that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.folds import Folds
from metamix.data.row_keys import distinct_rows, row_keys
from metamix.data.tables import take_rows
from metamix.fitting import Problem
from metamix.training.losses import row_losses, target_units
from metamix.training.regime_search.proxy_models import (
    FREE,
    LINEAR,
    QUADRATIC,
    ProxyColumns,
    class_probabilities,
    fit_proxies,
)
from metamix.training.selection import STANDARD_ERRORS, paired

__all__ = ["capacity_of"]

Array = NDArray[np.float64]
Pairs = list[tuple[NDArray[np.intp], NDArray[np.intp]]]

#: Rows that the comparison looks at.
MOST_ROWS = 3000
#: Losses that differ by less than this share are alike, whatever their standard error: a ridge penalty or the clipping
#: of a column makes so much.
ALIKE = 0.01
#: Rounds of logistic proxies, a few steps each.
LOGISTIC_ROUNDS = 4


def capacity_of(columns: Any, problem: Problem, folds: Folds, rows: NDArray[np.intp], losses: Array, seed: int) -> int:
    """The capacity of proxy models that count the regimes which the user's experts need.

    A curve is one regime for experts that bend, and several for linear ones. The best of the user's experts has the
    capacity of the proxy that loses as much as it does, of several that one whose losses follow its own from row to
    row; where there is none, or where it loses less than any proxy, the proxies bend freely.

    Parameters
    ----------
    columns : array, sparse matrix or frame, n rows
        What regimes are looked for in.
    problem : Problem
    folds : Folds
    rows : ndarray of shape (m,)
        Positions of held-out rows.
    losses : ndarray of shape (m,)
        Losses of the best single expert there, out of fold; as from `row_losses`.
    seed : int

    Returns
    -------
    int
        `LINEAR`, `QUADRATIC` or `FREE`.
    """
    own = np.full(problem.n, np.nan)
    own[rows] = losses
    judged = np.isfinite(own) & (problem.weight > 0)
    chosen = np.random.default_rng(seed).permutation(distinct_rows(problem.weight, columns, problem.y).rows)[:MOST_ROWS]
    among = np.isin(row_keys(columns, problem.y), row_keys(take_rows(columns, chosen), problem.y[chosen]))
    pairs = [(train[among[train]], test[among[test] & judged[test]]) for train, test in folds.pairs]
    pairs = [(train, test) for train, test in pairs if len(train) and len(test)]
    if not pairs:
        return FREE
    held = np.unique(np.concatenate([test for _, test in pairs]))
    weight = problem.weight[held]
    # A row that is repeated is one row of more weight.
    groups = row_keys(take_rows(columns, held), problem.y[held]) if problem.groups is None else problem.groups[held]
    alike: dict[int, float] = {}
    for capacity in (FREE, QUADRATIC, LINEAR):
        proxy = _losses(columns, chosen, capacity, problem, pairs, seed)[held]
        excess = paired(own[held] - proxy, weight, groups)
        enough = max(STANDARD_ERRORS * excess.standard_error, ALIKE * float(np.average(own[held], weights=weight)))
        if capacity == FREE and excess.mean < -enough:
            return FREE
        if abs(excess.mean) <= enough:
            alike[capacity] = excess.standard_error
    return min(alike, key=alike.__getitem__, default=FREE)


def _losses(columns: Any, chosen: NDArray[np.intp], capacity: int, problem: Problem, pairs: Pairs, seed: int) -> Array:
    """Out-of-fold losses (n,) of a single proxy model, averaged over repeats; 0 where a row is not held out."""
    terms = ProxyColumns(take_rows(columns, chosen), np.random.default_rng(seed), problem.n_classes, capacity)
    losses, times = np.zeros(problem.n), np.zeros(problem.n)
    weight = problem.weight / problem.weight[problem.weight > 0].mean()
    if problem.n_classes:
        target = np.eye(problem.n_classes)[problem.y].reshape(problem.n, -1)
        centre, spread = np.zeros(target.shape[1]), np.ones(target.shape[1])
    else:
        target = problem.y.reshape(problem.n, -1).astype(np.float64)
        centre = np.average(target, axis=0, weights=problem.weight)
        spread = np.sqrt(np.average((target - centre) ** 2, axis=0, weights=problem.weight)) + np.finfo(float).tiny
    for train, test in pairs:
        known, asked = (terms(take_rows(columns, p), (target[p] - centre) / spread, weight[p]) for p in (train, test))
        rich = known.bumps is not None
        coefficients: Array | None = None
        for _ in range(LOGISTIC_ROUNDS if problem.n_classes else 1):
            coefficients = fit_proxies(known, known.basis(rich), known.weight[:, None], coefficients)[0]
        assert coefficients is not None
        values = asked.basis(rich) @ coefficients[0]
        if problem.n_classes:
            values = class_probabilities(values, problem.n_classes)[:, None]
            values = values[:, :, 1::2] if problem.several_labels else values
        else:
            values = centre + spread * values
            values = values if problem.n_targets is None else values[:, None]
        losses[test] += row_losses(problem.take(test), values, target_units(problem))[:, 0]
        times[test] += 1
    return losses / np.maximum(times, 1)
