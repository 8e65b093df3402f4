"""Data and objectives that several tests of gates use; fixtures return functions."""

import numpy as np
import pytest


def _soft_labels(n=200, q=3, K=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, q)) @ rng.standard_normal((q, q))
    logits = X @ rng.standard_normal((q, K)) + 0.3 * rng.standard_normal((n, K))
    labels = np.exp(logits - logits.max(axis=1, keepdims=True))
    return X, labels / labels.sum(axis=1, keepdims=True)


def _experts(n=300, K=4, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 2))
    y = rng.standard_normal(n)
    noise = rng.standard_normal((n, K))
    noise[:, 0] *= np.where(X[:, 0] > 0, 0.2, 2.0)
    noise[:, 1] *= np.where(X[:, 0] > 0, 2.0, 0.2)
    return X, y, y[:, None] + noise


def _squared_error(y, predictions):
    def objective(weights):
        error = (weights * predictions).sum(axis=1) - y
        return error**2, 2 * error[:, None] * predictions

    return objective


def _log_loss(density):
    def objective(weights):
        mixed = np.maximum((weights * density).sum(axis=1), 1e-300)
        return -np.log(mixed), -density / mixed[:, None]

    return objective


@pytest.fixture(scope="session")
def soft_labels():
    """Columns (n, q), and responsibilities (n, K) that depend on them."""
    return _soft_labels


@pytest.fixture(scope="session")
def experts():
    """X (n, 2), y (n,) and predictions (n, K); expert 0 is accurate where x_0 > 0, expert 1 elsewhere."""
    return _experts


@pytest.fixture(scope="session")
def squared_error():
    """The squared error of the weighted prediction as an objective."""
    return _squared_error


@pytest.fixture(scope="session")
def log_loss():
    """The negative log of the mixture density as an objective."""
    return _log_loss
