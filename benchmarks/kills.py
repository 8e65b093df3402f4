"""Workers killed at random moments of a fit: predictions are those of an undisturbed fit, to the bit.

python benchmarks/kills.py [--fits 20] [--engines local,dask] [--seed 0] [--quick]

Each fit of a small mixture of three experts loses one of its two workers by SIGKILL, at a moment drawn uniformly from
the time that an undisturbed fit by the same engine takes. Two experts sleep for a moment, so that most kills fall into
a task. Compared with an undisturbed serial fit: predictions, to the bit, and that no expert was dropped.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import random
import signal
import threading
import time
import warnings
from contextlib import suppress
from typing import Any

import numpy as np
import psutil
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import Ridge
from sklearn.tree import DecisionTreeRegressor
from worker_processes import started, workers

from metamix import MixtureRegressor, make_regimes, use_engine


class Slow(RegressorMixin, BaseEstimator):
    """Another regressor, after a short sleep."""

    def __init__(self, regressor: Any = None, seconds: float = 0.05) -> None:
        self.regressor = regressor
        self.seconds = seconds

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Slow:
        time.sleep(self.seconds)
        self.regressor_ = self.regressor.fit(X, y, sample_weight)
        return self

    def predict(self, X: Any) -> Any:
        return self.regressor_.predict(X)


def mixture() -> MixtureRegressor:
    experts = [
        ("ridge", Slow(Ridge())),
        ("tree", Slow(DecisionTreeRegressor(max_depth=3, random_state=0))),
        ("deep", DecisionTreeRegressor(random_state=0)),
    ]
    return MixtureRegressor(experts, cv=3, max_rounds=3, n_experts=2, random_state=0, n_jobs=2)


def kill_after(name: str, seconds: float, draw: random.Random, killed: list[int]) -> threading.Timer:
    """Start a timer that kills one worker."""

    def kill() -> None:
        with suppress(psutil.Error):
            if found := workers(name):
                victim = draw.choice(found)
                victim.send_signal(signal.SIGKILL)
                killed.append(victim.pid)

    timer = threading.Timer(seconds, kill)
    timer.start()
    return timer


def run(name: str, fits: int, seed: int) -> tuple[int, int, int]:
    """Fits that were disturbed, that gave the same predictions, and that lost no expert."""
    X, y = make_regimes(150, random_state=0)
    with use_engine("serial"):
        expected = mixture().fit(X, y).predict(X)
    draw = random.Random(seed)
    disturbed = same = whole = 0
    with started(name, 2) as engine, use_engine(engine):
        mixture().fit(X, y)  # starts the workers
        start = time.monotonic()
        mixture().fit(X, y)
        usual = time.monotonic() - start
        for _ in range(fits):
            killed: list[int] = []
            timer = kill_after(name, draw.uniform(0, usual), draw, killed)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                fitted = mixture().fit(X, y)
            timer.cancel()
            timer.join()
            disturbed += bool(killed)
            same += bool(np.array_equal(fitted.predict(X), expected))
            whole += bool(fitted.failures_.empty)
    return disturbed, same, whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=20)
    parser.add_argument("--engines", default="local,dask")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="five fits")
    options = parser.parse_args()
    fits = 5 if options.quick else options.fits
    print("to reach: every fit the same")
    for name in options.engines.split(","):
        disturbed, same, whole = run(name, fits, options.seed)
        print(
            f"{name}: {fits} fits, {disturbed} lost a worker in the middle; predictions equal to the bit in {same}, "
            f"no expert dropped in {whole}",
            flush=True,
        )


if __name__ == "__main__":
    main()
