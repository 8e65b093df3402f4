"""Profile of a default fit with boosted trees: experts, search for regimes, gates and responsibilities.

python benchmarks/shares.py [--tables california_housing,two_regimes] [--rows 20000] [--quick]

One process, one thread, under Python's profiler, which slows down Python code such as gates a little. Shares are of
the whole fit; target: gates and responsibilities below 0.10.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import cProfile

from tables import split

from metamix import MixtureRegressor
from metamix.experts.models import ScaledTarget
from metamix.training.alternation import Alternation
from metamix.training.candidates import CandidateFit
from metamix.training.regime_search.capacity import capacity_of
from metamix.training.regime_search.proxy_mixture import proxy_responsibilities

POOLS = (["xgboost", "lightgbm"], ["boosting"], ["xgboost", "lightgbm", "boosting", "forest"])
#: The outermost functions of each kind of work; none of them calls another one.
KINDS = {
    "experts": [ScaledTarget.fit, ScaledTarget.predict],
    "search": [proxy_responsibilities, capacity_of],
    "gates": [CandidateFit.fit, Alternation.judged, Alternation.final_gates],
}


def shares(profile: cProfile.Profile) -> dict[str, float]:
    """Share of each kind of work in the total time."""
    codes = {function.__code__: kind for kind, functions in KINDS.items() for function in functions}
    spent, total = dict.fromkeys(KINDS, 0.0), 0.0
    for entry in profile.getstats():
        total += entry.inlinetime
        if entry.code in codes:
            spent[codes[entry.code]] += entry.totaltime
    return {**{kind: seconds / total for kind, seconds in spent.items()}, "seconds": total}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--tables", default="california_housing,two_regimes")
    parser.add_argument("--rows", type=int, default=20_000, help="training rows, where a table has them")
    parser.add_argument("--quick", action="store_true", help="200 rows and one pool: does it run?")
    asked = parser.parse_args()
    print(f"{'table':20} {'rows':>6}  {'pool':40} {'experts':>8} {'search':>8} {'gates':>8} {'seconds':>8}  regimes")
    for table in asked.tables.split(","):
        X, _, y, _ = split(table, 0, 200 if asked.quick else asked.rows)
        for pool in POOLS[:1] if asked.quick else POOLS:
            mixture, profile = MixtureRegressor(pool, random_state=0), cProfile.Profile()
            profile.runcall(mixture.fit, X, y)
            found = shares(profile)
            missing = [kind for kind in KINDS if not found[kind]]
            if missing:
                raise SystemExit(f"no time was found for {', '.join(missing)}: are its functions still called?")
            print(
                f"{table:20} {len(y):6}  {'+'.join(pool):40} {found['experts']:8.2f} {found['search']:8.2f} "
                f"{found['gates']:8.2f} {found['seconds']:8.1f}  {mixture.n_experts_}",
                flush=True,
            )


if __name__ == "__main__":
    main()
