"""The alternation: who explained this row, and learn from the rows you explained; best round kept."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.fitting import FitSession
from metamix.fitting.out_of_fold import Failure, OutOfFold
from metamix.progress import Event, emit
from metamix.training.estep import Face, Parts, expectation, tuned
from metamix.training.gating import LearnedGate
from metamix.training.judging import paired
from metamix.training.pools import fewest_rows, target_units

__all__ = ["Alternation", "Round", "alternate", "drop_experts", "final_gates", "flat", "single"]

Array = NDArray[np.float64]

# Responsibilities are mixed with this share of the uniform distribution, so that no expert dies.
FLOOR = 1e-3
# Experts are not fitted again for responsibilities that moved less than this (0 to 2, mean over rows).
STILL = 0.1
# Classical EM stops when the log-likelihood gains less than this share of itself.
TOLERANCE = 1e-8


@dataclass
class Round:
    """One round: what the experts were trained with, what they answered, who was trusted for each target.

    `weights` (n, K) trained the experts.
    """

    number: int
    alive: list[int]
    weights: Array
    answers: OutOfFold
    faces: list[Face]
    row_loss: Array
    log_likelihood: float
    seconds: float = 0.0

    @property
    def learned(self) -> LearnedGate:
        """The gate of the first target."""
        return self.faces[0].learned

    @property
    def likelihood(self) -> Any:
        """The likelihood of the first target."""
        return self.faces[0].likelihood

    @property
    def responsibilities(self) -> Array:
        """Who explained each row, averaged over targets, (n, K)."""
        return _mean([face.responsibilities for face in self.faces])

    @property
    def teaching(self) -> Array:
        """What the next round's experts are trained with, (n, K)."""
        return _mean([face.teaching for face in self.faces])

    def mean_loss(self, sample_weight: Array) -> float:
        """Mean of the losses of judged rows; infinity where none has any weight."""
        judged = self.learned.judged
        total = float(sample_weight[judged].sum())
        return float(self.row_loss[judged] @ sample_weight[judged]) / total if total > 0 else np.inf


def _mean(tables: list[Array]) -> Array:
    return tables[0] if len(tables) == 1 else np.asarray(np.mean(tables, axis=0))


