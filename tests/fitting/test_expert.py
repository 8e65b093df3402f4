"""A single fit of one expert: weights passed or rows resampled, seeds, threads and classes."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor, RandomForestRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix.fitting import NamedExpert, Problem, fit_expert, prepare
from metamix.fitting.expert import takes_weights


class Recorder(RegressorMixin, BaseEstimator):
    """Takes no weights and stores its training rows."""

    def fit(self, X, y):
        self.X_, self.y_ = X, y
        return self

    def predict(self, X):
        return np.zeros(len(X))


def _data(n=60, seed=0, **more):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 2))
    return Problem(X, X[:, 0] - 2 * X[:, 1] + 0.1 * rng.standard_normal(n), **more)


@pytest.mark.parametrize(
    ("estimator", "path"),
    [
        (Ridge(), "sample_weight"),
        (KNeighborsRegressor(), None),
        (make_pipeline(StandardScaler(), Ridge()), "ridge__sample_weight"),
        (make_pipeline(StandardScaler(), KNeighborsRegressor()), None),
        (make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), Ridge())), "pipeline__ridge__sample_weight"),
        (make_pipeline(StandardScaler(), "passthrough"), None),
        (TransformedTargetRegressor(Ridge()), "sample_weight"),
        (TransformedTargetRegressor(KNeighborsRegressor()), None),
        (GridSearchCV(Ridge(), {}), "sample_weight"),
    ],
)
def test_fit_parameter_that_passes_weights(estimator, path):
    assert takes_weights(estimator) == path


@pytest.mark.parametrize("routing", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda one: one,
        lambda one: make_pipeline(StandardScaler(with_mean=False, with_std=False), one),
        lambda one: TransformedTargetRegressor(one, func=np.negative, inverse_func=np.negative),
        lambda one: GridSearchCV(one, {"alpha": [1e-9]}, cv=2),
        lambda one: make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), one)),
    ],
)
def test_weights_reach_nested_estimators_with_and_without_metadata_routing(wrap, routing):
    data = _data()
    weight = np.random.default_rng(1).uniform(0.1, 3, data.n)
    with config_context(enable_metadata_routing=routing):
        fitted = fit_expert(NamedExpert("one", prepare(wrap(Ridge(alpha=1e-9)), 0)), data, None, weight)
    expected = LinearRegression().fit(data.X, data.y, sample_weight=weight).predict(data.X)
    np.testing.assert_allclose(fitted.predict(data.X), expected, rtol=1e-5, atol=1e-6)


def test_metadata_requests_of_the_user_are_unchanged():
    user = Ridge()
    with config_context(enable_metadata_routing=True):
        fit_expert(NamedExpert("one", prepare(user, 0)), _data(), None, np.linspace(0.5, 1, 60))
        assert user.get_metadata_routing().fit.requests["sample_weight"] is None


def test_sample_weights_and_responsibilities_are_multiplied():
    rng = np.random.default_rng(2)
    sample_weight, share = rng.uniform(0.5, 2, 60), rng.uniform(0, 1, 60)
    rows = np.arange(10, 50)
    data = _data(sample_weight=sample_weight)
    fitted = fit_expert(NamedExpert("line", LinearRegression()), data, rows, share[rows])
    expected = LinearRegression().fit(data.X[rows], data.y[rows], sample_weight=(sample_weight * share)[rows])
    np.testing.assert_allclose(fitted.model.coef_, expected.coef_)


def test_integer_weights_equal_repeated_rows():
    data = _data()
    times = np.random.default_rng(0).integers(0, 4, data.n)
    fitted = fit_expert(NamedExpert("ridge", Ridge()), data, None, times.astype(float))
    expected = Ridge().fit(np.repeat(data.X, times, axis=0), np.repeat(data.y, times))
    np.testing.assert_allclose(fitted.predict(data.X), expected.predict(data.X))


@pytest.mark.parametrize("estimator", [Ridge(), KNeighborsRegressor(3), DecisionTreeRegressor(random_state=0)])
def test_a_row_of_weight_zero_equals_a_removed_row(estimator):
    weight = np.ones(60)
    weight[::3] = 0
    data, kept = _data(sample_weight=weight), weight > 0
    expected = type(estimator)(**estimator.get_params()).fit(data.X[kept], data.y[kept])
    fitted = fit_expert(NamedExpert("one", estimator), data, None, None)
    np.testing.assert_allclose(fitted.predict(data.X), expected.predict(data.X))
    without = fit_expert(NamedExpert("one", estimator), _data(), None, weight)
    np.testing.assert_allclose(without.predict(data.X), expected.predict(data.X))


def test_rows_are_resampled_in_proportion_to_their_weight():
    weight = np.random.default_rng(5).gamma(1.0, size=200)
    data = Problem(np.arange(200.0)[:, None], np.arange(200.0))
    drawn = fit_expert(NamedExpert("recorder", Recorder()), data, None, weight).model
    np.testing.assert_array_equal(drawn.X_[:, 0], drawn.y_)
    size = weight.sum() ** 2 / (weight**2).sum()  # Kish's effective number of rows
    assert len(drawn.y_) == round(size)
    expected = len(drawn.y_) * weight / weight.sum()
    times = np.bincount(drawn.y_.astype(int), minlength=200)
    # Systematic draws: every row at least floor and at most ceil of what is expected of it.
    assert (times >= np.floor(expected - 1e-9)).all()
    assert (times <= np.ceil(expected + 1e-9)).all()


def test_resampling_is_unbiased_and_depends_on_the_seed_only():
    class Seeded(Recorder):
        def __init__(self, random_state=None):
            self.random_state = random_state

    weight = np.random.default_rng(5).gamma(1.0, size=30)
    data = Problem(np.arange(30.0)[:, None], np.arange(30.0))

    def times(seed):
        one = fit_expert(NamedExpert("one", prepare(Seeded(), seed), seed=seed), data, None, weight).model
        return np.bincount(one.y_.astype(int), minlength=30)

    np.testing.assert_array_equal(times(1), times(1))
    drawn = np.mean([times(seed) for seed in range(300)], axis=0)
    np.testing.assert_allclose(drawn, weight / weight.sum() * drawn.sum(), atol=0.12)


def test_weights_of_zero_and_one_select_exactly_those_rows():
    data = Problem(np.arange(60.0)[:, None], np.arange(60.0))
    weight = (np.arange(60) % 2).astype(float)
    drawn = fit_expert(NamedExpert("recorder", Recorder()), data, None, weight).model
    assert drawn.y_.tolist() == list(range(1, 60, 2))


def test_experts_with_and_without_weights_learn_the_same_regime():
    X = np.linspace(0, 1, 200)[:, None]
    data = Problem(X, np.where(np.arange(200) % 2, 5.0, -5.0))
    share = np.where(np.arange(200) % 2, 0.98, 0.02)
    for estimator in (DecisionTreeRegressor(max_depth=1, random_state=0), KNeighborsRegressor(20)):
        answer = fit_expert(NamedExpert("one", estimator), data, None, share, negligible=0.05).predict(X)
        np.testing.assert_allclose(answer, 5, atol=1e-9)


def test_experts_receive_data_frames_unchanged():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": ["x", "y", "x"]}, index=[7, 8, 9])
    fitted = fit_expert(
        NamedExpert("recorder", Recorder()), Problem(frame, np.arange(3.0)), np.array([2, 0]), None
    ).model
    pd.testing.assert_frame_equal(fitted.X_, frame.iloc[[2, 0]])
    assert fitted.y_.tolist() == [2.0, 0.0]


def test_prepare_sets_only_unset_seeds_and_threads():
    inside = make_pipeline(StandardScaler(), RandomForestRegressor(n_jobs=3))
    given = BaggingRegressor(inside, random_state=4)
    ready = prepare(given, 11)
    assert ready.random_state == 4
    assert ready.n_jobs == 1
    assert ready.get_params()["estimator__randomforestregressor__n_jobs"] == 3
    assert ready.get_params()["estimator__randomforestregressor__random_state"] == 11
    assert given.n_jobs is None


def test_a_frozen_expert_gives_a_warning():
    frozen = FrozenEstimator(Ridge().fit([[0.0], [1.0]], [0.0, 1.0]))
    with pytest.warns(UserWarning, match="in sample"):
        prepare(frozen, 0)


@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), KNeighborsClassifier(3), DecisionTreeClassifier(random_state=0)]
)
def test_probabilities_have_a_column_for_every_class(estimator):
    rng = np.random.default_rng(0)
    y = rng.permutation(np.repeat([0, 1, 2, 3], 15))
    data = Problem(rng.standard_normal((60, 2)), y, n_classes=4)
    rows = np.flatnonzero((y != 1) & (y != 3))
    fitted = fit_expert(NamedExpert("one", estimator), data, rows, None)
    shares = fitted.predict(data.X)
    assert shares.shape == (60, 4)
    assert (shares[:, [1, 3]] == 0).all()
    expected = type(estimator)(**estimator.get_params()).fit(data.X[rows], y[rows]).predict_proba(data.X)
    np.testing.assert_allclose(shares[:, [0, 2]], expected)


@pytest.mark.parametrize("library", ["xgboost", "lightgbm"])
def test_boosted_trees_fit_rows_that_lack_a_class(library):
    module = pytest.importorskip(library)
    estimator = (
        module.XGBClassifier(n_estimators=3)
        if library == "xgboost"
        else module.LGBMClassifier(n_estimators=3, verbose=-1)
    )
    y = np.repeat([0, 1, 2], 20)
    data = Problem(np.column_stack([y, np.arange(60) % 7]).astype(float), y, n_classes=3)
    for missing in (0, 1, 2):
        rows = np.flatnonzero(y != missing)
        shares = fit_expert(NamedExpert("one", prepare(estimator, 0)), data, rows, None).predict(data.X)
        assert (shares[:, missing] == 0).all()
        assert (shares[rows].argmax(axis=1) == y[rows]).mean() > 0.9


def test_a_single_class_in_a_fold_gets_probability_one():
    data = Problem(np.arange(6.0)[:, None], np.array([0, 0, 0, 1, 1, 2]), n_classes=3)
    shares = fit_expert(NamedExpert("logistic", LogisticRegression()), data, np.array([3, 4]), None).predict(data.X)
    np.testing.assert_array_equal(shares, np.tile([0.0, 1.0, 0.0], (6, 1)))
