"""What every gate promises: weights, invariances, validation; gates by name in use and in files."""

import copy

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_moons
from sklearn.exceptions import NotFittedError
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

import metamix
from metamix import registry
from metamix.gates import (
    ClassifierGate,
    ConstantGate,
    ForestGate,
    GaussianGate,
    NeighboursGate,
    OnlineGate,
    SoftmaxGate,
)
from metamix.protocols import ContinuedPathGate, DifferentiableGate, Gate, IncrementalGate, PathGate
from metamix.testing import check_gate

GATES = {
    "constant": ConstantGate(),
    "softmax": SoftmaxGate(penalty=0.01),
    "gmm": GaussianGate(),
    "online": OnlineGate(),
    "neighbours": NeighboursGate(),
    "classifier": ClassifierGate(DecisionTreeClassifier(max_depth=2, random_state=0)),
    "tree": registry.gates["tree"](random_state=0),
    "forest": registry.gates["forest"](n_estimators=20, random_state=0),
    "boosting": registry.gates["boosting"](max_iter=20, random_state=0),
}
every_gate = pytest.mark.parametrize("gate", GATES.values(), ids=GATES.keys())
NUMERIC = {name: GATES[name] for name in ("softmax", "gmm", "neighbours")}
numeric_gates = pytest.mark.parametrize("gate", NUMERIC.values(), ids=NUMERIC.keys())
SMALL = {"forest": ForestGate(), "boosting": registry.gates["boosting"](max_iter=5)}
LOCAL = {name: GATES[name] for name in ("neighbours", "tree", "forest", "boosting")}
local_gates = pytest.mark.parametrize("gate", LOCAL.values(), ids=LOCAL.keys())


def check_weights(weights, shape):
    assert weights.shape == shape
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    assert np.allclose(weights.sum(axis=1), 1.0)


FOLLOWING = {name: gate for name, gate in GATES.items() if hasattr(gate, "partial_fit") and name != "constant"}
FOLLOWING["bayes"] = ClassifierGate(GaussianNB())
FOLLOWING["degree 2"] = SoftmaxGate(penalty=0.01, degree=2)
following_gates = pytest.mark.parametrize("gate", FOLLOWING.values(), ids=FOLLOWING.keys())


# Contract


@every_gate
def test_weights_are_nonnegative_and_sum_to_one(gate, soft_labels):
    X, labels = soft_labels()
    assert isinstance(gate, Gate)
    with pytest.raises(NotFittedError):
        clone(gate).predict_proba(X)
    fitted = clone(gate).fit(X, labels)
    assert fitted.n_experts_ == 3
    check_weights(fitted.predict_proba(X[:7]), (7, 3))


def test_protocols_of_differentiable_gates():
    assert isinstance(ConstantGate(), DifferentiableGate)
    assert isinstance(SoftmaxGate(), PathGate)
    assert not isinstance(GaussianGate(), DifferentiableGate)
    assert isinstance(SoftmaxGate(), ContinuedPathGate)


@pytest.mark.parametrize("gate", SMALL.values(), ids=SMALL.keys())  # test_testing checks the other gates by name
def test_gates_pass_the_public_checks(gate):
    for _, check in check_gate(gate):
        check()


