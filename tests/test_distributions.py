"""Distribution function, quantiles and samples of mixtures: against scipy, samples and each other."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from metamix.distributions import cdf, choose, interval, quantile, sample
from metamix.likelihoods import Gaussian, Laplace, Outliers, Poisson, StudentT
from metamix.recombination import spread, variance_parts

FAMILIES = {
    "norm": lambda centres, scales: stats.norm(centres, scales),
    "t": lambda centres, scales: stats.t(3.0, loc=centres, scale=scales),
    "laplace": lambda centres, scales: stats.laplace(loc=centres, scale=scales),
}


@st.composite
def mixtures(draw):
    """Weights, centres and scales of one row of up to four components, and the name of their family."""
    K = draw(st.integers(1, 4))
    weights = np.array(draw(st.lists(st.floats(1e-3, 1.0), min_size=K, max_size=K)))
    centres = np.array(draw(st.lists(st.floats(-20.0, 20.0), min_size=K, max_size=K)))
    scales = np.array(draw(st.lists(st.floats(0.1, 5.0), min_size=K, max_size=K)))
    return (weights / weights.sum())[None], centres[None], scales[None], draw(st.sampled_from(sorted(FAMILIES)))


@settings(max_examples=20)
@given(mixtures(), st.floats(-30.0, 30.0))
def test_the_quantile_inverts_the_distribution_function(mixture, y):
    weights, centres, scales, family = mixture
    components = FAMILIES[family](centres, scales)
    level = cdf(weights, components, y)[0]
    density = (weights * components.pdf(y)).sum()
    assume(1e-6 < level < 1 - 1e-6)
    assume(density > 1e-6)  # where the function is flat, many numbers have the same level
    assert quantile(weights, components, level)[0] == pytest.approx(y, abs=1e-6)


@settings(max_examples=20)
@given(mixtures(), st.floats(1e-12, 1 - 1e-12))
def test_the_distribution_function_inverts_the_quantile(mixture, level):
    weights, centres, scales, family = mixture
    components = FAMILIES[family](centres, scales)
    found = quantile(weights, components, level)
    assert cdf(weights, components, found)[0] == pytest.approx(level, rel=1e-9, abs=1e-15)


@settings(max_examples=20)
@given(mixtures(), st.sampled_from([1e-6, 1e6]), st.floats(-5, 5))
def test_quantiles_are_equivariant_to_units_of_y(mixture, factor, shift):
    weights, centres, scales, family = mixture
    q = [0.05, 0.3, 0.95]
    plain = quantile(weights, FAMILIES[family](centres, scales), q)
    moved = quantile(weights, FAMILIES[family](factor * (centres + shift), factor * scales), q)
    levels = cdf(np.repeat(weights, 3, 0), FAMILIES[family](*(np.repeat(a, 3, 0) for a in (centres, scales))),
                 moved[0] / factor - shift)  # fmt: skip
    assert (np.diff(plain) >= 0).all()
    assert levels == pytest.approx(q, abs=1e-6)


def test_a_single_component_has_its_own_quantiles():
    rng = np.random.default_rng(0)
    components = stats.norm(rng.standard_normal((5, 3)), rng.uniform(0.1, 2.0, (5, 3)))
    weights = np.zeros((5, 3))
    weights[:, 1] = 1.0
    q = [0.0, 0.01, 0.5, 0.99, 1.0]
    assert np.array_equal(quantile(weights, components, q), np.array([components.ppf(level)[:, 1] for level in q]).T)


def test_shapes_and_validation_of_q():
    components = stats.norm(np.zeros((4, 2)), 1.0)
    weights = np.full((4, 2), 0.5)
    assert quantile(weights, components, 0.3).shape == (4,)
    assert quantile(weights, components, [0.3]).shape == (4, 1)
    assert quantile(weights, components, []).shape == (4, 0)
    assert quantile(np.zeros((0, 2)), stats.norm(np.zeros((0, 2)), 1.0), [0.1, 0.9]).shape == (0, 2)
    for wrong in (-0.1, 1.5, [0.5, np.nan], [[0.5]]):
        with pytest.raises(ValueError, match="q="):
            quantile(weights, components, wrong)
    with pytest.raises(ValueError, match="coverage"):
        interval(weights, components, 90)


def test_components_without_weight_are_ignored_and_others_are_not():
    components = stats.norm([[1.0, np.nan], [1.0, np.nan]], 1.0)
    weights = [[1.0, 0.0], [0.5, 0.5]]
    found = quantile(weights, components, [0.1, 0.5])
    assert found[0] == pytest.approx(stats.norm.ppf([0.1, 0.5], 1.0))
    assert np.isnan(found[1]).all()
    assert cdf(weights, components, 1.0)[0] == 0.5
    assert np.isnan(cdf(weights, components, 1.0)[1])
    drawn = sample(np.repeat(weights, 500, 0), stats.norm(np.repeat([[1.0, np.nan]], 1000, 0), 1.0),
                   np.random.default_rng(0))  # fmt: skip
    assert np.isfinite(drawn[:500]).all()
    assert 180 < np.isnan(drawn[500:]).sum() < 320


def test_a_tiny_weight_changes_nothing():
    components = stats.norm([[0.0, 1e9]], 1.0)
    q = [0.001, 0.5, 0.999]
    assert quantile([[1.0, 1e-300]], components, q)[0] == pytest.approx(stats.norm.ppf(q), abs=1e-9)


def test_components_far_apart_keep_their_own_tails():
    components = stats.norm([[-1e6, 1e6]], [[1e-6, 1.0]])
    found = quantile([[0.3, 0.7]], components, [0.15, 0.3, 0.65])[0]
    assert found[0] == pytest.approx(-1e6, abs=1e-5)
    assert cdf([[0.3, 0.7]], components, found[1])[0] == pytest.approx(0.3)  # constant between the components
    assert found[2] == pytest.approx(1e6, abs=1e-5)


@settings(max_examples=20)
@given(st.lists(st.floats(0.01, 50.0), min_size=1, max_size=4), st.floats(0.001, 0.999))
def test_a_quantile_of_counts_is_the_smallest_that_reaches_the_level(rates, level):
    weights = np.full((1, len(rates)), 1 / len(rates))
    components = stats.poisson(np.array([rates]))
    reached = stats.poisson.cdf(np.arange(200)[:, None], rates) @ weights[0]
    assume(np.abs(reached - level).min() > 1e-12)
    assert quantile(weights, components, level)[0] == np.flatnonzero(reached >= level)[0]


def test_extreme_quantiles_of_counts():
    components = stats.poisson([[2.0, 1e8], [np.nan, 3.0]])
    found = quantile([[0.5, 0.5], [0.0, 1.0]], components, [0.0, 0.25, 0.75, 1.0])
    assert found[0, [0, 1, 3]].tolist() == [0.0, 2.0, np.inf]
    assert found[0, 2] == stats.poisson.ppf(0.5, 1e8)
    assert found[1, :3].tolist() == [0.0, 2.0, 4.0]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_samples_follow_the_distribution_function(family):
    n = 20_000
    centres, scales = np.tile([-4.0, 0.0, 3.0], (n, 1)), np.tile([0.5, 1.0, 2.0], (n, 1))
    weights, components = np.tile([0.2, 0.5, 0.3], (n, 1)), FAMILIES[family](centres, scales)
    drawn = sample(weights, components, np.random.RandomState(0))
    assert stats.kstest(cdf(weights, components, drawn), "uniform").pvalue > 0.01
    assert np.array_equal(drawn, sample(weights, components, np.random.RandomState(0)))


def simulated(seed, n=20_000):
    """Rows whose weights, predictions and true component are known; unit noise to be scaled."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet([1.0, 1.0, 1.0], n)
    predictions = np.cumsum(rng.uniform(1.0, 4.0, (n, 3)), axis=1)
    expert = (rng.random(n)[:, None] > weights.cumsum(axis=1)).sum(axis=1)
    return rng, weights, predictions, expert


