"""Many fits of the same experts, rows and folds, handed to an engine; their predictions gathered in one table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from metamix.data.folds import Folds
from metamix.data.tables import take_rows
from metamix.deadline import Deadline
from metamix.engines import Engine, Outcome, SerialEngine, Session, TaskTimeoutError, WorkerKilledError, at_most
from metamix.fitting.checkpoint import Checkpoint, Fingerprint, content_key, table_fingerprint
from metamix.fitting.class_labels import ClassParameterError
from metamix.fitting.expert import expert_key, fit_expert
from metamix.fitting.fitted import FittedExpert, FoldAverage
from metamix.fitting.nested import InsideFolds, NestedFit, nested_fits
from metamix.fitting.out_of_fold import Failure, OutOfFold
from metamix.fitting.problem import NamedExpert, Problem
from metamix.fitting.source import TableSource
from metamix.progress import Event, emit

__all__ = ["ALL_ROWS", "AllExpertsFailedError", "FitSession", "NestedFitError", "SharedInputs"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

#: The fold of a fit on all rows.
ALL_ROWS = -1
#: Errors of a fit, each of which costs minutes, after which no other fit of the same expert is begun.
GIVES_UP: Mapping[type[BaseException], str] = MappingProxyType(
    {TaskTimeoutError: "took too long", WorkerKilledError: "killed its worker"}
)
_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class AllExpertsFailedError(ValueError):
    """No expert is left: the message says why each one failed, and `failures` lists all of that."""

    def __init__(self, message: str, failures: Sequence[Failure] = ()) -> None:
        super().__init__(message)
        self.failures = list(failures)


class NestedFitError(ValueError):
    """A fit without the rows of two folds failed: the message says which and why."""


@dataclass(frozen=True)
class SharedInputs:
    """What all tasks of a session share; it is sent to each worker once."""

    experts: tuple[NamedExpert, ...]
    problem: Problem
    folds: Folds
    negligible: float
    deadline: Deadline
    checkpoint: Checkpoint | None = None  # for the parts of tasks that are fits themselves

    def loader(self) -> _Loader | None:
        """How workers on other machines make this (`metamix.engines.Reloadable`)."""
        if self.problem.source is None:
            return None
        without = replace(self, problem=replace(self.problem, X=None, source=None))
        return _Loader(without, self.problem.source, table_fingerprint(self.problem.X))


@dataclass(frozen=True)
class _Loader:
    """What all tasks share but X, and where that comes from."""

    inputs: SharedInputs
    source: TableSource
    expected: Fingerprint

    def __call__(self) -> SharedInputs:
        X = self.source.load(self.expected)
        return replace(self.inputs, problem=replace(self.inputs.problem, X=X))

    def __str__(self) -> str:
        return str(self.source)


@dataclass(frozen=True)
class _Job:
    column: int
    expert: int
    fold: int
    weight: Array | None = None  # responsibilities of all rows, (n,); a view, sliced where it is used
    keep: bool = False
    nested: NestedFit | None = None  # rows to fit and to predict, instead of those of the fold
    weight_key: str | None = None  # of the content of `weight`
    given_up: str = ""  # what an earlier fit of the expert did, so that this one is not begun


@dataclass
class _Done:
    fitted: FittedExpert | None
    values: Array | None
    scale: Array | None
    fit_seconds: float
    predict_seconds: float


def _fit_and_predict(inputs: SharedInputs, job: _Job) -> _Done:
    """One task: fit one expert on one fold, predict the held-out rows. Runs in a worker."""
    limit, name = inputs.deadline.fit_seconds, _name_of(inputs.experts, job)
    if job.given_up:
        raise RuntimeError(f"not begun, since an earlier fit {job.given_up}")
    with at_most(limit, name):
        done = _done(inputs, job)
    if limit is not None and done.fit_seconds + done.predict_seconds > limit:  # where no engine could stop it
        raise TaskTimeoutError(name, limit)
    return done


def _done(inputs: SharedInputs, job: _Job) -> _Done:
    problem, in_sample = inputs.problem, inputs.folds.in_sample
    train, test = _rows_to_fit_and_predict(inputs, job)
    started = time.perf_counter()
    weight = job.weight if job.weight is None or train is None else job.weight[train]
    fitted = fit_expert(inputs.experts[job.expert], problem, train, weight, inputs.negligible)
    fit_seconds = time.perf_counter() - started
    fitted = replace(fitted, seconds=fit_seconds)
    values = scale = None
    started = time.perf_counter()
    if test is not None:
        values, scale = fitted.predict_with_scale(problem.X if in_sample else take_rows(problem.X, test))
    return _Done(fitted if job.keep else None, values, scale, fit_seconds, time.perf_counter() - started)


def _within_limit(function: Callable[[SharedInputs, Any], Any], inputs: SharedInputs, job: Any) -> Any:
    """One task, which is taken for one that hangs where it takes longer than the limit of the whole fit."""
    with at_most(inputs.deadline.task_seconds()):
        return function(inputs, job)


class _Jobs(Sequence[Any]):
    """Jobs as they are when an engine asks for them: what experts did for which their fits are given up."""

    def __init__(self, jobs: Sequence[Any], given_up: Mapping[int, str]) -> None:
        self.jobs = jobs
        self.given_up = given_up

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, i: Any) -> Any:
        job = self.jobs[i]
        if isinstance(job, _Job) and job.expert in self.given_up:
            return replace(job, given_up=self.given_up[job.expert])
        return job


def _rows_to_fit_and_predict(inputs: SharedInputs, job: _Job) -> tuple[Rows | None, Rows | None]:
    """Row numbers; None to fit is all of them, None to predict is none."""
    if job.nested is not None:
        return job.nested.train, job.nested.test
    if job.fold == ALL_ROWS:
        return None, None
    train, test = inputs.folds.pairs[job.fold]
    return None if inputs.folds.in_sample else train, test


@dataclass
class FitSession:
    """Experts, rows and folds, and the engine that fits them; a context manager.

    What the tasks share is sent to the workers once, when the session is opened.

    Parameters
    ----------
    experts : list of NamedExpert
        As `prepare` returns them.
    problem : Problem
    folds : Folds
    engine : Engine
        Runs everything but fits on a GPU, which run in this process, one at a time, unless its workers offer GPUs.
    on_error : {"drop", "raise"}
        What to do about an expert that fails.
    negligible : float
        Rows with no more responsibility than this are left out of a fit.
    deadline : Deadline
        Is asked before parts that a fit can do without, and says how long a fit may take.
    checkpoint : Checkpoint, optional
        Keeps what is finished, and has what an earlier call finished.

    Attributes
    ----------
    restored_seconds : float
        What the tasks took that the checkpoint had, when they were run.
    """

    experts: Sequence[NamedExpert]
    problem: Problem
    folds: Folds
    engine: Engine
    on_error: str = "drop"
    negligible: float = 0.0
    deadline: Deadline = field(default_factory=Deadline)
    checkpoint: Checkpoint | None = None
    restored_seconds: float = field(default=0.0, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)
    _session: Session | None = field(default=None, repr=False)
    _on_gpu: Session | None = field(default=None, repr=False)
    _remembered: dict[tuple[Any, ...], _Done] = field(default_factory=dict, repr=False)
    _content: str = field(default="", repr=False)
    _given_up: dict[int, str] = field(default_factory=dict, repr=False)

    def __enter__(self) -> FitSession:
        if self.checkpoint is not None:
            self._content = _content_of(self.problem, self.folds, self.negligible)
        inputs = SharedInputs(
            tuple(self.experts), self.problem, self.folds, self.negligible, self.deadline, self.checkpoint
        )
        self._session = self._stack.enter_context(self.engine.open(inputs))
        serial = SerialEngine(threads_per_task=self._session.threads_per_task)
        in_process = self._stack.enter_context(serial.open(inputs))
        self._on_gpu = getattr(self._session, "on_gpu", None) or in_process
        return self

    def __exit__(self, *error: Any) -> None:
        self._session = self._on_gpu = None
        self._stack.__exit__(*error)

    @property
    def _repeats(self) -> bool:
        """Whether predictions of a row are added up, where the order decides the last bit."""
        return self.folds.fold_of_row.ndim > 1

    @property
    def given_up(self) -> list[str]:
        """Names of experts of which a fit took too long or killed its worker, so that no other one is begun."""
        return [self.experts[e].name for e in self._given_up]

    @property
    def n_workers(self) -> int:
        """How many fits run at once."""
        assert self._session is not None, "open the session with a with statement first"
        return self._session.n_workers

    def cross_fit(
        self,
        which: Sequence[int] | None = None,
        weights: Array | None = None,
        *,
        keep: bool = False,
        only: Sequence[int] | None = None,
        remember: bool = False,
    ) -> tuple[list[int], OutOfFold]:
        """Out-of-fold predictions of some experts.

        Parameters
        ----------
        which : sequence of int, optional
            Experts, a column each; all by default. One may appear more than once.
        weights : ndarray of shape (n, len(which)), optional
            Responsibilities; None fits every expert to all rows alike.
        keep : bool
            Keep the fold models.
        only : sequence of int, optional
            Folds; all by default.
        remember : bool
            The next call shall not repeat fits of the same expert, fold and weights, nor any later call those to all
            rows alike.

        Returns
        -------
        (list of int, OutOfFold)
            Positions in `which` that failed nowhere, and their table.

        Raises
        ------
        AllExpertsFailedError
            If none is left.
        """
        which = list(range(len(self.experts))) if which is None else list(which)
        only = range(len(self.folds)) if only is None else only
        n, depth = self.problem.n, self.problem.depth
        values = np.zeros((n, len(which)) if depth is None else (n, len(which), depth))
        scale: Array | None = None
        known: Array | None = None  # how often each scale was given
        times = np.zeros(n)
        for f in only:
            times[self.folds.pairs[f][1]] += 1
        fit_seconds, predict_seconds = np.zeros(len(which)), np.zeros(len(which))
        models: dict[tuple[str, int], Any] = {}
        names = _unique([self.experts[e].name for e in which])
        keys = _weight_keys(which, weights)
        jobs = [
            _Job(j, e, f, None if weights is None else weights[:, j], keep, weight_key=keys[j])
            for f in only
            for j, e in enumerate(which)
        ]
        failures: list[Failure] = []
        failed: set[int] = set()
        earlier, self._remembered = self._remembered, {k: one for k, one in self._remembered.items() if k[-1] is None}
        finished: Iterable[tuple[_Job, _Done]] = self._run_once(jobs, failures, failed, earlier, remember)
        if self._repeats:
            place = {id(job): i for i, job in enumerate(jobs)}
            finished = sorted(finished, key=lambda one: place[id(one[0])])
        for job, done in finished:
            test = self.folds.pairs[job.fold][1]
            values[test, job.column] += done.values
            if done.scale is not None:
                scale = np.zeros(values.shape) if scale is None else scale
                known = np.zeros(values.shape) if known is None else known
                scale[test, job.column] += np.nan_to_num(done.scale)
                known[test, job.column] += np.isfinite(done.scale)
            fit_seconds[job.column] += done.fit_seconds
            predict_seconds[job.column] += done.predict_seconds
            if keep:
                models[names[job.column], job.fold] = done.fitted
        with np.errstate(invalid="ignore"):
            times = times.reshape((n,) + (1,) * (values.ndim - 1))
            values /= times
            if scale is not None and known is not None:
                scale /= known
        table = OutOfFold(names, values, fit_seconds, predict_seconds, failures, models, scale)
        kept = self._kept(which, failed, failures)
        return kept, table if len(kept) == len(which) else table.take(kept)

    def cross_fit_nested(self, table: OutOfFold, which: Sequence[int], nested: Sequence[Folds | None]) -> OutOfFold:
        """Predictions from inside the folds, joined to out-of-fold predictions.

        Parameters
        ----------
        table : OutOfFold
        which : sequence of int
            The experts behind its columns.
        nested : sequence of Folds or None
            As `Folds.nested` returns them.

        Returns
        -------
        OutOfFold

        Raises
        ------
        NestedFitError
            If a fit fails, whatever `on_error` says: these fits only judge, and fail for want of rows.
        """
        fits, inside = nested_fits(nested), InsideFolds(table, nested)
        jobs = [_Job(j, e, fit.position[0], nested=fit) for fit in fits for j, e in enumerate(which)]
        names = [_name_of(self.experts, job) for job in jobs]
        seconds = table.fit_seconds.copy()
        errors: dict[int, BaseException] = {}
        outcomes: Iterable[Outcome] = self._fits(jobs, names)
        if self._repeats:
            outcomes = sorted(outcomes, key=lambda one: one.index)
        for count, outcome in enumerate(outcomes, start=1):
            job = jobs[outcome.index]
            if outcome.error is not None:
                errors[outcome.index] = outcome.error
                continue
            emit(Event("task", names[outcome.index], count, len(jobs)))
            assert job.nested is not None
            inside.add(job.nested, job.column, outcome.value.values, outcome.value.scale)
            seconds[job.column] += outcome.value.fit_seconds
        if errors:  # the first by number, whatever came back first
            first = min(errors)
            raise NestedFitError(f"{table.names[jobs[first].column]}: {errors[first]}") from errors[first]
        return replace(inside.joined(), fit_seconds=seconds)

    def fit_all(
        self, which: Sequence[int] | None = None, weights: Array | None = None
    ) -> tuple[dict[int, FittedExpert], list[Failure]]:
        """Fit some experts on all rows, once.

        Parameters
        ----------
        which : sequence of int, optional
        weights : ndarray of shape (n, len(which)), optional

        Returns
        -------
        (dict from position in `which` to FittedExpert, list of Failure)

        Raises
        ------
        AllExpertsFailedError
            If none is left.
        """
        which = list(range(len(self.experts))) if which is None else list(which)
        failures: list[Failure] = []
        failed: set[int] = set()
        keys = _weight_keys(which, weights)
        jobs = [
            _Job(j, e, ALL_ROWS, None if weights is None else weights[:, j], True, weight_key=keys[j])
            for j, e in enumerate(which)
        ]
        fitted = {job.column: done.fitted for job, done in self._run(jobs, failures, failed) if done.fitted}
        return {j: fitted[j] for j in self._kept(which, failed, failures)}, failures

    def fold_averages(self, predictions: OutOfFold) -> list[FoldAverage]:
        """The fold models that were kept of each expert, whose mean is predicted."""
        folds = range(len(self.folds))
        return [FoldAverage(name, [predictions.models[name, f] for f in folds]) for name in predictions.names]

    def map(
        self,
        function: Callable[[SharedInputs, Any], Any],
        jobs: Sequence[Any],
        names: Sequence[str],
        *,
        on_gpu: bool = False,
        complete: Callable[[Any], bool] | None = None,
    ) -> list[Any | BaseException]:
        """Values of ``function(inputs, job)`` for each job, or the exception that it raised; run by the engine.

        With `on_gpu` they run where fits on a GPU do. A checkpoint keeps the values of which `complete` says that
        nothing is missing in them; without it, none.
        """
        found: list[Any] = [None] * len(jobs)
        needs_gpu = [on_gpu] * len(jobs)
        for count, outcome in enumerate(self._outcomes(function, jobs, names, needs_gpu, {}, complete), start=1):
            found[outcome.index] = outcome.value if outcome.error is None else outcome.error
            emit(Event("task", names[outcome.index], count, len(jobs)))
        return found

    @staticmethod
    def raise_all_failed(failures: Sequence[Failure]) -> NoReturn:
        """One error that says why each expert failed."""
        reasons = {failure.expert: failure.error for failure in reversed(failures)}
        listed = "; ".join(f"{name}: {error}" for name, error in reversed(reasons.items()))
        raise AllExpertsFailedError(
            f"every expert failed, so there is nothing to combine. {listed}. "
            "Set on_error='raise' to see the first error where it happens.",
            failures,
        )

    def _run_once(
        self,
        jobs: list[_Job],
        failures: list[Failure],
        failed: set[int],
        known: Mapping[tuple[Any, ...], _Done],
        remember: bool,
    ) -> Iterator[tuple[_Job, _Done]]:
        """As `_run`, but equal fits are made once."""
        alike: dict[tuple[Any, ...], list[_Job]] = {}
        for job in jobs:
            alike.setdefault(self._key(job), []).append(job)
        for job, done in self._run([same[0] for same in alike.values()], failures, failed, known, remember):
            for one in alike.pop(self._key(job)):
                yield one, self._named(done, one)
        # Where a fit failed, equal ones are left to fail, each under its own name.
        yield from self._run([job for same in alike.values() for job in same[1:]], failures, failed, known, remember)

    @cached_property
    def _expert_keys(self) -> list[str]:
        return [expert_key(one, self.problem) for one in self.experts]

    def _key(self, job: _Job) -> tuple[Any, ...]:
        """What is fitted to what, the same for equal experts; the last part is None without weights."""
        return self._expert_keys[job.expert], job.fold, job.weight_key

    def _named(self, done: _Done, job: _Job) -> _Done:
        """A result, which may be that of an equal expert, under the name of the expert of a job."""
        name = self.experts[job.expert].name
        if done.fitted is None or done.fitted.name == name:
            return done
        return replace(done, fitted=replace(done.fitted, name=name))

    def _run(
        self,
        jobs: list[_Job],
        failures: list[Failure],
        failed: set[int],
        known: Mapping[tuple[Any, ...], _Done] = _NOTHING,
        remember: bool = False,
    ) -> Iterator[tuple[_Job, _Done]]:
        names = [_name_of(self.experts, job) for job in jobs]
        for count, outcome in enumerate(self._fits(jobs, names, known), start=1):
            job, name = jobs[outcome.index], names[outcome.index]
            if outcome.error is None:
                emit(Event("task", name, count, len(jobs)))
                if remember:
                    self._remembered[self._key(job)] = outcome.value
                yield job, self._named(outcome.value, job)
                continue
            if isinstance(outcome.error, ClassParameterError):  # a mistake to mend, not a fit that fails
                outcome.error.add_note(f"raised by expert {name}")
                raise outcome.error
            if self.on_error == "raise":
                outcome.error.add_note(f"raised by expert {name}; on_error='drop' continues without it")
                raise outcome.error
            text = f"{type(outcome.error).__name__}: {outcome.error}"
            failures.append(Failure(self.experts[job.expert].name, job.fold, text))
            failed.add(job.column)
            emit(Event("failure", name, count, len(jobs), {"error": text}))

    def _fits(
        self, jobs: list[_Job], names: list[str], known: Mapping[tuple[Any, ...], _Done] = _NOTHING
    ) -> Iterator[Outcome]:
        """Outcomes of fits. Those on a GPU run first: on workers that offer one, else here, one by one.

        Local workers would each load a library and hold a share of the GPU's memory, to wait for each other there.
        """
        needs_gpu = [self.experts[job.expert].device != "cpu" for job in jobs]
        return self._outcomes(_fit_and_predict, jobs, names, needs_gpu, known, lambda done: True)

    def _outcomes(
        self,
        function: Callable[[SharedInputs, Any], Any],
        jobs: Sequence[Any],
        names: Sequence[str],
        needs_gpu: Sequence[bool],
        known: Mapping[tuple[Any, ...], _Done],
        complete: Callable[[Any], bool] | None,
    ) -> Iterator[Outcome]:
        """Outcomes of all jobs: of those that are known, in this process or by the checkpoint, then of those run.

        The one place where jobs are looked up, run and kept: in this process, as outcomes come back from any engine.
        """
        assert self._session is not None, "open the session with a with statement first"
        assert self._on_gpu is not None
        checkpoint = None if complete is None else self.checkpoint
        keys = ["" if checkpoint is None else self._checkpoint_key(function, job) for job in jobs]
        on_gpu: list[int] = []
        on_cpu: list[int] = []
        for i, job in enumerate(jobs):
            done = known.get(self._key(job)) if known else None
            if done is not None and not (job.keep and done.fitted is None):
                yield Outcome(i, done)
                continue
            kept = None if checkpoint is None else checkpoint.get(keys[i])
            if kept is not None:
                self.restored_seconds += kept.seconds
                yield Outcome(i, kept.value, seconds=kept.seconds)
            else:
                (on_gpu if needs_gpu[i] else on_cpu).append(i)
        run = function if self.deadline.limit is None else partial(_within_limit, function)
        for session, part in ((self._on_gpu, on_gpu), (self._session, on_cpu)):
            if part:
                waiting = _Jobs([jobs[i] for i in part], self._given_up)
                for outcome in session.run(run, waiting, [names[i] for i in part]):
                    i, error = part[outcome.index], outcome.error
                    if isinstance(jobs[i], _Job) and error is not None and type(error) in GIVES_UP:
                        self._given_up[jobs[i].expert] = GIVES_UP[type(error)]
                    if outcome.error is None and checkpoint is not None and complete is not None:
                        if complete(outcome.value):
                            checkpoint.put(keys[i], outcome.value, outcome.seconds, names[i])
                    yield replace(outcome, index=i)

    def _checkpoint_key(self, function: Callable[..., Any], job: Any) -> str:
        """The content of a job: what is fitted to what, whatever its place among other jobs."""
        content = job
        if isinstance(job, _Job):
            rows = None if job.nested is None else (job.nested.train, job.nested.test)
            content = self._key(job), rows, job.keep
        return content_key((self._content, function.__qualname__, content))

    def _kept(self, which: Sequence[int], failed: set[int], failures: list[Failure]) -> list[int]:
        kept = [j for j in range(len(which)) if j not in failed]
        if which and not kept:
            self.raise_all_failed(failures)
        return kept


def _weight_keys(which: Sequence[int], weights: Array | None) -> list[str | None]:
    """A key for the responsibilities of each column; a copy, since joblib's keys are of strides too."""
    return [None if weights is None else content_key(weights[:, j].copy()) for j in range(len(which))]


def _content_of(problem: Problem, folds: Folds, negligible: float) -> str:
    """A key of the rows and folds of a session."""
    tables = table_fingerprint(problem.X, problem.y, problem.sample_weight, problem.groups)
    return content_key((tables.key, problem.n_classes, problem.labels, folds.pairs, folds.in_sample, negligible))


def _name_of(experts: Sequence[NamedExpert], job: _Job) -> str:
    rows = "all rows" if job.fold == ALL_ROWS else f"fold {job.fold}"
    return f"{experts[job.expert].name}, {rows if job.nested is None else job.nested}"


def _unique(names: list[str]) -> list[str]:
    """Names with a number behind those that appear more than once."""
    if len(set(names)) == len(names):
        return names
    count: dict[str, int] = {}
    unique: list[str] = []
    for name in names:
        fresh = name
        while names.count(name) > 1 or fresh in unique:
            count[name] = count.get(name, 0) + 1
            fresh = f"{name}-{count[name]}"
            if fresh not in unique and fresh not in names:
                break
        unique.append(fresh)
    return unique
