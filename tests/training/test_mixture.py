"""The alternation, step by step against scikit-learn and scipy; regimes, types and the number of components."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.neighbors import KNeighborsRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from metamix import MixtureRegressor
from metamix.fitting import Problem
from metamix.gates import ClassifierGate, ConstantGate, GaussianGate, SoftmaxGate
from metamix.likelihoods import StudentT
from metamix.training.mixture import fit_mixture

TREE = ClassifierGate(DecisionTreeClassifier(min_samples_leaf=20, random_state=0))


def _soft(regime):
    return 0.8 * np.eye(2)[regime] + 0.1


# --- one round ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_round(two_lines, open_session, mixture_settings):
    """A mixture of two lines under constant weights, after one round from given responsibilities."""
    X, y, regime = two_lines(120)
    problem = Problem(X, y)
    settings = mixture_settings(problem, 2, ConstantGate(), rounds=1)
    with open_session(problem, LinearRegression(), LinearRegression()) as session:
        return fit_mixture(session, settings, _soft(regime)), problem, session.folds, _soft(regime)


def test_experts_are_fitted_by_responsibility_and_predict_held_out_rows(one_round):
    mixture, problem, folds, initial = one_round
    for train, test in folds.pairs:
        for k in range(2):
            model = LinearRegression().fit(problem.X[train], problem.y[train], initial[train, k])
            np.testing.assert_allclose(mixture.targets[0].predictions[test, k], model.predict(problem.X[test]))
    for k in range(2):
        model = LinearRegression().fit(problem.X, problem.y, initial[:, k])
        np.testing.assert_allclose(mixture.columns[k].model.coef_, model.coef_)


def test_likelihood_gate_and_responsibilities_are_those_of_em(one_round):
    """Two inner steps: scales by weighted maximum likelihood, mixing weights per fold by scipy, Bayes' rule."""
    mixture, problem, folds, responsibilities = one_round
    errors = problem.y[:, None] - mixture.targets[0].predictions
    for _ in range(2):
        scale = np.sqrt((responsibilities * errors**2).sum(axis=0) / responsibilities.sum(axis=0))
        density = norm.pdf(errors, scale=scale)
        weights = np.empty((120, 2))
        for train, test in folds.pairs:
            share = minimize(
                lambda v, d=density[train]: -np.log(d @ [v[0], 1 - v[0]]).mean(), [0.5],
                bounds=[(1e-9, 1 - 1e-9)], tol=1e-12,
            ).x[0]  # fmt: skip
            weights[test] = share, 1 - share
        joint = weights * density
        responsibilities = joint / joint.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(mixture.targets[0].likelihood.scale_, scale, rtol=1e-4)
    np.testing.assert_allclose(mixture.targets[0].responsibilities, responsibilities, atol=1e-3)
    (row,) = mixture.history
    assert row["log_likelihood"] == pytest.approx(np.log(joint.sum(axis=1)).sum(), rel=1e-4)
    combined = (weights * mixture.targets[0].predictions).sum(axis=1)
    assert row["loss"] == pytest.approx(np.mean((combined - problem.y) ** 2), rel=1e-3)
    assert row["share_e0"] == pytest.approx(weights[:, 0].mean(), abs=1e-4)
    assert row["share_e0"] + row["share_e1"] == pytest.approx(1)


# --- several rounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gate", [SoftmaxGate(), GaussianGate(), TREE, ConstantGate()], ids=["softmax", "gmm", "tree", "constant"]
)
def test_every_gate_alternates(gate, two_lines, agreement, open_session, mixture_settings):
    X, y, regime = two_lines()
    problem = Problem(X, y)
    with open_session(problem, LinearRegression(), LinearRegression()) as session:
        mixture = fit_mixture(session, mixture_settings(problem, 2, gate), _soft(regime))
    losses = [row["loss"] for row in mixture.history]
    assert len(losses) <= 6
    weights = mixture.weights(X)[0]
    np.testing.assert_allclose(weights.sum(axis=1), 1)
    assert agreement(mixture.targets[0].responsibilities, regime) > 0.95
    if not isinstance(gate, ConstantGate):
        assert agreement(weights, regime) > 0.9
        assert np.mean((mixture.predict(X) - y) ** 2) < 0.25 * np.var(y)
        assert min(losses) < 0.3 * np.var(y)


