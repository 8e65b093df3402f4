"""What every likelihood promises: protocol, public checks, agreement with its distribution, units, degenerate data."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

from metamix.likelihoods import Categorical, Gaussian, Laplace, Outliers, Poisson, StudentT
from metamix.protocols import Likelihood
from metamix.testing import check_likelihood

# Gaussian, Student-t, Laplace, Poisson and Categorical with their defaults pass the public checks in test_testing.
VARIANTS = [
    Gaussian(heteroscedastic=True),
    StudentT(df=3),
    StudentT(df=1.5),
    Outliers(),
    Outliers(Laplace(), share=0.1),
    Outliers(Poisson()),
]
DEFAULTS = [Gaussian(), StudentT(), Laplace(), Poisson()]


@pytest.mark.parametrize("likelihood", [*DEFAULTS, *VARIANTS, Categorical()], ids=repr)
def test_protocol_and_parameters(likelihood):
    assert isinstance(likelihood, Likelihood)
    assert repr(clone(likelihood).get_params()) == repr(likelihood.get_params())


@pytest.mark.parametrize("likelihood", [VARIANTS[0], VARIANTS[2], VARIANTS[3], VARIANTS[5]], ids=repr)
def test_public_checks(likelihood):
    for _, check in check_likelihood(likelihood):
        check()


@pytest.mark.parametrize("likelihood", [*DEFAULTS, *VARIANTS], ids=repr)
def test_log_prob_equals_that_of_the_distribution(likelihood):
    rng = np.random.default_rng(0)
    predictions = rng.uniform(2.0, 9.0, (300, 2))
    y = rng.poisson(predictions[:, 0]).astype(float)
    scale = np.c_[rng.uniform(1.0, 2.0, 300), np.full(300, np.nan)]
    fitted = likelihood.fit(y, predictions, np.full((300, 2), 0.5), scale)
    assert np.isfinite(fitted.standard_deviation(predictions, scale)).all()
    components = fitted.distribution(predictions, scale)
    if isinstance(likelihood, Outliers):
        own, noise = components.clean, components.noise
        density = (own.pmf if components.discrete else own.pdf)(y[:, None]) * (1 - components.share)
        density += (noise.pmf if components.discrete else noise.pdf)(y[:, None]) * components.share
    else:
        density = getattr(components, "pmf", None) or components.pdf
        density = density(y[:, None])
    assert np.exp(fitted.log_prob(y, predictions, scale)) == pytest.approx(density, rel=1e-9)


@pytest.mark.parametrize("likelihood", [StudentT(df=3), StudentT(), Laplace(), Poisson()], ids=repr)
def test_standard_deviations_equal_those_of_scipy(likelihood):
    rng = np.random.default_rng(1)
    predictions = rng.uniform(2.0, 9.0, (500, 2))
    fitted = likelihood.fit(rng.poisson(predictions[:, 0]).astype(float), predictions, np.full((500, 2), 0.5))
    assert np.allclose(fitted.standard_deviation(predictions), fitted.distribution(predictions).std())


@settings(max_examples=20)
@given(
    st.sampled_from([Gaussian(), StudentT(), StudentT(df=2), Laplace(), Gaussian(heteroscedastic=True), Outliers()]),
    st.sampled_from([1e-6, 1e6]),
    st.floats(-10, 10),
)
def test_a_change_of_units_changes_the_log_density_by_a_constant(likelihood, factor, shift):
    rng = np.random.default_rng(8)
    x = rng.standard_normal((60, 1))
    y = x[:, 0] + rng.standard_t(3, 60)
    predictions, shares = np.c_[x, 0.5 * x], rng.dirichlet(np.ones(2), 60)
    plain = clone(likelihood).fit(y, predictions, shares, X=x).log_prob(y, predictions, X=x)
    moved, predictions = factor * (y + shift), factor * (predictions + shift)
    other = clone(likelihood).fit(moved, predictions, shares, X=x).log_prob(moved, predictions, X=x)
    assert np.allclose(other, plain - np.log(factor), atol=2e-3)


@pytest.mark.parametrize("likelihood", [StudentT(), Laplace(), Outliers(), Outliers(StudentT())], ids=repr)
@pytest.mark.parametrize("level", [0.0, 3.0, 1e9])
def test_perfect_predictions_give_finite_log_densities(likelihood, level):
    y = np.full(20, level)
    predictions = np.column_stack([y, y])
    fitted = likelihood.fit(y, predictions, np.full((20, 2), 0.5))
    assert np.isfinite(fitted.log_prob(y, predictions)).all()
    varied = level + np.arange(20.0)
    fitted = likelihood.fit(varied, np.column_stack([varied, varied + 1]), np.full((20, 2), 0.5))
    assert np.isfinite(fitted.log_prob(varied, np.column_stack([varied, varied + 1]))).all()


def test_invalid_parameters_are_named(zero_predictions):
    y, (predictions, shares) = np.arange(5.0), zero_predictions(5)
    for wrong in (StudentT(df="few"), StudentT(df=0), Outliers(share=1.0), Outliers(share="some")):
        with pytest.raises(ValueError, match="must be"):
            wrong.fit(y, predictions, shares)
    with pytest.raises(ValueError, match="is for regression"):
        Outliers().fit(y, np.ones((5, 2, 3)), np.ones((5, 2)))
