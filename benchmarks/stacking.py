"""metamix against scikit-learn's stacking with the same experts, folds and seed, on real and simulated tables.

python benchmarks/stacking.py [--specialize auto|False] [--splits 3] [--jobs 2] [--tables choosing|judging|a,b]

Prints for each table the ratio of RMSE (or log-loss) on test rows, averaged over splits, with its paired standard
error; the same against the best single expert, by out-of-fold loss; and the ratios of fit and predict times, measured
in one process with one thread. `choosing` are the tables on which rules were chosen, `judging` the others.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import time
import warnings
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.ensemble import StackingClassifier, StackingRegressor
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.preprocessing import LabelEncoder
from tables import CHOOSING, CLASSIFICATION, JUDGING, POOLS, split

from metamix import MixtureClassifier, MixtureRegressor, registry


def timed(function: Any, *arguments: Any) -> tuple[Any, float]:
    began = time.process_time()
    return function(*arguments), time.process_time() - began


def losses(y: Any, answer: Any, classes: Any) -> np.ndarray:
    if classes is None:
        return (y - answer) ** 2
    place = {label: c for c, label in enumerate(classes)}
    given = [answer[i, place[label]] if label in place else 0.0 for i, label in enumerate(y)]
    return -np.log(np.clip(given, 1e-6, 1))


def run(name: str, seed: int, specialize: Any) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    X, X_test, y, y_test = split(name, seed)
    task = "classification" if name in CLASSIFICATION else "regression"
    known = registry.regressors if task == "regression" else registry.classifiers
    pool = [(part, known[part]()) for part in POOLS[task]]
    for _, part in pool:
        seeds = {key: seed for key in part.get_params() if key.endswith("random_state")}
        part.set_params(**seeds)
    if task == "regression":
        cv, classes = KFold(5, shuffle=True, random_state=seed), None
        ours: Any = MixtureRegressor(pool, cv=cv, specialize=specialize, random_state=seed)
        theirs: Any = StackingRegressor(pool, cv=cv)
    else:
        cv, classes = StratifiedKFold(5, shuffle=True, random_state=seed), LabelEncoder().fit(y).classes_
        ours = MixtureClassifier(pool, cv=cv, specialize=specialize, random_state=seed)
        theirs = StackingClassifier(pool, cv=cv)
    _, their_fit = timed(theirs.fit, X, y)
    _, our_fit = timed(ours.fit, X, y)
    method = "predict" if task == "regression" else "predict_proba"
    their_answer, their_predict = timed(getattr(theirs, method), X_test)
    our_answer, our_predict = timed(getattr(ours, method), X_test)
    a, b = losses(y_test, our_answer, classes), losses(y_test, their_answer, classes)
    single = ours.predict_experts(X_test)[:, list(ours.named_experts_).index(ours.verdict_.best_single)]
    c = losses(y_test, single, classes)
    root = 0.5 if task == "regression" else 1.0
    gap = a - b
    return {
        "name": name,
        "ratio": (a.mean() / b.mean()) ** root,
        "z": gap.mean() / (gap.std() / np.sqrt(len(gap)) + 1e-300),
        "gap": gap.mean() / b.mean() * root,
        "se": gap.std() / np.sqrt(len(gap)) / b.mean() * root,
        "single": (a.mean() / c.mean()) ** root,
        "single_se": (a - c).std() / np.sqrt(len(c)) / c.mean() * root,
        "fit": our_fit / their_fit,
        "their_fit": their_fit,
        "predict": our_predict / their_predict,
        "scaled": np.sqrt(a.mean()) / np.std(y_test) if task == "regression" else np.nan,
        "verdict": ours.verdict_.winner,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--specialize", default="auto", choices=["auto", "False"])
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--tables", default=",".join([*CHOOSING, "two_regimes", "three_regimes"]))
    options = parser.parse_args()
    specialize = "auto" if options.specialize == "auto" else False
    names = {"choosing": CHOOSING, "judging": JUDGING}.get(options.tables, options.tables.split(","))
    rows = Parallel(n_jobs=options.jobs, return_as="generator")(
        delayed(run)(name, seed, specialize) for name in names for seed in range(options.splits)
    )
    header = f"{'table':20} {'ratio':>7} {'± se':>7} {'by split':>22} {'÷ single':>8} {'± se':>6} {'fit ×':>6}"
    print(header + f" {'stack s':>8} {'predict ×':>9}  verdicts")
    ratios, singles, every_fit, worse, fits = {}, {}, [], [], []
    for name in names:
        found = [next(rows) for _ in range(options.splits)]
        ratio = np.mean([one["ratio"] for one in found])
        # Splits share rows and are not independent, so their standard errors are averaged.
        error = np.mean([one["se"] for one in found])
        ratios[name] = ratio
        mean = {key: np.mean([one[key] for one in found]) for key in ("single", "single_se", "fit", "their_fit")}
        singles[name] = (mean["single"], mean["single_se"])
        every_fit += [one["fit"] for one in found]
        fits += [one["fit"] for one in found if one["their_fit"] > 5]
        if ratio > 1.015 and ratio - 1 > 2 * error:
            worse.append(name)
        print(
            f"{name:20} {ratio:7.3f} {error:7.3f} {' '.join(format(one['ratio'], '.3f') for one in found):>22} "
            f"{mean['single']:8.3f} {mean['single_se']:6.3f} {mean['fit']:6.2f} {mean['their_fit']:8.1f} "
            f"{np.mean([one['predict'] for one in found]):9.2f}  {', '.join(one['verdict'] for one in found)}"
            + (f"  RMSE/std {np.mean([one['scaled'] for one in found]):.3f}" if "regimes" in name else ""),
            flush=True,
        )
    ordinary = [ratio for name, ratio in ratios.items() if "regimes" not in name]
    if ordinary:
        print(f"geometric mean over {len(ordinary)} tables: {np.exp(np.mean(np.log(ordinary))):.4f}, worst "
              f"{max(ordinary):.3f}; above 1 by 1.5 % and two standard errors: {worse or 'none'}")  # fmt: skip
        print(f"fit time: {np.exp(np.mean(np.log(every_fit))):.2f} × stacking (geometric mean)")
    lost = [name for name, (ratio, error) in singles.items() if ratio > 1.03 and ratio - 1 > 2 * error]
    worst = max(ratio for ratio, _ in singles.values())
    print(f"÷ the best single expert: worst {worst:.3f}; above 1 by 3 % and two standard errors: {lost or 'none'}")
    if fits:
        print(f"fit time where stacking takes over 5 s: {np.median(fits):.2f} × (median), {max(fits):.2f} × (most)")


if __name__ == "__main__":
    main()
