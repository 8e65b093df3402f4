"""How a fitted mixture's answer changes with x: experts' and gate's gradients, put together."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.derivatives import NoGradientError, gate_gradient, gradient, mixture_gradient, top_gradient
from metamix.estimators.answering import every_answer
from metamix.estimators.walks import Learned, Side
from metamix.recombination import keep_top

__all__ = ["mean_gradient"]

Array = NDArray[np.float64]


def mean_gradient(learned: Learned, X: Any, top_k: int | None) -> Array:
    """Gradient (n, d) of the mixture's mean at the rows of X (n, d).

    Raises
    ------
    NoGradientError
        If an expert that has weight somewhere, the gate or its features have no gradient, or there are
        several targets.
    """
    if learned.n_targets is not None:
        raise NoGradientError(
            f"y had {learned.n_targets} targets, and gradients are for one; fit a mixture for each target."
        )
    side, features = learned.sides[0], learned.features
    values = every_answer(learned, X)[0]
    slopes: Array | None = None
    if features.asks_experts:
        slopes = _experts(learned, side, X, values, np.ones(values.shape[1], dtype=bool))
    Z = features.join(features.base(X), values)
    full = side.gate.predict_proba(Z)
    weights = keep_top(full, top_k)
    moved = gate_gradient(side.gate, Z) if full.shape[1] > 1 else None
    if moved is None or not moved.any():  # weights that stay need no gradient of what they look at
        bend = np.zeros((*weights.shape, np.shape(X)[1]))
    else:
        bend = top_gradient(full, moved, weights) @ features.jacobian(X, values, slopes)
    if slopes is None:
        counts = np.asarray((weights > 0).any(axis=0) | (bend != 0).any(axis=(0, 2)))
        slopes = _experts(learned, side, X, values, counts)
    return mixture_gradient(weights, values, bend, slopes)


def _experts(learned: Learned, side: Side, X: Any, values: Array, counts: NDArray[np.bool_]) -> Array:
    """Gradients (n, K, d) of the experts that count, zero for the others; the stack asks everybody."""
    stack = side.stacker is not None
    everybody = stack and bool(counts[-1])
    shape = (len(values), np.shape(X)[1])
    slopes = np.stack(
        [
            gradient(column.model, X) if everybody or counts[k] else np.zeros(shape)
            for k, column in enumerate(learned.columns)
        ],
        axis=1,
    )
    if not stack:
        return slopes
    own = np.zeros(shape)
    if everybody:
        base, columns = learned.features.base(X), learned.stack_columns
        jacobian = None
        if columns is not None:
            inside = learned.features.base_jacobian(X)
            assert inside is not None
            jacobian = columns.jacobian(base) @ inside
        dense = None if columns is None else columns.dense(base)
        own = side.stacker.predict_gradient(values[:, : slopes.shape[1]], dense, slopes, jacobian)
    return np.concatenate([slopes, own[:, None, :]], axis=1)
