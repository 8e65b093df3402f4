"""The way through a fit: experts out of fold, the mixture out of fold, candidates, blend and verdict, all rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.folds import Folds
from metamix.data.gate_features import GateFeatures, StackColumns
from metamix.data.tables import take_rows
from metamix.engines import Engine, current_engine
from metamix.fitting import (
    ALL_ROWS,
    FitSession,
    FittedExpert,
    FoldAverage,
    NamedExpert,
    Problem,
    SharedInputs,
    fit_expert,
    join_devices,
)
from metamix.fitting.out_of_fold import Failure, OutOfFold
from metamix.recombination import combine, keep_top
from metamix.training.candidates import CandidateSettings, TargetBlend, fit_candidates
from metamix.training.losses import row_losses, target_units
from metamix.training.mixture import FittedMixture, MixtureSettings, fit_mixture, fold_averages, single_regime
from metamix.training.prediction import Combination
from metamix.training.regime_search import capacity_of, initial_responsibilities, prune

__all__ = [
    "CrossFittedExperts", "FittedBlend", "MixtureColumn", "blend_predictions", "cross_fit_experts", "fit_blend",
    "fit_combination", "fit_single_mixture",
]  # fmt: skip

Array = NDArray[np.float64]

#: Rows with no more responsibility than this are left out when an expert is fitted to a regime.
NEGLIGIBLE = 0.01
#: Within a fold the mixture is cross-fitted on so many folds, each of which costs a fit per component; with few rows,
#: where fits cost little and half of the rows would not show where regimes meet, on more.
INNER_FOLDS = 2
FEW_ROWS, MORE_FOLDS = 300, 4
MIXTURE = "mixture"


@dataclass(frozen=True)
class CrossFittedExperts:
    """Experts with their out-of-fold predictions, and fitted on all rows.

    Parameters
    ----------
    positions : list of int
        Experts of the session that failed nowhere.
    predictions : OutOfFold
    columns : list of FittedExpert or FoldAverage
    """

    positions: list[int]
    predictions: OutOfFold
    columns: list[Any]


@dataclass(frozen=True)
class FittedBlend(Combination):
    """Experts, mixture and stacks under the weights of the blend.

    Parameters
    ----------
    names, columns, features, n_targets, n_classes, top_k
        As in `Combination`; columns of the first level are the experts and the mixture.
    targets : list of TargetBlend
    stack_columns : StackColumns or None
        Columns of X for the feature-weighted stack.
    mixture : FittedMixture, list of them (one for each fold, with ``refit=False``), or None
    history, starts : list of dict
        Of the mixture.
    failures : list of Failure
    n_regimes : int or None
    """

    names: list[str]
    columns: Sequence[Any]
    features: GateFeatures
    n_targets: int | None
    n_classes: int | None
    top_k: int | None
    targets: list[TargetBlend]
    stack_columns: StackColumns | None
    mixture: Any
    history: list[dict[str, Any]]
    starts: list[dict[str, Any]]
    failures: list[Failure]
    n_regimes: int | None

    @property
    def likelihoods(self) -> list[Any]:
        """Fitted likelihood of each target."""
        return [target.likelihood for target in self.targets]

    @property
    def n_first_level(self) -> int:
        """Number of columns of the first level: experts and mixture."""
        return len(self.names) - len(self.stack_names) - 1

    @property
    def stack_names(self) -> list[str]:
        """Names of the stacks."""
        return list(self.targets[0].stacks)

    def candidate_predictions(self, X: Any) -> dict[str, Array]:
        """Predictions (n,) or (n, C) of every candidate and of the blend, for a single target."""
        target = self.targets[0]
        values = self.column_predictions(X)[0]
        inside = values[:, target.gate_columns]
        gate = keep_top(target.gate.predict_proba(self.features.join(self.features.base(X), inside)), self.top_k)
        found = {
            name: combine(gate, inside) if weights is None else np.einsum("k,nk...->n...", weights, values)
            for name, weights in target.candidate_weights.items()
        }
        return found | {"blend": combine(target.weights(gate, len(values), None), values)}

    def _gate_part(self, n: int) -> tuple[Any, NDArray[np.intp], float, Array]:
        target = self.targets[0]
        return target.gate, target.gate_columns, target.gate_share, np.tile(target.constant_weights, (n, 1))

    def _weights(self, base: Any, t: int, values: Array | None) -> Array:
        target = self.targets[t]
        n = len(values) if values is not None else base.shape[0] if hasattr(base, "shape") else len(base)
        given = None
        if target.gate_share > 0:
            inside = None if values is None else values[:, target.gate_columns]
            given = target.gate.predict_proba(self.features.join(base, inside))
        return target.weights(given, n, self.top_k)

    def _first_level_needed(self, weights: list[Array], scaled: bool) -> NDArray[np.bool_]:
        E = self.n_first_level
        needed = np.zeros((len(weights[0]), E), dtype=bool)
        for weight, target in zip(weights, self.targets, strict=True):
            needed |= weight[:, :E] > 0
            for name, (_, width) in target.stacks.items():
                needed[:, :width] |= weight[:, [self.names.index(name)]] > 0
            if scaled and target.variance is not None:
                needed[:, target.variance.mixture] |= (weight[:, target.variance.follows] > 0).any(axis=1)
        return needed

    def _second_level(self, X: Any, values: Array, scale: Array | None) -> tuple[Array, Array | None]:
        """Stacks and mean, where the columns that they see are known."""
        E, several = self.n_first_level, self.n_targets is not None
        added = np.full((len(values), len(self.names) - E, *values.shape[2:]), np.nan)
        features = None
        for name in self.stack_names:
            k = self.names.index(name) - E
            width = max(target.stacks[name][1] for target in self.targets)
            known = np.asarray(np.isfinite(values[:, :width]).reshape(len(values), -1).all(axis=1))
            if not known.any():
                continue
            rows: Any = slice(None) if known.all() else np.flatnonzero(known)
            if self.stack_columns is not None and features is None:
                features = self.stack_columns.dense(self.features.base(X))
            some = None if features is None else features[rows]
            for t, target in enumerate(self.targets):
                stack, width = target.stacks[name]
                if several:
                    added[rows, k, t] = stack.predict(values[rows, :width, t], some)
                else:
                    added[rows, k] = stack.predict(values[rows, :width], some)
        means = [target.mean for target in self.targets]
        added[:, -1] = means if several else means[0]
        if scale is not None:
            scale = np.concatenate([scale, np.full(added.shape, np.nan)], axis=1)
            for t, target in enumerate(self.targets):
                if target.variance is not None:
                    own = scale[:, :, t] if several else scale
                    own[:] = target.variance(own)
        return np.concatenate([values, added], axis=1), scale

    def _widths(self, needed: NDArray[np.bool_]) -> dict[str, int]:
        stacks = self.targets[0].stacks
        return {name: width for name, (_, width) in stacks.items() if needed[self.names.index(name)]}

    def _second_level_gradient(self, X: Any, values: Array, slopes: Array, widths: dict[str, int]) -> Array:
        if not widths:
            return slopes
        base, features, jacobian = self.features.base(X), None, None
        if self.stack_columns is not None:
            inside = self.features.base_jacobian(X)
            assert inside is not None
            features, jacobian = self.stack_columns.dense(base), self.stack_columns.jacobian(base) @ inside
        for name, width in widths.items():
            stack = self.targets[0].stacks[name][0]
            slopes[:, self.names.index(name)] = stack.predict_gradient(
                values[:, :width], features, slopes[:, :width], jacobian
            )
        return slopes


def fit_blend(
    experts: Sequence[NamedExpert],
    problem: Problem,
    folds: Folds,
    engine: Engine,
    candidates: CandidateSettings,
    mixture: MixtureSettings | None,
    refit: bool = True,
    on_error: str = "drop",
) -> FittedBlend:
    """Experts out of fold → mixture out of fold → candidates, blend and verdict, with what has weight on all rows.

    Parameters
    ----------
    experts : sequence of NamedExpert
    problem : Problem
    folds : Folds
    engine : Engine
    candidates : CandidateSettings
    mixture : MixtureSettings or None
        None leaves the specialised mixture out.
    refit : bool
        Fit on all rows, or keep the fold models and average them.
    on_error : {"drop", "raise"}

    Returns
    -------
    FittedBlend
    """
    with FitSession(experts, problem, folds, engine, on_error, NEGLIGIBLE) as session:
        cross_fitted = cross_fit_experts(session, refit=refit)
        return blend_predictions(session, cross_fitted, candidates, mixture, refit=refit)


def cross_fit_experts(session: FitSession, *, refit: bool = True) -> CrossFittedExperts:
    """Out-of-fold predictions of every expert, and each fitted on all rows.

    Raises
    ------
    AllExpertsFailedError
        If none is left.
    """
    positions, predictions = session.cross_fit(keep=not refit)
    if not refit:
        return CrossFittedExperts(positions, predictions, fold_averages(session, predictions))
    fitted, failures = session.fit_all(positions)
    predictions = predictions.take(list(fitted))
    predictions = replace(predictions, failures=[*predictions.failures, *failures])
    return CrossFittedExperts([positions[j] for j in fitted], predictions, list(fitted.values()))


def blend_predictions(
    session: FitSession,
    experts: CrossFittedExperts,
    candidates: CandidateSettings,
    mixture: MixtureSettings | None,
    *,
    refit: bool = True,
) -> FittedBlend:
    """Everything that follows from the experts' out-of-fold predictions; `compare` enters here."""
    found = MixtureColumn() if mixture is None else cross_fit_mixture(session, experts, mixture, refit=refit)
    first_level, columns = experts.predictions, list(experts.columns)
    if found.column is not None:
        first_level = first_level.join(found.predictions)
        columns.append(found.column)
    first_level = replace(first_level, failures=[*experts.predictions.failures, *found.failures])
    return fit_combination(session.problem, session.folds, first_level, candidates, columns, found)


