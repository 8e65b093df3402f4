"""Boosters that a cluster fits to all chunks at once: what one fit to all rows gives, and workers that are lost."""

import os
import signal
import sys
import time
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPRegressor

from metamix import MixtureRegressor, load, save, scan
from metamix.engines import DaskEngine
from metamix.experts import OnCluster, classifiers, regressors
from metamix.experts.on_columns import on_columns
from metamix.fitting import NamedExpert, Problem, fit_expert
from metamix.fitting.in_chunks import ChunkwiseFit, last_learner, reaching
from metamix.fitting.on_cluster import ClusterFit, chunkwise_fit, cluster_engine, cluster_part
from metamix.persistence import untrusted_types
from metamix.progress import listen

lightgbm, xgboost = pytest.importorskip("lightgbm"), pytest.importorskip("xgboost")
distributed = pytest.importorskip("distributed", reason='distributed is not installed: pip install "metamix[dask]"')
dask, array = pytest.importorskip("dask"), pytest.importorskip("dask.array")
pytest.importorskip("xgboost.dask")

# Functions of this module are pickled by value, as those of a notebook are.
cloudpickle.register_pickle_by_value(sys.modules[__name__])
N = 6_000


@pytest.fixture(scope="module")
def client():
    """Two worker processes on this machine, and the current client."""
    # A LocalCluster gives a worker up that is killed again 15 s after it was killed before.
    with (
        dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (N, 3))
    return X, truth(X) + 0.1 * rng.normal(size=N)


def truth(X):
    return np.sin(4 * X[:, 0]) + X[:, 1] * X[:, 2]


def fitted(model, X, y, **problem):
    return fit_expert(NamedExpert("trees", model), Problem(X, y, **problem), None, None)


def on_cluster(expert, X, y, folder, weight=None):
    fit = chunkwise_fit(expert, len(y), folder)
    assert isinstance(fit, ClusterFit)
    for begin in range(0, len(y), 1_000):
        part = slice(begin, begin + 1_000)
        fit.learn(X[part], y[part], None if weight is None else weight[part])
    fit.end()
    assert not [path for path in folder.rglob("*") if path.is_file()]
    return fit.result


def check_empty(client):
    """Workers drop data as soon as the scheduler has told them to."""
    deadline = time.monotonic() + 20
    while any(left := client.run(lambda dask_worker: list(map(str, dask_worker.data))).values()):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_without_a_cluster_the_error_says_so_before_anything_is_fitted(tmp_path):
    frame = pd.DataFrame(np.random.default_rng(0).uniform(-1, 1, (30_000, 3)), columns=["a", "b", "y"])
    frame.to_parquet(tmp_path / "big.parquet")
    events = []
    with (
        listen(events.append),
        pytest.raises(ValueError, match=r"expert lightgbm_dask is trained by .*'dask' found no client: give.*take 'li"),
    ):
        MixtureRegressor(["ridge", "lightgbm_dask"], random_state=0).fit(scan(tmp_path, memory="2MB"), "y")
    assert events == []


#: Without rows or columns drawn at random, which workers draw in another way.
SETTINGS = {"n_estimators": 60, "learning_rate": 0.1, "random_state": 0, "subsample": 1.0, "colsample_bytree": 1.0}
MAKERS = [regressors.lightgbm_dask, regressors.xgboost_dask]
BY_NAME = {"argvalues": MAKERS, "ids": ["lightgbm", "xgboost"]}


