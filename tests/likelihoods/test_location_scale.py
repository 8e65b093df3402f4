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


@pytest.mark.parametrize("likelihood", [Gaussian(), Laplace(), StudentT(df=5.0)], ids=repr)
def test_what_a_fit_counts_for_is_its_responsibilities_and_a_second_fit_begins_anew(likelihood, table):
    """Half a step moves half of the statistics of a row that has as much responsibility as the fit had."""
    y, predictions, _ = table
    shares = np.tile([0.9, 0.1], (600, 1))
    likelihood.fit(y, predictions, shares)
    np.testing.assert_allclose(likelihood.mass_[0], [0.9, 0.1])
    likelihood.partial_fit(y, predictions, shares, step=0.5)
    three = np.column_stack([predictions, predictions[:, 0]])
    likelihood.fit(y, three, np.full((600, 3), 1 / 3))
    before = likelihood.scale_.copy()
    likelihood.partial_fit(y, three, np.full((600, 3), 1 / 3), step=0.5)
    np.testing.assert_allclose(likelihood.scale_, before, rtol=1e-2)


def test_halves_of_unequal_responsibilities_are_the_whole():
    """Gaussian scales from two halves with a step of one half are those of all rows, whoever is responsible."""
    rng = np.random.default_rng(0)
    y, predictions = rng.standard_normal(200) * np.repeat([1, 3], 100), np.zeros((200, 2))
    shares = np.repeat([[0.9, 0.1], [0.2, 0.8]], 100, axis=0)
    halves = Gaussian().fit(y[:100], predictions[:100], 7 * shares[:100])
    halves.partial_fit(y[100:], predictions[100:], shares[100:], step=0.5)
    np.testing.assert_allclose(halves.scale_, Gaussian().fit(y, predictions, shares).scale_)


def test_a_likelihood_of_an_earlier_version_follows(table):
    y, predictions, shares = table
    old = Gaussian().fit(y, predictions, shares)
    del old.mass_
    assert np.isfinite(old.partial_fit(y, predictions, shares, step=0.5).scale_).all()


def test_factors_of_deviations_of_the_experts_own_follow(table):
    y, predictions, shares = table
    own = np.column_stack([np.full(600, 0.5), np.full(600, np.nan)])
    fitted, whole = Gaussian().fit(y[:9], predictions[:9], shares[:9], own[:9]), Gaussian()
    for i in range(600):
        fitted.partial_fit(y[[i]], predictions[[i]], shares[[i]], own[[i]], step=1 / (i + 1))
    whole.fit(y, predictions, shares, own)
    np.testing.assert_allclose(fitted.factor_, whole.factor_)
    np.testing.assert_allclose(fitted.scale_[1], whole.scale_[1])
