"""Losses by row: of combined predictions, as gates minimise them, and of each expert's predictions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.fitting import Problem

__all__ = ["Deviance", "LogScore", "SquaredError", "row_losses", "target_units"]

Array = NDArray[np.float64]
#: Probabilities are clipped to this before the logarithm, as in the categorical likelihood.
SMALLEST_PROBABILITY = 1e-6

#: Combined rates are not taken to be smaller than this.
SMALLEST_RATE = 1e-12


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
class Deviance:
    """Poisson deviance of the combined answer, without the part that does not depend on it: 2 (rate - y log rate).

    Parameters
    ----------
    y : ndarray of shape (n,)
        Counts.
    predictions : ndarray of shape (n, K)
        Rates, not negative.

    Examples
    --------
    >>> loss, gradient = Deviance(np.array([1.0]), np.array([[1.0, 3.0]]))(np.array([[0.5, 0.5]]))
    >>> loss.round(4), gradient
    (array([2.6137]), array([[1., 3.]]))
    """

    y: Array
    predictions: Array

    def __call__(self, weights: Array) -> tuple[Array, Array]:
        """Loss (n,) and its gradient in the weights (n, K)."""
        rate = np.maximum(np.einsum("nk,nk->n", weights, self.predictions), SMALLEST_RATE)
        return 2 * (rate - self.y * np.log(rate)), (2 * (1 - self.y / rate))[:, None] * self.predictions

    def take(self, rows: Any) -> Deviance:
        """The same objective on some rows."""
        return Deviance(self.y[rows], self.predictions[rows])


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


def target_units(data: Problem) -> Array:
    """Standard deviation (T,) of each target, 1 where it is constant; a single one, and labels, keep their unit.

    Examples
    --------
    >>> target_units(Problem(None, np.array([[1.0, 10.0], [3.0, 30.0]])))
    array([ 1., 10.])
    """
    if data.n_targets is None or data.n_classes is not None:
        return np.ones(data.n_targets or 1)
    centre = np.average(data.y, axis=0, weights=data.weight)
    spread = np.sqrt(np.average((data.y - centre) ** 2, axis=0, weights=data.weight))
    return np.where(spread > 0, spread, 1.0)


def row_losses(data: Problem, values: Array, units: Array) -> Array:
    """Loss (n, K) of each answer: squared error in units (T,), or clipped log-loss; averaged over targets or labels.

    Examples
    --------
    >>> row_losses(Problem(None, np.array([1.0, 2.0])), np.array([[1.0], [4.0]]), np.ones(1))
    array([[0.],
           [4.]])
    """
    if data.several_labels:
        truth = data.y[:, None].astype(bool)
        return np.asarray(-np.log(np.clip(np.where(truth, values, 1 - values), SMALLEST_PROBABILITY, 1)).mean(axis=2))
    if data.n_classes is not None:
        return np.asarray(-np.log(np.clip(values[np.arange(data.n), :, data.y], SMALLEST_PROBABILITY, 1)))
    if data.n_targets is None:
        return np.asarray(np.square(values - data.y[:, None]))
    return np.asarray(np.square((values - data.y[:, None]) / units).mean(axis=2))
