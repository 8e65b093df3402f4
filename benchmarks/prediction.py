"""Time of a mixture: prediction relative to its experts, and fitting relative to scikit-learn's stacking.

python benchmarks/prediction.py [--repeats 15] [--fits 5] [--only abcd] [--quick]

Processor seconds of one thread in one process. The two sides alternate, and each ratio is of two consecutive times;
printed are the median ratio and its quartiles.
(a) specialize=False, five different experts: predict against the sum of the experts' own predictions;
(b) specialize=True, top_k=1, four experts of the same kind, 10,000 rows: predict against one expert and the gate;
(c) specialize=False: fit against StackingRegressor and StackingClassifier with the same experts and folds;
(d) one row: predict against the sum of the one-row predictions of the experts that have weight in that row, those of
    the regimes of the mixture among them; arrays and frames (with a column of words and one with missing values), a
    pool of five experts, and two that are fast.
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
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.ensemble import RandomForestRegressor, StackingClassifier, StackingRegressor
from sklearn.model_selection import KFold, StratifiedKFold

from metamix import MixtureClassifier, MixtureRegressor, make_regimes, registry
from metamix.training.mixture import FittedMixture

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


def take_row(X: Any, i: int) -> Any:
    return X.iloc[[i]] if isinstance(X, pd.DataFrame) else X[i : i + 1]


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


def in_weight(fitted: Any, row: Any) -> list[Any]:
    """Models of the experts that have weight in a row, those of the regimes in place of the mixture."""
    found = []
    needed = fitted._first_level_needed(fitted.weights(row), False).any(axis=0)
    for column in (fitted.columns[k] for k in np.flatnonzero(needed)):
        inside = getattr(column.model, "_fitted", column.model)
        found += in_weight(inside, row) if isinstance(inside, FittedMixture) else [column.model]
    return found


def one_row(task: str, kind: str, names: list[str], specialize: Any, rows: int, repeats: int) -> float:
    """(d): a single row."""
    X, y = data(task, rows)
    if kind == "frame":
        X = pd.DataFrame(X, columns=[f"column {i}" for i in range(X.shape[1])])
        X["column 2"] = np.where(X["column 2"] > 0, "high", "low")
        X.loc[::17, "column 3"] = np.nan
    face = MixtureRegressor if task == "regression" else MixtureClassifier
    method = "predict" if task == "regression" else "predict_proba"
    mixture = face(names, specialize=specialize, random_state=0).fit(X, y)
    spent = []
    for i in range(min(20, rows)):
        row = take_row(X, i)
        experts = in_weight(mixture._fitted, row)
        pair = in_turn(
            repeats,
            lambda row=row: getattr(mixture, method)(row),
            lambda row=row, experts=experts: [getattr(one, method)(row) for one in experts],
        )
        spent.append(np.median(pair, axis=0))
    whole, own = np.array(spent).T * 1e3
    what = f"one row, {task}, {kind}, {', '.join(names)}{', specialised' if specialize else ''}"
    low, middle, high = np.quantile(whole / own, [0.25, 0.5, 0.75])
    print(f"(d) {what}: ratio {middle:.2f} [{low:.2f}, {high:.2f}], to reach 1.5")
    print(f"      mixture {np.median(whole):.2f} ms, experts that have weight {np.median(own):.2f} ms", flush=True)
    return float(middle)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--fits", type=int, default=5)
    parser.add_argument("--only", default="abcd", help="letters of the comparisons")
    parser.add_argument("--quick", action="store_true", help="300 rows, few trees, once each: only that it runs")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    rows, repeats, fits = (300, 1, 1) if options.quick else (10_000, options.repeats, options.fits)
    trees = 10 if options.quick else None
    if "a" in options.only:
        for task in POOLS:
            blended(task, rows // 2, repeats, trees)
    if "b" in options.only:
        routed("lightgbm", registry.regressors["lightgbm"](), rows, repeats)
        forest = RandomForestRegressor(trees or 100, min_samples_leaf=5, max_features=0.5, random_state=0, n_jobs=1)
        routed("forests", forest, rows, repeats)
    if "c" in options.only:
        for task in POOLS:
            fitted(task, rows // 2, fits, trees)
    if "d" in options.only:
        for task in POOLS:
            fast = [POOLS[task][0], "lightgbm"]
            for kind in ("array", "frame"):
                one_row(task, kind, fast, False, 300 if options.quick else 600, repeats)
                if not options.quick:
                    one_row(task, kind, POOLS[task], False, 600, repeats)
        if not options.quick:
            one_row("regression", "frame", ["ridge", "lightgbm"], True, 600, repeats)


if __name__ == "__main__":
    main()
