"""Nearest neighbours of few rows against scikit-learn's with as many neighbours as there are rows."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from metamix import MixtureClassifier, MixtureRegressor, make_regimes
from metamix.experts.neighbours import NeighboursClassifier, NeighboursRegressor

RNG = np.random.default_rng(0)
X, NEW = RNG.normal(size=(12, 2)), RNG.normal(size=(30, 2))


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("n_neighbors", [3, 12, 40])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_array])
def test_few_rows_are_all_neighbours(weights, n_neighbors, make):
    y, k = RNG.normal(size=(12, 2)), min(n_neighbors, 12)
    found = NeighboursRegressor(n_neighbors, weights=weights).fit(make(X), y).predict(make(NEW))
    np.testing.assert_allclose(found, KNeighborsRegressor(k, weights=weights).fit(X, y).predict(NEW))
    labels = np.where(y[:, 0] > 0, "yes", "no")
    ours, theirs = (
        model.fit(make(X), labels)
        for model in (NeighboursClassifier(n_neighbors, weights=weights), KNeighborsClassifier(k, weights=weights))
    )
    np.testing.assert_allclose(ours.predict_proba(make(NEW)), theirs.predict_proba(make(NEW)))
    np.testing.assert_array_equal(ours.predict(make(NEW)), theirs.predict(make(NEW)))


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_neighbours_by_name_are_not_left_out_of_small_regimes(task):
    rows, y = make_regimes(14, 2, task=task, random_state=0)
    kind, other = (MixtureRegressor, "ridge") if task == "regression" else (MixtureClassifier, "logistic")
    mixture = kind([other, "neighbours"], specialize=True, gate="constant", cv=2, random_state=0).fit(rows, y)
    assert mixture.failures_.empty