def fit_combination(
    problem: Problem,
    folds: Folds,
    first_level: OutOfFold,
    settings: CandidateSettings,
    columns: Sequence[Any] = (),
    mixture: MixtureColumn | None = None,
) -> FittedBlend:
    """Candidates, blend and verdict from out-of-fold predictions; `fit_predictions` enters here.

    Parameters
    ----------
    problem : Problem
    folds : Folds
    first_level : OutOfFold
        The experts, and last the mixture where there is one.
    settings : CandidateSettings
    columns : sequence of FittedExpert or FoldAverage
        Fitted on all rows, in the order of `first_level`; none where predictions are handed in.
    mixture : MixtureColumn, optional
    """
    mixture = MixtureColumn() if mixture is None else mixture
    folds = folds.second_level(problem.y, problem.groups)
    base = settings.features.base(problem.X)
    # Stacks of numbers may look at what the gate looks at; those of classes look at predictions only.
    stack_columns = None if problem.n_classes or base is None else StackColumns().fit(base)
    stack_features = None if stack_columns is None else stack_columns.dense(base)
    n_experts = len(first_level.names) - (mixture.column is not None)
    targets = [
        fit_candidates(
            problem.target(t), folds, base, stack_features,
            first_level if problem.n_targets is None else first_level.target(t), n_experts, mixture.n_regimes, settings,
        )
        for t in range(problem.n_targets or 1)
    ]  # fmt: skip
    names = [*first_level.names, *targets[0].stacks, "mean"]
    return FittedBlend(
        names, columns, settings.features, problem.n_targets, problem.n_classes, settings.top_k, targets, stack_columns,
        mixture.mixture, mixture.history, mixture.starts, first_level.failures, mixture.n_regimes,
    )  # fmt: skip