def by_the_library(learner, X, y, client):
    """The booster as the library's own module for Dask fits it, with the same rows in each of two workers."""
    parts = np.r_[0:N:2, 1:N:2]
    X, y = (array.from_array(np.ascontiguousarray(one[parts]), chunks=(N // 2, *one.shape[1:])) for one in (X, y))
    given = learner.get_params()
    if isinstance(learner, lightgbm.LGBMModel):
        return lightgbm.DaskLGBMRegressor(**{k: v for k, v in given.items() if k != "n_jobs"}).fit(X, y).to_local()
    matrix = xgboost.dask.DaskQuantileDMatrix(client, X, y)
    settings = {k: v for k, v in learner.get_xgb_params().items() if v is not None}
    return xgboost.dask.train(client, settings, matrix, given["n_estimators"])["booster"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")  # of the library's own module
@pytest.mark.parametrize("make", **BY_NAME)
def test_the_trees_are_those_of_the_librarys_own_module(client, rows, tmp_path, make):
    X, y = rows
    sample = fitted(make(**SETTINGS), X[:500], y[:500])
    before = sample.predict(X)
    found = on_cluster(sample, X, y, tmp_path)
    check_empty(client)
    last = last_learner(found.model)
    assert repr(last.get_params()) == repr(last_learner(sample.model).get_params())
    theirs = by_the_library(clone(last), *reaching(sample.model, X, y), client)
    new = np.random.default_rng(1).uniform(-1, 1, (4_000, 3))
    columns = reaching(sample.model, new, np.zeros(len(new)))[0]
    if isinstance(theirs, xgboost.Booster):
        np.testing.assert_array_equal(last.predict(columns), theirs.inplace_predict(columns))
    else:  # which half is that of the first worker decides where columns are binned
        assert np.mean((last.predict(columns) - theirs.predict(columns)) ** 2) < 0.02
    whole = fitted(make(**SETTINGS), X, y).predict(new)
    errors = [np.mean((one - truth(new)) ** 2) for one in (sample.predict(new), whole, found.predict(new))]
    assert errors[2] < min(0.7 * errors[0], 1.5 * errors[1])
    np.testing.assert_array_equal(sample.predict(X), before)  # which stays what it was


@pytest.mark.slow
@pytest.mark.parametrize("make", **BY_NAME)
def test_rows_without_weight_do_not_count(client, rows, tmp_path, make):
    X, y = rows
    spoiled, weight = np.where(np.arange(N) % 2, y, 1e3), (np.arange(N) % 2).astype(float)
    found = on_cluster(fitted(make(**SETTINGS), X[:500], y[:500]), X, spoiled, tmp_path, weight)
    assert np.mean((found.predict(X) - truth(X)) ** 2) < 0.03


@pytest.mark.slow
@pytest.mark.parametrize("make", [classifiers.lightgbm_dask, classifiers.xgboost_dask])
def test_each_worker_knows_a_class_that_only_one_has(client, tmp_path, make):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (N, 2))
    y = (X[:, 0] > 0).astype(int)
    y[[4, 100, 1_000]] = 2  # rows with even numbers are those of the first worker
    frame = pd.DataFrame(X, columns=["u", "v"])
    sample = fitted(make(n_estimators=30, learning_rate=0.2), frame[:500], y[:500], n_classes=3, labels=np.arange(3))
    proba = on_cluster(sample, frame, y, tmp_path).predict(frame)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    assert (proba.argmax(axis=1) == (X[:, 0] > 0)).mean() > 0.95


class SquaredError:
    """The objective of least squares; in the tenth tree of the first attempt something happens to one worker."""

    def __init__(self, folder, happens=None):
        self.folder, self.happens, self.calls = Path(folder), happens, 0

    def __call__(self, y, predictions, sample_weight=None):
        self.calls += 1
        mark = self.folder / "happened"
        if self.happens is not None and self.calls == 10 and not mark.exists() and y[0] != 0.0:
            mark.touch()
            self.happens()
        weight = np.ones_like(y) if sample_weight is None else sample_weight
        return (predictions - y) * weight, weight


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def stop():
    os.kill(os.getpid(), signal.SIGSTOP)


def booster(library, objective, **limits):
    settings = SETTINGS | {"objective": objective, "n_jobs": 1}
    if library == "lightgbm":
        model = lightgbm.LGBMRegressor(**settings, verbosity=-1)
    else:
        model = xgboost.XGBRegressor(**settings, base_score=0.0)
    return OnCluster([("model", model)], **limits)


def with_objective(sample, objective):
    """The expert as if it had been fitted to the sample with another objective, which must not happen here."""
    last_learner(sample.model).set_params(objective=objective)
    return sample


@pytest.mark.heavy
@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_a_worker_killed_in_the_middle_changes_nothing(client, rows, tmp_path, library):
    X, y = rows
    y = y.copy()
    y[::2][0] = 0.0  # marks the rows of the first worker
    folders = [tmp_path / name for name in ("notes", "one", "other")]
    for folder in folders:
        folder.mkdir()
    harmless = SquaredError(folders[0])
    client.wait_for_workers(2, timeout=60)
    found = []
    for folder, objective in zip(folders[1:], (harmless, SquaredError(folders[0], kill)), strict=True):
        sample = with_objective(fitted(booster(library, harmless), X[:500], y[:500]), objective)
        found.append(on_cluster(sample, X, y, folder).predict(X))
    assert (folders[0] / "happened").exists()
    np.testing.assert_array_equal(found[1], found[0])
    assert np.mean((found[0] - truth(X)) ** 2) < 0.03
    check_empty(client)


@pytest.mark.heavy
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGSTOP")
@pytest.mark.parametrize("library", ["lightgbm", "xgboost"])
def test_a_stopped_worker_is_ended_at_the_time_limit(client, rows, tmp_path, library):
    X, y = rows
    y[::2][0] = 0.0
    client.wait_for_workers(2, timeout=60)
    notes, folder = tmp_path / "notes", tmp_path / "rows"
    notes.mkdir()
    folder.mkdir()
    harmless = SquaredError(notes)
    sample = fitted(booster(library, harmless, time_limit=15), X[:500], y[:500])
    with pytest.raises(TimeoutError, match=r"trees took longer on 2 workers .* limit of 15 s.*set its time_limit"):
        on_cluster(with_objective(sample, SquaredError(notes, stop)), X, y, folder)
    client.wait_for_workers(2, timeout=60)
    sample.model.set_params(time_limit=300)
    found = on_cluster(with_objective(sample, harmless), X, y, folder)
    assert np.mean((found.predict(X) - truth(X)) ** 2) < 0.03


@pytest.mark.heavy
def test_a_mixture_of_a_large_table_is_as_good_as_one_fit_to_all_of_it(client, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.uniform(-1, 1, (30_000, 3)), columns=list("abc"))
    law = 2 * frame["b"] + np.where(frame["a"] > 0.96, 8 * np.sin(5 * frame["b"]), 0.0)
    frame["y"] = law + 0.3 * rng.normal(size=30_000)
    frame.to_parquet(tmp_path / "big.parquet")
    trees = regressors.lightgbm_dask(n_estimators=150, learning_rate=0.1)
    mixture = MixtureRegressor(
        [("ridge", regressors.ridge()), ("trees", trees)], specialize=False, cv=2, random_state=0
    )
    mixture.fit(scan(tmp_path, memory="2MB"), "y")
    assert mixture.failures_.empty
    assert "rows: trees." in str(mixture.verdict_)
    save(mixture, tmp_path / "big.mix")
    again = load(tmp_path / "big.mix", trusted=untrusted_types(tmp_path / "big.mix"))
    features = frame.drop(columns="y")
    np.testing.assert_array_equal(again.predict(features), mixture.predict(features))
    whole = trees.fit(frame.drop(columns="y"), frame["y"])
    new = pd.DataFrame(rng.uniform(-1, 1, (20_000, 3)), columns=list("abc"))
    law = 2 * new["b"] + np.where(new["a"] > 0.96, 8 * np.sin(5 * new["b"]), 0.0)
    assert np.mean((mixture.predict(new) - law) ** 2) < 1.3 * np.mean((whole.predict(new) - law) ** 2)


def test_the_engine_is_that_of_the_current_client_or_of_use_engine(client):
    assert isinstance(cluster_engine("one"), DaskEngine)
    assert cluster_engine("one").client is client


def test_a_cluster_is_asked_for_by_experts_that_see_some_columns_too(rows, tmp_path):
    X, y = rows
    model = on_columns(regressors.lightgbm_dask(n_estimators=5, time_limit=70.0), [0, 2])
    expert = fitted(model, X[:500], y[:500])
    assert isinstance(chunkwise_fit(expert, N, tmp_path), ClusterFit)
    assert cluster_part(expert.model).time_limit == 70.0


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"time_limit": None}, r"time_limit=None is no number of seconds; give one above 0"),
        ({"time_limit": float("inf")}, r"time_limit=inf is no number of seconds"),
        ({"n_restarts": -1}, r"n_restarts=-1 is no number of restarts; give 0"),
    ],
)
def test_limits_are_checked_before_anything_is_fitted(rows, given, error):
    with pytest.raises(ValueError, match=error):
        regressors.lightgbm_dask(**given).fit(rows[0][:50], rows[1][:50])


@pytest.mark.slow
def test_workers_that_are_threads_of_this_process_are_refused():
    with (
        distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=":0") as cluster,
        distributed.Client(cluster),
        pytest.raises(ValueError, match=r"expert trees is trained by workers that are processes .*processes=True"),
    ):
        cluster_engine("trees")


def test_others_learn_chunk_by_chunk_and_what_is_no_booster_is_refused(rows, tmp_path):
    X, y = rows
    assert type(chunkwise_fit(fitted(regressors.lightgbm(n_estimators=5), X, y), N, tmp_path)) is ChunkwiseFit
    assert chunkwise_fit(fitted(regressors.ridge(), X, y), N, tmp_path) is None
    for model in (MLPRegressor(tol=0.1), LinearRegression()):
        with pytest.raises(TypeError, match="a cluster can train boosters of XGBoost and LightGBM without early stop"):
            OnCluster([("model", model)]).fit(X, y)
