"""Workers killed at random moments of a fit: predictions are those of an undisturbed fit, to the bit.

python benchmarks/kills.py [--fits 20] [--kills 5] [--engines local,dask] [--seed 0] [--quick]

Each fit of a small mixture of three experts loses one of its two workers by SIGKILL, so often as asked, at moments that
are drawn uniformly from the time that an undisturbed fit takes. The clock stands still while there is no worker. (Of
Dask, workers that have started: its nannies give up one that is killed while it starts.) Two experts sleep for a
moment, so that most kills fall into a task. Compared with an undisturbed serial fit: predictions, to the bit, and that
no expert was dropped.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import math
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
from metamix.engines import LocalEngine

#: Seconds between two looks at the workers.
STEP = 0.01


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


def running(engine: Any) -> list[psutil.Process]:
    """The workers of an engine that are ready."""
    if isinstance(engine, LocalEngine):
        return workers("local")
    nannies = [one for one in engine.client.cluster.workers.values() if one.process is not None]
    return [psutil.Process(one.pid) for one in nannies if one.process.status.name == "running" and one.pid]


class Killer(threading.Thread):
    """Kills a worker after each of these seconds, counted while there are workers, until it is told to end."""

    def __init__(self, engine: Any, moments: list[float], draw: random.Random) -> None:
        super().__init__(daemon=True)
        self.engine, self.moments, self.draw = engine, sorted(moments), draw
        self.worked = 0.0
        self.killed = 0
        self.end = threading.Event()

    def run(self) -> None:
        last = time.monotonic()
        while self.killed < len(self.moments):
            if self.end.wait(STEP):
                return
            now = time.monotonic()
            with suppress(psutil.Error):
                if found := running(self.engine):
                    self.worked += now - last
                    if self.worked >= self.moments[self.killed]:
                        self.draw.choice(found).send_signal(signal.SIGKILL)
                        self.killed += 1
            last = now


def fit_with(killer: Killer, X: Any, y: Any) -> MixtureRegressor:
    """A mixture that is fitted while the killer is at work."""
    killer.start()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return mixture().fit(X, y)
    finally:
        killer.end.set()
        killer.join()


def run(name: str, fits: int, kills: int, seed: int) -> tuple[int, int, int, int]:
    """Workers that were killed; fits that lost one, that gave the same predictions, and that lost no expert."""
    X, y = make_regimes(150, random_state=0)
    with use_engine("serial"):
        expected = mixture().fit(X, y).predict(X)
    draw = random.Random(seed)
    killed = disturbed = same = whole = 0
    with started(name, 2) as engine, use_engine(engine):
        fit_with(Killer(engine, [], draw), X, y)  # starts the workers
        undisturbed = Killer(engine, [math.inf], draw)
        fit_with(undisturbed, X, y)
        for _ in range(fits):
            killer = Killer(engine, [draw.uniform(0, undisturbed.worked) for _ in range(kills)], draw)
            fitted = fit_with(killer, X, y)
            killed += killer.killed
            disturbed += bool(killer.killed)
            same += bool(np.array_equal(fitted.predict(X), expected))
            whole += bool(fitted.failures_.empty)
    return killed, disturbed, same, whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=20)
    parser.add_argument("--kills", type=int, default=5, help="of each fit")
    parser.add_argument("--engines", default="local,dask")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="five fits, one kill each")
    options = parser.parse_args()
    fits, kills = (5, 1) if options.quick else (options.fits, options.kills)
    print("to reach: every fit the same")
    for name in options.engines.split(","):
        killed, disturbed, same, whole = run(name, fits, kills, options.seed)
        print(
            f"{name}: {fits} fits, {disturbed} lost a worker in the middle, {killed} workers killed; predictions equal "
            f"to the bit in {same}, no expert dropped in {whole}",
            flush=True,
        )


if __name__ == "__main__":
    main()
