"""Incremental learning: experts, regimes, gate, scales and weights of the columns follow batches (stochastic EM)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import clone

from metamix.data.gate_features import GateFeatures
from metamix.fitting import FittedExpert, NamedExpert, Problem, partial_fit_expert
from metamix.protocols import SequentialGate
from metamix.recombination import combine, floored, keep_top, posterior
from metamix.training.alternation import FLOOR
from metamix.training.blend import FittedBlend, TargetBlend
from metamix.training.candidates import MEAN, MIXTURE
from metamix.training.losses import Deviance, LogScore, SquaredError, row_losses, target_units
from metamix.training.mixture import FittedMixture, MixtureTarget
from metamix.training.prediction import TargetPrediction
from metamix.training.regime_search import SearchSettings, initial_responsibilities, prune
from metamix.training.selection import SMALLEST_PROBABILITY

__all__ = ["OnlineSettings", "OnlineState", "begin", "continue_from", "learn"]

Array = NDArray[np.float64]
Fitted = FittedBlend | FittedMixture

#: Row t moves statistics by t to the power of minus this, between 1/2 and 1 (Cappé & Moulines 2009): after n rows they
#: remember about n to the power of this.
FORGETTING = 0.7
#: Regimes are looked for when so many rows have come, and again when these have doubled, as long as there is one only.
FIRST_SEARCH, LAST_SEARCH = 200, 3200
#: From so many rows on the first batch is taken in two halves, so that the second is predicted before it is learned.
HALVED = 20
#: What the history calls the prediction of the mixture, constant weights, and the gate over experts and stacks.
PREDICTION, CONSTANT, GATED = "prediction", "constant weights", "gated"


@dataclass(frozen=True)
class OnlineSettings:
    """What a mixture that begins with nothing is made of, unfitted.

    Parameters
    ----------
    experts : list of NamedExpert
    weights : SequentialGate
        Weighs the columns.
    gate : IncrementalGate or SequentialGate
        Of the mixture.
    constant : gate
        Weights of the components as long as no regimes are known.
    likelihood : likelihood
        With `partial_fit`.
    features : GateFeatures
        Fitted.
    search : SearchSettings
    specialize : bool or "auto"
        As the parameter of the mixture.
    """

    experts: list[NamedExpert]
    weights: Any
    gate: Any
    constant: Any
    likelihood: Any
    features: GateFeatures
    search: SearchSettings
    specialize: bool | str


@dataclass
class _Waiting:
    """Rows that came before regimes were looked for: gate features, targets, weights, predictions of the experts."""

    until: int = FIRST_SEARCH
    parts: list[tuple[Array, NDArray[Any], Array, Array]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether regimes are no longer looked for; rows are not kept then."""
        return self.until > LAST_SEARCH


@dataclass
class OnlineState:
    """What incremental learning needs to know besides what predicts.

    Parameters
    ----------
    n_rows, total_weight : float
        Rows with weight that were learned from, and their weight.
    weights : SequentialGate or None
        Weights of the columns, and of the gate over experts and stacks last where it has a share. None for a mixture
        alone, whose gate weighs its components.
    constant : SequentialGate
        Such weights that approach the best constant ones.
    history : list of dict
        Losses of each batch before it was learned from.
    carried : dict from name to float
        Parts of rows left over; see `partial_fit_expert`.
    waiting : _Waiting or None
        None where regimes are known, or not wanted.
    settings : OnlineSettings or None
        None where the mixture was fitted at first.
    """

    n_rows: float
    total_weight: float
    weights: Any
    constant: Any
    history: list[dict[str, Any]] = field(default_factory=list)
    carried: dict[str, float] = field(default_factory=dict)
    waiting: _Waiting | None = None
    settings: OnlineSettings | None = None

    def count(self, problem: Problem) -> tuple[float, Array]:
        """Count rows; by how much they move statistics, and their weights in units of the mean weight so far."""
        counts = problem.weight > 0
        self.n_rows += float(counts.sum())
        self.total_weight += float(problem.weight.sum())
        relative = problem.weight * (self.n_rows / self.total_weight)
        numbers = np.maximum(self.n_rows - counts[::-1].cumsum()[::-1] + 1, 1)
        with np.errstate(divide="ignore"):
            kept = np.log1p(-np.minimum(numbers**-FORGETTING, 1.0))
        return float(-np.expm1(kept[counts] @ relative[counts])), relative

    def copied(self) -> OnlineState:
        """A state that may be changed while this one stays; the history is one list, and completed last."""
        waiting = self.waiting
        if waiting is not None:
            waiting = replace(waiting, parts=[] if waiting.over else list(waiting.parts))
        weights, constant = copy.deepcopy((self.weights, self.constant))
        return replace(self, weights=weights, constant=constant, carried=dict(self.carried), waiting=waiting)

    def in_units(self, problem: Problem, relative: Array) -> tuple[Problem, float]:
        """Rows with the weights that experts are given, and which weight is one row.

        An expert that was fitted counts its rows by the weights of `fit`, so that further rows keep these units.
        Without a fit weights are relative to their mean, or the scale of the first would be a rate of learning.
        """
        unit = self.total_weight / self.n_rows
        if problem.sample_weight is None and unit == 1.0:
            return problem, unit
        if self.settings is None:
            return replace(problem, sample_weight=problem.weight), unit
        return replace(problem, sample_weight=relative), 1.0


