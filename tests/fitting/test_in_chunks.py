"""Fits that continue from chunk to chunk: what one fit to all rows gives, weights, classes, and what cannot."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression, SGDRegressor
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from metamix.experts import classifiers, regressors
from metamix.fitting import NamedExpert, Problem, fit_expert
from metamix.fitting.in_chunks import ChunkwiseFit, learns_in_chunks

N = 3_000


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (N, 3))
    return X, np.sin(4 * X[:, 0]) * np.sign(X[:, 1]) + 0.1 * rng.normal(size=N)


def truth(X):
    return np.sin(4 * X[:, 0]) * np.sign(X[:, 1])


def fitted(model, X, y, **problem):
    return fit_expert(NamedExpert("one", model), Problem(X, y, **problem), None, None)


def in_chunks(expert, X, y, n=500, weight=None):
    chunkwise = ChunkwiseFit(expert, len(y))
    for begin in range(0, len(y), n):
        part = slice(begin, begin + n)
        chunkwise.learn(X[part], y[part], None if weight is None else weight[part])
    return chunkwise.expert


BOOSTERS = [
    lambda: regressors.lightgbm(n_estimators=60, learning_rate=0.1, random_state=0),
    lambda: regressors.xgboost(n_estimators=60, learning_rate=0.1, colsample_bytree=1.0, random_state=0),
]


@pytest.mark.parametrize("make", BOOSTERS, ids=["lightgbm", "xgboost"])
def test_boosters_grow_their_trees_on_all_chunks(rows, make):
    X, y = rows
    sample = fitted(make(), X[:300], y[:300])
    before = sample.predict(X)
    one = in_chunks(sample, X, y)
    new = np.random.default_rng(1).uniform(-1, 1, (2_000, 3))
    error = [np.mean((each.predict(new) - truth(new)) ** 2) for each in (sample, one)]
    assert error[1] < 0.8 * error[0]
    np.testing.assert_array_equal(sample.predict(X), before)  # which stays what it was
    last = one.model.named_steps["model"].regressor_
    assert last.get_params()["n_estimators"] == 60
    assert last.get_params()["random_state"] == 0
    trees = last.booster_.num_trees() if hasattr(last, "booster_") else last.get_booster().num_boosted_rounds()
    assert trees == 60
    np.testing.assert_array_equal(one.predict(new), in_chunks(sample, X, y).predict(new))


@pytest.mark.parametrize("make", BOOSTERS, ids=["lightgbm", "xgboost"])
def test_rows_without_weight_teach_nothing(rows, make):
    X, y = rows
    spoiled = np.where(np.arange(N) % 2, y, 1e3)
    found = in_chunks(fitted(make(), X[:300], y[:300]), X, spoiled, weight=(np.arange(N) % 2).astype(float))
    assert np.mean((found.predict(X) - truth(X)) ** 2) < 0.2


def test_naive_bayes_in_chunks_is_naive_bayes_of_all_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 2))
    y = (X[:, 0] + rng.normal(size=900) > 0).astype(int)
    labels = np.array(["no", "yes"])
    sample = fitted(GaussianNB(), X[:300], y[:300], n_classes=2, labels=labels)
    chunkwise = ChunkwiseFit(sample, 900)
    for begin in (300, 600):
        chunkwise.learn(X[begin : begin + 300], y[begin : begin + 300])
    whole = GaussianNB().fit(X, labels[y])
    np.testing.assert_allclose(chunkwise.expert.predict(X), whole.predict_proba(X), rtol=1e-6)


def rounds(expert):
    last = expert.model.named_steps["model"].classifier_
    return last.booster_.current_iteration() if hasattr(last, "booster_") else last.get_booster().num_boosted_rounds()


@pytest.mark.parametrize("kind", ["array", "frame"])
@pytest.mark.parametrize("make", [classifiers.lightgbm, classifiers.xgboost])
def test_chunks_that_lack_a_rare_class_teach_no_less_than_others(make, kind):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (N, 2))
    y = (X[:, 0] > 0).astype(int)
    y[[5, 100, 200, 250, 2_990, 2_995]] = 2  # in the first chunk and in the last
    labels = np.array(["a", "b", "rare"])
    table = X if kind == "array" else pd.DataFrame(X, columns=["u", "v"])
    sample = fitted(make(n_estimators=30, learning_rate=0.2), table[:300], y[:300], n_classes=3, labels=labels)
    chunkwise = ChunkwiseFit(sample, N)
    grown = []
    for begin in range(0, N, 300):
        chunkwise.learn(table[begin : begin + 300], y[begin : begin + 300])
        grown.append(rounds(chunkwise.expert))
    assert grown == list(range(3, 31, 3))
    assert chunkwise.n_learned == N
    proba = chunkwise.result.predict(table)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-5)
    assert (proba.argmax(axis=1) == (X[:, 0] > 0)).mean() > 0.95


@pytest.mark.parametrize("make", [classifiers.lightgbm, classifiers.xgboost])
def test_a_chunk_grows_no_more_trees_than_its_share(make):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (1_000, 2))
    y = (X[:, 0] > 0).astype(int)
    sample = fitted(make(n_estimators=30), X[:300], y[:300], n_classes=2, labels=np.array(["a", "b"]))
    chunkwise = ChunkwiseFit(sample, 1_000)
    chunkwise.learn(X[:800], y[:800], np.zeros(800))
    assert chunkwise.result is None
    chunkwise.learn(X[800:], y[800:])
    assert (rounds(chunkwise.result), chunkwise.n_learned) == (6, 200)


def test_nothing_is_new_where_a_class_never_came():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (600, 2))
    y = (X[:, 0] > 0).astype(int)
    sample = fitted(classifiers.lightgbm(n_estimators=5), X, y, n_classes=2, labels=np.array(["a", "b"]))
    chunkwise = ChunkwiseFit(sample, 300)
    chunkwise.learn(X[y == 0], y[y == 0])
    assert (chunkwise.result, chunkwise.n_learned) == (None, 0)


def test_networks_continue_from_where_they_were(rows):
    X, y = rows
    sample = fitted(regressors.mlp(random_state=0), X[:300], y[:300])
    found = in_chunks(sample, X, y)
    errors = [np.mean((one.predict(X) - truth(X)) ** 2) for one in (sample, found)]
    assert errors[1] < errors[0]
    assert found.model.named_steps["model"].regressor_.early_stopping is True


def test_weights_that_are_not_taken_draw_rows(rows):
    X, y = rows
    network = make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(20,), tol=0.01, random_state=0))
    sample = fitted(network, X[:300], y[:300])
    spoiled = np.where(np.arange(N) % 2, y, 1e3)
    found = in_chunks(sample, X, spoiled, weight=np.where(np.arange(N) % 2, 0.7, 0.0))
    assert np.abs(found.predict(X)).max() < 10


def test_targets_are_transformed_as_in_the_first_fit(rows):
    X, y = rows
    model = TransformedTargetRegressor(SGDRegressor(random_state=0), transformer=StandardScaler())
    X, y = X[:, :1], 1e3 + 1e2 * X[:, 0] + y
    found = in_chunks(fitted(model, X[:300], y[:300]), X, y)
    assert abs(found.predict(X).mean() - y.mean()) < 20


def test_what_cannot_learn_in_chunks(rows):
    X, y = rows
    stopped = regressors.lightgbm(early_stopping_round=5)
    for model in (LinearRegression(), regressors.ridge(), regressors.boosting(max_iter=5), stopped):
        assert not learns_in_chunks(fitted(model, X[:200], y[:200]))
    two = fit_expert(NamedExpert("two", MLPRegressor(tol=0.01)), Problem(X[:99], np.c_[y, y][:99]), None, None)
    assert not learns_in_chunks(two)
