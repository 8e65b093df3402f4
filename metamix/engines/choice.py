"""Which engine runs the work that starts here."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import joblib
from joblib.parallel import get_active_backend

from metamix.engines.contract import Engine
from metamix.engines.in_process import SerialEngine, ThreadsEngine
from metamix.engines.local import LocalEngine
from metamix.engines.task import check_threads, chosen, count_workers, inside_worker

_ENGINES: dict[str, Callable[[int, int], Engine]] = {
    "serial": lambda n_jobs, threads: SerialEngine(threads_per_task=threads),
    "threads": lambda n_jobs, threads: ThreadsEngine(n_jobs, threads_per_task=threads),
    "local": lambda n_jobs, threads: LocalEngine(n_jobs, threads_per_task=threads),
}


@contextmanager
def use_engine(engine: str | Engine, n_jobs: int | None = None, *, threads_per_task: int = 1) -> Iterator[None]:
    """Choose where work inside the block runs.

    Parameters
    ----------
    engine : {"local", "threads", "serial"} or Engine
        A name, or an engine ready made.
    n_jobs : int or None, default=None
        Workers, for a name; None leaves it to the estimator's n_jobs, or `joblib.parallel_config`,
        or takes all cores.
    threads_per_task : int, default=1
        Threads that BLAS and OpenMP may use in a task, for a name.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If it is neither a name nor an engine.

    Examples
    --------
    >>> with use_engine("threads", n_jobs=2):
    ...     type(current_engine()).__name__
    'ThreadsEngine'
    """
    if isinstance(engine, str):
        choice = _named(engine, n_jobs, check_threads(threads_per_task))
    elif isinstance(engine, Engine) and not isinstance(engine, type):
        choice = _ready(engine)
    else:
        raise TypeError(
            f"use_engine got {engine!r}; a name ({_there()}) would do, or an object with open(shared), "
            "such as metamix.engines.LocalEngine(4)"
        )
    token = chosen.set(choice)
    try:
        yield
    finally:
        chosen.reset(token)


def _there() -> str:
    return ", ".join(map(repr, _ENGINES))


def _ready(engine: Engine) -> Callable[[int | None], Engine]:
    return lambda n_jobs: engine


def _named(name: str, n_jobs: int | None, threads: int) -> Callable[[int | None], Engine]:
    if name == "dask":
        raise ValueError(f"there is no engine 'dask' yet; there are {_there()}")
    if name not in _ENGINES:
        close = difflib.get_close_matches(name, _ENGINES, n=1)
        meant = f"did you mean {close[0]!r}? There are" if close else "there are"
        raise ValueError(f"unknown engine {name!r}; {meant} {_there()}")

    def choose(asked: int | None) -> Engine:
        wanted = next((n for n in (n_jobs, asked, get_active_backend()[1]) if n is not None), None)
        return _ENGINES[name](count_workers(wanted), threads)

    return choose


def current_engine(n_jobs: int | None = None) -> Engine:
    """Give the engine for work that starts here.

    The choice of `use_engine` comes first; inside a worker work is serial; otherwise `n_jobs` and
    `joblib.parallel_config` decide as they do for joblib: threads for a threading backend, local
    processes for any other.

    Parameters
    ----------
    n_jobs : int or None, default=None
        Workers, as in scikit-learn: None is 1 unless `joblib.parallel_config` says otherwise.

    Returns
    -------
    Engine

    Examples
    --------
    >>> type(current_engine()).__name__
    'SerialEngine'
    >>> current_engine(n_jobs=2).n_jobs
    2
    """
    choice, worker = chosen.get(), inside_worker()
    if choice is not None:
        return choice(n_jobs)
    if worker is not None:
        return SerialEngine(threads_per_task=worker)
    backend, _ = get_active_backend()
    threads = getattr(backend, "inner_max_num_threads", None) or 1
    n_workers = int(joblib.effective_n_jobs(n_jobs))
    if n_workers == 1:
        return SerialEngine(threads_per_task=threads)
    if getattr(backend, "uses_threads", False):
        return ThreadsEngine(n_workers, threads_per_task=threads)
    return LocalEngine(n_workers, threads_per_task=threads)
