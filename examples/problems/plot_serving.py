"""
A saved mixture behind a service
================================

A mixture that was fitted elsewhere answers requests: it is read once, and threads share it. The same file predicts a
column of a polars query. FastAPI need not be installed for this page; its part is run where it is.
"""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl

from metamix import MixtureRegressor, load, load_example, save

# %%
# Fitted once, saved
# ------------------
#
# A service should not depend on the program that fits. What it needs is a file.
X, y = load_example("diabetes")
known, new = X.iloc[:400], X.iloc[400:]
mixture = MixtureRegressor(["ridge", "kriging"], specialize=False, random_state=0).fit(known, y.iloc[:400])
path = Path(tempfile.mkdtemp()) / "diabetes.mix"
save(mixture, path)

# %%
# Read once, asked from many threads
# ----------------------------------
#
# ``predict``, ``predict_proba``, ``predict_interval`` and ``gate_weights`` change nothing in a fitted mixture, and give
# the same bits in a thread as alone. ``fit``, ``partial_fit`` and ``set_params`` change it: load a new model as another
# object, and put it in the place of the old one. The page on serving says what else is not for several threads.
served = load(path)
rows = [new.iloc[[i]] for i in range(len(new))]
with ThreadPoolExecutor(16) as threads:
    at_once = np.concatenate(list(threads.map(served.predict, rows)))
print("threads answer the same bits:", np.array_equal(at_once, np.concatenate([mixture.predict(row) for row in rows])))

# %%
# FastAPI
# -------
#
# The function is ``def`` and not ``async def``: FastAPI then calls it in a thread of its pool, and a prediction does
# not hold up other requests. One thread for each prediction is enough, and processes use the cores, each with the file
# read once: ``OMP_NUM_THREADS=1 uvicorn service:app --workers 4``. Where rows are refused, the message says what would
# do.


def make_app(path):
    from fastapi import FastAPI, HTTPException

    served = load(path)
    app = FastAPI()

    @app.post("/predict")
    def predict(rows: list[dict[str, float]]) -> list[dict[str, float]]:
        try:
            X = pd.DataFrame(rows)
            low, high = served.predict_interval(X, 0.9).T
            answers = {"predicted": served.predict(X), "low": low, "high": high}
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        return pd.DataFrame(answers).to_dict("records")

    return app


try:
    from fastapi.testclient import TestClient
except (ImportError, RuntimeError):  # starlette raises the second where its client has no httpx2
    print("FastAPI is not installed here: pip install fastapi uvicorn httpx2")
else:
    client = TestClient(make_app(path))
    answer = client.post("/predict", json=new.iloc[:2].to_dict("records"))
    print(answer.status_code, answer.json())
    refused = client.post("/predict", json=new.iloc[:2].drop(columns="bmi").to_dict("records"))
    print(refused.status_code, refused.json()["detail"])

# %%
# A column of a polars query
# --------------------------
#
# ``pl.struct`` gathers the columns, ``map_batches`` hands them over as one series, and ``unnest`` makes a frame of it.
# The columns are found by name, so the mixture may have been fitted to pandas. A prediction needs no other row, which
# ``is_elementwise=True`` says: polars may hand over one batch after the other.


def predicted(batch: pl.Series) -> pl.Series:
    return pl.Series(served.predict(batch.struct.unnest()))


query = pl.LazyFrame(new.to_dict("list")).with_columns(
    pl.struct(pl.col(list(new.columns)))
    .map_batches(predicted, return_dtype=pl.Float64, is_elementwise=True)
    .alias("predicted")
)
answer = query.filter(pl.col("predicted") > 200).select("age", "bmi", "predicted").collect()
print(answer)
print("as from pandas:", np.allclose(query.collect()["predicted"].to_numpy(), served.predict(new)))
