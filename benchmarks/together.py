"""Boosted trees of a large table chunk by chunk, and by all workers of a cluster at once: loss and time.

`python benchmarks/together.py` makes a table, fits one expert in each way with the same sample and held-out rows, and
predicts new rows. The cluster is two worker processes on this machine, of one thread each.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import distributed
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from beyond_memory import draw, law

from metamix import MixtureRegressor, scan
from metamix.experts import regressors
from metamix.progress import Event, listen

PARTS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--memory", default="150MB", help="of metamix.scan: less means more chunks")
    parser.add_argument("--trees", type=int, default=200)
    parser.add_argument("--leaves", type=int, default=31, help="of a tree of LightGBM")
    parser.add_argument("--experts", default="lightgbm,lightgbm_dask,xgboost,xgboost_dask")
    given = parser.parse_args()
    new = draw(200_000, np.random.default_rng(1)).to_pandas().drop(columns="y")
    truth, rare = law(new.to_numpy())
    with (
        tempfile.TemporaryDirectory() as name,
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        rng = np.random.default_rng(0)
        for part in range(PARTS):
            pq.write_table(draw(given.rows // PARTS, rng), Path(name) / f"{part}.parquet")
        found = {}
        for expert in given.experts.split(","):
            more = {"num_leaves": given.leaves} if expert.startswith("lightgbm") else {}
            model = getattr(regressors, expert)(n_estimators=given.trees, **more)
            mixture = MixtureRegressor([(expert, model)], specialize=False, cv=2, random_state=0)
            times: list[tuple[float, float]] = []
            chunks: list[int] = []

            def note(event: Event, times: list[tuple[float, float]] = times, chunks: list[int] = chunks) -> None:
                if event.kind == "part" and event.label in ("chunks", "held-out rows"):
                    in_workers = sum(client.run(time.process_time).values())
                    times.append((time.monotonic(), time.process_time() + in_workers))
                    chunks.append(event.total)

            with listen(note):
                mixture.fit(scan(name, memory=given.memory), "y")
            error = np.square(mixture.predict(new) - truth)
            found[expert] = {
                "chunks": chunks[0], "seconds": round(times[1][0] - times[0][0], 1),
                "of processors": round(times[1][1] - times[0][1], 1),
                "new rows": error.mean().round(5), "rare region": error[rare].mean().round(3),
            }  # fmt: skip
            print(expert, found[expert], flush=True)
    print("squared error against the law, without noise:")
    print(pd.DataFrame(found).T.to_string())


if __name__ == "__main__":
    main()
