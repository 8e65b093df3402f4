"""Few rows without noise: regimes counted and found, borders drawn, and what is known of a border between rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier

from metamix import MixtureRegressor
from metamix.data.folds import make_folds
from metamix.estimators.answering import opinions
from metamix.gates import ClassifierGate, ForestGate, SoftmaxGate
from metamix.training.gating import LearnedGate
from metamix.training.joining import learn_scatter
from metamix.training.model_tree import leaves
from metamix.training.pools import exact_regimes, nearer
from metamix.training.proxies import proxy_responsibilities
from metamix.training.sharpening import Rival, rival_gate


def _counted(X, y, seed=0):
    found, _ = proxy_responsibilities(X, y[:, None], np.ones(len(y)), SoftmaxGate(penalty=0.01), None, seed)
    return found


def _square(n, seed, d=2):
    return np.random.default_rng(seed).uniform(-1, 1, (n, d))


# --- partitions -----------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(12, 40))
def test_the_first_cut_is_the_best_of_all(seed, n):
    """Against every cut of every column, each side fitted by least squares."""
    rng = np.random.default_rng(seed)
    X, Y, weight = rng.normal(size=(n, 2)), rng.normal(size=(n, 1)), rng.uniform(0.5, 2, n)
    terms = np.column_stack([np.ones(n), X])

    def error(rows):
        root = np.sqrt(weight[rows, None])
        return np.linalg.lstsq(root * terms[rows], root * Y[rows], rcond=None)[1].sum()

    best = np.inf
    for column in X.T:
        order = np.argsort(column)
        for cut in range(5, n - 4):
            best = min(best, error(order[:cut]) + error(order[cut:]))
    (labels,) = leaves(X, terms, Y, weight, most=2)
    found = error(np.flatnonzero(labels == 0)) + error(np.flatnonzero(labels == 1))
    assert found == pytest.approx(best, rel=1e-3)


def test_leaves_follow_planted_planes():
    X = _square(200, 0)
    *_, four = leaves(X, np.column_stack([np.ones(200), X]), np.abs(X).sum(axis=1)[:, None], np.ones(200), most=4)
    quadrant = 2 * (X[:, 0] > 0) + (X[:, 1] > 0)
    agreement = np.array([[np.mean(quadrant[four == leaf] == q) for q in range(4)] for leaf in range(4)])
    assert (agreement.max(axis=1) > 0.95).all()
    assert sorted(agreement.argmax(axis=1)) == [0, 1, 2, 3]


def test_nothing_is_cut_where_one_plane_does():
    X = _square(60, 0)
    assert not list(leaves(X, np.column_stack([np.ones(60), X]), X @ [[2.0], [1.0]], np.ones(60), most=3))


# --- counting -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("n", "law", "K"),
    [
        (60, lambda X: np.where(X[:, 0] < 0.2, -3.0, 5.0), 2),
        (200, lambda X: np.abs(X).sum(axis=1), 4),
        (150, lambda X: (X**2).sum(axis=1) + np.where((X > 0).all(axis=1), 5, -5), 2),
        (90, lambda X: np.select([X[:, 0] < -0.4, X[:, 0] < 0.4], [X[:, 0] ** 2, 4 + 3 * X[:, 0]], -2.0), 3),
        (90, lambda X: 1 + X @ [2.0, -1.0], 1),
        (150, lambda X: np.sin(2 * X[:, 0]) + X[:, 1] ** 2, 1),
    ],
    ids=["step", "four planes", "corner", "three pieces", "plane", "smooth"],
)
def test_regimes_without_noise_are_counted(seed, n, law, K):
    X = _square(n, seed)
    assert _counted(X, law(X), seed).shape[1] == K


@pytest.mark.parametrize("seed", range(4))
def test_noise_alone_is_one_regime(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(150, 3))
    assert _counted(X, X[:, 0] + rng.normal(size=150), seed).shape[1] == 1


# --- comparing ------------------------------------------------------------------------------------------


def test_a_few_rows_next_to_a_border_do_not_rule():
    rng = np.random.default_rng(0)
    other, exact = rng.chisquare(1, 200), np.full(200, 1e-8)
    exact[:3] = 60.0
    ones = np.ones(200)
    assert (other - exact).mean() / (np.std(other - exact) / np.sqrt(200)) < 1, "by squared error nothing is shown"
    assert nearer(other, exact, ones, 1e-6) > 1
    y = rng.normal(size=200)
    assert exact_regimes(exact, other, y, ones)
    assert not exact_regimes(1.1 * other, other, y, ones), "worse, and not exact"
    assert not exact_regimes(exact + np.where(np.arange(200) % 3, 0, 60.0), other, y, ones), "loses beyond noise"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tails_and_zeros_make_nothing_exact(seed):
    rng = np.random.default_rng(seed)
    ones = np.ones(300)
    long = np.exp(2.5 * rng.standard_normal(300))
    assert not exact_regimes(np.square(long - np.median(long)), np.square(long - long.mean()), long, ones)
    zeros = np.where(rng.random(300) < 0.6, 0.0, rng.normal(3, 1, 300))
    assert not exact_regimes(np.square(zeros), np.square(zeros - zeros.mean()), zeros, ones)
    assert not exact_regimes(np.zeros(300), ones, zeros, np.zeros(300)), "no row counts"


# --- borders --------------------------------------------------------------------------------------------


def test_what_one_expert_answers_exactly_has_no_regimes():
    """Branin's function is smooth, and kriging exact; parabolas on parts of it would be so too."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-5, 10, 150), rng.uniform(0, 15, 150)
    y = (b - 5.1 / (4 * np.pi**2) * a**2 + 5 / np.pi * a - 6) ** 2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(a) + 10
    mixture = MixtureRegressor(["kriging"], random_state=0).fit(np.column_stack([a, b]), y)
    assert mixture.n_experts_ == 1
    assert mixture.verdict_.alone is None, "no regimes, so none are certain"
    exact, ones = np.zeros(40), np.ones(40)
    y = np.tile([-5.0, 5.0], 20)
    assert exact_regimes(exact, exact, y, ones)
    assert not exact_regimes(exact, exact, y, ones, single=True)


