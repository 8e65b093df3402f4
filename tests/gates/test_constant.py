"""Constant weights: mean responsibilities, and convex stacking against independent solvers."""

import numpy as np
import pytest
from scipy.optimize import nnls

from metamix.gates import ConstantGate


def mean_loss(objective, weights, n):
    return objective(np.tile(weights, (n, 1)))[0].mean()


def test_weights_are_the_weighted_mean_responsibilities(soft_labels):
    X, labels = soft_labels()
    weight = np.random.default_rng(0).uniform(size=len(X))
    fitted = ConstantGate().fit(X, labels, sample_weight=weight)
    assert np.allclose(fitted.weights_, np.average(labels, axis=0, weights=weight))


def nnls_weights(y, predictions):
    """Convex weights by nonnegative least squares on the errors: a row of ones only fixes the scale of the solution."""
    errors = predictions - y[:, None]
    size = np.sqrt((errors**2).mean(axis=0))
    one = size.min() * np.sqrt(len(y))
    found = nnls(np.vstack([errors / size, one / size]), np.append(np.zeros(len(y)), one))[0] / size
    return found / found.sum()


@pytest.mark.parametrize("K", [2, 5, 12])
@pytest.mark.parametrize("quality", [1.0, 100.0])
@pytest.mark.parametrize("factor", [1e-12, 1.0, 1e12])
def test_convex_weights_equal_nonnegative_least_squares(K, quality, factor, experts, squared_error):
    _, y, predictions = experts(n=400, K=K, seed=K)
    predictions = y[:, None] + (predictions - y[:, None]) * quality ** np.linspace(-1, 1, K)
    objective = squared_error(factor * y, factor * predictions)
    weights = ConstantGate().fit_objective(np.zeros((400, 0)), objective).weights_
    expected = nnls_weights(y, predictions)
    assert weights.sum() == pytest.approx(1.0)
    assert mean_loss(objective, weights, 400) <= mean_loss(objective, expected, 400) * (1 + 1e-6)
    assert np.allclose(weights, expected, atol=2e-3)


def test_log_loss_weights_satisfy_the_optimality_conditions(log_loss):
    """At the maximum the mean of density / mixture is one for experts with weight and at most one for the others."""
    density = np.random.default_rng(3).gamma(0.5, size=(300, 4)) + 1e-3
    density[:, 3] = 0.5 * density[:, 0]  # dominated, so its weight is zero
    weights = ConstantGate().fit_objective(np.zeros((300, 0)), log_loss(density)).weights_
    ratios = (density / (density @ weights)[:, None]).mean(axis=0)
    assert ratios[:3] == pytest.approx([1.0, 1.0, 1.0], abs=1e-5)
    assert ratios[3] == pytest.approx(0.5, abs=1e-5)
    assert weights[3] == 0.0


def test_an_expert_with_huge_errors_changes_nothing(experts, squared_error):
    _, y, predictions = experts(K=3)
    alone = ConstantGate().fit_objective(np.zeros((300, 0)), squared_error(y, predictions)).weights_
    with_huge = np.c_[predictions, 1e12 * np.random.default_rng(0).standard_normal(300)]
    joined = ConstantGate().fit_objective(np.zeros((300, 0)), squared_error(y, with_huge)).weights_
    # In a finite sample even noise may reduce the loss, at a weight of about 1e-14.
    found, without = (
        mean_loss(squared_error(y, given), weights, 300)
        for given, weights in ((with_huge, joined), (predictions, alone))
    )
    assert found <= without * (1 + 1e-6)
    assert np.allclose(joined[:3], alone, atol=0.02)


def test_the_initial_weights_do_not_change_the_solution(log_loss):
    density = np.where(np.arange(300)[:, None] % 2 == [0, 1], 1.0, 0.0)
    found = ConstantGate().fit_objective(np.zeros((300, 0)), log_loss(density), start=[0.999, 0.001])
    assert np.allclose(found.weights_, 0.5, atol=1e-3)


def test_rows_of_weight_zero_may_have_missing_targets(experts, squared_error):
    _, y, predictions = experts(K=3)
    weight = np.ones(300)
    weight[:50], y[:50] = 0.0, np.nan
    kept = ConstantGate().fit_objective(np.zeros((250, 0)), squared_error(y[50:], predictions[50:]))
    found = ConstantGate().fit_objective(np.zeros((300, 0)), squared_error(y, predictions), sample_weight=weight)
    assert np.allclose(found.weights_, kept.weights_, atol=1e-6)


def test_weights_move_towards_new_rows_by_the_step():
    gate = ConstantGate().fit(np.empty((2, 0)), [[1.0, 0.0], [1.0, 0.0]])
    gate.partial_fit(np.empty((1, 0)), [[0.5, 0.5]], step=0.2)
    assert gate.weights_ == pytest.approx([0.9, 0.1])
