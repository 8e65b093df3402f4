"""Peak memory of a mixture of four ridge experts, against one weighted fit of one of them on one fold.

python benchmarks/memory.py [--rows 1000000] [--cv 5] [--quick]
python benchmarks/memory.py --experts [NAME,…]

Each measurement runs in its own process, with the same libraries and the table (rows × 20, float64) and target loaded
beforehand. Results are in units of the table: 160 MB for a million rows. For the serial fit the peak is the kernel's
ru_maxrss, and a thread that samples every 10 ms gives the peak of each phase. For the parallel fit (two worker
processes) sampling gives the size of the folder that workers map, how often it was written, and the unique set size
(USS) of each worker.

With --experts the peak of one fit of each expert by name, and the size of what is fitted, in bytes per row, for two
numbers of rows and two of columns. From these come the numbers of `metamix/experts/memory.py`. Linux only.
"""

from __future__ import annotations

import os

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

COLUMNS = 20
INTERVAL = 0.01


class Sampler(threading.Thread):
    """Calls a function at regular intervals until the block ends."""

    def __init__(self, look: Callable[[], None], interval: float) -> None:
        super().__init__(daemon=True)
        self.look, self.interval, self.over = look, interval, threading.Event()

    def __enter__(self) -> Sampler:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.over.set()
        self.join()

    def run(self) -> None:
        while not self.over.wait(self.interval):
            self.look()