@dataclass
class Alternation:
    """The best round and the history of all of them."""

    best: Round
    history: list[dict[str, Any]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def alternate(
    session: FitSession,
    parts: Parts,
    base: Any,
    components: list[int],
    start: Array,
    max_rounds: int,
    *,
    keep: bool = False,
    prune: bool = False,
) -> Alternation:
    """Alternate between experts and gate from a start.

    Out of fold, the round with the best honest loss is kept, and the loop ends with the first round that
    does not better it by a standard error: refitting every expert must pay. In sample
    (``session.folds.in_sample``) this is classical EM (Dempster, Laird & Rubin 1977), which ends when
    the log-likelihood gains less than 1e-8 of itself.

    Parameters
    ----------
    session : FitSession
        Open.
    parts : Parts
    base : array, sparse matrix or frame, n rows
        Gate features that come from X alone.
    components : list of K int
        The session's entry behind each component.
    start : ndarray of shape (n, K)
        First responsibilities.
    max_rounds : int
    keep : bool
        Keep the fold models of the best round.
    prune : bool
        Give up components that starve.

    Returns
    -------
    Alternation

    Raises
    ------
    AllExpertsFailedError
        If no expert is left.
    """
    in_sample, sample_weight = session.folds.in_sample, session.data.weight
    alive, weights, previous = list(components), start, -np.inf
    best: Round | None = None
    history: list[dict[str, Any]] = []
    failures: list[Failure] = []
    for number in range(1, max_rounds + 1):
        started = time.perf_counter()
        uniform = not in_sample and flat(weights)
        kept, answers = session.cross_fit(alive, None if uniform else weights, keep=keep or in_sample)
        failures += answers.failures
        if len(kept) < len(alive):
            weights, alive, best = _without(weights, kept), [alive[j] for j in kept], None
        this = _judged(session, parts, base, weights, answers, number, alive)
        this.seconds = time.perf_counter() - started
        history.append(_row_of(this, session))
        emit(Event("round", f"round {number}", number, max_rounds, history[-1]))
        gain, previous = this.log_likelihood - previous, this.log_likelihood
        better = best is None or in_sample or this.mean_loss(sample_weight) < best.mean_loss(sample_weight)
        earned = best is None or in_sample or (better and _earned(best, this, sample_weight))
        best = this if better else best
        if not earned or (in_sample and abs(gain) <= TOLERANCE * abs(previous)):
            break
        if not in_sample:
            teaching = this.teaching
            feeding = _feeding(this, session) if prune else list(range(len(alive)))
            if len(feeding) < len(alive):
                weights, alive = _without(teaching, feeding), [alive[j] for j in feeding]
                emit(Event("prune", f"{len(feeding)} components left", number, max_rounds))
                continue
            moved = np.average(np.abs(teaching - weights).sum(axis=1), weights=sample_weight)
            # Components that tell no row from another teach the same again, whatever their shares.
            if moved < STILL or (flat(weights) and flat(teaching)):
                break
            weights = (1 - FLOOR) * teaching + FLOOR / len(alive)
        else:
            weights = this.teaching
    assert best is not None
    return Alternation(best, history, failures)


def single(session: FitSession, parts: Parts, base: Any, entry: int, answers: OutOfFold) -> Alternation:
    """One regime, whose expert has answered already: nothing to alternate, scales alone are learned."""
    this = _judged(session, parts, base, np.ones((session.data.n, 1)), answers, 1, [entry])
    return Alternation(this, [_row_of(this, session)], [])


def drop_experts(session: FitSession, parts: Parts, base: Any, best: Round, kept: list[int]) -> Round:
    """The same round without experts that failed afterwards: gate and scales are estimated anew."""
    alive = [best.alive[j] for j in kept]
    return _judged(session, parts, base, _without(best.weights, kept), best.answers.take(kept), best.number, alive)


def final_gates(session: FitSession, parts: Parts, base: Any, best: Round) -> list[LearnedGate]:
    """The best round's gate for each target, tuned for the combined answer where that is better."""
    data, several = session.data, session.data.n_targets
    folds = session.folds.second_level(data.y, data.groups)
    return [
        tuned(
            parts, data.target(t), folds, base, best.answers.target(t) if several else best.answers, face, best.weights
        )
        for t, face in enumerate(best.faces)
    ]


def _feeding(this: Round, session: FitSession) -> list[int]:
    """Components that still explain enough rows; the largest always does."""
    mass = (session.data.weight > 0) @ this.responsibilities
    return [
        k
        for k in range(len(mass))
        if mass[k] >= min(fewest_rows(int(np.count_nonzero(session.data.weight))), float(mass.max()))
    ]


def flat(weights: Array) -> bool:
    """Whether no component (n, K) tells one row from another, so that experts learn from all rows alike.

    Examples
    --------
    >>> flat(np.array([[0.9, 0.1], [0.9, 0.1]])), flat(np.array([[0.9, 0.1], [0.8, 0.2]]))
    (True, False)
    """
    return bool(np.ptp(weights, axis=0).max() < 1e-12)


def _without(weights: Array, kept: list[int]) -> Array:
    """Start or responsibilities without the components that were dropped."""
    left = weights[:, kept]
    total = left.sum(axis=1, keepdims=True)
    return np.where(total > 0, left / np.where(total > 0, total, 1), 1 / len(kept))


def _judged(
    session: FitSession, parts: Parts, base: Any, weights: Array, answers: OutOfFold, number: int, alive: list[int]
) -> Round:
    """A round: likelihood, gate and responsibilities for every target, given the experts' answers."""
    data = session.data
    folds = session.folds.second_level(data.y, data.groups)
    if data.n_targets is None:
        faces = [expectation(parts, data, folds, base, answers, weights)]
        loss = faces[0].row_loss
    else:
        targets = range(data.n_targets)
        faces = [expectation(parts, data.target(t), folds, base, answers.target(t), weights) for t in targets]
        # Squared errors of different targets have different units; log densities do not mind.
        unit = np.maximum(target_units(data) ** 2, np.finfo(float).tiny)
        if not parts.by_error:
            unit = np.ones(data.n_targets)
        loss = np.mean([face.row_loss / unit[t] for t, face in enumerate(faces)], axis=0)
    total = float(sum(data.weight @ face.density for face in faces))
    return Round(number, alive, weights, answers, faces, loss, total)


def _earned(best: Round, this: Round, sample_weight: Array) -> bool:
    """Whether a round betters the best one by a standard error of the paired difference."""
    judged = best.learned.judged & this.learned.judged
    if not sample_weight[judged].any():
        return False
    gain = paired(best.row_loss[judged] - this.row_loss[judged], sample_weight[judged])
    return gain.mean > gain.standard_error


def _row_of(this: Round, session: FitSession) -> dict[str, Any]:
    """A row of the history."""
    weights = _mean([face.learned.weights for face in this.faces])
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.nansum(np.where(weights > 0, weights * np.log(weights), 0), axis=1)
    weight = session.data.weight
    means = np.average(weights, axis=0, weights=weight)
    share = {f"share_{name}": float(mean) for name, mean in zip(this.answers.names, means, strict=True)}
    return {
        "round": this.number,
        "loss": this.mean_loss(session.data.weight),
        "log_likelihood": this.log_likelihood,
        "entropy": float(np.average(entropy, weights=weight)),
        "seconds": this.seconds,
        **share,
    }
