"""What experts are fitted to, labels or codes, and what their columns stand for."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR
from sklearn.tree import DecisionTreeClassifier

from metamix.experts.classifiers import lightgbm, svm
from metamix.fitting import NamedExpert, Problem, fit_expert
from metamix.fitting.class_labels import ClassParameterError

KINDS = [[1, 2, 3], ["ant", "bee", "cow"], [-5.0, 0.0, 2.0], np.array(["x", "y", "z"], object)]


def _problem(labels, n=90, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.unique(np.asarray(labels))
    codes = rng.permutation(np.repeat(np.arange(len(labels)), n // len(labels)))
    return Problem(rng.standard_normal((n, 2)) + codes[:, None], codes, n_classes=len(labels), labels=labels)


def _weighted(kind, labels):
    weight = {labels[0]: 1.0, labels[1]: 1.0, labels[2]: 20.0}
    if kind == "plain":
        return LogisticRegression(class_weight=weight)
    if kind == "pipeline":
        return make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=2, random_state=0, class_weight=weight))
    if kind == "calibrated":
        return CalibratedClassifierCV(SVC(class_weight=weight), cv=2)
    return GridSearchCV(RandomForestClassifier(3, random_state=0, class_weight=weight), {"max_depth": [2]}, cv=2)


@pytest.mark.parametrize("lacking", [None, 0, 1])
@pytest.mark.parametrize("kind", ["plain", "pipeline", "calibrated", "search"])
@pytest.mark.parametrize("labels", KINDS, ids=str)
def test_parameters_that_name_classes_reach_these_classes(labels, kind, lacking):
    data = _problem(labels)
    estimator = _weighted(kind, data.labels.tolist())
    rows = np.arange(data.n) if lacking is None else np.flatnonzero(data.y != lacking)
    fitted = fit_expert(NamedExpert("one", estimator), data, rows, None).predict(data.X)
    expected = estimator.fit(data.X[rows], data.labels[data.y[rows]])
    assert [label for label in data.labels if label in expected.classes_] == list(expected.classes_)
    places = np.searchsorted(data.labels, expected.classes_)
    np.testing.assert_allclose(fitted[:, places], expected.predict_proba(data.X), atol=1e-12)


class CodesOnly(LogisticRegression):
    """Takes no labels but 0, 1, …, as XGBoost's classifier."""

    def fit(self, X, y, sample_weight=None):
        if not np.array_equal(np.unique(y), np.arange(len(np.unique(y)))):
            raise ValueError("Invalid classes inferred from unique values of y")
        return super().fit(X, y, sample_weight)


@pytest.mark.parametrize("labels", KINDS, ids=str)
def test_an_estimator_that_takes_codes_only_is_fitted_to_codes(labels):
    data = _problem(labels)
    rows = np.flatnonzero(data.y != 1)
    found = fit_expert(NamedExpert("codes", CodesOnly()), data, rows, None).predict(data.X)
    expected = LogisticRegression().fit(data.X[rows], data.y[rows]).predict_proba(data.X)
    np.testing.assert_allclose(found[:, [0, 2]], expected)
    assert (found[:, 1] == 0).all()


@pytest.mark.parametrize("wrap", [lambda one: one, lambda one: make_pipeline(StandardScaler(), one),
                                  lambda one: GridSearchCV(one, {"C": [1.0]}, cv=2, error_score="raise")])  # fmt: skip
def test_parameters_that_name_classes_are_refused_where_codes_are_used(wrap):
    data = _problem(["ant", "bee", "cow"])
    for weight in ({"cow": 20.0}, {2: 20.0}):
        with pytest.raises(
            ClassParameterError, match=r"cannot be fitted to the labels.*class_weight=\{.*20.0\}.*sample_weight"
        ):
            fit_expert(NamedExpert("codes", wrap(CodesOnly(class_weight=weight))), data, None, None)
    assert fit_expert(NamedExpert("codes", wrap(CodesOnly(class_weight="balanced"))), data, None, None)


def test_xgboost_takes_labels_of_any_kind_and_lacking_classes():
    xgboost = pytest.importorskip("xgboost")
    model = xgboost.XGBClassifier(n_estimators=3, random_state=0)
    for labels in KINDS:
        data = _problem(labels)
        rows = np.flatnonzero(data.y != 0)
        found = fit_expert(NamedExpert("one", model), data, rows, None).predict(data.X)
        np.testing.assert_allclose(found[:, 1:], model.fit(data.X[rows], data.y[rows] - 1).predict_proba(data.X))


def test_what_fails_for_labels_and_codes_raises_the_first_error():
    class Broken(ClassifierMixin, BaseEstimator):
        def __init__(self, class_weight=None):
            self.class_weight = class_weight

        def fit(self, X, y):
            raise OSError(f"no {y[0]}")

    for weight in (None, {"ant": 2.0}):
        with pytest.raises(OSError, match=r"no (ant|bee)"):
            fit_expert(NamedExpert("broken", Broken(weight)), _problem(["ant", "bee"]), None, None)


