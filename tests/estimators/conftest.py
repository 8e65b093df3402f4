"""Experts, tables and settings that several tests of estimators use; fixtures return classes, functions or copies."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin


class Column(RegressorMixin, BaseEstimator):
    """Predicts a column of X, whatever it was fitted to."""

    def __init__(self, number=0):
        self.number = number

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.asarray(X)[:, self.number]


class Half(RegressorMixin, BaseEstimator):
    """One of the two lines of `halves`, correct in one half of its rows, whatever it was fitted to."""

    def __init__(self, right=True):
        self.right = right

    def fit(self, X, y):
        return self

    def predict(self, X):
        column = X["x"].to_numpy() if isinstance(X, pd.DataFrame) else X[:, 1]
        return 3 * column if self.right else 1 - 2 * column


class HalfClass(ClassifierMixin, BaseEstimator):
    """Predicts the class from the sign of column 1, correctly where column 0 is positive, or where it is not."""

    def __init__(self, right=True):
        self.right = right

    def fit(self, X, y):
        self.classes_ = np.unique(y)
        return self

    def predict_proba(self, X):
        share = np.where((np.asarray(X)[:, 1] > 0) == self.right, 0.9, 0.1)
        return np.column_stack([1 - share, share])


def _halves(seed=0, n=150):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 4))
    return X, np.where(X[:, 0] > 0, 3 * X[:, 1], 1 - 2 * X[:, 1]) + 0.1 * rng.standard_normal(n)


@pytest.fixture(scope="session")
def column():
    """An expert that predicts a column of X."""
    return Column


@pytest.fixture(scope="session")
def halves():
    """X (n, 4) and y (n,): one line where column 0 is positive, another elsewhere; columns 2 and 3 are noise."""
    return _halves


@pytest.fixture
def half_experts():
    """The two lines of `halves`."""
    return [("right", Half(True)), ("left", Half(False))]


@pytest.fixture
def half_classifiers():
    """Two classifiers, each correct in one half of the rows."""
    return [("right", HalfClass(True)), ("left", HalfClass(False))]
