"""Convex weights: minimisation of a convex objective over the simplex."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from metamix.protocols import FloatArray, Objective

#: Tolerance of the Frank-Wolfe gap, an upper bound on the distance of a convex loss to its minimum, in units of
#: `unit_of_loss`.
_TOLERANCE = 1e-7
#: Largest number of runs of the solver.
_MAX_RUNS = 6
#: Share of interior weights that is mixed into a restart, to leave a vertex at which the solver stopped.
_RESTART_SHARE = 1e-3
#: Smaller weights are set to zero if the loss does not rise. For an expert with very large errors the optimal
#: weight may itself be as small as 1e-7.
_NEGLIGIBLE = 1e-6
#: Slopes and values passed to the solver are clipped to this.
_MAX_SLOPE = 1e9


def unit_of_loss(loss: FloatArray, row_weights: FloatArray) -> float:
    """Mean absolute deviation of row losses, by which objectives are divided.

    It is equivariant to the scale of the loss, so the unit of y does not matter, and, unlike the mean loss,
    invariant to an additive constant such as a change of units adds to a log density. For squared normal
    errors it is 0.97 of the mean.

    Parameters
    ----------
    loss : ndarray of shape (n,)
    row_weights : ndarray of shape (n,)
        Summing to one.

    Returns
    -------
    float
        Their absolute value if all losses are equal; 1 if all are zero.

    Examples
    --------
    >>> import numpy as np
    >>> unit_of_loss(np.array([1.0, 5.0]), np.array([0.5, 0.5]))
    2.0
    """
    centre = float(row_weights @ loss)
    deviation = float(row_weights @ np.abs(loss - centre))
    if np.isfinite(deviation) and deviation > 1e-12 * abs(centre):
        return deviation
    return abs(centre) if np.isfinite(centre) and centre != 0.0 else 1.0


def row_objective(weights: FloatArray, objective: Objective, row_weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Loss (n,) and gradient (n, K) at constant weights (K,); zero for rows of weight zero.

    Examples
    --------
    >>> import numpy as np
    >>> def objective(weights):
    ...     return weights[:, 0] ** 2, np.c_[2 * weights[:, 0], 0 * weights[:, 0]]
    >>> row_objective(np.array([0.5, 0.5]), objective, np.array([1.0]))
    (array([0.25]), array([[1., 0.]]))
    """
    loss, gradient = objective(np.broadcast_to(weights, (len(row_weights), len(weights))))
    counts = row_weights > 0
    if not counts.all():
        loss, gradient = np.where(counts, loss, 0.0), np.where(counts[:, None], gradient, 0.0)
    return loss, gradient


def count_experts(objective: Objective, n: int) -> int:
    """Number of experts K of an objective: the width of its gradient at weights (n, 1), which must broadcast.

    Raises
    ------
    ValueError
        If the objective does not broadcast; K is then given by the length of `start`.

    Examples
    --------
    >>> import numpy as np
    >>> count_experts(lambda weights: (weights @ np.ones((1, 1)), weights * np.ones((4, 3))), 4)
    3
    """
    try:
        return int(objective(np.ones((n, 1)))[1].shape[1])
    except (ValueError, IndexError) as error:
        raise ValueError("The number of experts is unknown; pass start, constant weights of shape (K,).") from error


