"""Do weights of recent rows choose and combine better in a time order? Planted series and real ones.

python benchmarks/time_order.py [--draws 3] [--positions 0.5,1] [--jobs 2]
python benchmarks/time_order.py --variants candidates,number --draws 5 --first 3 --positions 0.2,0.4,0.6,0.8

Each window is 800 rows to learn from and the 200 that follow, at these positions of a real series. The experts are
ridge, splines, neighbours and extra_trees of 30 trees, without the specialised mixture, with a softmax gate and
`cv=TimeSeriesSplit(5)`. The variants, whose squared error on the rows that follow is divided by that of even weights:

* `candidates`: experts are fitted evenly; candidates and blend are chosen with weights that halve every quarter
  (`h=1/4`) or half (`h=1/2`) of the series, the last rows weighing most;
* `everything`: the same weights as `sample_weight` of the whole fit;
* `shuffled`: even weights and five shuffled folds;
* `number`: the number of the row is a column besides, as a time would be.

Planted: `stationary` (a smooth law), `drift` (linear coefficients on a random walk), `change` (another law from 60 % of
the rows on), `trend` (a line in time besides a smooth law, with the time among the columns). Geometric means over
windows or draws, and over series.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import warnings
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.model_selection import TimeSeriesSplit
from tables import SHARED, module

from metamix import MixtureRegressor, fit_predictions
from metamix.experts.regressors import extra_trees

EXPERTS = ["ridge", "splines", "neighbours", ("trees", extra_trees(n_estimators=30))]
REAL = ["bike_hourly", "seoul_bike", "toulouse_bikes", "stock", "debutanizer", "chicago_l", "wind_ireland"]
PLANTED = ["stationary", "drift", "change", "trend"]
N_TRAIN, N_TEST = 800, 200


def planted(law: str, seed: int, n: int = N_TRAIN + N_TEST) -> tuple[Any, Any]:
    """X (n, 4) and y (n,) in time order."""
    rng = np.random.default_rng(seed)
    X, t = rng.normal(size=(n, 4)), np.linspace(0, 1, n)
    smooth = np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] ** 2 - X[:, 2]
    if law == "drift":
        walk = rng.normal(size=3) + np.cumsum(rng.normal(0, 2 / np.sqrt(n), (n, 3)), axis=0)
        y = (X[:, :3] * walk).sum(axis=1)
    elif law == "change":
        y = np.where(t < 0.6, smooth, 2 * X[:, 0] + X[:, 3])
    elif law == "trend":
        X[:, 3] = t
        y = smooth + 3 * t
    else:
        y = smooth
    return X, y + 0.5 * rng.normal(size=n)


def series(name: str, place: float) -> tuple[Any, Any]:
    """X and y of one draw, or of the window at one position, 0 to 1, of a real series."""
    if name in PLANTED:
        return planted(name, int(place))
    X, y, _ = module(SHARED / "data" / "load.py").load(name)
    n = min(N_TRAIN + N_TEST, len(y))
    begin = int((len(y) - n) * place)
    return X.iloc[begin : begin + n].reset_index(drop=True), y.to_numpy(dtype=float)[begin : begin + n]


def recency(n: int, half_life: float) -> Any:
    """Weights (n,) that halve every `half_life` of the series, the last one."""
    return 0.5 ** (np.arange(n)[::-1] / (half_life * n))


def losses(name: str, place: float, variants: list[str]) -> dict[str, float]:
    """Squared error of each variant on the rows that follow."""
    warnings.simplefilter("ignore")
    X, y = series(name, place)
    n = int(0.8 * len(y))
    y_train, y_test = y[:n], y[n:]
    folds = TimeSeriesSplit(5)

    def fit(table: Any, cv: Any = folds, weight: Any = None) -> tuple[Any, Any]:
        """A mixture fitted to the first rows of a table, and the rows that follow."""
        rows = table.iloc if hasattr(table, "iloc") else table
        mixture = MixtureRegressor(EXPERTS, cv=cv, specialize=False, gate="softmax", random_state=0)
        return mixture.fit(rows[:n], y_train, sample_weight=weight), rows[n:]

    even, X_test = fit(X)
    found = {"even": even.predict(X_test)}
    known = {name: even.oof_predictions_[:, k] for k, name in enumerate(list(even.named_experts_)[: len(EXPERTS)])}
    new = dict(zip(known, even.predict_experts(X_test).T, strict=False))
    for text, half_life in (("1/2", 0.5), ("1/4", 0.25)):
        weight = recency(n, half_life)
        if "candidates" in variants:
            rows = X.iloc[:n] if hasattr(X, "iloc") else X[:n]
            given = fit_predictions(
                known, rows, y_train, cv=folds, sample_weight=weight, gate="softmax", random_state=0
            )
            found[f"candidates h={text}"] = given.predict(X_test, predictions=new)
        if "everything" in variants:
            whole, _ = fit(X, weight=weight)
            found[f"everything h={text}"] = whole.predict(X_test)
    if "shuffled" in variants:
        found["shuffled"] = fit(X, cv=5)[0].predict(X_test)
    if "number" in variants:
        number = np.arange(len(y), dtype=float)
        numbered, later = fit(X.assign(number=number) if hasattr(X, "assign") else np.column_stack([X, number]))
        found["number"] = numbered.predict(later)
    return {variant: float(np.mean((values - y_test) ** 2)) for variant, values in found.items()}


def main(arguments: list[str] | None = None) -> None:
    """Print the ratio of each variant to even weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--variants", default="candidates,everything,shuffled")
    parser.add_argument("--positions", default="0.5,1")
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="one draw of two planted series")
    options = parser.parse_args(arguments)
    places = {name: [float(options.first + i) for i in range(options.draws)] for name in PLANTED}
    places |= {name: [float(place) for place in options.positions.split(",")] for name in REAL}
    places["stock"] = places["stock"][-1:]  # all of its rows are one window
    if options.quick:
        places = {"stationary": [0.0], "drift": [0.0]}
    work = [(name, place) for name, some in places.items() for place in some]
    done = Parallel(n_jobs=options.jobs)(delayed(losses)(*one, options.variants.split(",")) for one in work)
    variants = [variant for variant in done[0] if variant != "even"]
    print(f"{'':16}" + "".join(f"{variant:>18}" for variant in variants))
    logs = {}
    for name in places:
        rows = [one for (known, _), one in zip(work, done, strict=True) if known == name]
        logs[name] = np.log([[one[variant] / one["even"] for variant in variants] for one in rows])
        print(f"{name:16}" + "".join(f"{ratio:18.3f}" for ratio in np.exp(logs[name].mean(axis=0))))
    for kind, names in (("planted", PLANTED), ("real", REAL)):
        means = np.array([logs[name].mean(axis=0) for name in names if name in logs])
        if len(means):
            print(f"{kind:16}" + "".join(f"{ratio:18.3f}" for ratio in np.exp(means.mean(axis=0))))
        if len(means) > 1:
            errors = means.std(axis=0, ddof=1) / np.sqrt(len(means))
            print(f"{'  ± (of the log)':16}" + "".join(f"{error:18.3f}" for error in errors))


if __name__ == "__main__":
    main()
