"""Headroom: correlations, effective experts and oracle, held to closed forms and to numpy and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss

from metamix.training.error_correlation import headroom

MANY = 200_000


def correlated(K, rho, n=MANY, seed=0):
    """Return normal errors of variance one, every pair correlated by rho."""
    rng = np.random.default_rng(seed)
    return np.sqrt(rho) * rng.normal(size=(n, 1)) + np.sqrt(1 - rho) * rng.normal(size=(n, K))


@pytest.mark.parametrize("K", [2, 3, 5])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.95])
def test_effective_experts_of_equal_correlations(K, rho):
    y = np.random.default_rng(1).normal(size=MANY)
    room = headroom(y, y[:, None] + correlated(K, rho))
    # Eigenvalues 1 + (K - 1) rho, and K - 1 times 1 - rho.
    assert room.effective_experts == pytest.approx(K / (1 + (K - 1) * rho**2), rel=0.01)
    np.testing.assert_allclose(room.pairs, rho, atol=0.01)
    assert room.alike == (rho > 0.9)


def test_oracle_of_two_independent_normal_errors():
    room = headroom(np.zeros(MANY), correlated(2, 0.0))
    assert room.oracle_loss == pytest.approx(1 - 2 / np.pi, abs=0.01), "E min(u², v²)"
    assert room.best_loss == pytest.approx(1, abs=0.01)
    assert room.share == pytest.approx(2 / np.pi, abs=0.01)
    assert "save 64 %" in str(room)


def test_copies_of_one_expert_leave_nothing_to_choose():
    errors = np.random.default_rng(0).normal(size=(50, 1)) * np.ones((1, 4))
    room = headroom(np.zeros(50), errors)
    assert room.effective_experts == pytest.approx(1)
    assert room.share == pytest.approx(0)
    assert room.alike
    assert "much alike" in str(room)
    assert (
        str(headroom(np.zeros(50), errors[:, :1])) == "There is one expert, so that none can be chosen instead of it."
    )


def test_correlations_are_those_of_numpy():
    rng = np.random.default_rng(0)
    y, answers = rng.normal(size=80), rng.normal(size=(80, 3))
    expected = np.corrcoef((answers - y[:, None]).T)
    room = headroom(y, answers)
    np.testing.assert_allclose(room.correlation, expected)
    values = np.linalg.eigvalsh(expected)
    assert room.effective_experts == pytest.approx(values.sum() ** 2 / (values**2).sum())
    np.testing.assert_allclose(headroom(1e6 * y + 7, 1e6 * answers + 7).correlation, expected)


def test_classes_are_judged_by_log_loss():
    rng = np.random.default_rng(0)
    y, answers = rng.integers(0, 3, 60), rng.dirichlet(np.ones(3), size=(60, 2))
    room = headroom(y, answers)
    losses = [log_loss(y, answers[:, k], labels=[0, 1, 2]) for k in (0, 1)]
    assert room.best_loss == pytest.approx(min(losses))
    best = answers[np.arange(60), :, y].max(axis=1)
    assert room.oracle_loss == pytest.approx(-np.log(best).mean())
    assert -1 <= room.pairs[0] <= 1


def test_two_classes_correlate_as_their_second_column():
    rng = np.random.default_rng(0)
    y, second = rng.integers(0, 2, 60), rng.random((60, 2))
    room = headroom(y, np.stack([1 - second, second], axis=2))
    np.testing.assert_allclose(room.correlation, headroom(y.astype(float), second).correlation)


@given(st.lists(st.integers(0, 3), min_size=12, max_size=12).filter(lambda weights: sum(map(bool, weights)) > 3))
def test_whole_weights_are_repeated_rows(weights):
    rng = np.random.default_rng(0)
    y, answers = rng.normal(size=12), rng.normal(size=(12, 3))
    weighted = headroom(y, answers, np.array(weights, dtype=float))
    repeated = headroom(np.repeat(y, weights), np.repeat(answers, weights, axis=0))
    np.testing.assert_allclose(weighted.correlation, repeated.correlation, atol=1e-10)
    assert weighted.oracle_loss == pytest.approx(repeated.oracle_loss)
    assert weighted.best_loss == pytest.approx(repeated.best_loss)


def test_rows_without_an_answer_take_no_part():
    rng = np.random.default_rng(0)
    y, answers = rng.normal(size=30), rng.normal(size=(30, 2))
    answers[3, 1] = np.nan
    left = np.arange(30) != 3
    assert headroom(y, answers).oracle_loss == pytest.approx(headroom(y[left], answers[left]).oracle_loss)
    with pytest.raises(ValueError, match="no row"):
        headroom(y, np.full((30, 2), np.nan))


def test_a_perfect_expert_correlates_with_none():
    y = np.arange(10.0)
    room = headroom(y, np.column_stack([y, y**2]))
    np.testing.assert_array_equal(room.correlation, np.eye(2))
    assert room.best_loss == room.oracle_loss == room.share == 0
    biased = headroom(np.sin(y), np.column_stack([np.sin(y) + 0.1, y]))
    np.testing.assert_array_equal(biased.correlation, np.eye(2), "an error that never changes, but for rounding")
