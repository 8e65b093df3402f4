"""Named regressors and classifiers: quality, weights, sparse columns, gradients and files."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR
from sklearn.utils.estimator_checks import check_sample_weight_equivalence_on_dense_data

from metamix import MixtureClassifier, MixtureRegressor
from metamix.derivatives import gradient
from metamix.experts import classifiers, regressors
from metamix.fitting import takes_weights
from metamix.persistence import load, save

SMALL: dict[str, dict[str, Any]] = {
    "forest": {"n_estimators": 5},
    "extra_trees": {"n_estimators": 5},
    "mlp": {"hidden_layer_sizes": (8,)},
    "boosting": {"max_iter": 10},
    "xgboost": {"n_estimators": 10},
    "lightgbm": {"n_estimators": 10},
    "xgboost_dask": {"n_estimators": 10},
    "lightgbm_dask": {"n_estimators": 10},
}


def make(module: Any, name: str) -> Any:
    return getattr(module, name)(**SMALL.get(name, {}))


def seeded(expert: Any) -> Any:
    return expert.set_params(**{name: 0 for name in expert.get_params() if name.endswith("random_state")})


# What rows and weights must not decide

MERGED = [(regressors, name) for name in
          ("linear", "quadratic", "cubic", "ridge", "lasso", "splines", "rbf", "kriging", "svm")]  # fmt: skip
MERGED += [(classifiers, name) for name in ("logistic", "naive_bayes", "gaussian_process")]
EVERY = [(module, name) for module in (regressors, classifiers) for name in module.__all__]


def by_name(pair: Any) -> str:
    return f"{pair[0].__name__.rpartition('.')[2]}-{pair[1]}"


def drawn(module: Any, n: int = 70) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    X, noise = rng.normal(size=(n, 3)), rng.normal(size=n)
    y = X[:, 0] + noise if module is regressors else (X[:, 0] + noise > 0).astype(int)
    return X, y, rng.uniform(0.1, 3, n)


def answers(model: Any, X: Any) -> Any:
    return model.predict_proba(X) if hasattr(model, "predict_proba") else model.predict(X)


@pytest.mark.parametrize("pair", MERGED, ids=by_name)
def test_a_row_of_weight_two_is_two_rows_by_scikit_learns_check(pair: Any) -> None:
    check_sample_weight_equivalence_on_dense_data(pair[1], make(*pair))


@pytest.mark.parametrize("pair", [*MERGED, (regressors, "ridge-alpha"), (classifiers, "logistic-C")], ids=by_name)
def test_the_unit_of_weights_does_not_matter_to_penalties(pair: Any) -> None:
    module, name = pair
    made = {"ridge-alpha": lambda: regressors.ridge(alpha=30.0), "logistic-C": lambda: classifiers.logistic(C=0.1)}
    X, y, weight = drawn(module)
    one, other = (
        answers(made.get(name, lambda: make(module, name))().fit(X, y, sample_weight=unit * weight), X)
        for unit in (1.0, 1000.0)
    )
    np.testing.assert_allclose(other, one, rtol=1e-6, atol=1e-8)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("pair", EVERY, ids=by_name)
def test_neither_unit_of_weights_nor_order_of_rows_matters(pair: Any) -> None:
    module, _ = pair
    X, y, weight = drawn(module)
    order = np.random.default_rng(1).permutation(len(X))
    takes = takes_weights(make(*pair)) is not None
    given, other = ({"sample_weight": one} if takes else {} for one in (weight, 1000 * weight[order]))
    first = answers(seeded(make(*pair)).fit(X, y, **given), X)
    second = answers(seeded(make(*pair)).fit(X[order], y[order], **other), X)
    np.testing.assert_allclose(second, first, rtol=1e-4, atol=1e-4)


def test_a_pipeline_whose_model_takes_no_weights_refuses_them() -> None:
    X, y, weight = drawn(regressors)
    with pytest.raises(TypeError, match="no sample_weight"):
        regressors.neighbours().fit(X, y, sample_weight=weight)


def test_a_penalty_by_name_is_that_of_a_thousand_rows() -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(1000, 2)), rng.normal(size=1000)
    Z = StandardScaler().fit_transform(X)
    np.testing.assert_allclose(
        regressors.ridge(alpha=50.0).fit(X, y).predict(X), Ridge(alpha=50.0).fit(Z, y).predict(Z)
    )
    expected = LogisticRegression(C=0.1, tol=1e-8).fit(Z, y > 0).predict_proba(Z)
    np.testing.assert_allclose(classifiers.logistic(C=0.1).fit(X, y > 0).predict_proba(X), expected, atol=1e-4)


# Quality


@pytest.mark.parametrize("name", regressors.__all__)
def test_regressors_are_better_than_the_mean(name: str) -> None:
    X, y = load_diabetes(return_X_y=True)
    model = getattr(regressors, name)().fit(X[:300], y[:300])
    ratio = np.mean((model.predict(X[300:]) - y[300:]) ** 2) / np.var(y[300:])
    assert ratio < 0.85


@pytest.mark.parametrize("name", classifiers.__all__)
def test_classifiers_are_better_than_the_class_proportions(name: str) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 4))
    y = np.array(["no", "so", "yes"])[np.digitize(X[:, 0] + 0.3 * rng.normal(size=500), [-0.5, 0.5])]
    if name == "mlp" and sklearn.__version__.startswith("1.6."):
        pytest.skip("stopping early on text labels fails in scikit-learn 1.6 itself")
    model = getattr(classifiers, name)().fit(X[:350], y[:350])
    assert list(model.classes_) == ["no", "so", "yes"]
    of_true_class = model.predict_proba(X[350:])[np.arange(150), np.searchsorted(model.classes_, y[350:])]
    assert -np.mean(np.log(np.clip(of_true_class, 1e-6, 1))) < 0.85  # 1.10 for equal probabilities


def test_linear_is_least_squares_in_any_units(linear_data: Any) -> None:
    X, y, w = linear_data()
    expected = LinearRegression().fit(X, y, w).predict(X)
    got = regressors.linear().fit(X * 1e6, y, model__sample_weight=w).predict(X * 1e6)
    np.testing.assert_allclose(got, expected, atol=1e-9)


def test_svm_is_a_scaled_svm(linear_data: Any) -> None:
    X, y, _ = linear_data()
    z = (y - y.mean()) / y.std()
    expected = make_pipeline(StandardScaler(), SVR()).fit(X, z).predict(X) * y.std() + y.mean()
    np.testing.assert_allclose(regressors.svm().fit(X, y).predict(X), expected, rtol=1e-8)


# Input and output


@pytest.mark.parametrize("module", [regressors, classifiers], ids=["regressor", "classifier"])
def test_weights_reach_the_model_with_and_without_metadata_routing(module: Any, linear_data: Any) -> None:
    X, y, w = linear_data(60)
    y = y if module is regressors else y > 0
    method = "predict" if module is regressors else "predict_proba"
    for name in module.__all__:
        expert = seeded(make(module, name))
        if takes_weights(expert) is None:
            assert name in ("neighbours", "mlp"), name  # mlp before scikit-learn 1.7
            continue
        unweighted = getattr(clone(expert).fit(X, y), method)(X)
        direct = getattr(clone(expert).fit(X, y, model__sample_weight=w + 0.1), method)(X)
        with sklearn.config_context(enable_metadata_routing=True):
            expert[-1].set_fit_request(sample_weight=True)
            routed = getattr(expert.fit(X, y, sample_weight=w + 0.1), method)(X)
        np.testing.assert_allclose(routed, direct, err_msg=name)
        assert not np.allclose(direct, unweighted), name


@pytest.mark.parametrize("module", [regressors, classifiers], ids=["regressor", "classifier"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")  # of the network, on few rows
def test_sparse_columns_are_predicted_like_dense_ones(module: Any) -> None:
    X = sparse.random(90, 12, density=0.3, format="csr", random_state=0)
    y = X.toarray()[:, 0] + X.toarray()[:, 1]
    y = y if module is regressors else y > 0.2
    method = "predict" if module is regressors else "predict_proba"
    for name in module.__all__:
        expert = seeded(make(module, name))
        from_sparse, from_dense = (getattr(clone(expert).fit(Z, y), method)(Z) for Z in (X, X.toarray()))
        assert np.isfinite(from_sparse).all(), name
        if name != "mlp":  # sparse columns are not centred, which changes the path of its optimiser
            assert np.corrcoef(from_sparse.ravel(), from_dense.ravel())[0, 1] > 0.97, name


@pytest.mark.parametrize("name", ["ridge", "quadratic", "cubic", "splines", "rbf", "kriging"])
def test_gradients_equal_finite_differences(name: str, waves: Any, central_differences: Any) -> None:
    X, y = waves(80)
    model = getattr(regressors, name)().fit(X, y)
    X_new, _ = waves(25, seed=1)
    expected = central_differences(model.predict, X_new)
    np.testing.assert_allclose(gradient(model, X_new), expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("module", "name"), [(regressors, "rbf"), (regressors, "kriging"), (classifiers, "gaussian_process")]
)
def test_clones_pickles_and_files_predict_the_same(module: Any, name: str, tmp_path: Path, waves: Any) -> None:
    X, y = waves(40)
    target = y if module is regressors else y > 0.5
    fitted = getattr(module, name)().fit(X, target)
    predictions = fitted.predict(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted)).predict(X), predictions)
    np.testing.assert_array_equal(clone(fitted).fit(X, target).predict(X), predictions)
    kind = MixtureRegressor if module is regressors else MixtureClassifier
    other = "ridge" if module is regressors else "logistic"
    mixture = kind([name, other], gate="constant", specialize=False, cv=2, random_state=0).fit(X, target)
    save(mixture, tmp_path / "mixture")
    loaded = load(tmp_path / "mixture")
    np.testing.assert_array_equal(loaded.predict(X), mixture.predict(X))
    np.testing.assert_array_equal(loaded.named_experts_[name].predict(X), mixture.named_experts_[name].predict(X))


@pytest.mark.parametrize(("module", "name"), [(regressors, "xgboost"), (classifiers, "lightgbm")])
def test_a_missing_library_is_named_with_its_extra(module: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # makes the import fail
    with pytest.raises(ImportError, match=rf"pip install metamix\[{name}\]"):
        getattr(module, name)()
