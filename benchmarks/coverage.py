"""Do prediction intervals hold as many new rows as they say? Default fits on simulated laws, judged on new rows.

python benchmarks/coverage.py [--draws 3] [--rows 300] [--experts ridge,splines,kriging,extra_trees,boosting] [--jobs 1]
python benchmarks/coverage.py --quick

Five laws: `linear` and `smooth` have normal noise, `heavy` is smooth with Student-t noise of three degrees of freedom,
`uneven` has noise whose scale depends on x, and `regimes` are two linear laws on either side of an oblique border. For
each draw a mixture is fitted with its defaults, and its central intervals of 50 % and 90 % are compared with 2,000 new
rows, beside the intervals of the same mixture without recalibration. Printed are the coverages of each fit and their
means.
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

from metamix import MixtureRegressor
from metamix.distributions import interval

LAWS = ("linear", "smooth", "heavy", "uneven", "regimes")
COVERAGES = (0.5, 0.9)
NEW_ROWS = 2000
DEFAULT_EXPERTS = "ridge,splines,kriging,extra_trees,boosting"


def draw(law: str, seed: int, rows: int) -> tuple[Any, Any, Any, Any]:
    """X, y and new rows of both."""
    rng = np.random.default_rng([sum(map(ord, law)), seed])
    n = rows + NEW_ROWS
    X, noise = rng.uniform(-1, 1, (n, 4)), rng.standard_normal(n)
    if law == "linear":
        y = X @ [1.0, 0.5, 0.25, 0.0] + noise
    elif law == "regimes":
        y = np.where(X[:, 0] + X[:, 1] > 0, 3 * X[:, 2], 1 - 3 * X[:, 2]) + 0.3 * noise
    else:
        noise = {"heavy": rng.standard_t(3, n), "uneven": np.exp(X[:, 1]) * noise}.get(law, noise)
        y = 2 * np.sin(3 * X[:, 0]) + X[:, 1] ** 2 + 0.5 * noise
    return X[:rows], y[:rows], X[rows:], y[rows:]


def fit(law: str, seed: int, rows: int, experts: str, settings: dict[str, Any]) -> tuple[str, list[float]]:
    """Coverages of one fit: 50 % and 90 %, recalibrated and raw."""
    warnings.simplefilter("ignore")
    X, y, X_new, y_new = draw(law, seed, rows)
    mixture = MixtureRegressor(experts.split(","), random_state=seed, **settings).fit(X, y)
    found = []
    (raw,) = mixture._fitted.predictions(X_new, scaled=True)
    for coverage in COVERAGES:
        for low, high in (
            mixture.predict_interval(X_new, coverage).T,
            interval(raw.weights, raw.distribution(), coverage).T,
        ):
            found.append(float(np.mean((low <= y_new) & (y_new <= high))))
    return law, found


def main() -> None:
    """Fit, and print a row for each fit and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--experts", default=DEFAULT_EXPERTS)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    laws, settings = LAWS, {}
    if asked.quick:
        laws, settings = ("smooth",), {"specialize": False, "gate": "constant"}
        asked.draws, asked.rows, asked.experts = 1, 100, "ridge,splines"
    jobs = [(law, seed) for seed in range(asked.draws) for law in laws]
    tasks = (delayed(fit)(law, seed, asked.rows, asked.experts, settings) for law, seed in jobs)
    print(f"{'law':10}  50 %   raw  90 %   raw", flush=True)
    table = []
    for law, found in Parallel(asked.jobs, return_as="generator")(tasks):
        table.append(found)
        print(f"{law:10} {' '.join(f'{one:5.3f}' for one in found)}", flush=True)
    means = np.mean(table, axis=0)
    print(f"{'mean':10} {' '.join(f'{one:5.3f}' for one in means)}   of {len(table)} fits")


if __name__ == "__main__":
    main()
