"""Data shared by the tests of the estimators in metamix.nn."""

import numpy as np
import pytest


@pytest.fixture(scope="session")
def two_lines():
    """Function that makes one column and a target with a line on each side of zero, noise 0.1."""

    def make(n=240, seed=0):
        rng = np.random.default_rng(seed)
        x = rng.uniform(-1, 1, (n, 1))
        return x, np.where(x[:, 0] < 0, 3 * x[:, 0], 5 - 2 * x[:, 0]) + 0.1 * rng.standard_normal(n)

    return make


@pytest.fixture(scope="session")
def three_columns():
    """Function that makes three columns and a target whose slope in the second depends on the sign of the first."""

    def make(n=90, seed=0):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(n, 3))
        return X, np.where(X[:, 0] > 0, 3 * X[:, 1], -3 * X[:, 1])

    return make
