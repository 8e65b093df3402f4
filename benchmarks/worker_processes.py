"""Engines with worker processes on this machine, and these processes, for the benchmarks of engines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil

from metamix.engines import DaskEngine, LocalEngine


@contextmanager
def started(name: str, n_workers: int) -> Iterator[Any]:
    """An engine, "local" or "dask", with so many worker processes of one thread each."""
    if name == "local":
        yield LocalEngine(n_workers)
        return
    import dask
    import distributed

    with (
        # A cluster on one machine gives up nannies whose worker is away after so long.
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}),
        distributed.LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address=":0", memory_limit=0
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield DaskEngine(client)


def workers(name: str) -> list[psutil.Process]:
    """The worker processes of an engine that there are now, without trackers and nannies."""
    word = "popen_loky" if name == "local" else "spawn_main"
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if word in " ".join(process.cmdline()):
                found.append(process)
    return found