NOISE = {
    "gaussian": (Gaussian(), lambda rng, n: rng.standard_normal(n)),
    "student_t": (StudentT(), lambda rng, n: rng.standard_t(3, n)),
    "laplace": (Laplace(), lambda rng, n: rng.laplace(size=n)),
    "outliers": (Outliers(), lambda rng, n: np.where(rng.random(n) < 0.05, rng.uniform(-50, 50, n),
                                                     rng.standard_normal(n))),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(NOISE))
def test_intervals_of_simulated_mixtures_have_their_coverage(name):
    likelihood, noise = NOISE[name]
    rng, weights, predictions, expert = simulated(1)
    scales = np.array([0.3, 1.0, 0.5])
    y = np.take_along_axis(predictions, expert[:, None], 1)[:, 0] + scales[expert] * noise(rng, len(expert))
    train, test = slice(0, 12_000), slice(12_000, None)
    truth = np.eye(3)[expert]
    fitted = likelihood.fit(y[train], predictions[train], truth[train])
    low, high = interval(weights[test], fitted.distribution(predictions[test]), 0.9).T
    assert 0.885 < ((y[test] >= low) & (y[test] <= high)).mean() < 0.915
    assert 0.04 < (y[test] < low).mean() < 0.06


def test_intervals_of_counts_have_at_least_their_coverage():
    rng, weights, predictions, expert = simulated(2, n=8000)
    y = rng.poisson(3 * np.take_along_axis(predictions, expert[:, None], 1)[:, 0]).astype(float)
    fitted = Poisson().fit(y, 3 * predictions, np.eye(3)[expert])
    low, high = interval(weights, fitted.distribution(3 * predictions), 0.9).T
    assert 0.9 <= ((y >= low) & (y <= high)).mean() < 0.93


