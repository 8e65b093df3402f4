"""Recalibration against distributions that are known, and the properties of one distribution."""

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import cumulative_trapezoid, trapezoid
from sklearn.linear_model import LinearRegression

from metamix import MixtureRegressor
from metamix.gates import SoftmaxGate
from metamix.training.recalibration import Calibration, calibrated_moments, fit_calibration

FAST = {"gate": SoftmaxGate(penalty=0.1), "random_state": 0, "cv": 3}


def test_a_map_is_smooth_strictly_increasing_and_inverted():
    rng = np.random.default_rng(0)
    found = fit_calibration(rng.standard_t(3, 400), np.ones((400, 1)), stats.norm(np.zeros((400, 1)), 2.0),
                            np.zeros(400), np.ones(400))  # fmt: skip
    u = np.linspace(1e-6, 1 - 1e-6, 2001)
    assert (np.diff(found(u)) > 0).all()
    np.testing.assert_allclose(found.inverse(found(u[::100])), u[::100], atol=1e-9)
    step = 1e-6
    np.testing.assert_allclose(found.density(u[50:-50]), (found(u[50:-50] + step) - found(u[50:-50] - step)) / 2e-6,
                               rtol=1e-3)  # fmt: skip
    assert trapezoid(found.density(u), u) == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_intervals_have_the_coverage_of_the_truth(scale):
    """Errors are normal with deviation 1, whatever deviation is told."""
    rng = np.random.default_rng(0)
    components = stats.norm(np.zeros((3000, 1)), scale)
    found = fit_calibration(rng.standard_normal(3000), np.ones((3000, 1)), components, np.zeros(3000), np.ones(3000))
    for coverage in (0.5, 0.9):
        ends = stats.norm.ppf(found.inverse(np.array([0.5 - coverage / 2, 0.5 + coverage / 2])), scale=scale)
        assert np.diff(stats.norm.cdf(ends))[0] == pytest.approx(coverage, abs=0.02)
    moments = calibrated_moments(found, np.ones((2, 1)), stats.norm(np.zeros((2, 1)), scale))
    np.testing.assert_allclose(moments.deviation, 1.0, rtol=0.05)


def test_weights_have_no_unit_and_zero_is_none():
    rng = np.random.default_rng(0)
    y, weight = rng.standard_normal(300), rng.integers(0, 3, 300).astype(float)
    wild = np.where(weight > 0, y, 1e6)
    components = stats.norm(np.zeros((300, 1)), 2.0)
    one, other = (fit_calibration(target, np.ones((300, 1)), components, np.zeros(300), unit * weight)
                  for target, unit in ((y, 1.0), (wild, 1000.0)))  # fmt: skip
    np.testing.assert_allclose(other.scores, one.scores, atol=1e-8)
    assert other.bandwidth == pytest.approx(one.bandwidth)


def test_rows_of_a_group_are_smoothed_as_one():
    rng = np.random.default_rng(0)
    y, groups = np.repeat(rng.standard_normal(60), 5), np.repeat(np.arange(60), 5)
    arguments = np.ones((300, 1)), stats.norm(np.zeros((300, 1)), 2.0), np.zeros(300), np.ones(300)
    alone, grouped = fit_calibration(y, *arguments), fit_calibration(y, *arguments, groups)
    assert grouped.bandwidth == pytest.approx(alone.bandwidth * 5**0.2)


def test_counts_are_not_recalibrated():
    y = np.random.default_rng(0).poisson(2.0, 100)
    components = stats.poisson(np.full((100, 1), 2.0))
    assert fit_calibration(y, np.ones((100, 1)), components, np.full(100, 2.0), np.ones(100)) is None


def lines(n=150, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 2))
    return X, np.where(X[:, 0] > 0, 3 * X[:, 1], 1 - 2 * X[:, 1]) + 0.3 * rng.standard_t(3, n)


@pytest.mark.parametrize("specialize", [False, True])
def test_everything_comes_from_one_distribution(specialize):
    X, y = lines()
    mixture = MixtureRegressor(["ridge", "kriging"], specialize=specialize, start="kmeans", max_rounds=1, **FAST)
    mixture.fit(X, y)
    row = np.array([[0.1, 0.4]])
    mean, deviation = (float(one[0]) for one in mixture.predict(row, return_std=True))

    grid = np.linspace(mean - 12 * deviation, mean + 12 * deviation, 4001)
    density = np.exp(mixture.log_prob(np.repeat(row, len(grid), axis=0), grid))
    reached = cumulative_trapezoid(density, grid, initial=0)
    assert reached[-1] == pytest.approx(1, abs=0.01)
    assert trapezoid(grid * density, grid) == pytest.approx(mean, abs=0.03 * deviation)
    assert trapezoid((grid - mean) ** 2 * density, grid) ** 0.5 == pytest.approx(deviation, rel=0.05)
    assert sum(float(one[0]) for one in mixture.predict_variance(row)) == pytest.approx(deviation**2)
    for q in (0.05, 0.25, 0.75):
        expected = np.interp(q, reached / reached[-1], grid)
        assert mixture.predict_quantile(row, q)[0] == pytest.approx(expected, abs=0.03 * deviation)
    np.testing.assert_allclose(mixture.predict_interval(row, 0.5)[0], mixture.predict_quantile(row, [0.25, 0.75])[0])
    draws = mixture.sample(np.repeat(row, 4000, axis=0), random_state=0)
    assert draws.mean() == pytest.approx(mean, abs=5 * deviation / 4000**0.5)
    assert np.mean(draws < mixture.predict_quantile(row, 0.25)[0]) == pytest.approx(0.25, abs=0.03)


def test_responsibilities_use_the_raw_densities_and_nothing_is_recalibrated_in_sample():
    X, y = lines()
    pool = [("one", LinearRegression()), ("two", LinearRegression())]
    mixture = MixtureRegressor(pool, cv=None, gate="constant", random_state=0).fit(X, y)
    assert mixture.log_prob(X, y).sum() == pytest.approx(mixture.history_["log_likelihood"].iloc[-1])
    folded = MixtureRegressor(pool, specialize=True, start="kmeans", max_rounds=1, **FAST).fit(X, y)
    weights, values = folded.gate_weights(X), folded.predict_experts(X)
    joint = weights * stats.norm.pdf(y[:, None], values, folded.likelihood_.scale_)
    np.testing.assert_allclose(folded.responsibilities(X, y), joint / joint.sum(axis=1, keepdims=True), atol=1e-8)


def test_the_identity_of_a_calibrated_fit_is_near():
    """Normal scores that are normal already."""
    nodes = stats.norm.ppf((np.arange(200) + 0.5) / 200)
    found = Calibration(nodes / np.hypot(1, 0.2), 0.2)
    u = np.linspace(0.01, 0.99, 50)
    np.testing.assert_allclose(found(u), u, atol=0.01)


def test_no_map_where_two_rows_beyond_a_border_would_widen_or_narrow_all_others():
    """A hundred rows hit exactly where 1 % error was expected, and two that lie on the other side of a step."""
    weights = np.tile([1 - 1e-4, 1e-4], (100, 1))
    components = stats.norm(np.tile([-5.0, 5.0], (100, 1)), 0.01)
    y = np.full(100, -5.0)
    assert fit_calibration(y, weights, components, weights @ [-5.0, 5.0], np.ones(100)) is not None
    y[[3, 50]] = 5.0
    assert fit_calibration(y, weights, components, weights @ [-5.0, 5.0], np.ones(100)) is None