def fit_single_mixture(
    experts: Sequence[NamedExpert],
    problem: Problem,
    folds: Folds,
    engine: Engine,
    settings: MixtureSettings,
    on_error: str = "drop",
) -> FittedMixture:
    """The specialised mixture alone, without candidates."""
    negligible = 0.0 if folds.in_sample else NEGLIGIBLE
    with FitSession(experts, problem, folds, engine, on_error, negligible) as session:
        return fit_mixture(session, settings)


@dataclass
class MixtureColumn:
    """The mixture's column of out-of-fold predictions (None where it failed), and what was found.

    Parameters
    ----------
    predictions : OutOfFold
    column : FittedExpert or FoldAverage
    mixture : FittedMixture, or one for each fold
    n_regimes : int
    starts, history : list of dict
    failures : list of Failure
    """

    predictions: OutOfFold = field(default_factory=OutOfFold.empty)
    column: Any = None
    mixture: Any = None
    n_regimes: int | None = None
    starts: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


@dataclass(frozen=True)
class _MixtureJob:
    """A task: the mixture fitted on the training rows of one fold, and its predictions for the held-out rows."""

    fold: int
    settings: MixtureSettings
    initial: Array | None
    keep: bool
    on_error: str


@dataclass(frozen=True)
class _MixtureDone:
    values: Array | None
    scale: Array | None
    fitted: FittedExpert | None
    failures: list[Failure]