def test_the_best_round_is_kept_and_the_loop_ends_where_nothing_is_gained(two_lines, open_session, mixture_settings):
    """From the planted responsibilities the first round is good; the second gains less than a standard error."""
    X, y, regime = two_lines()
    problem = Problem(X, y)
    with open_session(problem, LinearRegression(), LinearRegression()) as session:
        mixture = fit_mixture(session, mixture_settings(problem, 2, rounds=10), np.eye(2)[regime])
    assert len(mixture.history) <= 2
    with open_session(problem, LinearRegression(), LinearRegression()) as session:
        poor = fit_mixture(session, mixture_settings(problem, 2, rounds=10), 0.2 * np.eye(2)[regime] + 0.4)
    losses = [row["loss"] for row in poor.history]
    assert len(losses) >= 2
    assert min(losses) < 0.5 * losses[0]


def test_rounds_without_gain_are_not_repeated(open_session, mixture_settings):
    """One line, cut at random: responsibilities keep moving, and no round is better than the first."""
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (160, 2))
    problem = Problem(X, X @ [1.0, 2.0] + rng.standard_normal(160))
    with open_session(problem, LinearRegression(), LinearRegression()) as session:
        mixture = fit_mixture(session, mixture_settings(problem, 2, ConstantGate(), rounds=10),
                              _soft(rng.integers(2, size=160)))  # fmt: skip
    assert len(mixture.history) <= 3


def test_components_with_too_few_rows_are_given_up(two_lines, agreement, open_session, mixture_settings):
    X, y, regime = two_lines()
    initial = np.column_stack([0.7 * np.eye(2)[regime], np.zeros(160)]) + 0.1
    problem = Problem(X, y)
    with open_session(problem, LinearRegression()) as session:
        settings = mixture_settings(problem, 1, n_experts=3)
        mixture = fit_mixture(session, settings, initial)
    assert len(mixture.names) == 2
    assert agreement(mixture.targets[0].responsibilities, regime) > 0.95


def test_columns_follow_the_experts_under_permutation(two_lines, open_session, mixture_settings):
    X, y, regime = two_lines()
    problem = Problem(X, y)
    pool = [LinearRegression(), Ridge(5.0)]
    with open_session(problem, *pool) as session:
        one = fit_mixture(session, mixture_settings(problem, 2), _soft(regime))
    with open_session(problem, *pool[::-1]) as session:
        other = fit_mixture(session, mixture_settings(problem, 2), _soft(regime)[:, ::-1])
    np.testing.assert_allclose(other.weights(X)[0][:, ::-1], one.weights(X)[0], atol=1e-5)
    np.testing.assert_allclose(other.predict(X), one.predict(X), rtol=1e-5)


def test_an_expert_that_fails_is_left_out(two_lines, open_session, mixture_settings):
    X, y, _ = two_lines()
    problem = Problem(X, y)
    with open_session(problem, Ridge(), KNeighborsRegressor(n_neighbors=500)) as session:
        mixture = fit_mixture(session, mixture_settings(problem, 2, rounds=3), np.full((160, 2), 0.5))
    assert mixture.names == ["e0"]
    assert {failure.expert for failure in mixture.failures} == {"e1"}
    np.testing.assert_allclose(mixture.predict(X), Ridge().fit(X, y).predict(X))


