"""The softmax gate: against logistic regression, its own derivatives, and the unit of y."""

import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import approx_fprime
from sklearn.linear_model import LogisticRegression

from metamix.gates import ConstantGate, SoftmaxGate
from metamix.gates.descent import cross_entropy, objective_loss
from metamix.gates.standardised import StandardisedColumns


def soft_labels(n=200, q=3, K=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, q)) @ rng.standard_normal((q, q))
    logits = X @ rng.standard_normal((q, K)) + 0.3 * rng.standard_normal((n, K))
    labels = np.exp(logits - logits.max(axis=1, keepdims=True))
    return X, labels / labels.sum(axis=1, keepdims=True)


def answers(n=300, K=4, seed=0):
    """Targets and answers of experts, one of them good where x is positive, another where it is not."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 2))
    y = rng.standard_normal(n)
    noise = rng.standard_normal((n, K))
    noise[:, 0] *= np.where(X[:, 0] > 0, 0.2, 2.0)
    noise[:, 1] *= np.where(X[:, 0] > 0, 2.0, 0.2)
    return X, y, y[:, None] + noise


def squared(y, predictions):
    def objective(weights):
        error = (weights * predictions).sum(axis=1) - y
        return error**2, 2 * error[:, None] * predictions

    return objective


def log_score(density):
    def objective(weights):
        mixed = np.maximum((weights * density).sum(axis=1), 1e-300)
        return -np.log(mixed), -density / mixed[:, None]

    return objective


def mean_loss(objective, weights):
    return objective(weights)[0].mean()


@pytest.mark.parametrize("penalty", [0.0, 0.001, 0.1])
@pytest.mark.parametrize("K", [2, 4])
def test_hard_labels_give_logistic_regression(penalty, K):
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


def test_the_gradient_vanishes_at_the_maximum_of_the_likelihood():
    X, labels = soft_labels(n=150, q=2, seed=5)
    X = np.c_[X, X[:, 0] ** 2, 1e4 + X[:, 1]]  # curved, and a duplicate that lies far off
    gate = SoftmaxGate(penalty=0).fit(X, labels)
    residual = gate.predict_proba(X) - labels
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    assert np.abs(Z.T @ residual / len(X)).max() < 1e-7
    assert np.abs(residual.mean(axis=0)).max() < 1e-7


def test_coefficients_are_in_the_units_of_x():
    X, labels = soft_labels()
    gate = SoftmaxGate(penalty=0.01).fit(X, labels)
    logits = X @ gate.coef_ + gate.intercept_
    by_hand = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(gate.predict_proba(X), by_hand)
    assert np.allclose(gate.coef_.sum(axis=1), 0.0, atol=1e-9)


@pytest.mark.parametrize("as_sparse", [False, True])
def test_gradients_are_derivatives(as_sparse):
    X, labels = soft_labels(n=40, q=3, K=3, seed=6)
    _, y, predictions = answers(n=40, K=3)
    rng = np.random.default_rng(6)
    row_weights = rng.dirichlet(np.ones(40))
    columns = StandardisedColumns(sparse.csr_matrix(X) if as_sparse else X, row_weights)
    start = np.full(3, 1 / 3)
    for loss in (
        cross_entropy(columns, labels, row_weights),
        objective_loss(columns, squared(y, predictions), row_weights, start),
        objective_loss(columns, log_score(np.exp(predictions)), row_weights, start),
    ):
        point = rng.standard_normal(12)

        def value(point, loss=loss):
            return loss(point[:9].reshape(3, 3), point[9:])[0]

        _, by_slope, by_intercept = loss(point[:9].reshape(3, 3), point[9:])
        assert np.allclose(np.r_[by_slope.ravel(), by_intercept], approx_fprime(point, value, 1e-7), atol=1e-5)


def test_an_infinite_penalty_is_constant_weights():
    X, labels = soft_labels()
    gate = SoftmaxGate(penalty=np.inf).fit(X, labels)
    assert np.allclose(gate.predict_proba(X), labels.mean(axis=0))
    X, y, predictions = answers()
    constant = ConstantGate().fit_objective(X, squared(y, predictions))
    gate = SoftmaxGate(penalty=np.inf).fit_objective(X, squared(y, predictions))
    assert np.allclose(gate.predict_proba(X), constant.predict_proba(X), atol=1e-6)
    large = SoftmaxGate(penalty=1e6).fit_objective(X, squared(y, predictions))
    assert np.allclose(large.predict_proba(X), constant.predict_proba(X), atol=1e-3)


def test_the_gate_finds_who_is_good_where():
    X, y, predictions = answers(n=1000)
    objective = squared(y, predictions)
    gates = SoftmaxGate().fit_path(X, objective)
    losses = [mean_loss(objective, gate.predict_proba(X)) for gate in gates]
    assert [gate.penalty for gate in gates] == list(SoftmaxGate.penalties_)
    assert (np.diff(losses) < 1e-9).all()
    assert losses[-1] < 0.3 * losses[0]
    weights = gates[-1].predict_proba([[1.0, 0.0], [-1.0, 0.0]])
    assert weights[0, 0] > 0.9
    assert weights[1, 1] > 0.9


def test_a_path_is_its_single_fits():
    X, labels = soft_labels()
    penalties = [0.01, np.inf, 1.0, 0.0]
    for penalty, gate in zip(penalties, SoftmaxGate().fit_path(X, labels, penalties), strict=True):
        alone = SoftmaxGate(penalty=penalty).fit(X, labels)
        assert gate.penalty == penalty
        assert np.allclose(gate.predict_proba(X), alone.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("kind", ["squared", "density"])
def test_the_unit_of_y_does_not_change_the_gate(factor, kind):
    X, y, predictions = answers()
    if kind == "squared":
        plain, moved = squared(y, predictions), squared(factor * y, factor * predictions)
    else:
        density = np.exp(-0.5 * (y[:, None] - predictions) ** 2) + 1e-6
        plain, moved = log_score(density), log_score(density / factor)
    one, other = (SoftmaxGate(penalty=0.03).fit_objective(X, objective) for objective in (plain, moved))
    assert np.ptp(one.predict_proba(X)[:, 0]) > 0.2
    assert np.allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-4)


def test_separable_rows_end_finite():
    X = np.linspace(-1, 1, 50)[:, None]
    labels = np.eye(2)[(X[:, 0] > 0).astype(int)]
    gate = SoftmaxGate(penalty=0).fit(X, labels)
    assert np.isfinite(gate.coef_).all()
    assert np.abs(gate.predict_proba(X) - labels).max() < 1e-3


def test_path_on_its_own_is_a_moderate_penalty():
    X, labels = soft_labels()
    alone, fixed = SoftmaxGate().fit(X, labels), SoftmaxGate(penalty=0.01).fit(X, labels)
    assert np.array_equal(alone.coef_, fixed.coef_)


@pytest.mark.parametrize("penalty", [-1.0, "much", None, np.nan])
def test_a_penalty_that_is_none_is_refused(penalty):
    X, labels = soft_labels(n=10)
    with pytest.raises(ValueError, match="penalty"):
        SoftmaxGate(penalty=penalty).fit(X, labels)


def test_large_tables_are_read_in_blocks_with_the_same_result():
    X, labels = soft_labels(n=100_000)  # beyond the size that is copied
    X.setflags(write=False)
    one = SoftmaxGate(penalty=0.01).fit(X, labels)
    few = SoftmaxGate(penalty=0.01).fit(X[:20_000], labels[:20_000], sample_weight=None)
    assert np.abs(one.predict_proba(X) - few.predict_proba(X)).max() < 0.02
    residual = one.predict_proba(X) - labels
    W = one.coef_ * X.std(axis=0)[:, None]
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    assert np.abs(Z.T @ residual / len(X) + 0.01 * W).max() < 1e-5


def test_columns_of_no_use_fade_when_penalties_are_set_anew():
    """Adaptive ridge (Grandvalet 1998): of twelve columns one tells the labels, and it alone keeps its slope."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 12))
    labels = np.eye(2)[(X[:, 0] + 0.5 * rng.standard_normal(300) > 0).astype(int)]
    plain = SoftmaxGate(penalty=0.003).fit(X, labels)
    faded = SoftmaxGate(penalty=0.003, reweight=3).fit(X, labels)
    others = [np.abs(gate.coef_[1:]).max() / np.abs(gate.coef_[0]).max() for gate in (plain, faded)]
    assert others[1] < 0.3 * others[0]


def test_a_path_goes_on_from_a_fitted_gate():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((200, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, 1.0]
    labels = np.eye(3)[rng.integers(3, size=200)]
    first = SoftmaxGate().fit_path(X, labels, [1.0, 0.1])[-1]
    again = SoftmaxGate(tol=1e-12).fit_path(X, labels, [0.1], begin=first)[0]
    np.testing.assert_allclose(again.predict_proba(X), first.predict_proba(X), atol=1e-3)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_degree_two_bends_the_border(unit):
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


def test_degree_two_refuses_sparse_columns():
    with pytest.raises(ValueError, match="degree=1"):
        SoftmaxGate(penalty=0.1, degree=2).fit(sparse.csr_matrix(np.eye(3)), np.eye(3)[:, :2] + 0.1)
