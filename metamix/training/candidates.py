"""The candidates, from simple to rich, each with its out-of-fold predictions; and the blend of them."""

from __future__ import annotations

from collections.abc import Iterator
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
from metamix.training.error_correlation import headroom
from metamix.training.gate_fitting import FittedGate, GateFitting, select_gate
from metamix.training.losses import LogScore, SquaredError
from metamix.training.selection import SMALLEST_PROBABILITY, HeldOutLoss
from metamix.training.stacking import EstimatorStack
from metamix.training.variance import ColumnVariance, fit_column_variance
from metamix.training.verdict import Verdict

__all__ = ["CANDIDATES", "CandidateSettings", "TargetBlend", "fit_candidates"]

Array = NDArray[np.float64]

#: Names of candidates, the simplest first; no expert may have one of them.
CANDIDATES = (
    "mean of y", "best single", "average", "convex", "stack", "feature-weighted stack", "gated", "mixture",
    "stack with mixture",
)  # fmt: skip
#: Columns of the second level, in their order.
STACK, FEATURE_STACK, JOINT_STACK, MEAN = "stack", "feature-weighted stack", "stack with mixture", "mean"
#: Weights of the blend below this are dropped.
SMALLEST_WEIGHT = 0.01
#: Points on the path from the simplest good candidate to the blend.
PATH = np.linspace(0.0, 1.0, 11)
#: The likelihood and the responsibilities of the columns settle in so many steps.
SETTLING_STEPS = 5


@dataclass(frozen=True)
class CandidateSettings:
    """What candidates are made of, resolved and unfitted.

    Parameters
    ----------
    gates : tuple of gates
        Candidates for the gate over experts and stacks, the simplest first.
    constant : gate
    constant_competes : bool
        Whether constant weights are a candidate for that gate.
    stack, feature_stack : stack
        Final estimators; the second is None for classes.
    likelihood : likelihood
    features : GateFeatures
        Fitted.
    final : {"blend", "best", "simplest"}
    objective : {"prediction", "likelihood"}
    top_k : int or None
        Weights that the gate over experts and stacks keeps per row.
    classes : ndarray of shape (C,) or None
    scoring : None, str or callable
    """

    gates: tuple[Any, ...]
    constant: Any
    constant_competes: bool
    stack: Any
    feature_stack: Any
    likelihood: Any
    features: GateFeatures
    final: str = "blend"
    objective: str = "prediction"
    top_k: int | None = None
    classes: NDArray[Any] | None = None
    scoring: Any = None


@dataclass(frozen=True)
class TargetBlend:
    """What was learned about one target.

    Parameters
    ----------
    stacks : dict from column to (fitted stack, how many columns of the first level it sees)
    mean : float or ndarray of shape (C,)
        Mean of y, or the shares of the classes.
    gate : fitted gate
        Over the columns `gate_columns`.
    gate_columns : ndarray of int
    gate_share : float
        Weight of the candidate "gated" in the blend.
    candidate_weights : dict from candidate to ndarray of shape (K,)
        Weights of the columns that make each candidate; None for the gated one.
    constant_weights : ndarray of shape (K,)
        What the other candidates of the blend contribute; sums to 1 - gate_share.
    likelihood : fitted likelihood
    variance : ColumnVariance or None
    predictions, responsibilities : ndarray of shape (n, K) or (n, K, C), and (n, K)
        Out of fold.
    candidates : list of dict
        A row for each candidate, and one for the blend.
    verdict : Verdict
    """

    stacks: dict[str, tuple[Any, int]]
    mean: Any
    gate: Any
    gate_columns: NDArray[np.intp]
    gate_share: float
    candidate_weights: dict[str, Array | None]
    constant_weights: Array
    likelihood: Any
    variance: ColumnVariance | None
    predictions: Array
    responsibilities: Array
    candidates: list[dict[str, Any]]
    verdict: Verdict

    def weights(self, given: Array | None, n: int, top_k: int | None) -> Array:
        """Weights (n, K) of the columns, from those of the gate (n, G); None where it has no share."""
        weights = np.tile(self.constant_weights, (n, 1))
        if given is not None:
            weights[:, self.gate_columns] += self.gate_share * keep_top(given, top_k)
        return weights