@pytest.mark.parametrize(("direction", "wins"), [((1.0, 0.0), ForestGate), ((1.0, 1.0), SoftmaxGate)])
def test_borders_along_columns_are_for_trees_and_oblique_ones_are_not(direction, wins):
    X = _square(200, 1)
    inside = (X > 0).all(axis=1) if direction[1] == 0 else X @ direction > 0
    labels = np.eye(2)[inside.astype(int)]
    folds = make_folds(5, X, X[:, 0], random_state=0)
    weights = np.empty((200, 2))
    for train, test in folds.pairs:
        weights[test] = SoftmaxGate(penalty=1e-5).fit(X[train], labels[train]).predict_proba(X[test])
    learned = LearnedGate(SoftmaxGate(penalty=1e-5).fit(X, labels), weights, np.ones(200, dtype=bool), 1e-5)

    def judge(weights):
        return 100 * np.square(weights - labels).sum(axis=1) / 2

    chosen = rival_gate(learned, [Rival(ForestGate(random_state=0), 0.5)], X, folds, labels, np.ones(200), judge)
    assert isinstance(chosen.gate, wins)
    assert judge(chosen.weights).mean() <= judge(learned.weights).mean() + 1e-12


def test_a_gate_of_the_users_stays_where_regimes_are_certain():
    X = _square(120, 0)
    y = np.where(X[:, 0] < 0, 3 * X[:, 1], 8 - X[:, 1])
    own = MixtureRegressor(["linear", "quadratic"], gate=SoftmaxGate(penalty=1e-3), n_experts=2, cv=4, random_state=0)
    assert isinstance(own.fit(X, y).gate_, SoftmaxGate)


def test_the_gradient_of_a_mixture_under_trees_is_that_of_its_experts():
    X = _square(120, 0)
    y = np.where(X[:, 0] < 0, 3 * X[:, 1], 8 - X[:, 1])
    mixture = MixtureRegressor(["linear"], n_experts=2, specialize=True, gate=ForestGate(random_state=0), cv=4,
                               random_state=0).fit(X, y)  # fmt: skip
    rows = np.array([[-0.5, 0.1], [0.5, 0.2]])
    step = 1e-6 * np.eye(2)
    central = np.stack([(mixture.predict(rows + one) - mixture.predict(rows - one)) / 2e-6 for one in step], axis=1)
    np.testing.assert_allclose(mixture.predict_gradient(rows), central, atol=1e-4)
    np.testing.assert_allclose(central, [[0, 3], [0, -1]], atol=0.05)


