"""Selection of the engine: `use_engine`, `n_jobs` and `joblib.parallel_config`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import joblib
from joblib.parallel import get_active_backend

from metamix.engines.contract import Engine
from metamix.engines.in_process import SerialEngine, ThreadsEngine
from metamix.engines.local import LocalEngine
from metamix.engines.task import check_threads, count_workers, engine_factory, inside_worker

_ENGINES: dict[str, Callable[[int, int], Engine]] = {
    "serial": lambda n_jobs, threads: SerialEngine(threads_per_task=threads),
    "threads": lambda n_jobs, threads: ThreadsEngine(n_jobs, threads_per_task=threads),
    "local": lambda n_jobs, threads: LocalEngine(n_jobs, threads_per_task=threads),
}


@contextmanager
def use_engine(engine: str | Engine, n_jobs: int | None = None, *, threads_per_task: int = 1) -> Iterator[None]:
    """Set the engine for all work started inside the block.

    Parameters
    ----------
    engine : {"local", "threads", "serial"} or Engine
        Name of an engine, or an engine instance.
    n_jobs : int or None, default=None
        Number of workers if `engine` is a name. None uses the estimator's `n_jobs`, else
        `joblib.parallel_config`, else all cores.
    threads_per_task : int, default=1
        Number of threads of BLAS and OpenMP per task if `engine` is a name.

    Raises
    ------
    ValueError
        If the name is unknown.
    TypeError
        If `engine` is neither a name nor an engine.

    Examples
    --------
    >>> with use_engine("threads", n_jobs=2):
    ...     type(current_engine()).__name__
    'ThreadsEngine'
    """
    if isinstance(engine, str):
        factory = _by_name(engine, n_jobs, check_threads(threads_per_task))
    elif isinstance(engine, Engine) and not isinstance(engine, type):
        factory = _fixed(engine)
    else:
        raise TypeError(
            f"use_engine got {engine!r}; expected a name ({_known_names()}) or an object with open(shared), "
            "such as metamix.engines.LocalEngine(4)"
        )
    token = engine_factory.set(factory)
    try:
        yield
    finally:
        engine_factory.reset(token)


def _known_names() -> str:
    return ", ".join(map(repr, _ENGINES))


def _fixed(engine: Engine) -> Callable[[int | None], Engine]:
    return lambda n_jobs: engine


def _by_name(name: str, n_jobs: int | None, threads: int) -> Callable[[int | None], Engine]:
    if name == "dask":
        raise ValueError(f"engine 'dask' is not implemented yet; available: {_known_names()}")
    if name not in _ENGINES:
        close = difflib.get_close_matches(name, _ENGINES, n=1)
        hint = f"did you mean {close[0]!r}? Available" if close else "available"
        raise ValueError(f"unknown engine {name!r}; {hint}: {_known_names()}")

    def make_engine(estimator_n_jobs: int | None) -> Engine:
        candidates = (n_jobs, estimator_n_jobs, get_active_backend()[1])
        first_given = next((n for n in candidates if n is not None), None)
        return _ENGINES[name](count_workers(first_given), threads)

    return make_engine


def current_engine(n_jobs: int | None = None) -> Engine:
    """Return the engine for work that starts here.

    `use_engine` takes precedence. Inside a worker the engine is serial. Otherwise `n_jobs` and
    `joblib.parallel_config` decide as in joblib: threads for a threading backend, local processes
    for any other.

    Parameters
    ----------
    n_jobs : int or None, default=None
        Number of workers, as in scikit-learn: None means 1 unless set by `joblib.parallel_config`.

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
    factory, worker = engine_factory.get(), inside_worker()
    if factory is not None:
        return factory(n_jobs)
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
