"""A gate that has learned is sharpened, and bent, where that pays out of fold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from metamix.folds import Folds
from metamix.objectives import LogScore, SquaredError
from metamix.training.gating import LearnedGate, Lesson, begins, learn_gate, one_standard_error

__all__ = ["bend_gate", "sharpen_gate"]

Array = NDArray[np.float64]
Objective = LogScore | SquaredError

# A gate is sharpened by steps of ten, down to here.
SHARPEST = 1e-7
# A gate that ended there has found its borders. Up to so many columns others may bend theirs.
SHARP, MOST_BENT = 1e-5, 12


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
