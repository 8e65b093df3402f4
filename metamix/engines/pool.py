"""The pool of worker processes, kept from fit to fit and apart from joblib's own."""

from __future__ import annotations

import os
import threading

from joblib.externals.loky import ProcessPoolExecutor

from metamix.engines.driver import start_worker

__all__ = ["close_pool", "worker_pool"]

_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
# Idle workers are kept this long for the next session, as long as joblib keeps its own.
_IDLE_SECONDS = 300

_lock = threading.Lock()
# The pool that is kept, and what it was made for: process, workers, threads of each.
_kept: tuple[tuple[int, int, int], ProcessPoolExecutor] | None = None


def worker_pool(n_workers: int, threads_per_task: int) -> ProcessPoolExecutor:
    """The pool that is kept, if it has so many workers and they are alive; else a new one, which is kept instead.

    loky's own reusable pool would be shared with joblib, which expects an attribute in it that joblib alone sets: after
    a fit in processes, scikit-learn's parallel loops would fail.
    """
    global _kept
    key = (os.getpid(), n_workers, threads_per_task)
    with _lock:
        if _kept is not None and _kept[0][0] == key[0]:
            if _kept[0] == key and _is_alive(_kept[1]):
                return _kept[1]
            _kept[1].shutdown(wait=True)
        pool = ProcessPoolExecutor(
            max_workers=n_workers,
            timeout=_IDLE_SECONDS,
            env=dict.fromkeys(_THREAD_VARIABLES, str(threads_per_task)),
            initializer=start_worker,
            initargs=(os.getpid(),),
        )
        _kept = key, pool
        return pool


def close_pool(pool: ProcessPoolExecutor, *, kill_workers: bool = False) -> None:
    """Shut down a pool; the next one is new. Other pools, as of another thread, are left alone."""
    global _kept
    with _lock:
        if _kept is not None and _kept[1] is pool:
            _kept = None
    pool.shutdown(wait=True, kill_workers=kill_workers)


def _is_alive(pool: ProcessPoolExecutor) -> bool:
    """Whether the pool takes tasks: not where a worker was killed while it was idle."""
    try:
        pool.submit(int)
    except RuntimeError:  # it is broken or shut down
        return False
    return True
