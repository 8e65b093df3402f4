"""Simulated regimes have the documented properties; examples need no download."""

import socket

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import r2_score

from metamix.data.cells import column_kind
from metamix.data.tables import recognise_task
from metamix.datasets import load_example, make_regimes


@settings(max_examples=20)
@given(
    n=st.integers(50, 300),
    d=st.integers(1, 8),
    K=st.integers(1, 7),
    seed=st.integers(0, 10**6),
    task=st.sampled_from(["regression", "classification"]),
)
def test_shapes_frequencies_and_seeds(n, d, K, seed, task):
    X, y, regimes = make_regimes(n, d, K, task=task, random_state=seed, return_regimes=True)
    assert X.shape == (n, d)
    assert y.shape == regimes.shape == (n,)
    assert np.isfinite(y).all()
    assert np.bincount(regimes, minlength=K).min() >= n / (3 * K)
    assert regimes.max() == K - 1
    for a, b in zip(make_regimes(n, d, K, task=task, random_state=seed), (X, y), strict=True):
        np.testing.assert_array_equal(a, b)
    if task == "classification":
        assert y.dtype.kind == "i"
        assert set(y) <= {0, 1}


@pytest.mark.parametrize("d", [1, 2, 3, 6])
@pytest.mark.parametrize("K", [2, 3, 4, 6])
def test_boundaries_are_linear_in_the_first_columns(d, K):
    X, _, regimes = make_regimes(1500, d, K, random_state=d, return_regimes=True)
    gate = LogisticRegression(C=1e6, max_iter=2000).fit(X[:, :2], regimes)
    assert gate.score(X[:, :2], regimes) > 0.98


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("K", [2, 3, 4, 5])
def test_one_model_per_regime_fits_and_a_single_one_does_not(K, seed):
    X, y, regimes = make_regimes(4000, n_regimes=K, noise=0.3, random_state=seed, return_regimes=True)
    a, b = X[:, 2], X[:, 3]
    # All terms of the regression functions: given the true regime, only the noise remains.
    terms = np.c_[a, b, np.sin(3 * b), np.sin(3 * a), a * b, a**2, b**2]
    answer = np.empty_like(y)
    for k in range(K):
        rows = regimes == k
        answer[rows] = LinearRegression().fit(terms[rows], y[rows]).predict(terms[rows])
    assert np.sqrt(np.mean((y - answer) ** 2)) == pytest.approx(0.3, rel=0.05)
    assert r2_score(y, LinearRegression().fit(X, y).predict(X)) < 0.35
    assert r2_score(y, LinearRegression().fit(terms, y).predict(terms)) < 0.6


def test_classes_are_balanced_and_depend_on_the_regime():
    X, y, regimes = make_regimes(4000, task="classification", random_state=0, return_regimes=True)
    assert 0.4 < y.mean() < 0.6
    both = LogisticRegression().fit(X, y).score(X, y)
    apart = [LogisticRegression().fit(X[regimes == k], y[regimes == k]) for k in (0, 1)]
    scores = [apart[k].score(X[regimes == k], y[regimes == k]) for k in (0, 1)]
    assert min(scores) > both + 0.1


def test_noise_has_the_given_standard_deviation():
    quiet = make_regimes(5000, noise=0, random_state=3)
    loud = make_regimes(5000, noise=2.0, random_state=3)
    np.testing.assert_array_equal(quiet[0], loud[0])
    assert np.std(loud[1] - quiet[1]) == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_samples": 9}, "n_samples=9 .* at least 10"),
        ({"n_regimes": 0}, "n_regimes=0"),
        ({"n_features": 0}, "n_features=0"),
        ({"noise": -1}, "noise=-1"),
        ({"noise": float("nan")}, "noise=nan"),
        ({"task": "ranking"}, "task='ranking'"),
    ],
)
def test_invalid_parameters_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        make_regimes(**wrong)


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("diabetes", "regression"),
        ("breast_cancer", "classification"),
        ("regimes", "regression"),
        ("mixed", "regression"),
    ],
)
def test_examples_load_without_a_network(name, task, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("an example asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    X, y = load_example(name)
    assert isinstance(X, pd.DataFrame)
    assert isinstance(y, pd.Series)
    assert len(X) == len(y) >= 400
    assert y.notna().all()
    assert recognise_task(y) == task
    again = load_example(name)
    pd.testing.assert_frame_equal(X, again[0])
    pd.testing.assert_series_equal(y, again[1])


def test_the_mixed_example_has_all_types_of_columns():
    X, _ = load_example("mixed")
    assert {column_kind(X[c]) for c in X} == {"number", "text", "category", "boolean", "date"}
    assert X.isna().any().sum() == 3


def test_unknown_examples_are_named():
    with pytest.raises(ValueError, match=r"did you mean 'diabetes'.*the examples are diabetes, breast_cancer"):
        load_example("diabetis")
