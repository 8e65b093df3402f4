"""One function on all workers of a cluster at once, as training needs whose parts talk to each other.

Such a training does not survive the loss of a worker: what is left of it is ended then, and it begins again.
"""

from __future__ import annotations

import socket
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import sklearn

from metamix.engines.dask import Cluster, DaskEngine
from metamix.engines.serialization import TaskContext, pack_task, run_task, unpack
from metamix.memory import in_units
from metamix.progress import Event, emit

__all__ = ["Place", "Shares", "run_together"]

#: How often scheduler and workers are looked at.
_LOOK_SECONDS = 1.0
#: How long the others may take to notice by themselves that one has failed, before their workers are ended.
_NOTICE_SECONDS = 5.0
#: How long workers that were ended are waited for before a restart with those that are there.
_RETURN_SECONDS = 30.0
#: Of the workers' memory, what a share takes at its peak: its pieces, these joined, and the form of the library.
_COPIES = 2.5


@dataclass(frozen=True)
class Place:
    """Which of the workers that run a function together one is.

    Parameters
    ----------
    rank : int
    addresses : list of (str, int)
        Host of each worker, and a port that was free there.
    threads : int
        How many threads it may use.
    """

    rank: int
    addresses: list[tuple[str, int]]
    threads: int


@dataclass(frozen=True)
class Shares:
    """Data of which each worker gets a part.

    Parameters
    ----------
    divide : callable
        For a number of workers, yields lists with a piece for each; a worker gets its piece of every list. Called
        again for each attempt.
    n_bytes : int
        Of all pieces.
    most : int
        How many workers may have a part.
    """

    divide: Callable[[int], Iterator[Sequence[Any]]]
    n_bytes: int
    most: int


def run_together(
    engine: DaskEngine, function: Callable[[Any, Any], Any], shares: Shares, name: str, at_most: float, n_restarts: int
) -> Any:
    """Run a function once on each worker, at the same time, and return what it returns on the first.

    Parameters
    ----------
    engine : DaskEngine
    function : callable
        Called with the list of its pieces, and its `Place`.
    shares : Shares
    name : str
        For errors.
    at_most : float
        Seconds for everything, restarts included. What runs longer is ended with its worker, which has a nanny as a
        rule, and that starts another one.
    n_restarts : int
        How often it begins again after a worker was lost, or the function failed on one.

    Raises
    ------
    TimeoutError
        If it takes longer.
    MemoryError
        If the workers may not take as much memory as is needed.
    RuntimeError
        If it failed each time.
    ConnectionError
        If the scheduler is gone, or has no worker.
    """
    cluster = Cluster(engine.client, engine.wait_seconds)
    end = time.monotonic() + at_most
    most, attempt = 0, 0
    while True:
        one = _Attempt(cluster, _slots(cluster, most, end), engine.threads_per_task, shares, name)
        most = max(most, len(one.workers))
        try:
            return one.run(function, end)
        except _LateError:
            raise TimeoutError(
                f"{name} took longer on {len(one.workers)} workers of the cluster than its limit of {at_most:g} s, and "
                "was ended: set its time_limit higher, or start more workers"
            ) from None
        except (_FailedError, _WorkerLostError) as error:
            if attempt == n_restarts:
                raise RuntimeError(
                    f"{name} failed on {len(one.workers)} workers of the cluster, {attempt + 1} times in all, at last "
                    f"because {error}. Where workers are lost, the usual cause is lack of memory: start more of them, "
                    "or fewer on each machine"
                ) from error
            attempt += 1
            time.sleep(_LOOK_SECONDS)  # until the scheduler, too, has noticed that a worker is gone
            emit(Event("retry", name, attempt, n_restarts, {"reason": str(error)}))


def _slots(cluster: Cluster, number: int, end: float) -> dict[str, int]:
    """The workers, as soon as there is one, and as many as before; after a while those that are there."""
    end = min(end, time.monotonic() + _RETURN_SECONDS)
    while True:
        cluster.wait_for_worker()
        slots = cluster.slots()
        if slots and (len(slots) >= number or time.monotonic() >= end):
            return slots
        time.sleep(0.1)


class _LateError(Exception):
    """The time is over."""


class _WorkerLostError(Exception):
    """A worker has ended, or does not answer."""


class _FailedError(Exception):
    """The function failed on a worker, by the error that this is made of."""

    def __str__(self) -> str:
        return f"of a {type(self.args[0]).__name__}: {self.args[0]}"


