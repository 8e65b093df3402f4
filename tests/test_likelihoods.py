"""Likelihoods: against scipy, numerical maximisation and planted scales."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import minimize_scalar
from sklearn.base import clone

from metamix.likelihoods import Categorical, Gaussian
from metamix.protocols import Likelihood


def draw(seed=0, n=60, K=3):
    rng = np.random.default_rng(seed)
    y = rng.standard_normal(n)
    predictions = y[:, None] + rng.standard_normal((n, K)) * np.arange(1, K + 1)
    return y, predictions, rng.dirichlet(np.ones(K), n)


def test_both_keep_the_contract():
    for likelihood in (Gaussian(), Categorical()):
        assert isinstance(likelihood, Likelihood)
        assert clone(likelihood).get_params() == likelihood.get_params()


def test_scale_maximises_the_weighted_likelihood():
    y, predictions, responsibilities = draw()
    fitted = Gaussian().fit(y, predictions, responsibilities)
    for k in range(3):
        best = minimize_scalar(
            lambda log_scale, k=k: -responsibilities[:, k] @ stats.norm.logpdf(y, predictions[:, k], np.exp(log_scale)),
            bounds=(-5, 5),
            method="bounded",
            options={"xatol": 1e-10},
        )
        assert fitted.scale_[k] == pytest.approx(np.exp(best.x), rel=1e-6)


def test_log_prob_is_that_of_scipy():
    y, predictions, responsibilities = draw(1)
    fitted = Gaussian().fit(y, predictions, responsibilities)
    expected = stats.norm.logpdf(y[:, None], predictions, fitted.scale_)
    assert np.allclose(fitted.log_prob(y, predictions), expected)


@given(st.sampled_from([1e-6, 1e-3, 1e6]), st.floats(-10, 10))
def test_the_unit_of_y_shifts_the_log_density_by_a_constant(factor, shift):
    y, predictions, responsibilities = draw(2)
    plain = Gaussian().fit(y, predictions, responsibilities)
    moved_y, moved = factor * (y + shift), factor * (predictions + shift)
    other = Gaussian().fit(moved_y, moved, responsibilities)
    assert np.allclose(other.scale_, factor * plain.scale_)
    assert np.allclose(other.log_prob(moved_y, moved), plain.log_prob(y, predictions) - np.log(factor))


def test_missing_answers_do_not_count():
    y, predictions, responsibilities = draw(3)
    predictions[:10, 1] = np.nan
    fitted = Gaussian().fit(y, predictions, responsibilities)
    without = Gaussian().fit(y[10:], predictions[10:], responsibilities[10:])
    assert fitted.scale_[1] == pytest.approx(without.scale_[1])
    log_prob = fitted.log_prob(y, predictions)
    assert np.isnan(log_prob[:10, 1]).all()
    assert np.isfinite(log_prob[:, [0, 2]]).all()


def test_row_weights_are_repeated_rows():
    y, predictions, responsibilities = draw(4)
    times = np.random.default_rng(0).integers(0, 4, len(y))
    weighted = Gaussian().fit(y, predictions, times[:, None] * responsibilities)
    repeated = Gaussian().fit(*(np.repeat(a, times, axis=0) for a in (y, predictions, responsibilities)))
    assert np.allclose(weighted.scale_, repeated.scale_)


def test_the_floor_is_relative_to_the_spread_of_y():
    y = 100.0 * np.random.default_rng(0).standard_normal(500)
    fitted = Gaussian(floor=1e-3).fit(y, np.c_[y, np.zeros(500)], np.full((500, 2), 0.5))
    assert fitted.scale_[0] == pytest.approx(1e-3 * y.std())
    assert fitted.scale_[1] == pytest.approx(np.sqrt(np.mean(y**2)))


@pytest.mark.parametrize("level", [0.0, 3.0, 1e9])
def test_a_constant_target_is_finite(level):
    y = np.full(20, level)
    fitted = Gaussian().fit(y, y[:, None] + [[0.0, 0.0]], np.full((20, 2), 0.5))
    assert (fitted.scale_ > 0).all()
    assert np.isfinite(fitted.log_prob(y, y[:, None] + [[0.0, 0.0]])).all()


def test_an_expert_without_rows_has_the_spread_of_y():
    y, predictions, responsibilities = draw(5)
    responsibilities[:, 2] = 0.0
    predictions[:, 1] = np.nan
    fitted = Gaussian().fit(y, predictions, responsibilities)
    counts = responsibilities.sum(axis=1)
    spread = np.sqrt(np.cov(y, aweights=counts, ddof=0))
    assert fitted.scale_[1:] == pytest.approx([spread, spread])


def test_an_expert_s_own_deviation_is_taken_up_to_a_factor():
    rng = np.random.default_rng(6)
    own = np.exp(rng.standard_normal(20_000))
    y = 2.5 * own * rng.standard_normal(20_000)
    scale = np.c_[own, np.full_like(own, np.nan)]
    predictions, responsibilities = np.zeros((20_000, 2)), np.full((20_000, 2), 0.5)
    fitted = Gaussian().fit(y, predictions, responsibilities, scale)
    assert fitted.factor_[0] == pytest.approx(2.5, rel=0.02)
    assert fitted.factor_[1] == 1.0
    deviation = fitted.standard_deviation(predictions, scale)
    assert np.allclose(deviation[:, 0], fitted.factor_[0] * own)
    assert np.allclose(deviation[:, 1], fitted.scale_[1])
    expected = stats.norm.logpdf(y[:, None], predictions, deviation)
    assert np.allclose(fitted.log_prob(y, predictions, scale), expected)
    assert expected[:, 0].mean() > expected[:, 1].mean() + 0.3


def test_an_expert_that_claims_certainty_is_not_believed():
    y, predictions, responsibilities = draw(7)
    fitted = Gaussian().fit(y, predictions, responsibilities, np.zeros_like(predictions))
    assert np.isfinite(fitted.log_prob(y, predictions, np.zeros_like(predictions))).all()
    assert np.allclose(fitted.standard_deviation(predictions, np.zeros_like(predictions)), fitted.scale_)


def test_categorical_is_the_log_of_the_probability_of_what_came():
    rng = np.random.default_rng(8)
    predictions, y = rng.dirichlet(np.ones(4), (30, 2)), rng.integers(0, 4, 30)
    fitted = Categorical().fit(y, predictions, np.full((30, 2), 0.5))
    expected = [[np.log(predictions[i, k, y[i]]) for k in range(2)] for i in range(30)]
    assert fitted.n_classes_ == 4
    assert np.allclose(fitted.log_prob(y, predictions), expected)


def test_categorical_clips_what_is_impossible_and_passes_on_what_is_missing():
    predictions = np.array([[[1.0, 0.0], [np.nan, np.nan]]])
    log_prob = Categorical(eps=1e-4).fit([1], predictions, np.ones((1, 2))).log_prob([1], predictions)
    assert log_prob[0, 0] == pytest.approx(np.log(1e-4))
    assert np.isnan(log_prob[0, 1])
