"""EM in sample is maximum likelihood: against scipy, and the log-likelihood never falls."""

import warnings

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor

from metamix import MixtureClassifier, MixtureRegressor
from metamix.gates import SoftmaxGate
from metamix.gates.descent import LARGEST_SLOPE
from metamix.likelihoods import Outliers, StudentT

LINES = [("one", LinearRegression()), ("two", LinearRegression())]


def _crossing(n=200, noise=None, seed=0):
    """Two lines in x, each row on one of them by a logistic gate in x."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, 1))
    second = rng.random(n) < 1 / (1 + np.exp(-2 * X[:, 0]))
    errors = 0.3 * (rng.standard_normal(n) if noise is None else noise(rng, n))
    return X, np.where(second, 1 - 2 * X[:, 0], 2 + 2 * X[:, 0]) + errors


def _never_falls(mixture):
    total = mixture.history_["log_likelihood"].to_numpy()
    assert (np.diff(total) >= -1e-10 * np.abs(total[:-1])).all()
    return total


def _maximum(log_likelihood, start):
    """The maximum near some parameters, by a search that knows nothing of EM."""
    found = minimize(lambda p: -log_likelihood(p), start, method="BFGS", options={"gtol": 1e-6})
    return found.x, -found.fun


# --- Student-t -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_one_line_with_student_errors_is_maximum_likelihood(weighted):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (600, 1))
    y = 1 + 2 * X[:, 0] + rng.standard_t(3, 600)
    weight = rng.integers(1, 4, 600).astype(float) if weighted else np.ones(600)
    mixture = MixtureRegressor([LinearRegression()], likelihood="student_t", cv=None, specialize=True)
    mixture.fit(X, y, sample_weight=weight if weighted else None)

    def total(p):
        return weight @ stats.t.logpdf(y - p[0] - p[1] * X[:, 0], np.exp(p[2]), scale=np.exp(p[3]))

    (level, slope, log_df, log_scale), best = _maximum(total, [0.5, 1.5, 1.0, 0.0])
    line = mixture.experts_[0]
    assert mixture.history_["log_likelihood"].iloc[-1] == pytest.approx(best, rel=1e-7)
    np.testing.assert_allclose([line.intercept_, line.coef_[0]], [level, slope], atol=2e-3)
    np.testing.assert_allclose([mixture.likelihood_.df_[0], mixture.likelihood_.scale_[0]],
                               np.exp([log_df, log_scale]), rtol=2e-3)  # fmt: skip
    assert len(_never_falls(mixture)) > 3


@pytest.mark.parametrize("gate", ["constant", "softmax"])
def test_two_lines_with_student_errors_are_maximum_likelihood(gate):
    X, y = _crossing(noise=lambda rng, n: rng.standard_t(3, n))
    mixture = MixtureRegressor(LINES, gate=gate, likelihood="student_t", cv=None, random_state=0).fit(X, y)
    lines = [(one.intercept_, one.coef_[0]) for one in mixture.experts_]
    odds = np.log(mixture.gate_weights([[0.0], [1.0]]))[:, 1] - np.log(mixture.gate_weights([[0.0], [1.0]]))[:, 0]
    start = [*lines[0], *lines[1], *np.log(mixture.likelihood_.scale_), *np.log(mixture.likelihood_.df_), odds[0]]
    start += [odds[1] - odds[0]] if gate == "softmax" else []

    def total(p):
        logit = p[8] + (p[9] * X[:, 0] if gate == "softmax" else 0.0) * np.ones(len(y))
        errors = y[:, None] - np.column_stack([p[0] + p[1] * X[:, 0], p[2] + p[3] * X[:, 0]])
        density = stats.t.logpdf(errors, np.exp(p[6:8]), scale=np.exp(p[4:6]))
        prior = np.column_stack([-np.logaddexp(0, logit), -np.logaddexp(0, -logit)])
        return logsumexp(density + prior, axis=1).sum()

    assert mixture.log_prob(X, y).sum() == pytest.approx(total(np.array(start)), rel=1e-8)
    assert total(np.array(start)) == pytest.approx(_maximum(total, start)[1], abs=2e-3)
    _never_falls(mixture)


# --- the gate --------------------------------------------------------------------------------------------


def _gaussian_total(X, y, weight):
    """Log-likelihood of two lines under a logistic gate: lines (2 × 2), log scales (2), gate (1 + q)."""

    def total(p):
        lines = np.column_stack([p[0] + X @ p[2 : 2 + q], p[1] + X @ p[2 + q : 2 + 2 * q]])
        density = stats.norm.logpdf(y[:, None], lines, np.exp(p[2 + 2 * q : 4 + 2 * q]))
        logit = p[4 + 2 * q] + X @ p[5 + 2 * q :]
        return weight @ logsumexp(density - np.logaddexp(0, np.column_stack([logit, -logit])), axis=1)

    q = X.shape[1]
    return total


@pytest.mark.parametrize("gate", ["softmax", SoftmaxGate(), "auto"], ids=["softmax", "object", "auto"])
@pytest.mark.parametrize("q", [1, 3])
def test_a_softmax_gate_in_sample_is_maximum_likelihood(gate, q):
    """Two lines that cross, like the engine data of Brinkman (1981) in Hurn, Justel & Robert (2003)."""
    rng = np.random.default_rng(1)
    X = rng.standard_normal((150, q)) * [1.0, 20.0, 0.1][:q]
    second = rng.random(150) < 1 / (1 + np.exp(-1 - 1.5 * X[:, 0]))
    y = np.where(second, 1 - 2 * X[:, 0], 2 + 2 * X[:, 0]) + 0.3 * rng.standard_normal(150)
    weight = rng.integers(1, 3, 150).astype(float)
    mixture = MixtureRegressor(LINES, gate=gate, cv=None, random_state=0).fit(X, y, sample_weight=weight)
    one, two = mixture.experts_
    fitted = mixture.gate_
    start = np.concatenate([
        [one.intercept_, two.intercept_], one.coef_, two.coef_, np.log(mixture.likelihood_.scale_),
        np.diff(fitted.intercept_), np.diff(fitted.coef_, axis=1)[:, 0],
    ])  # fmt: skip
    total = _gaussian_total(X, y, weight)
    assert weight @ mixture.log_prob(X, y) == pytest.approx(total(start), rel=1e-10)
    assert total(start) == pytest.approx(_maximum(total, start)[1], abs=1e-3)
    assert not fitted.separates_
    _never_falls(mixture)


def test_where_regimes_are_separable_slopes_are_bounded_and_that_is_said():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (100, 2))
    y = np.where(X[:, 0] > 0, 5 + X[:, 1], -5 - X[:, 1]) + 0.1 * rng.standard_normal(100)
    with pytest.warns(ConvergenceWarning, match="no maximum"):
        mixture = MixtureRegressor(LINES, gate="softmax", cv=None, random_state=0).fit(X, y)
    assert mixture.gate_.separates_
    # The bound is one along each of the two principal directions of the columns.
    assert np.abs(mixture.gate_.coef_ * X.std(axis=0)[:, None]).max() <= 1.001 * np.sqrt(2) * LARGEST_SLOPE
    _never_falls(mixture)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        MixtureRegressor(LINES, gate=SoftmaxGate(penalty=0.01), cv=None, random_state=0).fit(X, y)


def test_a_penalty_of_the_users_is_kept_in_sample():
    X, y = _crossing(100)
    mixture = MixtureRegressor(LINES, gate=SoftmaxGate(penalty=0.3), cv=None, random_state=0).fit(X, y)
    assert mixture.gate_.penalty == 0.3
    free = MixtureRegressor(LINES, gate="softmax", cv=None, random_state=0).fit(X, y)
    assert np.abs(free.gate_.coef_).max() > 1.5 * np.abs(mixture.gate_.coef_).max()


def test_a_gaussian_gate_in_sample_has_the_moments_of_the_responsibilities():
    X, y = _crossing(150)
    mixture = MixtureRegressor(LINES, gate="gmm", cv=None, random_state=0, max_rounds=2).fit(X, y)
    before = MixtureRegressor(LINES, gate="gmm", cv=None, random_state=0, max_rounds=1).fit(X, y).responsibilities_
    means = before.T @ X[:, 0] / before.sum(axis=0)
    np.testing.assert_allclose(mixture.gate_.means_[:, 0], means, rtol=1e-8)
    variances = (before * (X - means) ** 2).sum(axis=0) / before.sum(axis=0)
    np.testing.assert_allclose(mixture.gate_.covariances_[:, 0, 0], variances, rtol=1e-4)


# --- the likelihood never falls --------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["constant", "softmax", "gmm", "tree"])
@pytest.mark.parametrize("likelihood", ["gaussian", "laplace", StudentT(), Outliers()], ids=str)
def test_the_likelihood_never_falls_with_numbers(gate, likelihood):
    X, y = _crossing(80, noise=lambda rng, n: rng.standard_t(2, n))
    mixture = MixtureRegressor(LINES, gate=gate, likelihood=likelihood, cv=None, random_state=0).fit(X, y)
    total = _never_falls(mixture)
    assert mixture.log_prob(X, y).sum() == pytest.approx(total[-1], abs=1e-6 * abs(total[-1]))


def test_the_likelihood_never_falls_with_counts():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (150, 1))
    y = rng.poisson(np.where(rng.random(150) < 0.5, np.exp(2 * X[:, 0]), 8.0))
    pool = [("one", PoissonRegressor(alpha=0)), ("two", PoissonRegressor(alpha=0))]
    mixture = MixtureRegressor(pool, gate="constant", likelihood="poisson", cv=None, random_state=0).fit(X, y)
    assert len(_never_falls(mixture)) > 3


@pytest.mark.filterwarnings("ignore:the gate's columns separate the regimes")
def test_the_likelihood_never_falls_with_classes():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (150, 2))
    y = (X[:, 0] > 0) == (X[:, 1] > 0)
    pool = [("one", LogisticRegression()), ("two", LogisticRegression())]
    mixture = MixtureClassifier(pool, gate="softmax", cv=None, random_state=0).fit(X, y)
    _never_falls(mixture)


def test_the_likelihood_never_falls_with_several_targets():
    X, y = _crossing(120)
    mixture = MixtureRegressor(LINES, gate="softmax", cv=None, likelihood="student_t", random_state=0)
    _never_falls(mixture.fit(X, np.column_stack([y, y[::-1]])))
