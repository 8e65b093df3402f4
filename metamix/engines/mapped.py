"""Shared data in a file without a name, which processes of one machine map: nothing is left, however they end."""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from metamix.engines.serialization import ALIGNMENT, dump_shared, layout

__all__ = ["MappedData", "mapped_data"]


class MappedData:
    """A pickle stream, and the file that has the buffers that it refers to.

    The object is loaded on the first use in each process. Its arrays are read-only views of the file.

    Parameters
    ----------
    stream : bytes
    spans : list of (int, int)
        Start and size of each buffer in the file.
    path : str
    token : bytes
        What the file begins with, which tells it from one that has this path in another container.
    """

    def __init__(self, stream: bytes, spans: list[tuple[int, int]], path: str, token: bytes) -> None:
        self.stream, self.spans, self.path, self.token = stream, spans, path, token
        self._lock = threading.Lock()
        self._loaded: list[Any] = []

    def load(self) -> Any:
        """The object, the same for all tasks of a process; OSError if this process cannot see the file."""
        with self._lock:
            if not self._loaded:
                with open(self.path, "rb") as file:
                    whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
                if whole[: len(self.token)] != self.token:
                    raise FileNotFoundError(f"{self.path} is another file here")
                self._loaded.append(pickle.loads(self.stream, buffers=[whole[a : a + n] for a, n in self.spans]))
            return self._loaded[0]

    def __reduce__(self) -> tuple[Any, ...]:
        return MappedData, (self.stream, self.spans, self.path, self.token)


@contextmanager
def mapped_data(shared: Any) -> Iterator[MappedData]:
    """Write an object; processes of the same user on this machine can load it inside the block (Linux only).

    They find the file among the open files of this process.

    Raises
    ------
    TypeError
        If the object cannot be pickled.
    OSError
        If the file cannot be written, or there are no such paths on this system.

    Examples
    --------
    >>> with mapped_data([1, 2]) as data:
    ...     pickle.loads(pickle.dumps(data)).load()
    [1, 2]
    """
    stream, buffers = dump_shared(shared)
    spans, _ = layout(buffers)
    token = uuid.uuid4().bytes.ljust(ALIGNMENT)
    spans = [(ALIGNMENT + start, size) for start, size in spans]
    with tempfile.TemporaryFile(dir=os.environ.get("JOBLIB_TEMP_FOLDER") or None) as file:
        file.write(token)
        for (start, _), buffer in zip(spans, buffers, strict=True):
            file.seek(start)
            file.write(buffer)
        file.flush()
        path = f"/proc/{os.getpid()}/fd/{file.fileno()}"
        os.stat(path)
        yield MappedData(stream, spans, path, token)
