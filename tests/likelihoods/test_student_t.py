"""The Student-t likelihood against scipy and numerical maximisation."""

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

from metamix.likelihoods import Gaussian, Laplace, StudentT


@pytest.mark.parametrize("df", [1.5, 3.0, 8.0])
@pytest.mark.parametrize("n", [150, 3000])
def test_scale_and_degrees_of_freedom_equal_those_of_scipy(df, n, zero_predictions):
    y = 3.0 * np.random.default_rng(int(n + df)).standard_t(df, n)
    fitted = StudentT().fit(y, *zero_predictions(n))
    expected, _, scale = stats.t.fit(y, floc=0)
    assert fitted.df_[0] == pytest.approx(expected, rel=1e-3)
    assert fitted.scale_[0] == pytest.approx(scale, rel=1e-3)


def test_a_scale_at_given_degrees_of_freedom_maximises_the_weighted_likelihood():
    rng = np.random.default_rng(3)
    y, shares = rng.standard_t(4, 400), rng.uniform(0, 1, (400, 1))
    fitted = StudentT(df=4).fit(y, np.zeros((400, 1)), shares)
    best = minimize_scalar(lambda s: -shares[:, 0] @ stats.t.logpdf(y, 4, 0, np.exp(s)), bounds=(-3, 3),
                           method="bounded", options={"xatol": 1e-10})  # fmt: skip
    assert fitted.df_[0] == 4
    assert fitted.scale_[0] == pytest.approx(np.exp(best.x), rel=1e-5)
    # The squared scale is the mean of squared errors weighted by `trust`.
    trust = fitted.trust(y, np.zeros((400, 1)))
    assert fitted.scale_[0] ** 2 == pytest.approx((shares * trust * y[:, None] ** 2).sum() / shares.sum(), rel=1e-5)
    assert trust == pytest.approx(5 / (4 + (y[:, None] / fitted.scale_) ** 2))


def test_binned_errors_give_the_same_scale(zero_predictions):
    y = np.random.default_rng(4).standard_t(3, 40_000)
    fitted = StudentT(df=3).fit(y, *zero_predictions(40_000))
    best = minimize_scalar(lambda s: -stats.t.logpdf(y, 3, 0, np.exp(s)).sum(), bounds=(-1, 1), method="bounded",
                           options={"xatol": 1e-9})  # fmt: skip
    assert fitted.scale_[0] == pytest.approx(np.exp(best.x), rel=1e-4)


def test_outliers_inflate_the_gaussian_scale_only(zero_predictions):
    rng = np.random.default_rng(5)
    y = np.r_[rng.standard_normal(480), 100 * rng.standard_normal(20)]
    assert StudentT().fit(y, *zero_predictions(500)).scale_[0] < 1.2
    assert Gaussian().fit(y, *zero_predictions(500)).scale_[0] > 10


def test_the_standard_deviation_is_finite_for_few_degrees_of_freedom(zero_predictions):
    y = np.random.default_rng(6).standard_cauchy(400)
    fitted = StudentT(df=1).fit(y, *zero_predictions(400))
    assert fitted.standard_deviation(np.zeros((1, 1)))[0, 0] == pytest.approx(np.sqrt(5) * fitted.scale_[0])


def test_degrees_of_freedom_are_large_for_normal_errors_and_without_rows():
    y = np.random.default_rng(7).standard_normal(5000)
    shares = np.column_stack([np.ones(5000), np.zeros(5000)])
    fitted = StudentT().fit(y, np.zeros((5000, 2)), shares)
    assert (fitted.df_ > 20).all()
    assert fitted.scale_ == pytest.approx([y.std(), y.std()], rel=0.05)


@pytest.mark.parametrize("likelihood", [StudentT(df=5), Laplace()], ids=repr)
def test_own_standard_deviations_are_multiplied_by_a_factor(likelihood):
    rng = np.random.default_rng(9)
    own = np.exp(rng.standard_normal(20_000))
    noise = rng.laplace(size=20_000) if isinstance(likelihood, Laplace) else rng.standard_t(5, 20_000)
    scale = np.c_[own, np.full_like(own, np.nan)]
    predictions, shares = np.zeros((20_000, 2)), np.full((20_000, 2), 0.5)
    fitted = likelihood.fit(2.5 * own * noise, predictions, shares, scale)
    assert fitted.factor_[0] == pytest.approx(2.5, rel=0.02)
    assert fitted.factor_[1] == 1.0
    own_unit = fitted.standard_deviation(predictions, scale)[:, 0] / own
    assert own_unit == pytest.approx(own_unit[0])
