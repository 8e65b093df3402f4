"""Time of a mixture: prediction relative to its experts, and fitting relative to scikit-learn's stacking.

python benchmarks/prediction.py [--repeats 15] [--fits 5] [--quick]

Processor seconds of one thread in one process. The two sides alternate, and each ratio is of two consecutive times;
printed are the median ratio and its quartiles.
(a) specialize=False, five different experts: predict against the sum of the experts' own predictions;
(b) specialize=True, top_k=1, four experts of the same kind, 10,000 rows: predict against one expert and the gate;
(c) specialize=False: fit against StackingRegressor and StackingClassifier with the same experts and folds.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.ensemble import RandomForestRegressor, StackingClassifier, StackingRegressor
from sklearn.model_selection import KFold, StratifiedKFold

from metamix import MixtureClassifier, MixtureRegressor, make_regimes, registry

Array = NDArray[np.float64]

POOLS = {
    "regression": ["ridge", "lightgbm", "extra_trees", "neighbours", "svm"],
    "classification": ["logistic", "lightgbm", "extra_trees", "neighbours", "naive_bayes"],
}


def in_turn(repeats: int, *functions: Callable[[], object]) -> Array:
    """Processor seconds (repeats, functions) of functions called alternately, in reversed order every other time."""
    for function in functions:
        function()
    spent = np.zeros((repeats, len(functions)))
    for repeat in range(repeats):
        order = range(len(functions)) if repeat % 2 else reversed(range(len(functions)))
        for i in order:
            began = time.process_time()
            functions[i]()
            spent[repeat, i] = time.process_time() - began
    return spent


def told(letter: str, what: str, parts: dict[str, Array], ratio: Array, goal: str) -> float:
    """Print one comparison; return the median ratio."""
    seconds = ", ".join(f"{name} {np.median(spent):.3f} s" for name, spent in parts.items())
    low, middle, high = np.quantile(ratio, [0.25, 0.5, 0.75])
    print(f"({letter}) {what}: ratio {middle:.3f} [{low:.3f}, {high:.3f}], {goal}\n      {seconds}", flush=True)
    return float(middle)


def pool_of(task: str, trees: int | None = None) -> list[tuple[str, Any]]:
    """Unfitted experts by name, with seed and one thread as a mixture sets them."""
    known = registry.regressors if task == "regression" else registry.classifiers
    pool = [(name, known[name]()) for name in POOLS[task]]
    for _, part in pool:
        changes: dict[str, Any] = {}
        for key, value in part.get_params(deep=True).items():
            last = key.rpartition("__")[2]
            if last == "random_state":
                changes[key] = 0
            elif last == "n_jobs" and value is not None:
                changes[key] = 1
            elif last == "n_estimators" and trees is not None:
                changes[key] = trees
        part.set_params(**changes)
    return pool


def data(task: str, n: int, seed: int = 0) -> tuple[Any, Any]:
    return make_regimes(n, 10, 3, noise=0.3, task=task, random_state=seed)


def blended(task: str, n: int, repeats: int, trees: int | None) -> float:
    """(a): predict with every expert."""
    X, y = data(task, 2 * n)
    face = MixtureRegressor if task == "regression" else MixtureClassifier
    method = "predict" if task == "regression" else "predict_proba"
    mixture = face(pool_of(task, trees), specialize=False, random_state=0).fit(X[:n], y[:n])
    experts = mixture.experts_[: len(POOLS[task])]  # stacks and mean come after them
    spent = in_turn(
        repeats,
        lambda: getattr(mixture, method)(X[n:]),
        *[(lambda one=one: getattr(one, method)(X[n:])) for one in experts],
    )
    whole, own = spent[:, 0], spent[:, 1:].sum(axis=1)
    parts = {"mixture": whole, f"its {len(experts)} experts": own}
    return told("a", f"{task}, {n} rows", parts, whole / own, "to reach 1.05")


def routed(name: str, expert: Any, n: int, repeats: int) -> float:
    """(b): four experts of the same kind, each evaluated only on the rows where it has the largest weight."""
    X, y = data("regression", 2 * n)
    pool = [(f"{name} {k}", clone(expert)) for k in range(4)]
    mixture = MixtureRegressor(
        pool, specialize=True, top_k=1, start="kmeans", max_rounds=2, cv=2, random_state=0
    ).fit(X[:n], y[:n])  # fmt: skip
    leads = np.bincount(mixture.assign(X[n:]), minlength=4)
    spent = in_turn(
        repeats,
        lambda: mixture.predict(X[n:]),
        lambda: mixture.gate_.predict_proba(X[n:]),
        *[(lambda one=one: one.predict(X[n:])) for one in mixture.experts_],
        lambda: mixture.experts_[0].predict(X[n : n + 1]),
    )
    whole, gate, one, least = spent[:, 0], spent[:, 1], spent[:, 2:6].mean(axis=1), spent[:, -1]
    parts = {"mixture": whole, "one expert": one, "gate": gate, "one expert on one row": least}
    return told("b", f"four {name}, {n} rows (led {leads.tolist()})", parts, whole / (one + gate), "to reach 1.5")


def fitted(task: str, n: int, fits: int, trees: int | None) -> float:
    """(c): the whole fit, with the same experts and folds as scikit-learn's stacking."""
    X, y = data(task, n)
    pool = pool_of(task, trees)
    if task == "regression":
        cv: Any = KFold(5, shuffle=True, random_state=0)
        ours: Any = MixtureRegressor(pool, cv=cv, specialize=False, random_state=0)
        theirs: Any = StackingRegressor(pool, cv=cv)
    else:
        cv = StratifiedKFold(5, shuffle=True, random_state=0)
        ours = MixtureClassifier(pool, cv=cv, specialize=False, random_state=0)
        theirs = StackingClassifier(pool, cv=cv)
    spent = np.zeros((fits, 2))
    for repeat in range(fits):
        for which in (0, 1) if repeat % 2 else (1, 0):
            began = time.process_time()
            clone((ours, theirs)[which]).fit(X, y)
            spent[repeat, which] = time.process_time() - began
    whole, stacking = spent.T
    goal = "to reach 1.15" if np.median(stacking) > 5 else "under 5 s, so not counted"
    return told("c", f"fit, {task}, {n} rows", {"mixture": whole, "stacking": stacking}, whole / stacking, goal)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--fits", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="300 rows, few trees, once each: only that it runs")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows, repeats, fits = (300, 1, 1) if options.quick else (10_000, options.repeats, options.fits)
    trees = 10 if options.quick else None
    for task in POOLS:
        blended(task, rows // 2, repeats, trees)
    known = registry.regressors
    routed("lightgbm", known["lightgbm"](), rows, repeats)
    forest = RandomForestRegressor(trees or 100, min_samples_leaf=5, max_features=0.5, random_state=0, n_jobs=1)
    routed("forests", forest, rows, repeats)
    for task in POOLS:
        fitted(task, rows // 2, fits, trees)


if __name__ == "__main__":
    main()
