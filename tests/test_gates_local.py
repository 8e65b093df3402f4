"""Gates that look around: neighbours, trees, boosted trees, and any classifier that the user brings."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_moons
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

import metamix
from metamix import registry
from metamix.gates import ClassifierGate, NeighboursGate, SoftmaxGate
from metamix.testing import check_gate

BY_NAME = ("neighbours", "tree", "forest", "boosting")


def soft_labels(n=200, q=3, K=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, q)) @ rng.standard_normal((q, q))
    logits = X @ rng.standard_normal((q, K)) + 0.3 * rng.standard_normal((n, K))
    labels = np.exp(logits - logits.max(axis=1, keepdims=True))
    return X, labels / labels.sum(axis=1, keepdims=True)


# -- gates by name


@pytest.mark.parametrize("name", BY_NAME)
def test_gates_by_name_keep_the_contract(name):
    for _, check in check_gate(registry.gates[name]()):
        check()


@pytest.mark.parametrize("name", BY_NAME)
def test_a_curved_border_is_followed(name):
    """Two moons: no linear gate separates them."""
    X, regime = make_moons(600, noise=0.1, random_state=0)
    labels = np.where(regime[:, None] == [0, 1], 0.9, 0.1)
    fitted = registry.gates[name]().fit(X[:400], labels[:400])
    linear = SoftmaxGate(penalty=0.01).fit(X[:400], labels[:400])

    def wrong(gate):
        return (gate.predict_proba(X[400:]).argmax(axis=1) != regime[400:]).mean()

    assert wrong(fitted) < 0.05 < 0.08 < wrong(linear)
    assert np.abs(fitted.predict_proba(X[400:]).max(axis=1).mean() - 0.9) < 0.08  # and shares stay soft


@pytest.mark.parametrize("name", BY_NAME)
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_a_handful_of_rows_is_enough(name, n):
    X, labels = soft_labels(n=n)
    weights = registry.gates[name]().fit(X, labels).predict_proba(np.vstack([X, 50 * X]))
    assert np.isfinite(weights).all()
    assert np.allclose(weights.sum(axis=1), 1.0)


@pytest.mark.parametrize("name", BY_NAME)
def test_noise_does_not_make_a_gate_certain(name):
    rng = np.random.default_rng(0)
    X, labels = rng.standard_normal((400, 5)), np.eye(2)[rng.integers(0, 2, 400)]
    weights = registry.gates[name]().fit(X, labels).predict_proba(rng.standard_normal((400, 5)))
    assert np.sqrt(np.mean((weights - 0.5) ** 2)) < 0.3  # one that learns every row by heart has 0.5


@pytest.mark.parametrize("name", ["tree", "boosting"])
def test_trees_by_name_take_frames_with_gaps(name):
    rng = np.random.default_rng(0)
    city = np.array(["Rome", "Oslo", None], dtype=object)[rng.integers(0, 3, 300)]
    size = np.where(rng.random(300) < 0.2, np.nan, rng.standard_normal(300))
    frame = pd.DataFrame({"city": city, "size": size})
    labels = np.eye(2)[((city == "Rome") | (np.nan_to_num(size) > 1)).astype(int)]
    weights = registry.gates[name]().fit(frame, labels).predict_proba(frame)
    assert (weights.argmax(axis=1) == labels.argmax(axis=1)).mean() > 0.97


@pytest.mark.parametrize("name", ["tree", "boosting"])
def test_trees_by_name_take_sparse_columns(name):
    X, labels = soft_labels()
    X[np.abs(X) < 0.7] = 0.0
    dense, csr = (registry.gates[name](random_state=0).fit(Z, labels) for Z in (X, sparse.csr_matrix(X)))
    assert np.allclose(dense.predict_proba(X), csr.predict_proba(sparse.csr_matrix(X)), atol=0.02)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_mixture_with_the_gate_is_saved_and_loaded(name, tmp_path):
    X, y = metamix.make_regimes(150, random_state=0)
    mixture = metamix.MixtureRegressor(["ridge", "linear"], gate=name, specialize=False, cv=3, random_state=0)
    mixture.fit(X, y)
    metamix.save(mixture, tmp_path / "mixture")
    assert np.array_equal(metamix.load(tmp_path / "mixture").predict(X), mixture.predict(X))


# -- neighbours


@given(k=st.integers(1, 20), seed=st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_weights_are_those_of_the_textbook(k, seed):
    """Epanechnikov's kernel over the k nearest standardised rows, written out row by row."""
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


