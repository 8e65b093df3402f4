"""Serialization of data, tasks and outcomes between the driver and its worker processes."""

from __future__ import annotations

import math
import mmap
import os
import pickle
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle

from metamix.engines.contract import Function, Outcome
from metamix.engines.driver import remember_folder
from metamix.engines.task import (
    TimedPart,
    as_worker,
    call,
    limit_thread_openmp,
    native_threads,
    picklable_error,
    telling,
)

#: Addresses of buffers are multiples of this.
ALIGNMENT = 64


def dump_shared(shared: Any) -> tuple[bytes, list[memoryview]]:
    """Serialize an object: a stream, and the large buffers that it refers to, which are not copied.

    Raises
    ------
    TypeError
        If the object cannot be pickled.
    """
    # cloudpickle supports classes and functions defined in a notebook. Out-of-band buffers (pickle protocol 5)
    # preserve the memory order of arrays and cover those inside frames and sparse matrices.
    buffers: list[pickle.PickleBuffer] = []
    try:
        stream = cloudpickle.dumps(shared, protocol=5, buffer_callback=buffers.append)
    except Exception as error:
        raise TypeError(
            f"the data cannot be sent to worker processes ({type(error).__name__}: {error}); "
            'use metamix.use_engine("threads") or n_jobs=1'
        ) from error
    return stream, [buffer.raw() for buffer in buffers]


def read_only(shared: Any) -> Any:
    """The object as it would come out of another process: its arrays are read-only views of the same memory."""
    stream, buffers = dump_shared(shared)
    return pickle.loads(stream, buffers=[buffer.toreadonly() for buffer in buffers])


def layout(buffers: list[memoryview]) -> tuple[list[tuple[int, int]], int]:
    """Start and size of each buffer in one block, aligned, and the size of the block."""
    spans, end = [], 0
    for buffer in buffers:
        start = math.ceil(end / ALIGNMENT) * ALIGNMENT
        end = start + buffer.nbytes
        spans.append((start, buffer.nbytes))
    return spans, end


def write_shared(shared: Any, folder: Path) -> None:
    """Write the object and, in a second file, its large buffers, which workers memory-map instead of copying."""
    stream, buffers = dump_shared(shared)
    spans, _ = layout(buffers)
    try:
        with open(folder / "buffers", "wb") as file:
            for (start, _), buffer in zip(spans, buffers, strict=True):
                file.seek(start)
                file.write(buffer)
        (folder / "object").write_bytes(pickle.dumps((stream, spans), protocol=5))
    except OSError as error:
        raise _while_writing(error, folder, "data was written for the worker processes") from error


# Hold the shared data of the latest session only, so that the memory of a worker does not grow.
_loaded: dict[str, Any] = {}
_maps: list[mmap.mmap] = []


def read_shared(folder: str) -> Any:
    """Load the shared data, once per worker; arrays in it are read-only."""
    if folder not in _loaded:
        remember_folder(folder)
        _loaded.clear()
        _maps.clear()
        stream, spans = pickle.loads((Path(folder) / "object").read_bytes())
        whole = _map(Path(folder) / "buffers")
        _loaded[folder] = pickle.loads(stream, buffers=[whole[start : start + size] for start, size in spans])
    return _loaded[folder]