@dataclass
class _Candidate:
    """Out-of-fold predictions of one candidate, and the weights (K,) of the columns that make it."""

    predictions: Array
    weights: Array
    #: Whether its predictions are those of an earlier candidate.
    repeated: bool = False


@dataclass
class _Columns:
    """Columns of both levels for one target."""

    names: list[str]
    values: Array
    stacks: dict[str, tuple[Any, int]] = field(default_factory=dict)

    def add(self, name: str, values: Array, stack: tuple[Any, int] | None = None) -> None:
        self.names.append(name)
        self.values = np.concatenate([self.values, values[:, None]], axis=1)
        if stack is not None:
            self.stacks[name] = stack

    def one(self, name: str) -> Array:
        """All weight (K,) on one column."""
        return np.eye(len(self.names))[self.names.index(name)]


def fit_candidates(
    problem: Problem,
    folds: Folds,
    base: Any,
    stack_features: Array | None,
    first_level: OutOfFold,
    n_experts: int,
    n_regimes: int | None,
    settings: CandidateSettings,
) -> TargetBlend:
    """Fit all candidates on out-of-fold predictions, compare them, and blend them, for one target.

    Whatever is learned from out-of-fold predictions is cross-fitted once more.

    Parameters
    ----------
    problem : Problem
        With one target.
    folds : Folds
        Of the second level.
    base : array, sparse matrix, frame or None
        Gate features from X alone.
    stack_features : ndarray of shape (n, q) or None
        Columns that the feature-weighted stack looks at.
    first_level : OutOfFold
        The experts, then the specialised mixture where there is one.
    n_experts : int
        Columns that are experts: all, or all but the last.
    n_regimes : int or None
        Of the mixture; with 1 its column repeats the best single expert.
    settings : CandidateSettings

    Returns
    -------
    TargetBlend
    """
    fit = _CandidateFit(problem, folds, base, stack_features, first_level, n_experts, n_regimes, settings)
    return fit.run()


