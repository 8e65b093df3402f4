"""Cross-fitting of many experts: out-of-fold predictions, repeats and failures."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor

from metamix.data.folds import make_folds
from metamix.engines import SerialEngine
from metamix.fitting import AllExpertsFailedError, FitSession, NamedExpert, NestedFitError, Problem, prepare


class Wrong(RegressorMixin, BaseEstimator):
    """Fails to fit with `error`, or predicts `answer` for every row."""

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


def _session(*estimators, data=None, cv=3, **more):
    data = _data() if data is None else data
    entries = [NamedExpert(f"{type(one).__name__.lower()}{i}", prepare(one, i)) for i, one in enumerate(estimators)]
    folds = make_folds(cv, data.X, data.y, random_state=0)
    return FitSession(entries, data, folds, SerialEngine(), **more)


def test_cross_fit_predicts_each_row_with_models_fitted_without_it():
    with _session(Ridge(), KNeighborsRegressor()) as session:
        kept, answers = session.cross_fit()
    assert kept == [0, 1]
    assert answers.names == ["ridge0", "kneighborsregressor1"]
    expected = np.empty((60, 2))
    for train, test in session.folds.pairs:
        for k, one in enumerate((Ridge(), KNeighborsRegressor())):
            X, y = session.problem.X, session.problem.y
            expected[test, k] = one.fit(X[train], y[train]).predict(X[test])
    np.testing.assert_allclose(answers.values, expected)
    assert (answers.fit_seconds > 0).all()


def test_predictions_are_averaged_over_repeats_and_nan_for_rows_never_held_out():
    data = _data(20)
    pairs = [(np.arange(0, 10), np.arange(10, 15)), (np.arange(5, 10), np.arange(10, 12))]
    with _session(LinearRegression(), data=data, cv=pairs) as session:
        _, answers = session.cross_fit()
    given = [LinearRegression().fit(data.X[a], data.y[a]).predict(data.X) for a, _ in pairs]
    np.testing.assert_allclose(answers.values[10:12, 0], (given[0] + given[1])[10:12] / 2)
    np.testing.assert_allclose(answers.values[12:15, 0], given[0][12:15])
    assert np.isnan(answers.values[np.r_[0:10, 15:20]]).all()


def test_one_failing_expert_is_dropped_and_recorded():
    with _session(Ridge(), Wrong(error="no memory"), Wrong()) as session:
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


def test_if_all_experts_fail_the_error_gives_every_reason():
    with _session(Wrong(error="first"), Wrong(error="second")) as session:
        with pytest.raises(AllExpertsFailedError, match=r"wrong0: RuntimeError: first; wrong1: RuntimeError: second"):
            session.cross_fit()
        with pytest.raises(AllExpertsFailedError, match="first"):
            session.fit_all()


def test_on_error_raise_names_expert_and_fold():
    with _session(Ridge(), Wrong(error="no memory"), on_error="raise") as session:
        with pytest.raises(RuntimeError, match="no memory") as caught:
            session.cross_fit()
        assert "wrong1, fold 0" in caught.value.__notes__[0]


def test_one_expert_can_be_fitted_for_several_components():
    with _session(LinearRegression()) as session:
        weights = np.random.default_rng(0).uniform(0.1, 1, (60, 2))
        _, answers = session.cross_fit([0, 0], weights, keep=True)
    assert answers.names == ["linearregression0-1", "linearregression0-2"]
    for k, name in enumerate(answers.names):
        train, test = session.folds.pairs[1]
        model = LinearRegression().fit(session.problem.X[train], session.problem.y[train], weights[train, k])
        np.testing.assert_allclose(answers.values[test, k], model.predict(session.problem.X[test]))
        np.testing.assert_allclose(answers.models[name, 1].model.coef_, model.coef_)


class WithoutProbabilities(ClassifierMixin, BaseEstimator):
    """A classifier without predict_proba."""

    def fit(self, X, y):
        return self

    def predict(self, X):
        return np.zeros(len(X), dtype=int)


class Counted(LinearRegression):
    """Counts the fits of all of its kind."""

    fits = 0

    def fit(self, X, y, sample_weight=None):
        type(self).fits += 1
        return super().fit(X, y, sample_weight)


class CountedForest(ExtraTreesRegressor):
    fits = 0

    def fit(self, X, y, sample_weight=None):
        type(self).fits += 1
        return super().fit(X, y, sample_weight)


def test_equal_experts_are_fitted_once_to_the_same_rows_and_keep_their_names():
    Counted.fits = CountedForest.fits = 0
    forest = CountedForest(n_estimators=2)
    with _session(Counted(), Counted(), Counted(positive=True), forest, forest) as session:
        kept, answers = session.cross_fit(keep=True)
        assert kept == [0, 1, 2, 3, 4]
        assert Counted.fits == 2 * 3
        assert CountedForest.fits == 2 * 3, "forests of two seeds are not equal"
        np.testing.assert_array_equal(answers.values[:, 0], answers.values[:, 1])
        assert np.abs(answers.values[:, 3] - answers.values[:, 4]).max() > 0
        assert [answers.models[name, 0].name for name in answers.names] == answers.names
        weights = np.random.default_rng(0).uniform(size=(60, 4))
        weights[:, 3] = weights[:, 0]
        session.cross_fit([0, 0, 1, 1], weights, remember=True)
        assert Counted.fits == 2 * 3 + 3 * 3, "three different weights"
        session.cross_fit([1], weights[:, :1])
        assert Counted.fits == 2 * 3 + 3 * 3, "remembered, though of the other expert"


def test_equal_experts_that_fail_are_each_recorded():
    with _session(Wrong(error="no"), Wrong(error="no"), Ridge()) as session:
        kept, answers = session.cross_fit()
    assert kept == [2]
    assert {one.expert for one in answers.failures} == {"wrong0", "wrong1"}


def test_a_classifier_without_probabilities_is_a_recorded_failure():
    data = Problem(np.zeros((20, 1)), np.arange(20) % 2, n_classes=2)
    with _session(LogisticRegression(), WithoutProbabilities(), data=data, cv=2) as session:
        kept, answers = session.cross_fit()
    assert kept == [0]
    assert "predict_proba" in answers.failures[0].error


# --- nested ---------------------------------------------------------------------------------------------


def _nested(session, which):
    data, folds = session.problem, session.folds
    _, table = session.cross_fit(which)
    return table, session.cross_fit_nested(table, which, folds.nested(data.X, data.y, data.groups))


def test_nested_predictions_are_of_models_without_both_folds():
    with _session(LinearRegression(), KNeighborsRegressor(3), cv=4) as session:
        data, folds = session.problem, session.folds
        table, nested = _nested(session, [0, 1])
    np.testing.assert_array_equal(nested.values, table.values)
    for f, (train, test) in enumerate(folds.pairs):
        inside = nested.for_fold(f)
        assert np.isnan(inside.values[test]).all()
        for g in set(range(4)) - {f}:
            rows, held = np.setdiff1d(train, folds.pairs[g][1]), folds.pairs[g][1]
            for k, model in enumerate((LinearRegression(), KNeighborsRegressor(3))):
                expected = model.fit(data.X[rows], data.y[rows]).predict(data.X[held])
                np.testing.assert_allclose(inside.values[held, k], expected)


def test_nested_probabilities_lack_a_class_that_two_folds_hold_alone():
    X = np.random.default_rng(0).standard_normal((40, 2))
    y = np.where(np.arange(40) < 36, np.arange(40) % 2, 2)
    data = Problem(X, y, n_classes=3)
    with _session(LogisticRegression(), data=data, cv=[(np.setdiff1d(np.arange(40), t), t) for t in (
        np.arange(12), np.arange(12, 24), np.r_[24:36, 36:38], np.arange(38, 40)
    )]) as session:  # fmt: skip
        _, nested = _nested(session, [0])
    first = nested.for_fold(2).values[38:40, 0]
    np.testing.assert_allclose(first.sum(axis=1), 1)
    assert (first[:, 2] == 0).all(), "folds 2 and 3 have all of the third class"


@pytest.mark.parametrize("on_error", ["drop", "raise"])
def test_a_nested_fit_that_fails_is_told(on_error):
    class Choosy(Ridge):
        def fit(self, X, y, sample_weight=None):
            if len(X) < 40:
                raise ValueError("too few rows")
            return super().fit(X, y)

    told = pytest.raises(NestedFitError, match="choosy0: too few rows")
    with _session(Choosy(), LinearRegression(), on_error=on_error) as session, told:
        _nested(session, [0, 1])


def test_columns_and_targets_of_nested_tables_are_taken_together():
    data = _data()
    data = Problem(data.X, np.column_stack([data.y, -data.y]))
    with _session(LinearRegression(), Ridge(), data=data) as session:
        _, nested = _nested(session, [0, 1])
    one = nested.take([1]).target(1)
    np.testing.assert_array_equal(one.for_fold(0).values[:, 0], nested.for_fold(0).values[:, 1, 1])
    joined = nested.take([0]).join(replace(nested.take([1]), inside=None))
    flat = joined.for_fold(0).values
    np.testing.assert_array_equal(flat[:, 0], nested.for_fold(0).values[:, 0])
    np.testing.assert_array_equal(flat[:, 1], nested.values[:, 1])
