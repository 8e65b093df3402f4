"""How data and outcomes travel between the driver and its worker processes."""

from __future__ import annotations

import math
import mmap
import os
import pickle
import traceback
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle

from metamix.engines.contract import Outcome
from metamix.engines.task import as_worker, call, native_threads, portable

_ALIGNMENT = 64


def write_shared(shared: Any, folder: Path) -> None:
    """Write the object and, beside it, its large buffers, so that workers map them and copy nothing."""
    # cloudpickle, for classes and functions of a notebook; pickle's buffers, since they keep the
    # order of arrays and reach those inside frames and sparse matrices.
    buffers: list[pickle.PickleBuffer] = []
    try:
        stream = cloudpickle.dumps(shared, protocol=5, buffer_callback=buffers.append)
    except Exception as error:
        raise TypeError(
            f"the data cannot be sent to worker processes ({type(error).__name__}: {error}); "
            'metamix.use_engine("threads") or n_jobs=1 would do'
        ) from error
    spans = []
    with open(folder / "buffers", "wb") as file:
        for buffer in buffers:
            raw = buffer.raw()
            start = math.ceil(file.tell() / _ALIGNMENT) * _ALIGNMENT
            file.seek(start)
            file.write(raw)
            spans.append((start, raw.nbytes))
    (folder / "object").write_bytes(pickle.dumps((stream, spans), protocol=5))


# The shared data of one session at a time: the older makes room, so memory does not grow.
_loaded: dict[str, Any] = {}


def read_shared(folder: str) -> Any:
    """Load the shared data once per worker; arrays in it are read-only."""
    if folder not in _loaded:
        _loaded.clear()
        stream, spans = pickle.loads((Path(folder) / "object").read_bytes())
        whole = _map(Path(folder) / "buffers")
        _loaded[folder] = pickle.loads(stream, buffers=[whole[start : start + size] for start, size in spans])
    return _loaded[folder]


def _map(path: Path) -> memoryview:
    # Windows cannot delete a file while it is mapped, and an empty file cannot be mapped anywhere.
    if os.name == "nt" or path.stat().st_size == 0:
        return memoryview(path.read_bytes())
    with open(path, "rb") as file:
        return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


@dataclass(frozen=True)
class Surroundings:
    """What of the driver's state a task would see if it ran there."""

    folder: str
    threads: int
    config: dict[str, Any]
    filters: list[Any]


def work(index: int, payload: bytes) -> bytes:
    """Run one task in a worker; give its outcome, packed, so that nothing can fail on the way back."""
    try:
        function, task, surroundings = pickle.loads(payload)
        shared = read_shared(surroundings.folder)
    except Exception as error:
        return pack(Outcome(index, error=portable(error)))
    with warnings.catch_warnings():
        warnings.filters[:] = surroundings.filters  # type: ignore[index]
        with as_worker(surroundings.threads, surroundings.config), native_threads(surroundings.threads):
            outcome = call(function, shared, task, index)
    if outcome.error is not None:
        trace = "".join(traceback.format_exception(outcome.error))
        outcome.error.add_note(f"Raised in a worker process:\n{trace}")
    return pack(outcome)


def pack(outcome: Outcome) -> bytes:
    """Pickle an outcome; one that cannot be pickled becomes an error that can."""
    try:
        packed: bytes = cloudpickle.dumps(outcome, protocol=5)
        return packed
    except Exception as error:
        unsendable = TypeError(
            f"the task returned a {type(outcome.value).__name__} that cannot be sent back from its worker "
            f'({type(error).__name__}: {error}); metamix.use_engine("threads") or n_jobs=1 would do'
        )
        failed: bytes = cloudpickle.dumps(Outcome(outcome.index, error=unsendable, seconds=outcome.seconds))
        return failed


def unpack(packed: bytes, index: int) -> Outcome:
    """Undo `pack`; a value that cannot be loaded here becomes an error."""
    try:
        outcome: Outcome = pickle.loads(packed)
        return outcome
    except Exception as error:
        return Outcome(index, error=portable(error))
