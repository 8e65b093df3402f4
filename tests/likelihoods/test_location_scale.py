"""Scales that follow rows by decayed statistics."""

import numpy as np
import pytest
from sklearn.base import clone

from metamix.likelihoods import Gaussian, Laplace, StudentT


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    y = rng.standard_t(5, 600)
    return y, np.column_stack([np.zeros(600), 0.5 * y + 0.3 * rng.standard_normal(600)]), rng.dirichlet([1, 1], 600)


@pytest.mark.parametrize("likelihood", [Gaussian(), Laplace()], ids=repr)
def test_rows_with_steps_of_one_over_t_are_the_fit_of_all(likelihood, table):
    y, predictions, shares = table
    rows, whole = clone(likelihood).fit(y[:5], predictions[:5], shares[:5]), likelihood.fit(y, predictions, shares)
    for i in range(600):
        rows.partial_fit(y[[i]], predictions[[i]], shares[[i]], step=1 / (i + 1))
    np.testing.assert_allclose(rows.scale_, whole.scale_, rtol=1e-10)


def test_scales_of_student_t_come_close_to_the_maximum_likelihood(table):
    y, predictions, shares = table
    rows, whole = (StudentT(df=5.0).fit(y[:n], predictions[:n], shares[:n]) for n in (5, 600))
    for i in range(600):
        rows.partial_fit(y[[i]], predictions[[i]], shares[[i]], step=1 / (i + 1))
    np.testing.assert_allclose(rows.scale_, whole.scale_, rtol=0.05)


@pytest.mark.parametrize("likelihood", [Gaussian(), Laplace(), StudentT()], ids=repr)
def test_scales_follow_a_change_of_the_noise(likelihood, table):
    y, predictions, shares = table
    before = likelihood.fit(y, predictions, shares).scale_.copy()
    for _ in range(10):
        likelihood.partial_fit(3 * y, 3 * predictions, shares, step=0.5)
    np.testing.assert_allclose(likelihood.scale_ / before, 3.0, rtol=0.05)


def test_factors_of_deviations_of_the_experts_own_follow(table):
    y, predictions, shares = table
    own = np.column_stack([np.full(600, 0.5), np.full(600, np.nan)])
    fitted, whole = Gaussian().fit(y[:9], predictions[:9], shares[:9], own[:9]), Gaussian()
    for i in range(600):
        fitted.partial_fit(y[[i]], predictions[[i]], shares[[i]], own[[i]], step=1 / (i + 1))
    whole.fit(y, predictions, shares, own)
    np.testing.assert_allclose(fitted.factor_, whole.factor_)
    np.testing.assert_allclose(fitted.scale_[1], whole.scale_[1])
