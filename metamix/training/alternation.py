"""Alternation of experts, likelihood, gate and responsibilities (EM): round after round, and the best one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from metamix.data.folds import Folds
from metamix.data.gate_features import GateFeatures
from metamix.data.tables import take_rows
from metamix.fitting import FitSession, Problem
from metamix.fitting.out_of_fold import Failure, OutOfFold
from metamix.progress import Event, emit
from metamix.recombination import combine, floored, posterior
from metamix.training.expert_types import best_single, choose_types
from metamix.training.gate_fitting import FittedGate, GateFitting, fit_responsibilities, select_gate
from metamix.training.losses import LogScore, SquaredError, target_units
from metamix.training.prediction import admissible
from metamix.training.regime_search import (
    SearchSettings,
    capacity_of,
    fewest_rows,
    make_start,
    prune,
    search_regimes,
)
from metamix.training.selection import simplest

__all__ = ["FLOOR", "Alternation", "MixtureSettings", "Round", "TargetRound", "of_target"]

Array = NDArray[np.float64]

#: Share of the uniform distribution in responsibilities that experts are fitted with, so that none loses every row.
FLOOR = 1e-3
#: Likelihood and gate are fitted so often on the predictions of a round: they cost little, experts do not.
INNER_STEPS = 2
#: Experts are not fitted again for responsibilities that moved less than this (0 to 2, mean over rows).
SMALLEST_MOVE = 0.1
#: EM in sample ends when the log-likelihood gains less than this share of itself.
TOLERANCE = 1e-8
#: EM in sample is tried from so many random starts (Biernacki, Celeux & Govaert 2003), a few rounds each.
RANDOM_STARTS, SHORT_RUN = 8, 10
#: A gate fitted to responsibilities takes none to be smaller than this.
SMALLEST_RESPONSIBILITY = 1e-3


@dataclass(frozen=True)
class MixtureSettings:
    """What a mixture is made of, resolved and unfitted.

    Parameters
    ----------
    gates : tuple of gates
        The simplest first. The first serves in every round; all compete in the end.
    constant : gate
        Fits constant weights.
    constant_competes : bool
        Whether constant weights are a candidate for the gate.
    likelihood : likelihood
    features : GateFeatures
        Fitted.
    search : SearchSettings
    max_rounds : int
    refit : bool
        Fit the experts on all rows at the end, or keep the fold models.
    top_k : int or None
    on_gpu : bool
        Whether an expert or a gate runs on a GPU.
    recalibrate : bool
        Whether the predictive distribution is to be recalibrated; nobody asks for that of a fold's.
    """

    gates: tuple[Any, ...]
    constant: Any
    constant_competes: bool
    likelihood: Any
    features: GateFeatures
    search: SearchSettings
    max_rounds: int
    refit: bool = True
    top_k: int | None = None
    on_gpu: bool = False
    recalibrate: bool = True

    @property
    def by_error(self) -> bool:
        """Whether squared errors judge numbers."""
        return self.search.by_error

    def row_loss(self, y: Array, values: Array, weights: Array, log_prob: Array) -> Array:
        """Loss (n,) of the combined prediction: squared error, or minus the log density."""
        if values.ndim == 2 and self.by_error:
            return np.square(combine(weights, values) - y)
        return LogScore(log_prob)(weights)[0]


@dataclass(frozen=True)
class TargetRound:
    """One target in one round: likelihood, gate, responsibilities.

    `trust` (n, K) is what a robust likelihood makes of each row; it weighs the rows of the experts and of nothing else,
    since likelihood and gate are fitted to the responsibilities (Lange, Little & Taylor 1989).
    """

    likelihood: Any
    gate: FittedGate
    responsibilities: Array
    trust: Array | None
    row_loss: Array
    density: Array


@dataclass
class Round:
    """One round: the responsibilities it began with, the experts' predictions, and what followed for each target.

    `fit_weights` (n, K) fitted the experts: the responsibilities, times the trust of a robust likelihood in each row.
    """

    number: int
    alive: list[int]
    weights: Array
    fit_weights: Array
    predictions: OutOfFold
    targets: list[TargetRound]
    row_loss: Array
    log_likelihood: float
    seconds: float = 0.0

    @property
    def judged(self) -> NDArray[np.bool_]:
        """Rows with an out-of-fold loss, (n,)."""
        return self.targets[0].gate.judged

    @property
    def responsibilities(self) -> Array:
        """Averaged over targets, (n, K)."""
        return _mean([target.responsibilities for target in self.targets])

    @property
    def trust(self) -> Array:
        """By how much each row counts for the experts of the next round besides its responsibility, (n, K)."""
        trusted = [one.responsibilities if one.trust is None else one.responsibilities * one.trust
                   for one in self.targets]  # fmt: skip
        total = self.responsibilities
        return np.divide(_mean(trusted), total, out=np.ones_like(total), where=total > 0)

    def mean_loss(self, sample_weight: Array) -> float:
        """Mean loss of judged rows; infinity where none has any weight."""
        weight = np.where(self.judged, sample_weight, 0.0)
        return float(self.row_loss[self.judged] @ weight[self.judged]) / weight.sum() if weight.any() else np.inf


@dataclass
class Alternation:
    """The steps of EM on one session, and what is recorded on the way."""

    session: FitSession
    settings: MixtureSettings
    history: list[dict[str, Any]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def __post_init__(self) -> None:
        problem, folds = self.session.problem, self.session.folds
        self.problem = problem
        self.folds: Folds = folds.second_level(problem.y, problem.groups)
        self.base = self.settings.features.base(problem.X)
        self.keep = not self.settings.refit or folds.in_sample

    @property
    def in_sample(self) -> bool:
        """Whether this is EM in sample, without folds."""
        return self.session.folds.in_sample

    def start(self) -> tuple[Array, list[dict[str, Any]]]:
        """Initial responsibilities, and the ranking of starts."""
        search, problem = self.settings.search, self.problem
        if self.in_sample and isinstance(search.start, str) and search.start == "auto":
            return self._best_start_in_sample()
        if search.uses_proxies and not self.in_sample:
            _, losses, rows = best_single(self.session, self.keep)
            columns = self.settings.features.all_columns(problem.X)
            capacity = capacity_of(columns, problem, self.session.folds, rows, losses, search.seed)
            search = search.bending(capacity)
        found = search_regimes(self.session, search)
        return found.responsibilities, found.ranking

    def assign(self, initial: Array) -> tuple[list[int], Array, list[Failure]]:
        """The expert behind each component, and the initial responsibilities in their order."""
        search, pool = self.settings.search, self.settings.search.n_experts is not None
        # Columns of the user's are in the order of the experts; others go to the experts that fit them best.
        own = not isinstance(search.start, str) or search.start == "uniform"
        if pool:
            initial = prune(initial, self.problem.counts)
        if not pool and (own or np.ptp(initial) == 0):
            return list(range(len(self.session.experts))), initial, []
        initial = floored(initial, FLOOR)
        components, failures = choose_types(self.session, initial, each_once=not pool, keep=self.keep)
        if not pool:  # columns keep the order of the experts
            order = np.argsort(components, kind="stable")
            components, initial = [components[k] for k in order], initial[:, order]
        return components, initial, failures

    def run(self, components: Sequence[int], initial: Array, max_rounds: int | None = None) -> Round:
        """Alternate between experts and gate, and return the best round.

        Out of fold, the loop ends with the first round whose loss is not lower than the best by more than one
        standard error. In sample it is EM (Dempster, Laird & Rubin 1977), until the likelihood stands still; a round
        that lowers the likelihood, as experts and gates do that do not maximise it, is not kept and ends the loop.
        """
        sample_weight = self.problem.weight
        alive, weights, trust = list(components), initial, np.ones_like(initial)
        best: Round | None = None
        most = self.settings.max_rounds if max_rounds is None else max_rounds
        for number in range(1, most + 1):
            if best is not None and not self.session.deadline.allows("further rounds of the mixture"):
                break
            this = self._round(number, alive, weights, trust)
            if len(this.alive) < len(alive):
                best = None  # its columns are others
            if self.in_sample and best is not None and this.log_likelihood < best.log_likelihood:
                self.history.pop()
                break
            emit(Event("round", f"round {number}", number, most, self.history[-1]))
            gained = best is None or self.in_sample or self._gained(best, this)
            still = (
                self.in_sample
                and best is not None
                and abs(this.log_likelihood - best.log_likelihood) <= TOLERANCE * abs(best.log_likelihood)
            )
            if best is None or self.in_sample or this.mean_loss(sample_weight) < best.mean_loss(sample_weight):
                best = this
            if not gained or still:
                break
            alive, weights, trust = this.alive, this.responsibilities, this.trust
            if self.in_sample:
                continue
            enough = self._components_with_rows(this)
            if len(enough) < len(alive):
                weights, trust, alive = _without(weights, enough), trust[:, enough], [alive[j] for j in enough]
                emit(Event("prune", f"{len(enough)} components left", number, most))
            else:
                next_weights = weights * trust
                moved = np.average(np.abs(next_weights - this.fit_weights).sum(axis=1), weights=sample_weight)
                if moved < SMALLEST_MOVE or (_flat(this.fit_weights) and _flat(next_weights)):
                    break
            weights = floored(weights, FLOOR)
        assert best is not None
        return best

    def single_expert_instead(self, several: Round) -> Round:
        """The best single expert, if the regimes do not lower its loss by more than 1.75 standard errors."""
        if self.problem.n_classes is None and not self.settings.by_error:
            return several  # a density is not compared with an error
        expert, losses, rows = best_single(self.session, self.keep)
        # On the folds that it was fitted for, before it is fitted for the others.
        if self._simpler(losses, several.row_loss[rows], several.judged[rows], rows) == 1:
            return several
        alone = self.run([expert], np.ones((self.problem.n, 1)))
        everywhere = np.arange(self.problem.n)
        judged = several.judged & alone.judged
        return (alone, several)[self._simpler(alone.row_loss, several.row_loss, judged, everywhere)]

    def final_gates(self, best: Round) -> list[FittedGate]:
        """The gate of each target: the simplest of all candidates within 1.75 standard errors of the best."""
        if self.in_sample:
            return [target.gate for target in best.targets]
        return [
            self._final_gate(self.problem.target(t), of_target(self.problem, best.predictions, t), target, best.weights)
            for t, target in enumerate(best.targets)
        ]

    def refit(self, best: Round) -> tuple[Round, list[Any]]:
        """The experts of the best round, fitted on all rows or averaged over folds."""
        if self.in_sample:
            return best, [best.predictions.models[name, 0] for name in best.predictions.names]
        if not self.settings.refit:
            return best, self.session.fold_averages(best.predictions)
        fitted, failures = self.session.fit_all(best.alive, None if _flat(best.fit_weights) else best.fit_weights)
        self.failures += failures
        if len(fitted) < len(best.alive):
            kept = list(fitted)
            best = replace(
                self.judged(
                    _without(best.weights, kept),
                    best.predictions.take(kept),
                    best.number,
                    [best.alive[j] for j in kept],
                ),
                fit_weights=best.fit_weights[:, kept],
            )
        return best, list(fitted.values())

    def judged(self, weights: Array, predictions: OutOfFold, number: int, alive: list[int]) -> Round:
        """A round, given responsibilities and predictions: likelihood, gate and responsibilities for every target."""
        problem = self.problem
        if problem.n_targets is None:
            targets = [self._target(problem, predictions, weights)]
            loss = targets[0].row_loss
        else:
            targets = [
                self._target(problem.target(t), of_target(problem, predictions, t), weights)
                for t in range(problem.n_targets)
            ]
            # Squared errors of different targets have different units; log densities have none, nor have labels.
            unit = np.maximum(target_units(problem) ** 2, np.finfo(float).tiny)
            unit = unit if self.settings.by_error else np.ones(problem.n_targets)
            loss = np.mean([target.row_loss / unit[t] for t, target in enumerate(targets)], axis=0)
        total = float(sum(problem.weight @ target.density for target in targets))
        return Round(number, alive, weights, weights, predictions, targets, loss, total)

    def row_of(self, this: Round) -> dict[str, Any]:
        """A row of the history."""
        weights, weight = _mean([target.gate.weights for target in this.targets]), self.problem.weight
        with np.errstate(divide="ignore", invalid="ignore"):
            entropy = -np.nansum(np.where(weights > 0, weights * np.log(weights), 0), axis=1)
        means = np.average(weights, axis=0, weights=weight)
        shares = {f"share_{name}": float(mean) for name, mean in zip(this.predictions.names, means, strict=True)}
        return {
            "round": this.number,
            "loss": this.mean_loss(weight),
            "log_likelihood": this.log_likelihood,
            "entropy": float(np.average(entropy, weights=weight)),
            "seconds": this.seconds,
            **shares,
        }

    def _best_start_in_sample(self) -> tuple[Array, list[dict[str, Any]]]:
        """Clusters and random starts compete on the likelihood itself: in sample a round is cheap."""
        problem, search = self.problem, self.settings.search
        columns = problem.X if self.base is None else self.base
        target = problem.y.reshape(problem.n, -1)
        names = [("kmeans", 0), ("gmm", 0), *(("random", s) for s in range(RANDOM_STARTS))]
        starts = [
            (name, make_start(name, columns, target, search.n_pool, search.seed + s, problem.weight))
            for name, s in names
        ]
        scores = []
        for _, start in starts:
            trial = Alternation(self.session, self.settings)
            components, initial, _ = trial.assign(start)
            scores.append(-trial.run(components, initial, SHORT_RUN).log_likelihood)
        order = np.argsort(scores, kind="stable")
        return starts[order[0]][1], [{"start": starts[i][0], "score": scores[i]} for i in order]

    def _round(self, number: int, alive: list[int], weights: Array, trust: Array) -> Round:
        started = time.perf_counter()
        fit_weights = weights * trust
        uniform = not self.in_sample and _flat(fit_weights)
        kept, predictions = self.session.cross_fit(alive, None if uniform else fit_weights, keep=self.keep)
        self.failures += predictions.failures
        predictions = predictions.mapped(partial(admissible, self.settings.likelihood))
        if len(kept) < len(alive):
            weights, fit_weights, alive = _without(weights, kept), fit_weights[:, kept], [alive[j] for j in kept]
        this = replace(self.judged(weights, predictions, number, alive), fit_weights=fit_weights)
        this.seconds = time.perf_counter() - started
        self.history.append(self.row_of(this))
        return this

    def _target(self, problem: Problem, predictions: OutOfFold, weights: Array) -> TargetRound:
        """Likelihood, gate and responsibilities for one target, from predictions and earlier responsibilities."""
        settings, folds = self.settings, self.folds
        rows, values, scale = folds.held_out, predictions.values, predictions.scale
        Z = settings.features.join(self.base, values)
        responsibilities = weights
        seen: Any = ... if rows.all() else rows  # `...` is a view; a mask would copy every table
        X = problem.X if rows.all() else take_rows(problem.X, np.flatnonzero(rows))
        own = None if scale is None else scale[seen]
        gate: FittedGate | None = None
        for _ in range(1 if self.in_sample else INNER_STEPS):
            log_prob = None  # free the table of the last pass before the next is made
            share = responsibilities[seen] * problem.weight[seen, None]
            likelihood = clone(settings.likelihood).fit(problem.y[seen], values[seen], share, scale=own, X=X)
            log_prob = likelihood.log_prob(problem.y, values, scale=scale, X=problem.X)
            if self.in_sample:
                fitted = fit_responsibilities(settings.gates[0], Z, responsibilities, problem.weight)
                gate = FittedGate(fitted, fitted.predict_proba(Z), rows)
            else:
                gate = self._round_gate(self._fitting(problem, Z, log_prob), gate)
            responsibilities, density = posterior(gate.weights, log_prob)
        assert gate is not None
        assert log_prob is not None
        if not rows.all():
            never = np.flatnonzero(~rows)
            responsibilities[never] = gate.gate.predict_proba(take_rows(Z, never))
        trust = None
        if hasattr(likelihood, "trust"):
            trust = likelihood.trust(problem.y, values, scale=scale, X=problem.X)
            trust = np.where(np.isfinite(trust), trust, 1.0)
        loss = settings.row_loss(problem.y, values, gate.weights, log_prob)
        return TargetRound(likelihood, gate, responsibilities, trust, loss, np.where(rows, density, 0.0))

    def _fitting(self, problem: Problem, Z: Any, log_prob: Array) -> GateFitting:
        score = LogScore(log_prob)
        return GateFitting(
            Z, self.folds, score, log_prob, problem.weight, self.settings.constant, groups=problem.groups
        )

    def _round_gate(self, fitting: GateFitting, before: FittedGate | None) -> FittedGate:
        """The gate of a round: the first of the candidates, or constant weights where these compete and suffice."""
        if before is not None and before.penalty == np.inf:
            return fitting.fit_constant()
        fitted = fitting.fit(self.settings.gates[0], before)
        if before is not None or not self.settings.constant_competes or fitting.n_experts == 1:
            return fitted
        return fitting.best([fitting.fit_constant(), fitted])

    def _final_gate(
        self, problem: Problem, predictions: OutOfFold, target: TargetRound, fitted_with: Array
    ) -> FittedGate:
        """All gates, fitted to the likelihood and to the responsibilities that fitted the experts."""
        values, settings = predictions.values, self.settings
        if values.shape[1] == 1:
            return target.gate
        log_prob = target.likelihood.log_prob(problem.y, values, scale=predictions.scale, X=problem.X)
        error = SquaredError(problem.y, values) if values.ndim == 2 and settings.by_error else None
        fitting = self._fitting(problem, settings.features.join(self.base, values), log_prob)
        fitting = replace(fitting, judge=error, top_k=settings.top_k, labels=target.responsibilities)
        fittings = [fitting]
        if np.ptp(fitted_with) > 0:
            logs = np.log(np.maximum(fitted_with, SMALLEST_RESPONSIBILITY))
            fittings.append(fitting.minimising(LogScore(logs)))
        known = target.gate if target.gate.penalty != np.inf else None
        return select_gate(
            fittings, settings.gates, constant=settings.constant_competes, known=known, deadline=self.session.deadline
        )

    def _components_with_rows(self, this: Round) -> list[int]:
        """Components that explain enough rows, where they may be given up; the largest always does."""
        mass = self.problem.counts @ this.responsibilities
        if self.settings.search.n_experts is None:
            return list(range(len(mass)))
        least = min(fewest_rows(float(self.problem.counts.sum())), float(mass.max()))
        return [k for k in range(len(mass)) if mass[k] >= least]

    def _gained(self, best: Round, this: Round) -> bool:
        """Whether a round betters the best one by more than 1.75 standard errors."""
        rows = np.arange(self.problem.n)
        return self._simpler(best.row_loss, this.row_loss, best.judged & this.judged, rows) == 1

    def _simpler(self, simple: Array, rich: Array, judged: NDArray[np.bool_], rows: NDArray[np.intp]) -> int:
        """Which of two losses (m,) of some rows is to be preferred: 0, the simple one, unless 1 is clearly lower."""
        groups = None if self.problem.groups is None else self.problem.groups[rows]
        weight = np.where(judged, self.problem.weight[rows], 0.0)
        return simplest(np.column_stack([simple, rich]), weight, groups)


def of_target(problem: Problem, predictions: OutOfFold, t: int) -> OutOfFold:
    """The predictions for one target, as `Problem.target` has it."""
    return predictions if problem.n_targets is None else predictions.target(t, label=problem.several_labels)


def _mean(tables: list[Array]) -> Array:
    return tables[0] if len(tables) == 1 else np.asarray(np.mean(tables, axis=0))


def _flat(weights: Array) -> bool:
    """Whether no component (n, K) has different responsibilities in different rows."""
    return bool(np.ptp(weights, axis=0).max() < 1e-12)


def _without(weights: Array, kept: list[int]) -> Array:
    """Responsibilities of the components that are kept, summing to one again."""
    left = weights[:, kept]
    total = left.sum(axis=1, keepdims=True)
    return np.where(total > 0, left / np.where(total > 0, total, 1), 1 / len(kept))
