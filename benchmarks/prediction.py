"""What a mixture costs on top of its experts: predicting, and fitting beside scikit-learn's stacking.

python benchmarks/prediction.py [--repeats 15] [--fits 3] [--quick]

Processor seconds of one thread in one process. What is compared takes turns, and medians are compared:
(a) specialize=False, five different experts: predict against the sum of the experts' own predictions;
(b) specialize=True, top_k=1, four like experts, 10,000 rows: predict against one expert and the gate;
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
from statistics import median
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.ensemble import ExtraTreesRegressor, StackingClassifier, StackingRegressor
from sklearn.model_selection import KFold, StratifiedKFold

from metamix import MixtureClassifier, MixtureRegressor, make_regimes, registry

POOLS = {
    "regression": ["ridge", "lightgbm", "extra_trees", "neighbours", "svm"],
    "classification": ["logistic", "lightgbm", "extra_trees", "neighbours", "naive_bayes"],
}


def in_turn(repeats: int, *functions: Callable[[], object]) -> list[float]:
    """Median processor seconds of each function, called in turn, the order turned round every time."""
    for function in functions:
        function()
    spent: list[list[float]] = [[] for _ in functions]
    for repeat in range(repeats):
        order = range(len(functions)) if repeat % 2 else reversed(range(len(functions)))
        for i in order:
            began = time.process_time()
            functions[i]()
            spent[i].append(time.process_time() - began)
    return [median(seconds) for seconds in spent]


def pool_of(task: str, trees: int | None = None) -> list[tuple[str, Any]]:
    """Unfitted experts by name, seeded and single-threaded as a mixture would make them."""
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
    """(a): predicting with every expert."""
    X, y = data(task, 2 * n)
    face = MixtureRegressor if task == "regression" else MixtureClassifier
    method = "predict" if task == "regression" else "predict_proba"
    mixture = face(pool_of(task, trees), specialize=False, random_state=0).fit(X[:n], y[:n])
    experts = mixture.experts_[:-1]  # the last one is the stack, which asks the others
    whole, own = in_turn(
        repeats,
        lambda: getattr(mixture, method)(X[n:]),
        lambda: [getattr(expert, method)(X[n:]) for expert in experts],
    )
    asked = int((mixture.gate_weights(X[n:])[:, :-1] > 0).any(axis=0).sum())
    print(f"(a) {task:15} {n} rows: mixture {whole * 1e3:8.1f} ms, its {len(experts)} experts {own * 1e3:8.1f} ms, "
          f"ratio {whole / own:.3f} (to reach 1.05; {asked} experts have weight)")  # fmt: skip
    return whole / own


def routed(name: str, expert: Any, n: int, repeats: int) -> float:
    """(b): four like experts, each asked only where it leads."""
    X, y = data("regression", 2 * n)
    pool = [(f"{name} {k}", clone(expert)) for k in range(4)]
    mixture = MixtureRegressor(
        pool, specialize=True, top_k=1, start="kmeans", max_rounds=2, cv=2, random_state=0
    ).fit(X[:n], y[:n])  # fmt: skip
    leads = np.bincount(mixture.assign(X[n:]), minlength=4)
    timed = in_turn(
        repeats,
        lambda: mixture.predict(X[n:]),
        lambda: mixture.gate_.predict_proba(X[n:]),
        *[(lambda one=one: one.predict(X[n:])) for one in mixture.experts_],
    )
    whole, gate, one = timed[0], timed[1], float(np.mean(timed[2:]))
    print(f"(b) {name:15} {n} rows: mixture {whole * 1e3:8.1f} ms, one expert {one * 1e3:8.1f} ms and gate "
          f"{gate * 1e3:.1f} ms, ratio {whole / (one + gate):.3f} (to reach 1.5; rows led {leads.tolist()})")  # fmt: skip
    return whole / (one + gate)


def fitted(task: str, n: int, fits: int, trees: int | None) -> float:
    """(c): the whole fit, the same experts and folds as scikit-learn's stacking."""
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
    mixture, stacking = [], []
    for repeat in range(fits):
        for who in (ours, theirs) if repeat % 2 else (theirs, ours):
            began = time.process_time()
            clone(who).fit(X, y)
            (mixture if who is ours else stacking).append(time.process_time() - began)
    ratios = [a / b for a, b in zip(mixture, stacking, strict=True)]
    note = "to reach 1.15" if median(stacking) > 5 else "under 5 s: not counted"
    print(f"(c) {task:15} {n} rows: mixture {median(mixture):6.2f} s, stacking {median(stacking):6.2f} s, ratio "
          f"{median(mixture) / median(stacking):.3f} ({note}; by fit {' '.join(format(r, '.3f') for r in ratios)})")  # fmt: skip
    return median(mixture) / median(stacking)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--fits", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="300 rows, few trees, once each: only that it runs")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows, repeats, fits = (300, 1, 1) if options.quick else (10_000, options.repeats, options.fits)
    trees = 10 if options.quick else None
    for task in POOLS:
        blended(task, rows // 2, repeats, trees)
    known = registry.regressors
    routed("lightgbm", known["lightgbm"](**({"n_estimators": 10} if options.quick else {})), rows, repeats)
    routed("extra trees", ExtraTreesRegressor(trees or 100, min_samples_leaf=5, random_state=0), rows, repeats)
    for task in POOLS:
        fitted(task, rows // 2, fits, trees)


if __name__ == "__main__":
    main()
