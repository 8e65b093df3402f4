"""What a checkpoint spares: seconds of each kind of task of a fit, and what a call takes that finds all of them done.

python benchmarks/checkpoint.py [--rows 1000] [--experts auto]

`--experts` is a pool or a list of names. Seconds of processor time in one process. "the rest" is what is computed anew
in every call: gates, stacks, the blend. The peak of the folder is its size at the end.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

from metamix import MixtureRegressor, make_regimes
from metamix.progress import Event, listen


def kind_of(label: str) -> str:
    """Kind of the task that an event reports."""
    if label.startswith("regimes"):
        return "search for regimes, all rows"
    if label.startswith("mixture"):
        return "mixture in a fold, or on all rows"
    if "without folds" in label:
        return "experts, nested"
    return "experts, all rows" if label.endswith("all rows") else "experts, folds and trials in regimes"


def timed(mixture: MixtureRegressor, n: int) -> tuple[float, Counter[str]]:
    """Processor seconds of a fit, and of its tasks by kind."""
    X, y = make_regimes(n, n_regimes=3, random_state=0)
    found: Counter[str] = Counter()
    last = began = time.process_time()

    def heard(event: Event) -> None:
        nonlocal last
        now = time.process_time()
        if event.kind == "task":
            found[kind_of(event.label)] += now - last
        last = now

    with warnings.catch_warnings(), listen(heard):
        warnings.simplefilter("ignore")
        mixture.fit(X, y)
    return time.process_time() - began, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--experts", default="auto")
    options = parser.parse_args()
    given = options.experts if options.experts in ("fast", "auto", "best") else options.experts.split(",")
    with tempfile.TemporaryDirectory() as folder:
        plain, _ = timed(MixtureRegressor(given, random_state=0), options.rows)
        kept = MixtureRegressor(given, random_state=0, checkpoint=folder)
        whole, tasks = timed(kept, options.rows)
        again, _ = timed(kept, options.rows)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        n_files = len(list(Path(folder).glob("*.fit")))
    for kind, seconds in tasks.most_common():
        print(f"{kind:40} {seconds:7.1f} s  {seconds / whole:5.1%}")
    print(f"{'the rest':40} {whole - tasks.total():7.1f} s  {1 - tasks.total() / whole:5.1%}")
    print(
        f"a fit without a checkpoint {plain:.1f} s, with one {whole:.1f} s, again {again:.1f} s ({again / plain:.1%})"
    )
    print(f"the folder: {n_files} fits, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