def planted(n: int) -> tuple[Any, Any]:
    """Columns (n, 20) and a target that is linear in each of four corners of the first two columns.

    The noise is large enough that the initial search for regimes leaves work for a second round.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, COLUMNS))
    slopes = rng.standard_normal((COLUMNS, 4))
    regime = 2 * (X[:, 0] > 0) + (X[:, 1] > 0)
    y = (X @ slopes)[np.arange(n), regime] + 2 * rng.standard_normal(n)
    return X, y


def resident() -> int:
    """Resident memory of this process in bytes."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def highest() -> int:
    """Peak resident memory of this process in bytes, as counted by the kernel."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def one_fit(n: int, folds: int) -> dict[str, Any]:
    """One weighted fit of one expert on the training rows of one fold."""
    import numpy as np
    import pandas  # noqa: F401
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import KFold

    import metamix.estimators.regression  # noqa: F401  (the same libraries in both processes)

    X, y = planted(n)
    weight = np.random.default_rng(1).random(n)
    train = next(KFold(folds, shuffle=True, random_state=0).split(X))[0]
    level = resident()
    Ridge().fit(X[train], y[train], sample_weight=weight[train])
    return {"peak": highest() - level}


def whole_fit(n: int, folds: int) -> dict[str, Any]:
    """Serial fit of the mixture; peak memory of each phase, named after the event at its end."""
    import pandas  # noqa: F401
    from sklearn.linear_model import Ridge

    from metamix import MixtureRegressor
    from metamix.progress import Event, listen

    X, y = planted(n)
    level, began = resident(), time.perf_counter()
    top = 0
    phases: list[tuple[str, int]] = []

    def look() -> None:
        nonlocal top
        top = max(top, resident())

    def heard(event: Event) -> None:
        nonlocal top
        phases.append((event.label, top - level))
        top = 0

    pool = [(f"ridge {k}", Ridge()) for k in range(4)]
    mixture = MixtureRegressor(pool, specialize=True, max_rounds=2, cv=folds, random_state=0)
    with Sampler(look, INTERVAL), listen(heard):
        mixture.fit(X, y)
    phases.append(("the end", top - level))
    error = float(((mixture.predict(X[:10_000]) - y[:10_000]) ** 2).mean() / y.var())
    return {
        "peak": highest() - level,
        "phases": phases,
        "seconds": time.perf_counter() - began,
        "rounds": len(mixture.history_),
        "unexplained": error,
    }


def parallel_fit(n: int, folds: int) -> dict[str, Any]:
    """Fit of the mixture with two worker processes."""
    import pandas  # noqa: F401
    import psutil
    from sklearn.linear_model import Ridge

    from metamix import MixtureRegressor

    X, y = planted(n)
    level = resident()
    folder = Path(tempfile.mkdtemp())
    os.environ["JOBLIB_TEMP_FOLDER"] = str(folder)
    me, own, idle = psutil.Process(), {}, {}
    driver, written, folders = 0, 0, set()

    def look() -> None:
        nonlocal driver, written
        driver = max(driver, me.memory_info().rss)
        for child in me.children(recursive=True):
            try:
                if "loky" not in " ".join(child.cmdline()) or "resource_tracker" in " ".join(child.cmdline()):
                    continue
                uss = child.memory_full_info().uss
            except psutil.Error:
                continue
            own[child.pid] = max(own.get(child.pid, 0), uss)
            idle[child.pid] = uss
        shares = [path for path in folder.rglob("buffers") if path.is_file()]
        folders.update(str(path) for path in shares)
        for path in shares:
            try:
                written = max(written, path.stat().st_size)
            except OSError:
                continue

    pool = [(f"ridge {k}", Ridge()) for k in range(4)]
    mixture = MixtureRegressor(pool, specialize=True, max_rounds=2, cv=folds, random_state=0, n_jobs=2)
    with Sampler(look, INTERVAL):
        mixture.fit(X, y)
    return {
        "driver": driver - level,
        "workers": sorted(own.values()),
        "written": written,
        "times": len(folders),
    }


def bare_worker(n: int, folds: int) -> dict[str, Any]:
    """Unique memory of a worker after a small fit: libraries without data."""
    import psutil
    from sklearn.linear_model import Ridge

    from metamix import MixtureRegressor

    X, y = planted(1000)
    pool = [(f"ridge {k}", Ridge()) for k in range(4)]
    MixtureRegressor(pool, specialize=True, start="random", max_rounds=1, cv=folds, n_jobs=2).fit(X, y)
    found = [
        child.memory_full_info().uss
        for child in psutil.Process().children(recursive=True)
        if "resource_tracker" not in " ".join(child.cmdline())
    ]
    return {"own": max(found)}


def status(key: str) -> int:
    """A number of bytes that the kernel shows of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def expert_fit(kind: str, name: str, n: int, columns: int) -> dict[str, Any]:
    """Peak memory of one fit of an expert by name and of its predictions for a quarter of the rows, and its size."""
    import pickle

    import numpy as np

    from metamix import registry

    rng = np.random.default_rng(0)

    def data(n: int) -> tuple[Any, Any]:
        X = rng.standard_normal((n, columns))
        y = np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + rng.standard_normal(n)
        return X, (y > 0).astype(int) if kind == "classifiers" else y

    known = registry.classifiers if kind == "classifiers" else registry.regressors
    (X, y), few = data(n), data(300)
    known[name]().fit(*few).predict(few[0])  # libraries are loaded
    level = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    model = known[name]().fit(X, y)
    model.predict(X[: n // 4])
    return {"peak": status("VmHWM") - level, "model": len(pickle.dumps(model))}


#: Rows and columns of the fits of one expert, and experts that take n² and are fitted to a fifth of the rows.
SIZES = ((10_000, 5), (40_000, 5), (40_000, 20))
QUADRATIC = {"svm"}


def report_experts(names: list[str]) -> None:
    """Print the peak of a fit of each expert by name."""
    from metamix import registry

    for kind in ("regressors", "classifiers"):
        for name in getattr(registry, kind):
            if (names and name not in names) or name.startswith("torch"):
                continue
            for n, columns in SIZES:
                n = n // 5 if name in QUADRATIC else n
                words = [sys.executable, __file__, "--expert", f"{kind},{name},{n},{columns}"]
                done = subprocess.run(words, capture_output=True, text=True, check=False)
                if done.returncode:
                    print(f"{kind:12}{name:18}{n:6} × {columns:2}  {done.stderr.strip().splitlines()[-1][:80]}")
                    continue
                found = json.loads(done.stdout.splitlines()[-1])
                peak, model = found["peak"] / n, found["model"] / n
                print(f"{kind:12}{name:18}{n:6} × {columns:2}  peak {peak:7.0f}, model {model:5.0f} bytes per row")


PARTS = {"one": one_fit, "whole": whole_fit, "parallel": parallel_fit, "bare": bare_worker}


def measured(part: str, n: int, folds: int) -> dict[str, Any]:
    """Run one part in a new process."""
    words = [sys.executable, __file__, "--part", part, "--rows", str(n), "--cv", str(folds)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(n: int, folds: int) -> dict[str, float]:
    """Print the comparison; return the results in units of the table."""
    table = n * COLUMNS * 8
    one, whole = measured("one", n, folds), measured("whole", n, folds)
    print(
        f"{n} rows × {COLUMNS} columns, one table is {table / 1e6:.0f} MB; cv={folds}, four ridge experts, two rounds"
    )
    print(f"one weighted fit on one fold      {one['peak'] / table:6.2f} tables")
    print(f"the whole fit, serial             {whole['peak'] / table:6.2f} tables   ({whole['seconds']:.0f} s, "
          f"{whole['rounds']} rounds, {whole['unexplained']:.3f} of the variance unexplained)")  # fmt: skip
    over = (whole["peak"] - one["peak"]) / table
    print(f"above one fit                     {over:6.2f} tables   (to reach: at most 1)")
    print("  by phase, named by what ended it:")
    ranked = sorted(whole["phases"], key=lambda phase: -phase[1])[:6]
    for label, size in ranked:
        print(f"    {size / table:6.2f}  {label}")
    parallel, bare = measured("parallel", n, folds), measured("bare", n, folds)
    most = (max(parallel["workers"], default=0) - bare["own"]) / table
    print(f"n_jobs=2: written for the workers {parallel['written'] / table:6.2f} tables, {parallel['times']} time(s)")
    print(f"          own memory of a worker  {most:6.2f} tables above an idle one, at most")
    print(f"          driver                  {parallel['driver'] / table:6.2f} tables")
    return {"over": over, "written": parallel["written"] / table, "times": parallel["times"], "worker": most}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--cv", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="20,000 rows, where libraries outweigh the table")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--experts", nargs="?", const="", metavar="NAME,…", help="one fit of each expert by name")
    parser.add_argument("--expert", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.expert is not None:
        kind, name, rows, columns = options.expert.split(",")
        print(json.dumps(expert_fit(kind, name, int(rows), int(columns))))
        return
    if options.experts is not None:
        report_experts([name for name in options.experts.split(",") if name])
        return
    n = 20_000 if options.quick else options.rows
    if options.part:
        print(json.dumps(PARTS[options.part](n, options.cv)))
    else:
        report(n, options.cv)


if __name__ == "__main__":
    main()
