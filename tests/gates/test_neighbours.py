"""The nearest-neighbours gate against its formula and scikit-learn's regressor."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsRegressor, NearestNeighbors

from metamix.gates import NeighboursGate


@given(k=st.integers(1, 20), seed=st.integers(0, 20))
@settings(max_examples=12)
def test_weights_are_kernel_weighted_means(soft_labels, k, seed):
    """Epanechnikov's kernel over the k nearest standardised rows, computed row by row."""
    X, labels = soft_labels(n=60, seed=seed)
    new, weight = X[:5] + 0.1, np.random.default_rng(seed).uniform(0.1, 1, 60)
    centre = np.average(X, axis=0, weights=weight)
    scale = np.sqrt(np.average((X - centre) ** 2, axis=0, weights=weight))
    found = NeighboursGate(k).fit(X, labels, sample_weight=weight).predict_proba(new)
    distances, rows = NearestNeighbors(n_neighbors=k + 1).fit(X / scale).kneighbors(new / scale)
    for i in range(len(new)):
        kernel = 1 - (distances[i, :k] / distances[i, k]) ** 2
        expected = np.average(labels[rows[i, :k]], axis=0, weights=kernel * weight[rows[i, :k]])
        assert np.allclose(found[i], expected)


def test_one_neighbour_gives_the_labels_of_the_nearest_row(soft_labels):
    X, labels = soft_labels(n=100)
    standard = X / X.std(axis=0)
    new = 2 * np.random.default_rng(1).standard_normal((50, 3))
    expected = KNeighborsRegressor(1).fit(standard, labels).predict(new / X.std(axis=0))
    assert np.allclose(NeighboursGate(1).fit(X, labels).predict_proba(new), expected)


def test_weights_are_continuous_in_x():
    X = np.random.default_rng(0).standard_normal((80, 1))
    gate = NeighboursGate(7).fit(X, np.where(X > 0, [[0.9, 0.1]], [[0.2, 0.8]]))
    grid = np.linspace(X.min() - 1, X.max() + 1, 20_001)[:, None]
    weights = gate.predict_proba(grid)
    assert np.abs(np.diff(weights, axis=0)).max() < 0.03
    assert np.ptp(weights[:, 0]) > 0.3


def test_equal_rows_give_their_mean_label():
    X = np.repeat([[0.0], [1.0]], 200, axis=0)
    labels = np.repeat([[0.8, 0.2], [0.1, 0.9]], 200, axis=0)
    assert np.allclose(NeighboursGate().fit(X, labels).predict_proba([[0.0], [1.0]]), [[0.8, 0.2], [0.1, 0.9]])


def test_more_neighbours_than_rows_are_limited_to_all_rows():
    X, labels = np.array([[0.0], [1.0], [2.0]]), np.eye(3)
    gate = NeighboursGate(n_neighbors=50).fit(X, labels)
    assert gate.n_neighbors_ == 3
    assert (gate.predict_proba(X) > 0).all()


def test_neighbours_without_responsibility_give_the_mean_responsibilities():
    X, labels = np.arange(40.0)[:, None], np.zeros((40, 2))
    labels[:10] = [0.3, 0.7]
    assert np.allclose(NeighboursGate(5).fit(X, labels).predict_proba([[35.0]]), [[0.3, 0.7]])


@pytest.mark.parametrize("number", [0, 2.5, True, "all", None])
def test_an_invalid_number_of_neighbours_is_named(number, soft_labels):
    with pytest.raises(ValueError, match="n_neighbors"):
        NeighboursGate(number).fit(*soft_labels(n=10))
