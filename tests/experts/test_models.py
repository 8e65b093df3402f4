"""Ridge regression by GCV, scaled targets and encoded labels against scikit-learn and repeated rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.svm import SVR

from metamix.experts import classifiers, regressors
from metamix.experts.kriging import Kriging
from metamix.experts.models import EncodedLabels, RidgeByGcv, ScaledTarget

# Ridge regression


@pytest.mark.parametrize(("n", "d"), [(60, 5), (20, 40)])
@pytest.mark.parametrize("alpha", [1e-3, 1.0])
def test_ridge_with_one_penalty_equals_scikit_learn(n: int, d: int, alpha: float, linear_data: Any) -> None:
    X, y, w = linear_data(n, d)
    centred = X - np.average(X, axis=0, weights=w)
    variance = (w[:, None] * centred**2).sum() / d
    expected = Ridge(alpha=alpha * variance).fit(X, y, w).predict(X)
    np.testing.assert_allclose(RidgeByGcv([alpha]).fit(X, y, w).predict(X), expected, atol=1e-10)
    np.testing.assert_allclose(RidgeByGcv([alpha]).fit(sparse.csr_matrix(X), y, w).predict(X), expected, atol=1e-10)


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), d=st.integers(1, 8))
def test_ridge_with_integer_weights_equals_repeated_rows(seed: int, d: int, linear_data: Any) -> None:
    X, y, w = linear_data(40, d, seed)
    times = w.astype(int)
    weighted = RidgeByGcv().fit(X, y, w)
    repeated = RidgeByGcv().fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-9)


def test_the_penalty_is_as_good_as_that_of_leave_one_out() -> None:
    X, y = load_diabetes(return_X_y=True)
    rng = np.random.default_rng(0)
    X = np.hstack([X * 20, rng.normal(size=(len(X), 60))])[:150]  # noise columns, so that the penalty matters
    y = y[:150]
    folds = KFold(5, shuffle=True, random_state=0)

    def error(model: Any) -> float:
        return float(np.mean((cross_val_predict(model, X, y, cv=folds) - y) ** 2))

    reference = error(RidgeCV(np.logspace(-3, 5, 17)))
    assert error(RidgeByGcv()) < 1.03 * reference
    assert reference < 0.8 * error(LinearRegression())


def test_the_penalty_does_not_depend_on_units(linear_data: Any) -> None:
    X, y, _ = linear_data()
    plain = RidgeByGcv().fit(X, y)
    scaled = RidgeByGcv().fit(X * 1e6, y * 1e-6)
    assert scaled.alpha_ == plain.alpha_
    np.testing.assert_allclose(scaled.predict(X * 1e6) * 1e6, plain.predict(X), rtol=1e-6)


def test_ridge_with_several_targets_and_with_zero_weights(linear_data: Any) -> None:
    X, y, w = linear_data()
    both = RidgeByGcv().fit(X, np.column_stack([y, X[:, 1]]), w).predict(X)
    np.testing.assert_allclose(both[:, 0], RidgeByGcv().fit(X, y, w).predict(X), atol=1e-10)
    with pytest.raises(ValueError, match="not zero everywhere"):
        RidgeByGcv().fit(X, y, np.zeros(len(y)))


def test_estimator_checks_of_scikit_learn(failed_estimator_checks: Any) -> None:
    assert failed_estimator_checks(RidgeByGcv()) == []


# Wrappers


def test_scaled_target_uses_the_weights(linear_data: Any) -> None:
    X, y, w = linear_data()
    model = ScaledTarget(Ridge()).fit(X, y, w)
    times = w.astype(int)
    again = ScaledTarget(Ridge()).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(model.predict(X), again.predict(X), rtol=1e-9)
    assert ScaledTarget(SVR()).fit(X, np.full(len(y), 0.1)).predict(X[:1])[0] == pytest.approx(0.1, rel=1e-15)


def test_scaled_target_passes_on_standard_deviations_and_gradients(waves: Any) -> None:
    X, y = waves()
    scaled, plain = ScaledTarget(Kriging()).fit(X, 50 * y + 7), Kriging().fit(X, y)
    mean, deviation = scaled.predict(X, return_std=True)
    expected = plain.predict(X, return_std=True)
    np.testing.assert_allclose((mean - 7) / 50, expected[0], atol=1e-5)
    np.testing.assert_allclose(deviation / 50, expected[1], rtol=1e-4)
    np.testing.assert_allclose(scaled.predict_gradient(X) / 50, plain.predict_gradient(X), rtol=1e-3, atol=1e-4)
    assert hasattr(ScaledTarget(RidgeByGcv()), "predict_gradient")
    assert not hasattr(ScaledTarget(HistGradientBoostingRegressor()), "predict_gradient")


def test_encoded_labels_make_xgboost_accept_any_labels(linear_data: Any) -> None:
    X, y, _ = linear_data()
    labels = np.where(y > 0, 7, 3)
    model = classifiers.xgboost(n_estimators=10).fit(X, labels)
    assert set(model.predict(X)) == {3, 7}
    assert isinstance(model[-1], EncodedLabels)


def test_boosted_trees_are_not_constant_on_small_tables(waves: Any) -> None:
    X, y = waves(30, noise=0.0)
    y = y + 3 * (X[:, 0] > 0)
    for name in ("boosting", "lightgbm", "xgboost"):
        model = getattr(regressors, name)().fit(X, y)
        assert np.mean((model.predict(X) - y) ** 2) < 0.5 * np.var(y), name
    label = X[:, 0] > 0
    assert classifiers.lightgbm().fit(X, label).score(X, label) > 0.9
    kept = regressors.boosting(min_samples_leaf=20).fit(X, y)
    np.testing.assert_allclose(kept.predict(X), y.mean())
