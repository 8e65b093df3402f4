"""Tools of other libraries that look at a mixture as at any model: scikit-learn's inspection, and shap."""

import numpy as np
import pandas as pd
import pytest
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.linear_model import LinearRegression

from metamix import MixtureClassifier, MixtureRegressor, load_example

FAST = {"specialize": False, "gate": "constant", "cv": 3, "random_state": 0}


@pytest.fixture(scope="module")
def linear():
    """A mixture that is a linear function of three columns, the last without effect; X and y."""
    X = np.random.default_rng(0).normal(size=(120, 3))
    y = 3 * X[:, 0] - X[:, 1]
    return MixtureRegressor([("line", LinearRegression())], **FAST, final="best").fit(X, y), X, y


@pytest.fixture(scope="module")
def flats():
    """A mixture of flats with text, categories, dates and missing values; X and y."""
    X, y = load_example("mixed")
    X, y = X[:150], y[:150].to_numpy()
    return MixtureRegressor(["ridge", "extra_trees"], **FAST).fit(X, y), X, y


def test_permutation_importance_of_a_linear_function(linear):
    mixture, X, y = linear
    found = permutation_importance(mixture, X, y, n_repeats=30, random_state=0).importances_mean
    # Shuffling adds twice the variance of the part, of which R² loses the share in the variance of y.
    expected = 2 * np.array([9.0, 1.0, 0.0]) * X.var(axis=0) / y.var()
    np.testing.assert_allclose(found, expected, rtol=0.15, atol=1e-6)


def test_permutation_importance_of_mixed_columns(flats):
    mixture, X, y = flats
    found = permutation_importance(mixture, X, y, n_repeats=3, random_state=0)
    shuffled = X.assign(city=X["city"].to_numpy()[np.random.default_rng(0).permutation(len(X))])
    assert found.importances_mean[X.columns.get_loc("city")] > 0.1
    assert mixture.score(X, y) - mixture.score(shuffled, y) > 0.1


def test_partial_dependence_of_a_linear_function(linear):
    mixture, X, _ = linear
    found = partial_dependence(mixture, X, [0], grid_resolution=5)
    grid, average = found["grid_values"][0], found["average"][0]
    np.testing.assert_allclose(average, 3 * grid - X[:, 1].mean(), atol=1e-6)


def test_partial_dependence_of_mixed_columns(flats):
    mixture, X, _ = flats
    found = partial_dependence(mixture, X, ["garden"], categorical_features=["garden"])
    expected = [mixture.predict(X.assign(garden=value)).mean() for value in (False, True)]
    np.testing.assert_allclose(found["average"][0], expected)


def test_partial_dependence_of_classes(linear):
    _, X, y = linear
    mixture = MixtureClassifier(["logistic"], **FAST).fit(X, np.where(y > 0, "dear", "cheap"))
    found = partial_dependence(mixture, pd.DataFrame(X).to_numpy(), [0], grid_resolution=4, response_method="auto")
    at = X.copy()
    at[:, 0] = found["grid_values"][0][0]
    assert found["average"][0][0] == pytest.approx(mixture.predict_proba(at)[:, 1].mean())


@pytest.mark.slow
def test_shap_explains_a_linear_function(linear):
    shap = pytest.importorskip("shap", reason="shap is in .venv-plugins (it brings numba, 210 MB)")
    mixture, X, _ = linear
    background = X[:30]
    found = shap.Explainer(mixture.predict, background)(X[:5])
    # Of a linear function the Shapley values are known (Lundberg & Lee 2017, corollary 1).
    expected = np.array([3.0, -1.0, 0.0]) * (X[:5] - background.mean(axis=0))
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    np.testing.assert_allclose(found.values.sum(axis=1) + found.base_values, mixture.predict(X[:5]))
