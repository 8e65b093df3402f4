"""Events of long work, raised in the driver process; who listens is not this room's business."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = ["Event", "emit", "listen", "mute", "narrate"]

_logger = logging.getLogger("metamix")
_logger.addHandler(logging.NullHandler())
_WORTH_A_WARNING = frozenset({"failure", "retry"})


@dataclass(frozen=True)
class Event:
    """Something that happened in long work.

    Parameters
    ----------
    kind : str
        What happened: "start", "task", "round", "prune", "end", "failure" or "retry".
    label : str
        To what, in words a person recognises: "forest, fold 3".
    done : int
        Steps finished so far.
    total : int
        Steps in all; 0 where nobody knows.
    detail : mapping
        Anything else that a listener may show: seconds, loss, reason.

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
    """Tell every listener, outermost first, and the logger "metamix".

    The log level is DEBUG, and WARNING for failures and retries. What a listener raises
    propagates, so that a progress bar can stop the work.

    Parameters
    ----------
    event : Event
        What happened.

    Examples
    --------
    >>> emit(Event("task", "ridge, fold 1", done=1, total=5))
    """
    level = logging.WARNING if event.kind in _WORTH_A_WARNING else logging.DEBUG
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
    """Call `callback` with every event raised inside the block.

    Parameters
    ----------
    callback : callable
        Takes one `Event`; what it raises stops the work.

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
    """Raise events inside the block to nobody but the logger, as within one task of many.

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


def narrate(event: Event) -> None:
    """A listener that writes a line per round and per failure to standard error.

    Parameters
    ----------
    event : Event

    Examples
    --------
    >>> with listen(narrate):
    ...     emit(Event("start", "not a round"))
    """
    if event.kind in ("round", "failure", "retry"):
        numbers = [
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in event.detail.items()
        ]
        sys.stderr.write(f"{event.label}: {', '.join(numbers)}\n")
