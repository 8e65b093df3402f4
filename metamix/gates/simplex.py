"""Convex weights: the point of the simplex with the smallest mean objective."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from metamix.protocols import FloatArray, Objective

#: A certificate, not a wish: with a gap this small a convex loss is at most that far from its minimum,
#: in its own unit (see `unit_of_loss`).
_GAP = 1e-7
_ATTEMPTS = 6
#: What is mixed in to leave a corner where the solver got stuck.
_STIR = 1e-3
#: Weights below this are zero if nobody misses them; an expert that is far off may be right at 1e-7.
_DUST = 1e-6
_STEEPEST = 1e9


def unit_of_loss(loss: FloatArray, row_weights: FloatArray) -> float:
    """Mean absolute deviation of row losses: the unit in which an objective is measured.

    It scales with the loss, so the unit of y does not matter, and unlike the mean loss it does not change
    when a constant is added, as the unit of y adds to a log density. For squared normal errors it is 0.97
    of the mean.

    Parameters
    ----------
    loss : ndarray of shape (n,)
    row_weights : ndarray of shape (n,)
        Summing to one.

    Returns
    -------
    float
        Where all losses are equal, their size, or 1.

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
    """Loss (n,) and gradient (n, K) at constant weights (K,); zero for rows without weight.

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
    """K, the number of columns of the gradient, asked for with weights (n, 1) that broadcast over experts.

    Raises
    ------
    ValueError
        If the objective does not broadcast; a start (K,) would have said how many experts there are.

    Examples
    --------
    >>> import numpy as np
    >>> count_experts(lambda weights: (weights @ np.ones((1, 1)), weights * np.ones((4, 3))), 4)
    3
    """
    try:
        return int(objective(np.ones((n, 1)))[1].shape[1])
    except (ValueError, IndexError) as error:
        raise ValueError("The number of experts is not known: give start, constant weights (K,).") from error


def simplex_weights(
    n_experts: int, objective: Objective, row_weights: FloatArray, start: FloatArray | None = None
) -> FloatArray:
    """Weights (K,) on the simplex that minimise the weighted mean of a convex objective.

    Sequential quadratic programming, begun again from the best point while the Frank-Wolfe gap, an upper
    bound of what is left to gain (Frank & Wolfe 1956), is not negligible and another run still helps.

    Parameters
    ----------
    n_experts : int
        K.
    objective : callable
        weights (n, K) -> (loss (n,), gradient (n, K)).
    row_weights : ndarray of shape (n,)
        Summing to one.
    start : ndarray of shape (K,) or None
        Where to begin; the centre by default.

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
    for attempt in range(_ATTEMPTS):
        loss, by_row = row_objective(best, objective, row_weights)
        level, slope, unit = float(row_weights @ loss), row_weights @ by_row, unit_of_loss(loss, row_weights)
        if best @ slope - slope.min() <= _GAP * unit:
            break
        # far from the optimum distances mean little: they are measured once a first run has come near
        scale = _reach(best, by_row / unit, row_weights) if attempt else np.ones(n_experts)
        begin = best if attempt < 2 else (1.0 - _STIR) * best + _STIR * scale / scale.sum()
        candidate = _one_descent(objective, row_weights, begin, level, unit, scale)
        gain = (level - row_weights @ row_objective(candidate, objective, row_weights)[0]) / unit
        best = candidate if gain >= 0.0 else best
        if attempt >= 2 and not gain > _GAP:
            break
    return _sweep(best, objective, row_weights)


def _sweep(weights: FloatArray, objective: Objective, row_weights: FloatArray) -> FloatArray:
    """Without the smallest weights, if nobody misses them: an expert at zero need not be asked."""
    swept = _onto_simplex(np.where(weights > _DUST, weights, 0.0))
    losses = [row_objective(one, objective, row_weights)[0] for one in (weights, swept)]
    missed = row_weights @ losses[1] - row_weights @ losses[0]
    return swept if missed <= _GAP * unit_of_loss(losses[0], row_weights) else weights


def _one_descent(
    objective: Objective,
    row_weights: FloatArray,
    begin: FloatArray,
    origin: float,
    unit: float,
    scale: FloatArray,
) -> FloatArray:
    """One run of the solver in weights divided by scale (K,), on (loss - origin) / unit."""

    def scaled(point: FloatArray) -> tuple[float, FloatArray]:
        loss, by_row = row_objective(_onto_simplex(scale * point), objective, row_weights)
        slope = row_weights @ by_row
        # clipped: at a corner a log density may fall without bound
        with np.errstate(over="ignore"):
            slope = np.nan_to_num(np.clip((slope - slope.min()) / unit, 0.0, _STEEPEST))
            value = np.nan_to_num((row_weights @ loss - origin) / unit, nan=_STEEPEST, posinf=_STEEPEST)
        return float(value), scale * slope

    found = minimize(
        scaled,
        begin / scale,
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0 / each) for each in scale],
        constraints={"type": "eq", "fun": lambda point: scale @ point - 1.0, "jac": lambda point: scale},
        options={"ftol": 1e-14, "maxiter": 200},
    )
    return _onto_simplex(scale * found.x)


def _reach(weights: FloatArray, by_row: FloatArray, row_weights: FloatArray) -> FloatArray:
    """How far each weight (K,) may sensibly move: little for an expert whose answers are far off."""
    largest = np.maximum(np.max(np.abs(by_row), axis=1, keepdims=True), 1.0)
    around = by_row / largest
    around = np.minimum(np.abs(around - (around @ weights)[:, None]) * largest, 1e100)
    return 1.0 / np.clip(np.sqrt(row_weights @ around**2), 1.0, 1e15)


def _onto_simplex(weights: FloatArray) -> FloatArray:
    """Remove the rounding of a solver: nothing below zero, dust swept to zero, sum one."""
    weights = np.where(weights > 1e-16, weights, 0.0)
    total = weights.sum()
    return weights / total if total > 0 else np.full(weights.shape, 1.0 / len(weights))
