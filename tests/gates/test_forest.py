"""The gate of bagged trees predicts what its forest predicts, and leaves the process alone."""

import warnings

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from metamix.gates.forest import ForestGate


@pytest.mark.parametrize("n_experts", [1, 2, 4])
@pytest.mark.parametrize("kind", ["array", "sparse", "frame"])
def test_weights_are_the_bits_of_the_forest(n_experts, kind):
    rng = np.random.default_rng(n_experts)
    X = np.where(rng.random((80, 3)) < 0.2, 0.0, rng.standard_normal((80, 3)))
    table = X if kind == "array" else sparse.csr_matrix(X)
    if kind == "frame":
        table = pd.DataFrame(X, columns=["a", "b", "c"])
        table["word"] = np.where(X[:, 0] > 0, "up", "down")
        table.loc[::9, "b"] = np.nan
    labels = rng.dirichlet(np.ones(n_experts), 80)
    gate = ForestGate(n_estimators=12, random_state=0).fit(table, labels)
    expected = gate.model_.predict(table).reshape(80, n_experts)  # scikit-learn's own
    np.testing.assert_array_equal(gate._tree_means(gate._encoded(table)), expected)
    assert np.allclose(gate.predict_proba(table), expected / expected.sum(axis=1, keepdims=True))


def test_predicting_leaves_the_warning_filters_alone(monkeypatch):
    """They belong to the process: a thread that replaces them for a moment changes those of the others."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 2))
    gate = ForestGate(n_estimators=5, random_state=0).fit(X, np.eye(2)[(X[:, 0] > 0).astype(int)])
    replaced = []
    original = warnings.resetwarnings
    monkeypatch.setattr(warnings, "resetwarnings", lambda: (replaced.append(True), original()))
    gate.predict_proba(X)
    assert not replaced
