"""Cross-fitting of many experts: out-of-fold predictions, repeats and failures."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor

from metamix.data.folds import make_folds
from metamix.engines import SerialEngine
from metamix.fitting import AllExpertsFailedError, FitSession, NamedExpert, Problem, prepare


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


def test_a_classifier_without_probabilities_is_a_recorded_failure():
    data = Problem(np.zeros((20, 1)), np.arange(20) % 2, n_classes=2)
    with _session(LogisticRegression(), WithoutProbabilities(), data=data, cv=2) as session:
        kept, answers = session.cross_fit()
    assert kept == [0]
    assert "predict_proba" in answers.failures[0].error
