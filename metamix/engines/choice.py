"""Selection of the engine: `use_engine`, `n_jobs` and `joblib.parallel_config`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import joblib
from joblib.parallel import get_active_backend

from metamix.engines.contract import Engine
from metamix.engines.dask import DaskEngine
from metamix.engines.in_process import SerialEngine, ThreadsEngine
from metamix.engines.local import LocalEngine
from metamix.engines.task import check_threads, count_workers, engine_factory, inside_worker

_ENGINES: dict[str, Callable[[int, int], Engine]] = {
    "serial": lambda n_jobs, threads: SerialEngine(threads_per_task=threads),
    "threads": lambda n_jobs, threads: ThreadsEngine(n_jobs, threads_per_task=threads),
    "local": lambda n_jobs, threads: LocalEngine(n_jobs, threads_per_task=threads),
}


@contextmanager
def use_engine(
    engine: str | Engine,
    n_jobs: int | None = None,
    *,
    threads_per_task: int = 1,
    address: str | None = None,
    security: Any = None,
) -> Iterator[None]:
    """Set the engine for all work started inside the block.

    Parameters
    ----------
    engine : {"local", "threads", "serial", "dask"} or Engine
        Name of an engine, or an engine instance.
    n_jobs : int or None, default=None
        Number of workers if `engine` is a name. None uses the estimator's `n_jobs`, else
        `joblib.parallel_config`, else all cores. A cluster of Dask has the workers that it has.
    threads_per_task : int, default=1
        Number of threads of BLAS and OpenMP per task if `engine` is a name.
    address : str or None, default=None
        Address of a Dask scheduler, such as "tcp://10.0.0.1:8786"; None takes the current `distributed.Client`.
    security : distributed.Security or None, default=None
        Certificates for an address that begins with "tls://"; None takes those of Dask's configuration.

    Raises
    ------
    ValueError
        If the name is unknown, or there is no client for "dask".
    TypeError
        If `engine` is neither a name nor an engine.
    ConnectionError
        If no scheduler answers at `address`.
    ImportError
        If the engine is "dask" and distributed is not installed.

    Examples
    --------
    >>> with use_engine("threads", n_jobs=2):
    ...     type(current_engine()).__name__
    'ThreadsEngine'
    """
    if engine != "dask" and (address is not None or security is not None):
        raise ValueError(f"address and security are for engine 'dask', not {engine!r}; leave them out")
    with ExitStack() as stack:
        if engine == "dask":
            if n_jobs is not None:
                raise ValueError(
                    f"n_jobs={n_jobs!r} cannot be given with engine 'dask', which uses all workers of the cluster"
                )
            cluster = DaskEngine(address, security=security, threads_per_task=threads_per_task)
            stack.callback(cluster.close)
            factory = _fixed(cluster)
        elif isinstance(engine, str):
            factory = _by_name(engine, n_jobs, check_threads(threads_per_task))
        elif isinstance(engine, Engine) and not isinstance(engine, type):
            factory = _fixed(engine)
        else:
            raise TypeError(
                f"use_engine got {engine!r}; expected a name ({_known_names()}) or an object with open(shared), "
                "such as metamix.engines.LocalEngine(4)"
            )
        stack.callback(engine_factory.reset, engine_factory.set(factory))
        yield


def _known_names() -> str:
    return ", ".join(map(repr, [*_ENGINES, "dask"]))


def _fixed(engine: Engine) -> Callable[[int | None], Engine]:
    return lambda n_jobs: engine


def _by_name(name: str, n_jobs: int | None, threads: int) -> Callable[[int | None], Engine]:
    if name not in _ENGINES:
        close = difflib.get_close_matches(name, [*_ENGINES, "dask"], n=1)
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
