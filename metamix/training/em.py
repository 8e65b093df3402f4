"""The alternation: who explained this row, and learn from the rows you explained; best round kept."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from metamix.answers import Answers, Failure
from metamix.features import GateFeatures
from metamix.fitting import Workshop
from metamix.judging import paired
from metamix.objectives import LogScore, SquaredError
from metamix.progress import Event, emit
from metamix.recombination import combine, posterior
from metamix.tables import take_rows
from metamix.training.gating import LearnedGate, fit_on_responsibilities, learn_gate

__all__ = ["Alternation", "Parts", "Round", "alternate", "drop_experts", "final_gate"]

Array = NDArray[np.float64]

# Responsibilities are mixed with this share of the uniform distribution, so that no expert dies.
FLOOR = 1e-3
# Scales and gate settle on the answers of a round before the experts are fitted again: they are cheap.
SETTLING = 2
# Experts are not fitted again for responsibilities that moved less than this (0 to 2, mean over rows).
STILL = 0.1
# Classical EM stops when the log-likelihood gains less than this share of itself.
TOLERANCE = 1e-8


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


@dataclass
class Round:
    """One round: what the experts were trained with, what they answered, who was trusted.

    `weights` (n, K) trained the experts; `responsibilities` (n, K) are what followed.
    """

    number: int
    alive: list[int]
    weights: Array
    answers: Answers
    likelihood: Any
    learned: LearnedGate
    responsibilities: Array
    row_loss: Array
    log_likelihood: float
    seconds: float

    def mean_loss(self, sample_weight: Array) -> float:
        """Mean of the losses of judged rows; infinity where none has any weight."""
        judged = self.learned.judged
        total = float(sample_weight[judged].sum())
        return float(self.row_loss[judged] @ sample_weight[judged]) / total if total > 0 else np.inf


@dataclass
class Alternation:
    """The best round and the history of all of them."""

    best: Round
    history: list[dict[str, Any]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def alternate(
    workshop: Workshop,
    parts: Parts,
    base: Any,
    components: list[int],
    start: Array,
    max_rounds: int,
    *,
    keep: bool = False,
) -> Alternation:
    """Alternate between experts and gate from a start.

    Out of fold, the round with the best honest loss is kept, and the loop ends with the first round that
    does not better it by a standard error: refitting every expert must pay. In sample
    (``workshop.folds.in_sample``) this is classical EM (Dempster, Laird & Rubin 1977), which ends when
    the log-likelihood gains less than 1e-8 of itself.

    Parameters
    ----------
    workshop : Workshop
        Open.
    parts : Parts
    base : array, sparse matrix or frame, n rows
        Gate features that come from X alone.
    components : list of K int
        The workshop's entry behind each component.
    start : ndarray of shape (n, K)
        First responsibilities.
    max_rounds : int
    keep : bool
        Keep the fold models of the best round.

    Returns
    -------
    Alternation

    Raises
    ------
    AllExpertsFailedError
        If no expert is left.
    """
    in_sample = workshop.folds.in_sample
    alive = list(components)
    weights, best, result = start, None, Alternation(best=None)  # type: ignore[arg-type]
    previous = -np.inf
    for number in range(1, max_rounds + 1):
        started = time.perf_counter()
        uniform = not in_sample and bool(np.ptp(weights) < 1e-12)
        kept, answers = workshop.cross_fit(alive, None if uniform else weights, keep=keep or in_sample)
        result.failures += answers.failures
        if len(kept) < len(alive):
            weights, alive, best = _without(weights, kept), [alive[j] for j in kept], None
        this = _expectation(workshop, parts, base, weights, answers, number, alive)
        this.seconds = time.perf_counter() - started
        result.history.append(_row_of(this, workshop))
        emit(Event("round", f"round {number}", number, max_rounds, result.history[-1]))
        gain = this.log_likelihood - previous
        previous = this.log_likelihood
        if best is None or in_sample or this.mean_loss(workshop.data.weight) < best.mean_loss(workshop.data.weight):
            earned = best is None or in_sample or _earned(best, this, workshop.data.weight)
            best = this
        else:
            earned = False
        if not earned or (in_sample and abs(gain) <= TOLERANCE * abs(previous)):
            break
        if not in_sample and np.abs(this.responsibilities - weights).sum(axis=1).mean() < STILL:
            break
        weights = this.responsibilities if in_sample else (1 - FLOOR) * this.responsibilities + FLOOR / len(alive)
    assert best is not None
    result.best = best
    return result


def drop_experts(workshop: Workshop, parts: Parts, base: Any, best: Round, kept: list[int]) -> Round:
    """The same round without experts that failed afterwards: gate and scales are estimated anew."""
    alive = [best.alive[j] for j in kept]
    return _expectation(
        workshop, parts, base, _without(best.weights, kept), best.answers.take(kept), best.number, alive
    )


def _without(weights: Array, kept: list[int]) -> Array:
    """Start or responsibilities without the components that were dropped."""
    left = weights[:, kept]
    total = left.sum(axis=1, keepdims=True)
    return np.where(total > 0, left / np.where(total > 0, total, 1), 1 / len(kept))


def _expectation(
    workshop: Workshop,
    parts: Parts,
    base: Any,
    weights: Array,
    answers: Answers,
    number: int,
    alive: list[int],
) -> Round:
    """Likelihood, gate and responsibilities, given the experts' answers."""
    data = workshop.data
    folds = workshop.folds.second_level(data.y, data.groups)
    rows, sample_weight = folds.honest, data.weight
    Z = parts.features.join(base, answers.values)
    responsibilities, penalty = weights, None
    weighted = data.sample_weight is not None
    learned: LearnedGate | None = None
    for _ in range(1 if folds.in_sample else SETTLING):
        log_prob = learned = None  # tables of the last pass go before those of the next come
        # `...` is a view: masks that take every row would copy every table.
        seen = ... if rows.all() else rows
        trust = responsibilities[seen] * sample_weight[seen, None] if weighted else responsibilities[seen]
        likelihood = clone(parts.likelihood).fit(data.y[seen], answers.values[seen], trust)
        del trust
        log_prob = likelihood.log_prob(data.y, answers.values)
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
                penalty=penalty,
            )
            penalty = learned.penalty if learned.penalty is not None else penalty
        responsibilities, density = posterior(learned.weights, log_prob)
    assert learned is not None
    assert log_prob is not None
    if not rows.all():
        unheld = np.flatnonzero(~rows)
        responsibilities[unheld] = learned.gate.predict_proba(take_rows(Z, unheld))
    loss = row_loss(parts, data.y, answers.values, learned.weights, log_prob)
    total = float(density[rows] @ sample_weight[rows])
    return Round(number, alive, weights, answers, likelihood, learned, responsibilities, loss, total, 0.0)


