"""The pool of worker processes, kept from fit to fit and apart from joblib's own."""

from __future__ import annotations

import os
import threading
from typing import Any

from joblib.externals.loky import ProcessPoolExecutor

from metamix.engines.driver import start_worker

__all__ = ["drop_pool", "worker_pool"]

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
_kept: tuple[tuple[int, int, int], Any] | None = None


def worker_pool(n_workers: int, threads_per_task: int) -> Any:
    """The pool of so many workers; another one that was kept is shut down.

    loky's reusable pool would be shared with joblib, which expects an attribute in it that joblib alone sets: after a
    fit in processes, scikit-learn's own would fail.
    """
    global _kept
    key = (os.getpid(), n_workers, threads_per_task)
    with _lock:
        if _kept is not None and _kept[0] == key:
            return _kept[1]
        before, _kept = _kept, None
        if before is not None and before[0][0] == os.getpid():
            before[1].shutdown(wait=True)
        executor = ProcessPoolExecutor(
            max_workers=n_workers,
            timeout=_IDLE_SECONDS,
            env=dict.fromkeys(_THREAD_VARIABLES, str(threads_per_task)),
            initializer=start_worker,
            initargs=(os.getpid(),),
        )
        _kept = key, executor
        return executor


def drop_pool(*, kill_workers: bool = False) -> None:
    """Shut down the pool that is kept, as after a worker was killed; the next one is new."""
    global _kept
    with _lock:
        before, _kept = _kept, None
    if before is not None and before[0][0] == os.getpid():
        before[1].shutdown(wait=True, kill_workers=kill_workers)