def test_fold_models_are_averaged_without_a_final_fit(two_lines, open_session, mixture_settings):
    X, y, regime = two_lines()
    problem = Problem(X, y)
    settings = replace(mixture_settings(problem, 2, rounds=1), refit=False)
    with open_session(problem, LinearRegression(), LinearRegression()) as session:
        mixture = fit_mixture(session, settings, _soft(regime))
        folds = session.folds.pairs
    expected = [LinearRegression().fit(X[train], y[train], _soft(regime)[train, 0]).predict(X) for train, _ in folds]
    np.testing.assert_allclose(mixture.columns[0].predict(X), np.mean(expected, axis=0))


# --- regimes and types ----------------------------------------------------------------------------------


def test_a_pool_gives_each_regime_its_type(open_session, mixture_settings):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (240, 2))
    regime = (X[:, 0] > 0).astype(int)
    y = np.where(regime, 3 * X[:, 1], np.sign(np.sin(9 * X[:, 1]))) + 0.05 * rng.standard_normal(240)
    problem = Problem(X, y)
    with open_session(problem, LinearRegression(), DecisionTreeRegressor(min_samples_leaf=5)) as session:
        mixture = fit_mixture(session, mixture_settings(problem, 2, n_experts=2), np.eye(2)[regime])
    assert mixture.names == ["e1", "e0"]
    assert np.mean((mixture.predict(X) - y) ** 2) < 0.1 * np.var(y)


@pytest.mark.parametrize("expert", ["linear", "quadratic"])
def test_regimes_are_counted_for_the_experts_at_hand(expert):
    """A parabola is several lines to linear experts, and one regime to quadratic ones."""
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, (320, 1))
    truth = X[:, 0] ** 2
    mixture = MixtureRegressor(
        [expert], n_experts="auto", specialize=True, gate="softmax", max_regimes=3, random_state=0
    ).fit(X, truth + 0.05 * rng.normal(size=320))  # fmt: skip
    assert (mixture.n_experts_ > 1) == (expert == "linear")
    assert np.mean(np.square(mixture.predict(X) - truth)) < 0.03 * truth.var()


def test_regimes_stay_where_one_expert_is_clearly_worse():
    """Planes that jump: a few rows next to a border may speak for a single tree."""
    rng = np.random.default_rng(1)
    X = rng.uniform(-1, 1, (400, 2))
    regime = (X[:, 0] > 0).astype(int)
    y = np.where(regime, 4 + X[:, 1] - 3 * X[:, 0], 3 * X[:, 0]) + 0.1 * rng.normal(size=400)
    pool = ["linear", ("tree", DecisionTreeRegressor(max_depth=4, random_state=0))]
    mixture = MixtureRegressor(
        pool, n_experts="auto", specialize=True, gate="softmax", max_regimes=4, random_state=3
    ).fit(X, y)  # fmt: skip
    assert mixture.n_experts_ == 2


def test_one_expert_replaces_regimes_that_do_not_lower_the_loss(two_lines, open_session, mixture_settings):
    """Where the number is open; with a number given the regimes stay."""
    X, y, regime = two_lines(240)
    line = X @ [1.0, 2.0] + 0.3 * np.random.default_rng(0).standard_normal(240)
    found = []
    for target, n_experts in ((line, "auto"), (line, 2), (y, "auto")):
        problem = Problem(X, target)
        settings = mixture_settings(problem, 1, n_experts=n_experts, start="proxy")
        with open_session(problem, LinearRegression()) as session:
            found.append(fit_mixture(session, settings, np.eye(2)[regime]))
    assert [len(mixture.names) for mixture in found] == [1, 2, 2]
    np.testing.assert_allclose(found[0].predict(X), LinearRegression().fit(X, line).predict(X))


