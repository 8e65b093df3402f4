"""Gates: against closed forms, other libraries, brute force, and what must never change a weight."""

import numpy as np
import pytest
import scipy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import nnls
from sklearn.base import clone
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.tree import DecisionTreeClassifier

from metamix import registry
from metamix.gates import ClassifierGate, ConstantGate, ForestGate, GaussianGate, NeighboursGate, SoftmaxGate
from metamix.protocols import DifferentiableGate, Gate, PathGate

GATES = {
    "constant": ConstantGate(),
    "softmax": SoftmaxGate(penalty=0.01),
    "gmm": GaussianGate(),
    "neighbours": NeighboursGate(),
    "tree": ClassifierGate(DecisionTreeClassifier(max_depth=2, random_state=0)),
    "tree by name": registry.gates["tree"](random_state=0),
    "forest": registry.gates["forest"](n_estimators=20, random_state=0),
    "boosting": registry.gates["boosting"](random_state=0),
}
every_gate = pytest.mark.parametrize("gate", GATES.values(), ids=GATES.keys())
NUMERIC = {name: GATES[name] for name in ("softmax", "gmm", "neighbours")}
numeric_gates = pytest.mark.parametrize("gate", NUMERIC.values(), ids=NUMERIC.keys())


def soft_labels(n=200, q=3, K=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, q)) @ rng.standard_normal((q, q))
    logits = X @ rng.standard_normal((q, K)) + 0.3 * rng.standard_normal((n, K))
    labels = np.exp(logits - logits.max(axis=1, keepdims=True))
    return X, labels / labels.sum(axis=1, keepdims=True)


def hard(labels):
    return np.eye(labels.shape[1])[labels.argmax(axis=1)]


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


# -- every gate


@every_gate
def test_the_contract_is_kept(gate):
    X, labels = soft_labels()
    assert isinstance(gate, Gate)
    with pytest.raises(NotFittedError):
        clone(gate).predict_proba(X)
    fitted = clone(gate).fit(X, labels)
    weights = fitted.predict_proba(X[:7])
    assert fitted.n_experts_ == 3
    assert weights.shape == (7, 3)
    assert (weights >= 0).all()
    assert np.allclose(weights.sum(axis=1), 1.0)


def test_who_can_descend_and_who_has_a_path():
    assert isinstance(ConstantGate(), DifferentiableGate)
    assert isinstance(SoftmaxGate(), PathGate)
    assert not isinstance(GaussianGate(), DifferentiableGate)
    assert SoftmaxGate.penalties_[0] == np.inf


@every_gate
def test_no_weight_is_no_row(gate):
    X, labels = soft_labels(seed=1)
    weight = np.random.default_rng(1).integers(0, 3, len(X)).astype(float)
    weighted = clone(gate).fit(X, labels, sample_weight=weight)
    kept = weight > 0
    without = clone(gate).fit(X[kept], labels[kept], sample_weight=100 * weight[kept])
    assert np.allclose(weighted.predict_proba(X), without.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("name", ["constant", "softmax", "tree"])
def test_a_weight_of_two_is_two_rows(name):
    X, labels = soft_labels(seed=2)
    times = np.random.default_rng(2).integers(0, 4, len(X))
    weighted = clone(GATES[name]).fit(X, labels, sample_weight=times)
    repeated = clone(GATES[name]).fit(np.repeat(X, times, axis=0), np.repeat(labels, times, axis=0))
    assert np.allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("name", ["constant", "softmax", "gmm"])
@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(3)), seed=st.integers(0, 5))
def test_experts_permuted_are_weights_permuted(name, order, seed):
    X, labels = soft_labels(n=60, seed=seed)
    plain = clone(GATES[name]).fit(X, labels).predict_proba(X)
    permuted = clone(GATES[name]).fit(X, labels[:, order]).predict_proba(X)
    assert np.allclose(permuted, plain[:, order], atol=1e-6)