@pytest.mark.parametrize("build", [svm, lightgbm])
@pytest.mark.parametrize("labels", [[1, 2], ["a", "b"]], ids=str)
def test_named_experts_take_weights_of_classes(build, labels):
    if build is lightgbm:
        pytest.importorskip("lightgbm")
    data = _problem(labels)
    for k in range(2):
        weight = {label: 1.0 for label in labels} | {labels[k]: 20.0}
        model = build(class_weight=weight)
        found = fit_expert(NamedExpert("one", model), data, None, None).predict(data.X)
        np.testing.assert_allclose(model.fit(data.X, data.labels[data.y]).predict_proba(data.X), found)
        by_code = build(class_weight={0: 1.0, 1: 1.0} | {k: 20.0}).fit(data.X, data.y)
        np.testing.assert_allclose(found, by_code.predict_proba(data.X))


# --- fitted elsewhere --------------------------------------------------------------------------------


def _frozen(data, keep, labels=None):
    rows = np.flatnonzero(np.isin(data.y, keep))
    labels = data.labels if labels is None else np.asarray(labels)
    model = DecisionTreeClassifier(max_depth=2, random_state=0).fit(data.X[rows], labels[data.y[rows]])
    return FrozenEstimator(model), model.predict_proba(data.X)


@pytest.mark.parametrize("keep", [[0, 1], [1, 2], [0, 2], [0, 1, 2]])
@pytest.mark.parametrize("lacking", [None, 0, 2])
@pytest.mark.parametrize("labels", KINDS, ids=str)
def test_frozen_classifiers_are_aligned_by_their_classes(labels, lacking, keep):
    data = _problem(labels)
    frozen, proba = _frozen(data, keep)
    rows = np.arange(data.n) if lacking is None else np.flatnonzero(data.y != lacking)
    expected = np.zeros((data.n, 3))
    expected[:, keep] = proba
    for one in (frozen, make_pipeline(StandardScaler(with_mean=False, with_std=False), frozen)):
        np.testing.assert_allclose(fit_expert(NamedExpert("frozen", one), data, rows, None).predict(data.X), expected)


def test_a_frozen_classifier_is_asked_where_a_fold_has_one_class():
    data = _problem(["ant", "bee", "cow"])
    frozen, proba = _frozen(data, [0, 1, 2])
    found = fit_expert(NamedExpert("frozen", frozen), data, np.flatnonzero(data.y == 1), None).predict(data.X)
    np.testing.assert_allclose(found, proba)


def test_classes_of_a_frozen_classifier_that_y_lacks_are_left_out():
    three, two = _problem(["ant", "bee", "cow"]), _problem(["ant", "cow"])
    three.X[three.y == 1, 0] = 99
    two.X[0, 0] = 99
    frozen, _ = _frozen(three, [0, 1, 2])
    proba = frozen.predict_proba(two.X)
    rest = proba[:, [0, 2]]
    sure = rest.sum(axis=1) == 0  # certainly a bee: as well an ant as a cow
    assert sure.any()
    rest[sure] = 0.5
    found = fit_expert(NamedExpert("frozen", frozen), two, None, None).predict(two.X)
    np.testing.assert_allclose(found, rest / rest.sum(axis=1, keepdims=True))


@pytest.mark.parametrize("known", [["bee", "dog"], [0, 1]])
def test_a_frozen_classifier_that_knows_no_class_of_y_is_refused_by_name(known):
    data = _problem(["ant", "cow"])
    frozen, _ = _frozen(data, [0, 1], known)
    with pytest.raises(ValueError, match=rf"predicts the classes {known[0]!r}, {known[1]!r}, and y has 'ant', 'cow'"):
        fit_expert(NamedExpert("frozen", frozen), data, None, None)


class Backwards(ClassifierMixin, BaseEstimator):
    """Orders its classes from the last to the first."""

    def fit(self, X, y):
        self.classes_, self.share_ = np.unique(y, return_counts=True)
        self.classes_, self.share_ = self.classes_[::-1], self.share_[::-1] / len(y)
        return self

    def predict_proba(self, X):
        return np.tile(self.share_, (len(X), 1))


def test_columns_follow_classes_whatever_their_order():
    y = np.repeat([0, 1, 2], [10, 20, 30])
    data = Problem(np.zeros((60, 1)), y, n_classes=3, labels=np.array(["a", "b", "c"]))
    found = fit_expert(NamedExpert("backwards", Backwards()), data, None, None).predict(data.X)
    np.testing.assert_allclose(found[0], [1 / 6, 2 / 6, 3 / 6])
    rows = np.flatnonzero(y != 1)
    found = fit_expert(NamedExpert("backwards", Backwards()), data, rows, None).predict(data.X)
    np.testing.assert_allclose(found[0], [1 / 4, 0, 3 / 4])


def test_a_frozen_regressor_of_one_target_is_refused_for_several():
    X = np.random.default_rng(0).standard_normal((20, 1))
    one = FrozenEstimator(SVR().fit(X, X[:, 0]))
    with pytest.raises(ValueError, match="fitted to one target, and y has 2"):
        fit_expert(NamedExpert("frozen", one), Problem(X, np.hstack([X, -X])), None, None)
    several = FrozenEstimator(LinearRegression().fit(X, np.hstack([X, -X])))
    found = fit_expert(NamedExpert("frozen", several), Problem(X, np.hstack([X, -X])), None, None).predict(X)
    np.testing.assert_allclose(found, np.hstack([X, -X]))
