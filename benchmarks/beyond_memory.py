"""A table three times the memory: made, fitted and predicted in child processes that the kernel holds to a limit.

The limit is one of the address space (RLIMIT_AS, what `ulimit -v` sets), which a plain container allows and which is
never less than the memory that is used. `python benchmarks/beyond_memory.py` makes 6 GB and allows 2 GiB;
`--gigabytes 0.3 --limit 900MB` is a small one. Scratch files are where TMPDIR says.
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
#: A fit in a process of its own, of a table in chunks, or of a file as a whole.
FIT = """
import sys
import pandas as pd
from metamix import MixtureRegressor, save, scan, use_engine
from metamix.experts.regressors import lightgbm, ridge
path, out, trees, specialize, memory = sys.argv[1:]
experts = [("ridge", ridge()), ("trees", lightgbm(n_estimators=int(trees)))]
mixture = MixtureRegressor(experts, specialize="auto" if specialize == "True" else False, cv=3, random_state=0)
with use_engine("serial"):
    if path.endswith(".parquet"):
        frame = pd.read_parquet(path)
        mixture.fit(frame.drop(columns="y"), frame["y"])
    else:
        mixture.fit(scan(path, memory or None), "y")
save(mixture, out)
print(mixture.verdict_)
"""
PREDICT = "import sys; from metamix.cli import main; main(sys.argv[1:])"


def law(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expectation of y, and the rows of a region with 0.2 % of the rows and a law of its own."""
    rare = (X[:, 4] > 0.98) & (X[:, 5] > 0.6)
    usual = 2 * X[:, 0] + np.sin(3 * X[:, 1]) + X[:, 2] * X[:, 3]
    return np.where(rare, usual + 6 * np.sign(X[:, 0]), usual), rare


def draw(n: int, rng: np.random.Generator) -> pa.Table:
    X = rng.uniform(-1, 1, (n, COLUMNS))
    columns = {f"x{j}": X[:, j] for j in range(COLUMNS)}
    return pa.table(columns | {"y": law(X)[0] + 0.5 * rng.normal(size=n)})


def make(folder: Path, gigabytes: float) -> None:
    """Files of half a gigabyte; random digits cannot be compressed, so that they are as large in memory."""
    rng, groups = np.random.default_rng(0), round(gigabytes * 1e9 / (8 * (COLUMNS + 1) * ROWS_OF_GROUP))
    for i, begin in enumerate(range(0, groups, 15)):
        first = draw(10, rng)
        with pq.ParquetWriter(
            folder / f"{i:03d}.parquet", first.schema, compression="none", use_dictionary=False
        ) as file:
            for _ in range(begin, min(begin + 15, groups)):
                file.write_table(draw(ROWS_OF_GROUP, rng))


def limited(code: str, words: list[str], limit: int) -> tuple[float, float, float, str]:
    """Run Python under a limit: peak memory in MB, seconds, seconds of the processor, and what it printed."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as printed:
        child = subprocess.Popen(
            [sys.executable, "-c", code, *words], stdout=printed, stderr=printed,
            env=os.environ | ENVIRONMENT,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
        )  # fmt: skip
        _, status, used = os.wait4(child.pid, 0)
        printed.seek(0)
        said = printed.read()
    if status:
        sys.exit(f"{' '.join(words)} failed:\n{said}")
    return used.ru_maxrss / 1024, time.monotonic() - began, used.ru_utime + used.ru_stime, said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=6.0)
    parser.add_argument("--limit", default="2GiB")
    parser.add_argument("--memory", default="", help="of metamix.scan; half of what the limit leaves by default")
    parser.add_argument("--trees", type=int, default=400)
    parser.add_argument("--regimes", action="store_true", help="with the specialised mixture")
    parser.add_argument("--table", type=Path, help="folder of the table, which is kept, and used if it is there")
    given = parser.parse_args()
    limit = bytes_of(given.limit)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        table = folder / "big" if given.table is None else given.table
        if not table.exists():
            table.mkdir()
            make(table, given.gigabytes)
        size = sum(path.stat().st_size for path in table.iterdir())
        print(f"{len(scan(table))} rows, {size / 1e9:.2f} GB on the disk, limit {given.limit}", flush=True)
        more = [str(given.trees), str(given.regimes), given.memory]
        done = limited(FIT, [str(table), str(folder / "big.mix"), *more], limit)
        print(f"fit: peak {done[0]:.0f} MB, {done[1]:.0f} s, {done[2]:.0f} s of the processor")
        rows = done[3][done[3].index("The table has") :].strip()
        print(rows, flush=True)
        sample = scan(table).sample(int(rows.partition("sample of ")[2].split()[0]))
        sample.to_parquet(folder / "sample.parquet")
        done = limited(FIT, [str(folder / "sample.parquet"), str(folder / "sample.mix"), *more], limit)
        print(f"fit to a sample of {len(sample)} rows alone: peak {done[0]:.0f} MB, {done[2]:.0f} s of the processor")
        new = draw(200_000, np.random.default_rng(1)).to_pandas().drop(columns="y")
        truth, rare = law(new.to_numpy())
        found = {}
        for name in ("sample", "big"):
            path = folder / f"{name}.mix"
            error = np.square(load(path, trusted=untrusted_types(path)).predict(new) - truth)
            found[name] = {"new rows": error.mean(), "rare region": error[rare].mean(), "others": error[~rare].mean()}
        print("squared error against the law, without noise:")
        frame = pd.DataFrame(found)
        print(frame.assign(ratio=frame["big"] / frame["sample"]).round(4).to_string(), flush=True)
        words = ["predict", str(folder / "big.mix"), str(table), "--trust", "all", "--interval", "0.9"]
        done = limited(PREDICT, [*words, "--out", str(folder / "p.parquet")], limit)
        n = pq.read_metadata(folder / "p.parquet").num_rows
        print(f"predict with bounds: {n} rows, peak {done[0]:.0f} MB, {done[2]:.0f} s of the processor")


if __name__ == "__main__":
    main()
