"""Engine of a Dask cluster: tasks are futures of `distributed`, which retries those whose worker was lost.

What the tasks share travels as the argument of a task that returns it, so that the scheduler can make it anew where
the only worker that had it is lost; data that is scattered is lost then. Where all workers are on this machine, they
map a file instead, as processes of the local engine do. Elsewhere, where a function loads the data (`Reloadable`), only
the function travels.
"""

from __future__ import annotations

import itertools
import os
import pickle
import socket
import threading
import time
import uuid
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import sklearn

from metamix.engines.contract import (
    DifferentDataError,
    Function,
    Outcome,
    Reloadable,
    Session,
    TaskTimeoutError,
    WorkerKilledError,
)
from metamix.engines.mapped import MappedData, mapped_data
from metamix.engines.serialization import (
    ALIGNMENT,
    TaskContext,
    dump_shared,
    layout,
    pack_task,
    read_only,
    run_task,
    unpack,
)
from metamix.engines.task import RemoteSession, TimedPart, check_threads, picklable_error
from metamix.progress import Event, emit

__all__ = ["IN_PROCESS", "Cluster", "DaskEngine"]

#: Without an outcome for so long, scheduler and workers are looked at.
_LOOK_SECONDS = 2.0
#: How long closing a connection may take.
_CLOSE_SECONDS = 5.0
#: The abstract resource of workers that have a GPU, as in ``dask worker --resources GPU=1``.
_GPU = "GPU"
#: How the addresses of schedulers and workers begin that are threads of this process.
IN_PROCESS = "inproc://"
#: Topic of the scheduler's events by which workers report tasks that take longer than they may.
_LATE = "metamix-late"
#: How long a worker that is replaced is waited for.
_RESTART_SECONDS = 30.0