@numeric_gates
@settings(max_examples=20, deadline=None)
@given(factor=st.sampled_from([1e-6, 1e-3, 1e6]), shift=st.floats(-1e3, 1e3), column=st.integers(0, 2))
def test_units_of_x_do_not_matter(gate, factor, shift, column):
    X, labels = soft_labels(n=80)
    moved = X.copy()
    moved[:, column] = factor * (X[:, column] + shift)
    plain, other = (clone(gate).fit(Z, labels).predict_proba(Z) for Z in (X, moved))
    assert np.allclose(plain, other, atol=1e-5)


@every_gate
def test_far_from_the_training_rows_weights_are_finite(gate):
    X = np.random.default_rng(0).uniform(0, 1, (100, 1))
    labels = np.c_[X, 1 - X]
    fitted = clone(gate).fit(X, labels)
    far = np.array([-1e300, -1e12, -100.0, 100.0, 1e12, 1e300])[:, None]
    weights = fitted.predict_proba(far if not isinstance(gate, ClassifierGate) else far[1:-1])
    assert np.isfinite(weights).all()
    assert np.allclose(weights.sum(axis=1), 1.0)


@every_gate
def test_constant_and_duplicated_columns_and_columns_of_zeros(gate):
    X, labels = soft_labels()
    odd = np.c_[X, X[:, 0], np.full(len(X), 7.3e5), np.zeros(len(X))]
    weights = clone(gate).fit(odd, labels).predict_proba(odd)
    assert np.isfinite(weights).all()
    only_constant = clone(gate).fit(np.full((len(X), 2), 0.1), labels).predict_proba(np.full((2, 2), 5.0))
    drawn = isinstance(gate, ForestGate)  # means of bootstrap samples scatter
    assert np.allclose(only_constant, labels.mean(axis=0), atol=2e-2 if drawn else 1e-3)


@every_gate
def test_one_expert_has_all_the_weight(gate):
    X, _ = soft_labels()
    assert np.array_equal(clone(gate).fit(X, np.ones((len(X), 1))).predict_proba(X), np.ones((len(X), 1)))


@every_gate
def test_an_expert_without_rows_is_no_exception(gate):
    X, labels = soft_labels()
    labels[:, 1] = 0.0
    weights = clone(gate).fit(X, labels).predict_proba(X)
    assert np.allclose(weights.sum(axis=1), 1.0)
    assert weights[:, 1].max() < 1e-3


@every_gate
def test_what_does_not_fit_is_named(gate):
    X, labels = soft_labels(n=20)
    with pytest.raises(ValueError, match=r"\(20, K\)"):
        clone(gate).fit(X, labels[:-1])
    with pytest.raises(ValueError, match="finite"):
        clone(gate).fit(X, np.full_like(labels, np.nan))
    with pytest.raises(ValueError, match="sample_weight"):
        clone(gate).fit(X, labels, sample_weight=np.zeros(20))