class _Attempt:
    """One run, on the workers that are there."""

    def __init__(
        self, cluster: Cluster, slots: dict[str, int], threads_per_task: int, shares: Shares, name: str
    ) -> None:
        self._cluster = cluster
        self._shares = shares
        #: How many threads each worker may use.
        self.workers = {address: slots[address] * threads_per_task for address in sorted(slots)[: max(shares.most, 1)]}
        self._check_memory(name)
        self._futures: list[Any] = []
        self._tasks: dict[str, Any] = {}

    def _check_memory(self, name: str) -> None:
        limits = self._cluster.memory_limits()
        limit = min((limits[one] or float("inf") for one in self.workers if one in limits), default=0.0)
        needed = _COPIES * self._shares.n_bytes / len(self.workers)
        if 0 < limit < needed:
            raise MemoryError(
                f"{name} needs about {in_units(needed)} in each of {len(self.workers)} workers of the cluster, of "
                f"which one may take {in_units(limit)}: start more workers, or with a higher --memory-limit"
            )

    def run(self, function: Callable[[Any, Any], Any], end: float) -> Any:
        """What the function returns on the first worker; whatever happens, nothing of it is left on the cluster."""
        try:
            self._start(function, end)
            return self._results(self._tasks, end)[0]
        except (_FailedError, _WorkerLostError):
            with suppress(_LateError, ConnectionError):  # the others may end by themselves
                self._wait(self._tasks, min(end, time.monotonic() + _NOTICE_SECONDS), failed=True)
            raise
        finally:
            self._end()

    def _start(self, function: Callable[[Any, Any], Any], end: float) -> None:
        addresses = self._results(
            {worker: self._submit(_free_address, worker, workers=[worker]) for worker in self.workers}, end
        )
        pieces: dict[str, list[Any]] = {worker: [] for worker in self.workers}
        for row in self._shares.divide(len(self.workers)):
            for (worker, mine), piece in zip(pieces.items(), row, strict=True):
                mine.append(self._sent(piece, worker, end))
        for rank, (worker, threads) in enumerate(self.workers.items()):
            context = TaskContext(threads, sklearn.get_config(), list(warnings.filters))
            payload = pack_task(function, Place(rank, addresses, threads), context)
            self._tasks[worker] = self._submit(_run, rank, payload, *pieces[worker], workers=[worker])

    def _sent(self, piece: Any, worker: str, end: float) -> Any:
        """A future of a piece that a worker has; one that has paused, as Dask's do without memory, takes none."""
        left = end - time.monotonic()
        if left <= 0:
            raise _LateError
        seconds = min(left, self._cluster.wait_seconds)
        try:
            # In a list, since of a collection the elements are scattered.
            (future,) = self._cluster.client.scatter([piece], workers=[worker], hash=False, timeout=seconds)
        except TimeoutError:
            if left <= seconds:
                raise _LateError from None
            raise _WorkerLostError(f"{worker} took no rows for {seconds:g} s; it may be short of memory") from None
        except (OSError, KeyError) as error:
            raise _WorkerLostError(f"no rows could be sent to {worker}: {error}") from error
        self._futures.append(future)
        return future

    def _submit(self, *arguments: Any, **options: Any) -> Any:
        # Before other tasks: those that have begun wait for the others.
        self._futures.append(self._cluster.submit(*arguments, priority=100, **options))
        return self._futures[-1]

    def _results(self, tasks: dict[str, Any], end: float) -> list[Any]:
        """The results of the tasks (addresses of workers → futures) of the workers, as soon as all are done."""
        self._wait(tasks, end)
        return [self._result(worker, task, end) for worker, task in tasks.items()]

    def _result(self, worker: str, task: Any, end: float) -> Any:
        while True:
            try:
                return task.result(timeout=_LOOK_SECONDS)
            except TimeoutError:  # the result may be lost, and computed again
                self._wait({worker: task}, end)
            except Exception as error:  # cancelled, or given up by the scheduler
                raise _WorkerLostError(f"the result of {worker} is lost ({type(error).__name__})") from error

    def _wait(self, tasks: dict[str, Any], end: float, failed: bool = False) -> None:
        """Until all tasks are done; unless it is known that one has failed, an error where one has, or is lost."""
        done: SimpleQueue[Any] = SimpleQueue()
        for task in tasks.values():
            task.add_done_callback(done.put)
        while True:
            all_done = all(task.done() for task in tasks.values())
            if not failed:
                self._check(tasks)
            if all_done:
                return
            if time.monotonic() >= end:
                raise _LateError
            with suppress(Empty):
                done.get(timeout=min(_LOOK_SECONDS, max(end - time.monotonic(), 0.0)))

    def _check(self, tasks: dict[str, Any]) -> None:
        for worker, task in tasks.items():
            if task.status == "error":
                error = task.exception()
                if isinstance(error, _FailedError):
                    raise error from error.args[0]
                raise _WorkerLostError(f"{worker} was lost ({type(error).__name__}: {error})") from error
        gone = sorted(tasks.keys() - self._cluster.slots().keys())
        if gone or any(task.status in ("cancelled", "lost") for task in tasks.values()):
            raise _WorkerLostError(f"the scheduler has lost {', '.join(gone) or 'a worker'}")

    def _end(self) -> None:
        """Drop data and results, and end the workers that are still at it: nothing else can stop them."""
        with suppress(OSError):  # the scheduler is gone, and everything with it, or does not answer
            at_it = [worker for worker, task in self._tasks.items() if not task.done()]
            self._cluster.client.cancel(self._futures)  # else the scheduler would try them again
            self._cluster.replace_workers([one for one in at_it if one in self._cluster.slots()])


def _free_address(worker: str) -> tuple[str, int]:
    """Host of a worker, and a port that nobody uses there at the moment."""
    host = urlsplit(worker).hostname or ""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
        one.bind((host, 0))
        return host, int(one.getsockname()[1])


def _run(rank: int, payload: bytes, *pieces: Any) -> Any:
    outcome = unpack(run_task(rank, payload, lambda: list(pieces), lambda part: None), rank)
    if outcome.error is not None:
        raise _FailedError(outcome.error)
    return outcome.value
