"""The Gaussian likelihood against scipy and numerical maximisation; the scale as a function of x."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

from metamix.likelihoods import Gaussian


def test_scale_maximises_the_weighted_likelihood(predicted):
    y, predictions, responsibilities = predicted()
    fitted = Gaussian().fit(y, predictions, responsibilities)
    for k in range(3):
        best = minimize_scalar(
            lambda log_scale, k=k: -responsibilities[:, k] @ stats.norm.logpdf(y, predictions[:, k], np.exp(log_scale)),
            bounds=(-5, 5),
            method="bounded",
            options={"xatol": 1e-10},
        )
        assert fitted.scale_[k] == pytest.approx(np.exp(best.x), rel=1e-6)


def test_missing_predictions_do_not_count(predicted):
    y, predictions, responsibilities = predicted(3)
    predictions[:10, 1] = np.nan
    fitted = Gaussian().fit(y, predictions, responsibilities)
    without = Gaussian().fit(y[10:], predictions[10:], responsibilities[10:])
    assert fitted.scale_[1] == pytest.approx(without.scale_[1])
    log_prob = fitted.log_prob(y, predictions)
    assert np.isnan(log_prob[:10, 1]).all()
    assert np.isfinite(log_prob[:, [0, 2]]).all()


def test_integer_weights_equal_repeated_rows(predicted):
    y, predictions, responsibilities = predicted(4)
    times = np.random.default_rng(0).integers(0, 4, len(y))
    weighted = Gaussian().fit(y, predictions, times[:, None] * responsibilities)
    repeated = Gaussian().fit(*(np.repeat(a, times, axis=0) for a in (y, predictions, responsibilities)))
    assert np.allclose(weighted.scale_, repeated.scale_)


def test_the_floor_is_relative_to_the_standard_deviation_of_y():
    y = 100.0 * np.random.default_rng(0).standard_normal(500)
    fitted = Gaussian(floor=1e-3).fit(y, np.c_[y, np.zeros(500)], np.full((500, 2), 0.5))
    assert fitted.scale_[0] == pytest.approx(1e-3 * y.std())
    assert fitted.scale_[1] == pytest.approx(np.sqrt(np.mean(y**2)))


@pytest.mark.parametrize("level", [0.0, 3.0, 1e9])
def test_a_constant_target_gives_finite_log_densities(level):
    y = np.full(20, level)
    fitted = Gaussian().fit(y, y[:, None] + [[0.0, 0.0]], np.full((20, 2), 0.5))
    assert (fitted.scale_ > 0).all()
    assert np.isfinite(fitted.log_prob(y, y[:, None] + [[0.0, 0.0]])).all()


def test_an_expert_without_rows_has_the_standard_deviation_of_y(predicted):
    y, predictions, responsibilities = predicted(5)
    responsibilities[:, 2] = 0.0
    predictions[:, 1] = np.nan
    fitted = Gaussian().fit(y, predictions, responsibilities)
    counts = responsibilities.sum(axis=1)
    spread = np.sqrt(np.cov(y, aweights=counts, ddof=0))
    assert fitted.scale_[1:] == pytest.approx([spread, spread])


def test_own_standard_deviations_are_multiplied_by_a_factor():
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


def test_own_standard_deviations_of_zero_are_raised_to_the_floor(predicted):
    y, predictions, responsibilities = predicted(7)
    fitted = Gaussian().fit(y, predictions, responsibilities, np.zeros_like(predictions))
    assert np.isfinite(fitted.log_prob(y, predictions, np.zeros_like(predictions))).all()
    assert np.allclose(fitted.standard_deviation(predictions, np.zeros_like(predictions)), fitted.scale_)


def test_log_prob_equals_that_of_scipy(predicted):
    y, predictions, responsibilities = predicted(1)
    fitted = Gaussian().fit(y, predictions, responsibilities)
    expected = stats.norm.logpdf(y[:, None], predictions, fitted.scale_)
    assert np.allclose(fitted.log_prob(y, predictions), expected)