@numeric_gates
def test_missing_values_and_other_columns_are_refused(gate):
    X, labels = soft_labels(n=20)
    fitted = clone(gate).fit(X, labels)
    X[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        clone(gate).fit(X, labels)
    with pytest.raises(ValueError, match="features"):
        fitted.predict_proba(X[4:, :2])


@numeric_gates
def test_sparse_and_dense_and_numeric_frames_are_one(gate):
    import pandas as pd

    X, labels = soft_labels()
    X[np.abs(X) < 0.7] = 0.0
    dense = clone(gate).fit(X, labels).predict_proba(X)
    csr = clone(gate).fit(sparse.csr_matrix(X), labels).predict_proba(sparse.csr_matrix(X))
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    framed = clone(gate).fit(frame, labels).predict_proba(frame)
    assert np.allclose(dense, csr, atol=1e-5)
    assert np.allclose(dense, framed)


# -- constant


def test_constant_weights_are_mean_responsibilities():
    X, labels = soft_labels()
    weight = np.random.default_rng(0).uniform(size=len(X))
    fitted = ConstantGate().fit(X, labels, sample_weight=weight)
    assert np.allclose(fitted.weights_, np.average(labels, axis=0, weights=weight))


def exact_convex_weights(y, predictions):
    """By nonnegative least squares on the errors: the penalty on a sum other than one only scales w."""
    errors = predictions - y[:, None]
    size = np.sqrt((errors**2).mean(axis=0))
    one = size.min() * np.sqrt(len(y))
    found = nnls(np.vstack([errors / size, one / size]), np.append(np.zeros(len(y)), one))[0] / size
    return found / found.sum()


@pytest.mark.parametrize("K", [2, 5, 12])
@pytest.mark.parametrize("quality", [1.0, 100.0])
@pytest.mark.parametrize("factor", [1e-12, 1.0, 1e12])
def test_convex_weights_are_those_of_nonnegative_least_squares(K, quality, factor):
    _, y, predictions = answers(n=400, K=K, seed=K)
    predictions = y[:, None] + (predictions - y[:, None]) * quality ** np.linspace(-1, 1, K)
    objective = squared(factor * y, factor * predictions)
    fitted = ConstantGate().fit_objective(np.zeros((400, 0)), objective)
    expected = exact_convex_weights(y, predictions)
    assert fitted.weights_.sum() == pytest.approx(1.0)
    found, best = (mean_loss(objective, np.tile(w, (400, 1))) for w in (fitted.weights_, expected))
    assert found <= best * (1 + 1e-6)
    assert np.allclose(fitted.weights_, expected, atol=2e-3)


def test_log_loss_weights_are_those_of_em():
    rng = np.random.default_rng(3)
    density = rng.gamma(0.5, size=(300, 4)) + 1e-3
    expected = np.full(4, 0.25)
    for _ in range(20_000):
        posterior = expected * density
        expected = (posterior / posterior.sum(axis=1, keepdims=True)).mean(axis=0)
    fitted = ConstantGate().fit_objective(np.zeros((300, 0)), log_score(density))
    found, best = (mean_loss(log_score(density), np.tile(w, (300, 1))) for w in (fitted.weights_, expected))
    assert found <= best + 1e-6


def test_an_absurd_expert_spoils_nothing():
    _, y, predictions = answers(K=3)
    alone = ConstantGate().fit_objective(np.zeros((300, 0)), squared(y, predictions))
    absurd = np.c_[predictions, 1e12 * np.random.default_rng(0).standard_normal(300)]
    joined = ConstantGate().fit_objective(np.zeros((300, 0)), squared(y, absurd))
    # on few rows even noise may be of some use, at a weight of 1e-14 or so
    found, without = (
        mean_loss(squared(y, given), np.tile(gate.weights_, (300, 1)))
        for given, gate in ((absurd, joined), (predictions, alone))
    )
    assert found <= without * (1 + 1e-6)
    assert np.allclose(joined.weights_[:3], alone.weights_, atol=0.02)


def test_a_start_in_a_corner_is_left():
    if tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 16):
        pytest.skip("the solver of SciPy before 1.16 stays in a corner; nothing in the package begins there")
    density = np.where(np.arange(300)[:, None] % 2 == [0, 1], 1.0, 0.0)
    corner = ConstantGate().fit_objective(np.zeros((300, 0)), log_score(density), start=[1.0, 0.0])
    assert np.allclose(corner.weights_, 0.5, atol=1e-3)


