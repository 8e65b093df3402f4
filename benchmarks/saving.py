"""Time of loading a saved mixture and size of its file, against joblib.

python benchmarks/saving.py [--repeats 9] [--quick]

Times are the smallest of several, alternating between both; everything is imported beforehand.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib

from metamix import MixtureRegressor, load, make_regimes, save
from metamix.persistence import untrusted_types

MIXTURES: dict[str, dict[str, Any]] = {
    "default pool": {},
    "five experts": {"experts": ["ridge", "boosting", "neighbours", "extra_trees", "splines"]},
    "two forests": {"experts": ["ridge", "forest", "extra_trees"], "specialize": False},
}


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(mixture: Any, repeats: int) -> str:
    """Times and sizes in a line."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "a.mix"), Path(folder, "a.joblib")
        saving, dumping = seconds(lambda: save(mixture, ours)), seconds(lambda: joblib.dump(mixture, theirs))
        trusted = untrusted_types(ours)
        times = [(seconds(lambda: load(ours, trusted)), seconds(lambda: joblib.load(theirs))) for _ in range(repeats)]
        (a, b), sizes = map(min, zip(*times, strict=True)), (ours.stat().st_size, theirs.stat().st_size)
    return (
        f"load {a:.3f} s, joblib {b:.3f} s, ratio {a / b:.2f};  save {saving:.2f} s, joblib {dumping:.2f} s;  "
        f"{sizes[0] / 1e6:.1f} MB, ratio {sizes[0] / sizes[1]:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="150 rows, the two forests only")
    given = parser.parse_args()
    X, y = make_regimes(150 if given.quick else 1000, n_regimes=2, random_state=0)
    warnings.simplefilter("ignore")
    for name, parameters in list(MIXTURES.items())[2 if given.quick else 0 :]:
        mixture = MixtureRegressor(**{"experts": "auto", "cv": 3, "random_state": 0, **parameters}).fit(X, y)
        print(f"{name:<13} {measure(mixture, given.repeats)}")


if __name__ == "__main__":
    main()
