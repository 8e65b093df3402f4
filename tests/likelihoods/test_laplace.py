"""The Laplace likelihood against its closed form."""

import numpy as np
import pytest

from metamix.likelihoods import Laplace


def test_the_scale_is_the_weighted_mean_absolute_error():
    rng = np.random.default_rng(2)
    y, predictions, shares = rng.standard_normal(80), rng.standard_normal((80, 3)), rng.dirichlet(np.ones(3), 80)
    predictions[:9, 1] = np.nan
    fitted = Laplace().fit(y, predictions, shares)
    for k in range(3):
        rows = np.isfinite(predictions[:, k])
        errors = np.abs(y - predictions[:, k])[rows]
        assert fitted.scale_[k] == pytest.approx(np.average(errors, weights=shares[rows, k]))
    assert Laplace(floor=0.1).fit(y, y[:, None], shares[:, :1]).scale_[0] == pytest.approx(0.1 * np.sqrt(
        np.cov(y, aweights=shares[:, 0], ddof=0)))  # fmt: skip
