"""The last gate over some columns of the honest table, their likelihood, and who explained each row."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from metamix.data.folds import Folds
from metamix.data.gate_features import GateFeatures
from metamix.data.tables import take_rows
from metamix.fitting import Problem
from metamix.fitting.out_of_fold import OutOfFold
from metamix.recombination import combine, keep_top, posterior
from metamix.training.gating import LearnedGate, begins, learn_gate
from metamix.training.joining import Scatter
from metamix.training.judging import STANDARD_ERRORS, paired
from metamix.training.objectives import LogScore, SquaredError
from metamix.training.pools import exact_regimes
from metamix.training.sharpening import sharpen_gate

__all__ = ["LastGate", "Table", "learn_last_gate", "objective_of", "unless_mixture", "with_column"]

Array = NDArray[np.float64]

# Regimes are certain where the mixture's gate gives nearly all weight to one of them, row by row. Beyond so large a
# share of the loss what others gain is not slight, whatever the noise.
CERTAIN, SLIGHT = 0.98, 0.05


@dataclass(frozen=True)
class Table:
    """The honest table and what may be done with it, everything unfitted.

    Parameters
    ----------
    data : Problem
    folds : Folds
    base : array, sparse matrix, frame or None
        Gate features from X alone.
    features : GateFeatures
    gate, constant, stacker, likelihood : parts
    objective : {"prediction", "likelihood"}
    top_k : int or None
    classes : ndarray of shape (C,) or None
    scoring : None, str or callable
    stack_features : ndarray of shape (n, q) or None
        What the stack may look at besides the answers.
    answers : OutOfFold
        Out of fold; the experts first, then the plain mixture where there is one.
    n_experts : int
        How many columns are experts: all, or all but the last.
    certainty : float
        Mean of the largest weights that the plain mixture's own gate gives to rows; 0 where it is not known.
    """

    data: Problem
    folds: Folds
    base: Any
    features: GateFeatures
    gate: Any
    constant: Any
    stacker: Any
    likelihood: Any
    objective: str = "prediction"
    top_k: int | None = None
    classes: NDArray[Any] | None = None
    scoring: Any = None
    stack_features: Array | None = None
    answers: OutOfFold = field(default_factory=OutOfFold.empty)
    n_experts: int = 0
    certainty: float = 0.0

    def targets(self) -> list[Table]:
        """A table for each target."""
        if self.data.n_targets is None:
            return [self]
        several = range(self.data.n_targets)
        return [replace(self, data=self.data.target(t), answers=self.answers.target(t)) for t in several]

    def with_answers(self, answers: OutOfFold, n_experts: int, certainty: float = 0.0) -> Table:
        """The same table, filled in."""
        return replace(self, answers=answers, n_experts=n_experts, certainty=certainty)


@dataclass
class LastGate:
    """A gate over some columns, what it combines, and what it answered out of fold."""

    predictions: Array
    learned: LearnedGate
    likelihood: Any
    responsibilities: Array
    answers: Array


def with_column(values: Array, column: Array) -> Array:
    """OutOfFold (n, K) or (n, K, C) with one more column, (n,) or (n, C)."""
    return np.concatenate([values, column[:, None]], axis=1)


def objective_of(table: Table, predictions: Array, log_prob: Array) -> LogScore | SquaredError:
    """What the last gate is tuned for: the combined answer, or the density."""
    if table.data.n_classes is None and table.objective == "prediction":
        return SquaredError(table.data.y, predictions)
    return LogScore(log_prob)


def learn_last_gate(table: Table, predictions: Array, own: Array | None, scatter: Scatter | None = None) -> LastGate:
    """The gate over some columns, their likelihood given that gate, and who explained each row.

    Parameters
    ----------
    table : Table
    predictions : ndarray of shape (n, K) or (n, K, C)
        The stack's answers last.
    own : ndarray of shape (n, K) or None
        Standard deviations that columns offer, NaN where there is none.
    scatter : Scatter or None
        Which of them follow the plain mixture's.

    Returns
    -------
    LastGate
    """
    lesson = _Lesson(table, predictions, own, scatter)
    if hasattr(table.gate, "fit_objective"):
        log_prob = lesson.likelihood(lesson.even)[1]
        learned = lesson.learned(objective_of(table, predictions, log_prob), log_prob)
        if lesson.sharpens and lesson.by_error:
            # Squared error descends from the best constant weights, where an expert that has none is hard to
            # find; the likelihood, begun with whoever came closest, finds it.
            learned = lesson.better(learned, lesson.by_labels(2)[0])
    else:
        learned, log_prob = lesson.by_labels(3)
    if lesson.sharpens and table.top_k is None:  # a gate of the user's stays
        learned = _stack_unless(table, objective_of(table, predictions, log_prob), learned)
    responsibilities, likelihood = lesson.settled(learned, log_prob)
    answers = combine(keep_top(learned.weights, table.top_k), predictions)
    return LastGate(predictions, learned, likelihood, responsibilities, answers)


class _Lesson:
    """One table's columns, and what a gate over them is taught."""

    def __init__(self, table: Table, predictions: Array, scale: Array | None, scatter: Scatter | None) -> None:
        self.table, self.predictions, self.scale, self.scatter = table, predictions, scale, scatter
        self.Z = table.features.join(table.base, predictions)
        self.even = np.full(predictions.shape[:2], 1 / predictions.shape[1])
        honest = table.folds.held_out
        self.seen: Any = ... if honest.all() else honest
        self.X = table.data.X if honest.all() else take_rows(table.data.X, np.flatnonzero(honest))

    @property
    def by_error(self) -> bool:
        """Whether squared errors judge."""
        return self.table.data.n_classes is None and self.table.objective == "prediction"

    @property
    def sharpens(self) -> bool:
        """Whether the gate's penalty is ours to choose."""
        return begins(self.table.gate) and getattr(self.table.gate, "penalty", None) == "path"

    def likelihood(self, share: Array) -> tuple[Any, Array]:
        """The likelihood given who explained each row, and log densities (n, K)."""
        data, seen = self.table.data, self.seen
        given = None if self.scale is None else self.scale[seen]
        trust = share[seen] * data.weight[seen, None]
        fitted = clone(self.table.likelihood).fit(data.y[seen], self.predictions[seen], trust, scale=given, X=self.X)
        if self.scatter is not None and hasattr(fitted, "factor_"):
            # Their noise was learned from the same errors; a factor besides would be ruled by rows without any.
            fitted.factor_ = np.where(self.scatter.follows, 1.0, fitted.factor_)
        return fitted, fitted.log_prob(data.y, self.predictions, scale=self.scale, X=data.X)

    def learned(
        self, objective: LogScore | SquaredError, log_prob: Array, begin: LearnedGate | None = None, last: bool = True
    ) -> LearnedGate:
        """A gate taught by an objective, and at last sharpened where it can be and that pays."""
        table = self.table
        given = table.gate, table.constant, self.Z, table.folds, objective, log_prob, table.data.weight
        found = learn_gate(*given, begin=begin, top=lambda weights: keep_top(weights, table.top_k))
        if not (last and self.sharpens):
            return found
        return sharpen_gate(found, *given, lambda weights: self._loss(weights, objective))

    def by_labels(self, rounds: int) -> tuple[LearnedGate, Array]:
        """A gate taught by who explained each row, begun with who came closest; soft labels need scales in turn."""
        data, honest = self.table.data, self.table.folds.held_out
        responsibilities = self.even.copy()
        if data.n_classes is None:
            responsibilities[honest] = _nearest(data.y[honest], self.predictions[honest], data.weight[honest])
        descends = hasattr(self.table.gate, "fit_objective")  # others are ranked by what they are for
        learned: LearnedGate | None = None
        for left in reversed(range(rounds)):
            log_prob = self.likelihood(responsibilities)[1]
            objective = LogScore(log_prob) if descends else objective_of(self.table, self.predictions, log_prob)
            learned = self.learned(objective, log_prob, learned if descends else None, last=not left)
            responsibilities, _ = posterior(learned.weights, log_prob)
        assert learned is not None
        return learned, log_prob

    def better(self, one: LearnedGate, other: LearnedGate) -> LearnedGate:
        """The gate whose combined answers lose less out of fold."""
        objective = SquaredError(self.table.data.y, self.predictions)
        weight = np.where(one.judged & other.judged, self.table.data.weight, 0.0)
        gain = np.where(weight > 0, self._loss(one.weights, objective) - self._loss(other.weights, objective), 0.0)
        return other if weight @ gain > 0 else one

    def settled(self, learned: LearnedGate, log_prob: Array) -> tuple[Array, Any]:
        """Responsibilities (n, K) and likelihood, given the gate."""
        for _ in range(5):
            responsibilities, _ = posterior(learned.weights, log_prob)
            likelihood, log_prob = self.likelihood(responsibilities)
        responsibilities, _ = posterior(learned.weights, log_prob)
        unheld = np.flatnonzero(~self.table.folds.held_out)
        if len(unheld):
            responsibilities[unheld] = learned.gate.predict_proba(take_rows(self.Z, unheld))
        return responsibilities, likelihood

    def _loss(self, weights: Array, objective: LogScore | SquaredError) -> Array:
        """Loss (n,) of what weights combine: squared error where that judges, else the objective's own."""
        judge = SquaredError(self.table.data.y, self.predictions) if self.by_error else objective
        return judge(keep_top(weights, self.table.top_k))[0]


