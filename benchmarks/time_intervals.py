"""From which held-out rows of a time order should the predictive distribution be learned?

python benchmarks/time_intervals.py [--draws 5] [--rows 150,400] [--series ar,drift,seasonal] [--quick]

Early folds of ``TimeSeriesSplit(5)`` are predicted by models of few rows, so that their errors are larger than those
of the model that predicts new rows. Series: `ar` follows its own last value and two columns, `drift` has slopes that
walk at random, `seasonal` has two seasons and a trend. Ridge, splines and extra trees are fitted once for each draw;
likelihood and recalibration are then learned from all folds alike, from the last one, the last two, the later half, or
with weights in proportion to the training rows or their square. Printed are the coverages of intervals of 50 % and 90 %
in the 200 rows that follow, the mean width of the latter, and how far they are from 90 % in the mean of the draws.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.model_selection import TimeSeriesSplit

from metamix import MixtureRegressor
from metamix.training.candidates import CandidateFit

NEW_ROWS = 200
#: Weight of each fold f of k, by its number and training rows.
RULES: dict[str, Callable[[int, int, Any], float]] = {
    "all": lambda f, k, rows: 1.0,
    "last": lambda f, k, rows: float(f == k - 1),
    "last 2": lambda f, k, rows: float(f >= k - 2),
    "later half": lambda f, k, rows: float(f >= k // 2),
    "rows": lambda f, k, rows: rows[f] / rows[-1],
    "rows²": lambda f, k, rows: (rows[f] / rows[-1]) ** 2,
}
learned: dict[str, tuple[Any, Any, Any]] = {}
own = CandidateFit._likelihood


def _by_every_rule(fit: Any, columns: Any, weights: Any) -> Any:
    """What a fit learns of the distribution, after what it would learn by each rule was kept."""
    folds = fit.folds
    rows = [len(train) for train, _ in folds.pairs]
    for name, rule in RULES.items():
        factor = np.array([*(rule(f, len(folds), rows) for f in range(len(folds))), 1.0])
        other = copy.copy(fit)
        other.problem = replace(fit.problem, sample_weight=fit.problem.weight * factor[folds.partition])
        likelihood, _, variance, calibration = own(other, columns, weights)
        learned[name] = likelihood, variance, calibration
    return own(fit, columns, weights)


def series(kind: str, seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """X and y of n rows in the order of time."""
    rng = np.random.default_rng([seed, len(kind)])
    t, X, noise = np.arange(n), rng.normal(size=(n, 4)), rng.standard_normal(n)
    if kind == "ar":
        y = np.zeros(n)
        for i in range(n):
            y[i] = 0.7 * y[max(i - 1, 0)] + np.sin(2 * X[i, 0]) + 0.5 * X[i, 1] + 0.5 * noise[i]
        return np.column_stack([np.append(0.0, y[:-1]), X]), y
    if kind == "drift":
        slopes = np.array([1.0, -1.0]) + np.cumsum(0.05 * rng.normal(size=(n, 2)), axis=0)
        return np.column_stack([X, t]), (slopes * X[:, :2]).sum(axis=1) + np.sin(2 * X[:, 2]) + 0.5 * noise
    long, short = t % 48, t % 7
    y = 2 * np.sin(2 * np.pi * long / 48) + 0.8 * (short >= 5) + X[:, 0] * np.cos(2 * np.pi * long / 48)
    return np.column_stack([long, short, X[:, :2], t]), y + 0.01 * t + 0.5 * noise


def coverages(kind: str, seed: int, n: int) -> np.ndarray:
    """Coverage of 50 % and 90 %, and width, by each rule: (rules, 3)."""
    X, y = series(kind, seed, n + NEW_ROWS)
    mixture = MixtureRegressor(
        ["ridge", "splines", "extra_trees"], cv=TimeSeriesSplit(5), specialize=False, gate="softmax", random_state=seed
    ).fit(X[:n], y[:n])
    fitted, found = mixture._fitted, []
    for likelihood, variance, calibration in learned.values():
        target = replace(fitted.targets[0], likelihood=likelihood, variance=variance, calibration=calibration)
        mixture._fitted = replace(fitted, targets=[target])
        ends = [mixture.predict_interval(X[n:], coverage) for coverage in (0.5, 0.9)]
        inside = [np.mean((low <= y[n:]) & (y[n:] <= high)) for low, high in (end.T for end in ends)]
        found.append([*inside, float(np.ptp(ends[1], axis=1).mean())])
    return np.array(found)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--rows", default="150,400")
    parser.add_argument("--series", default="ar,drift,seasonal")
    parser.add_argument("--quick", action="store_true", help="one draw of 100 rows of one series")
    words = parser.parse_args()
    if words.quick:
        words.draws, words.rows, words.series = 1, "100", "ar"
    warnings.simplefilter("ignore")
    CandidateFit._likelihood = _by_every_rule  # type: ignore[method-assign]
    print(f"{'':15}" + "".join(f"{rule:>24}" for rule in RULES))
    print(f"{'':15}" + "".join(f"{'50 %  90 % width   off':>24}" for _ in RULES))
    for n in map(int, words.rows.split(",")):
        for kind in words.series.split(","):
            found = np.array([coverages(kind, seed, n) for seed in range(words.draws)])
            mean, off = found.mean(axis=0), np.abs(found[:, :, 1] - 0.9).mean(axis=0)
            cells = (f"{a:8.2f}{b:6.2f}{w:6.2f}{o:6.3f}"[2:] for (a, b, w), o in zip(mean, off, strict=True))
            print(f"{kind:10}{n:5}" + "".join(f"{cell:>24}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