@every_gate
def test_rows_of_weight_zero_are_ignored(gate, soft_labels):
    X, labels = soft_labels(seed=1)
    weight = np.random.default_rng(1).integers(0, 3, len(X)).astype(float)
    weighted = clone(gate).fit(X, labels, sample_weight=weight)
    kept = weight > 0
    without = clone(gate).fit(X[kept], labels[kept], sample_weight=100 * weight[kept])
    assert np.allclose(weighted.predict_proba(X), without.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("name", ["constant", "softmax", "online", "classifier"])
def test_integer_weights_equal_repeated_rows(name, soft_labels):
    X, labels = soft_labels(seed=2)
    times = np.random.default_rng(2).integers(0, 4, len(X))
    weighted = clone(GATES[name]).fit(X, labels, sample_weight=times)
    repeated = clone(GATES[name]).fit(np.repeat(X, times, axis=0), np.repeat(labels, times, axis=0))
    assert np.allclose(weighted.predict_proba(X), repeated.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("name", ["constant", "softmax", "gmm"])
@settings(max_examples=6)
@given(order=st.permutations(range(3)), seed=st.integers(0, 5))
def test_permuting_the_experts_permutes_the_weights(name, soft_labels, order, seed):
    X, labels = soft_labels(n=60, seed=seed)
    plain = clone(GATES[name]).fit(X, labels).predict_proba(X)
    permuted = clone(GATES[name]).fit(X, labels[:, order]).predict_proba(X)
    assert np.allclose(permuted, plain[:, order], atol=1e-6)


@numeric_gates
@settings(max_examples=10)
@given(factor=st.sampled_from([1e-6, 1e-3, 1e6]), shift=st.floats(-1e3, 1e3), column=st.integers(0, 2))
def test_units_of_x_do_not_matter(gate, soft_labels, factor, shift, column):
    X, labels = soft_labels(n=80)
    moved = X.copy()
    moved[:, column] = factor * (X[:, column] + shift)
    plain, other = (clone(gate).fit(Z, labels).predict_proba(Z) for Z in (X, moved))
    assert np.allclose(plain, other, atol=1e-5)


# Degenerate data


@every_gate
def test_weights_are_finite_far_from_the_training_data(gate):
    X = np.random.default_rng(0).uniform(0, 1, (100, 1))
    fitted = clone(gate).fit(X, np.c_[X, 1 - X])
    far = np.array([-1e300, -1e12, -100.0, 100.0, 1e12, 1e300])[:, None]
    far = far[1:-1] if gate is GATES["classifier"] else far  # without BoundedColumns, beyond the 32-bit floats of trees
    check_weights(fitted.predict_proba(far), (len(far), 2))


@every_gate
def test_constant_and_duplicated_columns(gate, soft_labels):
    X, labels = soft_labels()
    odd = np.c_[X, X[:, 0], np.full(len(X), 7.3e5), np.zeros(len(X))]
    check_weights(clone(gate).fit(odd, labels).predict_proba(odd), labels.shape)
    only_constant = clone(gate).fit(np.full((len(X), 2), 0.1), labels).predict_proba(np.full((2, 2), 5.0))
    atol = 2e-2 if isinstance(gate, ForestGate) else 1e-3  # means of bootstrap samples vary
    assert np.allclose(only_constant, labels.mean(axis=0), atol=atol)


@every_gate
def test_an_expert_without_responsibility_has_no_weight(gate, soft_labels):
    X, labels = soft_labels()
    labels[:, 1] = 0.0
    weights = clone(gate).fit(X, labels).predict_proba(X)
    check_weights(weights, labels.shape)
    assert weights[:, 1].max() < 1e-3


@local_gates
@pytest.mark.parametrize("n", [1, 2, 7])
def test_few_rows(gate, n, soft_labels):
    X, labels = soft_labels(n=n)
    check_weights(clone(gate).fit(X, labels).predict_proba(np.vstack([X, 50 * X])), (2 * n, 3))


@every_gate
def test_invalid_input_is_named(gate, soft_labels):
    X, labels = soft_labels(n=20)
    with pytest.raises(ValueError, match=r"\(20, K\)"):
        clone(gate).fit(X, labels[:-1])
    with pytest.raises(ValueError, match="finite"):
        clone(gate).fit(X, np.full_like(labels, np.nan))
    with pytest.raises(ValueError, match="sample_weight"):
        clone(gate).fit(X, labels, sample_weight=np.zeros(20))


# Types of tables


@numeric_gates
def test_missing_values_and_other_columns_are_rejected(gate, soft_labels):
    X, labels = soft_labels(n=20)
    fitted = clone(gate).fit(X, labels)
    X[3, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        clone(gate).fit(X, labels)
    with pytest.raises(ValueError, match="features"):
        fitted.predict_proba(X[4:, :2])


@numeric_gates
def test_sparse_matrices_and_numeric_frames_equal_arrays(gate, soft_labels):
    X, labels = soft_labels()
    X[np.abs(X) < 0.7] = 0.0
    dense = clone(gate).fit(X, labels).predict_proba(X)
    csr = clone(gate).fit(sparse.csr_matrix(X), labels).predict_proba(sparse.csr_matrix(X))
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    framed = clone(gate).fit(frame, labels).predict_proba(frame)
    assert np.allclose(dense, csr, atol=1e-5)
    assert np.allclose(dense, framed)


# Quality


@local_gates
def test_curved_boundaries_are_learned_where_a_linear_gate_fails(gate):
    X, regime = make_moons(600, noise=0.1, random_state=0)
    labels = np.where(regime[:, None] == [0, 1], 0.9, 0.1)
    fitted = clone(gate).fit(X[:400], labels[:400])
    linear = SoftmaxGate(penalty=0.01).fit(X[:400], labels[:400])

    def error_rate(gate):
        return (gate.predict_proba(X[400:]).argmax(axis=1) != regime[400:]).mean()

    assert error_rate(fitted) < 0.05
    assert error_rate(linear) > 0.08
    assert np.abs(fitted.predict_proba(X[400:]).max(axis=1).mean() - 0.9) < 0.08  # soft labels stay soft


@local_gates
def test_labels_independent_of_x_are_not_overfitted(gate):
    rng = np.random.default_rng(0)
    X, labels = rng.standard_normal((400, 5)), np.eye(2)[rng.integers(0, 2, 400)]
    weights = clone(gate).fit(X, labels).predict_proba(rng.standard_normal((400, 5)))
    assert np.sqrt(np.mean((weights - 0.5) ** 2)) < 0.3  # a gate that memorises its rows has 0.5


# Files


@pytest.mark.parametrize(
    "gate",
    [NeighboursGate(), GATES["tree"], *SMALL.values()],
    ids=["neighbours", "tree", *SMALL.keys()],
)
def test_a_mixture_with_the_gate_is_saved_and_loaded(gate, tmp_path):
    X, y = metamix.make_regimes(60, n_features=3, random_state=0)
    mixture = metamix.MixtureRegressor(["ridge", "linear"], gate=gate, specialize=False, cv=2, random_state=0)
    metamix.save(mixture.fit(X, y), tmp_path / "mixture")
    loaded = metamix.load(tmp_path / "mixture")
    assert np.array_equal(loaded.predict(X), mixture.predict(X))
    assert np.array_equal(loaded.gate_.predict_proba(X), mixture.gate_.predict_proba(X))


# New rows


def bordered(n, border, seed):
    """Columns (n, 3), and labels (n, 2) of which the first column decides with noise."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, 3))
    return X, np.eye(2)[(rng.random(n) < 1 / (1 + np.exp(-6 * (X[:, 0] - border)))).astype(int)]


def wrong(gate, border):
    """Share of new rows whose leading expert is not the one on their side of the border."""
    X, _ = bordered(2000, border, 99)
    return np.mean(gate.predict_proba(X).argmax(axis=1) != (X[:, 0] > border))


def test_gates_that_follow():
    assert set(FOLLOWING) == {"softmax", "degree 2", "gmm", "forest", "neighbours", "bayes"}
    assert all(isinstance(gate, IncrementalGate) for gate in FOLLOWING.values())


@following_gates
def test_a_border_that_moves_is_followed_and_one_that_stays_is_kept(gate):
    """600 rows, then 600 in batches of 30; a gate fitted to the latter alone is the measure."""
    fitted = clone(gate).fit(*bordered(600, 0.0, 0))
    for border in (0.0, 1.0):
        X, labels = bordered(600, border, 1)
        one = copy.copy(fitted)
        for begin in range(0, 600, 30):
            batch = slice(begin, begin + 30)
            one = copy.copy(one).partial_fit(X[batch], labels[batch], step=0.15)
        best = wrong(clone(gate).fit(X, labels), border)
        slowly = isinstance(gate, ClassifierGate)  # naive Bayes counts all rows alike
        assert wrong(one, border) < best + (0.2 if slowly else 0.06)
    assert wrong(fitted, 1.0) > 0.3
    assert wrong(fitted, 0.0) < 0.1


@following_gates
def test_single_rows_and_rows_without_weight(gate):
    X, labels = bordered(200, 0.0, 0)
    new, more = bordered(40, 1.0, 1)
    weight = np.where(np.arange(40) % 2, 0.0, 2.0)
    one, other = clone(gate).fit(X, labels), clone(gate).fit(X, labels)
    one.partial_fit(new, more, sample_weight=weight, step=0.3)
    other.partial_fit(new[weight > 0], more[weight > 0], step=0.3)
    np.testing.assert_allclose(one.predict_proba(X), other.predict_proba(X), atol=1e-6)
    for row in range(40):
        one.partial_fit(new[[row]], more[[row]], step=0.05)
    check_weights(one.predict_proba(X), (200, 2))
    with pytest.raises(ValueError, match="responsibilities"):
        one.partial_fit(new, more[:-1], step=0.1)


@pytest.mark.parametrize("name", ["softmax", "neighbours"])
def test_sparse_rows_are_followed_like_dense_ones(name):
    X, labels = bordered(200, 0.0, 0)
    new, more = bordered(40, 1.0, 1)
    X[np.abs(X) < 0.5] = new[np.abs(new) < 0.5] = 0.0
    dense = clone(GATES[name]).fit(X, labels).partial_fit(new, more, step=0.3)
    rows = clone(GATES[name]).fit(sparse.csr_array(X), labels).partial_fit(sparse.csr_array(new), more, step=0.3)
    np.testing.assert_allclose(rows.predict_proba(sparse.csr_array(X)), dense.predict_proba(X), atol=1e-4)
