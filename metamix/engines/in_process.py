"""Engines of this process: one task after the other, or threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from typing import Any

import sklearn

from metamix.engines.contract import Function, Outcome, Session
from metamix.engines.task import (
    as_they_finish,
    as_worker,
    call,
    check_names,
    check_threads,
    count_workers,
    inside_worker,
    limit_own_openmp,
    native_threads,
)
from metamix.progress import mute


class _SerialSession:
    n_workers = 1

    def __init__(self, shared: Any, threads_per_task: int) -> None:
        self.shared = shared
        self.threads_per_task = threads_per_task

    def run(self, function: Function, tasks: Sequence[Any], names: Sequence[str] | None = None) -> Iterator[Outcome]:
        check_names(tasks, names)
        return self._outcomes(function, tasks)

    def _outcomes(self, function: Function, tasks: Sequence[Any]) -> Iterator[Outcome]:
        for index, task in enumerate(tasks):
            # A worker is limited already; threads that set and restore the limit would race.
            limit = nullcontext() if inside_worker() else native_threads(self.threads_per_task)
            with limit, mute():
                outcome = call(function, self.shared, task, index)
            yield outcome


class SerialEngine:
    """Run tasks one after the other, here.

    Parameters
    ----------
    threads_per_task : int, default=1
        Threads that BLAS and OpenMP may use in a task.

    Examples
    --------
    >>> with SerialEngine().open(10) as session:
    ...     [outcome.value for outcome in session.run(lambda shared, task: shared + task, [1, 2])]
    [11, 12]
    """

    def __init__(self, *, threads_per_task: int = 1) -> None:
        self.threads_per_task = check_threads(threads_per_task)

    @contextmanager
    def open(self, shared: Any) -> Iterator[Session]:
        """Hold `shared` as it is."""
        yield _SerialSession(shared, self.threads_per_task)


class _ThreadsSession:
    def __init__(self, shared: Any, pool: ThreadPoolExecutor, n_workers: int, threads_per_task: int) -> None:
        self.shared = shared
        self.pool = pool
        self.n_workers = n_workers
        self.threads_per_task = threads_per_task

    def run(self, function: Function, tasks: Sequence[Any], names: Sequence[str] | None = None) -> Iterator[Outcome]:
        check_names(tasks, names)
        return self._outcomes(function, tasks)

    def _outcomes(self, function: Function, tasks: Sequence[Any]) -> Iterator[Outcome]:
        config = sklearn.get_config()

        def one_task(index: int) -> Outcome:
            with as_worker(self.threads_per_task, config):
                return call(function, self.shared, tasks[index], index)

        flying: dict[Future[Any], int] = {}
        try:
            for _, future in as_they_finish(
                lambda index: self.pool.submit(one_task, index),
                deque(range(len(tasks))),
                flying,
                2 * self.n_workers,
            ):
                yield future.result()
        finally:
            unstarted = [future for future in flying if future.cancel()]
            wait(flying.keys() - unstarted)


class ThreadsEngine:
    """Run tasks in threads of this process: data is not copied, but Python code takes turns.

    A thread cannot be stopped: leaving the session early waits for the tasks that run.

    Parameters
    ----------
    n_jobs : int or None, default=None
        Threads; None or -1 for as many as cores, -2 for one less.
    threads_per_task : int, default=1
        Threads that BLAS and OpenMP may use in each.

    Examples
    --------
    >>> with ThreadsEngine(2).open(10) as session:
    ...     sorted(outcome.value for outcome in session.run(lambda shared, task: shared + task, [1, 2]))
    [11, 12]
    """

    def __init__(self, n_jobs: int | None = None, *, threads_per_task: int = 1) -> None:
        self.n_jobs = count_workers(n_jobs)
        self.threads_per_task = check_threads(threads_per_task)

    @contextmanager
    def open(self, shared: Any) -> Iterator[Session]:
        """Hold `shared` as it is; tasks must not write into it."""
        threads = self.threads_per_task
        pool = ThreadPoolExecutor(self.n_jobs, "metamix", initializer=limit_own_openmp, initargs=(threads,))
        with native_threads(threads):
            try:
                yield _ThreadsSession(shared, pool, self.n_jobs, threads)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
