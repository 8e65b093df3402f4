"""Protocols of engines and sessions, and the outcome of a task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

Function = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Outcome:
    """Result of one task: a value or an error.

    Parameters
    ----------
    index : int
        Index of the task, from 0, in the order of submission.
    value : object
        Return value of the function; None after an error.
    error : BaseException or None
        Exception raised by the function; `WorkerKilledError` if the task killed its worker, `TaskTimeoutError` if it
        was stopped.
    seconds : float
        Wall time inside the function, in seconds.
    """

    index: int
    value: Any = None
    error: BaseException | None = None
    seconds: float = 0.0


class WorkerKilledError(RuntimeError):
    """A task killed its worker process each time, at last running alone: six times locally, eight on a cluster.

    Parameters
    ----------
    name : str
        Name of the task.

    Examples
    --------
    >>> WorkerKilledError("forest, fold 3").name
    'forest, fold 3'
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        """Describe the failure and possible remedies."""
        return (
            f"the worker process that ran {self.name!r} was killed each time it was tried. The usual cause is lack of "
            "memory: use fewer rows, a smaller model, or fewer workers at once (n_jobs=1 makes no copies). If the "
            "library of this model crashes, remove the model"
        )


class TaskTimeoutError(TimeoutError):
    """A task, or a part of one, took longer than it may (`at_most`).

    Parameters
    ----------
    name : str
        Name of the task or part.
    seconds : float
        How long it may take.

    Examples
    --------
    >>> print(TaskTimeoutError("forest, fold 3", 60))
    'forest, fold 3' took longer than its limit of 60 s
    """

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(name, seconds)
        self.name = name
        self.seconds = seconds

    def __str__(self) -> str:
        """Describe the failure."""
        return f"{self.name!r} took longer than its limit of {self.seconds:g} s"


class DifferentDataError(ValueError):
    """A worker loaded other data than this process has (`Reloadable`)."""


@runtime_checkable
class Reloadable(Protocol):
    """Shared data that workers on other machines may load themselves, in place of receiving it."""

    def loader(self) -> Callable[[], Any] | None:
        """A function that loads equal data, is pickled without it, and names itself by `str`; None if there is none.

        Called in a worker it raises `DifferentDataError` where the data is not equal, which ends the session. After any
        other error the data is sent.
        """
        ...


class Session(Protocol):
    """An open engine with its shared data; runs `n_workers` tasks at once with `threads_per_task` threads each.

    A session whose workers have GPUs may have an attribute `on_gpu`, a session on the same data for tasks that need
    one; without it they run in this process.
    """

    n_workers: int
    threads_per_task: int

    def run(self, function: Function, tasks: Sequence[Any], names: Sequence[str] | None = None) -> Iterator[Outcome]:
        """Yield the outcome of `function(shared, task)` for every task, in order of completion."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Runs tasks. A single method, so that other backends, such as a cluster, are easy to add.

    An engine that runs its tasks on this machine may have an attribute `n_jobs`, how many at once, and `in_process`,
    True where they run in this process: by these the memory of a fit is estimated. Without `n_jobs` tasks take none.
    """

    def open(self, shared: Any) -> AbstractContextManager[Session]:
        """Send `shared` to the workers once; leaving the context ends all running tasks."""
        ...
