"""Checks of gates: weights of the right shape that follow the responsibilities."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier

from metamix.testing.assertions import Factory, require

__all__ = ["GATE_CHECKS"]

Array = NDArray[np.float64]
N = 90


def _table() -> tuple[Array, Array]:
    """Columns (n, 2) and responsibilities (n, 3) that depend on the first column."""
    X = np.random.default_rng(0).normal(size=(N, 2))
    logits = np.column_stack([1.5 * X[:, 0] + 0.5, -X[:, 0], np.zeros(N)])
    shares = np.exp(logits)
    return X, shares / shares.sum(axis=1, keepdims=True)


def _seeded(make: Factory) -> Any:
    gate = make()
    seeds = {name: 0 for name in gate.get_params() if name.rpartition("__")[2] == "random_state"}
    return gate.set_params(**seeds)


def _weights(gate: Any, X: Array, K: int) -> Array:
    weights = np.asarray(gate.predict_proba(X))
    require(weights.shape == (len(X), K), f"weights have shape {weights.shape}; expected (n, K) = {(len(X), K)}")
    require(np.isfinite(weights).all(), "a weight is NaN or infinite")
    normalised = (weights >= 0).all() and np.allclose(weights.sum(axis=1), 1, atol=1e-6)
    require(normalised, "weights are negative or do not sum to 1")
    return weights


def does_not_say_that_it_is_a_classifier(make: Factory) -> None:
    """A gate with the tags of a classifier is taken for a plain one, and fitted to labels (n,)."""
    gate = make()
    says = hasattr(gate, "__sklearn_tags__") and is_classifier(gate)
    require(not says, "the gate says that it is a classifier, and would get labels; leave ClassifierMixin out")


def weights_follow_responsibilities(make: Factory) -> None:
    """Weights are probabilities whose mean is close to that of the responsibilities."""
    X, shares = _table()
    weights = _weights(_seeded(make).fit(X, shares), X, 3)
    gap = float(np.abs(weights.mean(axis=0) - shares.mean(axis=0)).max())
    require(gap < 0.1, f"mean weights differ from mean responsibilities by {gap:.2g}")


def weights_stay_finite_far_away(make: Factory) -> None:
    """Weights are finite far outside the data, where densities underflow."""
    X, shares = _table()
    gate = _seeded(make).fit(X, shares)
    for factor in (1e3, 1e12, 1e100):
        _weights(gate, X * factor, 3)


def experts_in_another_order(make: Factory) -> None:
    """Reordering the experts reorders the weights."""
    X, shares = _table()
    order = [2, 0, 1]
    weights = _weights(_seeded(make).fit(X, shares), X, 3)
    permuted = _weights(_seeded(make).fit(X, shares[:, order]), X, 3)
    gap = float(np.abs(weights[:, order] - permuted).max())
    require(gap < 0.01, f"reordering the experts changes their weights by {gap:.2g}")


def sample_weight_counts(make: Factory) -> None:
    """Of rows with opposite responsibilities, those with the larger sample weights determine the gate."""
    X, _ = _table()
    X2, shares2 = np.vstack([X, X]), np.tile([0.8, 0.15, 0.05], (2 * N, 1))
    shares2[N:] = shares2[N:, ::-1]
    for first, column in ((True, 0), (False, 2)):
        weight = np.where((np.arange(2 * N) < N) == first, 1.0, 0.01)
        mean = _weights(_seeded(make).fit(X2, shares2, sample_weight=weight), X2, 3).mean(axis=0)
        require(mean.argmax() == column, "sample_weight does not change the largest weight")


def one_expert_and_certain_labels(make: Factory) -> None:
    """K = 1 gives a column of ones; responsibilities of 0 and 1 are accepted."""
    X, shares = _table()
    require(
        np.allclose(_weights(_seeded(make).fit(X, np.ones((N, 1))), X, 1), 1),
        "a single expert does not get weight 1",
    )
    _weights(_seeded(make).fit(X, np.eye(3)[shares.argmax(axis=1)]), X, 3)


def an_expert_without_rows(make: Factory) -> None:
    """An expert without responsibility gets a small weight, and causes no error."""
    X, shares = _table()
    shares = np.column_stack([shares[:, 0], 1 - shares[:, 0], np.zeros(N)])
    require(
        _weights(_seeded(make).fit(X, shares), X, 3)[:, 2].mean() < 0.1,
        "an expert without responsibility gets a mean weight above 0.1",
    )


def leaves_its_input_alone(make: Factory) -> None:
    """Read-only arrays are accepted."""
    X, shares = _table()
    weight = np.ones(N)
    for array in (X, shares, weight):
        array.setflags(write=False)
    _weights(_seeded(make).fit(X, shares, sample_weight=weight), X, 3)


def same_seed_same_weights(make: Factory) -> None:
    """Equal seeds give equal weights; a pickled gate gives the same weights, and so does a single row."""
    X, shares = _table()
    gate = _seeded(make).fit(X, shares)
    weights = _weights(gate, X, 3)
    require(np.array_equal(weights, _weights(_seeded(make).fit(X, shares), X, 3)), "two fits with the same seed differ")
    require(np.array_equal(weights, _weights(pickle.loads(pickle.dumps(gate)), X, 3)), "a pickled copy differs")
    require(np.allclose(weights[4], _weights(gate, X[4:5], 3)[0], atol=1e-6), "weights depend on the other rows")


def objective_is_not_made_worse(make: Factory) -> None:
    """``fit_objective``, if there is one, does not increase the objective."""
    if not hasattr(make(), "fit_objective"):
        return
    X, _ = _table()
    predictions = np.column_stack([X[:, 0], -X[:, 0], np.zeros(N)])
    y = np.abs(X[:, 0])

    def squared(weights: Array) -> tuple[Array, Array]:
        error = (weights * predictions).sum(axis=1) - y
        return error**2, 2 * error[:, None] * predictions

    start = np.full(3, 1 / 3)
    weights = _weights(_seeded(make).fit_objective(X, squared, start=start), X, 3)
    before, after = squared(np.tile(start, (N, 1)))[0].mean(), squared(weights)[0].mean()
    require(after <= before * 1.001 + 1e-12, f"fit_objective increases the loss from {before:.4g} to {after:.4g}")


def gradient_is_the_slope_of_the_weights(make: Factory) -> None:
    """``weights_gradient``, if there is one, agrees with central differences."""
    if not hasattr(make(), "weights_gradient"):
        return
    X, shares = _table()
    gate = _seeded(make).fit(X, shares)
    found = np.asarray(gate.weights_gradient(X))
    require(found.shape == (N, 3, 2), f"weights_gradient has shape {found.shape}; expected (n, K, q) = {(N, 3, 2)}")
    for j, step in enumerate(1e-4 * np.eye(2)):
        slope = (_weights(gate, X + step, 3) - _weights(gate, X - step, 3)) / 2e-4
        gap = np.abs(found[:, :, j] - slope).max() / max(1.0, np.abs(slope).max())
        require(gap < 1e-3, f"weights_gradient differs from central differences by {gap:.2g} in column {j}")


GATE_CHECKS = (
    does_not_say_that_it_is_a_classifier,
    weights_follow_responsibilities,
    weights_stay_finite_far_away,
    experts_in_another_order,
    sample_weight_counts,
    one_expert_and_certain_labels,
    an_expert_without_rows,
    leaves_its_input_alone,
    same_seed_same_weights,
    objective_is_not_made_worse,
    gradient_is_the_slope_of_the_weights,
)
