"""What all engines share for running a task: error handling, thread limits, no nested parallelism."""

from __future__ import annotations

import functools
import pickle
import sys
import time
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import cloudpickle
import joblib
import sklearn
from threadpoolctl import ThreadpoolController

from metamix.data.scalars import check_jobs
from metamix.engines.contract import Engine, Function, Outcome
from metamix.progress import mute

# Threads per task in the current worker; None outside a worker.
_worker: ContextVar[int | None] = ContextVar("metamix_worker", default=None)

# Set by `use_engine`: a function from n_jobs to an engine.
engine_factory: ContextVar[Callable[[int | None], Engine] | None] = ContextVar("metamix_engine", default=None)


@dataclass(frozen=True)
class TimedPart:
    """A part of a task that is to end at `end`, by the monotonic clock of its process; `seconds` is its whole time."""

    name: str
    seconds: float
    end: float


# How a task tells its engine which part it is in, None outside of any; None where nobody could end it.
_teller: ContextVar[Callable[[TimedPart | None], None] | None] = ContextVar("metamix_teller", default=None)
_part: ContextVar[TimedPart | None] = ContextVar("metamix_part", default=None)

# On Windows, waiting for a lock without a timeout cannot be interrupted.
_WAIT_SECONDS = 1.0


def inside_worker() -> int | None:
    """Return the threads per task of the current worker, or None outside a worker."""
    return _worker.get()


@contextmanager
def at_most(seconds: float | None, name: str = "") -> Iterator[None]:
    """Tell the engine that a part of a task may take so many seconds; None is no limit.

    Engines of worker processes end a worker that takes longer, and the task gets `TaskTimeoutError`. In this process
    nothing can end it. Of parts within parts, that which is to end first counts.

    Parameters
    ----------
    seconds : float or None
    name : str
        Of the part; that of the task by default.
    """
    tell, outer = _teller.get(), _part.get()
    if seconds is None or tell is None:
        yield
        return
    part = TimedPart(name, seconds, time.monotonic() + seconds)
    if outer is not None and outer.end < part.end:
        part = outer
    token = _part.set(part)
    tell(part)
    try:
        yield
    finally:
        _part.reset(token)
        tell(outer)


@contextmanager
def telling(tell: Callable[[TimedPart | None], None]) -> Iterator[None]:
    """Pass on, inside the block, which part of a task runs in it."""
    token = _teller.set(tell)
    try:
        yield
    finally:
        _teller.reset(token)


def call(function: Function, shared: Any, task: Any, index: int) -> Outcome:
    """Run one task; an exception it raises becomes part of its outcome."""
    start = time.perf_counter()
    try:
        value, error = function(shared, task), None
    except (Exception, SystemExit) as raised:
        value, error = None, picklable_error(raised)
    return Outcome(index, value, error, time.perf_counter() - start)


def picklable_error(error: BaseException) -> BaseException:
    """Return the error itself if it can be pickled and unpickled, else a RuntimeError with its text."""
    try:
        if type(pickle.loads(cloudpickle.dumps(error))) is type(error):
            return error
    except Exception:  # the error's own __reduce__ or __init__ may raise anything
        pass
    return RuntimeError(f"{type(error).__name__}: {error}").with_traceback(error.__traceback__)


@contextmanager
def as_worker(threads: int, config: dict[str, Any]) -> Iterator[None]:
    """Mark the code inside as a task: nested engines are serial, and its events reach no listener."""
    worker, factory = _worker.set(threads), engine_factory.set(None)
    try:
        with mute(), sklearn.config_context(**config):
            yield
    finally:
        engine_factory.reset(factory)
        _worker.reset(worker)


@functools.lru_cache(maxsize=1)
def _controller(n_modules: int) -> ThreadpoolController:
    return ThreadpoolController()


def native_threads(threads: int) -> AbstractContextManager[Any]:
    """Limit the threads of BLAS and OpenMP inside the block, in libraries loaded since the last call too."""
    # Searching for libraries takes milliseconds, so the search is repeated only after an import.
    limit: AbstractContextManager[Any] = _controller(len(sys.modules)).limit(limits=threads)
    return limit


def limit_thread_openmp(threads: int) -> None:
    """Limit OpenMP for the calling thread, permanently."""
    # OpenMP has a limit per thread, BLAS one per process, which the session sets.
    _controller(len(sys.modules)).limit(limits=threads, user_api="openmp")


def check_names(tasks: Sequence[Any], names: Sequence[str] | None) -> list[str]:
    """Return one name per task; default names if none are given."""
    if names is None:
        return [f"task {index}" for index in range(len(tasks))]
    if len(names) != len(tasks):
        raise ValueError(f"got {len(tasks)} tasks and {len(names)} names; give one name per task")
    return list(names)


class RemoteSession(ABC):
    """A session of other processes: closing it closes the streams of outcomes that are not read to their end.

    Parameters
    ----------
    n_workers : int
    threads_per_task : int
    """

    def __init__(self, n_workers: int, threads_per_task: int) -> None:
        self.n_workers = n_workers
        self.threads_per_task = threads_per_task
        self._streams: weakref.WeakSet[Generator[Outcome, None, None]] = weakref.WeakSet()

    def run(self, function: Function, tasks: Sequence[Any], names: Sequence[str] | None = None) -> Iterator[Outcome]:
        """Yield the outcome of `function(shared, task)` for every task, in order of completion."""
        stream = self._outcomes(function, tasks, check_names(tasks, names))
        self._streams.add(stream)
        return stream

    def close(self) -> None:
        """End all running tasks."""
        for stream in list(self._streams):
            stream.close()

    @abstractmethod
    def _outcomes(
        self, function: Function, tasks: Sequence[Any], names: Sequence[str]
    ) -> Generator[Outcome, None, None]:
        """Outcomes of all tasks; closing the generator ends those that run."""


def check_threads(threads_per_task: int) -> int:
    """Return `threads_per_task` if it is at least 1."""
    if not isinstance(threads_per_task, Integral) or isinstance(threads_per_task, bool) or threads_per_task < 1:
        raise ValueError(f"threads_per_task={threads_per_task!r} is invalid; it must be a whole number of at least 1")
    return int(threads_per_task)


def count_workers(n_jobs: int | None) -> int:
    """Number of workers for `n_jobs`: None and -1 are all cores, -2 is all but one."""
    cores = int(joblib.cpu_count())
    if n_jobs is None:
        return cores
    check_jobs(n_jobs)
    return int(n_jobs) if n_jobs > 0 else max(1, cores + 1 + int(n_jobs))


def as_completed(
    submit: Callable[[int], Future[Any]],
    waiting: deque[int],
    in_flight: dict[Future[Any], int],
    window: int,
    look: Callable[[], None] | None = None,
) -> Iterator[tuple[int, Future[Any]]]:
    """Keep at most `window` tasks submitted, recorded in `in_flight`, and yield each as it completes.

    `look` is called at least once a second.
    """
    while waiting or in_flight:
        while waiting and len(in_flight) < window:
            index = waiting.popleft()
            in_flight[submit(index)] = index
        done, _ = wait(in_flight, timeout=_WAIT_SECONDS, return_when=FIRST_COMPLETED)
        if look is not None:
            look()
        for future in done:
            yield in_flight.pop(future), future