def row_loss(parts: Parts, y: Array, predictions: Array, weights: Array, log_prob: Array) -> Array:
    """What a round is judged by, (n,): squared error of the combined answer, or its negative log density.

    Examples
    --------
    >>> parts = Parts(None, None, None, GateFeatures("x"))
    >>> one = np.ones((1, 1))
    >>> row_loss(parts, np.array([3.0]), one, one, -one)
    array([4.])
    """
    if predictions.ndim == 2 and parts.objective == "prediction":
        return np.asarray((combine(weights, predictions) - y) ** 2)
    return LogScore(log_prob)(weights)[0]


def _earned(best: Round, this: Round, sample_weight: Array) -> bool:
    """Whether a round betters the best one by a standard error of the paired difference."""
    judged = best.learned.judged & this.learned.judged
    if not sample_weight[judged].any():
        return False
    gain = paired(best.row_loss[judged] - this.row_loss[judged], sample_weight[judged])
    return gain.mean > gain.standard_error


def final_gate(workshop: Workshop, parts: Parts, base: Any, best: Round) -> LearnedGate:
    """Tune the best round's gate for what it will be asked: the combined answer, where it can descend on that.

    The gate of the likelihood stays where it is better out of fold.
    """
    if workshop.data.n_classes is not None or parts.objective != "prediction" or len(best.alive) == 1:
        return best.learned
    data, values = workshop.data, best.answers.values
    log_prob = best.likelihood.log_prob(data.y, values)
    Z = parts.features.join(base, values)
    tuned = learn_gate(
        parts.gate,
        parts.constant,
        Z,
        workshop.folds.second_level(data.y, data.groups),
        SquaredError(data.y, values),
        log_prob,
        data.weight,
    )
    loss = row_loss(parts, data.y, values, tuned.weights, log_prob)
    both = tuned.judged & best.learned.judged
    better = data.weight[both] @ (best.row_loss[both] - loss[both]) > 0
    return tuned if better else best.learned


def _row_of(this: Round, workshop: Workshop) -> dict[str, Any]:
    """A row of the history."""
    weights = this.learned.weights
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(np.where(weights > 0, weights * np.log(weights), 0), axis=1)
    share = {f"share_{name}": float(s) for name, s in zip(this.answers.names, weights.mean(axis=0), strict=True)}
    return {
        "round": this.number,
        "loss": this.mean_loss(workshop.data.weight),
        "log_likelihood": this.log_likelihood,
        "entropy": float(entropy.mean()),
        "seconds": this.seconds,
        **share,
    }
