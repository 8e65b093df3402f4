"""Proxy models against scikit-learn's ridge and logistic regression."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression, Ridge

from metamix.training.regime_search.proxy_models import (
    FREE,
    LINEAR,
    QUADRATIC,
    ProxyColumns,
    class_probabilities,
    fit_proxies,
    proxy_log_prob,
)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    X, mass = rng.uniform(-1, 1, (200, 2)), rng.dirichlet([1, 1], 200)
    return X, X @ [[1.0], [-2.0]] + 0.1 * rng.standard_normal((200, 1)), mass


def _rows(X, Y, capacity=LINEAR, n_classes=None):
    return ProxyColumns(X, np.random.default_rng(0), n_classes, capacity)(X, Y, np.ones(len(X)))


def test_numbers_have_weighted_ridge_experts(table):
    X, Y, mass = table
    rows = _rows(X, Y)
    coefficients, scale = fit_proxies(rows, rows.plain, mass, None)
    for k in range(2):
        model = Ridge(1e-5 * mass[:, k].sum(), fit_intercept=False).fit(rows.plain, Y, mass[:, k])
        np.testing.assert_allclose(coefficients[k], model.coef_.reshape(-1, 1), rtol=1e-6)
        errors = Y - rows.plain @ coefficients[k]
        assert scale[k, 0] == pytest.approx(np.sqrt(np.average(errors[:, 0] ** 2, weights=mass[:, k])), rel=1e-3)
    density = proxy_log_prob(rows.plain, Y, coefficients, scale)
    expected = norm.logpdf(Y, (rows.plain @ coefficients)[..., 0].T, scale[:, 0])
    np.testing.assert_allclose(density, expected + 0.5 * np.log(2 * np.pi))


def test_classes_have_logistic_experts(table):
    X, _, mass = table
    rng = np.random.default_rng(1)
    y = (X[:, 0] + X[:, 1] + 0.5 * rng.logistic(size=200) > 0).astype(int)
    rows = _rows(X, np.eye(2)[y], n_classes=2)
    coefficients = None
    for _ in range(30):
        coefficients, scale = fit_proxies(rows, rows.plain, mass, coefficients)
    assert scale is None
    found = class_probabilities(rows.plain @ coefficients[0], 2)[:, 1]
    model = LogisticRegression(C=1e3).fit(rows.plain[:, 1:], y, mass[:, 0])
    np.testing.assert_allclose(found, model.predict_proba(rows.plain[:, 1:])[:, 1], atol=0.03)
    given = proxy_log_prob(rows.plain, rows.Y, coefficients, None, 2)[:, 0]
    np.testing.assert_allclose(given, np.log(np.maximum(np.where(y, found, 1 - found), 0.01)))


def test_labels_have_logistic_experts_each(table):
    X, _, mass = table
    rng = np.random.default_rng(1)
    odds = np.column_stack([3 * X[:, 0], 2 * X[:, 1] - 1])
    y = (odds + rng.logistic(size=(200, 2)) > 0).astype(int)
    both, alone = _rows(X, np.eye(2)[y].reshape(200, 4), n_classes=2), _rows(X, np.eye(2)[y[:, 0]], n_classes=2)
    coefficients = first = None
    for _ in range(60):
        coefficients, _ = fit_proxies(both, both.plain, mass, coefficients)
        first, _ = fit_proxies(alone, alone.plain, mass, first)
    np.testing.assert_allclose(coefficients[:, :, :2], first, atol=1e-3)
    proba = class_probabilities(both.plain @ coefficients[0], 2)
    for label in range(2):
        model = LogisticRegression(C=1e3).fit(both.plain[:, 1:], y[:, label], mass[:, 0])
        np.testing.assert_allclose(proba[:, 2 * label + 1], model.predict_proba(both.plain[:, 1:])[:, 1], atol=0.03)
    given = proxy_log_prob(both.plain, both.Y, coefficients, None, 2)[:, 0]
    chosen = np.maximum(np.where(y == 1, proba[:, 1::2], proba[:, ::2]), 0.01)
    np.testing.assert_allclose(given, np.log(chosen).sum(axis=1))


def test_terms_follow_the_capacity(table):
    X, Y, _ = table
    assert _rows(X, Y, LINEAR).plain.shape == (200, 3)
    assert _rows(X, Y, QUADRATIC).plain.shape == (200, 6)
    assert _rows(X, Y, QUADRATIC).bumps is None
    free = _rows(X, Y, FREE)
    assert free.bumps.shape[1] % 2 == 0, "as many along either column"
    assert free.basis(True).shape[1] == 6 + free.bumps.shape[1]
    assert free.basis(False).shape[1] == 6


def test_units_of_columns_do_not_matter(table):
    X, Y, _ = table
    np.testing.assert_allclose(_rows(1e6 * X - 3, Y, FREE).basis(True), _rows(X, Y, FREE).basis(True), atol=1e-8)


def test_wide_tables_are_projected():
    X = np.random.default_rng(0).standard_normal((60, 500))
    rows = _rows(X, np.zeros((60, 1)), FREE)
    assert rows.Z.shape == (60, 40)
    assert rows.Z.std() == pytest.approx(1, rel=0.1)
    away = np.triu_indices(60, 1)
    ratio = (np.linalg.norm(A[away[0]] - A[away[1]], axis=1) for A in (rows.Z, X))
    ratio = np.divide(*ratio)
    assert ratio.std() < 0.2 * ratio.mean(), "distances are kept, but for one factor (Johnson & Lindenstrauss 1984)"
    assert rows.bumps is None
