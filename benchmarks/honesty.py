"""Does the verdict hold on new rows? Simulated laws, many draws, each with a large sample of new rows.

python benchmarks/honesty.py [--law noise,linear,smooth,groups,regimes] [--draws 200] [--first 0] [--jobs 2]
python benchmarks/honesty.py --law stacking --draws 20

The experts are ridge, neighbours and extra_trees with 50 trees; 300 rows (regimes: 600; groups: 80 rows five times
each, with their groups). The laws: `noise` and `groups` have labels without information; `linear` is a linear function
with noise, so that nothing is better than ridge; `smooth` is additive without regimes; `regimes` are two linear laws on
either side of an oblique border. `stacking` fits ridge and neighbours to the linear law and compares `predict` with
scikit-learn's `StackingRegressor` on the same folds.

For each law this prints which candidates the verdict named, the claimed gain of `predict` over the simplest candidate
minus the real one on new rows, in mean paired standard errors, and the ratio of that standard error to the standard
deviation over draws.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import warnings
from collections import Counter
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.ensemble import ExtraTreesRegressor, StackingRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import KFold
from sklearn.neighbors import KNeighborsRegressor

from metamix import MixtureRegressor

NEW_ROWS = 3000
ROWS = {"regimes": 600}
LAWS = ("noise", "linear", "smooth", "groups", "regimes")
#: Candidates that hold: naming a richer one is a false claim.
ALLOWED = {
    "noise": {"mean of y"},
    "groups": {"mean of y"},
    "linear": {"mean of y", "best single"},
    "smooth": {"mean of y", "best single", "average", "convex", "stack", "feature-weighted stack"},
    "regimes": {"mixture", "stack with mixture"},
}


def draw(law: str, seed: int, rows: int | None = None) -> tuple[Any, ...]:
    """X, y, X_new, y_new and groups of one draw."""
    rng = np.random.default_rng([sum(map(ord, law)), seed])
    n = ROWS.get(law, 300) if rows is None else rows
    X = rng.normal(size=(n + NEW_ROWS, 5))
    noise, groups = rng.normal(size=n + NEW_ROWS), None
    if law in ("noise", "groups"):
        y = noise
    elif law in ("linear", "stacking"):
        y = X @ [1.0, 0.5, 0.25, 0.0, 0.0] + noise
    elif law == "smooth":
        y = 1.5 * np.sin(1.5 * X[:, 0]) + X[:, 1] + 0.5 * X[:, 2] ** 2 + noise
    else:
        X = rng.uniform(-1, 1, (n + NEW_ROWS, 5))
        first = X[:, 0] + 0.5 * X[:, 1] > 0
        y = np.where(first, 3 * X[:, 2] + X[:, 3], 2 * X[:, 4] - 3 * X[:, 2]) + 0.7 * noise
    X, y, X_new, y_new = X[:n], y[:n], X[n:], y[n:]
    if law == "groups":
        few = max(n // 4, 20) + 5 if rows is not None else 80
        X, y, groups = np.repeat(X[:few], 5, axis=0), np.repeat(y[:few], 5), np.repeat(np.arange(few), 5)
    return X, y, X_new, y_new, groups


def run(law: str, seed: int, rows: int | None = None) -> dict[str, Any]:
    """What the verdict says of one draw, and what is true of new rows."""
    warnings.simplefilter("ignore")
    X, y, X_new, y_new, groups = draw(law, seed, rows)
    experts = ["ridge", "neighbours", ("extra_trees", ExtraTreesRegressor(50))]
    mixture = MixtureRegressor(experts, random_state=seed).fit(X, y, groups=groups)
    table = mixture.candidates_.set_index("candidate")
    real = {name: _loss(found, y_new) for name, found in mixture._fitted.candidate_predictions(X_new).items()}
    verdict = mixture.verdict_
    simplest = "mean of y" if law in ("noise", "groups") else "best single"
    return {
        "winner": verdict.winner,
        "regimes": verdict.n_regimes,
        "error": verdict.gain.standard_error,
        "over_named": (verdict.gain.mean, real[verdict.winner] - real["blend"]),
        "over_simplest": (table["loss"][simplest] - table["loss"]["blend"], real[simplest] - real["blend"]),
        "ratio": _loss(mixture.predict(X_new), y_new) / real[simplest],
    }


def against_stacking(seed: int, rows: int | None = None) -> float:
    """Squared error of `predict` on new rows, divided by that of scikit-learn's stacking."""
    warnings.simplefilter("ignore")
    X, y, X_new, y_new, _ = draw("stacking", seed, rows)
    pool = [("ridge", Ridge()), ("neighbours", KNeighborsRegressor())]
    cv = KFold(5, shuffle=True, random_state=seed)
    ours = MixtureRegressor(pool, cv=cv, random_state=seed).fit(X, y)
    theirs = StackingRegressor(pool, cv=cv).fit(X, y)
    return _loss(ours.predict(X_new), y_new) / _loss(theirs.predict(X_new), y_new)