@dataclass
class _CandidateFit:
    problem: Problem
    folds: Folds
    base: Any
    stack_features: Array | None
    first_level: OutOfFold
    n_experts: int
    n_regimes: int | None
    settings: CandidateSettings

    @property
    def has_mixture(self) -> bool:
        return self.n_regimes is not None

    def run(self) -> TargetBlend:
        columns, mean = self._columns()
        gate_columns, gate = self._gate(columns)
        candidates = self._candidates(columns, gate_columns, gate)
        loss = self._loss(gate.judged)
        weights, blended = self._final(candidates, loss)
        rows, verdict = self._verdict(candidates, weights, blended, loss)
        constant = np.sum([w * candidates[name].weights for name, w in weights.items() if name != "gated"], axis=0)
        constant = np.zeros(len(columns.names)) + constant
        out_of_fold = np.tile(constant, (self.problem.n, 1))
        share = weights.get("gated", 0.0)
        out_of_fold[:, gate_columns] += share * keep_top(gate.weights, self.settings.top_k)
        likelihood, responsibilities, variance = self._likelihood(columns, out_of_fold)
        made_of = {name: None if name == "gated" else one.weights for name, one in candidates.items()}
        return TargetBlend(
            columns.stacks, mean, gate.gate, gate_columns, share, made_of, constant, likelihood, variance,
            columns.values, responsibilities, rows, verdict,
        )  # fmt: skip

    def _columns(self) -> tuple[_Columns, Any]:
        """Columns of both levels: experts, mixture, stack, feature-weighted stack, stack with mixture, mean."""
        settings, E = self.settings, self.n_experts
        values = self.first_level.values
        columns = _Columns(list(self.first_level.names), values)
        columns.add(STACK, *self._stack(settings.stack, values[:, :E], None))
        if settings.feature_stack is not None:
            columns.add(FEATURE_STACK, *self._stack(settings.feature_stack, values[:, :E], self.stack_features))
        if self.has_mixture:
            if self.n_regimes == 1:  # the mixture is the best single expert
                columns.add(JOINT_STACK, columns.values[:, columns.names.index(STACK)], columns.stacks[STACK])
            else:
                own = settings.feature_stack is None or isinstance(settings.stack, EstimatorStack)
                joint = settings.stack if own else settings.feature_stack
                columns.add(JOINT_STACK, *self._stack(joint, values, self.stack_features))
        means, mean = self._mean()
        columns.add(MEAN, means)
        return columns, mean

    def _stack(self, stack: Any, values: Array, features: Array | None) -> tuple[Array, tuple[Any, int]]:
        """Out-of-fold predictions of a final estimator; and it, fitted on every held-out row, with its width."""
        problem, folds = self.problem, self.folds
        pairs = [(rows, test) for rows, test in self._open() if len(rows) > 1]
        rows = np.flatnonzero(folds.held_out & (problem.weight > 0))
        fitted = clone(stack).fit(
            values, problem.y, pairs, rows=rows, sample_weight=problem.sample_weight, features=features
        )
        known = np.isfinite(fitted.oof_).reshape(problem.n, -1).all(axis=1)
        predictions = np.asarray(values.mean(axis=1))  # where no fold can fit a stack, the plain average
        predictions[known] = fitted.oof_[known]
        return predictions, (fitted, values.shape[1])

    def _mean(self) -> tuple[Array, Any]:
        """Out-of-fold means of y (n,), or shares of the classes (n, C); and those of all rows."""
        problem = self.problem
        target = problem.y.astype(np.float64) if problem.n_classes is None else np.eye(problem.n_classes)[problem.y]
        whole = np.average(target, axis=0, weights=problem.weight)
        means = np.full(target.shape, np.nan)
        means[self.folds.held_out] = whole  # where no fold can learn, the mean of all rows
        for rows, test in self._open():
            means[test] = np.average(target[rows], axis=0, weights=problem.weight[rows])
        if problem.n_classes is not None:  # a fold may lack a class: one row more, shared by all classes
            smooth = 1 / (1 + problem.weight.sum())
            means, whole = ((1 - smooth) * one + smooth / problem.n_classes for one in (means, whole))
        return means, whole

    def _open(self) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
        """Rows to fit and rows to judge, of every fold that has both."""
        for f in range(len(self.folds)):
            rows, test = self.folds.train_rows(f), self.folds.test_rows(f)
            if len(rows) and len(test) and self.problem.weight[rows].any():
                yield rows, test

    def _gate(self, columns: _Columns) -> tuple[NDArray[np.intp], FittedGate]:
        """The gate over the experts and the stacks that see them, and its columns."""
        settings, problem = self.settings, self.problem
        stacks = [columns.names.index(name) for name in (STACK, FEATURE_STACK) if name in columns.names]
        inside = [*range(self.n_experts), *stacks]
        values = columns.values[:, inside]
        own = self.first_level.scale
        scale = None
        if own is not None:
            scale = np.full(values.shape, np.nan)
            scale[:, : self.n_experts] = own[:, : self.n_experts]
        even = np.full(values.shape[:2], 1 / len(inside))
        log_prob = self._fit_likelihood(values, even, scale)[1]
        Z = settings.features.join(self.base, values)
        score = LogScore(log_prob)
        fitting = GateFitting(
            Z, self.folds, score, log_prob, problem.weight, settings.constant, top_k=settings.top_k,
            labels=posterior(even, log_prob)[0], groups=problem.groups,
        )  # fmt: skip
        fittings = [fitting]
        if problem.n_classes is None and settings.objective == "prediction":
            error = SquaredError(problem.y, values)
            # The squared error is minimised from the best constant weights, where an expert without weight is hardly
            # found; the likelihood finds it. Both are candidates.
            by_error = fitting.minimising(error)
            fittings = [replace(by_error, judge=None), replace(fitting, judge=error)]
        return np.array(inside), select_gate(
            fittings, settings.gates, constant=settings.constant_competes, refine=False
        )

    def _candidates(self, columns: _Columns, gate_columns: NDArray[np.intp], gate: FittedGate) -> dict[str, _Candidate]:
        """All candidates, the simplest first."""
        E, K = self.n_experts, len(columns.names)
        experts, loss = columns.values[:, :E], self._loss(self.folds.held_out)
        losses = [loss.mean(loss.units(experts[:, k])) for k in range(E)]
        best = columns.one(columns.names[int(np.argmin(losses))])
        average = np.where(np.arange(K) < E, 1 / E, 0.0)
        convex = self._convex(experts)
        found = {
            "mean of y": _Candidate(columns.values[:, -1], columns.one(MEAN)),
            "best single": _Candidate(experts[:, int(np.argmax(best))], best),
            "average": _Candidate(experts.mean(axis=1), average),
            "convex": _Candidate(combine(convex.weights, experts), np.append(_constant_of(convex), np.zeros(K - E))),
            "stack": self._column(columns, STACK),
        }
        if FEATURE_STACK in columns.names:
            found["feature-weighted stack"] = self._column(columns, FEATURE_STACK)
        kept = keep_top(gate.weights, self.settings.top_k)
        found["gated"] = _Candidate(combine(kept, columns.values[:, gate_columns]), np.zeros(K))
        if self.has_mixture:
            mixture, single = self._column(columns, columns.names[E]), found["best single"].predictions
            mixture.repeated = np.array_equal(mixture.predictions, single, equal_nan=True)
            found["mixture"] = mixture
            found["stack with mixture"] = replace(self._column(columns, JOINT_STACK), repeated=self.n_regimes == 1)
        return found

    def _column(self, columns: _Columns, name: str) -> _Candidate:
        return _Candidate(columns.values[:, columns.names.index(name)], columns.one(name))

    def _convex(self, values: Array) -> FittedGate:
        """Constant weights on the simplex, cross-fitted."""
        problem = self.problem
        objective, log_prob = self._objective(values)
        return GateFitting(None, self.folds, objective, log_prob, problem.weight, self.settings.constant).fit_constant()

    def _objective(self, values: Array) -> tuple[LogScore | SquaredError, Array]:
        """Loss of a weighted sum of predictions (n, P) or (n, P, C)."""
        problem = self.problem
        if problem.n_classes is None:
            return SquaredError(problem.y, values), values
        log_prob = np.log(np.clip(values[np.arange(problem.n), :, problem.y], SMALLEST_PROBABILITY, 1.0))
        return LogScore(log_prob), log_prob

    def _loss(self, judged: NDArray[np.bool_]) -> HeldOutLoss:
        problem, fold = self.problem, np.where(judged, self.folds.partition, -1)
        if not problem.weight[fold >= 0].any():
            fold = self.folds.partition
        return HeldOutLoss(
            problem.y, problem.weight, fold, self.settings.classes, self.settings.scoring, problem.groups
        )

    def _final(self, candidates: dict[str, _Candidate], loss: HeldOutLoss) -> tuple[dict[str, float], Array]:
        """Weights of the candidates in the prediction, and its out-of-fold predictions."""
        names = list(candidates)
        units = [loss.units(one.predictions) for one in candidates.values()]
        simple = names[loss.simplest(units)]
        final = self.settings.final
        if final != "blend":
            chosen = simple if final == "simplest" else names[int(np.argmin([loss.mean(one) for one in units]))]
            return {chosen: 1.0}, candidates[chosen].predictions
        distinct = [name for name in names if not candidates[name].repeated]
        stacked = np.stack([candidates[name].predictions for name in distinct], axis=1)
        fitted = self._convex(stacked)
        blend = combine(_without_small(fitted.weights), stacked)
        weights = _without_small(_constant_of(fitted)[None])[0]
        simplest = candidates[simple].predictions
        path = [(1 - a) * simplest + a * blend for a in PATH]
        along = int(np.argmin([loss.mean(loss.units(one)) for one in path]))
        shares = {name: float(PATH[along] * w) for name, w in zip(distinct, weights, strict=True)}
        shares[simple] = shares.get(simple, 0.0) + float(1 - PATH[along])
        return {name: w for name, w in shares.items() if w > 0}, path[along]

    def _verdict(
        self, candidates: dict[str, _Candidate], weights: dict[str, float], blended: Array, loss: HeldOutLoss
    ) -> tuple[list[dict[str, Any]], Verdict]:
        units = {name: loss.units(one.predictions) for name, one in candidates.items()}
        means = {name: loss.mean(one) for name, one in units.items()}
        best = min(means, key=means.__getitem__)
        winner = list(units)[loss.simplest(list(units.values()))]
        units["blend"] = loss.units(blended)
        rows = []
        for name, one in units.items():
            difference = loss.difference(one, units[best])
            rows.append(
                {
                    "candidate": name,
                    "loss": loss.mean(one),
                    "difference": difference.mean,
                    "standard_error": difference.standard_error,
                    "weight": weights.get(name, 0.0) if name != "blend" else 1.0,
                }
            )
        E, problem = self.n_experts, self.problem
        single = int(np.argmax(candidates["best single"].weights))
        verdict = Verdict(
            winner, means[winner], best,
            loss.difference(units[winner], units["blend"]), loss.difference(units["best single"], units[winner]),
            weights, self.first_level.names[single], loss.measure, self.n_regimes, self._not_measured(loss),
            headroom(problem.y, self.first_level.values[:, :E], problem.weight),
        )  # fmt: skip
        return rows, verdict

    def _not_measured(self, loss: HeldOutLoss) -> tuple[str, ...]:
        found = []
        unseen = int((loss.fold < 0).sum())
        if unseen:
            found.append(f"{unseen} of {len(loss.fold)} rows, which no fold could judge")
        if self.first_level.failures:
            failed = sorted({failure.expert for failure in self.first_level.failures})
            found.append(f"experts that failed ({', '.join(failed)})")
        return tuple(found)

    def _likelihood(self, columns: _Columns, weights: Array) -> tuple[Any, Array, ColumnVariance | None]:
        """Likelihood and responsibilities (n, K) of the columns under the out-of-fold weights."""
        problem, values = self.problem, columns.values
        own, scale, variance = self.first_level.scale, None, None
        if own is not None:
            scale = np.full(values.shape, np.nan)
            scale[:, : own.shape[1]] = own
            if self.has_mixture and getattr(self.settings.likelihood, "scale_is_deviation", False):
                judged = np.where(self.folds.held_out, problem.weight, 0.0)
                errors = values - problem.y[:, None]
                variance = fit_column_variance(errors, scale, self.n_experts, problem.y, judged)
                scale = variance(scale)
        likelihood, log_prob = self._fit_likelihood(values, weights, scale, variance)
        for _ in range(SETTLING_STEPS):
            likelihood, log_prob = self._fit_likelihood(values, posterior(weights, log_prob)[0], scale, variance)
        responsibilities = posterior(weights, log_prob)[0]
        never = ~self.folds.held_out
        responsibilities[never] = weights[never]
        return likelihood, responsibilities, variance

    def _fit_likelihood(
        self, values: Array, share: Array, scale: Array | None, variance: ColumnVariance | None = None
    ) -> tuple[Any, Array]:
        """The likelihood given responsibilities (n, K) of the columns, and log densities (n, K)."""
        problem, held_out = self.problem, self.folds.held_out
        seen: Any = ... if held_out.all() else held_out
        X = problem.X if held_out.all() else take_rows(problem.X, np.flatnonzero(held_out))
        own = None if scale is None else scale[seen]
        share = share[seen] * problem.weight[seen, None]
        fitted = clone(self.settings.likelihood).fit(problem.y[seen], values[seen], share, scale=own, X=X)
        if variance is not None and hasattr(fitted, "factor_"):
            # The noise of these columns was learned from the same errors already.
            fitted.factor_ = np.where(variance.follows, 1.0, fitted.factor_)
        return fitted, fitted.log_prob(problem.y, values, scale=scale, X=problem.X)


def _constant_of(fitted: FittedGate) -> Array:
    """Weights (P,) of a fitted gate that does not look at x."""
    return np.asarray(fitted.gate.predict_proba(np.empty((1, 0)))[0])


def _without_small(weights: Array) -> Array:
    """Weights (n, P) without those too small to matter."""
    kept = np.where(weights < SMALLEST_WEIGHT, 0.0, weights)
    return np.asarray(kept / kept.sum(axis=1, keepdims=True))
