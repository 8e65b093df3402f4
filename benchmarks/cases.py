"""Simulated cases with known solutions: the error of one call with the defaults, next to the target value.

python benchmarks/cases.py [--case three_modes,step] [--seeds 0,1] [--quick]

Prints one line per case and seed: the measure of the case for the fitted estimator and for its specialised mixture
(`mixture_`), the number K of components, the verdict and the fit time in seconds; then a table of medians.
The measure is the relative error on noise-free test points, RMSE or RMSE / std(y) for cases with noise, and for
`step` the largest predictive standard deviation near the jump. The seed determines the data and `random_state`;
`three_modes(35)` is a regular grid, so its seed is only `random_state`. Cases set nothing but the experts listed
with them. The functions are read from the folder `shared` next to the repository. `--quick` uses few rows, cheap
experts and two folds, to test that the script runs. The full run takes about fifteen minutes.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from tables import SHARED, module

from metamix import MixtureRegressor

FIVE = (0, 1, 2, 3, 4)


def relative_error(y: Any, answer: Any) -> float:
    return float(np.linalg.norm(answer - y) / np.linalg.norm(y))


def rmse(y: Any, answer: Any) -> float:
    return float(np.sqrt(np.mean((answer - y) ** 2)))


def scaled_rmse(y: Any, answer: Any) -> float:
    return rmse(y, answer) / float(np.std(y))


@dataclass(frozen=True)
class Case:
    """One case: how its data are drawn, the experts it uses, and the interval that the measure should be in."""

    name: str
    draw: Callable[[Any, int | None, int], tuple[Any, ...]]  # (cases, rows or None, seed) -> X, y, X_test, y_test
    most: float
    measure: Callable[[Any, Any], float] | None = relative_error  # None: the standard deviation near zero
    least: float = 0.0
    seeds: Sequence[int] = FIVE
    settings: Mapping[str, Any] = field(default_factory=dict)
    n_experts: tuple[int, ...] = ()  # correct numbers of components; empty if any number is accepted

    def reached(self, value: float, found: Sequence[int]) -> bool:
        right = not self.n_experts or all(K in self.n_experts for K in found)
        return self.least <= value <= self.most and right

    @property
    def goal(self) -> str:
        if not np.isfinite(self.most):
            return "no bar"
        span = f"{self.least:g} … {self.most:g}" if self.least else f"≤ {self.most:g}"
        return span + (f", K {' or '.join(map(str, self.n_experts))}" if self.n_experts else "")


def xgboost_twice() -> list[Any]:
    from xgboost import XGBRegressor

    return [XGBRegressor(n_jobs=1), XGBRegressor(n_jobs=1)]


REGIMES = ["ridge", "quadratic", "lightgbm"]
CASES = [
    Case("quadrant_jump(150)", lambda c, n, s: c.quadrant_jump(n or 150, s), 0.20, seeds=range(10)),
    Case("l1_norm(200)", lambda c, n, s: c.l1_norm(n or 200, 2, s), 0.0085, seeds=(0, 1)),
    Case("branin(200)", lambda c, n, s: c.branin(n or 200, s), 1e-4, seeds=(0,)),
    Case("step", lambda c, n, s: c.step(n or 50, s), 5.5, measure=None, least=4.0),
    Case("two_regimes xgboost", lambda c, n, s: c.two_regimes(n or 1500, s), 0.62, measure=rmse,
         seeds=(0, 1, 2), settings={"experts": ["xgboost"], "n_experts": 2}),
    Case("two_regimes XGBRegressor × 2", lambda c, n, s: c.two_regimes(n or 1500, s), 0.62, measure=rmse,
         seeds=(0, 1, 2), settings={"experts": xgboost_twice}),
    Case("three_regimes K=3", lambda c, n, s: c.three_regimes(n or 2100, s), 0.20, measure=scaled_rmse,
         seeds=(0, 1, 2), settings={"experts": REGIMES, "n_experts": 3}),
    Case("three_regimes auto", lambda c, n, s: c.three_regimes(n or 2100, s), 0.20, measure=scaled_rmse,
         seeds=(0, 1, 2), settings={"experts": REGIMES, "n_experts": "auto"}, n_experts=(3, 4)),
    Case("three_modes(50)", lambda c, n, s: c.three_modes(n or 50, s), float("inf")),
    Case("three_modes(35)", lambda c, n, s: c.three_modes(n or 35), float("inf")),
]  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """Result of one seed: the measure for the fitted estimator and for its specialised mixture."""

    default: float
    mixture: float
    n_experts: int
    verdict: str
    seconds: float


def value_of(case: Case, fitted: Any, X_test: Any, y_test: Any) -> float:
    """The measure of the case for one fitted estimator; NaN if there is none."""
    if fitted is None:
        return float("nan")
    if case.measure is not None:
        return case.measure(y_test, fitted.predict(X_test))
    deviation = fitted.predict(X_test, return_std=True)[1]
    return float(deviation[np.abs(X_test[:, 0]) <= 0.05].max())


def run(case: Case, seed: int, cases: Any, quick: bool) -> Outcome:
    X, y, X_test, y_test = case.draw(cases, 60 if quick else None, seed)
    settings = {name: value() if callable(value) else value for name, value in case.settings.items()}
    if quick:
        settings |= {"experts": ["linear", "quadratic"], "cv": 2}
    began = time.perf_counter()
    fitted = MixtureRegressor(**settings, random_state=seed).fit(X, y)
    seconds = time.perf_counter() - began
    plain = getattr(fitted, "mixture_", None)
    values = [value_of(case, one, X_test, y_test) for one in (fitted, plain)]
    found = 0 if plain is None else plain.n_experts_
    return Outcome(*values, found, fitted.verdict_.winner, seconds)


def told(case: Case, outcomes: Sequence[Outcome]) -> str:
    """The line of one case in the table of medians."""
    default, mixture, seconds = (
        float(np.median([getattr(one, name) for one in outcomes])) for name in ("default", "mixture", "seconds")
    )
    found = [one.n_experts for one in outcomes]
    said = "reached" if case.reached(default, found) else "missed"
    counted = ",".join(map(str, found))
    return f"{case.name:30} {default:10.4g} {mixture:10.4g} {counted:>10} {seconds:8.1f}  {case.goal:18} {said}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", default="", help="beginnings of the names wanted, with commas; all by default")
    parser.add_argument("--seeds", help="instead of those of the case, as 0,1,2")
    parser.add_argument("--quick", action="store_true", help="few rows, cheap experts, one seed: only that it runs")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    words = tuple(word.strip() for word in options.case.split(","))
    wanted = [case for case in CASES if case.name.startswith(words)]
    if not wanted:
        parser.error(f"no case begins like {options.case!r}; there are {'; '.join(case.name for case in CASES)}.")
    known = module(SHARED / "acceptance" / "cases.py")
    print(f"{'case':30} {'seed':>4} {'default':>10} {'mixture_':>10} {'K':>3} {'seconds':>8}  verdict")
    lines = []
    for case in wanted:
        seeds = [int(seed) for seed in options.seeds.split(",")] if options.seeds else case.seeds
        outcomes = []
        for seed in seeds[:1] if options.quick else seeds:
            one = run(case, seed, known, options.quick)
            outcomes.append(one)
            print(f"{case.name:30} {seed:4} {one.default:10.4g} {one.mixture:10.4g} {one.n_experts:3} "
                  f"{one.seconds:8.1f}  {one.verdict}", flush=True)  # fmt: skip
        lines.append(told(case, outcomes))
    print(f"\n{'medians':30} {'default':>10} {'mixture_':>10} {'K':>10} {'seconds':>8}  {'to reach':18}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
