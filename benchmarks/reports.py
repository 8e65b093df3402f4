"""What a report of many rows and experts costs beyond the fit, and how large the page is.

    python benchmarks/reports.py

50,000 rows of ten columns of numbers and two categories; twelve linear experts, which see three columns each. Once the
experts are combined by a gate, once they are the regimes of a mixture. Printed are seconds of CPU of the fit and of the
report, and the size of the page.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from metamix import MixtureRegressor, report
from metamix.gates import SoftmaxGate

EXPERTS = 12


def table(n: int) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """X, y and the planted regime (n,): twelve lines, in bands of the first column."""
    rng = np.random.default_rng(0)
    values = rng.uniform(size=(n, 10))
    X = pd.DataFrame(values, columns=[f"column {j}" for j in range(10)])
    X["city"] = rng.choice(["Rome", "Oslo", "Lima", "Kyiv"], n)
    X["kind"] = rng.choice(list("abcdefgh"), n)
    regime = np.minimum((EXPERTS * values[:, 0]).astype(int), EXPERTS - 1)
    slopes = rng.normal(size=(EXPERTS, 10))
    y = (slopes[regime] * values).sum(axis=1) + (X["city"] == "Rome") + 0.1 * rng.standard_normal(n)
    return X, np.asarray(y), regime


def mixtures(regime: np.ndarray) -> dict[str, MixtureRegressor]:
    """The mixtures by name, unfitted."""
    few = [(f"line {k}", "ridge", [f"column {(k + i) % 10}" for i in range(3)] + ["city"]) for k in range(EXPERTS)]
    alike = [(f"line {k}", "ridge") for k in range(EXPERTS)]
    gate = SoftmaxGate(penalty=0.1, max_iter=30)
    settings: dict[str, Any] = {"gate": gate, "cv": 2, "random_state": 0, "n_jobs": 1}
    return {
        "experts": MixtureRegressor(few, specialize=False, **settings),
        "regimes": MixtureRegressor(alike, specialize=True, start=regime, max_rounds=1, **settings),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--quick", action="store_true", help="2,000 rows")
    parser.add_argument("--profile", action="store_true", help="where the report spends its time")
    words = parser.parse_args()
    X, y, regime = table(2000 if words.quick else words.rows)
    print(f"{len(X)} rows, {EXPERTS} linear experts, seconds of CPU\n")
    print(f"{'':10}{'fit':>8}{'report':>8}{'MB':>8}")
    for name, mixture in mixtures(regime).items():
        began = time.process_time()
        mixture.fit(X, y)
        fitted = time.process_time()
        profile = cProfile.Profile()
        with tempfile.TemporaryDirectory() as folder:
            if words.profile:
                profile.enable()
            page = report(mixture, X, y, Path(folder, "page.html"))
            profile.disable()
            done = time.process_time()
            size = page.stat().st_size / 1e6
        print(f"{name:10}{fitted - began:8.1f}{done - fitted:8.1f}{size:8.2f}", flush=True)
        if words.profile:
            pstats.Stats(profile).sort_stats("cumulative").print_stats("metamix", 45)


if __name__ == "__main__":
    main()
