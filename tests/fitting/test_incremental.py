"""Experts that learn batch by batch: weights, rows given in proportion, and classes."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.linear_model import Perceptron, Ridge, SGDRegressor
from sklearn.naive_bayes import GaussianNB

from metamix.fitting import FittedExpert, NamedExpert, Problem, fit_expert
from metamix.fitting.incremental import partial_fit_expert


class Mean(RegressorMixin, BaseEstimator):
    """Mean of all rows so far; takes no weights."""

    def fit(self, X, y):
        self.seen_ = []
        return self.partial_fit(X, y)

    def partial_fit(self, X, y):
        self.seen_ = [*getattr(self, "seen_", []), *y]
        return self

    def predict(self, X):
        return np.full(len(X), np.mean(self.seen_))


def numbers(n=400, seed=0):
    rng = np.random.default_rng(seed)
    return Problem(rng.standard_normal((n, 1)), rng.standard_normal(n))


def test_one_batch_is_scikit_learns_partial_fit():
    problem = numbers()
    mine, _ = partial_fit_expert(FittedExpert("line", SGDRegressor(random_state=0)), problem)
    other = SGDRegressor(random_state=0).partial_fit(problem.X, problem.y)
    np.testing.assert_array_equal(mine.predict(problem.X), other.predict(problem.X))


def test_without_sample_weights_a_row_is_given_as_often_as_its_weight_says():
    problem, weight = numbers(), np.linspace(0, 1, 400)
    expert, carried = FittedExpert("mean", Mean()), 0.0
    for i in range(400):  # the fractions of single rows add up
        expert, carried = partial_fit_expert(expert, problem.take(np.array([i])), weight[[i]], carried)
    seen = expert.model.seen_
    assert abs(len(seen) - weight.sum()) <= 1  # and the first row, since something must be known
    share = np.isin(problem.y, seen)
    assert share[:100].mean() == pytest.approx(weight[:100].mean(), abs=0.02)
    assert share[300:].mean() == pytest.approx(weight[300:].mean(), abs=0.02)


def test_a_model_that_says_itself_that_it_is_fitted_is_given_no_further_row():
    problem = numbers(1)
    expert, carried = partial_fit_expert(FittedExpert("mean", Counts()), problem, np.array([0.1]))
    expert, _ = partial_fit_expert(expert, problem, np.array([0.1]), carried)
    assert expert.model.n_seen == 1


class Counts(RegressorMixin, BaseEstimator):
    """Counts its rows, in an attribute without an underscore."""

    n_seen = 0

    def fit(self, X, y):
        self.n_seen = 0
        return self.partial_fit(X, y)

    def partial_fit(self, X, y):
        self.n_seen += len(y)
        return self

    def predict(self, X):
        return np.full(len(X), self.n_seen)

    def __sklearn_is_fitted__(self):
        return self.n_seen > 0


def test_whole_weights_are_repetitions_and_rows_of_weight_zero_are_not_given():
    problem = Problem(np.zeros((4, 1)), np.arange(4.0), np.array([2.0, 0.0, 1.0, 3.0]))
    expert, carried = partial_fit_expert(FittedExpert("mean", Mean()), problem)
    assert expert.model.seen_ == [0, 0, 2, 3, 3, 3]
    assert carried == 0
    in_units, _ = partial_fit_expert(
        FittedExpert("mean", Mean()), replace(problem, sample_weight=0.1 * problem.weight), unit=0.1
    )
    assert in_units.model.seen_ == expert.model.seen_
    weighted, _ = partial_fit_expert(FittedExpert("line", SGDRegressor(random_state=0)), problem)
    kept = problem.take(np.array([0, 2, 3]))
    other = SGDRegressor(random_state=0).partial_fit(kept.X, kept.y, sample_weight=kept.weight)
    np.testing.assert_array_equal(weighted.predict(problem.X), other.predict(problem.X))


@pytest.mark.filterwarnings("ignore:divide by zero")  # of GaussianNB, for the class without rows
def test_classes_that_a_batch_lacks_have_a_column():
    labels = np.array(["ant", "bee", "cow"])
    problem = Problem(np.array([[0.0], [1.0], [2.0]]), np.array([0, 2, 0]), None, None, 3, labels)
    expert, _ = partial_fit_expert(FittedExpert("bayes", GaussianNB(), 3), problem)
    assert expert.predict(problem.X).shape == (3, 3)
    assert expert.model.classes_.tolist() == labels.tolist()


def test_a_classifier_goes_on_after_fit_with_its_own_labels():
    rng = np.random.default_rng(0)
    labels = np.array(["no", "yes"])
    problem = Problem(rng.standard_normal((60, 2)), rng.integers(0, 2, 60), None, None, 2, labels)
    fitted = fit_expert(NamedExpert("bayes", GaussianNB()), problem, np.arange(30), None)
    later, _ = partial_fit_expert(fitted, problem.take(np.arange(30, 60)))
    whole = GaussianNB().fit(problem.X, labels[problem.y])
    np.testing.assert_allclose(later.predict(problem.X), whole.predict_proba(problem.X), atol=1e-6)


def test_what_cannot_continue_is_named():
    problem = numbers(9)
    with pytest.raises(ValueError, match="'line' is Ridge, which cannot continue training"):
        partial_fit_expert(FittedExpert("line", Ridge()), problem)
    with pytest.raises(ValueError, match="refit=True"):
        partial_fit_expert(FittedExpert("line", [SGDRegressor()]), problem)
    classes = Problem(problem.X, (problem.y > 0).astype(int), None, None, 2)
    with pytest.raises(ValueError, match="predict_proba"):
        partial_fit_expert(FittedExpert("cut", Perceptron(), 2), classes)
