"""The softmax gate against logistic regression and optimality conditions; paths, units and blocks."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from metamix.gates import ConstantGate, SoftmaxGate


def mean_loss(objective, weights):
    return objective(weights)[0].mean()


@pytest.mark.parametrize("penalty", [0.0, 0.001, 0.1])
@pytest.mark.parametrize("K", [2, 4])
def test_hard_labels_give_logistic_regression(penalty, K, soft_labels):
    X, labels = soft_labels(n=400, K=K, seed=4)
    rng = np.random.default_rng(4)
    classes = np.array([rng.choice(K, p=row) for row in labels])  # overlapping, so that the optimum is finite
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    gate = SoftmaxGate(penalty=penalty).fit(X, np.eye(K)[classes])
    # of two classes scikit-learn models the difference of logits, w = w1 - w0, and w1 = -w0 = w / 2 here
    share = penalty if K > 2 else penalty / 2
    C = np.inf if penalty == 0 else 1 / (len(X) * share)
    expected = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(Z, classes)
    assert np.allclose(gate.predict_proba(X), expected.predict_proba(Z), atol=1e-4)
    if K > 2:
        coef = expected.coef_ - expected.coef_.mean(axis=0)
        assert np.allclose(gate.coef_ * X.std(axis=0)[:, None], coef.T, atol=1e-4)


def test_the_gradient_vanishes_at_the_maximum_of_the_likelihood(soft_labels):
    X, labels = soft_labels(n=150, q=2, seed=5)
    X = np.c_[X, X[:, 0] ** 2, 1e4 + X[:, 1]]  # with a nonlinear column, and a duplicate with a large mean
    gate = SoftmaxGate(penalty=0).fit(X, labels)
    residual = gate.predict_proba(X) - labels
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    assert np.abs(Z.T @ residual / len(X)).max() < 1e-7
    assert np.abs(residual.mean(axis=0)).max() < 1e-7


def test_coefficients_are_in_the_units_of_x(soft_labels):
    X, labels = soft_labels()
    gate = SoftmaxGate(penalty=0.01).fit(X, labels)
    logits = X @ gate.coef_ + gate.intercept_
    by_hand = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(gate.predict_proba(X), by_hand)
    assert np.allclose(gate.coef_.sum(axis=1), 0.0, atol=1e-9)


def test_an_infinite_penalty_gives_constant_weights(soft_labels, experts, squared_error):
    X, labels = soft_labels()
    gate = SoftmaxGate(penalty=np.inf).fit(X, labels)
    assert np.allclose(gate.predict_proba(X), labels.mean(axis=0))
    X, y, predictions = experts()
    constant = ConstantGate().fit_objective(X, squared_error(y, predictions))
    gate = SoftmaxGate(penalty=np.inf).fit_objective(X, squared_error(y, predictions))
    assert np.allclose(gate.predict_proba(X), constant.predict_proba(X), atol=1e-6)
    large = SoftmaxGate(penalty=1e6).fit_objective(X, squared_error(y, predictions))
    assert np.allclose(large.predict_proba(X), constant.predict_proba(X), atol=1e-3)


def test_accurate_experts_get_the_weight_where_they_are_accurate(experts, squared_error):
    X, y, predictions = experts(n=1000)
    objective = squared_error(y, predictions)
    penalties = [np.inf, 1.0, 0.1, 0.01, 0.001]
    gates = SoftmaxGate().fit_path(X, objective, penalties)
    losses = [mean_loss(objective, gate.predict_proba(X)) for gate in gates]
    assert [gate.penalty for gate in gates] == penalties
    assert (np.diff(losses) < 1e-9).all()
    assert losses[-1] < 0.3 * losses[0]
    weights = gates[-1].predict_proba([[1.0, 0.0], [-1.0, 0.0]])
    assert weights[0, 0] > 0.9
    assert weights[1, 1] > 0.9


def test_fits_along_a_path_equal_single_fits(soft_labels):
    X, labels = soft_labels()
    penalties = [0.01, np.inf, 1.0, 0.0]
    for penalty, gate in zip(penalties, SoftmaxGate().fit_path(X, labels, penalties), strict=True):
        alone = SoftmaxGate(penalty=penalty).fit(X, labels)
        assert gate.penalty == penalty
        assert np.allclose(gate.predict_proba(X), alone.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("kind", ["squared", "density"])
def test_the_unit_of_y_does_not_change_the_gate(factor, kind, experts, squared_error, log_loss):
    X, y, predictions = experts()
    if kind == "squared":
        plain, moved = squared_error(y, predictions), squared_error(factor * y, factor * predictions)
    else:
        density = np.exp(-0.5 * (y[:, None] - predictions) ** 2) + 1e-6
        plain, moved = log_loss(density), log_loss(density / factor)
    one, other = (SoftmaxGate(penalty=0.03).fit_objective(X, objective) for objective in (plain, moved))
    assert np.ptp(one.predict_proba(X)[:, 0]) > 0.2
    assert np.allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-4)


def test_separable_labels_give_finite_coefficients():
    X = np.linspace(-1, 1, 50)[:, None]
    labels = np.eye(2)[(X[:, 0] > 0).astype(int)]
    gate = SoftmaxGate(penalty=0).fit(X, labels)
    assert np.isfinite(gate.coef_).all()
    assert np.abs(gate.predict_proba(X) - labels).max() < 1e-3


def test_penalty_path_alone_uses_a_penalty_of_one_hundredth(soft_labels):
    X, labels = soft_labels()
    alone, fixed = SoftmaxGate().fit(X, labels), SoftmaxGate(penalty=0.01).fit(X, labels)
    assert np.array_equal(alone.coef_, fixed.coef_)


@pytest.mark.parametrize("penalty", [-1.0, "much", None, np.nan])
def test_invalid_penalties_are_named(penalty, soft_labels):
    X, labels = soft_labels(n=10)
    with pytest.raises(ValueError, match="penalty"):
        SoftmaxGate(penalty=penalty).fit(X, labels)


def test_large_tables_are_processed_in_blocks_with_the_same_result(soft_labels):
    X, labels = soft_labels(n=100_000)  # beyond the size that is copied
    X.setflags(write=False)
    one = SoftmaxGate(penalty=0.01).fit(X, labels)
    few = SoftmaxGate(penalty=0.01).fit(X[:20_000], labels[:20_000], sample_weight=None)
    assert np.abs(one.predict_proba(X) - few.predict_proba(X)).max() < 0.02
    residual = one.predict_proba(X) - labels
    W = one.coef_ * X.std(axis=0)[:, None]
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    assert np.abs(Z.T @ residual / len(X) + 0.01 * W).max() < 1e-5


def test_reweighting_shrinks_irrelevant_columns():
    """Adaptive ridge (Grandvalet 1998): one of twelve columns determines the labels and keeps its slope."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 12))
    labels = np.eye(2)[(X[:, 0] + 0.5 * rng.standard_normal(300) > 0).astype(int)]
    plain = SoftmaxGate(penalty=0.003).fit(X, labels)
    faded = plain
    for _ in range(3):
        faded = SoftmaxGate().continue_path(X, labels, [0.003], faded, adaptive=True)[0]
    others = [np.abs(gate.coef_[1:]).max() / np.abs(gate.coef_[0]).max() for gate in (plain, faded)]
    assert others[1] < 0.3 * others[0]


