"""What a gate descends on: the loss of the combined answer, or of the mixture's density, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LogScore", "SquaredError"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SquaredError:
    """Squared error of the combined answer: loss_i = (y_i - sum_k g_ik f_ik)².

    Parameters
    ----------
    y : ndarray of shape (n,)
    predictions : ndarray of shape (n, K)

    Examples
    --------
    >>> loss, gradient = SquaredError(np.array([1.0]), np.array([[0.0, 4.0]]))(np.array([[0.5, 0.5]]))
    >>> loss, gradient
    (array([1.]), array([[0., 8.]]))
    """

    y: Array
    predictions: Array

    def __call__(self, weights: Array) -> tuple[Array, Array]:
        """Loss (n,) and its gradient in the weights (n, K)."""
        error = np.einsum("nk,nk->n", weights, self.predictions) - self.y
        return error**2, (2 * error)[:, None] * self.predictions

    def take(self, rows: Any) -> SquaredError:
        """The same objective on some rows."""
        return SquaredError(self.y[rows], self.predictions[rows])


@dataclass(frozen=True)
class LogScore:
    """Negative log density of the mixture: loss_i = -log sum_k g_ik p_k(y_i).

    For classes with p_k the probability that expert k gave to the class seen, this is the log-loss of
    the combined probabilities.

    Parameters
    ----------
    log_prob : ndarray of shape (n, K)

    Examples
    --------
    >>> loss, _ = LogScore(np.log([[0.2, 0.6]]))(np.array([[0.5, 0.5]]))
    >>> loss.round(4)
    array([0.9163])
    """

    log_prob: Array

    def __call__(self, weights: Array) -> tuple[Array, Array]:
        """Loss (n,) and its gradient in the weights (n, K)."""
        top, relative = self._densities
        mixed = np.maximum((weights * relative).sum(axis=1), np.finfo(float).tiny)
        return -np.log(mixed) - top, relative / -mixed[:, None]

    @cached_property
    def _densities(self) -> tuple[Array, Array]:
        """Log of the largest density of each row (n,), and densities (n, K) in units of it."""
        top = self.log_prob.max(axis=1)
        # experts first in memory: a solver asks hundreds of times, and sums over a short last axis are slow
        return top, np.exp(np.ascontiguousarray(self.log_prob.T) - top).T

    def take(self, rows: Any) -> LogScore:
        """The same objective on some rows."""
        return LogScore(self.log_prob[rows])
