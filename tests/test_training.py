"""Starts, pools, the alternation, gates out of fold, and what may call itself the winner."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import log_loss, mean_absolute_error, mean_squared_error
from sklearn.model_selection import TimeSeriesSplit
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix.data.folds import make_folds
from metamix.data.gate_features import GateFeatures
from metamix.engines import SerialEngine
from metamix.fitting import FitSession, NamedExpert, Problem, prepare
from metamix.gates import ClassifierGate, ConstantGate, GaussianGate, SoftmaxGate
from metamix.likelihoods import Gaussian
from metamix.recombination import combine, posterior
from metamix.training.em import alternate, drop_experts
from metamix.training.estep import Parts
from metamix.training.gating import PENALTIES, fit_on_responsibilities, learn_gate, one_standard_error
from metamix.training.judging import Judge, paired, simplest_winner
from metamix.training.objectives import LogScore, SquaredError
from metamix.training.pools import choose_types
from metamix.training.proxies import proxy_responsibilities
from metamix.training.starts import NAMES, candidates, from_user, make_start, prune, ranked


def _regimes(n=160, seed=0, noise=0.1):
    """Two lines that cross where x0 = 0, and the regime of each row."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 2))
    regime = (X[:, 0] > 0).astype(int)
    return X, np.where(regime, 4 * X[:, 1], -4 * X[:, 1]) + noise * rng.standard_normal(n), regime


def _agreement(found, regime):
    hard = found.argmax(axis=1)
    return max(np.mean(hard == regime), np.mean(hard != regime))


# --- starts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("K", [1, 3])
def test_named_starts_are_distributions_whatever_the_units(name, K):
    X, y, _ = _regimes(60)
    start = make_start(name, X, y, K, seed=1)
    assert start.shape == (60, K)
    np.testing.assert_allclose(start.sum(axis=1), 1)
    assert (start > 0).all(), "no expert begins without a row"
    np.testing.assert_allclose(make_start(name, 1e6 * X + 5e6, 1e-6 * y - 1, K, seed=1), start, atol=1e-5)
    np.testing.assert_array_equal(make_start(name, X, y, K, seed=1), start)


def test_cluster_starts_find_clusters():
    rng = np.random.default_rng(0)
    groups = np.repeat([0, 1], 40)
    X = rng.standard_normal((80, 2)) + 8 * groups[:, None]
    for name in ("kmeans", "gmm"):
        assert _agreement(make_start(name, X, rng.standard_normal(80), 2, seed=0), groups) == 1
    y = 9.0 * rng.permutation(groups)
    assert _agreement(make_start("joint_gmm", X[groups == 0].repeat(2, axis=0), y, 2, seed=0), (y > 0).astype(int)) == 1


def test_more_clusters_than_rows_is_no_error():
    assert make_start("kmeans", np.array([[0.0], [1.0]]), np.zeros(2), 4, seed=0).shape == (2, 4)


def test_the_users_start():
    np.testing.assert_array_equal(from_user([2, 1, 2], 3, 2), [[0, 1], [1, 0], [0, 1]])
    np.testing.assert_allclose(from_user([[3, 1], [0, 2]], 2, 2), [[0.75, 0.25], [0, 1]])


