"""Gates fitted and judged out of fold: constant weights against scipy, planted borders, rows kept apart."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import norm
from sklearn.model_selection import TimeSeriesSplit
from sklearn.tree import DecisionTreeClassifier

from metamix.data.folds import make_folds
from metamix.gates import ClassifierGate, ConstantGate, ForestGate, GaussianGate, SoftmaxGate
from metamix.training.gate_fitting import PENALTIES, GateFitting, fit_responsibilities, select_gate
from metamix.training.losses import LogScore, SquaredError

TREE = ClassifierGate(DecisionTreeClassifier(min_samples_leaf=20, random_state=0))


def _two_experts(n=200, informative=True, seed=0):
    """Gate features (n, 2), y (n,) and predictions (n, 2); each expert is accurate on one side of z_0 = 0."""
    rng = np.random.default_rng(seed)
    Z = rng.uniform(-1, 1, (n, 2))
    y = rng.standard_normal(n)
    good = (Z[:, 0] > 0) if informative else rng.random(n) > 0.5
    noise = rng.standard_normal((n, 2))
    return Z, y, y[:, None] + noise * np.where(np.column_stack([good, ~good]), 0.1, 1.5)


def _fitting(Z, y, predictions, cv=4, score=False, weight=None, **more):
    log_prob = norm.logpdf(y[:, None], predictions, 1.0)
    objective = LogScore(log_prob) if score else SquaredError(y, predictions)
    weight = np.ones(len(y)) if weight is None else weight
    folds = make_folds(cv, Z, y, random_state=0)
    return GateFitting(Z, folds, objective, log_prob, weight, ConstantGate(), **more)


def _convex_share(y, predictions, weight=None):
    """The share of the first of two experts with the smallest squared error, by scipy."""
    weight = np.ones(len(y)) if weight is None else weight
    return minimize(
        lambda share: weight @ (predictions @ [share[0], 1 - share[0]] - y) ** 2 / weight.sum(), [0.5],
        bounds=[(0, 1)], tol=1e-12,
    ).x[0]  # fmt: skip


@pytest.mark.parametrize("weighted", [False, True])
def test_constant_weights_are_scipys_optimum_in_every_fold(weighted):
    Z, y, predictions = _two_experts(informative=False)
    weight = np.random.default_rng(1).uniform(0.1, 3, 200) if weighted else np.ones(200)
    fitting = _fitting(Z, y, predictions, weight=weight)
    fitted = fitting.fit_constant()
    for train, test in fitting.folds.pairs:
        expected = _convex_share(y[train], predictions[train], weight[train])
        np.testing.assert_allclose(fitted.weights[test, 0], expected, atol=1e-4)
    share = _convex_share(y, predictions, weight)
    np.testing.assert_allclose(fitted.gate.predict_proba(Z)[:, 0], share, atol=1e-4)
    expected = (fitted.weights * predictions).sum(axis=1) - y
    np.testing.assert_allclose(fitting.losses(fitted), expected**2)


@pytest.mark.parametrize("gate", [SoftmaxGate(), GaussianGate(), TREE], ids=["softmax", "gmm", "tree"])
def test_a_gate_is_chosen_where_features_say_who_is_accurate(gate):
    fitting = _fitting(*_two_experts())
    chosen = select_gate([fitting], [gate], constant=True)
    assert np.ptp(chosen.weights[:, 0]) > 0.5
    assert fitting.losses(chosen).mean() < 0.5 * fitting.losses(fitting.fit_constant()).mean()
    assert type(chosen.gate) is type(gate)


@pytest.mark.parametrize("gate", [SoftmaxGate(), TREE], ids=["softmax", "tree"])
def test_constant_weights_are_chosen_where_features_say_nothing(gate):
    fitting = _fitting(*_two_experts(informative=False))
    chosen = select_gate([fitting], [gate], constant=True)
    np.testing.assert_array_equal(chosen.weights, fitting.fit_constant().weights)
    alone = select_gate([fitting], [gate], constant=False)
    assert type(alone.gate) is type(gate), "a gate that is named is that gate"


def test_of_equal_gates_the_first_is_chosen():
    fitting = _fitting(*_two_experts())
    first, second = SoftmaxGate(penalty=0.01), SoftmaxGate(penalty=0.01, degree=2)
    assert select_gate([fitting], [first, second], constant=False).gate.degree == 1
    inside = np.square(fitting.Z).sum(axis=1) < 0.6
    rng = np.random.default_rng(3)
    y = rng.standard_normal(200)
    predictions = y[:, None] + rng.standard_normal((200, 2)) * np.where(np.column_stack([inside, ~inside]), 0.1, 1.5)
    ring = _fitting(fitting.Z, y, predictions)
    assert select_gate([ring], [first, second], constant=False).gate.degree == 2, "a circle needs squares"


def test_borders_along_columns_are_for_forests_and_oblique_ones_for_softmax():
    X = np.random.default_rng(1).uniform(-1, 1, (200, 2))
    gates = [SoftmaxGate(penalty=1e-4), ForestGate(30, random_state=0)]
    for inside, expected in (((X > 0).all(axis=1), ForestGate), (X.sum(axis=1) > 0, SoftmaxGate)):
        y = np.zeros(200)
        predictions = np.where(np.column_stack([inside, ~inside]), 0.1, 3.0)
        fitting = _fitting(X, y, predictions, labels=np.column_stack([inside, ~inside]).astype(float))
        assert isinstance(select_gate([fitting], gates, constant=False).gate, expected)


def test_the_path_takes_the_largest_penalty_within_the_standard_errors_of_the_rule():
    """Every penalty fitted in every fold, and the rule written out."""
    simpler = 0
    for seed in range(4):
        Z, y, predictions = _two_experts(80, seed=seed)
        fitting = _fitting(Z, y + 2 * np.random.default_rng(seed).standard_normal(80), predictions)
        losses = np.empty((80, len(PENALTIES)))
        for f, (train, test) in enumerate(fitting.folds.pairs):
            level = fitting.fit_constant().weights[fitting.folds.test_rows(f)[0]]
            path = SoftmaxGate().fit_path(fitting.Z[train], fitting.objective.take(train), PENALTIES, start=level)
            for p, gate in enumerate(path):
                losses[test, p] = fitting.objective.take(test)(gate.predict_proba(fitting.Z[test]))[0]
        best = int(losses.mean(axis=0).argmin())
        excess = losses - losses[:, [best]]
        within = excess.mean(axis=0) <= 1.75 * excess.std(axis=0, ddof=1) / np.sqrt(80)
        assert fitting.fit(SoftmaxGate()).penalty == PENALTIES[int(np.argmax(within))]
        simpler += int(np.argmax(within)) < best
    assert simpler, "a case where the rule differs from the smallest loss"


def test_refining_sharpens_a_clear_border_and_leaves_the_rest():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 4))
    predictions = np.column_stack([np.full(600, 5.0), np.full(600, -5.0)])
    found = []
    for truth in (X[:, 0] + X[:, 1] > 0, rng.random(600) < 0.5):
        y = np.where(truth, 5.0, -5.0) + rng.standard_normal(600)
        fitting = _fitting(X, y, predictions, score=True, judge=SquaredError(y, predictions))
        fitted = fitting.fit(SoftmaxGate())
        refined = fitting.refine(SoftmaxGate(), fitted)
        found.append((fitting.losses(fitted).mean(), fitting.losses(refined).mean(), refined is fitted))
    (before, after, _), (_, _, unchanged) = found
    assert after < before
    assert after < 1.5, "with the true gate it is 1"
    assert unchanged, "nothing to be sharp about"


def test_a_gate_without_path_is_not_refined():
    fitting = _fitting(*_two_experts())
    for gate in (TREE, SoftmaxGate(penalty=0.1)):
        fitted = fitting.fit(gate)
        assert fitting.refine(gate, fitted) is fitted


@pytest.mark.parametrize("gate", [SoftmaxGate(penalty=0.1), TREE, ConstantGate()], ids=["softmax", "tree", "constant"])
def test_weights_of_a_row_are_fitted_without_its_fold(gate):
    Z, y, predictions = _two_experts()
    labels = np.eye(2)[(Z[:, 0] < 0).astype(int)]
    before = _fitting(Z, y, predictions, labels=labels)
    rows = before.folds.test_rows(1)
    y_other, labels_other = y.copy(), labels.copy()
    y_other[rows] += 10
    labels_other[rows] = labels[rows][:, ::-1]
    after = _fitting(Z, y_other, predictions, labels=labels_other).fit(gate)
    before = before.fit(gate)
    np.testing.assert_array_equal(before.weights[rows], after.weights[rows])
    assert not np.allclose(before.weights, after.weights)


def test_rows_that_no_fold_can_judge_have_constant_weights():
    Z, y, predictions = _two_experts(100)
    fitting = _fitting(Z, y, predictions, cv=TimeSeriesSplit(4))
    fitted = fitting.fit(SoftmaxGate(penalty=0.1))
    first = fitting.folds.test_rows(0)
    assert not fitted.judged[first].any()
    assert fitted.judged[fitting.folds.test_rows(2)].all()
    assert np.ptp(fitted.weights[first], axis=0).max() == 0
    assert (fitting.losses(fitted)[first] == 0).all()


def test_a_fit_continues_with_the_penalty_it_had():
    Z, y, predictions = _two_experts()
    fitting = _fitting(Z, y, predictions)
    first = fitting.fit(SoftmaxGate())
    again = _fitting(Z, y, predictions + 0.01).fit(SoftmaxGate(), first)
    assert again.penalty == first.penalty
    anew = _fitting(Z, y, predictions + 0.01).fit(SoftmaxGate(penalty=first.penalty))
    np.testing.assert_allclose(again.weights, anew.weights, atol=5e-3)


def test_gates_are_judged_with_the_weights_that_are_kept():
    Z, y, predictions = _two_experts()
    fitting = _fitting(Z, y, predictions, top_k=1)
    fitted = fitting.fit(SoftmaxGate(penalty=0.1))
    leader = predictions[np.arange(200), fitted.weights.argmax(axis=1)]
    np.testing.assert_allclose(fitting.losses(fitted), (leader - y) ** 2)


def test_another_objective_is_minimised_and_the_judge_stays():
    Z, y, predictions = _two_experts()
    fitting = _fitting(Z, y, predictions, score=True)
    other = fitting.minimising(SquaredError(y, predictions))
    fitted = other.fit_constant()
    assert fitted.gate.predict_proba(Z)[0, 0] == pytest.approx(_convex_share(y, predictions), abs=1e-4)
    np.testing.assert_allclose(other.losses(fitted), LogScore(fitting.log_prob)(fitted.weights)[0])


def test_a_classifier_that_is_certain_and_wrong_has_a_finite_log_score():
    Z, y, predictions = _two_experts()
    labels = np.eye(2)[(Z[:, 0] < 0).astype(int)]
    fitted = _fitting(Z, y, predictions, score=True, labels=labels).fit(TREE)
    assert fitted.weights.min() > 0
    assert fitted.gate.predict_proba(Z).min() == 0, "the final gate is as it was fitted"


def test_one_expert_has_all_weight():
    Z, y, predictions = _two_experts()
    fitting = _fitting(Z, y, predictions[:, :1])
    np.testing.assert_array_equal(fitting.fit(SoftmaxGate()).weights, np.ones((200, 1)))
    np.testing.assert_array_equal(fitting.fit_constant().weights, np.ones((200, 1)))


def test_responsibilities_of_some_rows():
    Z, _, _ = _two_experts(100)
    share = np.random.default_rng(0).dirichlet([1, 1, 1], 100)
    weight = np.linspace(0.5, 2, 100)
    constant = fit_responsibilities(ConstantGate(), Z, share, weight, np.arange(30))
    expected = np.average(share[:30], axis=0, weights=weight[:30])
    np.testing.assert_allclose(constant.predict_proba(Z[:1])[0], expected)
