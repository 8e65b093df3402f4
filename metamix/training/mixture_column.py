"""The mixture as one column: cross-fitted as a whole, like an expert."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.data.folds import Folds
from metamix.data.tables import take_rows
from metamix.engines import TaskTimeoutError, current_engine
from metamix.fitting import (
    ALL_ROWS,
    AllExpertsFailedError,
    FitSession,
    FittedExpert,
    FoldAverage,
    Problem,
    SharedInputs,
    fit_expert,
    join_devices,
)
from metamix.fitting.out_of_fold import Failure, OutOfFold
from metamix.progress import Event, emit
from metamix.recombination import floored
from metamix.training.alternation import FLOOR, MixtureSettings
from metamix.training.candidates import MIXTURE
from metamix.training.expert_columns import CrossFittedExperts
from metamix.training.expert_types import choose_types
from metamix.training.losses import row_losses, target_units
from metamix.training.mixture import FittedMixture, fit_mixture, single_regime
from metamix.training.regime_search import capacity_of, prune, search_regimes

__all__ = ["MixtureColumn", "cross_fit_mixture"]

Array = NDArray[np.float64]

#: Within a fold the mixture is cross-fitted on so many folds, each of which costs a fit per component; with few rows,
#: where fits cost little and half of the rows would not show where regimes meet, on more.
INNER_FOLDS = 2
FEW_ROWS, MORE_FOLDS = 300, 4


@dataclass(frozen=True)
class Regimes:
    """Regimes of all rows: initial responsibilities (n, K), the expert that serves each, and the ranking of starts."""

    initial: Array
    components: list[int]
    starts: list[dict[str, Any]] = field(default_factory=list)

    def components_of(self, initial: Array, rows: NDArray[np.intp], weight: Array) -> list[int]:
        """The expert of each regime (m, J) found in m rows: of the regime with which it shares most of their weight."""
        shared = (weight[:, None] * initial).T @ self.initial[rows]
        return [self.components[k] for k in shared.argmax(axis=1)]


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
    regimes: Regimes
    keep: bool
    on_error: str

    @property
    def name(self) -> str:
        return f"{MIXTURE}, {'all rows' if self.fold == ALL_ROWS else f'fold {self.fold}'}"


@dataclass(frozen=True)
class _MixtureDone:
    values: Array | None
    scale: Array | None
    fitted: FittedExpert | None
    failures: list[Failure]
    left_out: dict[str, float]
    restored_seconds: float


def cross_fit_mixture(
    session: FitSession, experts: CrossFittedExperts, settings: MixtureSettings, *, refit: bool
) -> MixtureColumn:
    """Out-of-fold predictions of the mixture, whose search, responsibilities, experts and gate are fitted in each fold.

    The number of regimes, how far the models bend that find them and which expert of the pool serves each are chosen
    once, on all rows, as the best single expert is: the labels of a fold have a say in these choices, and in nothing
    else that its rows are predicted with.
    With one regime the mixture is the best single expert, and nothing is fitted.
    """
    problem, folds = session.problem, session.folds
    search = settings.search
    emit(Event("part", "regimes"))
    if search.uses_proxies:
        search = search.bending(_capacity(session, experts, settings))
    began = time.monotonic()
    try:
        initial, starts, capacity = search_regimes(session, search)
    except TaskTimeoutError as error:
        if session.on_error == "raise":
            raise
        return MixtureColumn(failures=[Failure(MIXTURE, ALL_ROWS, f"{type(error).__name__}: {error}")])
    if search.n_experts is not None:
        initial = prune(initial, problem.counts)
    K = initial.shape[1]
    if K == 1:
        return _best_single_column(session, experts, settings, starts)
    if session.deadline.limited and not session.deadline.allows(
        f"the specialised mixture of {K} regimes", _expected_seconds(session, experts, K, time.monotonic() - began)
    ):
        return MixtureColumn(starts=starts)
    emit(Event("part", "experts of the regimes"))
    try:
        components, failures = choose_types(session, floored(initial, FLOOR), experts.positions)
    except AllExpertsFailedError as error:
        if session.on_error == "raise":
            raise
        return MixtureColumn(failures=[Failure(MIXTURE, ALL_ROWS, str(error))], starts=starts)
    # Each fold looks for as many regimes in its own rows; of the user's own start it takes what is left after pruning.
    start = search.start if isinstance(search.start, str) else initial
    search = replace(search, n_experts=K, start=start)
    search = search if capacity is None else replace(search, capacities=(capacity,))
    inside = replace(settings, search=search, refit=True)
    regimes = Regimes(initial, components, starts)
    work = [_MixtureJob(f, inside, regimes, not refit, session.on_error) for f in range(len(folds))]
    if refit:
        work.append(_MixtureJob(ALL_ROWS, inside, regimes, True, session.on_error))
    emit(Event("part", "mixture"))
    done, failed = _run_mixture_jobs(session, work, settings)
    failures += failed
    if len(done) < len(work):
        return MixtureColumn(failures=failures, starts=starts)
    predictions = _gathered(problem, folds, done[: len(folds)])
    if refit:
        column: Any = done[-1].fitted
        mixture = column.model
        history = mixture.history
    else:
        members = [result.fitted for result in done if result.fitted is not None]
        column = FoldAverage(MIXTURE, members)
        mixture = [member.model for member in members if isinstance(member.model, FittedMixture)]
        history = [{"fold": f, **row} for f, one in enumerate(mixture) for row in one.history]
    return MixtureColumn(predictions, column, mixture, K, starts, history, failures)


def _run_mixture_jobs(
    session: FitSession, work: Sequence[_MixtureJob], settings: MixtureSettings
) -> tuple[list[_MixtureDone], list[Failure]]:
    """Results of the jobs that did not fail, and the failures of mixtures and of experts within them."""
    results = session.map(
        _fit_mixture_in_fold, work, [job.name for job in work], on_gpu=settings.on_gpu,
        complete=lambda done: not (done.left_out or done.failures),
    )  # fmt: skip
    failures, done = [], []
    for job, result in zip(work, results, strict=True):
        if not isinstance(result, BaseException):
            done.append(result)
            session.restored_seconds += result.restored_seconds
            session.deadline.add(result.left_out)
            failures += [replace(one, fold=job.fold) for one in dict.fromkeys(result.failures)]
        elif session.on_error == "raise":
            raise result
        else:
            failures.append(Failure(MIXTURE, job.fold, f"{type(result).__name__}: {result}"))
    return done, failures


def _capacity(session: FitSession, experts: CrossFittedExperts, settings: MixtureSettings) -> int:
    """Capacity of the proxies, from the out-of-fold losses of the best single expert."""
    problem = session.problem
    rows = np.flatnonzero(session.folds.held_out & (problem.weight > 0))
    best = best_column(problem, experts.predictions, rows)
    losses = row_losses(problem.take(rows), experts.predictions.values[rows, best : best + 1], target_units(problem))[
        :, 0
    ]
    columns = settings.features.all_columns(problem.X)
    return capacity_of(columns, problem, session.folds, rows, losses, settings.search.seed)


def _expected_seconds(session: FitSession, experts: CrossFittedExperts, K: int, search_seconds: float) -> float:
    """What the mixture takes at least, from the seconds of the experts in the folds and of the search on all rows.

    Every expert is tried in every regime on one fold at least; then one round is made in each fold and on all rows.
    Counting looked for K + 1 numbers of regimes or more, with two kinds of proxies; a fold looks for one, with one.
    """
    k = len(session.folds)
    one_fit = float(experts.predictions.fit_seconds.sum()) / k
    return (one_fit * (K + k + 1) + k * search_seconds / (2 * (K + 1))) / session.n_workers


def _fit_mixture_in_fold(inputs: SharedInputs, job: _MixtureJob) -> _MixtureDone:
    """A task: fit the mixture on the training rows of a fold (or on all), predict the held-out rows."""
    problem, settings = inputs.problem, job.settings
    folds, fold = inputs.folds, job.fold
    rows = np.arange(problem.n) if fold == ALL_ROWS else folds.pairs[fold][0]
    whole = problem.take(rows)
    part, present = whole.with_present_classes()
    inner = folds if fold == ALL_ROWS else folds.inside(fold, part.X, part.y, part.groups)
    few = part.counts.sum() <= FEW_ROWS
    inner = inner.merged(MORE_FOLDS if few else INNER_FOLDS, part.weight > 0)
    search = settings.search.take(rows)
    settings = replace(settings, search=search, recalibrate=job.keep)
    failures: list[Failure] = []
    deadline, restored = inputs.deadline, 0.0
    if part.n_classes == 1:
        fitted = fit_expert(inputs.experts[job.regimes.components[0]], whole, None, None)
    else:
        kept = None if inputs.checkpoint is None else inputs.checkpoint.inside(job.name)
        with FitSession(
            inputs.experts, part, inner, current_engine(None), job.on_error, inputs.negligible, deadline, kept
        ) as session:
            # The capacity of the proxies, the number of regimes and their experts are known from all rows.
            initial, starts = job.regimes.initial, job.regimes.starts
            if fold != ALL_ROWS:
                initial, starts, _ = search_regimes(session, search, f"fold {fold}")
            initial = prune(initial, part.counts)
            components = job.regimes.components_of(initial, rows, part.weight)
            try:
                mixture = fit_mixture(session, settings, initial, components)
            except AllExpertsFailedError:  # they may need more rows than a fold of a time series has
                mixture = fit_mixture(session, settings, initial)
            mixture = replace(mixture, present=present, starts=starts)
            restored = session.restored_seconds
        failures = mixture.failures
        device = join_devices(column.device for column in mixture.columns)
        fitted = FittedExpert(MIXTURE, mixture, problem.n_classes, present, 0.0, problem.n_targets, device)
    values = scale = None
    if fold != ALL_ROWS:
        values, scale = fitted.predict_with_scale(take_rows(problem.X, folds.pairs[fold][1]))
    return _MixtureDone(values, scale, fitted if job.keep else None, failures, deadline.refused, restored)


def _gathered(problem: Problem, folds: Folds, results: Sequence[_MixtureDone]) -> OutOfFold:
    """Predictions of the folds in one table, averaged where a row is held out more than once."""
    depth = problem.depth
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


def _best_single_column(
    session: FitSession, experts: CrossFittedExperts, settings: MixtureSettings, starts: list[dict[str, Any]]
) -> MixtureColumn:
    """The mixture of one regime: the best single expert, which is fitted already."""
    best = best_column(session.problem, experts.predictions, np.flatnonzero(session.folds.held_out))
    one = experts.predictions.take([best])
    mixture = single_regime(session, settings, experts.positions[best], one, experts.columns[best])
    mixture = replace(mixture, starts=starts)
    predictions = replace(one, names=[MIXTURE], failures=[], models={})
    column = replace(experts.columns[best], name=MIXTURE)
    return MixtureColumn(predictions, column, mixture, 1, starts, mixture.history)


def best_column(problem: Problem, predictions: OutOfFold, rows: NDArray[np.intp]) -> int:
    """Column with the smallest loss over some rows."""
    part = problem.take(rows)
    return int(np.argmin(part.weight @ row_losses(part, predictions.values[rows], target_units(problem))))
