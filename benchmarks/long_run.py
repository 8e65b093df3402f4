"""Many fits and predictions in one process: does memory grow, and is anything left open?

python benchmarks/long_run.py [--fits 500] [--rows 200]

Mixtures for numbers and for classes, with and without regimes, in this process and in two worker processes, are fitted,
saved, loaded and asked for predictions in turn. Prints for each fifth the median memory of this process, and how many
files, threads and child processes there are at its end. To reach: the last fifth takes no more than 5 % above the
first, and nothing more is open.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import gc
import resource
import tempfile
import threading
import warnings
from pathlib import Path

import numpy as np

from metamix import MixtureClassifier, MixtureRegressor, load, make_regimes, save
from metamix.persistence import untrusted_types

PARTS = 5


def memory() -> float:
    """Resident memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def left_open() -> dict[str, int]:
    """Files, threads and child processes of this process."""
    children = Path("/proc/self/task") / str(os.getpid()) / "children"
    return {
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "threads": threading.active_count(),
        "processes": len(children.read_text().split()),
    }


def one(number: int, rows: int, folder: Path) -> None:
    """Fit, save, load and predict."""
    X, y = make_regimes(rows, n_regimes=2, random_state=number)
    classes, regimes = number % 4 == 1, number % 2 == 0
    Mixture = MixtureClassifier if classes else MixtureRegressor
    experts = ["logistic", "neighbours", "tree"] if classes else ["ridge", "neighbours", "lightgbm"]
    mixture = Mixture(
        experts, specialize="auto" if regimes else False, gate="softmax", cv=3, random_state=number,
        n_jobs=2 if number % 10 == 0 else None,
    )  # fmt: skip
    mixture.fit(X, np.digitize(y, np.quantile(y, [0.3, 0.6])) if classes else y)
    save(mixture, folder / "one.mix")
    load(folder / "one.mix", trusted=untrusted_types(folder / "one.mix")).predict(X)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--fits", type=int, default=500)
    parser.add_argument("--rows", type=int, default=200)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    sizes, opened = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(asked.fits):
            one(number, asked.rows, Path(folder))
            gc.collect()
            sizes.append(memory())
            if (number + 1) % (asked.fits // PARTS) == 0:
                part = sizes[-(asked.fits // PARTS) :]
                opened[number] = left_open()
                said = ", ".join(f"{count} {what}" for what, count in opened[number].items())
                print(f"{number + 1:5} fits: {np.median(part):7.1f} MB in the median; {said}", flush=True)
    first, last = (np.median(part) for part in (sizes[: asked.fits // PARTS], sizes[-(asked.fits // PARTS) :]))
    print(f"memory of the last fifth ÷ the first: {last / first:.3f}")


if __name__ == "__main__":
    main()
