"""The distribution of y: intervals, quantiles, variance, draws and likelihoods, on planted data."""

import numpy as np
import pytest
from scipy.stats import norm, poisson
from sklearn.linear_model import LinearRegression, PoissonRegressor

from metamix import MixtureRegressor, make_regimes
from metamix.gates import SoftmaxGate
from metamix.likelihoods import Gaussian, Outliers

LINE = [("line", LinearRegression())]
REGIMES = {"n_experts": 2, "specialize": True, "gate": SoftmaxGate(penalty=0.001), "cv": 2, "random_state": 0}


def _planted(n, seed, noise=0.3, draw=None):
    """Two lines on either side of x0 = 0; noise of a scale, or whatever `draw` gives for each row."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 2))
    law = np.where(X[:, 0] > 0, 3 * X[:, 1] + 2, -3 * X[:, 1])
    return X, law + (noise * rng.standard_normal(n) if draw is None else draw(rng, X))


def _coverage(mixture, X, y, coverage=0.9):
    low, high = mixture.predict_interval(X, coverage).T
    return np.mean((low <= y) & (y <= high))


def _two_lines(**settings):
    return MixtureRegressor(LINE, **REGIMES, **settings)


@pytest.mark.parametrize(
    ("likelihood", "draw"),
    [
        ("gaussian", None),
        ("student_t", lambda rng, X: 0.2 * rng.standard_t(3, len(X))),
        ("laplace", lambda rng, X: rng.laplace(scale=0.2, size=len(X))),
        (Gaussian(heteroscedastic=True), lambda rng, X: np.exp(X[:, 1]) * 0.2 * rng.standard_normal(len(X))),
    ],
    ids=["gaussian", "student_t", "laplace", "heteroscedastic"],
)
def test_ninety_percent_intervals_hold_ninety_percent(likelihood, draw):
    mixture = _two_lines(likelihood=likelihood).fit(*_planted(800, 0, draw=draw))
    assert 0.87 < _coverage(mixture, *_planted(4000, 1, draw=draw)) < 0.93


def test_intervals_of_the_blend_hold_ninety_percent():
    X, y = make_regimes(1200, n_regimes=2, random_state=0)
    mixture = MixtureRegressor(["ridge", "quadratic"], gate=SoftmaxGate(penalty=0.001), cv=3, random_state=0)
    mixture.fit(X[:600], y[:600])
    # Errors out of fold, which scales are learned from, exceed those of what is fitted on all rows in the end.
    assert 0.84 < _coverage(mixture, X[600:], y[600:]) < 0.97


def test_scales_that_depend_on_x_are_seen_where_they_are():
    draw = lambda rng, X: np.exp(X[:, 1]) * 0.2 * rng.standard_normal(len(X))  # noqa: E731
    mixture = _two_lines(likelihood=Gaussian(heteroscedastic=True)).fit(*_planted(1200, 0, draw=draw))
    rows = np.array([[0.5, -0.9], [0.5, 0.9]])
    np.testing.assert_allclose(mixture.predict(rows, return_std=True)[1], 0.2 * np.exp(rows[:, 1]), rtol=0.3)


@pytest.fixture(scope="module")
def two_lines():
    return _two_lines().fit(*_planted(400, 0))


def test_variance_is_split_and_adds_up(two_lines):
    mixture = two_lines
    rows = np.column_stack([np.linspace(-0.5, 0.5, 9), np.full(9, 0.8)])
    within, between = mixture.predict_variance(rows)
    np.testing.assert_allclose(within + between, mixture.predict(rows, return_std=True)[1] ** 2)
    assert between[4] > 10 * between[[0, 8]].max(), "experts disagree where their regimes meet"
    np.testing.assert_allclose(within, 0.09, rtol=0.5)


def test_quantiles_invert_the_mixture_written_out():
    """In sample nothing is recalibrated."""
    pool = [("one", LinearRegression()), ("two", LinearRegression())]
    mixture = MixtureRegressor(pool, gate=SoftmaxGate(penalty=0.001), cv=None, random_state=0).fit(*_planted(200, 0))
    X, _ = _planted(50, 3)
    answers, weights, scale = mixture.predict_experts(X), mixture.gate_weights(X), mixture.likelihood_.scale_
    for q in (0.05, 0.5, 0.99):
        at = mixture.predict_quantile(X, q)
        np.testing.assert_allclose((weights * norm.cdf(at[:, None], answers, scale)).sum(axis=1), q, atol=1e-6)


def test_draws_have_the_mixtures_moments(two_lines):
    mixture = two_lines
    line = np.column_stack([np.linspace(-0.1, 0.1, 201), np.full(201, 0.7)])
    undecided = np.abs(mixture.gate_weights(line)[:, 0] - 0.5).argmin()
    row = np.repeat(line[[undecided]], 20_000, axis=0)
    draws = mixture.sample(row, random_state=0)
    mean, deviation = mixture.predict(row[:1], return_std=True)
    assert draws.mean() == pytest.approx(mean[0], abs=5 * deviation[0] / np.sqrt(len(draws)))
    assert draws.std() == pytest.approx(deviation[0], rel=0.03)
    np.testing.assert_array_equal(mixture.sample(row[:5], random_state=1), mixture.sample(row[:5], random_state=1))


@pytest.mark.parametrize("likelihood", [Outliers(), "student_t"], ids=["outliers", "student_t"])
def test_robust_likelihoods_resist_outliers(likelihood):
    X, y = _planted(600, 0)
    wild = np.random.default_rng(5).choice(600, 45, replace=False)
    y[wild] += np.random.default_rng(6).uniform(20, 60, 45)
    test, truth = _planted(1000, 1, noise=0.0)
    error = lambda one: np.sqrt(np.mean((one.fit(X, y).predict(test) - truth) ** 2))  # noqa: E731
    # Where the search for regimes begins is another matter: it sees y clipped, whatever the likelihood.
    start = {"start": (X[:, 0] > 0).astype(int)}
    assert error(_two_lines(likelihood=likelihood, **start)) < 0.5 * error(_two_lines(**start))


def test_counts_under_poisson():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (900, 2))
    rate = np.exp(1 + np.where(X[:, 0] > 0, 1.5, -1.5) * X[:, 1])
    y = rng.poisson(rate).astype(float)
    pool = [("counts", PoissonRegressor(alpha=1e-3))]
    mixture = MixtureRegressor(pool, likelihood="poisson", **REGIMES).fit(X, y)
    best = poisson.logpmf(y, rate).sum()
    assert best - 60 < mixture.log_prob(X, y).sum() < best + 60
    low, high = mixture.predict_interval(X, 0.9).T
    assert 0.88 < np.mean((low <= y) & (y <= high)) < 0.97, "counts cannot cover exactly"
    assert (mixture.predict_quantile(X, 0.5) % 1 == 0).all()