def continue_from(fitted: Fitted, n_rows: float, total_weight: float, weights: Any) -> OnlineState:
    """The state of a mixture that was fitted to some rows: the columns begin with the weights of its blend."""
    if not isinstance(fitted, FittedBlend):
        K = len(fitted.names)
        return OnlineState(n_rows, total_weight, None, _constant(weights, np.full(K, 1 / K), n_rows))
    target = fitted.targets[0]
    of_blend = np.append(target.constant_weights, [target.gate_share] if target.gate_share > 0 else [])
    follows = clone(weights).begin(of_blend, int(n_rows))
    return OnlineState(n_rows, total_weight, follows, _constant(weights, of_blend, n_rows))


def _constant(weights: Any, initial: Array, n_rows: float = 0) -> Any:
    """A gate that approaches the best constant weights."""
    return clone(weights).set_params(switching=False).begin(initial, int(n_rows))


def begin(problem: Problem, settings: OnlineSettings) -> tuple[Fitted, OnlineState]:
    """A mixture that has seen one batch."""
    first, rest = problem, None
    halves = np.split(np.arange(problem.n), [problem.n // 2])
    if problem.n >= HALVED and all(problem.weight[rows].any() for rows in halves):
        first, rest = (problem.take(rows) for rows in halves)
    C, K = problem.n_classes, len(settings.experts)
    n_columns = K + (settings.specialize == "auto") + (settings.specialize is not True)  # the mixture, the mean of y
    equal = np.full(n_columns, 1 / n_columns)
    follows = None if settings.specialize is True else clone(settings.weights).begin(equal)
    state = OnlineState(0.0, 0.0, follows, _constant(settings.weights, equal), settings=settings)
    _, relative = state.count(first)
    names = [one.name for one in settings.experts]
    experts = [FittedExpert(one.name, clone(one.estimator), C, device=one.device) for one in settings.experts]
    columns = _updated([_Update(one) for one in experts], first, state, relative)
    target = first.y.astype(np.float64) if C is None else np.eye(C)[first.y]
    mean = np.average(target, axis=0, weights=first.weight)
    if C is not None:
        mean = (first.n * mean + 1 / C) / (first.n + 1)  # one row more, shared by all classes
    waiting = None if settings.specialize is False else _Waiting()
    even = clone(settings.constant).fit(np.empty((1, 0)), np.full((1, K), 1 / K))
    mixture = _mixture(names, columns, settings, C, even, _first_likelihood(settings, first, mean, K))
    if waiting is not None:
        waiting.parts.append(_part(settings.features, first, np.repeat(_tiled(mean, first.n)[:, None], K, axis=1)))
    state.waiting = waiting
    fitted: Fitted = mixture
    if settings.specialize is not True:
        if waiting is not None:
            names, columns = [*names, MIXTURE], [*columns, _column(mixture, C)]
        names = [*names, MEAN]
        likelihood = _first_likelihood(settings, first, mean, len(names))
        blank = np.empty((0, len(names)) if C is None else (0, len(names), C))
        made_of: dict[str, Array | None] = dict(zip(names, np.eye(len(names)), strict=True))
        one = TargetBlend(
            {}, mean, state.weights, np.arange(len(names)), 0.0, made_of, equal, likelihood, None, None, blank,
            np.empty((0, len(names))), [], None, equal,
        )  # fmt: skip
        fitted = FittedBlend(
            names, columns, settings.features, None, C, None, [one], None,
            None if waiting is None else mixture, [], [], [], None if waiting is None else 1,
        )  # fmt: skip
    return (fitted, state) if rest is None else learn(fitted, state, rest)


def learn(fitted: Fitted, state: OnlineState, problem: Problem) -> tuple[Fitted, OnlineState]:
    """Predict a batch, record the losses, and learn from it.

    What is given stays as it is, so that a batch at which an expert fails changes nothing. Only models that
    `learns_in_place` learn themselves, after all others.

    Parameters
    ----------
    fitted : FittedBlend or FittedMixture
        Of one target.
    state : OnlineState
        Its history is continued.
    problem : Problem
        The new rows.

    Returns
    -------
    (FittedBlend or FittedMixture, OnlineState)
    """
    state = state.copied()
    one = fitted.predictions(problem.X, scaled=True, everywhere=True)[0]
    step, relative = state.count(problem)
    if isinstance(fitted, FittedBlend):
        return _learn_blend(fitted, state, problem, one, step, relative)
    objective = _objective(problem, one)
    losses = _losses(state, problem, objective, fitted.names, one.weights)
    state.constant.follow(_rows(objective, problem.n), sample_weight=relative)
    mixture, shares = _learn_mixture(fitted, fitted.columns, state, problem, one, step, relative)
    if len(mixture.names) != len(fitted.names):  # regimes were found
        K = len(mixture.names)
        state.constant = _constant(state.constant, np.full(K, 1 / K))
    mixture = replace(mixture, columns=_updated(_updates(mixture, shares), problem, state, relative))
    state.history.append(losses)
    return mixture, state


def _learn_blend(
    fitted: FittedBlend, state: OnlineState, problem: Problem, one: TargetPrediction, step: float, relative: Array
) -> tuple[FittedBlend, OnlineState]:
    target, X, names = fitted.targets[0], problem.X, list(fitted.names)
    log_prob, weighed, gate = one.log_prob(problem.y), one, target.gate
    if len(state.weights.weights_) > len(names):  # the gate over experts and stacks is weighed, too
        inside = one.values[:, target.gate_columns]
        Z = fitted.features.join(fitted.features.base(X), inside)
        given = gate.predict_proba(Z)
        gated = combine(keep_top(given, fitted.top_k), inside)
        weighed = replace(one, values=np.concatenate([one.values, gated[:, None]], axis=1))
        names.append(GATED)
        shares = _responsibilities(given, log_prob[:, target.gate_columns])
        gate = _updated_gate(gate, Z, shares, LogScore(log_prob[:, target.gate_columns]), relative, step)
    objective = _objective(problem, weighed)
    losses = _losses(state, problem, objective, names, np.tile(state.weights.weights_, (problem.n, 1)))
    for follower in (state.weights, state.constant):
        follower.follow(_rows(objective, problem.n), sample_weight=relative)
    likelihood = _updated_likelihood(target.likelihood, problem, one, posterior(one.weights, log_prob)[0], step)
    new = problem.y.astype(np.float64) if problem.n_classes is None else np.eye(problem.n_classes)[problem.y]
    mean = target.mean + step * (np.average(new, axis=0, weights=problem.weight) - target.mean)
    weights = state.weights.weights_
    share = float(weights[len(fitted.names)]) if GATED in names else 0.0
    constant = weights[: len(fitted.names)].copy()
    target = replace(
        target, gate=gate, likelihood=likelihood, mean=mean, constant_weights=constant, gate_share=share
    )  # fmt: skip
    if state.settings is not None:
        target = replace(target, gate=state.weights, shares=constant)
    E = fitted.n_first_level - (fitted.mixture is not None)
    columns, mixture, n_regimes = list(fitted.columns), fitted.mixture, fitted.n_regimes
    specialised = mixture is not None and (n_regimes != 1 or state.waiting is not None)  # else it is an expert
    updates = [_Update(column) for column in columns[:E]]
    if specialised:
        inner = mixture.predictions(X, scaled=True, everywhere=True)[0]
        mixture, responsibilities = _learn_mixture(mixture, columns[:E], state, problem, inner, step, relative)
        if responsibilities is not None:
            updates += _updates(mixture, responsibilities)
    updated = _updated(updates, problem, state, relative)
    columns[:E] = updated[:E]
    if specialised:
        mixture = replace(mixture, columns=updated[:E] if responsibilities is None else updated[E:])
        n_regimes = len(mixture.names) if state.waiting is None else 1
        columns[E] = replace(columns[E], model=mixture)
    elif mixture is not None:
        best = columns[fitted.names.index(mixture.names[0])]
        mixture = replace(mixture, columns=[best])
        columns[E] = replace(best, name=columns[E].name)
    state.history.append(losses)
    return replace(fitted, columns=columns, targets=[target], mixture=mixture, n_regimes=n_regimes), state


def _learn_mixture(
    mixture: FittedMixture,
    experts: Sequence[FittedExpert],
    state: OnlineState,
    problem: Problem,
    one: TargetPrediction,
    step: float,
    relative: Array,
) -> tuple[FittedMixture, Array | None]:
    """The E-step by the predictions before, then gate and likelihood follow.

    Also the responsibilities (n, K) by which the components are to learn; None where they are the experts yet.
    """
    target = mixture.targets[0]
    log_prob = one.log_prob(problem.y)
    responsibilities = _responsibilities(one.weights, log_prob)
    Z = mixture.features.join(mixture.features.base(problem.X), one.values)
    likelihood = _updated_likelihood(target.likelihood, problem, one, responsibilities, step)
    if state.waiting is None:
        gate = _updated_gate(target.gate, Z, responsibilities, LogScore(log_prob), relative, step)
        mixture = replace(mixture, targets=[replace(target, gate=gate, likelihood=likelihood)])
    else:
        mixture = replace(mixture, targets=[replace(target, likelihood=likelihood)])
        found = None
        if not state.waiting.over:
            state.waiting.parts.append(_part(mixture.features, problem, one.values))
            found = _look_for_regimes(mixture, experts, state, problem)
        if found is None:
            return mixture, None
        mixture, responsibilities = found
    shares = floored(responsibilities, FLOOR)
    if hasattr(likelihood, "trust") and len(shares.T) == len(one.values.T):
        shares = shares * np.nan_to_num(likelihood.trust(problem.y, one.values, scale=one.scale, X=problem.X))
    return mixture, shares


def _look_for_regimes(
    mixture: FittedMixture, experts: Sequence[FittedExpert], state: OnlineState, problem: Problem
) -> tuple[FittedMixture, Array] | None:
    """A mixture whose components are copies of the experts, one for each regime; and responsibilities of the last rows.

    None as long as there are too few rows, or one regime only.
    """
    waiting, settings = state.waiting, state.settings
    assert waiting is not None
    assert settings is not None
    if sum(len(part[1]) for part in waiting.parts) < waiting.until:
        return None
    Z, y, weight, values = (np.concatenate(parts) for parts in zip(*waiting.parts, strict=True))
    rows = Problem(Z, y, weight, None, problem.n_classes, problem.labels)
    search = replace(settings.search, features=GateFeatures("x").fit(Z))
    initial = initial_responsibilities(rows, search).responsibilities
    if search.n_experts is not None:
        initial = prune(initial, rows.counts)
    if initial.shape[1] == 1:
        waiting.until = 2 * len(y)
        if waiting.until > LAST_SEARCH:
            waiting.parts, waiting.until = [], np.iinfo(np.int64).max
        return None
    chosen = list(range(len(experts)))
    if search.n_experts is not None:  # a pool: the expert with the smallest loss in each regime
        losses = row_losses(rows, values, target_units(rows))
        chosen = np.argmin((weight[:, None] * initial).T @ losses, axis=1).tolist()
    state.waiting = None
    names = [f"{experts[e].name}-{j + 1}" if chosen.count(e) > 1 else experts[e].name for j, e in enumerate(chosen)]
    likelihood = clone(settings.likelihood).fit(y, values[:, chosen], weight[:, None] * initial)
    gate = clone(settings.gate).fit(Z, initial, sample_weight=weight)
    columns = [replace(copy.deepcopy(experts[e]), name=name) for e, name in zip(chosen, names, strict=True)]
    return _mixture(names, columns, settings, problem.n_classes, gate, likelihood), initial[-problem.n :]


@dataclass(frozen=True)
class _Update:
    """A column that is to learn: by all rows, or by responsibilities (n,) as a component `of` a mixture."""

    column: FittedExpert
    shares: Array | None = None
    of: str = ""


def _updates(mixture: FittedMixture, shares: Array | None) -> list[_Update]:
    if shares is None:
        return [_Update(column) for column in mixture.columns]
    return [_Update(column, shares[:, k], MIXTURE) for k, column in enumerate(mixture.columns)]


def _updated(updates: Sequence[_Update], problem: Problem, state: OnlineState, relative: Array) -> list[FittedExpert]:
    """The columns after they have learned: copies, and last those that learn in place."""
    problem, unit = state.in_units(problem, relative)
    found = [update.column for update in updates]
    in_place = [getattr(column.model, "learns_in_place", False) for column in found]
    for k in np.argsort(in_place, kind="stable"):
        column, key = found[k], f"{updates[k].of} {found[k].name}"
        if isinstance(column, FittedExpert) and not in_place[k]:  # the models of folds are refused
            column = replace(column, model=copy.deepcopy(column.model))
        found[k], state.carried[key] = partial_fit_expert(
            column, problem, updates[k].shares, state.carried.get(key, 0.0), unit
        )
    return found


def _responsibilities(weights: Array, log_prob: Array) -> Array:
    """Responsibilities (n, K) under weights before: none of zero, as trees give, from which none could come back."""
    return posterior(floored(weights, FLOOR), log_prob)[0]


def _updated_gate(gate: Any, Z: Any, responsibilities: Array, score: LogScore, relative: Array, step: float) -> Any:
    """A gate after it has followed a batch; one that cannot stays as it is."""
    if isinstance(gate, SequentialGate):
        gate = copy.deepcopy(gate)
        gate.follow(_rows(score, len(responsibilities)), sample_weight=relative)
    elif hasattr(gate, "partial_fit"):
        gate = copy.copy(gate).partial_fit(Z, responsibilities, sample_weight=relative, step=step)
    return gate


def _updated_likelihood(
    likelihood: Any, problem: Problem, one: TargetPrediction, responsibilities: Array, step: float
) -> Any:
    """A likelihood after it has followed a batch; one that cannot stays as it is."""
    if not hasattr(likelihood, "partial_fit"):
        return likelihood
    likelihood = copy.deepcopy(likelihood)
    share = responsibilities * (problem.weight / problem.weight.mean())[:, None]
    likelihood.partial_fit(problem.y, one.values, share, scale=one.scale, X=problem.X, step=step)
    return likelihood


def _objective(problem: Problem, one: TargetPrediction) -> Deviance | LogScore | SquaredError:
    """Loss of a weighted sum of the predictions of a batch."""
    if problem.n_classes is None:
        return (Deviance if hasattr(one.likelihood, "deviance") else SquaredError)(problem.y, one.values)
    seen = one.values[np.arange(problem.n), :, problem.y]
    return LogScore(np.log(np.clip(seen, SMALLEST_PROBABILITY, 1.0)))


def _rows(objective: Any, n: int) -> list[Any]:
    return [objective.take([i]) for i in range(n)]


def _losses(
    state: OnlineState, problem: Problem, objective: Any, names: Sequence[str], weights: Array
) -> dict[str, Any]:
    """Mean losses of each column, of the prediction, and of constant weights that have not seen the batch."""
    asked = {name: np.eye(len(names))[[k] * problem.n] for k, name in enumerate(names)}
    asked |= {PREDICTION: weights, CONSTANT: np.tile(state.constant.weights_, (problem.n, 1))}
    losses = {name: float(np.average(objective(one)[0], weights=problem.weight)) for name, one in asked.items()}
    return {"rows": problem.n, "weight": float(problem.weight.sum()), **losses}


def _part(features: GateFeatures, problem: Problem, values: Array) -> tuple[Array, NDArray[Any], Array, Array]:
    base = features.base(problem.X)
    dense = np.asarray(base.toarray() if sparse.issparse(base) else base, dtype=np.float64)
    return dense, problem.y, problem.weight, values


def _first_likelihood(settings: OnlineSettings, problem: Problem, mean: Any, K: int) -> Any:
    """The likelihood of columns that predict the mean of y."""
    values = np.repeat(_tiled(mean, problem.n)[:, None], K, axis=1)
    return clone(settings.likelihood).fit(problem.y, values, np.full((problem.n, K), 1 / K) * problem.weight[:, None])


def _tiled(mean: Any, n: int) -> Array:
    return np.repeat(np.asarray(mean, dtype=np.float64)[None], n, axis=0)


def _mixture(
    names: list[str], columns: list[FittedExpert], settings: OnlineSettings, C: int | None, gate: Any, likelihood: Any
) -> FittedMixture:
    """A mixture that has no out-of-fold predictions, since there were no folds."""
    K = len(names)
    target = MixtureTarget(gate, likelihood, np.empty((0, K) if C is None else (0, K, C)), np.empty((0, K)))
    return FittedMixture(
        names, columns, settings.features, None, C, None, [target], np.empty(0, dtype=np.intp), [], [], []
    )


def _column(mixture: FittedMixture, C: int | None) -> FittedExpert:
    return FittedExpert(MIXTURE, mixture, C, None if C is None else np.arange(C))
