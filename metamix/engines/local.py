"""The engine of local processes: nothing finished is lost when a worker is killed, and blame is certain."""

from __future__ import annotations

import functools
import os
import shutil
import signal
import tempfile
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloudpickle
import sklearn
from joblib.externals.loky import get_reusable_executor

from metamix.engines.contract import Function, Outcome, Session, WorkerKilledError
from metamix.engines.serialization import Surroundings, pack, unpack, work, write_shared
from metamix.engines.task import as_they_finish, check_names, check_threads, count_workers, portable
from metamix.progress import Event, emit

Submit = Callable[[Any, int], "Future[bytes]"]

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
# Idle workers stay warm for the next session this long; joblib keeps its own as long.
_IDLE_SECONDS = 300


class _LocalSession:
    def __init__(self, folder: str, n_workers: int, threads_per_task: int) -> None:
        self.folder = folder
        self.n_workers = n_workers
        self.threads_per_task = threads_per_task
        self.streams: weakref.WeakSet[Generator[Outcome, None, None]] = weakref.WeakSet()

    def run(self, function: Function, tasks: Sequence[Any], names: Sequence[str] | None = None) -> Iterator[Outcome]:
        stream = self._outcomes(function, tasks, check_names(tasks, names))
        self.streams.add(stream)
        return stream

    def close(self) -> None:
        for stream in list(self.streams):
            stream.close()

    def _outcomes(
        self, function: Function, tasks: Sequence[Any], names: Sequence[str]
    ) -> Generator[Outcome, None, None]:
        surroundings = Surroundings(self.folder, self.threads_per_task, sklearn.get_config(), list(warnings.filters))

        def submit(executor: Any, index: int) -> Future[bytes]:
            try:
                payload = cloudpickle.dumps((function, tasks[index], surroundings), protocol=5)
            except Exception as error:
                return _settled(pack(Outcome(index, error=portable(error))), None)
            try:
                sent: Future[bytes] = executor.submit(work, index, payload)
                return sent
            except RuntimeError as error:  # the pool broke since the last task
                return _settled(None, error)

        waiting, ended = deque(range(len(tasks))), False
        try:
            while waiting:
                suspects = yield from self._together(submit, waiting)
                for index in suspects:
                    emit(Event("retry", names[index], 0, len(tasks), {"reason": "a worker was killed"}))
                    yield self._alone(submit, index, names[index])
            ended = True
        finally:
            if not ended:
                _kill_workers()

    def _executor(self, n_workers: int) -> Any:
        environment = dict.fromkeys(_THREAD_VARIABLES, str(self.threads_per_task))
        return get_reusable_executor(
            max_workers=n_workers,
            timeout=_IDLE_SECONDS,
            env=environment,
            # A terminal sends Ctrl-C to workers too. They leave it to the driver, which ends them: the pool's own
            # code would tell of it between two tasks.
            initializer=signal.signal,
            initargs=(signal.SIGINT, signal.SIG_IGN),
        )

    def _together(self, submit: Submit, waiting: deque[int]) -> Generator[Outcome, None, list[int]]:
        """Run what waits, all workers at once; return the tasks in flight when a worker was killed."""
        executor = self._executor(self.n_workers)
        flying: dict[Future[bytes], int] = {}
        lost: list[int] = []
        ticks = as_they_finish(functools.partial(submit, executor), waiting, flying, 2 * self.n_workers)
        for index, future in ticks:
            if _killed_by(future) is None:
                yield unpack(future.result(), index)
            else:
                lost.append(index)
                break
        # The pool is gone: what flew has landed or failed, and the rest has not been sent.
        for index, future in as_they_finish(functools.partial(submit, executor), deque(), flying, 0):
            if _killed_by(future) is None:
                yield unpack(future.result(), index)
            else:
                lost.append(index)
        return sorted(lost)

    def _alone(self, submit: Submit, index: int, name: str) -> Outcome:
        """Run one task in the only worker there is, so that blame is certain."""
        executor = self._executor(1)
        ((_, future),) = as_they_finish(functools.partial(submit, executor), deque([index]), {}, 1)
        cause = _killed_by(future)
        if cause is None:
            return unpack(future.result(), index)
        killed = WorkerKilledError(name)
        killed.__cause__ = cause
        return Outcome(index, error=killed)


def _killed_by(future: Future[bytes]) -> BaseException | None:
    """What ended the worker; what a task raised is inside its outcome and never here."""
    cause = future.exception()
    if isinstance(cause, KeyboardInterrupt):  # raised by the task itself
        raise cause
    return cause


def _settled(packed: bytes | None, error: Exception | None) -> Future[bytes]:
    future: Future[bytes] = Future()
    if error is None:
        future.set_result(packed or b"")
    else:
        future.set_exception(error)
    return future


@contextmanager
def _silent_replacement() -> Iterator[None]:
    """Let the pool replace a worker that grew by 300 MB, as good ones do here, without a warning."""
    # The pool warns in its managing thread; a filter that made it an error would end that thread,
    # and the driver would wait for ever.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
        yield


def _kill_workers() -> None:
    get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)


class LocalEngine:
    """Run tasks in processes of this machine; the shared data is mapped into them, not copied.

    What finished survives a worker that is killed; the tasks that were running then are run again
    one at a time, and one that kills its worker again ends with `WorkerKilledError`, the others
    finish. Arrays in the shared data are read-only in the workers.

    Parameters
    ----------
    n_jobs : int or None, default=None
        Processes; None or -1 for as many as cores, -2 for one less.
    threads_per_task : int, default=1
        Threads that BLAS and OpenMP may use in each.

    Examples
    --------
    >>> LocalEngine(2, threads_per_task=1).n_jobs
    2
    """

    def __init__(self, n_jobs: int | None = None, *, threads_per_task: int = 1) -> None:
        self.n_jobs = count_workers(n_jobs)
        self.threads_per_task = check_threads(threads_per_task)

    @contextmanager
    def open(self, shared: Any) -> Iterator[Session]:
        """Write `shared` to a temporary folder once; the folder goes when the session ends.

        Raises
        ------
        TypeError
            If it cannot be pickled.
        """
        folder = tempfile.mkdtemp(prefix="metamix-", dir=os.environ.get("JOBLIB_TEMP_FOLDER"))
        try:
            write_shared(shared, Path(folder))
            session = _LocalSession(folder, self.n_jobs, self.threads_per_task)
            with _silent_replacement():
                try:
                    yield session
                finally:
                    session.close()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
