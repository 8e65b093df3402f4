"""Engines that run in the current process: serial, and threads."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext
from typing import Any

import sklearn

from metamix.engines.contract import Function, Outcome, Session
from metamix.engines.task import (
    as_completed,
    as_worker,
    call,
    check_names,
    check_threads,
    count_workers,
    inside_worker,
    limit_thread_openmp,
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
            # In a worker the limit is set already; concurrent threads that set and restore it would race.
            limit = nullcontext() if inside_worker() else native_threads(self.threads_per_task)
            with limit, mute():
                outcome = call(function, self.shared, task, index)
            yield outcome


class SerialEngine:
    """Run tasks one after the other in the current thread.

    Parameters
    ----------
    threads_per_task : int, default=1
        Number of threads of BLAS and OpenMP per task.

    Examples
    --------
    >>> with SerialEngine().open(10) as session:
    ...     [outcome.value for outcome in session.run(lambda shared, task: shared + task, [1, 2])]
    [11, 12]
    """

    n_jobs = 1
    in_process = True

    def __init__(self, *, threads_per_task: int = 1) -> None:
        self.threads_per_task = check_threads(threads_per_task)

    @contextmanager
    def open(self, shared: Any) -> Iterator[Session]:
        """Open a session on `shared`, which is not copied."""
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

        in_flight: dict[Future[Any], int] = {}
        try:
            for _, future in as_completed(
                lambda index: self.pool.submit(one_task, index),
                deque(range(len(tasks))),
                in_flight,
                2 * self.n_workers,
            ):
                yield future.result()
        finally:
            cancelled = [future for future in in_flight if future.cancel()]
            wait(in_flight.keys() - cancelled)


class ThreadsEngine:
    """Run tasks in threads of the current process: data is not copied, but Python code is limited by the GIL.

    A thread cannot be stopped: leaving the session early waits for the running tasks.

    Parameters
    ----------
    n_jobs : int or None, default=None
        Number of threads; None or -1 uses all cores, -2 all but one.
    threads_per_task : int, default=1
        Number of threads of BLAS and OpenMP per task.

    Examples
    --------
    >>> with ThreadsEngine(2).open(10) as session:
    ...     sorted(outcome.value for outcome in session.run(lambda shared, task: shared + task, [1, 2]))
    [11, 12]
    """

    in_process = True

    def __init__(self, n_jobs: int | None = None, *, threads_per_task: int = 1) -> None:
        self.n_jobs = count_workers(n_jobs)
        self.threads_per_task = check_threads(threads_per_task)

    @contextmanager
    def open(self, shared: Any) -> Iterator[Session]:
        """Open a session on `shared`, which is not copied; tasks must not write into it."""
        threads = self.threads_per_task
        pool = ThreadPoolExecutor(self.n_jobs, "metamix", initializer=limit_thread_openmp, initargs=(threads,))
        with native_threads(threads):
            try:
                yield _ThreadsSession(shared, pool, self.n_jobs, threads)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
