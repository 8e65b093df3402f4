"""Gradient descent for gates with linear logits: cross-entropy, or any objective of the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, minimize

from metamix.gates.simplex import row_objective, unit_of_loss
from metamix.gates.standardised import StandardisedColumns, row_blocks
from metamix.protocols import FloatArray, Objective

#: Mean loss and its gradient in slopes (q, K) and intercept (K,).
MeanLoss = Callable[[FloatArray, FloatArray], tuple[float, FloatArray, FloatArray]]
#: Preconditioning is skipped for more columns than this: the decomposition costs more than it saves.
_WIDE = 400
#: Without a penalty no expert's logit has a larger standard deviation along a principal direction of the columns: where
#: regimes are separable, the likelihood has no maximum and slopes would grow without end (Albert & Anderson 1984).
LARGEST_SLOPE = 500.0
#: Eigenvalues of the correlation matrix below q times this are treated as zero (linearly dependent columns).
_RANK_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Coefficients:
    """Slopes (q, K) of standardised columns, and intercept (K,)."""

    slopes: FloatArray
    intercept: FloatArray


def softmax(logits: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Softmax (n, K) and log-sum-exp (n, 1) of logits (n, K), without overflow.

    Examples
    --------
    >>> import numpy as np
    >>> softmax(np.array([[1e5, 0.0]]))[0]
    array([[1., 0.]])
    """
    top = logits.max(axis=1, keepdims=True)
    weights = np.exp(logits - top)
    total = weights.sum(axis=1, keepdims=True)
    weights /= total
    return weights, top + np.log(total)


