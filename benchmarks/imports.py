"""Import time of `metamix` relative to `sklearn.ensemble`, and the libraries that each import loads.

python benchmarks/imports.py [--times 11] [--quick]

Every import runs in a new interpreter; imports alternate, and medians are compared. `import metamix` alone is lazy,
so `from metamix import MixtureRegressor` is timed too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys

STATEMENTS = {
    "sklearn.ensemble": "import sklearn.ensemble",
    "metamix": "import metamix",
    "MixtureRegressor": "from metamix import MixtureRegressor",
}
HEAVY = ("torch", "xgboost", "lightgbm", "pandas", "matplotlib", "pyarrow", "narwhals", "click")
PROGRAM = """
import json, sys, time
began = time.perf_counter()
{statement}
seconds = time.perf_counter() - began
print(json.dumps([seconds, [name for name in {heavy!r} if name in sys.modules], len(sys.modules)]))
"""


def fresh(statement: str) -> tuple[float, list[str], int]:
    """Seconds, large libraries loaded, and number of modules, in a new interpreter."""
    program = PROGRAM.format(statement=statement, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    seconds, heavy, modules = json.loads(done.stdout)
    return seconds, heavy, modules


def report(times: int) -> dict[str, float]:
    """Print the table; return the ratios of medians to sklearn.ensemble."""
    for statement in STATEMENTS.values() if times > 1 else ():
        fresh(statement)  # warm up the file cache
    found = {name: [] for name in STATEMENTS}
    for _ in range(times):
        for name, statement in STATEMENTS.items():
            found[name].append(fresh(statement))
    medians = {name: statistics.median(seconds for seconds, _, _ in runs) for name, runs in found.items()}
    ratios = {name: median / medians["sklearn.ensemble"] for name, median in medians.items()}
    print(f"{'import':18} {'median s':>9} {'least':>7} {'most':>7} {'ratio':>6} {'modules':>8}  loads")
    for name, runs in found.items():
        seconds = [one for one, _, _ in runs]
        print(
            f"{name:18} {medians[name]:9.3f} {min(seconds):7.3f} {max(seconds):7.3f} {ratios[name]:6.2f} "
            f"{runs[0][2]:8d}  {', '.join(runs[0][1]) or 'none of ' + ', '.join(HEAVY)}"
        )
    print("to reach: below 1.5 for metamix, without torch, xgboost, lightgbm, pandas, matplotlib")
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=11)
    parser.add_argument("--quick", action="store_true", help="once each")
    options = parser.parse_args()
    report(1 if options.quick else options.times)


if __name__ == "__main__":
    main()
