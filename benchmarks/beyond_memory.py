"""A table three times the memory: made, fitted and predicted in child processes that the kernel holds to a limit.

The limit is one of the address space (RLIMIT_AS, what `ulimit -v` sets), which a plain container allows and which is
never less than the memory that is used. `python benchmarks/beyond_memory.py` makes 6 GB and allows 2 GiB;
`--gigabytes 0.3 --limit 900MB` is a small one.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from metamix import load, scan
from metamix.memory import bytes_of
from metamix.persistence import untrusted_types

COLUMNS = 40
ROWS_OF_GROUP = 100_000
#: Threads and allocators reserve addresses that they do not use; these reserve little.
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "ARROW_DEFAULT_MEMORY_POOL": "system",
}  # fmt: skip
#: LightGBM's trees as one expert of the command line; the number of trees changes how long a run takes, and no more.
CHILD = """
import sys
from metamix.cli import main
from metamix.experts.regressors import lightgbm
from metamix.registry import regressors
regressors.register("trees", lambda: lightgbm(n_estimators={trees}))
main(sys.argv[1:])
"""


def law(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expectation of y, and the rows of a region with 0.2 % of the rows and a law of its own."""
    rare = (X[:, 4] > 0.98) & (X[:, 5] > 0.6)
    usual = 2 * X[:, 0] + np.sin(3 * X[:, 1]) + X[:, 2] * X[:, 3]
    return np.where(rare, usual + 6 * np.sign(X[:, 0]), usual), rare


def draw(n: int, rng: np.random.Generator) -> pa.Table:
    X = rng.uniform(-1, 1, (n, COLUMNS))
    columns = {f"x{j}": X[:, j] for j in range(COLUMNS)}
    return pa.table(columns | {"y": law(X)[0] + 0.5 * rng.normal(size=n)})


def make(folder: Path, gigabytes: float) -> int:
    """Files of half a gigabyte; random digits cannot be compressed, so that they are as large in memory."""
    rng, groups = np.random.default_rng(0), round(gigabytes * 1e9 / (8 * (COLUMNS + 1) * ROWS_OF_GROUP))
    for i, begin in enumerate(range(0, groups, 15)):
        first = draw(10, rng)
        with pq.ParquetWriter(
            folder / f"{i:03d}.parquet", first.schema, compression="none", use_dictionary=False
        ) as file:
            for _ in range(begin, min(begin + 15, groups)):
                file.write_table(draw(ROWS_OF_GROUP, rng))
    return groups * ROWS_OF_GROUP


def limited(words: list[str], limit: int, trees: int) -> tuple[float, float, float, str]:
    """Run metamix under a limit: peak memory in MB, seconds, seconds of the processor, and what it printed."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as printed:
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD.format(trees=trees), *words], stdout=printed, stderr=printed,
            env=os.environ | ENVIRONMENT,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )  # fmt: skip
        _, status, used = os.wait4(child.pid, 0)
        printed.seek(0)
        said = printed.read()
    if status:
        sys.exit(f"metamix {' '.join(words)} failed:\n{said}")
    return used.ru_maxrss / 1024, time.monotonic() - began, used.ru_utime + used.ru_stime, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=6.0)
    parser.add_argument("--limit", default="2GiB")
    parser.add_argument("--memory", help="of metamix fit; half of what the limit leaves by default")
    parser.add_argument("--experts", default="ridge,trees")
    parser.add_argument("--trees", type=int, default=100)
    parser.add_argument("--no-predict", action="store_true")
    parser.add_argument("--cv", default="2")
    parser.add_argument("--folder", type=Path, help="for the table and scratch files; a temporary one by default")
    given = parser.parse_args()
    limit = bytes_of(given.limit)
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        (folder / "big").mkdir()
        (folder / "scratch").mkdir()
        ENVIRONMENT["TMPDIR"] = str(folder / "scratch")
        began = time.monotonic()
        n = make(folder / "big", given.gigabytes)
        size = sum(path.stat().st_size for path in (folder / "big").iterdir())
        print(
            f"{n} rows, {size / 1e9:.2f} GB on the disk, made in {time.monotonic() - began:.0f} s; limit {given.limit}"
        )
        learning = ["--target", "y", "--experts", given.experts, "--cv", given.cv, "--jobs", "1", "--engine", "serial"]
        memory = [] if given.memory is None else ["--memory", given.memory]
        done = limited(
            ["fit", str(folder / "big"), *learning, *memory, "--out", str(folder / "big.mix")], limit, given.trees
        )
        print(f"fit: peak {done[0]:.0f} MB, {done[1]:.0f} s, {done[2]:.0f} s of the processor")
        print(next(line for line in done[3].splitlines() if line.startswith("The table has")), flush=True)
        mixture = load(folder / "big.mix", trusted=untrusted_types(folder / "big.mix"))
        words = str(mixture.verdict_).partition("random sample of ")[2]
        sample = scan(folder / "big").sample(int(words.split()[0]))
        sample.to_parquet(folder / "sample.parquet")
        done = limited(
            ["fit", str(folder / "sample.parquet"), *learning, "--out", str(folder / "sample.mix")], limit, given.trees
        )
        print(f"fit to a sample of {len(sample)} rows alone: peak {done[0]:.0f} MB, {done[2]:.0f} s of the processor")
        new = draw(200_000, np.random.default_rng(1)).to_pandas().drop(columns="y")
        truth, rare = law(new.to_numpy())
        table = {}
        for name in ("sample", "big"):
            path = folder / f"{name}.mix"
            error = np.square(load(path, trusted=untrusted_types(path)).predict(new) - truth)
            table[name] = {"new rows": error.mean(), "rare region": error[rare].mean(), "others": error[~rare].mean()}
        print("squared error against the law, without noise:")
        print(pd.DataFrame(table).assign(ratio=lambda frame: frame["big"] / frame["sample"]).round(4).to_string())
        if not given.no_predict:
            words = ["predict", str(folder / "big.mix"), str(folder / "big"), "--trust", "all"]
            done = limited([*words, "--interval", "0.9", "--out", str(folder / "p.parquet")], limit, given.trees)
            rows = pq.read_metadata(folder / "p.parquet").num_rows
            print(f"predict with bounds: {rows} rows, peak {done[0]:.0f} MB, {done[2]:.0f} s of the processor")


if __name__ == "__main__":
    main()
