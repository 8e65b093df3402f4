"""Weights at work: top-k, combination, spread and the E-step, against loops, draws and Bayes' rule."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp

from metamix.recombination import combine, keep_top, posterior, spread

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 5))


def some_weights(draw, shape):
    raw = draw(arrays(float, shape, elements=st.floats(0.0, 1.0)))
    raw[:, 0] += 1e-3
    return raw / raw.sum(axis=1, keepdims=True)


@st.composite
def weights_and_numbers(draw, size=1e6):
    shape = draw(SHAPES)
    numbers = draw(arrays(float, shape, elements=st.floats(-size, size)))
    return some_weights(draw, shape), numbers


@given(weights_and_numbers(), st.integers(1, 6))
def test_keep_top_keeps_k_largest_and_sums_to_one(case, k):
    weights, _ = case
    kept = keep_top(weights, k)
    assert np.allclose(kept.sum(axis=1), 1.0)
    assert ((kept > 0).sum(axis=1) <= k).all()
    for row, original in zip(kept, weights, strict=True):
        if (row > 0).any() and (row == 0).any():
            assert original[row > 0].min() >= original[row == 0].max()


def test_keep_top_of_equal_weights_keeps_the_first():
    assert keep_top([[0.25, 0.25, 0.25, 0.25]], 2).tolist() == [[0.5, 0.5, 0.0, 0.0]]
    assert keep_top([[0.2, 0.4, 0.4]], 1).tolist() == [[0.0, 1.0, 0.0]]


def test_keep_top_of_all_is_no_change():
    weights = np.array([[0.1, 0.2, 0.7]])
    assert np.array_equal(keep_top(weights, None), weights)
    assert np.array_equal(keep_top(weights, 3), weights)
    assert np.array_equal(keep_top(weights, 9), weights)


@pytest.mark.parametrize("k", [0, -1, 1.5, True])
def test_keep_top_refuses_what_is_no_number_of_experts(k):
    with pytest.raises(ValueError, match="top_k"):
        keep_top([[0.5, 0.5]], k)


def test_a_row_without_weight_is_shared_by_those_kept():
    assert keep_top(np.zeros((1, 4)), 2).tolist() == [[0.5, 0.5, 0.0, 0.0]]


@pytest.mark.parametrize("trailing", [(), (3,)])
def test_combine_agrees_with_a_loop(trailing):
    rng = np.random.default_rng(0)
    weights, predictions = rng.dirichlet([1, 1, 1], 5), rng.standard_normal((5, 3, *trailing))
    by_hand = [sum(weights[i, k] * predictions[i, k] for k in range(3)) for i in range(5)]
    assert np.allclose(combine(weights, predictions), by_hand)


def test_combine_ignores_missing_answers_without_weight_only():
    answer = combine([[1.0, 0.0], [0.5, 0.5]], [[2.0, np.nan], [2.0, np.nan]])
    assert answer[0] == 2.0
    assert np.isnan(answer[1])
    classes = np.array([[[0.2, 0.8], [np.nan, np.nan]]])
    assert combine([[1.0, 0.0]], classes).tolist() == [[0.2, 0.8]]


def test_spread_is_the_standard_deviation_of_draws():
    rng = np.random.default_rng(1)
    weights, centres, scale = np.array([0.2, 0.5, 0.3]), np.array([-3.0, 0.0, 4.0]), np.array([0.5, 1.0, 2.0])
    expert = rng.choice(3, 400_000, p=weights)
    draws = centres[expert] + scale[expert] * rng.standard_normal(400_000)
    assert spread(weights[None], centres[None], scale)[0] == pytest.approx(draws.std(), rel=5e-3)


@given(weights_and_numbers(size=1e3), st.sampled_from([1e-6, 1.0, 1e6]), st.floats(-1e3, 1e3))
def test_spread_scales_with_y_and_ignores_its_origin(case, factor, shift):
    weights, predictions = case
    scale = np.abs(predictions) + 0.1
    plain = spread(weights, predictions, scale)
    assert np.allclose(spread(weights, factor * predictions + factor * shift, factor * scale), factor * plain)
    assert (plain >= 0).all()


def test_spread_keeps_its_digits_far_from_zero_and_at_a_jump():
    assert spread([[0.5, 0.5]], [[1e9 - 1.0, 1e9 + 1.0]], [0.0, 0.0])[0] == pytest.approx(1.0)
    assert spread([[0.5, 0.5]], [[-5.0, 5.0]], [1e-9, 1e-9])[0] == pytest.approx(5.0)
    assert spread([[1.0, 0.0]], [[2.0, np.nan]], [0.3, np.nan])[0] == pytest.approx(0.3)
    assert spread([[1.0, 0.0]], [[2.0, 2.0]], [0.0, 0.0])[0] == 0.0


@given(weights_and_numbers(size=500.0))
def test_posterior_is_bayes_rule(case):
    weights, log_prob = case
    responsibilities, log_density = posterior(weights, log_prob)
    with np.errstate(divide="ignore"):
        joint = np.log(weights) + log_prob
    evidence = logsumexp(joint, axis=1)
    assert np.allclose(log_density, evidence)
    assert np.allclose(responsibilities, np.exp(joint - evidence[:, None]))
    assert np.allclose(responsibilities.sum(axis=1), 1.0)


@settings(max_examples=30)
@given(weights_and_numbers(size=500.0), st.randoms())
def test_posterior_follows_a_permutation_of_experts(case, random):
    weights, log_prob = case
    order = list(range(weights.shape[1]))
    random.shuffle(order)
    responsibilities, log_density = posterior(weights, log_prob)
    permuted, same = posterior(weights[:, order], log_prob[:, order])
    assert np.allclose(permuted, responsibilities[:, order])
    assert np.allclose(same, log_density)


def test_the_floor_keeps_every_expert_alive_and_the_density_as_it_is():
    weights, log_prob = [[0.5, 0.5, 0.0]], [[-1e5, 0.0, 0.0]]
    plain, density = posterior(weights, log_prob)
    floored, same = posterior(weights, log_prob, floor=0.03)
    assert plain.tolist() == [[0.0, 1.0, 0.0]]
    assert np.allclose(floored, [[0.01, 0.98, 0.01]])
    assert density == same == pytest.approx(np.log(0.5))


def test_a_row_that_no_expert_explains_keeps_its_weights():
    weights = [[0.3, 0.7]] * 4
    log_prob = [[-np.inf, -np.inf], [np.nan, np.nan], [np.nan, -1.0], [-np.inf, np.nan]]
    responsibilities, log_density = posterior(weights, log_prob)
    assert np.allclose(responsibilities, [[0.3, 0.7], [0.3, 0.7], [0.0, 1.0], [0.3, 0.7]])
    assert log_density[0] == -np.inf
    assert np.isnan(log_density[1])
    assert log_density[2] == pytest.approx(np.log(0.7) - 1.0)
