"""Classifiers without predict_proba: decision values, or predicted classes, calibrated on rows that were held out."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Perceptron, RidgeClassifier, SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from metamix import MixtureClassifier
from metamix.fitting import NamedExpert, Problem, fit_expert


class Bare(ClassifierMixin, BaseEstimator):
    """A classifier with predict alone, wrong in training never."""

    def fit(self, X, y):
        self.model_ = KNeighborsClassifier(1).fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, X):
        return self.model_.predict(X)


EXPERTS = [
    LinearSVC(),
    SVC(),
    SVC(decision_function_shape="ovo"),
    RidgeClassifier(),
    Perceptron(random_state=0),
    SGDClassifier(average=True, random_state=0),
    make_pipeline(StandardScaler(), LinearSVC()),
    GridSearchCV(LinearSVC(), {"C": [0.1, 1.0]}, cv=2),
    Bare(),
]


def _problem(labels=("a", "b"), n=200, seed=0, **more):
    rng = np.random.default_rng(seed)
    codes = rng.permutation(np.arange(n) % len(labels))
    X = rng.standard_normal((n, 2)) + 2 * np.eye(max(len(labels), 2))[codes][:, :2]
    return Problem(X, codes, n_classes=len(labels), labels=np.array(labels), **more)


def _new(labels=("a", "b"), n=2000):
    data = _problem(labels, n, seed=1)
    return data.X, data.y


@pytest.mark.parametrize("labels", [("a", "b"), (1, 2, 3)], ids=str)
@pytest.mark.parametrize("expert", EXPERTS, ids=lambda one: type(one).__name__)
def test_probabilities_of_new_rows_are_better_than_shares_and_calibrated(expert, labels):
    data, (X, y) = _problem(labels), _new(labels)
    fitted = fit_expert(NamedExpert("one", expert, seed=0), data, None, None)
    proba = fitted.predict(X)
    assert proba.shape == (2000, len(labels))
    assert log_loss(y, proba) < 0.9 * np.log(len(labels))
    # Calibrated in the large; a perceptron fitted to all rows is another one than those fitted without a fold.
    allowed = 0.25 if isinstance(expert, Perceptron) else 0.15
    np.testing.assert_allclose(proba.mean(axis=0), np.bincount(y) / len(y), atol=allowed)
    assert proba.max(axis=1).mean() == pytest.approx((proba.argmax(axis=1) == y).mean(), abs=0.1)
    assert fitted.model.predict(X[:5]).dtype == data.labels.dtype


def test_one_that_is_never_wrong_in_training_is_not_thought_certain():
    """The probability of the predicted class is how often it is right on rows held out."""
    data, (X, y) = _problem(n=400), _new()
    proba = fit_expert(NamedExpert("one", Bare(), seed=0), data, None, None).predict(X)
    right = (cross_val_predict(KNeighborsClassifier(1), data.X, data.y, cv=5) == data.y).mean()
    assert proba.max(axis=1).mean() == pytest.approx(right, abs=0.03)
    assert proba.max(axis=1).mean() == pytest.approx((proba.argmax(axis=1) == y).mean(), abs=0.06)


def test_a_linear_machine_is_as_good_as_logistic_regression():
    data, (X, y) = _problem(n=400), _new()
    found = log_loss(y, fit_expert(NamedExpert("one", LinearSVC(), seed=0), data, None, None).predict(X))
    assert found < 1.02 * log_loss(y, LogisticRegression().fit(data.X, data.y).predict_proba(X))


def test_groups_are_held_out_whole():
    """Rows come in eight copies: next to its copies a row is predicted without error, which says nothing."""
    rng = np.random.default_rng(0)
    X, y = np.repeat(rng.standard_normal((40, 2)), 8, axis=0), np.repeat(rng.integers(2, size=40), 8)
    groups = np.repeat(np.arange(40), 8)
    kept, split = (
        fit_expert(NamedExpert("one", Bare(), seed=0), Problem(X, y, None, g, 2), None, None).predict(X).max(axis=1)
        for g in (groups, None)
    )
    assert split.mean() > 0.95
    right = cross_val_predict(KNeighborsClassifier(1), X, y, groups=groups, cv=StratifiedGroupKFold(5)) == y
    assert kept.mean() == pytest.approx(max(right.mean(), 1 - right.mean()), abs=0.15)


def test_weights_are_those_of_the_calibration_too():
    data, (X, y) = _problem(), _new()
    for expert in (LinearSVC(), Bare()):  # the second takes no weights: rows are drawn
        fitted = fit_expert(NamedExpert("one", expert, seed=0), data, None, np.where(data.y == 1, 9.0, 1.0))
        found = np.average(fitted.predict(X)[:, 1], weights=np.where(y == 1, 9.0, 1.0))
        assert found == pytest.approx(0.9, abs=0.04)


def test_rare_classes_keep_their_share():
    data = _problem(("a", "b", "c"))
    rows = np.r_[np.flatnonzero(data.y < 2), np.flatnonzero(data.y == 2)[:1]]
    proba = fit_expert(NamedExpert("one", LinearSVC(), seed=0), data, rows, None).predict(data.X)
    np.testing.assert_allclose(proba[:, 2], 1 / len(rows))
    np.testing.assert_allclose(proba.sum(axis=1), 1)
    with pytest.raises(ValueError, match=r"LinearSVC has no predict_proba, and 2 rows are too few"):
        fit_expert(NamedExpert("one", LinearSVC(), seed=0), data, rows[[0, -1]], None)


@pytest.mark.filterwarnings("ignore:A FrozenEstimator")
def test_a_frozen_classifier_is_calibrated():
    data, (X, y) = _problem(n=400), _new()
    frozen = FrozenEstimator(LinearSVC().fit(data.X[:200], data.labels[data.y[:200]]))
    proba = fit_expert(NamedExpert("one", frozen, seed=0), data, np.arange(200, 400), None).predict(X)
    assert log_loss(y, proba) < 1.05 * log_loss(y, LogisticRegression().fit(data.X, data.y).predict_proba(X))


@pytest.mark.parametrize("specialize", [False, True])
def test_in_mixtures(specialize):
    data = _problem(("no", "yes"), 120)
    y = data.labels[data.y]
    pool = [("line", LinearSVC()), ("logistic", LogisticRegression())]
    settings = {"cv": 2, "gate": "constant", "random_state": 0, "max_rounds": 1, "on_error": "raise"}
    mixture = MixtureClassifier(pool, specialize=specialize, start="kmeans", **settings).fit(data.X, y)
    np.testing.assert_allclose(mixture.predict_proba(data.X).sum(axis=1), 1)
    if specialize:
        return
    stacked = MixtureClassifier(pool, specialize=False, final_estimator=RidgeClassifier(), **settings).fit(data.X, y)
    assert (stacked.predict(data.X) == y).mean() > 0.7
    assert log_loss(y, mixture.oof_predictions_[:, 0]) < 1.2 * log_loss(y, mixture.oof_predictions_[:, 1])


def test_what_cannot_be_calibrated_is_named():
    class Nothing(Bare):
        def fit(self, X, y):
            return self

    with pytest.raises(ValueError, match="Nothing has no predict_proba, and no decision_function"):
        fit_expert(NamedExpert("one", Nothing()), _problem(), None, None)