def test_columns_keep_the_order_of_the_experts_whatever_regime_each_takes(open_session, mixture_settings):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (240, 2))
    regime = (X[:, 0] > 0).astype(int)
    y = np.where(regime, 3 * X[:, 1], np.sign(np.sin(9 * X[:, 1]))) + 0.05 * rng.standard_normal(240)
    problem = Problem(X, y)
    for columns in ([0, 1], [1, 0]):
        settings = mixture_settings(problem, 2, start="proxy", rounds=2)
        with open_session(problem, LinearRegression(), DecisionTreeRegressor(min_samples_leaf=5)) as session:
            mixture = fit_mixture(session, settings, np.eye(2)[regime][:, columns])
        assert mixture.names == ["e0", "e1"]
        assert np.mean(mixture.weights(X)[0].argmax(axis=1) == 1 - regime) > 0.9, "the line has the second regime"


def test_a_robust_likelihood_takes_outliers_out_of_the_fits(two_lines, open_session, mixture_settings):
    X, y, regime = two_lines()
    y = y.copy()
    y[:8] += 60.0
    problem = Problem(X, y)
    settings = mixture_settings(problem, 2)
    settings = replace(settings, search=replace(settings.search, by_error=False))  # as the estimators do
    found = []
    for likelihood in (settings.likelihood, StudentT()):
        with open_session(problem, LinearRegression(), LinearRegression()) as session:
            mixture = fit_mixture(session, replace(settings, likelihood=likelihood), _soft(regime))
        slopes = np.array([column.model.coef_[1] for column in mixture.columns])
        found.append(np.abs(slopes - [-4, 4]).max())
    assert found[1] < 0.3
    assert found[1] < 0.3 * found[0]


def test_several_targets_share_experts_and_have_a_gate_each(two_lines, open_session, mixture_settings):
    X, y, regime = two_lines()
    problem = Problem(X, np.column_stack([y, 1e3 * y + 5]))
    with open_session(problem, LinearRegression(), LinearRegression()) as session:
        mixture = fit_mixture(session, mixture_settings(problem, 2), _soft(regime))
    first, second = mixture.weights(X)
    np.testing.assert_allclose(first, second, atol=0.05)
    predicted = mixture.predict(X)
    np.testing.assert_allclose(predicted[:, 1], 1e3 * predicted[:, 0] + 5, atol=200)


def test_the_gradient_under_a_forest_is_that_of_the_experts():
    X = np.random.default_rng(0).uniform(-1, 1, (120, 2))
    y = np.where(X[:, 0] < 0, 3 * X[:, 1], 8 - X[:, 1])
    mixture = MixtureRegressor(["linear"], n_experts=2, specialize=True, gate="forest", cv=4, random_state=0)
    mixture.fit(X, y)
    rows = np.array([[-0.5, 0.1], [0.5, 0.2]])
    step = 1e-6 * np.eye(2)
    central = np.stack([(mixture.predict(rows + one) - mixture.predict(rows - one)) / 2e-6 for one in step], axis=1)
    np.testing.assert_allclose(mixture.predict_gradient(rows), central, atol=1e-4)
    np.testing.assert_allclose(central, [[0, 3], [0, -1]], atol=0.05)


def test_in_sample_one_round_is_textbook_em(two_lines, open_session, mixture_settings):
    """Weighted least squares, mixing weights and scales from the same responsibilities (Dempster et al. 1977)."""
    X, y, regime = two_lines(100)
    problem = Problem(X, y)
    initial = _soft(regime)
    with open_session(problem, LinearRegression(), LinearRegression(), cv=None) as session:
        mixture = fit_mixture(session, mixture_settings(problem, 2, ConstantGate(), rounds=1), initial)
    predictions = np.column_stack([LinearRegression().fit(X, y, initial[:, k]).predict(X) for k in (0, 1)])
    errors = y[:, None] - predictions
    scale = np.sqrt((initial * errors**2).sum(axis=0) / initial.sum(axis=0))
    joint = initial.mean(axis=0) * norm.pdf(errors, scale=scale)
    np.testing.assert_allclose(mixture.targets[0].responsibilities, joint / joint.sum(axis=1, keepdims=True))
    assert mixture.history[0]["log_likelihood"] == pytest.approx(np.log(joint.sum(axis=1)).sum())
