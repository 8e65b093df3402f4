"""Data that several tests of likelihoods use; fixtures return functions."""

import numpy as np
import pytest


def _predicted(seed=0, n=60, K=3):
    rng = np.random.default_rng(seed)
    y = rng.standard_normal(n)
    predictions = y[:, None] + rng.standard_normal((n, K)) * np.arange(1, K + 1)
    return y, predictions, rng.dirichlet(np.ones(K), n)


def _heteroscedastic(n, seed=14):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (n, 2))
    scale = np.exp(0.8 * x[:, 0] - 0.4 * x[:, 1] ** 2)
    return rng, x, scale, scale * rng.standard_normal(n)


def _zero_predictions(n, K=1):
    return np.zeros((n, K)), np.ones((n, K))


@pytest.fixture(scope="session")
def predicted():
    """y (n,), predictions (n, K) with standard deviations 1 ... K of their errors, and responsibilities (n, K)."""
    return _predicted


@pytest.fixture(scope="session")
def heteroscedastic():
    """Generator, x (n, 2), standard deviation (n,) that depends on x, and y (n,) with mean zero."""
    return _heteroscedastic


@pytest.fixture(scope="session")
def zero_predictions():
    """Predictions and responsibilities (n, K): zeros and ones."""
    return _zero_predictions