def _map(path: Path) -> memoryview:
    # Windows cannot delete a mapped file, and no system can map an empty one.
    if os.name == "nt" or path.stat().st_size == 0:
        return memoryview(path.read_bytes())
    with open(path, "rb") as file:
        _maps.append(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    return memoryview(_maps[-1])


def release_pages() -> None:
    """Take the mapped pages of the shared data out of the memory that counts as this process's.

    They stay in the system's cache of the file. Where psutil is installed, loky would otherwise replace a worker that
    has read 300 MB of them by a new one, which has all libraries to import.
    """
    if hasattr(mmap, "MADV_DONTNEED"):
        for one in _maps:
            one.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class TaskContext:
    """State of the driver that is reproduced in the worker: threads per task, sklearn's configuration, warnings."""

    threads: int
    config: dict[str, Any]
    filters: list[Any]


_process = threading.Lock()
_running = 0
_state = ExitStack()


@contextmanager
def _process_state(context: TaskContext) -> Iterator[None]:
    """Warning filters and limits of native threads, which belong to the process.

    Where a process runs several tasks at once, in threads, the first sets them and the last restores them.
    """
    global _running
    with _process:
        if _running == 0:
            _state.enter_context(warnings.catch_warnings())
            warnings.filters[:] = context.filters  # type: ignore[index]
            _state.enter_context(native_threads(context.threads))
        _running += 1
    try:
        limit_thread_openmp(context.threads)  # OpenMP has a limit for each thread
        yield
    finally:
        with _process:
            _running -= 1
            if _running == 0:
                _state.close()


def pack_task(function: Function, task: Any, context: TaskContext) -> bytes:
    """Pickle a task for `run_task`."""
    packed: bytes = cloudpickle.dumps((function, task, context), protocol=5)
    return packed


def run_task(index: int, payload: bytes, load: Callable[[], Any], tell: Callable[[TimedPart | None], None]) -> bytes:
    """Run one task in a worker; return its outcome as bytes, so that sending it back cannot fail.

    Parameters
    ----------
    index : int
    payload : bytes
        Of `pack_task`.
    load : callable
        Returns the shared data.
    tell : callable
        Is told which part of the task runs, where it has a limit.
    """
    try:
        function, task, context = pickle.loads(payload)
        shared = load()
    except Exception as error:
        return pack(Outcome(index, error=picklable_error(error)))
    with _process_state(context), as_worker(context.threads, context.config), telling(tell):
        outcome = call(function, shared, task, index)
    if outcome.error is not None:
        trace = "".join(traceback.format_exception(outcome.error))
        outcome.error.add_note(f"Raised in a worker process:\n{trace}")
    return pack(outcome)


def pack(outcome: Outcome) -> bytes:
    """Pickle an outcome; an outcome that cannot be pickled is replaced by a TypeError."""
    try:
        packed: bytes = cloudpickle.dumps(outcome, protocol=5)
        return packed
    except Exception as error:
        unsendable = TypeError(
            f"the task returned a {type(outcome.value).__name__} that cannot be sent back from its worker "
            f'({type(error).__name__}: {error}); use metamix.use_engine("threads") or n_jobs=1'
        )
        failed: bytes = cloudpickle.dumps(Outcome(outcome.index, error=unsendable, seconds=outcome.seconds))
        return failed


def run_task_to_file(folder: str, index: int, payload: bytes, tell: Callable[[TimedPart | None], None]) -> bytes | None:
    """As `run_task`, with the shared data of a folder, whose pages are released at the end.

    The packed outcome is in a file of that folder, for `read_outcome`; if that is full, it is an error. Pipes between
    processes are not for large messages: whoever reads waits for ever for the rest of one whose writer was killed.
    """
    try:
        packed = run_task(index, payload, lambda: read_shared(folder), tell)
    finally:
        release_pages()
    try:
        _outcome_file(folder, index).write_bytes(packed)
    except OSError as error:
        return pack(Outcome(index, error=_while_writing(error, folder, "an outcome was written for this process")))
    return None


def read_outcome(folder: str, index: int) -> bytes:
    """A packed outcome of `run_task_to_file`, whose file is removed."""
    path = _outcome_file(folder, index)
    packed = path.read_bytes()
    path.unlink()
    return packed


def _outcome_file(folder: str, index: int) -> Path:
    return Path(folder) / f"outcome-{index}"


def _while_writing(error: OSError, folder: Any, what: str) -> OSError:
    """The error of a full disk, which does not say of itself which disk."""
    return OSError(error.errno, f"{error.strerror}, while {what}", error.filename or str(folder))


def unpack(packed: bytes, index: int) -> Outcome:
    """Load a packed outcome; a value that cannot be loaded is replaced by an error."""
    try:
        outcome: Outcome = pickle.loads(packed)
        return outcome
    except Exception as error:
        return Outcome(index, error=picklable_error(error))