def _nearest(y: Array, predictions: Array, weight: Array) -> Array:
    """Who came closest to each row, softly, (n, K): shares under one scale common to all experts."""
    errors = np.square(predictions - y[:, None])
    scale = float(weight @ errors.min(axis=1) / weight.sum()) if weight.any() else 0.0
    scale = scale or 1.0
    return posterior(np.full(errors.shape, 1 / errors.shape[1]), -errors / (2 * scale))[0]


def _stack_unless(table: Table, objective: LogScore | SquaredError, learned: LearnedGate) -> LearnedGate:
    """The stack alone, unless other weights pay.

    Weights over experts and stack are learned from the same answers as the stack, and look better than
    they are: they must beat it by two standard errors. So the mixture is the stack where nothing is won.
    """
    rows = np.flatnonzero(learned.judged)
    weight = table.data.weight[rows]
    if not weight.any():
        return learned
    alone = np.zeros_like(learned.weights)
    alone[:, -1] = 1.0
    known = objective.take(rows)
    loss = known(keep_top(learned.weights[rows], table.top_k))[0]
    gain = paired(known(alone[rows])[0] - loss, weight)
    if gain.mean > STANDARD_ERRORS * gain.standard_error:
        return learned
    return _one_column(table, learned, -1)


def _one_column(table: Table, learned: LearnedGate, column: int) -> LearnedGate:
    """A gate that gives all weight to one column."""
    alone = np.zeros_like(learned.weights)
    alone[:, column] = 1.0
    one = clone(table.constant).fit(np.empty((1, 0)), alone[:1])
    return LearnedGate(one, alone, learned.judged, np.inf)