def test_rows_without_weight_may_hold_anything():
    _, y, predictions = answers(K=3)
    weight = np.ones(300)
    weight[:50], y[:50] = 0.0, np.nan
    kept = ConstantGate().fit_objective(np.zeros((250, 0)), squared(y[50:], predictions[50:]))
    X = np.random.default_rng(0).standard_normal((300, 2))
    found = ConstantGate().fit_objective(X, squared(y, predictions), sample_weight=weight)
    assert np.allclose(found.weights_, kept.weights_, atol=1e-6)
    gate = SoftmaxGate(penalty=0.1).fit_objective(X, squared(y, predictions), sample_weight=weight)
    without = SoftmaxGate(penalty=0.1).fit_objective(X[50:], squared(y[50:], predictions[50:]))
    assert np.allclose(gate.predict_proba(X), without.predict_proba(X), atol=1e-4)


# -- Gaussian


def test_hard_labels_give_quadratic_discriminants():
    X, labels = soft_labels(n=500, seed=7)
    classes = labels.argmax(axis=1)
    gate = GaussianGate(shrinkage=0.0, ridge=0.0).fit(X, hard(labels))
    expected = QuadraticDiscriminantAnalysis().fit(X, classes)
    for k in range(3):
        assert np.allclose(gate.covariances_[k], np.cov(X[classes == k].T, ddof=0))
    assert np.allclose(gate.means_, expected.means_)
    # releases of scikit-learn differ in the divisor, n or n - 1
    assert np.allclose(gate.predict_proba(X), expected.predict_proba(X), atol=0.02)


def test_soft_labels_give_the_m_step_of_a_gaussian_mixture():
    rng = np.random.default_rng(8)
    X = np.r_[rng.standard_normal((200, 2)), 3 + 0.5 * rng.standard_normal((100, 2))]
    mixture = GaussianMixture(2, tol=1e-10, max_iter=1000, reg_covar=1e-12, random_state=0).fit(X)
    gate = GaussianGate(shrinkage=0.0, ridge=0.0).fit(X, mixture.predict_proba(X))
    assert np.allclose(gate.proportions_, mixture.weights_, atol=1e-4)
    assert np.allclose(gate.means_, mixture.means_, atol=1e-3)
    assert np.allclose(gate.covariances_, mixture.covariances_, atol=1e-3)
    assert np.allclose(gate.predict_proba(X), mixture.predict_proba(X), atol=1e-3)


def test_a_duplicated_column_adds_nothing_and_no_ridge_is_no_exception():
    X, labels = soft_labels(seed=7)
    odd = np.c_[X, X[:, 0], X @ [1.0, 1.0, 1.0], np.full(len(X), 3.0)]
    once, twice = (GaussianGate(shrinkage=0.0).fit(Z, labels).predict_proba(Z) for Z in (X, odd))
    assert np.allclose(once, twice, atol=1e-3)
    assert np.isfinite(GaussianGate(shrinkage=0.0, ridge=0.0).fit(odd, labels).predict_proba(odd)).all()


def test_few_rows_are_drawn_towards_the_pooled_covariance():
    X, labels = soft_labels(n=300, q=5, seed=9)
    labels = hard(labels)
    labels[:, 2] = 0.0
    labels[0] = [0.0, 0.0, 1.0]
    gate = GaussianGate().fit(X, labels)
    assert np.isfinite(gate.predict_proba(X)).all()
    assert np.linalg.eigvalsh(gate.covariances_[2]).min() > 0.1 * np.linalg.eigvalsh(gate.covariances_[0]).min()
    pooled = GaussianGate(shrinkage=1.0).fit(X, labels).covariances_
    assert np.allclose(pooled[0], pooled[2])


def test_a_sparse_matrix_too_large_to_be_dense_is_refused():
    X = sparse.csr_matrix((50_000, 1000))
    with pytest.raises(ValueError, match="SoftmaxGate"):
        GaussianGate().fit(X, np.full((50_000, 2), 0.5))


@pytest.mark.parametrize("shrinkage", ["some", -0.1, 1.1])
def test_shrinkage_is_a_share(shrinkage):
    X, labels = soft_labels(n=20)
    with pytest.raises(ValueError, match="shrinkage"):
        GaussianGate(shrinkage=shrinkage).fit(X, labels)
