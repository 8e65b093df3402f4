"""Experts that see some columns: the same fit as on those columns alone, whatever X is and however they are named."""

import warnings

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import sklearn
from scipy import sparse
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.exceptions import FitFailedWarning
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.tree import DecisionTreeRegressor

from metamix import MixtureClassifier, MixtureRegressor, compare, load, save
from metamix.data.cleaning import TableWarning
from metamix.data.features import find_features
from metamix.experts.on_columns import on_columns
from metamix.inspection import ExpertsDisplay

QUICK = {"specialize": False, "gate": "constant", "cv": 3, "random_state": 0}
FEW = {"cv": 2, "max_rounds": 1, "gate": "softmax", "random_state": 0}
EXPERTS = [("near", "neighbours", [1, 2]), ("rest", Ridge(), [0, 3]), ("tree", DecisionTreeRegressor(max_depth=3))]


def table(n=90):
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, 4))
    return X, 2 * X[:, 0] - X[:, 3] + np.sin(3 * X[:, 1]) + 0.1 * rng.normal(size=n)


def frame(n=90):
    X, y = table(n)
    found = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    found["city"] = np.where(X[:, 0] > 0, "Rome", "Oslo")
    return found, y


KINDS = {
    "array": lambda frame: frame[["a", "b", "c", "d"]].to_numpy(),
    "sparse": lambda frame: sparse.csr_matrix(frame[["a", "b", "c", "d"]].to_numpy()),
    "pandas": lambda frame: frame,
    "polars": pl.from_pandas,
    "pyarrow": pa.Table.from_pandas,
}


@pytest.mark.parametrize("kind", KINDS)
def test_an_expert_on_columns_is_the_expert_fitted_to_these_columns(kind):
    rows, y = frame()
    X = KINDS[kind](rows)
    experts = [("near", "ridge", [1, 2]), ("rest", Ridge(), [0, 3])]
    mixture = MixtureRegressor(experts, **QUICK).fit(X, y)
    alone = Ridge().fit(rows[["a", "d"]].to_numpy(), y).predict(rows[["a", "d"]].to_numpy())
    np.testing.assert_allclose(mixture.predict_experts(X)[:, 1], alone, rtol=1e-9)
    named = MixtureRegressor(["ridge"], **QUICK).fit(rows[["b", "c"]], y)
    np.testing.assert_allclose(mixture.predict_experts(X)[:, 0], named.predict_experts(rows[["b", "c"]])[:, 0])
    np.testing.assert_allclose(mixture.experts_[1].predict(X), alone, rtol=1e-9)  # an expert takes the whole X


@pytest.mark.parametrize(
    "columns",
    [
        ["city", "a"], "b", [0, -1], -2, slice(1, 3), slice("b", "d"), slice("c", None),
        [True, False, True, False, False], np.array([False, True, False, True, False]), pd.Index(["a", "b"]),
        np.array([2, 3]), make_column_selector(dtype_include="number"), make_column_selector(pattern="c"),
        lambda X: ["d"],
    ],
)  # fmt: skip
def test_columns_are_found_as_by_column_transformer(columns):
    rows, _ = frame(5)
    single = isinstance(columns, str | int)
    expected = ColumnTransformer(
        [("c", "passthrough", [columns] if single else columns)], verbose_feature_names_out=False
    )
    expected.set_output(transform="pandas").fit(rows)
    assert list(rows.columns[find_features(columns, rows)]) == list(expected.get_feature_names_out())


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (["ct"], "no column 'ct'; did you mean 'city'"), ([7], "no column 7"), (-6, "no column -6"), ([], "no columns"),
        ([False] * 5, "no columns"), ([True], "1 values, X has 5"), (slice("a", "z"), "no column 'z'"),
        (lambda X: [], "no columns"), (["a", 0], "'a' is given twice"), ({"a", "b"}, "give a list"),
        (2.5, "give a list"), ([1.5], "no column 1.5"), (slice(4, 2), "no columns"),
    ],
)  # fmt: skip
def test_columns_that_do_not_exist_are_refused_before_anything_is_fitted(columns, said):
    class Unfittable(BaseEstimator, RegressorMixin):
        def fit(self, X, y):
            raise AssertionError("fitted")

        def predict(self, X):
            return np.zeros(len(X))

    X, y = frame()
    experts = [("near", Ridge(), columns), ("other", Unfittable())]
    for fit in (MixtureRegressor(experts, on_error="raise", **QUICK).fit, lambda X, y: compare(X, y, experts, cv=3)):
        with pytest.raises(ValueError, match=f"expert 'near' is to see columns=.*{said}"):
            fit(X, y)


