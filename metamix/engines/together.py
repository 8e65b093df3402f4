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
    n_workers, attempt = 0, 0
    while True:
        one = _Attempt(cluster, _slots(cluster, n_workers, end), engine.threads_per_task, shares, name)
        n_workers = max(n_workers, len(one.workers))
        try:
            return one.run(function, end)
        except (ConnectionError, MemoryError):
            raise
        except TimeoutError:
            raise TimeoutError(
                f"{name} took longer on {n_workers} workers of the cluster than its limit of {at_most:g} s, and was "
                "ended: set its time_limit higher, or start more workers"
            ) from None
        except Exception as error:  # a foreign fit may raise anything, a lost worker among it
            if attempt == n_restarts:
                raise RuntimeError(
                    f"{name} failed on {n_workers} workers of the cluster, {attempt + 1} times in all, at last by "
                    f"{type(error).__name__}: {error}. Where workers are lost, the usual cause is lack of memory: "
                    "start more of them, or fewer on each machine"
                ) from error
            attempt += 1
            time.sleep(_LOOK_SECONDS)  # until the scheduler, too, has noticed that a worker is gone
            emit(Event("retry", name, attempt, n_restarts, {"reason": f"{type(error).__name__}: {error}"}))


def _slots(cluster: Cluster, number: int, end: float) -> dict[str, int]:
    """The workers, as soon as there is one, and as many as before; after a while those that are there."""
    cluster.wait_for_worker()
    end = min(end, time.monotonic() + _RETURN_SECONDS)
    while len(slots := cluster.slots()) < number and time.monotonic() < end:
        time.sleep(0.1)
    return slots


class _WorkerLostError(RuntimeError):
    """A worker has ended, or the scheduler has given it up."""


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
        known = self._cluster.client.scheduler_info(n_workers=-1)["workers"]
        limit = min((known[one]["memory_limit"] or float("inf") for one in self.workers if one in known), default=0.0)
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
            self._wait(self._tasks, end)
            return self._cluster.result(next(iter(self._tasks.values())))
        except TimeoutError:
            raise
        except Exception:
            with suppress(TimeoutError, ConnectionError):
                self._wait(self._tasks, min(end, time.monotonic() + _NOTICE_SECONDS), failed=True)
            raise
        finally:
            self._end()

    def _start(self, function: Callable[[Any, Any], Any], end: float) -> None:
        ports = {worker: self._submit(_free_address, worker, workers=[worker]) for worker in self.workers}
        self._wait(ports, end)
        addresses = [self._cluster.result(port) for port in ports.values()]
        pieces: dict[str, list[Any]] = {worker: [] for worker in self.workers}
        for row in self._shares.divide(len(self.workers)):
            for (worker, mine), piece in zip(pieces.items(), row, strict=True):
                left = max(end - time.monotonic(), 0.1)
                # In a list, since of a collection the elements are scattered.
                mine += self._cluster.client.scatter([piece], workers=[worker], hash=False, timeout=left)
                self._futures.append(mine[-1])
        for rank, (worker, threads) in enumerate(self.workers.items()):
            context = TaskContext(threads, sklearn.get_config(), list(warnings.filters))
            payload = pack_task(function, Place(rank, addresses, threads), context)
            self._tasks[worker] = self._submit(_run, rank, payload, *pieces[worker], workers=[worker])

    def _submit(self, *arguments: Any, **options: Any) -> Any:
        # Before other tasks: those that have begun wait for the others.
        self._futures.append(self._cluster.submit(*arguments, priority=100, **options))
        return self._futures[-1]

    def _wait(self, tasks: dict[str, Any], end: float, failed: bool = False) -> None:
        """Until all tasks are done; TimeoutError after the end, and the error of one unless it is known to have failed.

        Parameters
        ----------
        tasks : dict of str to future
            By the addresses of the workers.
        end : float
        failed : bool
        """
        done: SimpleQueue[Any] = SimpleQueue()
        for task in tasks.values():
            task.add_done_callback(done.put)
        while True:
            if not failed:
                self._check(tasks)
            if all(task.done() for task in tasks.values()):
                return
            if time.monotonic() >= end:
                raise TimeoutError
            with suppress(Empty):
                done.get(timeout=min(_LOOK_SECONDS, max(end - time.monotonic(), 0.0)))

    def _check(self, tasks: dict[str, Any]) -> None:
        for task in tasks.values():
            if task.status == "error":
                raise task.exception()
        gone = sorted(tasks.keys() - self._cluster.slots().keys())
        if gone or any(task.status in ("cancelled", "lost") for task in tasks.values()):
            raise _WorkerLostError(f"the scheduler has lost {', '.join(gone) or 'a worker'}")

    def _end(self) -> None:
        """Drop data and results, and end the workers that are still at it: nothing else can stop them."""
        with suppress(ConnectionError):  # the scheduler is gone, and everything with it
            at_it = [worker for worker, task in self._tasks.items() if not task.done()]
            self._cluster.client.cancel(self._futures)  # else the scheduler would try them again
            for worker in at_it:
                if worker in self._cluster.slots():
                    self._cluster.replace_worker(worker)


def _free_address(worker: str) -> tuple[str, int]:
    """Host of a worker, and a port that nobody uses there at the moment."""
    host = urlsplit(worker).hostname or ""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
        one.bind((host, 0))
        return host, int(one.getsockname()[1])


def _run(rank: int, payload: bytes, *pieces: Any) -> Any:
    outcome = unpack(run_task(rank, payload, lambda: list(pieces), lambda part: None), rank)
    if outcome.error is not None:
        raise outcome.error
    return outcome.value
