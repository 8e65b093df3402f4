"""Tasks of many fits handed to an engine, their answers gathered in one table."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from metamix.answers import Answers, Failure
from metamix.engines import Engine, Session
from metamix.fitting.contents import Data, Entry, Fitted
from metamix.fitting.expert import fit_expert
from metamix.folds import Folds
from metamix.progress import Event, emit
from metamix.tables import take_rows

__all__ = ["AllExpertsFailedError", "Workshop"]

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


@dataclass(frozen=True)
class _Bench:
    """What every task shares; travels to a worker once."""

    entries: tuple[Entry, ...]
    data: Data
    folds: Folds
    negligible: float


@dataclass
class _Done:
    fitted: Fitted | None
    values: Array | None
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


def _work(bench: _Bench, job: _Job) -> _Done:
    """One task: fit one expert on one fold, answer for the held-out rows. Runs in a worker."""
    train, test = (None, None) if job.fold < 0 else bench.folds.pairs[job.fold]
    if bench.folds.in_sample:
        train = None
    started = time.perf_counter()
    weight = job.weight if job.weight is None or train is None else job.weight[train]
    fitted = fit_expert(bench.entries[job.expert], bench.data, train, weight, job.fold, bench.negligible)
    fit_seconds = time.perf_counter() - started
    fitted = replace(fitted, seconds=fit_seconds)
    values = None
    started = time.perf_counter()
    if test is not None:
        values = fitted.answer(bench.data.X if bench.folds.in_sample else take_rows(bench.data.X, test))
    return _Done(fitted if job.keep else None, values, fit_seconds, time.perf_counter() - started)


@dataclass
class Workshop:
    """Experts, rows and folds on one bench, and an engine that does the work.

    Use as a context manager: what the tasks share travels to the workers once, when it opens.

    Parameters
    ----------
    entries : list of Entry
        Experts as `prepare` returns them.
    data : Data
    folds : Folds
    engine : Engine
    on_error : {"drop", "raise"}
        What to do about an expert that fails.
    negligible : float
        Responsibility at or below which a row is left out of a fit.
    """

    entries: Sequence[Entry]
    data: Data
    folds: Folds
    engine: Engine
    on_error: str = "drop"
    negligible: float = 0.0
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)
    _session: Session | None = field(default=None, repr=False)

    def __enter__(self) -> Workshop:
        bench = _Bench(tuple(self.entries), self.data, self.folds, self.negligible)
        self._session = self._stack.enter_context(self.engine.open(bench))
        return self

    def __exit__(self, *error: Any) -> None:
        self._session = None
        self._stack.__exit__(*error)

    def cross_fit(
        self,
        which: Sequence[int] | None = None,
        weights: Array | None = None,
        *,
        keep: bool = False,
        only: Sequence[int] | None = None,
        needed: bool = True,
    ) -> tuple[list[int], Answers]:
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

        Returns
        -------
        (list of int, Answers)
            Positions in `which` that answered everywhere, and their table.

        Raises
        ------
        AllExpertsFailedError
            If none is left.
        """
        which = list(range(len(self.entries))) if which is None else list(which)
        only = range(len(self.folds)) if only is None else only
        n, C = self.data.n, self.data.n_classes
        values = np.zeros((n, len(which)) if C is None else (n, len(which), C))
        times = np.zeros(n)
        for f in only:
            times[self.folds.pairs[f][1]] += 1
        fit_seconds, predict_seconds = np.zeros(len(which)), np.zeros(len(which))
        models: dict[tuple[str, int], Any] = {}
        names = _one_name_each([self.entries[e].name for e in which])
        jobs = [
            _Job(j, e, f, None if weights is None else weights[:, j], keep) for f in only for j, e in enumerate(which)
        ]
        failures: list[Failure] = []
        failed: set[int] = set()
        for job, done in self._run(jobs, failures, failed):
            values[self.folds.pairs[job.fold][1], job.column] += done.values
            fit_seconds[job.column] += done.fit_seconds
            predict_seconds[job.column] += done.predict_seconds
            if keep:
                models[names[job.column], job.fold] = done.fitted
        with np.errstate(invalid="ignore"):
            values /= times.reshape((n,) + (1,) * (values.ndim - 1))
        table = Answers(names, values, fit_seconds, predict_seconds, failures, models)
        kept = self._kept(which, failed, failures, needed)
        return kept, table if len(kept) == len(which) else table.take(kept)

    def fit_all(
        self, which: Sequence[int] | None = None, weights: Array | None = None, *, needed: bool = True
    ) -> tuple[dict[int, Fitted], list[Failure]]:
        """Fit some experts on all rows, once.

        Parameters
        ----------
        which : sequence of int, optional
        weights : ndarray of shape (n, len(which)), optional
        needed : bool
            Whether it is an error if none is left.

        Returns
        -------
        (dict from position in `which` to Fitted, list of Failure)

        Raises
        ------
        AllExpertsFailedError
            If none is left.
        """
        which = list(range(len(self.entries))) if which is None else list(which)
        failures: list[Failure] = []
        failed: set[int] = set()
        jobs = [_Job(j, e, -1, None if weights is None else weights[:, j], True) for j, e in enumerate(which)]
        fitted = {job.column: done.fitted for job, done in self._run(jobs, failures, failed) if done.fitted}
        return {j: fitted[j] for j in self._kept(which, failed, failures, needed)}, failures

    def _run(self, jobs: list[_Job], failures: list[Failure], failed: set[int]) -> Iterator[tuple[_Job, _Done]]:
        assert self._session is not None, "open the workshop with a with statement first"
        names = [
            f"{self.entries[job.expert].name}, " + ("all rows" if job.fold < 0 else f"fold {job.fold}") for job in jobs
        ]
        for count, outcome in enumerate(self._session.run(_work, jobs, names), start=1):
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