def test_quantiles_with_outliers_equal_those_of_samples():
    rng = np.random.default_rng(3)
    y = np.r_[rng.standard_normal(900), rng.uniform(-30, 30, 100)]
    fitted = Outliers().fit(y, np.zeros((1000, 2)), np.full((1000, 2), 0.5))
    predictions, weights = np.tile([0.0, 8.0], (100_000, 1)), np.tile([0.7, 0.3], (100_000, 1))
    drawn = sample(weights, fitted.distribution(predictions), np.random.RandomState(0))
    q = np.array([0.01, 0.1, 0.5, 0.9, 0.99])
    found = quantile(weights[:1], fitted.distribution(predictions[:1]), q)[0]
    assert [np.mean(drawn <= y) for y in found] == pytest.approx(q, abs=0.005)


def test_choose_selects_by_index():
    rng = np.random.default_rng(4)
    centres = rng.standard_normal((6, 3))
    frozen = stats.t(np.array([3.0, 5.0, 9.0]), loc=centres, scale=2.0)
    index = np.array([4, 0, 4])
    assert np.allclose(choose(frozen, index, (6, 3)).cdf(0.5), frozen.cdf(0.5)[index])
    assert np.allclose(choose(frozen, slice(2, 4), (6, 3)).take(np.array([1]), (2, 3)).cdf(0.5), frozen.cdf(0.5)[3:4])


@settings(max_examples=20)
@given(mixtures())
def test_variance_parts_add_up_to_the_variance(mixture):
    weights, centres, scales, _ = mixture
    within, between = variance_parts(weights, centres, scales)
    assert within == pytest.approx((weights * scales**2).sum(axis=1))
    assert within + between == pytest.approx(spread(weights, centres, scales) ** 2)


def test_variance_parts_ignore_experts_of_weight_zero():
    within, between = variance_parts([[1.0, 0.0]], [[3.0, np.nan]], [[2.0, np.nan]])
    assert (within[0], between[0]) == (4.0, 0.0)
