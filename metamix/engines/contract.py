"""What an engine promises: sessions that run tasks over shared data and give their outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

Function = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Outcome:
    """What became of one task: a value or an error.

    Parameters
    ----------
    index : int
        Which task, counted from 0 in the order they were given.
    value : object
        What the function returned; None after an error.
    error : BaseException or None
        What it raised; `WorkerKilledError` where the worker died of the task.
    seconds : float
        Wall time inside the function.
    """

    index: int
    value: Any = None
    error: BaseException | None = None
    seconds: float = 0.0


class WorkerKilledError(RuntimeError):
    """A task killed the worker process that ran it, alone in that worker.

    Parameters
    ----------
    name : str
        The task.

    Examples
    --------
    >>> WorkerKilledError("forest, fold 3").name
    'forest, fold 3'
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        """Say what happened and what would do."""
        return (
            f"the worker process that ran {self.name!r} was killed, even with nothing running beside it, "
            "mostly for want of memory: fewer rows, a lighter model or n_jobs=1 (no copies) would do; "
            "if its library crashes, leave it out"
        )


class Session(Protocol):
    """Shared data in place, ready to run tasks; `n_workers` run at once, each with `threads_per_task`."""

    n_workers: int
    threads_per_task: int

    def run(self, function: Function, tasks: Sequence[Any], names: Sequence[str] | None = None) -> Iterator[Outcome]:
        """Yield the outcome of `function(shared, task)` for every task, in order of finishing."""
        ...


@runtime_checkable
class Engine(Protocol):
    """A place where work runs. One method: room for a cluster is here."""

    def open(self, shared: Any) -> AbstractContextManager[Session]:
        """Bring `shared` to the workers once; leaving the context ends whatever still runs."""
        ...
