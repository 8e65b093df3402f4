"""Learning a gate out of fold: the path of penalties, the one-standard-error rule, the constant fallback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from metamix.folds import Folds
from metamix.recombination import posterior
from metamix.tables import take_rows
from metamix.training.objectives import LogScore, SquaredError

__all__ = ["PENALTIES", "LearnedGate", "fit_on_responsibilities", "learn_gate", "one_standard_error"]

Array = NDArray[np.float64]
Objective = LogScore | SquaredError

# Penalty on the slopes of standardised columns, in units of the mean loss of constant weights; the path
# ends in infinity, which is constant stacking.
PENALTIES = (np.inf, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001)
# A penalty is one number and a gate has few parameters: beyond these many rows more change nothing.
PATH_ROWS, GATE_ROWS = 20_000, 200_000


@dataclass(frozen=True)
class LearnedGate:
    """A gate fitted on every honest row, and what it said out of fold.

    Parameters
    ----------
    gate : fitted gate
    weights : ndarray of shape (n, K)
        Out of fold; the constant weights where no fold could learn a gate honestly.
    judged : ndarray of bool, shape (n,)
        Rows whose weights are out of fold.
    penalty : float or None
        What the path chose.
    """

    gate: Any
    weights: Array
    judged: NDArray[np.bool_]
    penalty: float | None


def one_standard_error(losses: Array, sample_weight: Array) -> int:
    """The simplest of several fits that is not worse than the best by more than a standard error.

    Parameters
    ----------
    losses : ndarray of shape (n, P)
        Row losses of P fits, the simplest first.
    sample_weight : ndarray of shape (n,)

    Returns
    -------
    int
        The first column whose mean exceeds the smallest by at most one standard error of the *paired*
        difference (Breiman et al. 1984, with pairs instead of raw losses, since the rows are the same).

    Examples
    --------
    >>> rows = np.array([[1.0, 0.9], [1.0, 1.05], [1.0, 1.0]])
    >>> one_standard_error(rows, np.ones(3))
    0
    """
    share = sample_weight / sample_weight.sum()
    means = share @ losses
    excess = losses - losses[:, [int(np.argmin(means))]]
    gap = share @ excess
    error = np.sqrt(np.square(share) @ np.square(excess - gap))
    return int(np.flatnonzero(gap <= error)[0])


def _fits(
    gate: Any,
    Z: Any,
    objective: Objective,
    penalties: Sequence[float | None],
    start: Array,
    sample_weight: Array,
) -> list[Any]:
    """One fitted gate for each penalty, from strong to weak, each begun where the last one ended if it can."""
    if hasattr(gate, "fit_path") and len(penalties) > 1:
        return list(clone(gate).fit_path(Z, objective, penalties, start=start, sample_weight=sample_weight))
    fitted = []
    for penalty in penalties:
        one = clone(gate) if penalty is None else clone(gate).set_params(penalty=penalty)
        fitted.append(one.fit_objective(Z, objective, start=start, sample_weight=sample_weight))
    return fitted


def _rows_to_learn(rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    if len(rows) <= most:
        return rows
    return rows[np.sort(np.random.default_rng(0).choice(len(rows), most, replace=False))]


def learn_gate(
    gate: Any,
    constant: Any,
    Z: Any,
    folds: Folds,
    objective: Objective,
    log_prob: Array,
    sample_weight: Array,
    *,
    penalty: float | None = None,
    top: Callable[[Array], Array] = lambda weights: weights,
    criterion: Objective | None = None,
) -> LearnedGate:
    """Fit a gate to answers that are already out of fold, and judge it out of fold too.

    A gate with ``penalty="path"`` takes the largest penalty within one standard error of the best. Any
    other gate is ranked against constant weights by the same rule, unless its penalty is fixed by a number.

    Parameters
    ----------
    gate : gate
        Unfitted. With `fit_objective` it descends on `objective`; without, it learns responsibilities.
    constant : gate
        Unfitted; gives the weights that everything starts from and falls back on.
    Z : array, sparse matrix or frame, n rows
        Gate features.
    folds : Folds
    objective, criterion : objective over all n rows
        What is descended on; what out-of-fold losses are compared by (`objective` by default).
    log_prob : ndarray of shape (n, K)
        Log density of each expert's answer, for gates that learn responsibilities.
    sample_weight : ndarray of shape (n,)
    penalty : float, optional
        Use this one instead of a path.
    top : callable
        What is done to weights before they are judged: keep the k largest.

    Returns
    -------
    LearnedGate
    """
    K, criterion = log_prob.shape[1], criterion or objective
    if K == 1:
        one = clone(constant).fit(Z, np.ones((folds.n, 1)), sample_weight=sample_weight)
        return LearnedGate(one, np.ones((folds.n, 1)), folds.honest.copy(), None)

    def constants(rows: NDArray[np.intp]) -> Any:
        Z_rows = np.empty((len(rows), 0))
        return clone(constant).fit_objective(Z_rows, objective.take(rows), sample_weight=sample_weight[rows])

    def level(fitted: Any) -> Array:
        return np.asarray(fitted.predict_proba(np.empty((1, 0))))[0]

    honest = np.flatnonzero(folds.honest)
    overall = constants(honest)
    has_path = getattr(gate, "penalty", None) == "path"
    descends = hasattr(gate, "fit_objective")
    penalties: Sequence[float | None]
    penalties = [penalty] if penalty is not None else PENALTIES if has_path else [None]
    weights = np.tile(level(overall), (folds.n, 1))
    judged = np.zeros(folds.n, dtype=bool)
    paths = np.repeat(weights[None], len(penalties), axis=0) if len(penalties) > 1 else weights[None].copy()
    plain = weights.copy()
    start_responsibilities = None if descends else posterior(weights, log_prob)[0]
    for _ in range(1 if descends else 3):
        for f in range(len(folds)):
            rows, test = folds.learners(f), folds.judged(f)
            if len(rows) < 2 * K or not len(test):
                continue
            rows = _rows_to_learn(rows, PATH_ROWS if len(penalties) > 1 else GATE_ROWS if descends else len(rows))
            here, Z_test = constants(rows), take_rows(Z, test)
            plain[test], judged[test] = level(here), True
            if descends:
                fitted = _fits(
                    gate,
                    take_rows(Z, rows),
                    objective.take(rows),
                    penalties,
                    level(here),
                    sample_weight[rows],
                )
            else:
                fitted = [fit_on_responsibilities(gate, Z, start_responsibilities, sample_weight, rows)]
            for p, one in enumerate(fitted):
                paths[p, test] = one.predict_proba(Z_test)
        if not descends:
            start_responsibilities = posterior(paths[0], log_prob)[0]
    fixed = penalty is not None or (isinstance(getattr(gate, "penalty", None), int | float))
    ranked = paths if (has_path and penalty is None) or fixed else np.stack([plain, paths[0]])
    losses = np.stack([criterion(top(one))[0] for one in ranked], axis=1)
    chosen = one_standard_error(losses[judged], sample_weight[judged]) if judged.any() else 0
    weights = ranked[chosen]
    if has_path and penalty is None:
        penalty = PENALTIES[chosen]
    if chosen == 0 and ((has_path and np.isinf(penalty or 0)) or ranked is not paths):
        return LearnedGate(overall, weights, judged, np.inf)
    if not descends:
        return LearnedGate(
            fit_on_responsibilities(gate, Z, start_responsibilities, sample_weight, honest),
            weights,
            judged,
            None,
        )
    rows = _rows_to_learn(honest, GATE_ROWS)
    Z_rows = Z if len(rows) == folds.n else take_rows(Z, rows)
    final = _fits(gate, Z_rows, objective.take(rows), [penalty], level(overall), sample_weight[rows])[0]
    return LearnedGate(final, weights, judged, penalty)


def fit_on_responsibilities(
    gate: Any,
    Z: Any,
    responsibilities: Array | None,
    sample_weight: Array,
    rows: NDArray[np.intp] | None = None,
) -> Any:
    """Fit a clone of a gate to soft labels on some rows: the M-step of classical EM."""
    assert responsibilities is not None
    if rows is None or len(rows) == len(responsibilities):
        return clone(gate).fit(Z, responsibilities, sample_weight=sample_weight)
    return clone(gate).fit(take_rows(Z, rows), responsibilities[rows], sample_weight=sample_weight[rows])
