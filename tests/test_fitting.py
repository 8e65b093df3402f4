"""One fit of one expert, and many: weights carried or drawn, seeds, threads, classes, failures."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.compose import TransformedTargetRegressor
from sklearn.ensemble import BaggingRegressor, RandomForestRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix.data.folds import make_folds
from metamix.engines import SerialEngine
from metamix.fitting import AllExpertsFailedError, FitSession, FoldAverage, NamedExpert, Problem, fit_expert, prepare
from metamix.fitting.expert import takes_weights


class Recorder(RegressorMixin, BaseEstimator):
    """Takes no weights and remembers what it was given."""

    def fit(self, X, y):
        self.X_, self.y_ = X, y
        return self

    def predict(self, X):
        return np.zeros(len(X))


class Wrong(RegressorMixin, BaseEstimator):
    """Answers what it should not."""

    def __init__(self, answer=np.nan, error=None):
        self.answer = answer
        self.error = error

    def fit(self, X, y, sample_weight=None):
        if self.error is not None:
            raise RuntimeError(self.error)
        return self

    def predict(self, X):
        return np.full(np.shape(X)[0], self.answer)


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
def test_where_weights_go(estimator, path):
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
def test_weights_arrive_at_any_depth_with_and_without_routing(wrap, routing):
    data = _data()
    weight = np.random.default_rng(1).uniform(0.1, 3, data.n)
    with config_context(enable_metadata_routing=routing):
        fitted = fit_expert(NamedExpert("one", prepare(wrap(Ridge(alpha=1e-9)), 0)), data, None, weight)
    expected = LinearRegression().fit(data.X, data.y, sample_weight=weight).predict(data.X)
    np.testing.assert_allclose(fitted.predict(data.X), expected, rtol=1e-5, atol=1e-6)


def test_routing_leaves_the_users_requests_alone():
    user = Ridge()
    with config_context(enable_metadata_routing=True):
        fit_expert(NamedExpert("one", prepare(user, 0)), _data(), None, np.linspace(0.5, 1, 60))
        assert user.get_metadata_routing().fit.requests["sample_weight"] is None


def test_sample_weights_and_responsibilities_multiply():
    rng = np.random.default_rng(2)
    sample_weight, share = rng.uniform(0.5, 2, 60), rng.uniform(0, 1, 60)
    rows = np.arange(10, 50)
    data = _data(sample_weight=sample_weight)
    fitted = fit_expert(NamedExpert("line", LinearRegression()), data, rows, share[rows])
    expected = LinearRegression().fit(data.X[rows], data.y[rows], sample_weight=(sample_weight * share)[rows])
    np.testing.assert_allclose(fitted.model.coef_, expected.coef_)


def test_whole_weights_are_repeated_rows():
    data = _data()
    times = np.random.default_rng(0).integers(0, 4, data.n)
    fitted = fit_expert(NamedExpert("ridge", Ridge()), data, None, times.astype(float))
    expected = Ridge().fit(np.repeat(data.X, times, axis=0), np.repeat(data.y, times))
    np.testing.assert_allclose(fitted.predict(data.X), expected.predict(data.X))


@pytest.mark.parametrize("estimator", [Ridge(), KNeighborsRegressor(3), DecisionTreeRegressor(random_state=0)])
def test_a_row_of_weight_zero_is_a_row_removed(estimator):
    weight = np.ones(60)
    weight[::3] = 0
    data, kept = _data(sample_weight=weight), weight > 0
    expected = type(estimator)(**estimator.get_params()).fit(data.X[kept], data.y[kept])
    fitted = fit_expert(NamedExpert("one", estimator), data, None, None)
    np.testing.assert_allclose(fitted.predict(data.X), expected.predict(data.X))
    without = fit_expert(NamedExpert("one", estimator), _data(), None, weight)
    np.testing.assert_allclose(without.predict(data.X), expected.predict(data.X))


def test_rows_are_drawn_as_often_as_their_weight_says():
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


def test_draws_are_right_on_average_and_fixed_by_the_seed():
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


def test_weights_of_zero_and_one_draw_exactly_those_rows():
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


def test_frames_reach_experts_as_they_are():
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": ["x", "y", "x"]}, index=[7, 8, 9])
    fitted = fit_expert(
        NamedExpert("recorder", Recorder()), Problem(frame, np.arange(3.0)), np.array([2, 0]), None
    ).model
    pd.testing.assert_frame_equal(fitted.X_, frame.iloc[[2, 0]])
    assert fitted.y_.tolist() == [2.0, 0.0]


def test_prepare_seeds_and_threads_only_what_was_left_open():
    inside = make_pipeline(StandardScaler(), RandomForestRegressor(n_jobs=3))
    given = BaggingRegressor(inside, random_state=4)
    ready = prepare(given, 11)
    assert ready.random_state == 4
    assert ready.n_jobs == 1
    assert ready.get_params()["estimator__randomforestregressor__n_jobs"] == 3
    assert ready.get_params()["estimator__randomforestregressor__random_state"] == 11
    assert given.n_jobs is None


def test_a_frozen_expert_is_warned_about():
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
def test_boosted_trees_live_without_a_class(library):
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


def test_a_single_class_in_a_fold_is_answered_with_certainty():
    data = Problem(np.arange(6.0)[:, None], np.array([0, 0, 0, 1, 1, 2]), n_classes=3)
    shares = fit_expert(NamedExpert("logistic", LogisticRegression()), data, np.array([3, 4]), None).predict(data.X)
    np.testing.assert_array_equal(shares, np.tile([0.0, 1.0, 0.0], (6, 1)))


def test_answers_that_are_no_answers_are_errors():
    data = _data()
    for wrong in (np.nan, np.inf):
        fitted = fit_expert(NamedExpert("wrong", Wrong(wrong)), data, None, None)
        with pytest.raises(ValueError, match="60 of 60 rows"):
            fitted.predict(data.X)

    class TwoColumns(Recorder):
        def predict(self, X):
            return np.zeros((len(X), 2))

    with pytest.raises(ValueError, match="2 columns"):
        fit_expert(NamedExpert("two", TwoColumns()), data, None, None).predict(data.X)


def _workshop(*estimators, data=None, cv=3, **more):
    data = _data() if data is None else data
    entries = [NamedExpert(f"{type(one).__name__.lower()}{i}", prepare(one, i)) for i, one in enumerate(estimators)]
    folds = make_folds(cv, data.X, data.y, random_state=0)
    return FitSession(entries, data, folds, SerialEngine(), **more)


def test_cross_fit_answers_with_models_that_never_saw_the_row():
    with _workshop(Ridge(), KNeighborsRegressor()) as session:
        kept, answers = session.cross_fit()
    assert kept == [0, 1]
    assert answers.names == ["ridge0", "kneighborsregressor1"]
    expected = np.empty((60, 2))
    for train, test in session.folds.pairs:
        for k, one in enumerate((Ridge(), KNeighborsRegressor())):
            expected[test, k] = one.fit(session.data.X[train], session.data.y[train]).predict(session.data.X[test])
    np.testing.assert_allclose(answers.values, expected)
    assert (answers.fit_seconds > 0).all()


def test_answers_are_averaged_over_repeats_and_absent_where_never_held_out():
    data = _data(20)
    pairs = [(np.arange(0, 10), np.arange(10, 15)), (np.arange(5, 10), np.arange(10, 12))]
    with _workshop(LinearRegression(), data=data, cv=pairs) as session:
        _, answers = session.cross_fit()
    given = [LinearRegression().fit(data.X[a], data.y[a]).predict(data.X) for a, _ in pairs]
    np.testing.assert_allclose(answers.values[10:12, 0], (given[0] + given[1])[10:12] / 2)
    np.testing.assert_allclose(answers.values[12:15, 0], given[0][12:15])
    assert np.isnan(answers.values[np.r_[0:10, 15:20]]).all()


def test_one_failing_expert_is_dropped_and_recorded():
    with _workshop(Ridge(), Wrong(error="no memory"), Wrong()) as session:
        kept, answers = session.cross_fit()
        assert kept == [0]
        assert answers.values.shape == (60, 1)
        assert [(one.expert, one.fold) for one in answers.failures] == [
            ("wrong1", 0), ("wrong2", 0), ("wrong1", 1), ("wrong2", 1), ("wrong1", 2), ("wrong2", 2)
        ]  # fmt: skip
        assert {one.error for one in answers.failures if one.expert == "wrong1"} == {"RuntimeError: no memory"}
        fitted, failures = session.fit_all()
        assert list(fitted) == [0, 2]
        assert [one.fold for one in failures] == [-1]


def test_all_failing_names_every_reason():
    with _workshop(Wrong(error="first"), Wrong(error="second")) as session:
        with pytest.raises(AllExpertsFailedError, match=r"wrong0: RuntimeError: first; wrong1: RuntimeError: second"):
            session.cross_fit()
        with pytest.raises(AllExpertsFailedError, match="first"):
            session.fit_all()


def test_raising_says_which_expert_and_fold():
    with _workshop(Ridge(), Wrong(error="no memory"), on_error="raise") as session:
        with pytest.raises(RuntimeError, match="no memory") as caught:
            session.cross_fit()
        assert "wrong1, fold 0" in caught.value.__notes__[0]


def test_one_entry_may_answer_for_several_components():
    with _workshop(LinearRegression()) as session:
        weights = np.random.default_rng(0).uniform(0.1, 1, (60, 2))
        _, answers = session.cross_fit([0, 0], weights, keep=True)
    assert answers.names == ["linearregression0-1", "linearregression0-2"]
    for k, name in enumerate(answers.names):
        train, test = session.folds.pairs[1]
        model = LinearRegression().fit(session.data.X[train], session.data.y[train], weights[train, k])
        np.testing.assert_allclose(answers.values[test, k], model.predict(session.data.X[test]))
        np.testing.assert_allclose(answers.models[name, 1].model.coef_, model.coef_)


def test_fold_models_answer_with_their_mean():
    with _workshop(Ridge()) as session:
        _, answers = session.cross_fit(keep=True)
    average = FoldAverage("ridge0", [answers.models["ridge0", f] for f in range(3)])
    X = session.data.X
    np.testing.assert_allclose(average.predict(X), np.mean([one.predict(X) for one in average.model], axis=0))


class Slow(ClassifierMixin, BaseEstimator):
    """A classifier without predict_proba."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X), dtype=int)


def test_a_classifier_without_probabilities_is_a_recorded_failure():
    data = Problem(np.zeros((20, 1)), np.arange(20) % 2, n_classes=2)
    with _workshop(LogisticRegression(), Slow(), data=data, cv=2) as session:
        kept, answers = session.cross_fit()
    assert kept == [0]
    assert "predict_proba" in answers.failures[0].error
