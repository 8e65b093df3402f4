"""Losses by row: values against scikit-learn, gradients against finite differences."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import log_loss, mean_squared_error, r2_score

from metamix.fitting import Problem
from metamix.training.losses import LogScore, SquaredError, row_losses, target_units


@pytest.mark.parametrize("make", [lambda f, y: SquaredError(y, f), lambda f, y: LogScore(norm.logpdf(y[:, None], f))])
def test_gradients_are_finite_differences(make):
    rng = np.random.default_rng(0)
    objective = make(rng.standard_normal((7, 3)), rng.standard_normal(7))
    weights = rng.dirichlet([1, 1, 1], 7)
    _, gradient = objective(weights)
    for k in range(3):
        step = 1e-6 * np.eye(3)[k]
        slope = (objective(weights + step)[0] - objective(weights - step)[0]) / 2e-6
        np.testing.assert_allclose(gradient[:, k], slope, rtol=1e-5, atol=1e-7)
    some = objective.take([2, 5])(weights[[2, 5]])
    np.testing.assert_array_equal(some[0], objective(weights)[0][[2, 5]])
    np.testing.assert_array_equal(some[1], gradient[[2, 5]])


def test_squared_error_is_that_of_the_combined_prediction():
    rng = np.random.default_rng(0)
    y, predictions, weights = rng.normal(size=9), rng.normal(size=(9, 2)), rng.dirichlet([1, 1], 9)
    loss, _ = SquaredError(y, predictions)(weights)
    assert loss.mean() == pytest.approx(mean_squared_error(y, (weights * predictions).sum(axis=1)))


def test_log_score_of_densities_too_small_for_a_float():
    loss, gradient = LogScore(np.array([[-2000.0, -2001.0]]))(np.array([[0.25, 0.75]]))
    assert loss[0] == pytest.approx(2000 - np.log(0.25 + 0.75 * np.exp(-1)))
    np.testing.assert_allclose(gradient, [-np.exp([0.0, -1.0]) / (0.25 + 0.75 * np.exp(-1))])


def test_row_losses_of_numbers_and_of_classes_are_scikit_learns():
    rng = np.random.default_rng(0)
    y, values = rng.normal(size=20), rng.normal(size=(20, 3))
    losses = row_losses(Problem(None, y), values, np.ones(1))
    for k in range(3):
        assert losses[:, k].mean() == pytest.approx(mean_squared_error(y, values[:, k]))
    codes, shares = rng.integers(3, size=20), rng.dirichlet([1, 1, 1], (20, 2))
    losses = row_losses(Problem(None, codes, n_classes=3), shares, np.ones(1))
    for k in range(2):
        assert losses[:, k].mean() == pytest.approx(log_loss(codes, shares[:, k], labels=[0, 1, 2]))


def test_the_loss_of_several_labels_is_the_mean_of_theirs():
    rng = np.random.default_rng(0)
    y, values = rng.integers(2, size=(20, 3)), rng.uniform(size=(20, 2, 3))
    problem = Problem(None, y, n_classes=2)
    losses = row_losses(problem, values, target_units(problem))
    for k in range(2):
        each = [log_loss(y[:, label], values[:, k, label], labels=[0, 1]) for label in range(3)]
        assert losses[:, k].mean() == pytest.approx(np.mean(each))


def test_several_targets_count_in_their_standard_deviations():
    """The mean over rows is then 1 - R², averaged over targets, whatever their units."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(30, 2)) * [1.0, 1e6]
    values = y + rng.normal(size=(30, 2)) * [0.3, 2e5]
    problem = Problem(None, y)
    losses = row_losses(problem, values[:, None], target_units(problem))[:, 0]
    assert losses.mean() == pytest.approx(1 - r2_score(y, values))
    weight = rng.uniform(0.1, 3, 30)
    weighted = Problem(None, y, weight)
    losses = row_losses(weighted, values[:, None], target_units(weighted))[:, 0]
    assert np.average(losses, weights=weight) == pytest.approx(1 - r2_score(y, values, sample_weight=weight))


def test_a_constant_target_and_a_single_one_keep_their_units():
    np.testing.assert_array_equal(target_units(Problem(None, np.array([[1.0, 5.0], [3.0, 5.0]]))), [1, 1])
    np.testing.assert_array_equal(target_units(Problem(None, np.array([1.0, 300.0]))), [1])
