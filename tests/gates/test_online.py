"""Weights that follow time: Bayes' rule, masses by hand, the regret bound, a switch, and mixtures in order of time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import TimeSeriesSplit

from metamix import MixtureRegressor
from metamix.gates import OnlineGate
from metamix.protocols import SequentialGate
from metamix.training.losses import LogScore, SquaredError

RATES = 0.5 ** np.arange(10)


def in_order(objective, n):
    return (objective.take([i]) for i in range(n))


def linear(losses):
    """One objective for each row: the weighted loss."""
    return [lambda weights, row=row: ((weights * row).sum(axis=1), row[None]) for row in losses]


def test_it_is_a_gate_that_follows():
    assert isinstance(OnlineGate(), SequentialGate)
    assert not hasattr(OnlineGate(), "fit_objective")


def test_log_losses_at_the_rate_of_one_are_bayes_rule(monkeypatch):
    """With the rate 1 alone the weights are the products of the densities, exponentially weighted cumulative losses."""
    monkeypatch.setattr("metamix.gates.online._RATES", np.ones(1))
    log_prob = np.log(np.random.default_rng(0).uniform(0.2, 1.0, (40, 3)))
    gate = OnlineGate(switching=False)
    gate.begin(np.full(3, 1 / 3)).range_ = 1.0  # the largest possible loss to first order, which would be learned
    path = gate.follow(in_order(LogScore(log_prob), 40))
    cumulative = np.vstack([np.zeros(3), np.cumsum(log_prob, axis=0)])
    by_hand = np.exp(cumulative) / np.exp(cumulative).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(path, by_hand[:-1], rtol=1e-10)
    np.testing.assert_allclose(gate.weights_, by_hand[-1], rtol=1e-10)


def test_masses_are_products_over_the_rows():
    """Losses 0 and 1 in the first row set the range, then no row is worse: each mass is a product by hand."""
    losses = np.vstack([[0.0, 1.0], np.random.default_rng(1).uniform(0.3, 0.7, (30, 2))])
    gate = OnlineGate(switching=False)
    path = gate.follow(linear(losses))
    regrets = ((path * losses).sum(axis=1, keepdims=True) - losses) / gate.range_
    assert gate.range_ == 0.5  # half the weight was on the better one
    mass = np.prod(1 + RATES[:, None, None] * regrets, axis=1)
    np.testing.assert_allclose(gate.mass_, mass / mass.sum(), rtol=1e-8)
    np.testing.assert_allclose(gate.weights_, RATES @ mass / (RATES @ mass).sum(), rtol=1e-8)


def regret_bound(losses, path, k, begin, switching):
    """Bound of the regret to expert k from row `begin` on, of the best rate up to a half; and the regret.

    Potentials of all masses: ln(1 + x) >= x - x² for x >= -1/2. Rows at which the range doubles may cost what was
    gained in them, and the mass of a new rate; a share of 1 / (t + 1) costs -ln(t / (t + 1)) at a row.
    """
    n, K = losses.shape
    regrets = (path * losses).sum(axis=1, keepdims=True) - losses
    spread, doublings, lost = 0.0, 0, 0.0
    for t, row in enumerate(regrets):
        worst = -row.min()
        spread = spread or max(worst, 0.0)
        if worst > spread > 0:
            spread, doublings = 2 * spread, doublings + 1
            lost += max(row[k], 0.0) if t >= begin else 0.0
    if not spread:
        return 0.0, 0.0
    regret = regrets[begin:, k]
    found = []
    for i in range(1, len(RATES) - doublings):
        rate, shared = RATES[i] / spread, np.log(n + 1) if switching else 0.0
        found.append((np.log(K * len(RATES)) + shared + doublings * np.log(2)) / rate + rate * np.sum(regret**2))
    return regret.sum(), min(found, default=np.inf) + lost


@pytest.mark.parametrize("switching", [True, False])
@settings(max_examples=60)
@given(data=st.data())
def test_the_loss_is_that_of_the_best_expert_up_to_the_bound(switching, data):
    n, K = data.draw(st.integers(1, 60)), data.draw(st.integers(2, 4))
    losses = np.array(data.draw(st.lists(st.lists(st.floats(0, 1), min_size=K, max_size=K), min_size=n, max_size=n)))
    path = OnlineGate(switching).follow(linear(losses))
    assert np.isfinite(path).all()
    np.testing.assert_allclose(path.sum(axis=1), 1)
    begin = data.draw(st.integers(0, n - 1)) if switching else 0
    for k in range(K):
        regret, bound = regret_bound(losses, path, k, begin, switching)
        assert regret <= bound + 1e-9


def test_the_bound_says_something():
    """On 4000 rows it is far below the number of rows, which is the worst that any weights can do."""
    losses = np.random.default_rng(0).uniform(0, 1, (4000, 3))
    losses[:, 1] *= 0.5
    path = OnlineGate().follow(linear(losses))
    regret, bound = regret_bound(losses, path, 1, 0, True)
    assert regret < 30
    assert bound < 600


def switched(seed=0, n=1000):
    """y (n,) and predictions (n, 3): expert 0 is good in the first half, expert 2 in the second."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal(n)
    scale = np.where(np.arange(n)[:, None] < n // 2, [0.3, 1.0, 1.0], [1.0, 1.0, 0.3])
    return y, y[:, None] + scale * rng.standard_normal((n, 3))


@pytest.mark.parametrize("seed", range(5))
def test_weights_follow_a_switch_within_100_rows(seed):
    y, predictions = switched(seed)
    path = OnlineGate().follow(in_order(SquaredError(y, predictions), len(y)))
    assert path[480:500, 0].min() > 0.4
    assert path[480:500].argmax(axis=1).max() == 0
    assert (path[600:].argmax(axis=1) == 2).all()
    constant = np.array([0.45, 0.1, 0.45])
    loss, best_constant = (SquaredError(y, predictions)(w)[0].mean() for w in (path, np.tile(constant, (len(y), 1))))
    assert loss < 0.6 * best_constant


def test_without_switching_it_comes_close_to_the_best_constant_weights():
    rng = np.random.default_rng(0)
    y, scale = rng.standard_normal(3000), np.array([1.0, 1.0, 1.2, 3.0])
    predictions = y[:, None] + scale * rng.standard_normal((3000, 4))
    gate = OnlineGate(switching=False)
    gate.follow(in_order(SquaredError(y, predictions), 3000))
    np.testing.assert_allclose(gate.weights_, scale**-2 / (scale**-2).sum(), atol=0.06)  # inverse variances


def test_a_path_has_not_seen_its_own_row_or_later_ones():
    y, predictions = switched()
    path = OnlineGate().follow(in_order(SquaredError(y, predictions), 600))
    y[300] += 50
    other = OnlineGate().follow(in_order(SquaredError(y, predictions), 600))
    np.testing.assert_array_equal(path[:301], other[:301])
    assert (path[301] != other[301]).any()


def test_units_of_the_loss_do_not_matter_and_rows_go_on_where_they_ended():
    y, predictions = switched(n=300)
    whole = OnlineGate().follow(in_order(SquaredError(y, predictions), 300))
    scaled = OnlineGate().follow(in_order(SquaredError(1e6 * y, 1e6 * predictions), 300))
    np.testing.assert_allclose(scaled, whole, rtol=1e-6)
    gate, parts = OnlineGate(), []
    for rows in np.split(np.arange(300), [1, 120]):
        parts.append(gate.follow(SquaredError(y, predictions).take([i]) for i in rows))
    np.testing.assert_array_equal(np.vstack(parts), whole)


def test_rows_of_weight_zero_are_not_learned_from():
    y, predictions = switched(n=200)
    weight = (np.arange(200) % 3 > 0).astype(float)
    objective, kept = SquaredError(y, predictions), np.flatnonzero(weight)
    one, other = OnlineGate(), OnlineGate()
    one.follow(in_order(objective, 200), sample_weight=weight)
    other.follow(in_order(objective.take(kept), len(kept)))
    np.testing.assert_array_equal(one.weights_, other.weights_)


def test_one_outlier_at_most_halves_the_learning_rates():
    y, predictions = switched(n=400)
    y[100] = 1e8
    path = OnlineGate().follow(in_order(SquaredError(y, predictions), 400))
    assert np.isfinite(path).all()
    assert (path[350:].argmax(axis=1) == 2).all()


# In a mixture


class Slope(RegressorMixin, BaseEstimator):
    """Predicts a multiple of a column, whatever it was fitted to."""

    def __init__(self, slope=1.0, number=0):
        self.slope = slope
        self.number = number

    def fit(self, X, y):
        return self

    def predict(self, X):
        return self.slope * np.asarray(X)[:, self.number]


def test_a_mixture_is_judged_without_looking_ahead_and_predicts_with_the_last_weights():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 2))
    y = np.where(np.arange(600) < 350, X[:, 0], X[:, 1]) + 0.1 * rng.standard_normal(600)
    experts = [("first", Slope()), ("second", Slope(number=1))]
    mixture = MixtureRegressor(experts, gate="online", specialize=True, cv=TimeSeriesSplit(5), random_state=0)
    mixture.fit(X, y)
    assert mixture.gate_weights(X[:4])[:, 1].min() > 0.9
    objective = SquaredError(y, X)
    last = clone(mixture.gate_).follow(objective.take([i]) for i in range(100, 600))
    assert last[245].argmax() == 0  # before the change, in the order of the rows
    assert last[-1].argmax() == 1


def test_in_a_blend_it_gains_where_the_best_expert_changes():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((900, 2))
    y = np.where(np.arange(900) % 300 < 150, X[:, 0], -X[:, 0]) + 0.1 * rng.standard_normal(900)
    halves = [("up", Slope(1.0)), ("down", Slope(-1.0))]
    settings = {"specialize": False, "cv": TimeSeriesSplit(5), "random_state": 0}
    online = MixtureRegressor(halves, gate="online", **settings).fit(X, y)
    losses = online.candidates_.set_index("candidate")["loss"]
    assert losses["gated"] < 0.5 * losses.drop(["gated", "blend"]).min()
    assert online.verdict_.winner == "gated"


@pytest.mark.parametrize("cv", [3, None])
def test_folds_that_are_in_no_order_are_refused(cv):
    X = np.arange(30.0)[:, None]
    with pytest.raises(ValueError, match=r"cv=TimeSeriesSplit\(5\)"):
        MixtureRegressor([Ridge(), Ridge(2.0)], gate="online", cv=cv).fit(X, X[:, 0])
