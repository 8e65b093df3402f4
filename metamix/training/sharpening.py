"""A gate that has learned is sharpened, bent, or gives way to trees, where that pays out of fold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from metamix.data.folds import Folds
from metamix.data.tables import take_rows
from metamix.training.gating import (
    LearnedGate,
    Lesson,
    begins,
    fit_on_responsibilities,
    learn_gate,
    one_standard_error,
)
from metamix.training.judging import paired
from metamix.training.objectives import LogScore, SquaredError

__all__ = ["Rival", "bend_gate", "rival_gate", "sharpen_gate"]

Array = NDArray[np.float64]
Objective = LogScore | SquaredError

# A gate is sharpened by steps of ten, down to here.
SHARPEST = 1e-7
# A gate that ended there has found its borders. Up to so many columns others may bend theirs.
SHARP, MOST_BENT = 1e-5, 12
# A gate of another kind is tried on so many rows at most.
MOST_RIVAL_ROWS = 500
# Regimes are certain where responsibilities exceed this on average.
CERTAIN = 0.99


@dataclass(frozen=True)
class Rival:
    """A gate of another kind, and when it takes the place of the learned one.

    Parameters
    ----------
    gate : gate
        Unfitted; learns soft labels.
    standard_errors : float
        It goes where the one before is better out of fold by so many.
    line : bool
        Only where the gate looks at one column and regimes are certain.
    """

    gate: Any
    standard_errors: float
    line: bool = False


def sharpen_gate(
    learned: LearnedGate,
    gate: Any,
    constant: Any,
    Z: Any,
    folds: Folds,
    objective: Objective,
    log_prob: Array,
    sample_weight: Array,
    judge: Callable[[Array], Array],
) -> LearnedGate:
    """A learned gate with ever weaker penalties, columns of no use faded, if that pays out of fold.

    Where regimes have a border, the penalty that one standard error allows leaves the gate too soft at it, and
    slopes of columns that say nothing tilt it. From the gate's own solution the penalty falls by tens, each
    column's in inverse proportion to the square of its slope, while the judged loss falls.

    Parameters
    ----------
    learned : LearnedGate
        From `learn_gate`, with the same arguments.
    gate, constant, Z, folds, objective, log_prob, sample_weight
        As in `learn_gate`.
    judge : callable
        weights (n, K) -> loss (n,): what the gate is for.

    Returns
    -------
    LearnedGate
        The sharpest that pays, where its gain exceeds a standard error; else the one given.
    """
    if learned.penalty is None or np.isinf(learned.penalty) or not learned.members:
        return learned
    lesson = Lesson(clone(gate).set_params(reweight=1), constant, Z, folds, objective, log_prob, sample_weight)
    counts = np.where(learned.judged, sample_weight, 0.0)
    base = np.where(counts > 0, judge(learned.weights), 0.0)
    best, best_loss, members, final = learned, base, learned.members, learned.gate
    penalty = learned.penalty / 10
    while penalty >= SHARPEST:
        weights, judged, members = lesson.out_of_fold(penalty, members)
        final = lesson.final(penalty, (final,))
        loss = np.where(counts > 0, judge(weights), 0.0)
        if counts @ loss >= counts @ best_loss:
            break
        best, best_loss = LearnedGate(final, weights, judged, penalty, members), loss
        penalty /= 10
    return best if one_standard_error(np.column_stack([base, best_loss]), counts) else learned


def bend_gate(
    learned: LearnedGate,
    gate: Any,
    constant: Any,
    Z: Any,
    folds: Folds,
    objective: Objective,
    log_prob: Array,
    sample_weight: Array,
    judge: Callable[[Array], Array],
) -> LearnedGate:
    """A learned gate with logits of degree 2, if bent borders pay out of fold; arguments of `sharpen_gate`.

    Returns
    -------
    LearnedGate
        The bent one, sharpened, where its gain exceeds a standard error; else the one given.
    """
    bends = getattr(gate, "degree", None) == 1 and getattr(gate, "penalty", None) == "path" and begins(gate)
    if not bends or not isinstance(Z, np.ndarray) or not 0 < Z.shape[1] <= MOST_BENT:
        return learned
    if learned.penalty is None or learned.penalty <= SHARP:
        return learned
    given = clone(gate).set_params(degree=2), constant, Z, folds, objective, log_prob, sample_weight
    bent = sharpen_gate(learn_gate(*given), *given, judge)
    counts = np.where(learned.judged & bent.judged, sample_weight, 0.0)
    losses = np.column_stack([judge(learned.weights), judge(bent.weights)])
    return bent if one_standard_error(np.where(counts[:, None] > 0, losses, 0.0), counts) else learned


def rival_gate(
    learned: LearnedGate,
    rivals: Sequence[Rival],
    Z: Any,
    folds: Folds,
    responsibilities: Array,
    sample_weight: Array,
    judge: Callable[[Array], Array],
) -> LearnedGate:
    """A gate of another kind where rows are few, unless the learned one is better on held-out rows.

    Where regimes meet, a few rows say where; what lies between them is the gate's own idea of a border. The
    learned gate's must show out of fold that it suits the table, then the first rival's, and so on.

    Parameters
    ----------
    learned : LearnedGate
    rivals : sequence of Rival
    Z : array, sparse matrix or frame, n rows
    folds : Folds
    responsibilities : ndarray of shape (n, K)
    sample_weight : ndarray of shape (n,)
    judge : callable
        weights (n, K) -> loss (n,).

    Returns
    -------
    LearnedGate
        FittedExpert on every honest row.
    """
    constant = learned.penalty is not None and np.isinf(learned.penalty)
    if np.count_nonzero(sample_weight) > MOST_RIVAL_ROWS or constant or not learned.judged.any():
        return learned
    on_a_line = isinstance(Z, np.ndarray) and Z.shape[1] == 1
    certain = sample_weight @ responsibilities.max(axis=1) > CERTAIN * sample_weight.sum()
    for rival in rivals:
        if rival.line and not (on_a_line and certain):
            continue
        weights = _out_of_fold(rival.gate, learned, Z, folds, responsibilities, sample_weight)
        counts = np.where(learned.judged, sample_weight, 0.0)
        excess = paired(np.where(counts > 0, judge(weights) - judge(learned.weights), 0.0), counts)
        if excess.mean <= rival.standard_errors * excess.standard_error:
            honest = np.flatnonzero(folds.held_out)
            final = fit_on_responsibilities(rival.gate, Z, responsibilities, sample_weight, honest)
            learned = LearnedGate(final, weights, learned.judged, None)
    return learned


def _out_of_fold(
    gate: Any, learned: LearnedGate, Z: Any, folds: Folds, responsibilities: Array, sample_weight: Array
) -> Array:
    """Weights (n, K) of a gate that learns soft labels, on the rows that the learned one was judged on."""
    weights = learned.weights.copy()
    for f in range(len(folds)):
        rows, test = folds.train_rows(f), folds.test_rows(f)
        test = test[learned.judged[test]]
        if len(test) and sample_weight[rows].any():
            fitted = fit_on_responsibilities(gate, Z, responsibilities, sample_weight, rows)
            weights[test] = fitted.predict_proba(take_rows(Z, test))
    return weights