class SharedData:
    """Shared data in the form in which it travels: a pickle stream, and one block of the buffers that it refers to.

    The object is loaded on the first use in each process. Its arrays are views of the block, and read-only.

    Parameters
    ----------
    stream : bytes
    spans : list of (int, int)
        Start and size of each buffer in the block.
    block : buffer
        The data, from `start` on, and `ALIGNMENT` bytes more.
    start : int
    """

    def __init__(self, stream: bytes, spans: list[tuple[int, int]], block: Any, start: int = 0) -> None:
        self.stream = stream
        self.spans = spans
        self.block, self.start = _align(memoryview(block), start)
        self._lock = threading.Lock()
        self._loaded: list[Any] = []

    @classmethod
    def of(cls, shared: Any) -> SharedData:
        """Serialize an object; TypeError if it cannot be."""
        stream, buffers = dump_shared(shared)
        spans, size = layout(buffers)
        block = memoryview(bytearray(size + ALIGNMENT))
        for (start, length), buffer in zip(spans, buffers, strict=True):
            block[start : start + length] = buffer
        return cls(stream, spans, block)

    def load(self) -> Any:
        """The object, the same for all tasks of a process."""
        with self._lock:
            if not self._loaded:
                data = self.block[self.start :].toreadonly()
                self._loaded.append(pickle.loads(self.stream, buffers=[data[a : a + n] for a, n in self.spans]))
            return self._loaded[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return SharedData, (self.stream, self.spans, pickle.PickleBuffer(self.block), self.start)

    def __sizeof__(self) -> int:
        """What `distributed` takes for the memory of a result."""
        return len(self.stream) + self.block.nbytes


def _align(block: memoryview, start: int) -> tuple[memoryview, int]:
    """Move the data to an aligned address within its block: numpy sums arrays that are not aligned in another order.

    Messages arrive at any address. Moving within the block needs no second copy.
    """
    if block.readonly:
        block = memoryview(bytearray(block))
    aligned = -np.frombuffer(block, np.uint8).ctypes.data % ALIGNMENT
    if aligned != start:
        size = block.nbytes - ALIGNMENT
        block[aligned : aligned + size] = block[start : start + size]
    return block, aligned


class _Made:
    """What a function makes: only the function is pickled, and unpickling calls it."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def __reduce__(self) -> tuple[Any, ...]:
        return _make, (self.make,)


def _make(make: Callable[[], Any]) -> Any:
    return read_only(make())


@dataclass(frozen=True)
class _NoData:
    """Answer of a worker that does not have the shared data, such as one that has just been started.

    `error` is why it cannot load what was sent under this token.
    """

    address: str
    token: str
    error: BaseException | None = None


# Shared data of the sessions in this worker. It is owned by the results of `_hold`, which the scheduler drops when the
# driver is gone.
_held: weakref.WeakValueDictionary[str, SharedData | MappedData] = weakref.WeakValueDictionary()


def _carry(data: SharedData) -> SharedData:
    return data


def _hold(token: str, data: SharedData | MappedData) -> SharedData | MappedData:
    """Keep the data in this worker: one copy, however often it arrives; an error, if this worker cannot load it."""
    data = _held.get(token, data)
    data.load()
    return _held.setdefault(token, data)


def _run(index: int, payload: bytes, token: str, *arrived: SharedData | MappedData) -> bytes | _NoData:
    data, error = _held.get(token), None
    if data is None and arrived:
        try:
            data = _hold(token, *arrived)
        except Exception as raised:
            error = picklable_error(raised)
    if data is None:
        import distributed

        return _NoData(distributed.get_worker().address, token, error)
    return run_task(index, payload, data.load, _Alarm().tell)


class _Alarm:
    """Reports to the scheduler, in a worker, when the part of a task that runs takes longer than it may."""

    def __init__(self) -> None:
        import distributed

        self._worker = distributed.get_worker()
        self._key = str(self._worker.get_current_task())
        self._timer: threading.Timer | None = None

    def tell(self, part: TimedPart | None) -> None:
        """Begin a part, and end the one before."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if part is not None:
            late = {"key": self._key, "worker": self._worker.address, "name": part.name, "seconds": part.seconds}
            left = max(part.end - time.monotonic(), 0.0)
            self._timer = threading.Timer(left, self._worker.log_event, (_LATE, late))
            self._timer.daemon = True
            self._timer.start()


class Cluster:
    """A client, and the errors where scheduler or workers are gone; of the workers with a resource, if one is named."""

    def __init__(self, client: Any, wait_seconds: float, resource: str | None = None) -> None:
        self.client = client
        self.wait_seconds = wait_seconds
        self.resource = resource
        self._last_seen = time.monotonic()

    @property
    def resources(self) -> dict[str, int] | None:
        """What a task takes of a worker."""
        return None if self.resource is None else {self.resource: 1}

    def slots(self) -> dict[str, int]:
        """How many tasks each worker runs at once, by address; ConnectionError if the scheduler does not answer."""
        workers = self._workers()
        if self.resource is None:
            return {address: worker["nthreads"] for address, worker in workers.items()}
        offered = {address: int(worker["resources"].get(self.resource, 0)) for address, worker in workers.items()}
        return {address: number for address, number in offered.items() if number}

    def memory_limits(self) -> dict[str, int]:
        """Bytes that each worker may take, by address; 0 for no limit."""
        return {address: worker["memory_limit"] for address, worker in self._workers().items()}

    def _workers(self) -> dict[str, Any]:
        self._check_scheduler()
        try:
            found: dict[str, Any] = self.client.scheduler_info(n_workers=-1)["workers"]  # some releases list five
        except OSError as error:
            raise self._scheduler_lost() from error
        return found

    def wait_for_worker(self) -> None:
        """Return when there is a worker."""
        self._last_seen = time.monotonic()
        while not self.slots():
            self._check_workers()
            time.sleep(0.1)

    def submit(self, function: Any, *arguments: Any, **options: Any) -> Any:
        """A future; what it is made from may be large."""
        import dask

        self._check_scheduler()
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1PiB"}):
            return self.client.submit(function, *arguments, pure=False, **options)

    def next_done(self, finished: SimpleQueue[Any], look: Callable[[], None] | None = None) -> Any:
        """The next future from a queue; ConnectionError if there cannot be one. Until then `look` is called."""
        self._last_seen = time.monotonic()
        while True:
            try:
                return finished.get(timeout=_LOOK_SECONDS)
            except Empty:
                self._check_workers()
                if look is not None:
                    look()

    def late_tasks(self) -> dict[str, dict[str, Any]]:
        """What workers reported of tasks that take longer than they may, by their keys."""
        return {late["key"]: late for _, late in self.client.get_events(_LATE)}

    def replace_workers(self, addresses: Sequence[str]) -> None:
        """End the processes of workers; their nannies, where they have some, start others.

        Workers that are threads of this process cannot be ended.
        """
        addresses = [one for one in addresses if not one.startswith(IN_PROCESS)]
        if not addresses:
            return
        try:
            self.client.restart_workers(addresses, timeout=_RESTART_SECONDS, raise_for_error=False)
        except ValueError:  # one has no nanny
            self.client.run(os._exit, 1, workers=addresses, on_error="ignore")
        except KeyError:  # one has ended meanwhile
            for one in addresses if len(addresses) > 1 else ():
                self.replace_workers([one])

    def result(self, future: Any) -> Any:
        """The result of a future that is done; where its worker was lost meanwhile, it is computed again."""
        import distributed

        self._last_seen = time.monotonic()
        while True:
            try:
                return future.result(timeout=_LOOK_SECONDS)
            except distributed.CancelledError as error:
                raise self._scheduler_lost() from error
            except distributed.TimeoutError:
                self._check_workers()

    def _check_workers(self) -> None:
        if self.slots():
            self._last_seen = time.monotonic()
        elif time.monotonic() - self._last_seen > self.wait_seconds:
            what = "" if self.resource is None else f" with the resource {self.resource}"
            raise ConnectionError(
                f"the scheduler has had no worker{what} for {self.wait_seconds:g} s; start some, as with: dask worker "
                f"{_address(self.client)} --nthreads 1 --nworkers 4"
            )

    def _check_scheduler(self) -> None:
        if self.client.status != "running":
            raise self._scheduler_lost()

    def _scheduler_lost(self) -> ConnectionError:
        return ConnectionError(
            f"the connection to the Dask scheduler {_address(self.client)} was lost, and its tasks with it; see "
            "whether it runs, connect again and repeat the fit"
        )


def _address(client: Any) -> str:
    return "" if client.scheduler is None else str(client.scheduler.address)


class _Data:
    """The shared data of a session on the cluster, and a task for each worker that holds it.

    It comes to all workers in one way, and in the next one where a worker cannot load it. `carried` is what brings it:
    the file that all map, or a future that they get it from, or what makes it. `token` is its name in the workers.
    """

    def __init__(self, cluster: Cluster, shared: Any) -> None:
        self._cluster = cluster
        self._shared = shared
        self._make: Callable[[], Any] | None = None
        self._file = ExitStack()
        self._ways = iter(("map", "make", "send"))
        self._begin()

    def _begin(self) -> None:
        """Offer the data in the next way that is possible; the last one always is."""
        self.token = uuid.uuid4().hex
        self.carried: Any = None
        self._holders: dict[str, Any] = {}
        while self.carried is None:
            self._way = next(self._ways)
            self.carried = self._offered()

    def _offered(self) -> Any:
        if self._way == "map":
            if all(map(_is_here, self._cluster.slots())):
                with suppress(OSError):  # no room on the disk, or another system than Linux
                    return self._file.enter_context(mapped_data(self._shared))
            return None
        if self._way == "make":
            # Only now: it takes a fingerprint of the data.
            self._make = self._shared.loader() if isinstance(self._shared, Reloadable) else None
            if self._make is None:
                return None
            try:
                data = SharedData.of(_Made(self._make))
            except TypeError as error:
                self._warn_of_sending("it cannot be pickled", error)
                return None
        else:
            data = SharedData.of(self._shared)
        return self._cluster.submit(_carry, data, key=f"metamix-data-{self.token}")

    def change_way(self, address: str, error: BaseException) -> None:
        """Bring the data to all workers in the next way, since one of them cannot load it.

        Raises
        ------
        DifferentDataError
            If that worker made other data.
        RuntimeError
            If there is no other way.
        """
        if isinstance(error, DifferentDataError):
            raise DifferentDataError(f"{error} It was called by the worker {address}.") from error
        if self._way == "send":
            raise RuntimeError(
                "the data could not be sent to the workers; scheduler and workers need the same releases of "
                "metamix, its parts and Python as this process"
            ) from error
        if self._way == "make":
            self._warn_of_sending(f"the worker {address} could not call it", error)
        addresses = list(self._holders)
        self._drop()  # else workers would hold what they have beside what comes
        self._begin()
        for each in addresses:
            self.hold(each)

    def _warn_of_sending(self, why: str, error: BaseException) -> None:
        warnings.warn(
            f"the data is sent to all workers of the cluster, and {self._make} not used there: {why} "
            f"({type(error).__name__}: {error}). Let every worker see what it reads and have the packages it needs.",
            UserWarning,
            stacklevel=2,
        )

    def hold(self, address: str) -> None:
        """Have a worker keep the data. Where that worker is lost, the task ends on another, which has it already."""
        if address not in self._holders:
            self._holders[address] = self._cluster.submit(
                _hold, self.token, self.carried, key=f"metamix-{self._way}-{self.token}-{address}",
                workers=[address], allow_other_workers=True,
            )  # fmt: skip

    def wait(self) -> None:
        """Until every worker that is to hold the data has it."""
        while (found := self._first_error()) is not None:
            self.change_way(*found)

    def _first_error(self) -> tuple[str, BaseException] | None:
        """Wait for the workers; the first that cannot load the data, and why."""
        finished: SimpleQueue[Any] = SimpleQueue()
        for future in self._holders.values():
            future.add_done_callback(finished.put)
        for _ in range(len(self._holders)):
            future = self._cluster.next_done(finished)
            if future.status == "error":
                return next(one for one, held in self._holders.items() if held.key == future.key), future.exception()
        return None

    def release(self) -> None:
        """Let the cluster drop the data."""
        self._drop()
        self._file.close()

    def _drop(self) -> None:
        for future in self._holders.values():
            future.release()
        if self._way != "map":
            self.carried.release()


def _is_here(address: str) -> bool:
    """Whether the address of a worker is one of this machine."""
    host = urlsplit(address).hostname or ""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as one:
            one.bind((host, 0))
    except OSError:
        return False
    return True


class _DaskSession(RemoteSession):
    def __init__(self, cluster: Cluster, data: _Data, threads_per_task: int) -> None:
        super().__init__(sum(cluster.slots().values()), threads_per_task)
        #: Session of the workers that have a GPU, for tasks that need one; None where there are none.
        self.on_gpu: _DaskSession | None = None
        self._cluster = cluster
        self._data = data
        self._numbers = itertools.count()

    def _outcomes(
        self, function: Function, tasks: Sequence[Any], names: Sequence[str]
    ) -> Generator[Outcome, None, None]:
        context = TaskContext(self.threads_per_task, sklearn.get_config(), list(warnings.filters))

        def pack(index: int) -> bytes:
            return pack_task(function, tasks[index], context)

        # Few at once: each takes its weights along, which the scheduler would have to hold.
        suspects = yield from self._run(pack, names, range(len(tasks)), 2 * self.n_workers)
        # Tasks that waited at a worker are blamed for its end too, and tasks whose neighbours took all the memory.
        for index in list(suspects):
            emit(Event("retry", names[index], 0, len(tasks), {"reason": "workers were killed"}))
            del suspects[index]
            suspects |= yield from self._run(pack, names, [index], 1)
        for index, cause in suspects.items():
            killed = WorkerKilledError(names[index])
            killed.__cause__ = cause
            yield Outcome(index, error=killed)

    def _run(
        self, pack: Callable[[int], bytes], names: Sequence[str], indices: Sequence[int], window: int
    ) -> Generator[Outcome, None, dict[int, BaseException]]:
        """Run tasks, at most `window` of them submitted at once; return those that are blamed for killed workers."""
        import distributed

        waiting = deque(indices)
        in_flight: dict[Any, int] = {}
        finished: SimpleQueue[Any] = SimpleQueue()
        suspects: dict[int, BaseException] = {}
        late: dict[int, TaskTimeoutError] = {}

        def look() -> None:
            reported = self._cluster.late_tasks()
            for future, index in in_flight.items():
                if (found := reported.get(str(future.key))) and not future.done():
                    late[index] = TaskTimeoutError(found["name"] or names[index], found["seconds"])
                    future.cancel()  # else the scheduler would try it again
                    self._cluster.replace_workers([found["worker"]])

        def submit(index: int, payload: bytes, *data: Any) -> None:
            key = (f"metamix-{self._data.token}", next(self._numbers))
            future = self._cluster.submit(
                _run, index, payload, self._data.token, *data, key=key, resources=self._cluster.resources
            )
            in_flight[future] = index
            future.add_done_callback(finished.put)

        try:
            while waiting or in_flight:
                while waiting and len(in_flight) < window:
                    index = waiting.popleft()
                    try:
                        payload = pack(index)
                    except Exception as error:
                        yield Outcome(index, error=picklable_error(error))
                    else:
                        submit(index, payload)
                if not in_flight:
                    continue
                future = self._cluster.next_done(finished, look)
                index = in_flight.pop(future)
                if index in late:
                    yield Outcome(index, error=late[index], seconds=late[index].seconds)
                    continue
                try:
                    answer = self._cluster.result(future)
                except distributed.KilledWorker as error:
                    suspects[index] = error
                    continue
                finally:
                    future.release()
                if isinstance(answer, _NoData):
                    if answer.error is not None and answer.token == self._data.token:
                        self._data.change_way(answer.address, answer.error)
                    self._data.hold(answer.address)
                    submit(index, pack(index), self._data.carried)
                else:
                    yield unpack(answer, index)
        finally:
            for future in in_flight:
                future.release()  # the scheduler drops what nobody waits for
        return suspects


class DaskEngine:
    """Run tasks on a cluster of Dask.

    The shared data is sent to each worker once, or loaded by each (`Reloadable`), and made anew where workers are lost.
    A task whose worker is lost is tried again, three times by default (``distributed.scheduler.allowed-failures``), and
    four times more with no other task running. If that does not help either, it gets `WorkerKilledError`, and the
    others finish. A worker is ended where a task takes longer than it may (`at_most`); that task gets
    `TaskTimeoutError`.

    Tasks run one at a time in each thread of each worker, so start workers with one thread for each task that is to run
    at once. Where workers have a resource named GPU (``dask worker ... --resources GPU=1``), fits on a GPU take one of
    them each; elsewhere they run in this process.

    Scheduler and workers need the same releases of Python, metamix and its parts. Arrays in the shared data are
    read-only in the workers.

    Parameters
    ----------
    cluster : distributed.Client, str or None, default=None
        A client, or the address of a scheduler, such as "tcp://10.0.0.1:8786". None takes the current client.
    security : distributed.Security or None, default=None
        Certificates, for an address that begins with "tls://".
    threads_per_task : int, default=1
        Number of threads of BLAS and OpenMP per task.
    wait_seconds : float, default=60
        How long to wait for the scheduler, and for a worker where there is none.

    Raises
    ------
    ImportError
        If distributed is not installed.
    ValueError
        If there is no current client.
    ConnectionError
        If no scheduler answers.
    """

    def __init__(
        self, cluster: Any = None, *, security: Any = None, threads_per_task: int = 1, wait_seconds: float = 60.0
    ) -> None:
        self.threads_per_task = check_threads(threads_per_task)
        self.wait_seconds = wait_seconds
        self._is_owner = isinstance(cluster, str)
        self.client = _connect(cluster, security, wait_seconds)

    def close(self) -> None:
        """Disconnect, if the engine was made from an address."""
        if self._is_owner:
            self.client.close(timeout=_CLOSE_SECONDS)

    @contextmanager
    def open(self, shared: Any) -> Iterator[Session]:
        """Send `shared` to all workers, which drop it when the session ends.

        Raises
        ------
        TypeError
            If `shared` cannot be pickled.
        ConnectionError
            If the scheduler is gone, or has no worker.
        """
        cluster = Cluster(self.client, self.wait_seconds)
        on_gpu = Cluster(self.client, self.wait_seconds, _GPU)
        cluster.wait_for_worker()
        data = _Data(cluster, shared)
        sessions: list[_DaskSession] = []
        try:
            for address in cluster.slots():
                data.hold(address)
            data.wait()
            sessions.append(session := _DaskSession(cluster, data, self.threads_per_task))
            if on_gpu.slots():
                session.on_gpu = _DaskSession(on_gpu, data, self.threads_per_task)
                sessions.append(session.on_gpu)
            yield session
        finally:
            for each in sessions:
                each.close()
            data.release()


def _connect(cluster: Any, security: Any, seconds: float) -> Any:
    try:
        import distributed
    except ImportError:
        raise ImportError('engine "dask" needs distributed: pip install "metamix[dask]"') from None
    if not isinstance(cluster, str) and security is not None:
        raise ValueError("security is for a connection that is made here: give the address of the scheduler too")
    if isinstance(cluster, distributed.Client):
        return _synchronous(cluster)
    if cluster is None:
        try:
            return _synchronous(distributed.default_client())
        except ValueError:
            raise ValueError(
                "engine 'dask' found no client: give the address of a scheduler, as in "
                "use_engine('dask', address='tcp://10.0.0.1:8786'), or make a client before, as in "
                "distributed.Client(n_workers=4, threads_per_worker=1), which starts workers on this machine"
            ) from None
    if not isinstance(cluster, str):
        raise TypeError(f"DaskEngine got {cluster!r}; expected a distributed.Client or the address of a scheduler")
    try:
        return distributed.Client(cluster, security=security, timeout=seconds, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ConnectionError(
            f"no Dask scheduler answers at {cluster!r} ({type(error).__name__}: {error}); give the address that `dask "
            "scheduler` prints, such as tcp://10.0.0.1:8786"
        ) from error


def _synchronous(client: Any) -> Any:
    if client.asynchronous:
        raise TypeError("DaskEngine got an asynchronous client; make one with distributed.Client(address)")
    return client
