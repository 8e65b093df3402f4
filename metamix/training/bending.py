"""How far cheap experts may bend: no further than those that they stand in for."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.folds import Folds
from metamix.data.tables import take_rows
from metamix.fitting import Problem
from metamix.training.cheap import CURVES, FREELY, LINES, Terms, cheap_experts, probabilities
from metamix.training.judging import STANDARD_ERRORS, paired
from metamix.training.pools import row_losses, target_units

__all__ = ["bend_of"]

Array = NDArray[np.float64]

# So many rows tell it. A tenth less is more than a better penalty or a column less can bring.
MOST_ROWS, CLEARLY = 3000, 0.9
# Logistic experts take two steps at a time.
STEPS = 4


def bend_of(columns: Any, data: Problem, folds: Folds, rows: NDArray[np.intp], losses: Array, seed: int) -> int:
    """How far cheap experts may bend, so that they count the regimes that the user's experts need.

    A curve is one regime for experts that bend, and several for those that do not: lines are laid against lines.
    The best of the user's experts is straight, or a parabola, if it loses what a cheap one of that kind loses, and
    clearly more than one that bends freely. Experts of another kind may do worse than any, and bend none the less.

    Parameters
    ----------
    columns : array, sparse matrix or frame, n rows
        What regimes are looked for in.
    data : Problem
    folds : Folds
    rows : ndarray of shape (m,)
        Positions of held-out rows.
    losses : ndarray of shape (m,)
        What the best single expert lost there, fitted on the other folds; as from `row_losses`.
    seed : int

    Returns
    -------
    int
        `LINES`, `CURVES` or `FREELY`.
    """
    own = np.full(data.n, np.nan)
    own[rows] = losses
    judged = np.isfinite(own) & (data.weight > 0)
    chosen = np.random.default_rng(seed).permutation(np.flatnonzero(data.weight > 0))[:MOST_ROWS]
    among = np.zeros(data.n, dtype=bool)
    among[chosen] = True
    pairs = [(train[among[train]], test[among[test] & judged[test]]) for train, test in folds.pairs]
    pairs = [(train, test) for train, test in pairs if len(train) and len(test)]
    if not pairs:
        return FREELY
    held = np.unique(np.concatenate([test for _, test in pairs]))

    def clearly(one: Array, other: Array) -> bool:
        """Whether one loses clearly more than the other."""
        weight = data.weight[held]
        gain = paired(one - other, weight)
        return gain.mean > STANDARD_ERRORS * gain.standard_error and weight @ other < CLEARLY * (weight @ one)

    for level in (FREELY, CURVES, LINES):
        terms = Terms(take_rows(columns, chosen), np.random.default_rng(seed), bool(data.n_classes), level)
        cheap = _losses(terms, columns, data, pairs)[held]
        if not clearly(own[held], cheap) and (level == FREELY or not clearly(cheap, own[held])):
            return level
    return FREELY


def _losses(terms: Terms, columns: Any, data: Problem, pairs: list[tuple[NDArray[np.intp], NDArray[np.intp]]]) -> Array:
    """What a single cheap expert loses (n,), a mean where a row is held out more than once; 0 where it is not."""
    losses, times = np.zeros(data.n), np.zeros(data.n)
    weight = data.weight / data.weight[data.weight > 0].mean()
    if data.n_classes:
        target = np.eye(data.n_classes)[data.y]
        centre, spread = np.zeros(data.n_classes), np.ones(data.n_classes)
    else:
        target = data.y.reshape(data.n, -1).astype(np.float64)
        counts = data.weight > 0
        centre, spread = target[counts].mean(axis=0), target[counts].std(axis=0) + np.finfo(float).tiny
    for train, test in pairs:
        known, asked = (terms(take_rows(columns, p), (target[p] - centre) / spread, weight[p]) for p in (train, test))
        rich = known.bumps is not None
        given = known.basis(rich), known.weight[:, None]
        coefficients = cheap_experts(known, *given, None)[0]
        for _ in range(STEPS - 1 if data.n_classes else 0):
            coefficients = cheap_experts(known, *given, coefficients)[0]
        answers = asked.basis(rich) @ coefficients[0]
        if data.n_classes:
            values = probabilities(answers)[:, None]
        else:
            answers = centre + spread * answers
            values = answers if data.n_targets is None else answers[:, None]
        losses[test] += row_losses(data.take(test), values, target_units(data))[:, 0]
        times[test] += 1
    return losses / np.maximum(times, 1)
