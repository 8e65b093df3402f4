"""Engine of local processes. A killed worker loses no finished task, and the task that killed it is identified."""

from __future__ import annotations

import functools
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import sklearn

from metamix.engines.contract import Function, Outcome, Session, TaskTimeoutError, WorkerKilledError
from metamix.engines.driver import shared_folder
from metamix.engines.late_tasks import LateTasks, note_part
from metamix.engines.pool import close_pool, worker_pool
from metamix.engines.serialization import (
    TaskContext,
    pack,
    pack_task,
    read_outcome,
    run_task_to_file,
    unpack,
    write_shared,
)
from metamix.engines.task import RemoteSession, as_completed, check_threads, count_workers, picklable_error
from metamix.progress import Event, emit

#: A task whose worker is killed runs alone so often before it is blamed: a system that is short of memory kills workers
#: for what others take, too.
ATTEMPTS_ALONE = 5
Submit = Callable[[Any, int], "Future[bytes | None]"]


class _LocalSession(RemoteSession):
    def __init__(self, folder: str, n_workers: int, threads_per_task: int) -> None:
        super().__init__(n_workers, threads_per_task)
        self.folder = folder
        self.pool: Any = None
        self.late_tasks = LateTasks(folder)
        self._late: dict[int, TaskTimeoutError] = {}

    def _outcomes(
        self, function: Function, tasks: Sequence[Any], names: Sequence[str]
    ) -> Generator[Outcome, None, None]:
        context = TaskContext(self.threads_per_task, sklearn.get_config(), list(warnings.filters))

        def submit(executor: Any, index: int) -> Future[bytes | None]:
            try:
                payload = pack_task(function, tasks[index], context)
            except Exception as error:
                return _completed_future(pack(Outcome(index, error=picklable_error(error))), None)
            tell = functools.partial(note_part, self.folder, index)
            try:
                future: Future[bytes | None] = executor.submit(run_task_to_file, self.folder, index, payload, tell)
                return future
            except RuntimeError as error:  # the pool broke after the previous submission
                return _completed_future(None, error)

        waiting, completed = deque(range(len(tasks))), False
        try:
            while waiting:
                interrupted = yield from self._run_in_parallel(submit, waiting)
                late, self._late = self._late, {}
                for index in interrupted:
                    if index in late:
                        yield _timed_out(index, names[index], late[index])
                        continue
                    emit(Event("retry", names[index], 0, len(tasks), {"reason": "a worker was killed"}))
                    if late:  # who is to blame is known
                        waiting.append(index)
                    else:
                        yield self._run_alone(submit, index, names[index])
            completed = True
        finally:
            if not completed and self.pool is not None:
                close_pool(self.pool, kill_workers=True)

    def _run_in_parallel(self, submit: Submit, waiting: deque[int]) -> Generator[Outcome, None, list[int]]:
        """Run the waiting tasks on all workers; return the tasks that were in flight when a worker was killed."""
        executor = self.pool = worker_pool(self.n_workers, self.threads_per_task)
        in_flight: dict[Future[bytes | None], int] = {}
        interrupted: list[int] = []
        send = functools.partial(submit, executor)
        for index, future in as_completed(send, waiting, in_flight, 2 * self.n_workers, self._look):
            if _worker_failure(future) is None:
                yield self._outcome(future, index)
            else:
                interrupted.append(index)
                break
        # After a worker was killed the pool is broken: tasks in flight have finished or failed, the rest was not sent.
        for index, future in as_completed(send, deque(), in_flight, 0, self._look):
            if _worker_failure(future) is None:
                yield self._outcome(future, index)
            else:
                interrupted.append(index)
        if interrupted:
            close_pool(executor)
            self.late_tasks.forget()
        return sorted(interrupted)

    def _outcome(self, future: Future[bytes | None], index: int) -> Outcome:
        packed = future.result()
        return unpack(read_outcome(self.folder, index) if packed is None else packed, index)

    def _look(self) -> None:
        """End the workers where a task is late, as those are ended where one is killed."""
        if late := self.late_tasks.look():
            self._late |= late
            close_pool(self.pool, kill_workers=True)
            self.late_tasks.forget()

    def _run_alone(self, submit: Submit, index: int, name: str) -> Outcome:
        """Run one task in a pool of one worker, so that a worker that is killed each time is the fault of this task."""
        for _ in range(ATTEMPTS_ALONE):
            executor = self.pool = worker_pool(1, self.threads_per_task)
            ((_, future),) = as_completed(functools.partial(submit, executor), deque([index]), {}, 1, self._look)
            cause = _worker_failure(future)
            if cause is None:
                return self._outcome(future, index)
            close_pool(executor)
            self.late_tasks.forget()
            late, self._late = self._late, {}
            if index in late:
                return _timed_out(index, name, late[index])
        killed = WorkerKilledError(name)
        killed.__cause__ = cause
        return Outcome(index, error=killed)


def _timed_out(index: int, task: str, error: TaskTimeoutError) -> Outcome:
    """The outcome of a task that was stopped: the error is that of the part in which it was, or of the task."""
    return Outcome(index, error=TaskTimeoutError(error.name or task, error.seconds), seconds=error.seconds)


def _worker_failure(future: Future[bytes | None]) -> BaseException | None:
    """Return the error of the pool itself, such as a killed worker; exceptions of a task are in its outcome."""
    cause = future.exception()
    if isinstance(cause, KeyboardInterrupt):  # raised by the task itself
        raise cause
    return cause


def _completed_future(packed: bytes | None, error: Exception | None) -> Future[bytes | None]:
    future: Future[bytes | None] = Future()
    if error is None:
        future.set_result(packed)
    else:
        future.set_exception(error)
    return future


@contextmanager
def _ignore_restart_warning() -> Iterator[None]:
    """Ignore loky's warning that it restarts a worker whose memory grew by 300 MB, which is normal here."""
    # loky warns in its manager thread. A filter that turns the warning into an error would end that thread,
    # and the driver would wait forever.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given", UserWarning)
        yield


class LocalEngine:
    """Run tasks in local processes; the shared data is memory-mapped in the workers, not copied.

    If a worker is killed, finished tasks keep their outcomes. The tasks that were running are run again one at a time;
    a task whose worker is killed five times more gets `WorkerKilledError`, and the others finish. Workers are ended
    where a task takes longer than it may (`at_most`); that task gets `TaskTimeoutError`, and the others run again.
    Arrays in the shared data are read-only in the workers.

    Parameters
    ----------
    n_jobs : int or None, default=None
        Number of processes; None or -1 uses all cores, -2 all but one.
    threads_per_task : int, default=1
        Number of threads of BLAS and OpenMP per task.

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
        """Write `shared` to a temporary folder once; the folder is removed when the session ends.

        Raises
        ------
        TypeError
            If `shared` cannot be pickled.
        OSError
            If the data cannot be written; the error names the folder.
        """
        with shared_folder() as folder:
            write_shared(shared, folder)
            session = _LocalSession(str(folder), self.n_jobs, self.threads_per_task)
            with _ignore_restart_warning():
                try:
                    yield session
                finally:
                    session.close()
