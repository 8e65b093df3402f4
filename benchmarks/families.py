"""Families of random problems: relative error of the mixture divided by that of the best reference model.

python benchmarks/families.py [--family regions,smooth,pieces] [--seeds 30] [--experts auto|fast|best] [--jobs 1]
                              [--out FILE] [--against FILE]

Each seed gives a different problem, so rules cannot be tuned to a single function. The reference models are extra
trees, boosting, a Gaussian process, LightGBM with linear leaves, and Cubist if the package `cubist` is installed.
Prints one line per problem and the geometric mean over seeds. `--out` writes all errors as JSON; `--against` reads
such a file, reuses the errors of its reference models, and prints the ratios to the errors and times of its mixtures.
The families are read from the folder `shared` next to the repository.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from tables import SHARED, module

from metamix import MixtureRegressor

# The time of a Gaussian process grows with the cube of the number of rows.
GP_ROWS = 1200


def relative_error(y: Any, answer: Any) -> float:
    return float(np.linalg.norm(answer - y) / np.linalg.norm(y))


def rivals(X: Any, y: Any, seed: int) -> dict[str, Any]:
    """Unfitted reference models by name."""
    from lightgbm import LGBMRegressor

    kernel = ConstantKernel() * RBF(np.ones(X.shape[1])) + WhiteKernel(1e-2)
    found: dict[str, Any] = {
        "extra trees": ExtraTreesRegressor(300, random_state=seed, n_jobs=1),
        "boosting": HistGradientBoostingRegressor(random_state=seed),
        "gaussian process": GaussianProcessRegressor(kernel, normalize_y=True, n_restarts_optimizer=1, random_state=0),
        "linear trees": LGBMRegressor(linear_tree=True, random_state=seed, n_jobs=1, verbose=-1),
    }
    try:
        from cubist import Cubist
    except ImportError:
        return found
    return found | {"cubist": Cubist(n_committees=5, neighbors=5, random_state=seed)}


def errors_of_rivals(problem: Any, seed: int) -> dict[str, float]:
    found = {}
    rows = np.random.default_rng(seed).permutation(len(problem.y))[:GP_ROWS]
    for name, rival in rivals(problem.X, problem.y, seed).items():
        X, y = (problem.X[rows], problem.y[rows]) if name == "gaussian process" else (problem.X, problem.y)
        found[name] = relative_error(problem.y_test, rival.fit(X, y).predict(problem.X_test))
    return found


def run(family: str, seed: int, experts: str, known: dict[str, float] | None) -> dict[str, Any]:
    warnings.simplefilter("ignore")
    problem = getattr(module(SHARED / "acceptance" / "families.py"), family)(seed)
    began = time.process_time()
    mixture = MixtureRegressor(experts, random_state=seed).fit(problem.X, problem.y)
    seconds = time.process_time() - began
    return {
        "family": family,
        "seed": seed,
        "what": problem.what,
        "K": problem.K,
        "found": int(mixture.n_experts_),
        "seconds": seconds,
        "mixture": relative_error(problem.y_test, mixture.predict(problem.X_test)),
        "rivals": known or errors_of_rivals(problem, seed),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--family", default="regions,smooth,pieces")
    parser.add_argument("--seeds", default="30", help="how many, or a range as 30-60")
    parser.add_argument("--experts", default="auto", choices=["auto", "fast", "best"])
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out")
    parser.add_argument("--against")
    options = parser.parse_args()
    first, _, last = options.seeds.rpartition("-")
    seeds = range(int(first or 0), int(last))
    before = {}
    if options.against:
        before = {(one["family"], one["seed"]): one for one in json.loads(Path(options.against).read_text())}
    rows = []
    for family in options.family.split(","):
        found = Parallel(n_jobs=options.jobs, return_as="generator")(
            delayed(run)(family, seed, options.experts, before.get((family, seed), {}).get("rivals")) for seed in seeds
        )
        ratios, changes, times, right = [], [], [], 0
        for one in found:
            best = min(one["rivals"], key=one["rivals"].get)
            ratios.append(one["mixture"] / one["rivals"][best])
            right += one["found"] == one["K"]
            line = f"{family:8} {one['seed']:3}  {ratios[-1]:6.3f} × {best:16} K {one['found']} of {one['K']}"
            if (family, one["seed"]) in before:
                earlier = before[family, one["seed"]]
                changes.append(one["mixture"] / earlier["mixture"])
                times.append(one["seconds"] / earlier["seconds"])
                line += f"  {changes[-1]:6.3f} × before"
            print(f"{line}  {one['seconds']:6.1f} s  {one['what']}", flush=True)
            rows.append(one)
            if options.out:
                Path(options.out).write_text(json.dumps(rows, indent=1))
        mean = float(np.exp(np.mean(np.log(ratios))))
        said = f"{family}: geometric mean {mean:.3f} × the best rival, K right in {right} of {len(ratios)}"
        if changes:
            change, time_ratio = (float(np.exp(np.mean(np.log(one)))) for one in (changes, times))
            said += f"; {change:.3f} × before, worst {max(changes):.2f}; {time_ratio:.2f} × its processor time"
        print(said, flush=True)


if __name__ == "__main__":
    main()