def test_a_path_continues_from_a_fitted_gate():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((200, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 1.0]
    labels = np.eye(3)[rng.integers(3, size=200)]
    first = SoftmaxGate().fit_path(X, labels, [1.0, 0.1])[-1]
    again = SoftmaxGate().continue_path(X, labels, [0.1], first)[0]
    from_zero = SoftmaxGate(penalty=0.1).fit(X, labels)
    assert again.n_iter_ < from_zero.n_iter_
    np.testing.assert_allclose(again.predict_proba(X), from_zero.predict_proba(X), atol=1e-3)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_degree_two_learns_a_circular_boundary(unit):
    rng = np.random.default_rng(2)
    X = rng.standard_normal((600, 2))
    inside = (np.square(X).sum(axis=1) < 1.2).astype(int)
    gate = SoftmaxGate(penalty=1e-4, degree=2).fit(unit * (X + 3), np.eye(2)[inside])
    assert np.mean(gate.predict_proba(unit * (X + 3)).argmax(axis=1) == inside) > 0.98
    assert np.isfinite(gate.predict_proba(1e9 * unit * X)).all()
    step = 1e-6 * unit
    moved = [gate.predict_proba(unit * (X + 3) + step * np.eye(2)[j]) for j in (0, 1)]
    back = [gate.predict_proba(unit * (X + 3) - step * np.eye(2)[j]) for j in (0, 1)]
    central = np.stack([(m - b) / (2 * step) for m, b in zip(moved, back, strict=True)], axis=2)
    np.testing.assert_allclose(gate.weights_gradient(unit * (X + 3)) * unit, central * unit, atol=1e-4)


def test_degree_two_rejects_sparse_columns():
    with pytest.raises(ValueError, match="degree=1"):
        SoftmaxGate(penalty=0.1, degree=2).fit(sparse.csr_matrix(np.eye(3)), np.eye(3)[:, :2] + 0.1)


def test_rows_of_weight_zero_may_have_missing_targets(experts, squared_error):
    X, y, predictions = experts(K=3)
    weight = np.ones(300)
    weight[:50], y[:50] = 0.0, np.nan
    gate = SoftmaxGate(penalty=0.1).fit_objective(X, squared_error(y, predictions), sample_weight=weight)
    without = SoftmaxGate(penalty=0.1).fit_objective(X[50:], squared_error(y[50:], predictions[50:]))
    assert np.allclose(gate.predict_proba(X), without.predict_proba(X), atol=1e-4)


# New rows


def test_statistics_of_two_halves_are_those_of_all_rows(soft_labels):
    X, labels = soft_labels(n=150)
    X = X * [1.0, 10.0, 0.1] + [0.0, 1e3, 0.0]
    weight = np.where(np.arange(150) < 100, 1.0, 2.0)  # each part has half of the weight
    whole = SoftmaxGate(penalty=0.1).fit(X, labels, weight)._past
    halves = SoftmaxGate(penalty=0.1).fit(X[:100], labels[:100]).partial_fit(X[100:], labels[100:], step=0.5)._past
    for name in ("mean", "deviation", "correlation"):
        np.testing.assert_allclose(halves[name], whole[name], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("penalty", [0.0, 0.05])
def test_single_rows_with_steps_that_shrink_come_to_the_fit_of_all_rows(penalty, soft_labels):
    X, labels = soft_labels(n=3000)
    whole = SoftmaxGate(penalty=penalty).fit(X, labels)
    gate = SoftmaxGate(penalty=penalty).fit(X[:100], labels[:100])

    def excess(one):
        g = one.predict_proba(X)
        return np.mean((labels * (np.log(whole.predict_proba(X)) - np.log(g))).sum(axis=1))

    first = excess(gate)
    for row in range(100, 3000):
        gate.partial_fit(X[[row]], labels[[row]], step=1 / (row + 1))
    assert abs(excess(gate)) < 0.05 * first


def test_regimes_that_columns_separate_are_followed_without_a_penalty():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 2))
    gate = SoftmaxGate(penalty=0.0).fit(X[:400], np.eye(2)[(X[:400, 0] > 0).astype(int)])
    assert gate.separates_
    labels = np.eye(2)[(X[:, 0] > 0.7).astype(int)]
    for begin in range(400, 2000, 40):
        gate.partial_fit(X[begin : begin + 40], labels[begin : begin + 40], step=0.15)
    weights = gate.predict_proba(X)
    assert np.isfinite(gate.coef_).all()
    assert np.mean(weights.argmax(axis=1) == labels.argmax(axis=1)) > 0.97


def test_constant_weights_and_no_columns_follow_mean_responsibilities(soft_labels):
    X, labels = soft_labels(n=60)
    for gate, columns in ((SoftmaxGate(penalty=np.inf), X), (SoftmaxGate(penalty=0.1), X[:, :0])):
        gate.fit(columns, labels).partial_fit(columns, labels[:, ::-1], step=0.25)
        expected = 0.75 * labels.mean(axis=0) + 0.25 * labels[:, ::-1].mean(axis=0)
        np.testing.assert_allclose(gate.predict_proba(columns[:1])[0], expected, rtol=1e-6)


def test_a_step_of_one_is_a_fit(soft_labels):
    X, labels = soft_labels(n=60)
    moved = SoftmaxGate(penalty=0.1).fit(-X, labels).partial_fit(X, labels, step=1)
    np.testing.assert_array_equal(moved.coef_, SoftmaxGate(penalty=0.1).fit(X, labels).coef_)