def test_names_of_an_array_and_entries_of_another_form_are_refused():
    X, y = table()
    with pytest.raises(ValueError, match="no column 'a'; give a name or a position below 4: x0"):
        MixtureRegressor([("near", "ridge", ["a"])], **QUICK).fit(X, y)
    with pytest.raises(ValueError, match="or a triple"):
        MixtureRegressor([("near", "ridge", [0], [1])], **QUICK).fit(X, y)


def test_positions_are_those_of_the_frame_given_where_a_column_is_left_out():
    rows, y = frame()
    rows.insert(0, "id", np.arange(len(rows)))
    X = rows[["a"]].to_numpy()
    with pytest.warns(TableWarning, match="id"):
        mixture = MixtureRegressor([("a", Ridge(), [1]), ("mask", Ridge(), rows.columns == "a")], **QUICK).fit(rows, y)
    np.testing.assert_allclose(mixture.predict_experts(rows)[:, 0], Ridge().fit(X, y).predict(X))
    np.testing.assert_allclose(mixture.predict_experts(rows)[:, 1], Ridge().fit(X, y).predict(X))
    with pytest.warns(TableWarning), pytest.raises(ValueError, match="'id' was left out when the table was read"):
        MixtureRegressor([("near", "ridge", ["id", "a"])], **QUICK).fit(rows, y)


def test_an_expert_does_not_mind_gaps_and_text_in_columns_that_it_does_not_see():
    X, y = table()
    X[::7, 1] = np.nan
    mixture = MixtureRegressor([("whole", "boosting"), ("rest", Ridge(), [0, 3])], **QUICK).fit(X, y)
    assert mixture.failures_.empty
    with pytest.warns(FitFailedWarning, match="gaps .*NaN"):
        MixtureRegressor([("whole", "boosting"), ("gaps", Ridge(), [0, 1])], **QUICK).fit(X, y)
    mixed = X.astype(object)
    mixed[:, 1] = "b"
    MixtureRegressor([("whole", "boosting"), ("rest", Ridge(), [0, 3])], on_error="raise", **QUICK).fit(mixed, y)


def test_parameters_reach_inside_and_columns_stay():
    X, y = table()
    mixture = MixtureRegressor(EXPERTS, **QUICK)
    assert mixture.get_params()["rest__alpha"] == 1.0
    assert mixture.get_params()["near"] == "neighbours"
    mixture.set_params(rest__alpha=5.0, near=Ridge(2.0))
    assert mixture.experts[1][2] == [0, 3]
    assert repr(mixture.experts[0]) == "('near', Ridge(alpha=2.0), [1, 2])"
    assert clone(mixture).get_params()["near__alpha"] == 2.0
    np.testing.assert_allclose(
        clone(mixture).fit(X, y).predict_experts(X)[:, 1], Ridge(5.0).fit(X[:, [0, 3]], y).predict(X[:, [0, 3]])
    )
    assert "near" not in MixtureRegressor(EXPERTS, **QUICK).set_params(near="drop").fit(X, y).named_experts_
    search = GridSearchCV(MixtureRegressor(EXPERTS, **QUICK), {"rest__alpha": [0.1, 1e6]}, cv=2).fit(X, y)
    assert search.best_params_ == {"rest__alpha": 0.1}


@pytest.mark.parametrize("columns", [[0, 3], slice(0, 2), np.array([True, False, True, False]), "selector"], ids=str)
def test_saved_and_loaded(columns, tmp_path):
    X, y = frame()
    selector = isinstance(columns, str)
    columns = make_column_selector(dtype_include="number") if selector else columns
    X = X if selector else X[["a", "b", "c", "d"]]
    mixture = MixtureRegressor([("near", "neighbours", columns), ("rest", Ridge(), ["a"])], **QUICK).fit(X, y)
    save(mixture, tmp_path / "m.mix")
    again = load(tmp_path / "m.mix")
    np.testing.assert_array_equal(again.predict(X), mixture.predict(X))
    np.testing.assert_array_equal(clone(again).fit(X, y).predict(X), mixture.predict(X))


