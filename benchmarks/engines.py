"""Overhead of an engine over the fits that it runs, memory of its workers, and what a second worker brings.

python benchmarks/engines.py [--megabytes 500] [--passes 10] [--engines local,dask] [--quick]

Twelve equal tasks on two workers over one shared table: Gram matrices of blocks of its rows, which take no memory of
their own. Overhead is two workers × wall time (opening, tasks, closing) ÷ seconds inside the tasks, less one; and, for
machines that do other work too, processor time of all processes ÷ that inside the tasks, less one. Memory of a worker
is its unique set size (USS), sampled every 0.2 s, above what it was after a first session without data, in tables; a
page that both workers map from one file is not unique. Then twelve tasks that sleep for a second, on one worker and on
two: wall time of two ÷ that of one, which other work on the machine hardly changes, and the processor time per second
that all processes take meanwhile, which is no work of the tasks. Workers of Dask are processes on this machine.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import resource
import threading
import time
from contextlib import suppress
from typing import Any

import numpy as np
import psutil
from worker_processes import started, workers

TASKS, COLUMNS, BLOCK = 12, 50, 5000


def products(X: Any, passes: int) -> tuple[float, float]:
    """Gram matrices of blocks of rows, so often over: a number, and the processor time."""
    total, began = 0.0, time.thread_time()
    for _ in range(passes):
        for start in range(0, len(X), BLOCK):
            block = X[start : start + BLOCK]
            total += float((block.T @ block)[0, 0])
    return total, time.thread_time() - began


def sleep(_: Any, seconds: float) -> None:
    time.sleep(seconds)


def start_workers(engine: Any) -> None:
    """Have both workers load what they need."""
    with engine.open(np.zeros(10)) as session:
        list(session.run(sleep, [0.2] * 8))
        list(session.run(products_of_ones, [1] * 8))


def products_of_ones(_: Any, passes: int) -> None:
    products(np.ones((BLOCK, COLUMNS)), passes)


def processor_time() -> float:
    """Seconds of this process and of all that it has started, ended or not."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = time.process_time() + ended.ru_utime + ended.ru_stime
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            total += sum(process.cpu_times()[:2])
    return total


class Peak(threading.Thread):
    """Largest unique set size of any worker until the block ends, in bytes above the largest before it."""

    def __init__(self, name: str) -> None:
        super().__init__(daemon=True)
        self.engine = name
        self.seconds = 0.0  # processor time of this thread
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
            self.seconds = time.thread_time()

    @property
    def above(self) -> int:
        return self.peak - self.before


def overhead(name: str, megabytes: float, passes: int) -> str:
    X = np.random.default_rng(0).normal(size=(int(megabytes * 1e6 / 8 / COLUMNS), COLUMNS))
    with started(name, 2) as engine:
        start_workers(engine)
        with Peak(name) as peak:
            start, before = time.perf_counter(), processor_time() - peak.seconds
            with engine.open(X) as session:
                sent = time.perf_counter() - start
                outcomes = list(session.run(products, [passes] * TASKS))
            wall, work = time.perf_counter() - start, processor_time() - peak.seconds - before
    assert len({outcome.value[0] for outcome in outcomes}) == 1, "every task gives the same number"
    fits, inside = (sum(values) for values in zip(*((each.seconds, each.value[1]) for each in outcomes), strict=True))
    return (
        f"{name:6} {X.nbytes / 1e6:.0f} MB: overhead {100 * (2 * wall / fits - 1):.1f} % of {fits:.0f} s of tasks, of "
        f"which sending {sent:.1f} s; in processor time {100 * (work / inside - 1):.1f} % of {inside:.0f} s; memory of "
        f"a worker {peak.above / X.nbytes:.2f} tables"
    )


def second_worker(name: str, seconds: float) -> str:
    walls = []
    for n_workers in (1, 2):
        with started(name, n_workers) as engine:
            start_workers(engine)
            start, before = time.perf_counter(), processor_time()
            with engine.open(np.zeros(10)) as session:
                list(session.run(sleep, [seconds] * TASKS))
            walls.append(time.perf_counter() - start)
            idle = (processor_time() - before) / walls[-1]
    return (
        f"{name:6} tasks of {seconds:g} s: two workers ÷ one {walls[1] / walls[0]:.3f}; processor time while two sleep "
        f"{idle:.3f} s a second"
    )


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
