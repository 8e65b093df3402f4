"""The candidates, from simple to rich, each with its out-of-fold predictions; and the blend of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from metamix.data.folds import Folds
from metamix.data.gate_features import GateFeatures
from metamix.data.tables import take_rows
from metamix.deadline import Deadline
from metamix.fitting import Problem
from metamix.fitting.out_of_fold import OutOfFold
from metamix.recombination import combine, keep_top, posterior
from metamix.training.blend import TargetBlend
from metamix.training.error_correlation import headroom
from metamix.training.final import FinalChoices
from metamix.training.gate_fitting import FittedGate, GateFitting, select_gate
from metamix.training.last_fold import worse_last_fold
from metamix.training.losses import Deviance, LogScore, SquaredError
from metamix.training.prediction import admissible
from metamix.training.recalibration import Calibration, fit_calibration
from metamix.training.selection import SMALLEST_PROBABILITY, HeldOutLoss
from metamix.training.stacking import EstimatorStack
from metamix.training.variance import ColumnVariance, fit_column_variance
from metamix.training.verdict import CLEAR, NOTHING_LEARNED, ONLY_THE_MIXTURE, UNWEIGHTED, Verdict

__all__ = ["CANDIDATES", "JOINT_STACK", "MIXTURE", "CandidateFit", "CandidateSettings"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

#: Names of candidates, the simplest first; no expert may have one of them.
CANDIDATES = (
    "mean of y", "best single", "average", "convex", "stack", "feature-weighted stack", "gated", "mixture",
    "stack with mixture",
)  # fmt: skip
#: Candidates that are learned from the out-of-fold predictions of others.
LEARNED = {"convex", "stack", "feature-weighted stack", "gated", "stack with mixture"}
#: Of candidates within so many standard errors of the winner, nested predictions may name another.
DOUBT = 3.0
#: Columns of the second level, in their order.
MIXTURE, STACK, FEATURE_STACK, JOINT_STACK, MEAN = (
    "mixture", "stack", "feature-weighted stack", "stack with mixture", "mean",
)  # fmt: skip
#: Weights of the blend below this are dropped.
SMALLEST_WEIGHT = 0.01
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


@dataclass
class _Candidate:
    """Out-of-fold predictions of one candidate, and the weights (K,) of the columns that make it."""

    predictions: Array
    weights: Array
    #: Whether its predictions are those of an earlier candidate.
    repeated: bool = False


@dataclass
class _Columns:
    """Columns of both levels for one target.

    `inside` has, for each fold, what is fitted where that fold is judged: predictions of models that have not seen
    the rows that it holds out. None where nothing is nested: what is fitted is what is judged.
    """

    names: list[str]
    values: Array
    inside: list[Array] | None = None
    stacks: dict[str, tuple[Any, int]] = field(default_factory=dict)

    def add(
        self, name: str, values: Array, stack: tuple[Any, int] | None = None, inside: list[Array] | None = None
    ) -> None:
        """Append a column; without values inside the folds nothing is fitted to it."""
        self.names.append(name)
        self.values = np.concatenate([self.values, values[:, None]], axis=1)
        if self.inside is not None:
            added = [values] * len(self.inside) if inside is None else inside
            pairs = zip(self.inside, added, strict=True)
            self.inside = [np.concatenate([table, column[:, None]], axis=1) for table, column in pairs]
        if stack is not None:
            self.stacks[name] = stack

    def one(self, name: str) -> Array:
        """All weight (K,) on one column."""
        return np.eye(len(self.names))[self.names.index(name)]


@dataclass
class CandidateFit:
    """All candidates on out-of-fold predictions, compared and blended, for one target.

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
    deadline : Deadline, optional
        Limits how many gates are tried.
    """

    problem: Problem
    folds: Folds
    base: Any
    stack_features: Array | None
    first_level: OutOfFold
    n_experts: int
    n_regimes: int | None
    settings: CandidateSettings
    deadline: Deadline | None = None

    @property
    def has_mixture(self) -> bool:
        """Whether the last column of the first level is the specialised mixture."""
        return self.n_regimes is not None

    def close(self) -> bool:
        """Whether nested predictions could change the verdict already between candidates that need no gate."""
        columns, _ = self._columns
        loss = self._loss(self.folds.held_out)
        self._check_units(loss)
        return not self._rivals(*self._compare(self._candidates(columns), loss), loss)[1]

    def fit(self) -> tuple[TargetBlend, set[str]]:
        """What was learned; and the winner with those near it, if nested predictions could change the verdict."""
        columns, mean = self._columns
        gate_columns, gate = self._gate(columns)
        candidates = self._candidates(columns, gate_columns, gate)
        loss = self._loss(gate.judged)
        self._check_units(loss)
        units, distinct, winner = self._compare(candidates, loss)
        weights, blended = self._final(candidates, distinct, units, loss)
        rivals, clear = self._rivals(units, distinct, winner, loss)
        not_nested = clear if self.first_level.inside is None else ""
        units["blend"] = loss.units(blended)
        if self.settings.final == "blend" and loss.simplest([units["blend"], units[winner]]) == 1:
            # What to blend was chosen from too little: the candidate named is clearly better.
            weights, units["blend"] = {winner: 1.0}, units[winner]
        rows, verdict = self._verdict(candidates, distinct, units, winner, weights, loss)
        constant = np.zeros(len(columns.names))
        for name, weight in weights.items():
            constant += weight * candidates[name].weights
        out_of_fold = np.tile(constant, (self.problem.n, 1))
        share = weights.get("gated", 0.0)
        out_of_fold[:, gate_columns] += share * keep_top(gate.weights, self.settings.top_k)
        likelihood, responsibilities, variance, calibration = self._likelihood(columns, out_of_fold)
        made_of = {name: None if name == "gated" else one.weights for name, one in candidates.items()}
        target = TargetBlend(
            columns.stacks, mean, gate.gate, gate_columns, share, made_of, constant, likelihood, variance,
            calibration, columns.values, responsibilities, rows, replace(verdict, not_nested=not_nested),
            np.average(out_of_fold, axis=0, weights=self.problem.weight),
        )  # fmt: skip
        return target, set() if clear else rivals

    @staticmethod
    def _compare(candidates: dict[str, _Candidate], loss: HeldOutLoss) -> tuple[dict[str, Array], list[str], str]:
        """Losses of the candidates, the names of those that are no repetition, and of those the winner."""
        units = {name: loss.units(one.predictions) for name, one in candidates.items()}
        distinct = [name for name, one in candidates.items() if not one.repeated]
        return units, distinct, distinct[loss.simplest([units[name] for name in distinct])]

    @cached_property
    def _columns(self) -> tuple[_Columns, Any]:
        """Columns of both levels: experts, mixture, stack, feature-weighted stack, stack with mixture, mean.

        And the mean of y, or the shares of the classes, of all rows.
        """
        settings, E = self.settings, self.n_experts
        table = self.first_level
        inside = None if table.inside is None else [one.values for one in table.inside]
        columns = _Columns(list(table.names), table.values, inside)
        self._add_stack(columns, STACK, settings.stack, E, None)
        if settings.feature_stack is not None:
            self._add_stack(columns, FEATURE_STACK, settings.feature_stack, E, self.stack_features)
        if self.has_mixture:
            if self.n_regimes == 1:  # the mixture is the best single expert
                columns.add(JOINT_STACK, columns.values[:, columns.names.index(STACK)], columns.stacks[STACK])
            else:
                own = settings.feature_stack is None or isinstance(settings.stack, EstimatorStack)
                joint = settings.stack if own else settings.feature_stack
                self._add_stack(columns, JOINT_STACK, joint, E + 1, self.stack_features)
        means, mean = self._mean()
        columns.add(MEAN, means)
        return columns, mean

    def _add_stack(self, columns: _Columns, name: str, stack: Any, width: int, features: Array | None) -> None:
        """The column of a final estimator that sees the first columns, fitted on every held-out row in the end."""
        problem, folds, values = self.problem, self.folds, columns.values[:, :width]
        opened = [(f, rows, test) for f, rows, test in self._open(columns) if len(rows) > 1]
        inside = None if columns.inside is None else [columns.inside[f][:, :width] for f, _, _ in opened]
        fitted = clone(stack).fit(
            values, problem.y, [(rows, test) for _, rows, test in opened],
            rows=np.flatnonzero(folds.held_out & (problem.weight > 0)), sample_weight=problem.sample_weight,
            features=features, groups=problem.groups, inside=inside,
        )  # fmt: skip
        known = np.isfinite(fitted.oof_).reshape(problem.n, -1).all(axis=1)
        predictions = np.asarray(values.mean(axis=1))  # where no fold can fit a stack, the plain average
        predictions[known] = fitted.oof_[known]
        predictions = admissible(self.settings.likelihood, predictions)
        own = None
        if columns.inside is not None:
            own = [table[:, :width].mean(axis=1) for table in columns.inside]
            for (f, _, _), column in zip(opened, fitted.inside_, strict=True):
                own[f] = admissible(self.settings.likelihood, column)
        fitted.inside_ = None  # not needed any more
        columns.add(name, predictions, (fitted, width), own)

    def _mean(self) -> tuple[Array, Any]:
        """Out-of-fold means of y (n,), or shares of the classes (n, C); and those of all rows."""
        problem = self.problem
        target = problem.y.astype(np.float64) if problem.n_classes is None else np.eye(problem.n_classes)[problem.y]
        whole = np.average(target, axis=0, weights=problem.weight)
        means = np.full(target.shape, np.nan)
        means[self.folds.held_out] = whole  # where no fold can learn, the mean of all rows
        for _, rows, test in self._open():
            means[test] = np.average(target[rows], axis=0, weights=problem.weight[rows])
        if problem.n_classes is not None:  # a fold may lack a class: one row more, shared by all classes
            smooth = 1 / (1 + problem.counts.sum())
            means, whole = ((1 - smooth) * one + smooth / problem.n_classes for one in (means, whole))
        return means, whole

    def _open(self, columns: _Columns | None = None) -> Iterator[tuple[int, Rows, Rows]]:
        """Fold, rows to fit and rows to judge, of every fold that has both; with predictions inside where nested."""
        for f in range(len(self.folds)):
            rows, test = self.folds.train_rows(f), self.folds.test_rows(f)
            if columns is not None and columns.inside is not None:
                rows = rows[_known(columns.inside[f])[rows]]
            if len(rows) and len(test) and self.problem.weight[rows].any():
                yield f, rows, test

    def _gate(self, columns: _Columns) -> tuple[Rows, FittedGate]:
        """The gate over the experts and the stacks that see them, and its columns."""
        settings = self.settings
        stacks = [columns.names.index(name) for name in (STACK, FEATURE_STACK) if name in columns.names]
        seen = [*range(self.n_experts), *stacks]
        fittings = self._gate_fittings(columns.values[:, seen], self.first_level.scale, self.folds.held_out)
        if columns.inside is not None:
            nested = [
                self._gate_fittings(table[:, seen], self.first_level.for_fold(f).scale, _known(table))
                for f, table in enumerate(columns.inside)
            ]
            fittings = [replace(one, inside=[fold[i] for fold in nested]) for i, one in enumerate(fittings)]
        gate = select_gate(
            fittings, settings.gates, constant=settings.constant_competes, refine=False, deadline=self.deadline
        )
        return np.array(seen), gate

    def _gate_fittings(self, values: Array, own: Array | None, known: NDArray[np.bool_]) -> list[GateFitting]:
        """What gates over predictions (n, G) or (n, G, C) are fitted to, for each objective."""
        settings, problem = self.settings, self.problem
        scale = None
        if own is not None:
            scale = np.full(values.shape, np.nan)
            scale[:, : self.n_experts] = own[:, : self.n_experts]
        even = np.full(values.shape[:2], 1 / values.shape[1])
        log_prob = self._fit_likelihood(values, even, scale, known=known)[1]
        fitting = GateFitting(
            settings.features.join(self.base, values), self.folds, LogScore(log_prob), log_prob, problem.weight,
            settings.constant, top_k=settings.top_k, labels=posterior(even, log_prob)[0], groups=problem.groups,
            known=known,
        )  # fmt: skip
        if problem.n_classes is not None or settings.objective != "prediction":
            return [fitting]
        error = self._error(values)
        # The squared error is minimised from the best constant weights, where an expert without weight is hardly
        # found; the likelihood finds it. Both are candidates.
        return [replace(fitting, objective=error), replace(fitting, judge=error)]

    def _candidates(
        self, columns: _Columns, gate_columns: Rows | None = None, gate: FittedGate | None = None
    ) -> dict[str, _Candidate]:
        """All candidates, the simplest first; without a gate those that need none."""
        E, K = self.n_experts, len(columns.names)
        experts = columns.values[:, :E]
        loss = self._loss(self.folds.held_out)
        best = int(np.argmin([loss.mean(loss.units(experts[:, k])) for k in range(E)]))
        average = np.where(np.arange(K) < E, 1 / E, 0.0)
        convex = self._convex(experts, None if columns.inside is None else [one[:, :E] for one in columns.inside])
        found = {
            "mean of y": _Candidate(columns.values[:, -1], columns.one(MEAN)),
            "best single": _Candidate(experts[:, best], columns.one(columns.names[best])),
            "average": _Candidate(experts.mean(axis=1), average),
            "convex": _Candidate(combine(convex.weights, experts), np.append(_constant_of(convex), np.zeros(K - E))),
            "stack": self._column(columns, STACK),
        }
        if FEATURE_STACK in columns.names:
            found["feature-weighted stack"] = self._column(columns, FEATURE_STACK)
        if gate is not None:
            kept = keep_top(gate.weights, self.settings.top_k)
            found["gated"] = _Candidate(combine(kept, columns.values[:, gate_columns]), np.zeros(K))
        if self.has_mixture:
            one_regime = self.n_regimes == 1  # the mixture is the best single expert
            found["mixture"] = replace(self._column(columns, columns.names[E]), repeated=one_regime)
            found["stack with mixture"] = replace(self._column(columns, JOINT_STACK), repeated=one_regime)
        return found

    def _column(self, columns: _Columns, name: str) -> _Candidate:
        return _Candidate(columns.values[:, columns.names.index(name)], columns.one(name))

    def _convex(self, values: Array, inside: Sequence[Array] | None = None) -> FittedGate:
        """Constant weights on the simplex, cross-fitted."""
        nested = None if inside is None else [self._constant_fitting(one) for one in inside]
        return replace(self._constant_fitting(values), inside=nested).fit_constant()

    def _constant_fitting(self, values: Array) -> GateFitting:
        objective, log_prob = self._objective(values)
        known = self.folds.held_out & _known(values)
        return GateFitting(
            None, self.folds, objective, log_prob, self.problem.weight, self.settings.constant, known=known
        )

    def _error(self, values: Array) -> Deviance | SquaredError:
        """Loss of a weighted sum of predicted numbers (n, P): squared error, for counts the deviance."""
        counts = hasattr(self.settings.likelihood, "deviance")
        return (Deviance if counts else SquaredError)(self.problem.y, values)

    def _objective(self, values: Array) -> tuple[Deviance | LogScore | SquaredError, Array]:
        """Loss of a weighted sum of predictions (n, P) or (n, P, C)."""
        problem = self.problem
        if problem.n_classes is None:
            return self._error(values), values
        log_prob = np.log(np.clip(values[np.arange(problem.n), :, problem.y], SMALLEST_PROBABILITY, 1.0))
        return LogScore(log_prob), log_prob

    def _loss(self, judged: NDArray[np.bool_]) -> HeldOutLoss:
        problem, fold = self.problem, np.where(judged, self.folds.partition, -1)
        if not problem.weight[fold >= 0].any():
            fold = self.folds.partition
        return HeldOutLoss(
            problem.y, problem.weight, fold, self.settings.classes, self.settings.scoring, problem.groups,
            getattr(self.settings.likelihood, "deviance", None),
        )  # fmt: skip

    def _check_units(self, loss: HeldOutLoss) -> None:
        """ValueError where nothing is known of the noise of a difference: one row, group or fold is judged."""
        if loss.n_independent(loss.weight) > 1:
            return
        if loss.scoring is None:
            unit, remedy = "group" if loss.unit_groups is not None else "row", "give cv splits that hold out more"
        else:
            unit, remedy = "fold", "give cv more splits, or scoring=None, which judges row by row"
        raise ValueError(
            f"The candidates can be compared on one {unit} only, of which {loss.measure} is one figure without a "
            f"standard error; {remedy}."
        )

    def _final(
        self, candidates: dict[str, _Candidate], distinct: list[str], units: dict[str, Array], loss: HeldOutLoss
    ) -> tuple[dict[str, float], Array]:
        """Weights of the candidates in the prediction, and its out-of-fold predictions.

        Candidate, weights and the point on the path are chosen once more without each fold, for the predictions of its
        rows; where a single unit or group would be left to choose by, the overall choice stays.
        """
        stacked = np.stack([candidates[name].predictions for name in distinct], axis=1)
        fitted = self._convex(stacked)
        blend = combine(_without_small(fitted.weights), stacked)
        weights = _without_small(_constant_of(fitted)[None])[0]
        losses = np.column_stack([units[name] for name in distinct])
        choices = FinalChoices(stacked, losses, blend, loss, self.settings.final)
        chosen = choices.choose(loss.weight)
        predictions = chosen(stacked, blend)
        for _, rows, test in self._open():
            without = loss.weight_of(rows)
            if loss.n_independent(without) > 1:
                predictions[test] = choices.choose(without)(stacked[test], blend[test])
        shares = {name: chosen.along * float(w) for name, w in zip(distinct, weights, strict=True)}
        shares[distinct[chosen.candidate]] += 1 - chosen.along
        return {name: w for name, w in shares.items() if w > 0}, predictions

    def _rivals(
        self, units: dict[str, Array], distinct: list[str], winner: str, loss: HeldOutLoss
    ) -> tuple[set[str], str]:
        """The winner and the candidates near it; and why nested predictions could not change the verdict, or nothing.

        Between the mixture and the stack that sees it nothing is decided: both say that the mixture is needed.
        """
        rivals = {winner}
        for name in distinct:
            difference = loss.difference(units[name], units[winner])
            near = abs(difference.mean) <= DOUBT * difference.standard_error
            if near and (units[name] != units[winner]).any():  # the same losses give the same verdict
                rivals.add(name)
        if len(rivals) == 1:
            return rivals, CLEAR
        if not LEARNED & rivals:
            return rivals, NOTHING_LEARNED
        return rivals, ONLY_THE_MIXTURE if rivals <= {MIXTURE, JOINT_STACK} else ""

    def _verdict(
        self,
        candidates: dict[str, _Candidate],
        distinct: list[str],
        units: dict[str, Array],
        winner: str,
        weights: dict[str, float],
        loss: HeldOutLoss,
    ) -> tuple[list[dict[str, Any]], Verdict]:
        """Rows of the table of candidates, and the verdict."""
        means = {name: loss.mean(one) for name, one in units.items()}
        best = min(distinct, key=means.__getitem__)
        rows = []
        for name, one in units.items():
            difference = loss.difference(one, units[best])
            rows.append(
                {
                    "candidate": name,
                    "loss": means[name],
                    "difference": difference.mean,
                    "standard_error": difference.standard_error,
                    "weight": weights.get(name, 0.0) if name != "blend" else 1.0,
                }
            )
        E, problem = self.n_experts, self.problem
        single = int(np.argmax(candidates["best single"].weights))
        verdict = Verdict(
            winner, means[winner], best, loss.difference(units[winner], units["blend"]),
            loss.difference(units["best single"], units[winner]), weights, self.first_level.names[single],
            loss.measure, self.n_regimes, self._not_measured(loss),
            headroom=headroom(problem.y, self.first_level.values[:, :E], problem.weight),
            last_fold=worse_last_fold(loss, units["blend"], self.folds),
        )  # fmt: skip
        return rows, verdict

    def _not_measured(self, loss: HeldOutLoss) -> tuple[str, ...]:
        found = []
        unseen = int((loss.fold < 0).sum())
        if unseen:
            found.append(f"{unseen} of {len(loss.fold)} rows, which no fold could judge")
        if loss.weights_refused(self.first_level.values[:, 0]):
            found.append(UNWEIGHTED.format(loss.measure))
        failed = sorted({one.expert for one in self.first_level.failures} - set(self.first_level.names))
        if failed:
            found.append(f"experts that failed ({', '.join(failed)})")
        return tuple(found)

    def _likelihood(
        self, columns: _Columns, weights: Array
    ) -> tuple[Any, Array, ColumnVariance | None, Calibration | None]:
        """Likelihood, responsibilities (n, K) of the columns under the out-of-fold weights, and recalibration."""
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
        calibration = None
        if problem.n_classes is None and hasattr(likelihood, "distribution"):
            calibration = fit_calibration(
                problem.y, weights, likelihood.distribution(values, scale=scale, X=problem.X), combine(weights, values),
                np.where(never, 0.0, problem.weight), problem.groups,
            )  # fmt: skip
        return likelihood, responsibilities, variance, calibration

    def _fit_likelihood(
        self,
        values: Array,
        share: Array,
        scale: Array | None,
        variance: ColumnVariance | None = None,
        known: NDArray[np.bool_] | None = None,
    ) -> tuple[Any, Array]:
        """The likelihood given responsibilities (n, K) of the columns, and log densities (n, K)."""
        problem, known = self.problem, self.folds.held_out if known is None else known
        seen: Any = ... if known.all() else known
        X = problem.X if known.all() else take_rows(problem.X, np.flatnonzero(known))
        own = None if scale is None else scale[seen]
        share = share[seen] * problem.weight[seen, None]
        fitted = clone(self.settings.likelihood).fit(problem.y[seen], values[seen], share, scale=own, X=X)
        if variance is not None and hasattr(fitted, "factor_"):
            # The noise of these columns was learned from the same errors already.
            fitted.factor_ = np.where(variance.follows, 1.0, fitted.factor_)
        return fitted, fitted.log_prob(problem.y, values, scale=scale, X=problem.X)


def _known(values: Array) -> NDArray[np.bool_]:
    """Rows (n,) of which every column (n, K) or (n, K, C) has a prediction."""
    return np.asarray(np.isfinite(values).reshape(len(values), -1).all(axis=1))


def _constant_of(fitted: FittedGate) -> Array:
    """Weights (P,) of a fitted gate that does not look at x."""
    return np.asarray(fitted.gate.predict_proba(np.empty((1, 0)))[0])


def _without_small(weights: Array) -> Array:
    """Weights (n, P) without those too small to matter."""
    kept = np.where(weights < SMALLEST_WEIGHT, 0.0, weights)
    return np.asarray(kept / kept.sum(axis=1, keepdims=True))
