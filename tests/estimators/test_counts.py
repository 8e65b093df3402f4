"""Counts: `predict` is the mean of the predictive distribution, and candidates are judged by the deviance."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, PoissonRegressor, Ridge
from sklearn.metrics import mean_poisson_deviance

from metamix import MixtureRegressor, fit_predictions
from metamix.gates import SoftmaxGate

FAST = {"likelihood": "poisson", "gate": SoftmaxGate(penalty=0.1), "random_state": 0, "start": "kmeans"}
#: Lines are negative where rates are small.
POOL = [("line", LinearRegression()), ("ridge", Ridge(30.0))]


def counts(n=150):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, (n, 2))
    return X, rng.poisson(np.exp(1.2 * X[:, 0] - 0.5)).astype(float)


@pytest.mark.parametrize(
    "more",
    [
        {"specialize": False, "cv": 3}, {"specialize": True, "cv": 3, "max_rounds": 2},
        {"specialize": "auto", "cv": 3, "n_experts": 2, "max_rounds": 1}, {"cv": None},
        {"specialize": False, "cv": 3, "refit": False},
    ],
    ids=str,
)  # fmt: skip
def test_predict_is_the_mean_of_the_draws_and_never_negative(more):
    X, y = counts()
    mixture = MixtureRegressor(POOL, **{**FAST, **more}).fit(X, y)
    rows = np.array([[-2.0, 0.0], [0.0, 0.0], [2.0, 1.0]])
    mean, deviation = mixture.predict(rows, return_std=True)
    assert (mixture.predict(X) >= 0).all()
    assert (mixture.predict_experts(X) >= 0).all()
    rng = np.random.RandomState(0)
    draws = np.array([mixture.sample(rows, random_state=rng) for _ in range(4000)])
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=4 * draws.std(axis=0).max() / 4000**0.5)
    np.testing.assert_allclose(draws.std(axis=0), deviation, rtol=0.1, atol=0.03)
    weights = mixture.gate_weights(X)
    np.testing.assert_allclose((weights * mixture.predict_experts(X)).sum(axis=1), mixture.predict(X), atol=1e-9)


def test_several_counts_are_not_negative_either():
    X, y = counts()
    mixture = MixtureRegressor(POOL, **FAST, specialize=False, cv=3).fit(X, np.column_stack([y, y[::-1]]))
    assert (mixture.predict(X) >= 0).all()


def test_candidates_of_counts_are_judged_by_the_deviance():
    X, y = counts()
    pool = [("counts", PoissonRegressor(alpha=1e-3)), ("line", LinearRegression())]
    mixture = MixtureRegressor(pool, **FAST, specialize=False, cv=3).fit(X, y)
    losses = mixture.candidates_.set_index("candidate")["loss"]
    assert mixture.verdict_.measure == "deviance"
    assert losses["best single"] == pytest.approx(mean_poisson_deviance(y, mixture.oof_predictions_[:, 0]))
    assert losses["mean of y"] == pytest.approx(mean_poisson_deviance(y, mixture.oof_predictions_[:, -1]))
    assert losses["convex"] <= losses["best single"] * 1.02


def test_predictions_of_counts_made_elsewhere():
    X, y = counts()
    given = np.column_stack([X[:, 0], np.exp(1.2 * X[:, 0] - 0.5)])
    found = fit_predictions(given, X, y, likelihood="poisson", gate="constant", random_state=0)
    assert found.verdict_.measure == "deviance"
    assert (found.predict(X, predictions=given) >= 0).all()
