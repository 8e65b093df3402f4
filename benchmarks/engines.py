"""Overhead of an engine over the fits that it runs, memory of its workers, and what a second worker brings.

python benchmarks/engines.py [--megabytes 500] [--passes 10] [--engines local,dask] [--quick]

Twelve equal tasks on two workers over one shared table: Gram matrices of blocks of its rows, which take no memory of
their own. Overhead is two workers × wall time (opening, tasks, closing) ÷ seconds inside the tasks, less one. Memory of
a worker is its unique set size (USS), sampled every 0.2 s, above what it was after a first session without data, in
tables; pages that workers map from one file are not unique. Then twelve tasks that sleep for a second, on one worker
and on two: wall time of two ÷ that of one, which other work on the machine hardly changes. Workers of Dask are
processes on this machine.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import psutil

from metamix.engines import DaskEngine, LocalEngine

TASKS, COLUMNS, BLOCK = 12, 50, 5000


def products(X: Any, passes: int) -> float:
    """Gram matrices of blocks of rows, so often over."""
    total = 0.0
    for _ in range(passes):
        for start in range(0, len(X), BLOCK):
            block = X[start : start + BLOCK]
            total += float((block.T @ block)[0, 0])
    return total


def sleep(_: Any, seconds: float) -> None:
    time.sleep(seconds)


@contextmanager
def opened(name: str, workers: int) -> Iterator[Any]:
    """An engine with so many worker processes."""
    if name == "local":
        yield LocalEngine(workers)
        return
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, memory_limit=0
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield DaskEngine(client)


def workers(name: str) -> list[psutil.Process]:
    """The worker processes that there are now, without trackers and nannies."""
    word = "popen_loky" if name == "local" else "spawn_main"
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if word in " ".join(process.cmdline()):
                found.append(process)
    return found


def start_workers(engine: Any) -> None:
    """Have both workers load what they need."""
    with engine.open(np.zeros(10)) as session:
        list(session.run(sleep, [0.2] * 8))
        list(session.run(products_of_ones, [1] * 8))


def products_of_ones(_: Any, passes: int) -> float:
    return products(np.ones((BLOCK, COLUMNS)), passes)


class Peak(threading.Thread):
    """Largest unique set size of any worker until the block ends, in bytes above the largest before it."""

    def __init__(self, name: str) -> None:
        super().__init__(daemon=True)
        self.engine = name
        self.before = self.peak = self.largest()
        self.over = threading.Event()

    def __enter__(self) -> Peak:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.join()

    def largest(self) -> int:
        sizes = [0]
        for process in workers(self.engine):
            with suppress(psutil.Error):
                sizes.append(process.memory_full_info().uss)
        return max(sizes)

    def run(self) -> None:
        while not self.over.wait(0.2):
            self.peak = max(self.peak, self.largest())

    @property
    def above(self) -> int:
        return self.peak - self.before


def overhead(name: str, megabytes: float, passes: int) -> str:
    X = np.random.default_rng(0).normal(size=(int(megabytes * 1e6 / 8 / COLUMNS), COLUMNS))
    with opened(name, 2) as engine:
        start_workers(engine)
        with Peak(name) as peak:
            start = time.perf_counter()
            with engine.open(X) as session:
                sent = time.perf_counter() - start
                outcomes = list(session.run(products, [passes] * TASKS))
            wall = time.perf_counter() - start
    assert len({outcome.value for outcome in outcomes}) == 1, "every task gives the same number"
    fits = sum(outcome.seconds for outcome in outcomes)
    return (
        f"{name:6} {X.nbytes / 1e6:.0f} MB: overhead {100 * (2 * wall / fits - 1):.1f} % of {fits:.0f} s of tasks, "
        f"sending takes {sent:.1f} s; memory of a worker {peak.above / X.nbytes:.2f} tables"
    )


def second_worker(name: str, seconds: float) -> str:
    walls = []
    for workers in (1, 2):
        with opened(name, workers) as engine:
            start_workers(engine)
            start = time.perf_counter()
            with engine.open(np.zeros(10)) as session:
                list(session.run(sleep, [seconds] * TASKS))
            walls.append(time.perf_counter() - start)
    return f"{name:6} tasks of {seconds:g} s: two workers ÷ one {walls[1] / walls[0]:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=500)
    parser.add_argument("--passes", type=int, default=10)
    parser.add_argument("--engines", default="local,dask")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    megabytes, passes, seconds = (options.megabytes, options.passes, 1.0) if not options.quick else (20, 5, 0.2)
    print("to reach: overhead ≤ 5 %, memory ≤ 1.3 tables, two workers ÷ one ≤ 0.55")
    for name in options.engines.split(","):
        print(overhead(name, megabytes, passes), flush=True)
        print(second_worker(name, seconds), flush=True)


if __name__ == "__main__":
    main()