def cross_fit_mixture(
    session: FitSession, experts: CrossFittedExperts, settings: MixtureSettings, *, refit: bool
) -> MixtureColumn:
    """Out-of-fold predictions of the mixture, fitted as a whole in each fold: search, responsibilities, types, gate.

    The number of regimes is asked once, of all rows: one number carries next to no information about the rows that a
    fold holds out. With one regime the mixture is the best single expert, and nothing is fitted.
    """
    problem, folds = session.problem, session.folds
    search = settings.search
    if search.uses_proxies:
        search = replace(search, capacity=_capacity(session, experts, settings))
    jobs = [replace(settings, search=search)]
    (started,) = session.map(_search, jobs, ["regimes, all rows"])
    if isinstance(started, BaseException):
        raise started
    initial, starts = started
    K = initial.shape[1]
    if K == 1:
        found = _best_single_column(session, experts, settings)
        found.starts = starts
        return found
    # Each fold looks for as many regimes in its own rows; of the user's own start it takes what is left after pruning.
    own_start = not isinstance(search.start, str)
    search = replace(search, n_experts=K, start=initial if own_start else search.start)
    inside = replace(settings, search=search, refit=True)
    work = [_MixtureJob(f, inside, None, not refit, session.on_error) for f in range(len(folds))]
    if refit:
        work.append(_MixtureJob(ALL_ROWS, inside, None if own_start else initial, True, session.on_error))
    names = [f"{MIXTURE}, {'all rows' if job.fold == ALL_ROWS else f'fold {job.fold}'}" for job in work]
    results = session.map(_fit_mixture_in_fold, work, names, in_process=settings.on_gpu)
    failures, done = [], []
    for job, result in zip(work, results, strict=True):
        if not isinstance(result, BaseException):
            done.append(result)
            failures += [replace(one, fold=job.fold) for one in dict.fromkeys(result.failures)]
        elif session.on_error == "raise":
            raise result
        else:
            failures.append(Failure(MIXTURE, job.fold, f"{type(result).__name__}: {result}"))
    if len(done) < len(work):
        return MixtureColumn(failures=failures, starts=starts)
    predictions = _gathered(problem, folds, done[: len(folds)])
    if refit:
        column: Any = done[-1].fitted
        mixture, history = column.model, column.model.history
    else:
        members = [result.fitted for result in done]
        column = FoldAverage(MIXTURE, members)
        mixture = [member.model for member in members if isinstance(member.model, FittedMixture)]
        history = [{"fold": f, **row} for f, one in enumerate(mixture) for row in one.history]
    return MixtureColumn(predictions, column, mixture, K, starts, history, failures)


def _capacity(session: FitSession, experts: CrossFittedExperts, settings: MixtureSettings) -> int:
    """Capacity of the proxies, from the out-of-fold losses of the best single expert."""
    problem = session.problem
    rows = np.flatnonzero(session.folds.held_out & (problem.weight > 0))
    best = best_column(problem, experts.predictions, rows)
    losses = row_losses(problem.take(rows), experts.predictions.values[rows, best : best + 1], target_units(problem))[
        :, 0
    ]
    base = settings.features.base(problem.X)
    columns = problem.X if base is None else base
    return capacity_of(columns, problem, session.folds, rows, losses, settings.search.seed)


