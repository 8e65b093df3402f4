"""Model trees: the first cut against all cuts, planted planes, and a single plane."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metamix.training.regime_search.model_tree import leaves


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), n=st.integers(12, 30))
def test_the_first_cut_is_the_best_of_all(seed, n):
    """Against every cut of every column, each side fitted by least squares."""
    rng = np.random.default_rng(seed)
    X, Y, weight = rng.normal(size=(n, 2)), rng.normal(size=(n, 1)), rng.uniform(0.5, 2, n)
    terms = np.column_stack([np.ones(n), X])

    def error(rows):
        root = np.sqrt(weight[rows, None])
        return np.linalg.lstsq(root * terms[rows], root * Y[rows], rcond=None)[1].sum()

    best = np.inf
    for column in X.T:
        order = np.argsort(column)
        for cut in range(5, n - 4):
            best = min(best, error(order[:cut]) + error(order[cut:]))
    (labels,) = leaves(X, terms, Y, weight, most=2, fewest=5)
    found = error(np.flatnonzero(labels == 0)) + error(np.flatnonzero(labels == 1))
    assert found == pytest.approx(best, rel=1e-3)


def test_leaves_follow_planted_planes():
    X = np.random.default_rng(0).uniform(-1, 1, (200, 2))
    terms, y = np.column_stack([np.ones(200), X]), np.abs(X).sum(axis=1)
    *_, four = leaves(X, terms, y[:, None], np.ones(200), most=4, fewest=5)
    quadrant = 2 * (X[:, 0] > 0) + (X[:, 1] > 0)
    shares = np.array([[np.mean(quadrant[four == leaf] == q) for q in range(4)] for leaf in range(4)])
    assert (shares.max(axis=1) > 0.95).all()
    assert sorted(shares.argmax(axis=1)) == [0, 1, 2, 3]


def test_partitions_are_nested_and_no_leaf_is_too_small():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (120, 2))
    before = np.zeros(120, dtype=int)
    found = list(leaves(X, np.ones((120, 1)), rng.normal(size=(120, 1)), np.ones(120), most=6, fewest=12))
    assert len(found) == 5
    for labels in found:
        assert np.bincount(labels).min() >= 12
        split = [np.unique(labels[before == leaf]) for leaf in range(before.max() + 1)]
        assert sorted(len(one) for one in split)[-2:].count(2) == 1, "one leaf becomes two"
        before = labels


def test_one_plane_is_not_cut():
    X = np.random.default_rng(0).uniform(-1, 1, (60, 2))
    assert not list(leaves(X, np.column_stack([np.ones(60), X]), X @ [[2.0], [1.0]], np.ones(60), most=3, fewest=5))


def test_equal_values_are_not_separated():
    x = np.repeat([0.0, 1.0, 2.0], 20)
    (labels,) = leaves(x[:, None], np.ones((60, 1)), (x > 1)[:, None] * 1.0, np.ones(60), most=2, fewest=5)
    np.testing.assert_array_equal(labels, np.repeat([0, 0, 1], 20))
