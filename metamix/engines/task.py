"""One task and its surroundings, the same in every engine: errors, native threads, no nested pools."""

from __future__ import annotations

import functools
import pickle
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any

import cloudpickle
import joblib
import sklearn
from threadpoolctl import ThreadpoolController

from metamix.engines.contract import Engine, Function, Outcome
from metamix.progress import mute

# Threads per task of the worker that runs this code; None outside any worker.
_worker: ContextVar[int | None] = ContextVar("metamix_worker", default=None)

# What `use_engine` chose: from n_jobs to an engine.
chosen: ContextVar[Callable[[int | None], Engine] | None] = ContextVar("metamix_engine", default=None)

# A lock that is waited for without a limit cannot be interrupted on Windows.
_WAIT_SECONDS = 1.0


def inside_worker() -> int | None:
    """Threads per task of the worker that runs this code; None outside any worker."""
    return _worker.get()


def call(function: Function, shared: Any, task: Any, index: int) -> Outcome:
    """Run one task; what it raises is part of its outcome."""
    began = time.perf_counter()
    try:
        value, error = function(shared, task), None
    except (Exception, SystemExit) as raised:
        value, error = None, portable(raised)
    return Outcome(index, value, error, time.perf_counter() - began)


def portable(error: BaseException) -> BaseException:
    """Give the error itself if it survives a journey between processes, else one with its text."""
    try:
        if type(pickle.loads(cloudpickle.dumps(error))) is type(error):
            return error
    except Exception:  # a foreign __reduce__ or __init__ may raise anything
        pass
    return RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)


@contextmanager
def as_worker(threads: int, config: dict[str, Any]) -> Iterator[None]:
    """Mark the code inside as a task: engines in it are serial, listeners are the driver's."""
    worker, choice = _worker.set(threads), chosen.set(None)
    try:
        with mute(), sklearn.config_context(**config):
            yield
    finally:
        chosen.reset(choice)
        _worker.reset(worker)


@functools.lru_cache(maxsize=1)
def _controller(n_modules: int) -> ThreadpoolController:
    return ThreadpoolController()


def native_threads(threads: int) -> AbstractContextManager[Any]:
    """Limit BLAS and OpenMP inside the block; a library loaded since the last call is seen."""
    # Looking for libraries takes milliseconds, so it happens only after an import.
    limit: AbstractContextManager[Any] = _controller(len(sys.modules)).limit(limits=threads)
    return limit


def limit_own_openmp(threads: int) -> None:
    """Limit OpenMP for the calling thread, for good."""
    # OpenMP's limit belongs to the calling thread, BLAS's to the process, which the session sets.
    _controller(len(sys.modules)).limit(limits=threads, user_api="openmp")


def check_names(tasks: Sequence[Any], names: Sequence[str] | None) -> list[str]:
    """One name per task, made up where none are given."""
    if names is None:
        return [f"task {index}" for index in range(len(tasks))]
    if len(names) != len(tasks):
        raise ValueError(f"{len(tasks)} tasks came with {len(names)} names; give one name per task")
    return list(names)


def check_threads(threads_per_task: int) -> int:
    """At least one thread."""
    if threads_per_task < 1:
        raise ValueError(f"threads_per_task={threads_per_task} was given; a task needs 1 or more")
    return int(threads_per_task)


def count_workers(n_jobs: int | None) -> int:
    """Workers for n_jobs: all cores for None; -1 is all cores, -2 all but one."""
    if n_jobs == 0:
        raise ValueError("n_jobs=0 was given; 1 or more would do, or -1 for all cores")
    cores = int(joblib.cpu_count())
    if n_jobs is None:
        return cores
    return int(n_jobs) if n_jobs > 0 else max(1, cores + 1 + int(n_jobs))


def as_they_finish(
    submit: Callable[[int], Future[Any]], waiting: deque[int], flying: dict[Future[Any], int], window: int
) -> Iterator[tuple[int, Future[Any]]]:
    """Keep `window` tasks in flight and yield each as it lands; what flies stays known in `flying`."""
    while waiting or flying:
        while waiting and len(flying) < window:
            index = waiting.popleft()
            flying[submit(index)] = index
        landed, _ = wait(flying, timeout=_WAIT_SECONDS, return_when=FIRST_COMPLETED)
        for future in landed:
            yield flying.pop(future), future