def cross_entropy(columns: StandardisedColumns, responsibilities: FloatArray, row_weights: FloatArray) -> MeanLoss:
    """Mean cross-entropy -sum_k r_k log g_k, computed in blocks of rows to bound memory.

    Examples
    --------
    >>> import numpy as np
    >>> columns = StandardisedColumns(np.array([[0.0], [1.0]]), np.full(2, 0.5))
    >>> loss = cross_entropy(columns, np.eye(2), np.full(2, 0.5))
    >>> round(loss(np.zeros((1, 2)), np.zeros(2))[0], 4)
    0.6931
    """

    def loss(slopes: FloatArray, intercept: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        value, by_slope, by_intercept = 0.0, np.zeros_like(slopes), np.zeros_like(intercept)
        for rows in row_blocks(columns.n):
            logits = columns.logits(slopes, intercept, rows)
            target = row_weights[rows, None] * responsibilities[rows]
            mass = target.sum(axis=1, keepdims=True)
            weights, normaliser = softmax(logits)
            value += float((mass * normaliser).sum() - (target * logits).sum())
            weights *= mass
            weights -= target
            slope, level = columns.pull_back(weights, rows)
            by_slope += slope
            by_intercept += level
        return value, by_slope, by_intercept

    return loss


def objective_loss(
    columns: StandardisedColumns, objective: Objective, row_weights: FloatArray, start: FloatArray
) -> MeanLoss:
    """Mean objective as a function of the coefficients, scaled by its deviation at constant weights start (K,).

    Its value at ``start`` is subtracted, so that the tolerance of the solver is relative to the improvement.

    Examples
    --------
    >>> import numpy as np
    >>> columns = StandardisedColumns(np.array([[0.0], [1.0]]), np.full(2, 0.5))
    >>> def objective(weights):
    ...     return weights[:, 0], np.tile([1.0, 0.0], (len(weights), 1))
    >>> loss = objective_loss(columns, objective, np.full(2, 0.5), np.full(2, 0.5))
    >>> round(loss(np.zeros((1, 2)), np.array([0.0, 50.0]))[0], 6)
    -1.0
    """
    at_start = row_objective(start, objective, row_weights)[0]
    origin, unit = float(row_weights @ at_start), unit_of_loss(at_start, row_weights)
    shares = np.where(row_weights > 0, row_weights / unit, 0.0)
    some_zero = not (row_weights > 0).all()

    def loss(slopes: FloatArray, intercept: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        by_slope, by_intercept = np.zeros_like(slopes), np.zeros_like(intercept)
        weights = np.empty((len(intercept), columns.n)).T
        for rows in row_blocks(columns.n):
            weights[rows] = softmax(columns.logits(slopes, intercept, rows))[0]
        value, gradient = objective(weights)
        if some_zero:
            value = np.where(shares > 0, value, 0.0)
            gradient = np.where(shares[:, None] > 0, gradient, 0.0)
        for rows in row_blocks(columns.n):
            around = weights[rows] * gradient[rows]
            around -= weights[rows] * around.sum(axis=1, keepdims=True)
            around *= shares[rows, None]
            slope, level = columns.pull_back(around, rows)
            by_slope += slope
            by_intercept += level
        return float(shares @ value) - origin / unit, by_slope, by_intercept

    return loss


class Conditioning:
    """Preconditioner: principal directions of the columns, scaled so that the curvature is about one.

    The curvature of the mean loss along a direction of variance v is about c v + penalty with
    c = g (1 - g): one eigendecomposition serves a whole path of penalties. With a relevance r_j for each
    column the penalty applies to the slopes divided by r_j, so a small r_j penalises column j more.
    """

    def __init__(self, columns: StandardisedColumns) -> None:
        self.correlation = columns.correlation() if 0 < columns.q <= _WIDE else None
        self._set(np.ones((columns.q, 1)))

    def reweighted(self, relevance: FloatArray) -> Conditioning:
        """A copy for other relevances (q,), all positive."""
        other = copy.copy(self)
        other._set(relevance[:, None])
        return other

    def _set(self, relevance: FloatArray) -> None:
        self._relevance, self._directions = relevance, None
        self._variance = np.square(relevance[:, 0])
        if self.correlation is not None:
            self._variance, self._directions = np.linalg.eigh(relevance * self.correlation * relevance.T)

    def steps(self, penalty: float, curvature: float) -> FloatArray:
        """Scale (q, 1) of the coordinate along each direction; 0 for directions without variance."""
        total = curvature * np.maximum(self._variance, 0.0) + penalty
        null = self._variance <= _RANK_TOLERANCE * max(len(self._variance), 1)
        return np.where(null, 0.0, 1.0 / np.sqrt(np.where(null, 1.0, total)))[:, None]

    def forward(self, along: FloatArray) -> FloatArray:
        """Transform coordinates along the directions (q, K) to slopes (q, K)."""
        return self._relevance * (along if self._directions is None else self._directions @ along)

    def along(self, slopes: FloatArray) -> FloatArray:
        """Transform slopes (q, K) to coordinates along the directions (q, K)."""
        scaled = slopes / self._relevance
        return scaled if self._directions is None else self._directions.T @ scaled

    def back(self, gradient: FloatArray) -> FloatArray:
        """Transform a gradient with respect to slopes (q, K) to one with respect to coordinates (q, K)."""
        scaled = self._relevance * gradient
        return scaled if self._directions is None else self._directions.T @ scaled


def descend(
    loss: MeanLoss,
    conditioning: Conditioning,
    initial: Coefficients,
    penalty: float,
    *,
    tol: float,
    max_iter: int,
) -> tuple[Coefficients, int, bool]:
    """Minimise mean loss + penalty / 2 · ‖slopes / relevance‖² by L-BFGS (Liu & Nocedal 1989); intercepts are free.

    Without a penalty slopes are bounded; see `LARGEST_SLOPE`.

    Returns
    -------
    Coefficients
        Centred over experts, since adding a constant to all logits does not change the weights.
    int
        Number of iterations.
    bool
        Whether a slope is at its bound.

    Examples
    --------
    >>> import numpy as np
    >>> columns = StandardisedColumns(np.array([[0.0], [1.0]]), np.full(2, 0.5))
    >>> loss = cross_entropy(columns, np.eye(2), np.full(2, 0.5))
    >>> initial = Coefficients(np.zeros((1, 2)), np.zeros(2))
    >>> found, _, _ = descend(loss, Conditioning(columns), initial, 0.5, tol=1e-8, max_iter=100)
    >>> found.slopes.round(2)
    array([[-0.52,  0.52]])
    """
    q, K = initial.slopes.shape
    shares = softmax(initial.intercept[None, :])[0][0]
    curvature = max(float(np.mean(shares * (1.0 - shares))), 1e-3)
    steps = conditioning.steps(penalty, curvature)
    level = 1.0 / np.sqrt(curvature)

    def unpack(point: FloatArray) -> tuple[FloatArray, FloatArray]:
        return point[: q * K].reshape(q, K), level * point[q * K :]

    def penalised(point: FloatArray) -> tuple[float, FloatArray]:
        scaled, intercept = unpack(point)
        along = steps * scaled
        value, by_slope, by_intercept = loss(conditioning.forward(along), intercept)
        value += 0.5 * penalty * float(np.square(along).sum())
        by_along = steps * (conditioning.back(by_slope) + penalty * along)
        return value, np.concatenate([by_along.ravel(), level * by_intercept])

    along = np.divide(conditioning.along(initial.slopes), steps, out=np.zeros((q, K)), where=steps > 0)
    # A coordinate is a logit's standard deviation along its direction, times the root of the curvature.
    reach = np.sqrt(curvature) * LARGEST_SLOPE
    bounded = penalty == 0
    farthest = np.concatenate([np.full(q * K, reach if bounded else np.inf), np.full(K, np.inf)])
    found = minimize(
        penalised,
        np.clip(np.concatenate([along.ravel(), initial.intercept / level]), -farthest, farthest),
        jac=True,
        bounds=Bounds(-farthest, farthest) if bounded else None,
        method="L-BFGS-B",
        options={"maxiter": max_iter, "maxfun": 2 * max_iter, "gtol": tol, "ftol": 1e-15, "maxcor": 20},
    )
    scaled, intercept = unpack(found.x)
    slopes = conditioning.forward(steps * scaled)
    centred = Coefficients(slopes - slopes.mean(axis=1, keepdims=True), intercept - intercept.mean())
    return centred, int(found.nit), bounded and bool((np.abs(scaled) >= (1 - 1e-9) * reach).any())