def test_kept_fold_models_tell_their_rounds_and_nobody_elses():
    """A learner's own `history_` is none of the mixture's, whatever it holds."""

    class Telling(LinearRegression):
        def fit(self, X, y, sample_weight=None):
            self.history_ = [{"epoch": 1}]
            return super().fit(X, y, sample_weight)

    X = _square(120, 0)
    for y, rounds in ((np.where(X[:, 0] < 0, 3 * X[:, 1], 8 - X[:, 1]), True), (X @ [1.0, 2.0], False)):
        for specialize in (False, "auto"):
            kept = MixtureRegressor([Telling()], refit=False, specialize=specialize, cv=3, random_state=0).fit(X, y)
            assert ("fold" in kept.history_) == (rounds and specialize == "auto")


# --- scatter --------------------------------------------------------------------------------------------


def test_scatter_is_what_the_errors_were_drawn_with():
    rng = np.random.default_rng(0)
    own = rng.uniform(0, 3, (4000, 1))
    noise = np.array([0.0, 0.5, 2.0])
    errors = np.hypot(own, noise) * rng.standard_normal((4000, 3))
    errors[:, 2] = 2.0 * rng.standard_normal(4000)  # the stack knows nothing of x, and needs nothing of it
    scales = np.column_stack([np.full(4000, np.nan), own])
    scatter = learn_scatter(errors[:, [1, 0, 2]], scales, rng.normal(size=4000), np.ones(4000))
    assert scatter.noise[0] == pytest.approx(0.5, rel=0.15)
    assert scatter.noise[1] < 0.2
    assert np.isnan(scatter.noise[2])
    np.testing.assert_allclose(scatter(scales[:1])[0, 0], np.hypot(own[0, 0], scatter.noise[0]))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 3, 4])
def test_by_default_a_step_is_as_uncertain_as_it_is(seed):
    """y is 5 or -5, each with probability 1/2 between the rows next to the step: a deviation of 5."""
    x = np.random.default_rng(seed).uniform(-1, 1, (50, 1))
    mixture = MixtureRegressor(random_state=seed).fit(x, np.where(x[:, 0] < 0, -5.0, 5.0))
    low, high = x[x < 0].max(), x[x > 0].min()
    between = np.linspace(low, high, 101)[:, None]
    deviation = mixture.predict(between, return_std=True)[1]
    assert 4.5 < deviation.max() < 5.5
    far = np.array([[-0.9], [0.9]])
    answers, sure = mixture.predict(far, return_std=True)
    np.testing.assert_allclose(answers, [-5, 5], atol=0.1)
    assert (sure < 1).all()


@pytest.mark.slow
def test_by_default_planes_that_meet_are_found():
    """‖x‖₁: four planes in a continuous function, which no start from clusters separates."""
    X, far = _square(200, 0), _square(2000, 1)
    mixture = MixtureRegressor(["ridge", "splines"], random_state=0).fit(X, np.abs(X).sum(axis=1))
    assert mixture.mixture_.n_experts_ == 4
    truth = np.abs(far).sum(axis=1)
    assert np.linalg.norm(mixture.predict(far) - truth) / np.linalg.norm(truth) < 0.008


def test_deviations_that_follow_are_the_same_whoever_is_asked():
    """Rows where the mixture has no weight still need its deviation."""
    X = _square(240, 0)
    y = np.where(X[:, 0] < 0, 3 * X[:, 1], 8 - X[:, 1]) + 0.2 * np.random.default_rng(1).standard_normal(240)
    mixture = MixtureRegressor(["linear", "quadratic"], n_experts=2, top_k=1, cv=4, random_state=0).fit(X, y)
    side = mixture._learned.sides[0]
    assert side.scatter is not None
    side.gate = ClassifierGate(DecisionTreeClassifier()).fit(X, np.eye(4)[[0, 3] * 120])
    few = opinions(mixture._learned, X, 1, scaled=True)[0]
    all_of_them = opinions(mixture._learned, X, 1, scaled=True, everywhere=True)[0]
    used = few.weights > 0
    np.testing.assert_allclose(few.deviation()[used], all_of_them.deviation()[used])


@pytest.mark.parametrize("likelihood", ["laplace", "student_t"])
def test_other_likelihoods_keep_their_scales(likelihood):
    X = _square(240, 0)
    y = np.where(X[:, 0] < 0, 3 * X[:, 1], 8 - X[:, 1]) + 0.2 * np.random.default_rng(1).standard_t(5, 240)
    mixture = MixtureRegressor(["linear", "quadratic"], n_experts=2, likelihood=likelihood, cv=4, random_state=0)
    assert mixture.fit(X, y)._learned.sides[0].scatter is None
