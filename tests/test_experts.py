"""Named experts against scikit-learn, closed forms and planted truth."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np
import pytest
import sklearn
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse
from scipy.interpolate import CubicSpline
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import LinearRegression, Ridge, RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.utils.estimator_checks import check_estimator

from metamix.experts import classifiers, regressors
from metamix.experts.curves import NaturalSplines, PolynomialColumns
from metamix.experts.models import EncodedLabels, RidgeByGcv, ScaledTarget
from metamix.fitting import takes_weights

Array = NDArray[np.float64]
SMALL = {
    "forest": {"n_estimators": 10},
    "extra_trees": {"n_estimators": 10},
    "mlp": {"hidden_layer_sizes": (8,)},
}
SMALL |= {"boosting": {"max_iter": 20}, "xgboost": {"n_estimators": 20}, "lightgbm": {"n_estimators": 20}}


def make(module: Any, name: str) -> Any:
    return getattr(module, name)(**SMALL.get(name, {}))


def linear_data(n: int = 80, d: int = 5, seed: int = 0) -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    return X, X[:, 0] * 2 + rng.normal(size=n), rng.integers(0, 4, n).astype(float)


# The models


@pytest.mark.parametrize(("n", "d"), [(60, 5), (20, 40)])
@pytest.mark.parametrize("alpha", [1e-3, 1.0])
def test_ridge_at_one_penalty_is_scikit_learns(n: int, d: int, alpha: float) -> None:
    X, y, w = linear_data(n, d)
    centred = X - np.average(X, axis=0, weights=w)
    variance = (w[:, None] * centred**2).sum() / d
    expected = Ridge(alpha=alpha * variance).fit(X, y, w).predict(X)
    np.testing.assert_allclose(RidgeByGcv([alpha]).fit(X, y, w).predict(X), expected, atol=1e-10)
    np.testing.assert_allclose(RidgeByGcv([alpha]).fit(sparse.csr_matrix(X), y, w).predict(X), expected, atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), d=st.integers(1, 8))
def test_ridge_takes_weights_for_repeated_rows(seed: int, d: int) -> None:
    X, y, w = linear_data(40, d, seed)
    times = w.astype(int)
    weighted = RidgeByGcv().fit(X, y, w)
    repeated = RidgeByGcv().fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-9)


def test_ridge_chooses_as_well_as_leaving_one_out() -> None:
    X, y = load_diabetes(return_X_y=True)
    rng = np.random.default_rng(0)
    X = np.hstack([X * 20, rng.normal(size=(len(X), 60))])[:150]  # noise columns: the penalty matters
    y = y[:150]
    folds = KFold(5, shuffle=True, random_state=0)

    def error(model: Any) -> float:
        return float(np.mean((cross_val_predict(model, X, y, cv=folds) - y) ** 2))

    reference = error(RidgeCV(np.logspace(-3, 5, 17)))
    assert error(RidgeByGcv()) < 1.03 * reference
    assert reference < 0.8 * error(LinearRegression())


def test_ridge_penalty_depends_on_no_unit() -> None:
    X, y, _ = linear_data()
    plain = RidgeByGcv().fit(X, y)
    scaled = RidgeByGcv().fit(X * 1e6, y * 1e-6)
    assert scaled.alpha_ == plain.alpha_
    np.testing.assert_allclose(scaled.predict(X * 1e6) * 1e6, plain.predict(X), rtol=1e-6)


def test_ridge_takes_several_targets_and_refuses_no_weight() -> None:
    X, y, w = linear_data()
    both = RidgeByGcv().fit(X, np.column_stack([y, X[:, 1]]), w).predict(X)
    np.testing.assert_allclose(both[:, 0], RidgeByGcv().fit(X, y, w).predict(X), atol=1e-10)
    with pytest.raises(ValueError, match="Every sample weight is zero"):
        RidgeByGcv().fit(X, y, np.zeros(len(y)))


def test_natural_splines_with_a_knot_at_each_row_interpolate() -> None:
    rng = np.random.default_rng(0)
    x, y = np.sort(rng.normal(size=9)), rng.normal(size=9)
    basis = NaturalSplines(n_knots=9).fit(x[:, None])
    coefficients = np.linalg.solve(np.column_stack([np.ones(9), basis.transform(x[:, None])]), y)
    inside, outside = np.linspace(x[0], x[-1], 40), np.array([x[-1] + 1, x[-1] + 2, x[-1] + 3])

    def curve(points: Array) -> Array:
        return np.column_stack([np.ones(len(points)), basis.transform(points[:, None])]) @ coefficients

    np.testing.assert_allclose(curve(inside), CubicSpline(x, y, bc_type="natural")(inside), atol=1e-7)
    first, second, third = curve(outside)
    assert second - first == pytest.approx(third - second, rel=1e-6)


def test_polynomial_terms_shrink_with_the_number_of_columns() -> None:
    X = np.random.default_rng(0).normal(size=(30, 40))

    def terms(d: int, degree: int) -> int:
        return len(PolynomialColumns(degree).fit(X[:, :d]).terms_)

    assert terms(10, 2) == 65
    assert terms(10, 3) == 285
    assert terms(20, 3) == 20 * 3 + 190 + 0  # pairs, no triples of degree three
    assert terms(40, 3) == 120  # powers only
    flags = np.column_stack([X[:, 0], X[:, 1] > 0])
    assert sorted(PolynomialColumns(2).fit(flags).terms_) == [(0,), (0, 0), (0, 1), (1,)]


def test_polynomials_do_not_explode_far_away_but_lines_go_on() -> None:
    X = np.linspace(-1, 1, 50)[:, None]
    cube = regressors.cubic().fit(X, X[:, 0] ** 3)
    np.testing.assert_allclose(cube.predict([[0.5], [1.5]]), [0.125, 3.375], atol=1e-3)
    assert abs(cube.predict([[100.0]])[0]) < 1000  # the cube itself is a million
    line = regressors.cubic().fit(X, 3 * X[:, 0])
    assert line.predict([[100.0]])[0] == pytest.approx(300, rel=1e-3)


def test_scaled_target_scales_by_the_weights() -> None:
    X, y, w = linear_data()
    model = ScaledTarget(Ridge()).fit(X, y, w)
    times = w.astype(int)
    again = ScaledTarget(Ridge()).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(model.predict(X), again.predict(X), rtol=1e-9)
    assert ScaledTarget(SVR()).fit(X, np.full(len(y), 0.1)).predict(X[:1])[0] == pytest.approx(0.1, rel=1e-15)


@pytest.mark.parametrize(
    "estimator",
    [RidgeByGcv(), PolynomialColumns(), NaturalSplines()],
    ids=lambda estimator: type(estimator).__name__,
)
def test_scikit_learns_own_checks(estimator: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        results = check_estimator(estimator, on_fail=None)
    assert len(results) > 30
    assert [r["check_name"] for r in results if r["status"] not in ("passed", "skipped")] == []


# The factories


@pytest.mark.parametrize("name", regressors.__all__)
def test_regressors_learn_more_than_the_mean(name: str) -> None:
    X, y = load_diabetes(return_X_y=True)
    model = getattr(regressors, name)().fit(X[:300], y[:300])
    ratio = np.mean((model.predict(X[300:]) - y[300:]) ** 2) / np.var(y[300:])
    assert ratio < 0.85


@pytest.mark.parametrize("name", classifiers.__all__)
def test_classifiers_learn_more_than_the_shares(name: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 4))
    y = np.array(["no", "so", "yes"])[np.digitize(X[:, 0] + 0.3 * rng.normal(size=500), [-0.5, 0.5])]
    if name == "mlp" and sklearn.__version__.startswith("1.6."):
        pytest.skip("stopping early on text labels fails in scikit-learn 1.6 itself")
    model = getattr(classifiers, name)().fit(X[:350], y[:350])
    assert list(model.classes_) == ["no", "so", "yes"]
    given_to_truth = model.predict_proba(X[350:])[np.arange(150), np.searchsorted(model.classes_, y[350:])]
    assert -np.mean(np.log(np.clip(given_to_truth, 1e-6, 1))) < 0.85  # equal shares: 1.10


@pytest.mark.parametrize("module", [regressors, classifiers], ids=["regressor", "classifier"])
@pytest.mark.parametrize("routing", [False, True])
def test_weights_reach_the_model_with_and_without_routing(module: Any, routing: bool) -> None:
    X, y, w = linear_data()
    y = y if module is regressors else y > 0
    for name in module.__all__:
        if name == "neighbours":
            continue  # takes no weights
        expert = make(module, name)
        if takes_weights(expert) is None:
            continue  # such as a neural network before scikit-learn 1.7
        for parameter in expert.get_params():
            if parameter.endswith("random_state"):
                expert.set_params(**{parameter: 0})
        with sklearn.config_context(enable_metadata_routing=routing):
            if routing:
                expert[-1].set_fit_request(sample_weight=True)
                fitted = expert.fit(X, y, sample_weight=w + 0.1)
            else:
                fitted = expert.fit(X, y, model__sample_weight=w + 0.1)
        method = "predict" if module is regressors else "predict_proba"
        got = getattr(fitted, method)(X)
        assert not np.allclose(got, getattr(clone(expert).fit(X, y), method)(X)), name


@pytest.mark.parametrize("module", [regressors, classifiers], ids=["regressor", "classifier"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of the network, on few rows
def test_sparse_columns_do(module: Any) -> None:
    X = sparse.random(90, 12, density=0.3, format="csr", random_state=0)
    y = X.toarray()[:, 0] + X.toarray()[:, 1]
    y = y if module is regressors else y > 0.2
    for name in module.__all__:
        assert len(make(module, name).fit(X, y).predict(X)) == 90, name


def test_linear_is_least_squares_whatever_the_units() -> None:
    X, y, w = linear_data()
    expected = LinearRegression().fit(X, y, w).predict(X)
    got = regressors.linear().fit(X * 1e6, y, model__sample_weight=w).predict(X * 1e6)
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_named_svm_is_a_scaled_svm() -> None:
    X, y, _ = linear_data()
    z = (y - y.mean()) / y.std()
    expected = make_pipeline(StandardScaler(), SVR()).fit(X, z).predict(X) * y.std() + y.mean()
    np.testing.assert_allclose(regressors.svm().fit(X, y).predict(X), expected, rtol=1e-8)


def test_encoded_labels_let_xgboost_take_any() -> None:
    X, y, _ = linear_data()
    labels = np.where(y > 0, 7, 3)
    model = classifiers.xgboost(n_estimators=10).fit(X, labels)
    assert set(model.predict(X)) == {3, 7}
    assert isinstance(model[-1], EncodedLabels)


@pytest.mark.parametrize(("module", "name"), [(regressors, "xgboost"), (classifiers, "lightgbm")])
def test_an_absent_library_is_named_with_its_extra(module: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # Python's own way of saying: not installed
    with pytest.raises(ImportError, match=rf"pip install metamix\[{name}\]"):
        getattr(module, name)()