def simplex_weights(
    n_experts: int, objective: Objective, row_weights: FloatArray, start: FloatArray | None = None
) -> FloatArray:
    """Weights (K,) on the simplex that minimise the weighted mean of a convex objective.

    Sequential quadratic programming, restarted from the best point as long as the Frank-Wolfe gap, an upper
    bound on the possible improvement (Frank & Wolfe 1956), exceeds 1e-7 `unit_of_loss` and restarts improve
    the loss.

    Parameters
    ----------
    n_experts : int
        K.
    objective : callable
        weights (n, K) -> (loss (n,), gradient (n, K)).
    row_weights : ndarray of shape (n,)
        Summing to one.
    start : ndarray of shape (K,) or None
        Initial weights; uniform by default.

    Returns
    -------
    ndarray of shape (K,)

    Examples
    --------
    >>> import numpy as np
    >>> y, predictions = np.array([1.0, 2.0, 3.0]), np.array([[2.0, 0.0], [3.0, 1.0], [4.0, 2.0]])
    >>> def squared(weights):
    ...     error = (weights * predictions).sum(axis=1) - y
    ...     return error**2, 2 * error[:, None] * predictions
    >>> simplex_weights(2, squared, np.full(3, 1 / 3)).round(6)
    array([0.5, 0.5])
    """
    centre = np.full(n_experts, 1.0 / n_experts)
    if n_experts == 1:
        return centre
    best = centre if start is None else np.asarray(start, dtype=np.float64)
    if not np.isfinite(row_weights @ row_objective(best, objective, row_weights)[0]):
        best = centre
    for run in range(_MAX_RUNS):
        loss, by_row = row_objective(best, objective, row_weights)
        level, slope, unit = float(row_weights @ loss), row_weights @ by_row, unit_of_loss(loss, row_weights)
        if best @ slope - slope.min() <= _TOLERANCE * unit:
            break
        # Scales are estimated after the first run: far from the optimum they are uninformative.
        scale = _weight_scales(best, by_row / unit, row_weights) if run else np.ones(n_experts)
        initial = best if run < 2 else (1.0 - _RESTART_SHARE) * best + _RESTART_SHARE * scale / scale.sum()
        candidate = _solve(objective, row_weights, initial, level, unit, scale)
        gain = (level - row_weights @ row_objective(candidate, objective, row_weights)[0]) / unit
        best = candidate if gain >= 0.0 else best
        if run >= 2 and not gain > _TOLERANCE:
            break
    return _drop_negligible(best, objective, row_weights)


def _drop_negligible(weights: FloatArray, objective: Objective, row_weights: FloatArray) -> FloatArray:
    """Set negligible weights to zero if the loss does not rise: experts of weight zero need not predict."""
    sparser = _onto_simplex(np.where(weights > _NEGLIGIBLE, weights, 0.0))
    losses = [row_objective(one, objective, row_weights)[0] for one in (weights, sparser)]
    increase = row_weights @ losses[1] - row_weights @ losses[0]
    return sparser if increase <= _TOLERANCE * unit_of_loss(losses[0], row_weights) else weights


def _solve(
    objective: Objective,
    row_weights: FloatArray,
    initial: FloatArray,
    origin: float,
    unit: float,
    scale: FloatArray,
) -> FloatArray:
    """One run of SLSQP on (loss - origin) / unit as a function of weights / scale (K,)."""

    def scaled(point: FloatArray) -> tuple[float, FloatArray]:
        loss, by_row = row_objective(_onto_simplex(scale * point), objective, row_weights)
        slope = row_weights @ by_row
        # Clipped: at a vertex the derivative of a log density may be infinite.
        with np.errstate(over="ignore"):
            slope = np.nan_to_num(np.clip((slope - slope.min()) / unit, 0.0, _MAX_SLOPE))
            value = np.nan_to_num((row_weights @ loss - origin) / unit, nan=_MAX_SLOPE, posinf=_MAX_SLOPE)
        return float(value), scale * slope

    found = minimize(
        scaled,
        initial / scale,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0 / each) for each in scale],
        constraints={"type": "eq", "fun": lambda point: scale @ point - 1.0, "jac": lambda point: scale},
        options={"ftol": 1e-14, "maxiter": 200},
    )
    return _onto_simplex(scale * found.x)


def _weight_scales(weights: FloatArray, by_row: FloatArray, row_weights: FloatArray) -> FloatArray:
    """Scale of each weight (K,) for the solver: small for experts with large errors."""
    largest = np.maximum(np.max(np.abs(by_row), axis=1, keepdims=True), 1.0)
    around = by_row / largest
    around = np.minimum(np.abs(around - (around @ weights)[:, None]) * largest, 1e100)
    return 1.0 / np.clip(np.sqrt(row_weights @ around**2), 1.0, 1e15)


def _onto_simplex(weights: FloatArray) -> FloatArray:
    """Remove rounding errors: set weights below 1e-16 to zero and normalise the sum to one."""
    weights = np.where(weights > 1e-16, weights, 0.0)
    total = weights.sum()
    return weights / total if total > 0 else np.full(weights.shape, 1.0 / len(weights))
