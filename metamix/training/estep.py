"""Given the experts' answers: how good they were, whom to trust where, and who explained each row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from metamix.data.folds import Folds
from metamix.data.gate_features import GateFeatures
from metamix.data.tables import take_rows
from metamix.fitting import Problem
from metamix.fitting.out_of_fold import OutOfFold
from metamix.recombination import combine, posterior
from metamix.training.gating import LearnedGate, fit_on_responsibilities, learn_gate
from metamix.training.objectives import LogScore, SquaredError
from metamix.training.sharpening import bend_gate, rival_gate, sharpen_gate

__all__ = ["Face", "Parts", "expectation", "row_loss", "tuned"]

Array = NDArray[np.float64]

# Scales and gate settle on the answers of a round before the experts are fitted again: they are cheap.
SETTLING = 2
# A gate that learns from responsibilities never hears that an expert could not have answered a row.
LEAST_TAUGHT = 1e-3


@dataclass(frozen=True)
class Parts:
    """What the alternation is made of, resolved and unfitted."""

    gate: Any
    constant: Any
    likelihood: Any
    features: GateFeatures
    proxy_gate: Any = None
    objective: str = "prediction"
    top_k: int | None = None
    rivals: tuple[Any, ...] = ()

    @property
    def by_error(self) -> bool:
        """Whether squared errors judge; with a likelihood that doubts rows, they would be ruled by those rows."""
        return self.objective == "prediction" and not hasattr(self.likelihood, "trust")


@dataclass(frozen=True)
class Face:
    """One target as the mixture sees it: likelihood, gate, and who explained each row.

    `teaching` (n, K) are the responsibilities times the trust of a robust likelihood in each row: what the
    experts are refitted with.
    """

    likelihood: Any
    learned: LearnedGate
    responsibilities: Array
    teaching: Array
    row_loss: Array
    density: Array


def expectation(parts: Parts, data: Problem, folds: Folds, base: Any, answers: OutOfFold, weights: Array) -> Face:
    """The E-step, with the scales and the gate that it rests on, for one target.

    Parameters
    ----------
    parts : Parts
    data : Problem
        With one target.
    folds : Folds
        For what learns from out-of-fold answers.
    base : array, sparse matrix or frame, n rows
        Gate features that come from X alone.
    answers : OutOfFold
        Values and scales of one target.
    weights : ndarray of shape (n, K)
        Responsibilities so far.

    Returns
    -------
    Face
    """
    rows, sample_weight, values, scale = folds.held_out, data.weight, answers.values, answers.scale
    Z = parts.features.join(base, values)
    responsibilities = weights
    weighted = data.sample_weight is not None
    # `...` is a view: masks that take every row would copy every table.
    seen = ... if rows.all() else rows
    X = data.X if rows.all() else take_rows(data.X, np.flatnonzero(rows))
    learned: LearnedGate | None = None
    for _ in range(1 if folds.in_sample else SETTLING):
        log_prob = None  # tables of the last pass go before those of the next come
        share = responsibilities[seen] * sample_weight[seen, None] if weighted else responsibilities[seen]
        own = None if scale is None else scale[seen]
        likelihood = clone(parts.likelihood).fit(data.y[seen], values[seen], share, scale=own, X=X)
        del share
        log_prob = likelihood.log_prob(data.y, values, scale=scale, X=data.X)
        if folds.in_sample:
            gate = fit_on_responsibilities(parts.gate, Z, responsibilities, sample_weight)
            learned = LearnedGate(gate, gate.predict_proba(Z), rows, None)
        else:
            learned = learn_gate(
                parts.gate,
                parts.constant,
                Z,
                folds,
                LogScore(log_prob),
                log_prob,
                sample_weight,
                begin=learned,
            )
        responsibilities, density = posterior(learned.weights, log_prob)
    assert learned is not None
    assert log_prob is not None
    if not rows.all():
        unheld = np.flatnonzero(~rows)
        responsibilities[unheld] = learned.gate.predict_proba(take_rows(Z, unheld))
    teaching = responsibilities
    if hasattr(likelihood, "trust"):
        trust = likelihood.trust(data.y, values, scale=scale, X=data.X)
        teaching = responsibilities * np.where(np.isfinite(trust), trust, 1.0)
    loss = row_loss(parts, data.y, values, learned.weights, log_prob)
    return Face(likelihood, learned, responsibilities, teaching, loss, np.where(rows, density, 0.0))


def row_loss(parts: Parts, y: Array, predictions: Array, weights: Array, log_prob: Array) -> Array:
    """What a round is judged by, (n,): squared error of the combined answer, or its negative log density.

    Examples
    --------
    >>> parts = Parts(None, None, None, GateFeatures("x"))
    >>> one = np.ones((1, 1))
    >>> row_loss(parts, np.array([3.0]), one, one, -one)
    array([4.])
    """
    if predictions.ndim == 2 and parts.by_error:
        return np.asarray((combine(weights, predictions) - y) ** 2)
    return LogScore(log_prob)(weights)[0]


def tuned(
    parts: Parts, data: Problem, folds: Folds, base: Any, answers: OutOfFold, face: Face, taught: Array
) -> LearnedGate:
    """A face's gate, tuned for what it will be asked: the combined answer, where it can descend on that.

    The gate of the likelihood stays where it is better out of fold. It is also sharpened on `taught` (n, K), the
    responsibilities that the experts of the round learned from: in the first rounds those of cheap mixtures, which
    tell regimes apart more surely than strong experts do that are fitted to a part of the rows.
    """
    learned, values = face.learned, answers.values
    if values.shape[1] == 1:
        return learned
    log_prob = face.likelihood.log_prob(data.y, values, scale=answers.scale, X=data.X)
    given = parts.gate, parts.constant, parts.features.join(base, values), folds

    def judge(weights: Array) -> Array:
        return row_loss(parts, data.y, values, weights, log_prob)

    asked = *given, LogScore(log_prob), log_prob, data.weight, judge
    chosen = bend_gate(sharpen_gate(learned, *asked), *asked)
    if np.ptp(taught) > 0:
        before = np.log(np.maximum(taught, LEAST_TAUGHT))
        other = sharpen_gate(learned, *given, LogScore(before), before, data.weight, judge)
        chosen = _better(chosen, other, judge, data.weight)
    if chosen is learned and data.n_classes is None and parts.by_error:
        chosen = _better(
            chosen, learn_gate(*given, SquaredError(data.y, values), log_prob, data.weight), judge, data.weight
        )
    return rival_gate(chosen, parts.rivals, given[2], folds, face.responsibilities, data.weight, judge)


def _better(one: LearnedGate, other: LearnedGate, judge: Callable[[Array], Array], weight: Array) -> LearnedGate:
    """The gate that loses less out of fold; the first of equals."""
    both = one.judged & other.judged
    return other if other is not one and weight[both] @ (judge(one.weights) - judge(other.weights))[both] > 0 else one
