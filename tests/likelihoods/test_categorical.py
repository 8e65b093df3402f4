"""The categorical likelihood: log probabilities of the observed classes."""

import numpy as np
import pytest

from metamix.likelihoods import Categorical


def test_log_prob_is_the_log_probability_of_the_observed_class():
    rng = np.random.default_rng(8)
    predictions, y = rng.dirichlet(np.ones(4), (30, 2)), rng.integers(0, 4, 30)
    fitted = Categorical().fit(y, predictions, np.full((30, 2), 0.5))
    expected = [[np.log(predictions[i, k, y[i]]) for k in range(2)] for i in range(30)]
    assert fitted.n_classes_ == 4
    assert np.allclose(fitted.log_prob(y, predictions), expected)


def test_probabilities_of_zero_are_clipped_and_missing_ones_stay_missing():
    predictions = np.array([[[1.0, 0.0], [np.nan, np.nan]]])
    log_prob = Categorical(eps=1e-4).fit([1], predictions, np.ones((1, 2))).log_prob([1], predictions)
    assert log_prob[0, 0] == pytest.approx(np.log(1e-4))
    assert np.isnan(log_prob[0, 1])
