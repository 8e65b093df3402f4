"""Tasks of many fits handed to an engine, their answers gathered in one table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from metamix.data.folds import Folds
from metamix.data.tables import take_rows
from metamix.engines import Engine, Outcome, SerialEngine, Session
from metamix.fitting.expert import fit_expert
from metamix.fitting.fitted import FittedExpert
from metamix.fitting.out_of_fold import Failure, OutOfFold
from metamix.fitting.problem import NamedExpert, Problem
from metamix.progress import Event, emit

__all__ = ["AllExpertsFailedError", "FitSession", "SharedInputs"]

Array = NDArray[np.float64]


class AllExpertsFailedError(ValueError):
    """No expert is left: the message says why each one failed."""


@dataclass(frozen=True)
class _Job:
    column: int
    expert: int
    fold: int  # -1: all rows
    weight: Array | None = None  # responsibilities of all rows, (n,); a view, sliced where it is used
    keep: bool = False
    params: Mapping[str, Any] | None = None  # set on the expert before it is fitted


@dataclass(frozen=True)
class SharedInputs:
    """What every task shares; travels to a worker once."""

    entries: tuple[NamedExpert, ...]
    data: Problem
    folds: Folds
    negligible: float


@dataclass
class _Done:
    fitted: FittedExpert | None
    values: Array | None
    scale: Array | None
    fit_seconds: float
    predict_seconds: float


def _one_name_each(names: list[str]) -> list[str]:
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


def _key(job: _Job) -> tuple[Any, ...]:
    return job.expert, job.fold, None if job.weight is None else job.weight.tobytes()


def _work(inputs: SharedInputs, job: _Job) -> _Done:
    """One task: fit one expert on one fold, answer for the held-out rows. Runs in a worker."""
    train, test = (None, None) if job.fold < 0 else inputs.folds.pairs[job.fold]
    if inputs.folds.in_sample:
        train = None
    started = time.perf_counter()
    weight = job.weight if job.weight is None or train is None else job.weight[train]
    fitted = fit_expert(inputs.entries[job.expert], inputs.data, train, weight, job.params, inputs.negligible)
    fit_seconds = time.perf_counter() - started
    fitted = replace(fitted, seconds=fit_seconds)
    values = scale = None
    started = time.perf_counter()
    if test is not None:
        X = inputs.data.X if inputs.folds.in_sample else take_rows(inputs.data.X, test)
        values, scale = fitted.predict_with_scale(X)
    return _Done(fitted if job.keep else None, values, scale, fit_seconds, time.perf_counter() - started)


@dataclass
class FitSession:
    """Experts, rows and folds on one inputs, and an engine that does the work.

    Use as a context manager: what the tasks share travels to the workers once, when it opens.

    Parameters
    ----------
    entries : list of NamedExpert
        Experts as `prepare` returns them.
    data : Problem
    folds : Folds
    engine : Engine
        Where everything runs but what is on a GPU: that is done here, one fit at a time.
    on_error : {"drop", "raise"}
        What to do about an expert that fails.
    negligible : float
        Responsibility at or below which a row is left out of a fit.
    """

    entries: Sequence[NamedExpert]
    data: Problem
    folds: Folds
    engine: Engine
    on_error: str = "drop"
    negligible: float = 0.0
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)
    _session: Session | None = field(default=None, repr=False)
    _here: Session | None = field(default=None, repr=False)
    _remembered: dict[tuple[Any, ...], _Done] = field(default_factory=dict, repr=False)

    def __enter__(self) -> FitSession:
        inputs = SharedInputs(tuple(self.entries), self.data, self.folds, self.negligible)
        self._session = self._stack.enter_context(self.engine.open(inputs))
        here = SerialEngine(threads_per_task=self._session.threads_per_task)
        self._here = self._stack.enter_context(here.open(inputs))
        return self

    def __exit__(self, *error: Any) -> None:
        self._session = self._here = None
        self._stack.__exit__(*error)

    def cross_fit(
        self,
        which: Sequence[int] | None = None,
        weights: Array | None = None,
        *,
        keep: bool = False,
        only: Sequence[int] | None = None,
        needed: bool = True,
        remember: bool = False,
        params: Mapping[int, Mapping[str, Any]] | None = None,
    ) -> tuple[list[int], OutOfFold]:
        """Out-of-fold answers of some experts.

        Parameters
        ----------
        which : sequence of int, optional
            Entries that answer, a column each; all by default. One may appear more than once.
        weights : ndarray of shape (n, len(which)), optional
            Responsibilities; None trains every expert on all rows alike.
        keep : bool
            Keep the fold models in the answers.
        only : sequence of int, optional
            Folds to answer; all by default.
        needed : bool
            Whether it is an error if none is left.
        remember : bool
            The next call shall not repeat fits of the same expert, fold and weights, nor any later call those of
            all rows alike.
        params : mapping from fold to mapping, optional
            Parameters to set on the experts before they are fitted on a fold.

        Returns
        -------
        (list of int, OutOfFold)
            Positions in `which` that answered everywhere, and their table.

        Raises
        ------
        AllExpertsFailedError
            If none is left.
        """
        which = list(range(len(self.entries))) if which is None else list(which)
        only = range(len(self.folds)) if only is None else only
        n, depth = self.data.n, self.data.n_classes or self.data.n_targets
        values = np.zeros((n, len(which)) if depth is None else (n, len(which), depth))
        scale: Array | None = None
        times = np.zeros(n)
        for f in only:
            times[self.folds.pairs[f][1]] += 1
        fit_seconds, predict_seconds = np.zeros(len(which)), np.zeros(len(which))
        models: dict[tuple[str, int], Any] = {}
        names = _one_name_each([self.entries[e].name for e in which])
        jobs = [
            _Job(j, e, f, None if weights is None else weights[:, j], keep, (params or {}).get(f))
            for f in only
            for j, e in enumerate(which)
        ]
        failures: list[Failure] = []
        failed: set[int] = set()
        for job, done in self._known_or_run(jobs, failures, failed, remember):
            test = self.folds.pairs[job.fold][1]
            values[test, job.column] += done.values
            if done.scale is not None:
                scale = np.full(values.shape, np.nan) if scale is None else scale
                scale[test, job.column] = np.nan_to_num(scale[test, job.column]) + done.scale
            fit_seconds[job.column] += done.fit_seconds
            predict_seconds[job.column] += done.predict_seconds
            if keep:
                models[names[job.column], job.fold] = done.fitted
        with np.errstate(invalid="ignore"):
            share = times.reshape((n,) + (1,) * (values.ndim - 1))
            values /= share
            if scale is not None:
                scale /= share
        table = OutOfFold(names, values, fit_seconds, predict_seconds, failures, models, scale)
        kept = self._kept(which, failed, failures, needed)
        return kept, table if len(kept) == len(which) else table.take(kept)

    def _known_or_run(
        self, jobs: list[_Job], failures: list[Failure], failed: set[int], remember: bool
    ) -> Iterator[tuple[_Job, _Done]]:
        """What earlier calls left, then what must be done."""
        known = self._remembered
        self._remembered = {key: done for key, done in known.items() if key[-1] is None}
        ahead = []
        for job in jobs:
            done = known.get(_key(job)) if known else None
            if done is None or (job.keep and done.fitted is None):
                ahead.append(job)
            else:
                if remember:
                    self._remembered[_key(job)] = done
                yield job, done
        for job, done in self._run(ahead, failures, failed):
            if remember:
                self._remembered[_key(job)] = done
            yield job, done

    def each(
        self, function: Callable[[SharedInputs, Any], Any], jobs: Sequence[Any], names: Sequence[str]
    ) -> list[Any]:
        """What `function(inputs, job)` returns for each job, worked off by the engine; it must not fail."""
        assert self._session is not None, "open the session with a with statement first"
        found: list[Any] = [None] * len(jobs)
        for count, outcome in enumerate(self._session.run(function, list(jobs), list(names)), start=1):
            if outcome.error is not None:
                raise outcome.error
            found[outcome.index] = outcome.value
            emit(Event("task", names[outcome.index], count, len(jobs)))
        return found

    def fit_all(
        self,
        which: Sequence[int] | None = None,
        weights: Array | None = None,
        *,
        needed: bool = True,
        params: Mapping[str, Any] | None = None,
    ) -> tuple[dict[int, FittedExpert], list[Failure]]:
        """Fit some experts on all rows, once.

        Parameters
        ----------
        which : sequence of int, optional
        weights : ndarray of shape (n, len(which)), optional
        needed : bool
            Whether it is an error if none is left.
        params : mapping, optional
            Parameters to set on the experts before they are fitted.

        Returns
        -------
        (dict from position in `which` to FittedExpert, list of Failure)

        Raises
        ------
        AllExpertsFailedError
            If none is left.
        """
        which = list(range(len(self.entries))) if which is None else list(which)
        failures: list[Failure] = []
        failed: set[int] = set()
        jobs = [_Job(j, e, -1, None if weights is None else weights[:, j], True, params) for j, e in enumerate(which)]
        fitted = {job.column: done.fitted for job, done in self._run(jobs, failures, failed) if done.fitted}
        return {j: fitted[j] for j in self._kept(which, failed, failures, needed)}, failures

    def _run(self, jobs: list[_Job], failures: list[Failure], failed: set[int]) -> Iterator[tuple[_Job, _Done]]:
        assert self._session is not None, "open the session with a with statement first"
        names = [
            f"{self.entries[job.expert].name}, " + ("all rows" if job.fold < 0 else f"fold {job.fold}") for job in jobs
        ]
        for count, outcome in enumerate(self._outcomes(jobs, names), start=1):
            job, name = jobs[outcome.index], names[outcome.index]
            if outcome.error is None:
                emit(Event("task", name, count, len(jobs)))
                yield job, outcome.value
                continue
            if self.on_error == "raise":
                outcome.error.add_note(f"raised by expert {name}; on_error='drop' goes on without it")
                raise outcome.error
            text = f"{type(outcome.error).__name__}: {outcome.error}"
            failures.append(Failure(self.entries[job.expert].name, job.fold, text))
            failed.add(job.column)
            emit(Event("failure", name, count, len(jobs), {"error": text}))

    def _outcomes(self, jobs: list[_Job], names: list[str]) -> Iterator[Outcome]:
        """What became of every job. What runs on a GPU is done first, here and one after the other.

        Workers would each load a library and hold a share of the GPU's memory, to wait for each other there.
        """
        assert self._session is not None
        assert self._here is not None
        alone: list[int] = []
        others: list[int] = []
        for i, job in enumerate(jobs):
            (others if self.entries[job.expert].device == "cpu" else alone).append(i)
        for session, part in ((self._here, alone), (self._session, others)):
            if part:
                for outcome in session.run(_work, [jobs[i] for i in part], [names[i] for i in part]):
                    yield replace(outcome, index=part[outcome.index])

    def _kept(self, which: Sequence[int], failed: set[int], failures: list[Failure], needed: bool = True) -> list[int]:
        kept = [j for j in range(len(which)) if j not in failed]
        if which and needed and not kept:
            self.raise_all_failed(failures)
        return kept

    def raise_all_failed(self, failures: Sequence[Failure]) -> NoReturn:
        """One error that says why each expert failed."""
        reasons = {failure.expert: failure.error for failure in reversed(failures)}
        listed = "; ".join(f"{name}: {error}" for name, error in reversed(reasons.items()))
        raise AllExpertsFailedError(
            f"every expert failed, so there is nothing to mix. {listed}. "
            "Set on_error='raise' to see the first error where it happens."
        )
