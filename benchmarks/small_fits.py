"""Many small fits: failures, agreement with published optima over seeds, and false positives of the verdict "gated".

python benchmarks/small_fits.py [fits] [likelihoods] [verdicts] [--seeds 20] [--draws 200] [--specialize auto] [--quick]

`fits`: `MixtureRegressor(["linear"], n_experts=K)` on three cases × n in 50, 100, 200 × K in 2, 3, 5 × seeds. A fit
fails if it raises, drops an expert, predicts a number that is not finite, or has gate weights that do not sum to one;
warnings are counted separately. `likelihoods`: EM in sample (`cv=None`) on two published data sets, one fit per seed.
`verdicts`: the columns of the gate are noise, so the verdict should rarely be "gated". `--specialize True` fits only
the specialised mixture in `fits`, `False` leaves it out in `verdicts`. Data and cases are read from the folder `shared`
next to the repository. `--quick` uses n = 50, K = 2, one seed and three draws, to test that the script runs.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse
import logging
import time
import warnings
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from tables import SHARED, module

from metamix import MixtureRegressor
from metamix.gates import SoftmaxGate

FOLDER = SHARED / "acceptance"
SIZES, REGIMES = (50, 100, 200), (2, 3, 5)
logging.getLogger("metamix").setLevel(logging.ERROR)
# Log-likelihoods at the optimum, found by two statistical packages.
PUBLISHED = {"npreg": -642.532, "tempanomalies": 102.943}
CLOSE = 1e-3
SHARE_GATED = 0.05


def fault(X: Any, y: Any, X_test: Any, settings: dict[str, Any]) -> str:
    """Description of what is wrong with one fit; empty if nothing is."""
    try:
        fitted = MixtureRegressor(["linear"], **settings).fit(X, y)
        answers, weights = fitted.predict(X_test), fitted.gate_weights(X_test)
    except Exception as error:  # any error counts as a failure
        return f"{type(error).__name__}: {error}"
    if len(fitted.failures_):
        return f"an expert failed: {fitted.failures_['error'].iloc[0]}"
    if not np.isfinite(answers).all():
        return "answers that are not finite"
    return "" if np.allclose(weights.sum(axis=1), 1) else "weights that do not sum to one"


def fits(seeds: int, specialize: Any, quick: bool) -> int:
    """Number of fits that failed."""
    cases = module(FOLDER / "cases.py")
    draws = {
        "three_modes": cases.three_modes,
        "l1_norm(d=2)": lambda n, seed: cases.l1_norm(n, 2, seed),
        "l1_norm(d=5)": lambda n, seed: cases.l1_norm(n, 5, seed),
    }
    faults: Counter[str] = Counter()
    warned: Counter[str] = Counter()
    count, began = 0, time.perf_counter()
    for name, draw in draws.items():
        for n in SIZES[:1] if quick else SIZES:
            for K in REGIMES[:1] if quick else REGIMES:
                for seed in range(seeds):
                    X, y, X_test, _ = draw(n, seed)
                    settings = {"n_experts": K, "specialize": specialize, "random_state": seed}
                    with warnings.catch_warnings(record=True) as caught:
                        warnings.simplefilter("always")
                        wrong = fault(X, y, X_test, settings)
                    count += 1
                    warned.update({f"{one.category.__name__}: {one.message}" for one in caught})
                    if wrong:
                        faults[wrong] += 1
                        print(f"  {name}, n={n}, K={K}, seed {seed}: {wrong}", flush=True)
    print(f"fits: {faults.total()} of {count} failed (to reach 0), {warned.total()} warnings; "
          f"{time.perf_counter() - began:.0f} s")  # fmt: skip
    for text, times in warned.most_common(5):
        print(f"  {times} × {text.splitlines()[0][:100]}")
    return faults.total()


def quadratic() -> Any:
    return make_pipeline(PolynomialFeatures(2, include_bias=False), LinearRegression())


def likelihoods(seeds: int) -> int:
    """Number of seeds that did not reach the published optimum."""
    missed = 0
    npreg = pd.read_csv(FOLDER / "npreg.csv")
    anomalies = pd.read_csv(FOLDER / "tempanomalies.csv")
    sets = {
        "npreg": (npreg[["x"]].to_numpy(), npreg["y"].to_numpy(), [quadratic(), quadratic()], "constant"),
        "tempanomalies": (
            anomalies[["year"]].to_numpy(dtype=float),
            anomalies["anomaly"].to_numpy(),
            [LinearRegression(), LinearRegression()],
            SoftmaxGate(penalty=0),
        ),
    }
    for name, (X, y, experts, gate) in sets.items():
        found, began = [], time.perf_counter()
        for seed in range(seeds):
            mixture = MixtureRegressor(experts, gate=gate, cv=None, random_state=seed).fit(X, y)
            found.append(float(mixture.log_prob(X, y).sum()))
        away = int(sum(abs(value - PUBLISHED[name]) > CLOSE for value in found))
        missed += away
        seconds = time.perf_counter() - began
        print(f"{name}: log-likelihood {min(found):.4f} … {max(found):.4f} over {seeds} seeds, {away} of them not "
              f"within {CLOSE:g} of {PUBLISHED[name]} (to reach 0); {seconds:.0f} s", flush=True)  # fmt: skip
    return missed


def uninformed(seed: int, n: int) -> tuple[Any, Any]:
    """A single regime with homoscedastic noise; the last two columns are independent of y."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4))
    return X, X[:, 0] + np.sin(2 * X[:, 1]) + 0.5 * rng.normal(size=n)


def verdicts(draws: int, n: int, specialize: Any) -> int:
    """Number of draws with the verdict "gated"."""
    winners: Counter[str] = Counter()
    began = time.perf_counter()
    for seed in range(draws):
        X, y = uninformed(seed, n)
        mixture = MixtureRegressor(
            ["linear", "neighbours"], gate_features=[2, 3], specialize=specialize, random_state=seed
        ).fit(X, y)
        winners[mixture.verdict_.winner] += 1
    listed = ", ".join(f"{name} {times}" for name, times in winners.most_common())
    share = 100 * winners["gated"] / draws
    print(f"verdicts: gated in {share:.1f} % of {draws} draws of {n} rows (to reach ≤ {100 * SHARE_GATED:g} %); "
          f"{listed}; {time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip
    return winners["gated"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ["fits", "likelihoods", "verdicts"]
    parser.add_argument("parts", nargs="*", default=parts, metavar="PART", help=", ".join(parts))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--rows", type=int, default=200, help="rows of a draw of `verdicts`")
    parser.add_argument("--specialize", choices=["auto", "True", "False"], help="by default auto, False for verdicts")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(parts):
        parser.error(f"{', '.join(sorted(unknown))} is no part of this; give {', '.join(parts)}.")
    chosen = {"True": True, "False": False, "auto": "auto", None: None}[options.specialize]
    seeds, draws = (1, 3) if options.quick else (options.seeds, options.draws)
    missed = 0
    if "fits" in options.parts:
        missed += fits(seeds, "auto" if chosen is None else chosen, options.quick)
    if "likelihoods" in options.parts:
        missed += likelihoods(seeds)
    if "verdicts" in options.parts:
        found = verdicts(draws, options.rows, False if chosen is None else chosen)
        missed += found > SHARE_GATED * draws and not options.quick  # three draws say nothing about five per cent
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