@pytest.mark.parametrize(
    ("start", "says"),
    [
        ([0, 1], "2 rows, X has 3"),
        ([0, 0, 0], "1 different labels.*2 experts"),
        (np.ones((3, 3)), r"\(3, 3\)"),
        ([[1, -1], [1, 0], [1, 0]], "non-negative"),
        ([[0, 0], [1, 0], [1, 0]], "positive sum"),
        ([[np.nan, 1], [1, 0], [1, 0]], "finite"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(start, says):
    with pytest.raises(ValueError, match=says):
        from_user(start, 3, 2)


def test_an_unknown_start_is_refused():
    with pytest.raises(ValueError, match="kmeans"):
        make_start("k-means", np.zeros((3, 1)), np.zeros(3), 2, seed=0)


def test_the_lowest_score_wins_and_ties_keep_their_order():
    starts = [(name, np.full((1, 1), value)) for name, value in (("a", 2.0), ("b", 1.0), ("c", 1.0))]
    best, table = ranked(starts, lambda start: float(start[0, 0]))
    assert best is starts[1][1]
    assert [(row["start"], row["score"]) for row in table] == [("b", 1.0), ("c", 1.0), ("a", 2.0)]
    assert len(candidates()) > 5


# --- proxies and pools ----------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_cheap_mixtures_find_regimes_that_clusters_cannot_see(unit):
    X, y, regime = _regimes(300)
    gate = SoftmaxGate(penalty=0.01)
    found, ranking = proxy_responsibilities(unit * X + unit, unit * y[:, None], np.ones(300), gate, None, seed=0)
    found = prune(found, np.ones(len(found)))
    assert found.shape == (300, 2), "two regimes were planted"
    assert _agreement(found, regime) > 0.9
    assert ranking[0]["score"] <= ranking[-1]["score"]
    assert _agreement(make_start("kmeans", X, y, 2, seed=0), regime) < 0.9


def test_one_law_is_one_regime():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (200, 2))
    y = (X @ [1.0, -2.0] + 0.3 * rng.standard_normal(200))[:, None]
    assert proxy_responsibilities(X, y, np.ones(200), SoftmaxGate(penalty=0.01), None, seed=0)[0].shape == (200, 1)


def test_rows_of_weight_zero_do_not_move_the_proxies():
    X, y, _ = _regimes(200)
    junk = np.random.default_rng(1).uniform(-1, 1, (300, 2))
    gate = SoftmaxGate(penalty=0.01)
    one, ranking = proxy_responsibilities(X, y[:, None], np.ones(200), gate, 2, seed=0)
    both = np.vstack([X, junk]), np.r_[y, 50 * junk[:, 0]][:, None]
    other, again = proxy_responsibilities(*both, np.repeat([1.0, 0.0], [200, 300]), gate, 2, seed=0)
    np.testing.assert_allclose(other[:200], one, atol=1e-6)
    assert again[0]["score"] == pytest.approx(ranking[0]["score"])


def test_starving_regimes_are_pruned():
    share = np.column_stack([np.full(100, 0.6), np.full(100, 0.37), np.full(100, 0.03)])
    np.testing.assert_allclose(prune(share, np.ones(len(share))), share[:, :2] / 0.97)
    assert prune(np.full((5, 3), 1 / 3), np.ones(5)).shape == (5, 1)
    lonely = np.eye(2)[np.r_[np.zeros(99, int), 1]]
    np.testing.assert_array_equal(prune(lonely, np.ones(100)), np.ones((100, 1)))


def _workshop(data, *estimators, cv=3, **more):
    entries = [NamedExpert(f"e{i}", prepare(one, i)) for i, one in enumerate(estimators)]
    return FitSession(entries, data, make_folds(cv, data.X, data.y, random_state=0), SerialEngine(), **more)


def test_each_regime_takes_the_type_that_fits_it():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (200, 1))
    regime = rng.integers(2, size=200)
    y = np.where(regime, 3 * X[:, 0], np.sign(np.sin(9 * X[:, 0])))
    share = np.where(np.eye(2)[regime] == 1, 0.99, 0.01)
    with _workshop(
        Problem(X, y), LinearRegression(), DecisionTreeRegressor(random_state=0), negligible=0.05
    ) as session:
        assert choose_types(session, share)[0] == [1, 0]
        assert choose_types(session, np.ones((200, 1)))[0] in ([0], [1])
    with _workshop(Problem(X, y), Ridge()) as session:
        assert choose_types(session, share)[0] == [0, 0], "one entry may serve several regimes"


# --- the alternation ------------------------------------------------------------------------------------


def _parts(gate=None, **more):
    return Parts(gate or SoftmaxGate(), ConstantGate(), Gaussian(), GateFeatures("x"), **more)


def _alternated(gate=None, cv=4, rounds=6, **more):
    X, y, regime = _regimes()
    begin = 0.8 * np.eye(2)[regime] + 0.1
    with _workshop(Problem(X, y), LinearRegression(), LinearRegression(), cv=cv, **more) as session:
        parts = _parts(gate)
        return alternate(session, parts, X, [0, 1], begin, rounds), session, parts, X, y, regime


@pytest.mark.parametrize("gate", [SoftmaxGate(), GaussianGate(), ConstantGate(), ClassifierGate(DecisionTreeClassifier(
    min_samples_leaf=20, random_state=0))], ids=["softmax", "gmm", "constant", "tree"])  # fmt: skip
def test_every_gate_goes_round(gate):
    result, session, _, _, y, regime = _alternated(gate)
    losses = [row["loss"] for row in result.history]
    best = result.best
    assert best.mean_loss(session.data.weight) == min(losses), "the best round is kept, not the last"
    np.testing.assert_allclose(best.learned.weights.sum(axis=1), 1)
    expected = (combine(best.learned.weights, best.answers.values) - y) ** 2
    np.testing.assert_allclose(best.row_loss, expected)
    if not isinstance(gate, ConstantGate):
        assert best.mean_loss(session.data.weight) < 0.3 * np.var(y)
        assert _agreement(best.learned.weights, regime) > 0.85


def test_a_round_is_made_of_out_of_fold_parts():
    result, session, *_ = _alternated()
    best, data = result.best, session.data
    for f, (train, test) in enumerate(session.folds.pairs):
        for k in range(2):
            model = LinearRegression().fit(data.X[train], data.y[train], best.weights[train, k])
            np.testing.assert_allclose(best.answers.values[test, k], model.predict(data.X[test]), rtol=1e-6)
        assert (session.folds.fold_of_row[test] == f).all()
    log_prob = norm.logpdf(data.y[:, None], best.answers.values, best.likelihood.scale_)
    joint = best.learned.weights * np.exp(log_prob)
    np.testing.assert_allclose(best.responsibilities, joint / joint.sum(axis=1, keepdims=True), rtol=1e-6)
    assert best.log_likelihood == pytest.approx(np.log(joint.sum(axis=1)).sum())


def test_dropping_an_expert_afterwards_estimates_the_rest_anew():
    result, session, parts, X, _, _ = _alternated()
    alone = drop_experts(session, parts, X, result.best, [1])
    np.testing.assert_array_equal(alone.responsibilities, np.ones((160, 1)))
    np.testing.assert_array_equal(alone.answers.values[:, 0], result.best.answers.values[:, 1])


def test_an_expert_that_fails_in_the_loop_is_left_out():
    X, y, _ = _regimes()
    with _workshop(Problem(X, y), Ridge(), KNeighborsRegressor(n_neighbors=500)) as session:
        result = alternate(session, _parts(), X, [0, 1], np.full((160, 2), 0.5), 3)
    assert result.best.alive == [0]
    assert {failure.expert for failure in result.failures} == {"e1"}


# --- gates ----------------------------------------------------------------------------------------------


def test_one_standard_error_prefers_the_simplest_that_is_not_worse():
    rng = np.random.default_rng(0)
    base = rng.exponential(size=200)
    losses = np.column_stack([base + 0.3, base + 0.2 * rng.standard_normal(200) + 0.005, base])
    weight = np.ones(200)
    assert one_standard_error(losses, weight) == 1
    gap = losses[:, 1] - losses[:, 2]
    assert gap.mean() < gap.std() / np.sqrt(200)
    assert one_standard_error(losses[:, [0, 2]], weight) == 1


def _learn(gate, y, predictions, Z, cv=4, **more):
    folds = make_folds(cv, Z, y, random_state=0)
    log_prob = norm.logpdf(y[:, None], predictions, 1.0)
    return learn_gate(
        gate, ConstantGate(), Z, folds, SquaredError(y, predictions), log_prob, np.ones(len(y)), **more
    ), folds


def _two_answers(n=200, informative=True, seed=0):
    rng = np.random.default_rng(seed)
    Z = rng.uniform(-1, 1, (n, 2))
    y = rng.standard_normal(n)
    good = (Z[:, 0] > 0) if informative else rng.random(n) > 0.5
    noise = rng.standard_normal((n, 2))
    return Z, y, y[:, None] + noise * np.where(np.column_stack([good, ~good]), 0.1, 1.5)


@pytest.mark.parametrize("gate", [SoftmaxGate(), GaussianGate(), ClassifierGate(DecisionTreeClassifier(
    min_samples_leaf=20, random_state=0))], ids=["softmax", "gmm", "tree"])  # fmt: skip
def test_a_gate_that_knows_something_is_used_and_one_that_does_not_is_constant(gate):
    Z, y, predictions = _two_answers()
    learned, _ = _learn(gate, y, predictions, Z)
    assert np.ptp(learned.weights[:, 0]) > 0.5
    Z, y, predictions = _two_answers(informative=False)
    learned, folds = _learn(gate, y, predictions, Z)
    for f in range(len(folds)):
        assert np.ptp(learned.weights[folds.test_rows(f)], axis=0).max() < 1e-9
    assert np.ptp(learned.gate.predict_proba(Z), axis=0).max() < 1e-9


def test_the_path_ends_in_convex_stacking():
    Z, y, predictions = _two_answers(informative=False)
    assert PENALTIES[0] == np.inf
    learned, _ = _learn(SoftmaxGate(), y, predictions, Z)
    found = minimize(
        lambda share: np.mean((predictions @ [share[0], 1 - share[0]] - y) ** 2), [0.5], bounds=[(0, 1)], tol=1e-12
    ).x[0]
    np.testing.assert_allclose(learned.gate.predict_proba(Z)[:, 0], found, atol=1e-4)


def test_weights_of_a_row_are_learned_without_its_fold():
    Z, y, predictions = _two_answers()
    before, folds = _learn(SoftmaxGate(penalty=0.1), y, predictions, Z)
    rows = folds.test_rows(1)
    y_other = y.copy()
    y_other[rows] += 10
    after, _ = _learn(SoftmaxGate(penalty=0.1), y_other, predictions, Z)
    np.testing.assert_array_equal(before.weights[rows], after.weights[rows])
    assert not np.allclose(before.weights[folds.test_rows(0)], after.weights[folds.test_rows(0)])


def test_rows_that_no_fold_can_judge_have_constant_weights():
    Z, y, predictions = _two_answers(100)
    learned, folds = _learn(SoftmaxGate(penalty=0.1), y, predictions, Z, cv=TimeSeriesSplit(4))
    first = folds.test_rows(0)
    assert not learned.judged[first].any()
    assert learned.judged[folds.test_rows(2)].all()
    assert np.ptp(learned.weights[first], axis=0).max() == 0


def test_soft_labels_of_some_rows():
    Z, _, _ = _two_answers(100)
    share = np.random.default_rng(0).dirichlet([1, 1, 1], 100)
    weight = np.linspace(0.5, 2, 100)
    constant = fit_on_responsibilities(ConstantGate(), Z, share, weight, np.arange(30))
    expected = np.average(share[:30], axis=0, weights=weight[:30])
    np.testing.assert_allclose(constant.predict_proba(Z[:1])[0], expected)


@pytest.mark.parametrize("make", [lambda f, y: SquaredError(y, f), lambda f, y: LogScore(norm.logpdf(y[:, None], f))])
def test_gradients_of_objectives(make):
    rng = np.random.default_rng(0)
    objective = make(rng.standard_normal((7, 3)), rng.standard_normal(7))
    weights = rng.dirichlet([1, 1, 1], 7)
    _, gradient = objective(weights)
    for k in range(3):
        step = 1e-6 * np.eye(3)[k]
        slope = (objective(weights + step)[0] - objective(weights - step)[0]) / 2e-6
        np.testing.assert_allclose(gradient[:, k], slope, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(objective.take([2, 5])(weights[[2, 5]])[0], objective(weights)[0][[2, 5]])


# --- judging --------------------------------------------------------------------------------------------


def test_paired_differences_have_the_textbook_error():
    difference = np.random.default_rng(0).standard_normal(50)
    found = paired(difference, np.ones(50))
    assert found.mean == pytest.approx(difference.mean())
    assert found.standard_error == pytest.approx(difference.std(ddof=1) / np.sqrt(50))
    assert paired(difference, np.full(50, 7.0)).standard_error == pytest.approx(found.standard_error)
    some = np.r_[np.ones(30), np.zeros(20)]
    assert paired(difference, some).standard_error == pytest.approx(paired(difference[:30], np.ones(30)).standard_error)


def test_a_judge_agrees_with_sklearn():
    rng = np.random.default_rng(0)
    y, answers, weight, fold = (
        rng.standard_normal(40),
        rng.standard_normal(40),
        rng.uniform(1, 2, 40),
        np.arange(40) % 4,
    )
    by_row = Judge(y, weight, fold)
    assert by_row.mean(by_row.losses(answers)) == pytest.approx(mean_squared_error(y, answers, sample_weight=weight))
    by_fold = Judge(y, np.ones(40), fold, scoring="neg_mean_absolute_error")
    expected = [mean_absolute_error(y[fold == f], answers[fold == f]) for f in range(4)]
    np.testing.assert_allclose(by_fold.losses(answers), expected)
    codes, shares = rng.integers(3, size=40), rng.dirichlet([1, 1, 1], 40)
    classes = Judge(codes, np.ones(40), fold, np.array(["a", "b", "c"]))
    assert classes.mean(classes.losses(shares)) == pytest.approx(log_loss(codes, shares))
    unseen = Judge(y, np.ones(40), np.where(fold == 0, -1, fold))
    assert unseen.mean(unseen.losses(answers)) == pytest.approx(mean_squared_error(y[fold > 0], answers[fold > 0]))


def test_a_later_candidate_must_win_by_two_standard_errors():
    judge = Judge(np.zeros(100), np.ones(100), np.zeros(100, dtype=int))
    noise = np.random.default_rng(0).standard_normal(100)
    noise = (noise - noise.mean()) / noise.std(ddof=1)  # mean 0, standard error 0.1
    first = np.ones(100)
    assert simplest_winner(judge, [first, first - 0.19 + noise]) == 0
    assert simplest_winner(judge, [first, first - 0.21 + noise]) == 1
    assert simplest_winner(judge, [first, first]) == 0


def test_the_e_step_by_hand():
    weights, log_prob = np.array([[0.3, 0.7]]), np.log([[0.5, 0.1]])
    share, density = posterior(weights, log_prob)
    np.testing.assert_allclose(share, [[0.15 / 0.22, 0.07 / 0.22]])
    np.testing.assert_allclose(density, np.log(0.22))
