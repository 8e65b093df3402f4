"""Any classifier as a gate: against mean responsibilities, the softmax gate and known shares."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from metamix.gates import ClassifierGate, SoftmaxGate


def test_leaves_of_a_tree_predict_mean_responsibilities(soft_labels):
    X, labels = soft_labels(n=300, seed=10)
    weight = np.random.default_rng(10).uniform(size=300)
    gate = ClassifierGate(DecisionTreeClassifier(max_leaf_nodes=5, random_state=0))
    weights = gate.fit(X, labels, sample_weight=weight).predict_proba(X)
    leaf = gate.classifier_.apply(X)
    for one in np.unique(leaf):
        expected = np.average(labels[leaf == one], axis=0, weights=weight[leaf == one])
        assert np.allclose(weights[leaf == one], expected, atol=2e-3)  # responsibilities below 0.001 are left out


def test_weights_reach_a_classifier_inside_a_pipeline(soft_labels):
    X, labels = soft_labels(seed=11)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000))
    piped = ClassifierGate(pipeline).fit(X, labels).predict_proba(X)
    assert np.allclose(piped, SoftmaxGate(penalty=0).fit(X, labels).predict_proba(X), atol=0.01)


def test_rows_are_resampled_for_a_classifier_without_weights():
    rng = np.random.default_rng(12)
    X = rng.standard_normal((3000, 1))
    labels = np.where(X > 0, [[0.9, 0.1]], [[0.2, 0.8]])
    gate = ClassifierGate(KNeighborsClassifier(300)).fit(X, labels)
    assert np.allclose(gate.predict_proba([[-1.0], [1.0]]), [[0.2, 0.8], [0.9, 0.1]], atol=0.07)
    again = clone(gate).fit(X, labels)
    assert np.array_equal(gate.predict_proba(X[:50]), again.predict_proba(X[:50]))


def test_experts_without_rows_have_weight_zero(soft_labels):
    X, _ = soft_labels(n=50)
    labels = np.zeros((50, 4))
    labels[np.arange(50), np.where(X[:, 0] > 0, 3, 1)] = 1.0
    weights = ClassifierGate(RandomForestClassifier(10, random_state=0)).fit(X, labels).predict_proba(X)
    assert (weights[:, [0, 2]] == 0).all()
    assert ((weights.argmax(axis=1) == 3) == (X[:, 0] > 0)).mean() > 0.9


def test_a_classifier_without_probabilities_is_rejected(soft_labels):
    with pytest.raises(TypeError, match="predict_proba"):
        ClassifierGate(LinearSVC()).fit(*soft_labels(n=10))