def _loss(predictions: Any, y: Any) -> float:
    return float(np.mean((predictions - y) ** 2))


def summary(law: str, draws: list[dict[str, Any]]) -> str:
    """Lines that say how honest the verdicts of one law were."""
    n = len(draws)
    named, regimes = Counter(one["winner"] for one in draws), Counter(one["regimes"] for one in draws)
    held = sum(count for name, count in named.items() if name in ALLOWED[law])
    wrong = "names the mixture or what contains it" if law == "regimes" else "claims that do not hold"
    lines = [
        f"{law}: {n} draws; {wrong}: {held if law == 'regimes' else n - held}",
        "    named: " + ", ".join(f"{name} {count}" for name, count in named.most_common()),
        "    regimes found: " + ", ".join(f"{K} in {count}" for K, count in regimes.most_common()),
    ]
    simplest = "mean of y" if law in ("noise", "groups") else "best single"
    error = np.array([one["error"] for one in draws])
    unit = error.mean() or 1.0
    claimed, real = np.array([one["over_named"] for one in draws]).T
    bias, scatter = (claimed - real).mean() / unit, (claimed - real).std() / np.sqrt(n) / unit
    ratio = np.sqrt(np.mean(error**2)) / claimed.std() if claimed.std() else np.nan
    lines.append(
        f"    gain of predict over the candidate named: claimed {claimed.mean():.4f}, real {real.mean():.4f}, standard "
        f"error {unit:.4f}; bias in standard errors {bias:+.2f} ± {scatter:.2f}; standard error ÷ deviation {ratio:.2f}"
    )
    claimed, real = np.array([one["over_simplest"] for one in draws]).T
    lines.append(
        f"    gain of predict over {simplest}: claimed {claimed.mean():.4f}, real {real.mean():.4f} "
        f"± {(claimed - real).std() / np.sqrt(n):.4f}; bias in the same standard errors "
        f"{(claimed - real).mean() / unit:+.2f} ± {(claimed - real).std() / np.sqrt(n) / unit:.2f}"
    )
    ratios = np.array([one["ratio"] for one in draws])
    lines.append(f"    predict ÷ {simplest} on new rows: {ratios.mean():.4f}, worst {ratios.max():.3f}")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--law", default=",".join(LAWS))
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="seed of the first draw")
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args(arguments)
    seeds = range(options.first, options.first + options.draws)
    for law in options.law.split(","):
        if law == "stacking":
            found = Parallel(options.jobs)(delayed(against_stacking)(seed, options.rows) for seed in seeds)
            error = np.std(found) / np.sqrt(len(found))
            print(
                f"linear, ridge and neighbours: predict ÷ scikit-learn's stacking {np.mean(found):.4f} ± {error:.4f}, "
                f"worst {max(found):.3f} of {len(found)} draws",
                flush=True,
            )
        else:
            draws = Parallel(options.jobs)(delayed(run)(law, seed, options.rows) for seed in seeds)
            print(summary(law, draws), flush=True)


if __name__ == "__main__":
    main()
