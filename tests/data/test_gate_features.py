"""Features of gates: Jacobians against finite differences."""

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from metamix.data.gate_features import GateFeatures, StackColumns
from metamix.derivatives import NoGradientError


def central(function, X, step=1e-5):
    """Derivatives (n, ..., d) of a function of rows by central differences."""
    X = np.asarray(X, dtype=float)
    slopes = []
    for j in range(X.shape[1]):
        h = np.zeros(X.shape[1])
        h[j] = step * max(1e-12, X[:, j].std())
        slopes.append((np.asarray(function(X + h)) - np.asarray(function(X - h))) / (2 * h[j]))
    return np.stack(slopes, axis=-1)


def table(n=60, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d)) * [1e3, 1.0, 1e-4][:d] + [5e3, 0.0, 1.0][:d]
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    return X, Z[:, 0] - Z[:, 1] * Z[:, 2] + 0.1 * rng.standard_normal(n)


def close(found, expected):
    size = np.abs(expected).max(axis=tuple(range(expected.ndim - 1)), keepdims=True)
    return found.shape == expected.shape and (np.abs(found - expected) <= 1e-5 * size + 1e-12).all()


@pytest.mark.parametrize(
    "kind",
    ["x", [2, 0], make_pipeline(StandardScaler(), PCA(2)), make_pipeline(StandardScaler(), PolynomialFeatures(2))],
    ids=str,
)
@pytest.mark.parametrize("missing", [False, True])
def test_jacobians_equal_finite_differences(kind, missing):
    X, _ = table()
    training = X.copy()
    if missing and isinstance(kind, str | list):
        training[3, 0] = np.nan  # an encoder then stands in between
    features = GateFeatures(kind, most_columns=2 if kind == "x" else None).fit(training)
    assert close(features.jacobian(X), central(features.base, X))


def test_columns_of_frames_are_found_by_name():
    X, _ = table()
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    features = GateFeatures(["c", "a"]).fit(frame)
    expected = central(lambda X: features.base(pd.DataFrame(X, columns=["a", "b", "c"])), X)
    assert close(features.jacobian(frame), expected)


@pytest.mark.parametrize("kind", ["predictions", "both"])
def test_features_made_of_predictions(kind):
    X, _ = table()
    Z = StandardScaler().fit(X)
    features = GateFeatures(kind).fit(X)

    def predictions(X):
        return np.column_stack([np.sin(Z.transform(X)[:, 0]), Z.transform(X).prod(axis=1)])

    slopes = central(predictions, X)
    expected = central(lambda X: features.join(features.base(X), predictions(X)), X)
    assert close(features.jacobian(X, predictions(X), slopes), expected)
    with pytest.raises(NoGradientError, match=kind):
        features.jacobian(X)


def test_transformers_without_jacobian_are_named():
    X, _ = table()
    with pytest.raises(NoGradientError, match="KMeans"):
        GateFeatures(KMeans(2, n_init=1, random_state=0)).fit(X).jacobian(X)


def test_jacobians_of_stack_columns():
    X, _ = table()
    assert np.array_equal(StackColumns().fit(X).jacobian(X), np.tile(np.eye(3), (60, 1, 1)))
    training = X.copy()
    training[3, 0] = np.nan
    columns = StackColumns().fit(training)
    assert close(columns.jacobian(X), central(columns.dense, X))
