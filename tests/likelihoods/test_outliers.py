"""Likelihoods with uniform noise against simulated shares, a grid search and samples."""

import numpy as np
import pytest
from scipy import stats

from metamix.likelihoods import Outliers, StudentT


@pytest.mark.parametrize("share", [0.0, 0.02, 0.2])
@pytest.mark.parametrize("reach", [20.0, 1e4])
def test_a_simulated_share_of_noise_is_recovered(share, reach, zero_predictions):
    rng = np.random.default_rng(10)
    n, noisy = 4000, int(4000 * share)
    y = rng.standard_normal(n) * 2
    y[:noisy] = rng.uniform(-reach, reach, noisy)
    fitted = Outliers().fit(y, *zero_predictions(n))
    assert fitted.share_ == pytest.approx(share, abs=0.02)
    assert fitted.likelihood_.scale_[0] == pytest.approx(2.0, rel=0.08)
    trust = fitted.trust(y, np.zeros((n, 1)))[:, 0]
    assert trust[noisy:].mean() > 0.97 - 0.15 * share  # with much noise, some of it is near zero
    assert (trust[:noisy][np.abs(y[:noisy]) > 12] < 0.05).all()


def test_the_share_of_noise_maximises_the_likelihood():
    rng = np.random.default_rng(11)
    y = np.r_[rng.standard_normal(900), rng.uniform(-9, 9, 100)]
    shares = rng.uniform(0.2, 1.0, (1000, 1))
    fitted = Outliers().fit(y, np.zeros((1000, 1)), shares)
    best = shares[:, 0] @ fitted.log_prob(y, np.zeros((1000, 1)))[:, 0]
    width = fitted.high_ - fitted.low_
    for e in np.linspace(0.0, 0.4, 21):
        for scale in np.linspace(0.5, 1.5, 21):
            density = (1 - e) * stats.norm.pdf(y, 0, scale) + e / width
            assert shares[:, 0] @ np.log(density) < best + 0.05


def test_rows_beyond_the_support_are_outliers_too(zero_predictions):
    rng = np.random.default_rng(12)
    y = np.r_[rng.standard_normal(900), rng.uniform(-9, 9, 100)]
    fitted = Outliers(StudentT(df=4)).fit(y, *zero_predictions(1000))
    assert fitted.trust([1e3], np.zeros((1, 1)))[0, 0] < 1e-3
    assert fitted.trust([0.0], np.full((1, 1), np.nan))[0, 0] == 1.0
    assert fitted.trust([0.0], np.zeros((1, 1)))[0, 0] == pytest.approx(5 / 4, rel=0.03)


def test_the_standard_deviation_equals_that_of_samples(zero_predictions):
    rng = np.random.default_rng(13)
    y = np.r_[rng.standard_normal(900), rng.uniform(-10, 30, 100)]
    fitted = Outliers().fit(y, *zero_predictions(1000))
    predictions = np.tile([[0.0, 5.0]], (50_000, 1))
    draws = fitted.distribution(predictions).rvs(size=predictions.shape, random_state=np.random.RandomState(0))
    expected = np.sqrt(np.mean((draws - predictions) ** 2, axis=0))
    assert fitted.standard_deviation(predictions)[0] == pytest.approx(expected, rel=0.02)
