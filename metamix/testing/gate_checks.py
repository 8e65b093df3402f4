"""Checks of gates: weights of the right shape that follow the responsibilities."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.base import is_classifier
from sklearn.linear_model import Ridge
from sklearn.model_selection import TimeSeriesSplit
from sklearn.neighbors import KNeighborsRegressor

from metamix.estimators import MixtureRegressor
from metamix.testing.assertions import Factory, require
from metamix.testing.common_checks import Trial, seeded

__all__ = ["GATE_CHECKS", "gate_trial"]

Array = NDArray[np.float64]
N = 90


def _table() -> tuple[Array, Array]:
    """Columns (n, 2) and responsibilities (n, 3) that depend on the first column."""
    X = np.random.default_rng(0).normal(size=(N, 2))
    logits = np.column_stack([1.5 * X[:, 0] + 0.5, -X[:, 0], np.zeros(N)])
    shares = np.exp(logits)
    return X, shares / shares.sum(axis=1, keepdims=True)


def _seeded(make: Factory) -> Any:
    return seeded(make())


def _weights(gate: Any, X: Array, K: int) -> Array:
    weights = np.asarray(gate.predict_proba(X))
    require(weights.shape == (len(X), K), f"weights have shape {weights.shape}; expected (n, K) = {(len(X), K)}")
    require(np.isfinite(weights).all(), "a weight is NaN or infinite")
    return weights


def gate_trial(make: Factory) -> Trial:
    """How the common checks use a gate."""
    X, shares = _table()
    y = np.abs(X[:, 0]) + 0.1 * X[:, 1]
    start = (X[:, 0] > 0).astype(int)

    def mistakes(make: Factory) -> Iterator[tuple[str, Callable[[], Any]]]:
        yield "predicting before fit", lambda: make().predict_proba(X)
        yield "fitting with a row of responsibilities too few", lambda: make().fit(X, shares[:-1])

    def mixture(gate: Any) -> tuple[Any, Array, Array]:
        experts = [("line", Ridge()), ("near", KNeighborsRegressor())]
        settings: dict[str, Any] = {"specialize": True, "start": start, "max_rounds": 1, "random_state": 0, "n_jobs": 1}
        return MixtureRegressor(experts, gate=gate, cv=TimeSeriesSplit(2), **settings), X, y

    return Trial(
        make,
        fit=lambda gate: gate.fit(X, shares),
        answer=lambda gate: _weights(gate, X, 3),
        mistakes=mistakes,
        mixture=mixture,
    )


def weights_are_on_the_simplex(make: Factory) -> None:
    """Weights are not negative, and those of each row sum to 1."""
    X, shares = _table()
    weights = _weights(_seeded(make).fit(X, shares), X, 3)
    require((weights >= 0).all(), "a weight is negative")
    gap = float(np.abs(weights.sum(axis=1) - 1).max())
    require(gap < 1e-6, f"weights of a row sum to 1 with an error of {gap:.2g}")


def does_not_say_that_it_is_a_classifier(make: Factory) -> None:
    """A gate with the tags of a classifier is taken for a plain one, and fitted to labels (n,)."""
    gate = make()
    says = hasattr(gate, "__sklearn_tags__") and is_classifier(gate)
    require(not says, "the gate says that it is a classifier, and would get labels; leave ClassifierMixin out")


def weights_follow_responsibilities(make: Factory) -> None:
    """The mean of the weights is close to that of the responsibilities, and they are larger where those are."""
    X, shares = _table()
    weights = _weights(_seeded(make).fit(X, shares), X, 3)
    gap = float(np.abs(weights.mean(axis=0) - shares.mean(axis=0)).max())
    require(gap < 0.1, f"mean weights differ from mean responsibilities by {gap:.2g}")


def no_information_no_gate(make: Factory) -> None:
    """Where columns say nothing about the experts, weights of new rows are hardly worse than constant ones.

    Measured by the cross-entropy of new responsibilities, in nats. Of the gates of metamix the forest loses most, 0.06.
    """
    rng = np.random.default_rng(0)
    X, new = rng.normal(size=(400, 2)), rng.normal(size=(400, 2))
    shares = rng.dirichlet(np.ones(3), size=400)
    mean = shares.mean(axis=0)
    weights = _weights(_seeded(make).fit(X, shares), new, 3)
    loss = float(np.mean(np.log(mean) @ mean - np.log(np.maximum(weights, 1e-12)) @ mean))
    require(
        loss < 0.1, f"on columns without information the cross-entropy is {loss:.2g} above that of constant weights"
    )


def constant_columns_give_constant_weights(make: Factory) -> None:
    """On columns that are constant, weights are the mean responsibilities.

    A gate with ``fit_objective`` has the weights of convex stacking there: its loss is the smallest that constant
    weights on the simplex can have, to 1e-8.
    """
    X, shares = _table()
    X = np.ones_like(X)
    weights = _weights(_seeded(make).fit(X, shares), X, 3)
    gap = float(np.abs(weights - shares.mean(axis=0)).max())
    require(gap < 0.01, f"on constant columns weights differ from the mean responsibilities by {gap:.2g}")
    if not hasattr(make(), "fit_objective"):
        return
    predictions, y, squared = _stacking()
    found = _weights(_seeded(make).fit_objective(X, squared, start=np.full(3, 1 / 3)), X, 3)
    simplex = {"type": "eq", "fun": lambda w: w.sum() - 1}
    convex = minimize(
        lambda w: np.mean((predictions @ w - y) ** 2),
        np.full(3, 1 / 3),
        jac=lambda w: 2 * predictions.T @ (predictions @ w - y) / N,
        bounds=[(0, 1)] * 3,
        constraints=simplex,
        method="SLSQP",
        options={"ftol": 1e-14},
    )
    excess = float(squared(found)[0].mean() - convex.fun)
    require(excess < 1e-8, f"on constant columns the loss is {excess:.2g} above that of convex stacking")


def _stacking() -> tuple[Array, Array, Callable[[Array], tuple[Array, Array]]]:
    """Predictions (n, 3), y (n,), and the squared error of their combination with its gradient, as gates get it."""
    X, _ = _table()
    rng = np.random.default_rng(1)
    y = np.abs(X[:, 0])
    predictions = np.column_stack([y + 0.5 * rng.normal(size=N), y + 0.7 * rng.normal(size=N), X[:, 0]])

    def squared(weights: Array) -> tuple[Array, Array]:
        error = (weights * predictions).sum(axis=1) - y
        return error**2, 2 * error[:, None] * predictions

    return predictions, y, squared


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


def rows_of_weight_zero_do_not_count(make: Factory) -> None:
    """Responsibilities of rows without weight have no effect."""
    X, shares = _table()
    weight = np.where(np.arange(N) % 4 == 3, 0.0, 1.0)
    other = np.where(weight[:, None] > 0, shares, shares[:, ::-1])
    first, second = (_weights(_seeded(make).fit(X, R, sample_weight=weight), X, 3) for R in (shares, other))
    gap = float(np.abs(first - second).max())
    require(gap < 1e-6, f"responsibilities of rows with sample_weight 0 change weights by {gap:.2g}")


def weight_of_two_is_two_rows(make: Factory) -> None:
    """Rows of weight 2 count as two rows each."""
    X, _ = _table()
    X2, shares2 = np.vstack([X, X]), np.tile([0.8, 0.15, 0.05], (2 * N, 1))
    shares2[N:] = shares2[N:, ::-1]
    weight = np.where(np.arange(2 * N) < N, 1.0, 2.0)
    rows = np.repeat(np.arange(2 * N), weight.astype(int))
    weighted = _weights(_seeded(make).fit(X2, shares2, sample_weight=weight), X, 3).mean(axis=0)
    repeated = _weights(_seeded(make).fit(X2[rows], shares2[rows]), X, 3).mean(axis=0)
    gap = float(np.abs(weighted - repeated).max())
    require(gap < 0.03, f"a row of weight 2 and two rows differ by {gap:.2g} in mean weights")


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


def rows_are_answered_alone(make: Factory) -> None:
    """The weights of a row do not depend on the other rows."""
    X, shares = _table()
    gate = _seeded(make).fit(X, shares)
    together, alone = _weights(gate, X, 3)[4], _weights(gate, X[4:5], 3)[0]
    require(np.allclose(together, alone, atol=1e-6), "weights depend on the other rows")


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


def follows_new_rows(make: Factory) -> None:
    """``partial_fit``, if there is one, moves the weights towards new responsibilities, and a shallow copy alone."""
    if not hasattr(make(), "partial_fit"):
        return
    X, shares = _table()
    gate = _seeded(make).fit(X, shares)
    before, other = _weights(gate, X, 3), shares[:, ::-1]
    moved = copy.copy(gate)
    for _ in range(20):
        moved = copy.copy(moved).partial_fit(X, other, step=0.3)
    gap = float(np.abs(_weights(gate, X, 3) - before).max())
    require(gap == 0, f"partial_fit of a shallow copy changes the weights of the gate by {gap:.2g}")
    mean, wanted = _weights(moved, X, 3).mean(axis=0), other.mean(axis=0)
    away = float(np.abs(mean - wanted).max() / np.abs(before.mean(axis=0) - wanted).max())
    require(away < 0.5, f"after 20 steps of 0.3 mean weights have come {1 - away:.0%} of the way to new ones")


GATE_CHECKS = (
    weights_are_on_the_simplex,
    does_not_say_that_it_is_a_classifier,
    weights_follow_responsibilities,
    weights_stay_finite_far_away,
    no_information_no_gate,
    constant_columns_give_constant_weights,
    experts_in_another_order,
    sample_weight_counts,
    rows_of_weight_zero_do_not_count,
    weight_of_two_is_two_rows,
    one_expert_and_certain_labels,
    an_expert_without_rows,
    leaves_its_input_alone,
    rows_are_answered_alone,
    objective_is_not_made_worse,
    gradient_is_the_slope_of_the_weights,
    follows_new_rows,
)
