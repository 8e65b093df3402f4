"""Predictions of fitted experts and of averaged fold models."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import Ridge

from metamix.fitting import FittedExpert, FoldAverage

X = np.random.default_rng(0).standard_normal((60, 2))
Y = X[:, 0] - 2 * X[:, 1]


class Constant(RegressorMixin, BaseEstimator):
    """Predicts the same array for every row."""

    def __init__(self, value):
        self.value = value

    def predict(self, X):
        return np.tile(self.value, (len(X), 1))


@pytest.mark.parametrize(
    ("value", "message"),
    [([np.nan], "60 of 60 rows"), ([np.inf], "60 of 60 rows"), ([0.0, 0.0], "2 columns for one target")],
)
def test_predictions_that_are_not_finite_or_have_a_wrong_shape_are_errors(value, message):
    with pytest.raises(ValueError, match=message):
        FittedExpert("wrong", Constant(value)).predict(X)


def test_a_fold_average_predicts_the_mean_of_its_fold_models():
    models = [Ridge().fit(X[part::3], Y[part::3]) for part in range(3)]
    average = FoldAverage("ridge", [FittedExpert("ridge", model) for model in models])
    assert average.model == models
    np.testing.assert_allclose(average.predict(X), sum(model.predict(X) for model in models) / 3)
    assert average.predict_with_scale(X)[1] is None


def test_a_fold_average_gives_the_root_mean_square_of_the_deviations():
    models = [GaussianProcessRegressor(alpha=alpha).fit(X[:20], Y[:20]) for alpha in (0.1, 2.0)]
    average = FoldAverage("process", [FittedExpert("process", model) for model in models])
    first, second = (model.predict(X, return_std=True)[1] for model in models)
    np.testing.assert_allclose(average.predict_with_scale(X)[1] ** 2, (first**2 + second**2) / 2)


class Answers(ClassifierMixin, BaseEstimator):
    """Predicts the given probabilities, whatever it was fitted to."""

    def __init__(self, given):
        self.given = given

    def predict_proba(self, X):
        return np.asarray(self.given, dtype=float)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[0.5, 0.5], [0.0, 0.0]], "none at all, for 1 of 2 rows"),
        ([[1.5, -0.5], [0.5, 0.5]], "negative probabilities"),
        ([[0.5, 0.5]], "answered 1 of 2 rows"),
        ([[0.5, np.nan], [0.5, 0.5]], "NaN or infinity for 1 of 2 rows"),
    ],
)
def test_what_is_no_probability_is_refused(given, message):
    fitted = FittedExpert("wrong", Answers(given), 2, np.arange(2))
    with pytest.raises(ValueError, match=message):
        fitted.predict(np.zeros((2, 1)))


def test_probabilities_are_made_to_sum_to_one():
    fitted = FittedExpert("large", Answers([[3.0, 1.0], [0.2, 0.2]]), 2, np.arange(2))
    np.testing.assert_allclose(fitted.predict(np.zeros((2, 1))), [[0.75, 0.25], [0.5, 0.5]])
