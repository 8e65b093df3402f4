"""Data that several tests of experts use; fixtures return functions."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import check_estimator

Array = NDArray[np.float64]


def _waves(n: int = 60, noise: float = 0.1, seed: int = 0, d: int = 2) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, d))
    return X, np.sin(2 * X[:, 0]) + 0.5 * X[:, -1] ** 2 + noise * rng.normal(size=n)


def _linear_data(n: int = 80, d: int = 5, seed: int = 0) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, X[:, 0] * 2 + rng.normal(size=n), rng.integers(0, 4, n).astype(float)


def _central_differences(predict: Callable[[Array], Array], X: Array, step: float = 1e-5) -> Array:
    columns = []
    for j in range(X.shape[1]):
        move = np.zeros(X.shape[1])
        move[j] = step
        columns.append((predict(X + move) - predict(X - move)) / (2 * step))
    return np.stack(columns, axis=-1)


def _failed_estimator_checks(estimator: Any) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        results = check_estimator(estimator, on_fail=None)
    assert len(results) > 30
    return [result["check_name"] for result in results if result["status"] not in ("passed", "skipped")]


@pytest.fixture(scope="session")
def waves() -> Callable[..., tuple[Array, Array]]:
    """X (n, d) and a smooth nonlinear y (n,) with normal noise."""
    return _waves


@pytest.fixture(scope="session")
def linear_data() -> Callable[..., tuple[Array, Array, Array]]:
    """X (n, d), y (n,) linear in the first column, and integer weights (n,) from 0 to 3."""
    return _linear_data


@pytest.fixture(scope="session")
def central_differences() -> Callable[..., Array]:
    """Derivatives (n, ..., d) of a function of X by central differences."""
    return _central_differences


@pytest.fixture(scope="session")
def failed_estimator_checks() -> Callable[[Any], list[str]]:
    """Names of scikit-learn's estimator checks that fail."""
    return _failed_estimator_checks