def test_coefficients_and_gradients_are_those_of_the_columns_of_x():
    X, y = table()
    experts = [("named", "linear", [3, 0]), ("own", LinearRegression(), slice(1, 3)), ("curves", "splines", [1])]
    mixture = MixtureRegressor(experts, specialize=False, gate="softmax", cv=3, random_state=0).fit(X, y)
    found = mixture.coefficients().set_index(["expert", "column"])["coefficient"]
    slopes = LinearRegression().fit(X[:, [3, 0]], y).coef_
    np.testing.assert_allclose([found["named", "x3"], found["named", "x0"]], slopes)
    np.testing.assert_allclose(found["own", "x2"], LinearRegression().fit(X[:, 1:3], y).coef_[1])
    steps = 1e-5 * np.eye(4)
    numeric = [(mixture.predict(X + step) - mixture.predict(X - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(mixture.predict_gradient(X), np.column_stack(numeric), atol=1e-6)


def test_columns_that_no_expert_sees_have_no_importance():
    X, y = table()
    mixture = MixtureRegressor([("near", "ridge", [0]), ("tree", DecisionTreeRegressor(), [1])], **QUICK).fit(X, y)
    found = permutation_importance(mixture.experts_[0], X, y, n_repeats=2, random_state=0).importances_mean
    assert found[0] > 0.1
    assert (found[1:] == 0).all()
    table_of = ExpertsDisplay.from_estimator(mixture, X, y).frame()
    seen = table_of[(table_of["regime"] == "near") & (table_of["column"] != "intercept")]
    assert list(seen["column"]) == ["x0"]
    assert seen["per_deviation"].notna().all()


@pytest.mark.slow
def test_classes_targets_and_regimes():
    X, y = table(80)
    experts = [("near", "logistic", [0, 3]), ("own", LogisticRegression(), [1])]
    for n_experts in (None, 2):
        mixture = MixtureClassifier(experts, n_experts=n_experts, specialize=True, **FEW).fit(X, y > 0)
        assert mixture.score(X, y > 0) > 0.8
    labels = MixtureClassifier(experts, **QUICK).fit(X, np.column_stack([y > 0, X[:, 1] > 0]))
    assert labels.predict_proba(X).shape == (80, 2)
    both = MixtureRegressor([("near", "ridge", [0, 3]), ("own", Ridge(), [1])], specialize=True, **FEW)
    both.fit(X, np.column_stack([y, -y]))
    np.testing.assert_allclose(both.predict(X)[:, 0], -both.predict(X)[:, 1], atol=1e-6)


def test_weights_reach_experts_on_columns_with_and_without_routing():
    X, y = table()
    weight = np.arange(1.0, 91.0)
    experts = [("named", "ridge", [0, 3]), ("own", LinearRegression(), [0, 3])]
    expected = LinearRegression().fit(X[:, [0, 3]], y, sample_weight=weight).predict(X[:, [0, 3]])
    for routing in (False, True):
        with sklearn.config_context(enable_metadata_routing=routing):
            mixture = MixtureRegressor(experts, **QUICK).fit(X, y, sample_weight=weight)
        np.testing.assert_allclose(mixture.predict_experts(X)[:, 1], expected)


def test_experts_of_other_libraries():
    class Mean:
        """No estimator of scikit-learn's: nothing of it tells that it is fitted."""

        def get_params(self, deep=True):
            return {}

        def fit(self, X, y):
            assert X.shape[1] == 2
            self.value = float(np.mean(y))
            return self

        def predict(self, X):
            return np.full(len(X), self.value)

    X, y = table()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixture = MixtureRegressor([("middle", Mean(), [0, 1]), ("rest", "ridge")], **QUICK).fit(X, y)
    np.testing.assert_allclose(mixture.predict_experts(X)[:, 0], y.mean())


def test_early_stopping_of_an_expert_on_columns():
    xgboost = pytest.importorskip("xgboost", reason="needs XGBoost")
    X, y = table()
    stopped = xgboost.XGBRegressor(n_estimators=500, early_stopping_rounds=3, n_jobs=1)
    mixture = MixtureRegressor([("boosted", stopped, [0, 1]), ("rest", "ridge")], **QUICK).fit(X, y)
    model = mixture.named_experts_["boosted"].steps[1][1]
    assert model.best_iteration < 400
    assert model.n_features_in_ == 2


def test_transformed_output_of_scikit_learn_changes_nothing():
    X, y = table()
    plain = on_columns(Ridge(), [0, 3]).fit(X, y).predict(X)
    with sklearn.config_context(transform_output="pandas"):
        np.testing.assert_array_equal(on_columns(Ridge(), [0, 3]).fit(X, y).predict(X), plain)