def test_the_nearest_row_alone_decides_for_one_neighbour():
    X, labels = soft_labels(n=100)
    standard = X / X.std(axis=0)
    new = 2 * np.random.default_rng(1).standard_normal((50, 3))
    expected = KNeighborsRegressor(1).fit(standard, labels).predict(new / X.std(axis=0))
    assert np.allclose(NeighboursGate(1).fit(X, labels).predict_proba(new), expected)


def test_weights_are_continuous_in_x():
    X = np.random.default_rng(0).standard_normal((80, 1))
    gate = NeighboursGate(7).fit(X, np.where(X > 0, [[0.9, 0.1]], [[0.2, 0.8]]))
    grid = np.linspace(X.min() - 1, X.max() + 1, 20_001)[:, None]
    assert np.abs(np.diff(gate.predict_proba(grid), axis=0)).max() < 0.03
    assert np.ptp(gate.predict_proba(grid)[:, 0]) > 0.3


def test_many_equal_rows_share():
    X = np.repeat([[0.0], [1.0]], 200, axis=0)
    labels = np.repeat([[0.8, 0.2], [0.1, 0.9]], 200, axis=0)
    assert np.allclose(NeighboursGate().fit(X, labels).predict_proba([[0.0], [1.0]]), [[0.8, 0.2], [0.1, 0.9]])


def test_more_neighbours_than_rows_are_all_rows():
    X, labels = np.array([[0.0], [1.0], [2.0]]), np.eye(3)
    gate = NeighboursGate(n_neighbors=50).fit(X, labels)
    assert gate.n_neighbors_ == 3
    assert (gate.predict_proba(X) > 0).all()


def test_rows_nobody_explains_leave_the_mean():
    X, labels = np.arange(40.0)[:, None], np.zeros((40, 2))
    labels[:10] = [0.3, 0.7]
    assert np.allclose(NeighboursGate(5).fit(X, labels).predict_proba([[35.0]]), [[0.3, 0.7]])


@pytest.mark.parametrize("number", [0, 2.5, True, "all", None])
def test_a_number_of_neighbours_that_is_none_is_refused(number):
    with pytest.raises(ValueError, match="n_neighbors"):
        NeighboursGate(number).fit(*soft_labels(n=10))


# -- any classifier


def test_leaves_of_a_tree_hold_mean_responsibilities():
    X, labels = soft_labels(n=300, seed=10)
    weight = np.random.default_rng(10).uniform(size=300)
    gate = ClassifierGate(DecisionTreeClassifier(max_leaf_nodes=5, random_state=0))
    weights = gate.fit(X, labels, sample_weight=weight).predict_proba(X)
    leaf = gate.classifier_.apply(X)
    for one in np.unique(leaf):
        expected = np.average(labels[leaf == one], axis=0, weights=weight[leaf == one])
        assert np.allclose(weights[leaf == one], expected, atol=2e-3)  # the smallest shares are left out


def test_weights_reach_a_classifier_inside_a_pipeline():
    X, labels = soft_labels(seed=11)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000))
    piped = ClassifierGate(pipeline).fit(X, labels).predict_proba(X)
    assert np.allclose(piped, SoftmaxGate(penalty=0).fit(X, labels).predict_proba(X), atol=0.01)


def test_a_classifier_without_weights_gets_rows_in_proportion():
    rng = np.random.default_rng(12)
    X = rng.standard_normal((3000, 1))
    labels = np.where(X > 0, [[0.9, 0.1]], [[0.2, 0.8]])
    gate = ClassifierGate(KNeighborsClassifier(300)).fit(X, labels)
    assert np.allclose(gate.predict_proba([[-1.0], [1.0]]), [[0.2, 0.8], [0.9, 0.1]], atol=0.07)
    again = clone(gate).fit(X, labels)
    assert np.array_equal(gate.predict_proba(X), again.predict_proba(X))


def test_columns_stay_with_their_experts():
    X, _ = soft_labels(n=50)
    labels = np.zeros((50, 4))
    labels[np.arange(50), np.where(X[:, 0] > 0, 3, 1)] = 1.0
    weights = ClassifierGate(RandomForestClassifier(10, random_state=0)).fit(X, labels).predict_proba(X)
    assert (weights[:, [0, 2]] == 0).all()
    assert ((weights.argmax(axis=1) == 3) == (X[:, 0] > 0)).mean() > 0.9


def test_a_classifier_without_probabilities_is_no_gate():
    with pytest.raises(TypeError, match="predict_proba"):
        ClassifierGate(LinearSVC()).fit(*soft_labels(n=10))
