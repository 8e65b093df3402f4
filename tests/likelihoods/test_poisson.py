"""The Poisson likelihood: validation of counts and the smallest rate."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import mean_poisson_deviance

from metamix.likelihoods import Poisson


def test_targets_other_than_counts_are_rejected(zero_predictions):
    predictions, shares = zero_predictions(3)
    for wrong in ([1.0, -2.0, 0.0], [0.5, 1.0, 2.0], [1.0, np.nan, 2.0], [1.0, np.inf, 2.0]):
        with pytest.raises(ValueError, match="non-negative integers"):
            Poisson().fit(wrong, predictions + 1, shares)
    with pytest.raises(ValueError, match=r"such as 0\.25"):
        Poisson().fit([1.0, 2.0, 3.0], predictions + 1, shares).log_prob([0.25, 1.0, 2.0], predictions)


def test_rates_are_raised_to_the_smallest_rate():
    y, rates = np.array([0.0, 4.0, 8.0]), np.array([[-3.0], [0.0], [np.nan]])
    fitted = Poisson(floor=0.01).fit(y, rates, np.ones((3, 1)))
    assert fitted.smallest_ == pytest.approx(0.04)
    assert fitted.log_prob(y, rates)[:2, 0] == pytest.approx(stats.poisson.logpmf([0, 4], 0.04))
    assert np.isnan(fitted.log_prob(y, rates)[2, 0])
    assert np.isfinite(Poisson().fit([0.0], [[0.0]], np.ones((1, 1))).log_prob([7.0], np.zeros((1, 1)))).all()


def test_the_deviance_is_scikit_learns():
    rng = np.random.default_rng(0)
    y, rates = rng.poisson(2.0, 50).astype(float), rng.uniform(0.1, 5, 50)
    assert Poisson().deviance(y, rates).mean() == pytest.approx(mean_poisson_deviance(y, rates))
    assert np.isfinite(Poisson().deviance(y, np.zeros(50))).all()


def test_the_floor_moves_no_optimum():
    """A regime of zeros: the likelihood grows until its rate is zero."""
    y = np.array([0.0, 0.0, 0.0, 40.0])
    fitted = Poisson().fit(y, np.ones((4, 1)), np.ones((4, 1)))
    rates = np.array([1e-2, 1e-4, 1e-6, 1e-8])
    total = [fitted.log_prob(y, np.full((4, 1), rate))[:3].sum() for rate in rates]
    np.testing.assert_allclose(total, -3 * rates, rtol=1e-6)