def unless_mixture(table: Table, whole: LastGate, own: Array | None, scatter: Scatter | None) -> LastGate:
    """The plain mixture alone, where it has found regimes for certain.

    A few rows next to a border rule the squared error, so that even regimes found exactly hardly win by two
    standard errors of it; and whoever else answers does not know how uncertain a border is. Where errors are not
    exact but the mixture's gate is certain of nearly every row, others must gain a standard error: blended with
    experts that know of no regimes, the mixture would be judged as it is in folds, with fewer rows than in the end.

    Parameters
    ----------
    table : Table
    whole : LastGate
        The stack's answers last, the mixture's before.
    own, scatter
        As in `learn_last_gate`.
    """
    data, mixture = table.data, whole.predictions[:, -2]
    lesson = _Lesson(table, whole.predictions, own, scatter)
    if not (lesson.sharpens and lesson.by_error and table.scoring is None):  # a gate of the user's stays
        return whole
    judged = whole.learned.judged if whole.learned.judged.any() else table.folds.held_out
    weight = np.where(judged, data.weight, 0.0)
    if not weight.any():
        return whole
    own_loss, loss = (np.nan_to_num(np.square(answers - data.y)) for answers in (mixture, whole.answers))
    gain = paired(own_loss - loss, weight)
    slight = gain.mean < min(gain.standard_error, SLIGHT * float(weight @ loss) / weight.sum())
    # A single hold-out says too little to go by what is slight.
    certain = table.certainty > CERTAIN and slight and bool(table.folds.held_out.all())
    if not (certain or exact_regimes(own_loss, loss, data.y, weight)):
        return whole
    learned = _one_column(table, whole.learned, -2)
    responsibilities, likelihood = lesson.settled(learned, lesson.likelihood(learned.weights)[1])
    return LastGate(whole.predictions, learned, likelihood, responsibilities, mixture)