def _search(inputs: SharedInputs, settings: MixtureSettings) -> tuple[Array, list[dict[str, Any]]]:
    """A task: initial responsibilities of all rows."""
    found, ranking = initial_responsibilities(inputs.problem, settings.search)
    return found if settings.search.n_experts is None else prune(found, inputs.problem.weight), ranking


def _fit_mixture_in_fold(inputs: SharedInputs, job: _MixtureJob) -> _MixtureDone:
    """A task: fit the mixture on the training rows of a fold (or on all), predict the held-out rows."""
    problem, folds, settings = inputs.problem, inputs.folds, job.settings
    rows = np.arange(problem.n) if job.fold == ALL_ROWS else folds.pairs[job.fold][0]
    part = problem.take(rows)
    part, present = part.with_present_classes()
    inner = folds if job.fold == ALL_ROWS else folds.inside(job.fold, part.X, part.y, part.groups)
    few = np.count_nonzero(part.weight) <= FEW_ROWS
    inner = inner.merged(MORE_FOLDS if few else INNER_FOLDS, part.weight > 0)
    search = settings.search.take(rows)
    settings = replace(settings, search=search)
    failures: list[Failure] = []
    if part.n_classes == 1:
        fitted = replace(fit_expert(inputs.experts[0], part, None, None), n_classes=problem.n_classes, classes=present)
    else:
        with FitSession(inputs.experts, part, inner, current_engine(None), job.on_error, inputs.negligible) as session:
            # The capacity of the proxies is known from all rows.
            initial = initial_responsibilities(part, search)[0] if job.initial is None else job.initial
            mixture = replace(fit_mixture(session, settings, initial), present=present)
        failures = mixture.failures
        device = join_devices(column.device for column in mixture.columns)
        fitted = FittedExpert(MIXTURE, mixture, problem.n_classes, present, 0.0, problem.n_targets, device)
    values = scale = None
    if job.fold != ALL_ROWS:
        values, scale = fitted.predict_with_scale(take_rows(problem.X, folds.pairs[job.fold][1]))
    return _MixtureDone(values, scale, fitted if job.keep else None, failures)


def _gathered(problem: Problem, folds: Folds, results: Sequence[_MixtureDone]) -> OutOfFold:
    """Predictions of the folds in one table, averaged where a row is held out more than once."""
    depth = problem.n_classes or problem.n_targets
    values = np.zeros((problem.n, 1) if depth is None else (problem.n, 1, depth))
    scale = None if results[0].scale is None else np.zeros(values.shape)
    times = np.zeros(problem.n)
    for (_, test), result in zip(folds.pairs, results, strict=True):
        values[test, 0] += result.values
        times[test] += 1
        if scale is not None:
            scale[test, 0] += result.scale
    with np.errstate(invalid="ignore"):
        times = times.reshape((-1,) + (1,) * (values.ndim - 1))
        return OutOfFold(
            [MIXTURE], values / times, np.zeros(1), np.zeros(1), scale=None if scale is None else scale / times
        )


def _best_single_column(session: FitSession, experts: CrossFittedExperts, settings: MixtureSettings) -> MixtureColumn:
    """The mixture of one regime: the best single expert, which is fitted already."""
    best = best_column(session.problem, experts.predictions, np.flatnonzero(session.folds.held_out))
    one = experts.predictions.take([best])
    mixture = single_regime(session, settings, experts.positions[best], one, experts.columns[best])
    predictions = replace(one, names=[MIXTURE], failures=[], models={})
    column = replace(experts.columns[best], name=MIXTURE)
    return MixtureColumn(predictions, column, mixture, 1, history=mixture.history)


def best_column(problem: Problem, predictions: OutOfFold, rows: NDArray[np.intp]) -> int:
    """Column with the smallest loss over some rows."""
    part = problem.take(rows)
    return int(np.argmin(part.weight @ row_losses(part, predictions.values[rows], target_units(problem))))
