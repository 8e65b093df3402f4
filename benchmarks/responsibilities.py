"""Responsibilities and combined weights of many rows beside one pass of scipy's log-sum-exp over the same array.

`python benchmarks/responsibilities.py` takes 10,000,000 rows and 8 experts; `--rows` is another number. Each part runs
in a process of its own, which says its processor time and by how much memory grew beyond the arrays given.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time

import numpy as np

K = 8
PARTS = ("log-sum-exp", "responsibilities", "gate's weights")


def run(part: str, n: int) -> None:
    from scipy.special import logsumexp

    from metamix.gates import SoftmaxGate
    from metamix.recombination import posterior

    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2))
    gate = SoftmaxGate().fit(x, np.eye(K)[rng.integers(K, size=500)])
    if part == PARTS[2]:
        x = rng.normal(size=(n, 2))
        work = gate.predict_proba
        given: tuple = (x,)
    else:
        log_prob = rng.normal(size=(n, K))
        given = (log_prob,) if part == PARTS[0] else (np.full((n, K), 1 / K), log_prob)
        work = (lambda table: logsumexp(table, axis=1)) if part == PARTS[0] else posterior
    work(*(one[:1000] for one in given))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    found = work(*given)
    passed = time.process_time() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert len(found[0] if isinstance(found, tuple) else found) == n
    print(passed, grown / (8 * n * K))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--part", choices=PARTS)
    given = parser.parse_args()
    if given.part is not None:
        run(given.part, given.rows)
        return
    base = None
    print(
        f"{given.rows} rows, {K} experts; memory beyond the arrays given, in arrays of {8e-6 * given.rows * K:.0f} MB"
    )
    for part in PARTS:
        words = [sys.executable, __file__, "--rows", str(given.rows), "--part", part]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        seconds, arrays = map(float, done.stdout.split())
        base = base or seconds
        print(
            f"{part:18s} {seconds:7.2f} s of the processor, {seconds / base:5.2f} ×, memory {arrays:.2f} arrays",
            flush=True,
        )


if __name__ == "__main__":
    main()
