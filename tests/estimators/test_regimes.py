"""Regimes that mixtures of estimators find: planted ones, starts given by the user, types of experts."""

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import adjusted_rand_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeRegressor

from metamix import MixtureRegressor, make_regimes
from metamix.gates import SoftmaxGate

POOL = [("line", LinearRegression()), ("tree", DecisionTreeRegressor(max_depth=3, random_state=0))]
FAST = {"gate": SoftmaxGate(penalty=0.001), "cv": 2, "random_state": 0}


def planted(n=240, seed=0):
    """Two planes on either side of x0 = 0."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 3))
    return X, np.where(X[:, 0] > 0, 4 * X[:, 1] + 3, -4 * X[:, 2]) + 0.1 * rng.standard_normal(n)


def error(mixture):
    """Root mean squared error on new rows; one plane has 2."""
    X, y = planted(1000, seed=9)
    return np.sqrt(np.mean((mixture.predict(X) - y) ** 2))


def test_planted_regimes_are_counted_and_found():
    X, y = planted(300)
    mixture = MixtureRegressor(POOL, **FAST).fit(X, y)
    assert mixture.n_experts_ == 2
    assert error(mixture) < 0.8
    assert adjusted_rand_score(X[:, 0] > 0, mixture.mixture_.assign(X)) > 0.8
    assert list(mixture.mixture_.named_experts_) == ["line-1", "line-2"], "the true law in both regimes"


def test_a_single_plane_is_one_regime():
    X, _ = planted(200)
    y = X @ [1.0, -2.0, 0.5] + 0.3 * np.random.default_rng(0).standard_normal(200)
    mixture = MixtureRegressor(POOL, **FAST).fit(X, y)
    assert mixture.n_experts_ == 1
    assert mixture.verdict_.n_regimes == 1
    assert "No regimes (regions with an expert of their own) were found." in str(mixture.verdict_)


@pytest.mark.parametrize("columns", [["age"], FunctionTransformer(lambda X: X[["age"]])], ids=["names", "transformer"])
def test_the_gate_divides_by_its_columns_and_laws_are_looked_for_in_all(columns):
    """The slope of one column changes with another, as in model-based recursive partitioning (Zeileis et al. 2008)."""
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"price": rng.normal(size=180), "age": rng.integers(1, 80, 180)})
    y = np.where(X["age"] < 20, -0.2, -1.0) * X["price"] + 4 + 0.4 * rng.standard_normal(180)
    law = make_pipeline(make_column_transformer(("passthrough", ["price"])), LinearRegression())
    mixture = MixtureRegressor([law], n_experts="auto", specialize=True, gate_features=columns, random_state=0).fit(
        X, y
    )
    assert mixture.n_experts_ == 2
    ages = pd.DataFrame({"price": 0.0, "age": np.arange(1, 81)})
    leader = mixture.assign(ages)
    (border,) = np.flatnonzero(np.diff(leader))
    assert abs(ages["age"][border] - 20) <= 5


def test_a_start_with_a_tiny_regime_is_pruned():
    X, y = planted()
    labels = (X[:, 0] > 0).astype(int)
    labels[:3] = 2
    mixture = MixtureRegressor(POOL, start=labels, max_rounds=2, **FAST).fit(X, y)
    assert not len(mixture.failures_)
    assert mixture.n_experts_ == 2
    assert error(mixture) < 0.8


def test_labels_that_a_fold_lacks_are_no_error():
    """The rows of one regime are all held out by the first fold."""
    X, y = planted()
    regime = (X[:, 0] > 0).astype(int)
    rows = np.arange(240)
    folds = [(rows[regime == 0], rows[regime == 1]), (rows[50:], rows[:50])]
    mixture = MixtureRegressor(POOL, start=regime, max_rounds=1, **{**FAST, "cv": folds}).fit(X, y)
    assert not len(mixture.failures_)
    assert mixture.n_experts_ == 2


@pytest.mark.parametrize("start", ["kmeans", "gmm"])
def test_a_named_start_keeps_the_mixture(start):
    X, y = make_regimes(120, 4, random_state=2)
    mixture = MixtureRegressor(POOL, start=start, max_rounds=1, n_experts=2, **FAST).fit(X, y)
    assert mixture.n_experts_ == 2
    assert "mixture" in mixture.named_experts_
    assert not len(mixture.failures_)


@pytest.mark.parametrize("kind", ["labels", "weights"])
def test_the_users_start_is_where_the_mixture_begins(kind):
    X, y = planted()
    regime = (X[:, 0] > 0).astype(int)
    start = regime if kind == "labels" else np.where(np.eye(2)[regime] == 1, 0.9, 0.1)
    lines = [("one", Ridge(1e-6)), ("two", Ridge(1e-6))]
    mixture = MixtureRegressor(lines, specialize=True, start=start, max_rounds=1, **FAST).fit(X, y)
    assert (mixture.assign(X) == regime).mean() > 0.95, "component k is regime k"
    assert error(mixture) < 0.8
