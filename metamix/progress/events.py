"""Events of long computations, emitted in the driver process to registered listeners."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TextIO

__all__ = ["Event", "emit", "json_lines", "listen", "mute"]

_logger = logging.getLogger("metamix")
_logger.addHandler(logging.NullHandler())
_WARNING_KINDS = frozenset({"failure", "retry"})


@dataclass(frozen=True)
class Event:
    """A progress event.

    Parameters
    ----------
    kind : str
        "start" and "end" of a fold of a comparison, "part" of a fit that begins, "task", "round", "prune", "loss",
        "failure" or "retry".
    label : str
        What the event refers to, such as "forest, fold 3".
    done : int
        Number of completed steps.
    total : int
        Number of steps; 0 if unknown.
    detail : mapping
        Further values to display: seconds, loss, reason.

    Examples
    --------
    >>> Event("task", "ridge, fold 1", done=1, total=5)
    Event(kind='task', label='ridge, fold 1', done=1, total=5, detail=mappingproxy({}))
    """

    kind: str
    label: str
    done: int = 0
    total: int = 0
    detail: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))


_listeners: ContextVar[tuple[Callable[[Event], object], ...]] = ContextVar("metamix_listeners", default=())


def emit(event: Event) -> None:
    """Send an event to every listener, outermost first, and to the logger "metamix".

    The log level is WARNING for failures and retries, else DEBUG. An exception raised by a listener
    propagates, so that a progress bar can stop the computation.

    Parameters
    ----------
    event : Event

    Examples
    --------
    >>> emit(Event("task", "ridge, fold 1", done=1, total=5))
    """
    level = logging.WARNING if event.kind in _WARNING_KINDS else logging.DEBUG
    if _logger.isEnabledFor(level):
        _logger.log(
            level,
            "%s: %s (%d of %d) %s",
            event.kind,
            event.label,
            event.done,
            event.total,
            dict(event.detail) or "",
        )
    for listener in _listeners.get():
        listener(event)


@contextmanager
def listen(callback: Callable[[Event], object]) -> Iterator[None]:
    """Call `callback` with every event emitted inside the block.

    Parameters
    ----------
    callback : callable
        Takes one `Event`; an exception it raises stops the computation.

    Examples
    --------
    >>> seen = []
    >>> with listen(seen.append):
    ...     emit(Event("start", "fit", total=5))
    >>> seen[0].label
    'fit'
    """
    token = _listeners.set((*_listeners.get(), callback))
    try:
        yield
    finally:
        _listeners.reset(token)


@contextmanager
def mute() -> Iterator[None]:
    """Send events emitted inside the block to the logger only, as inside a task.

    Examples
    --------
    >>> seen = []
    >>> with listen(seen.append), mute():
    ...     emit(Event("start", "fit of an inner mixture"))
    >>> seen
    []
    """
    token = _listeners.set(())
    try:
        yield
    finally:
        _listeners.reset(token)


def json_lines(stream: TextIO) -> Callable[[Event], None]:
    """Listener that writes each event as a line of JSON, for programs that watch a fit.

    A line has the fields of `Event`, and `time` in seconds since 1970. It is flushed at once.

    Parameters
    ----------
    stream : text file open for writing

    Examples
    --------
    >>> import io
    >>> lines = io.StringIO()
    >>> with listen(json_lines(lines)):
    ...     emit(Event("task", "ridge, fold 1", done=1, total=5))
    >>> json.loads(lines.getvalue())["label"]
    'ridge, fold 1'
    """

    def write(event: Event) -> None:
        said = {"time": time.time(), **vars(event), "detail": dict(event.detail)}
        stream.write(json.dumps(said, default=_plain) + "\n")
        stream.flush()

    return write


def _plain(value: Any) -> Any:
    """A value as JSON has it: numbers of numpy are numbers, anything else is its text."""
    return value.item() if hasattr(value, "item") else str(value)
