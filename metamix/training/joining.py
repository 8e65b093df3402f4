"""How the plain mixture joins the stack: as one more column, or halfway; and how far y scatters around either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from metamix.training.judging import STANDARD_ERRORS, paired

__all__ = ["Halfway", "Scatter", "join", "learn_scatter"]

Array = NDArray[np.float64]

# Noise beyond the mixture's own deviation is looked for on this grid, in root mean squares of the errors.
NOISES = np.append(0.0, np.geomspace(1e-5, 3.0, 60))
# No deviation is smaller than this share of that of y, as in the likelihoods.
LEAST = 1e-4


class Halfway(BaseEstimator):
    """The mean of two stacks: one of the experts, one that sees the plain mixture too.

    What a stack gains from one more column is partly luck: on ordinary tables half of the way loses less
    where the column fails, and keeps most where it helps.

    Parameters
    ----------
    plain, joined : fitted stacks
    n_experts : int
        Columns that `plain` sees, the first ones.

    Examples
    --------
    >>> class Mean(BaseEstimator):
    ...     def predict(self, predictions, features):
    ...         return predictions.mean(axis=1)
    >>> Halfway(Mean(), Mean(), 1).predict(np.array([[0.0, 4.0]]), None)
    array([1.])
    """

    def __init__(self, plain: Any, joined: Any, n_experts: int) -> None:
        self.plain = plain
        self.joined = joined
        self.n_experts = n_experts

    def predict(self, predictions: Array, features: Array | None = None) -> Array:
        """OutOfFold (n,) or (n, C) from predictions (n, K) or (n, K, C), and features (n, q)."""
        plain = self.plain.predict(predictions[:, : self.n_experts], features)
        return np.asarray((plain + self.joined.predict(predictions, features)) / 2)

    def predict_gradient(
        self, predictions: Array, features: Array | None, slopes: Array, features_jacobian: Array | None
    ) -> Array:
        """Gradient (n, d) of the answers in x, as the stacks' own."""
        few = self.n_experts
        plain = self.plain.predict_gradient(predictions[:, :few], features, slopes[:, :few], features_jacobian)
        return np.asarray((plain + self.joined.predict_gradient(predictions, features, slopes, features_jacobian)) / 2)


def join(
    plain: tuple[Array, Any], joined: tuple[Array, Any], n_experts: int, loss: Callable[[Array], Array], weight: Array
) -> tuple[Array, Any]:
    """The stack to go on with: the joined one where it wins by two standard errors, else halfway between both.

    Parameters
    ----------
    plain, joined : (answers out of fold, fitted stack)
    n_experts : int
    loss : callable
        OutOfFold -> loss of each row (n,).
    weight : ndarray of shape (n,)
        Zero for rows that are not judged.
    """
    gain = paired(loss(plain[0]) - loss(joined[0]), weight)
    if gain.mean > STANDARD_ERRORS * gain.standard_error:
        return joined
    return (plain[0] + joined[0]) / 2, Halfway(plain[1], joined[1], n_experts)


@dataclass(frozen=True)
class Scatter:
    """Standard deviations that follow x: those of the plain mixture, and noise of one's own.

    The mixture knows where regimes meet, and how far apart their answers are there. Whoever else answers is as
    uncertain in the same places, without knowing it.

    Parameters
    ----------
    column : int
        Of the plain mixture among the E columns.
    noise : ndarray of shape (E + 1,)
        What the variance of each column, the stack's last, has besides, as a root; NaN for one that keeps its
        own deviation, or the same for all rows.

    Examples
    --------
    >>> Scatter(0, np.array([0.0, 3.0]))(np.array([[4.0]]))
    array([[4., 5.]])
    """

    column: int
    noise: Array

    @property
    def follows(self) -> NDArray[np.bool_]:
        """Which columns (E + 1,) follow the mixture."""
        return np.isfinite(self.noise)

    def __call__(self, scale: Array) -> Array:
        """Standard deviations (n, E + 1), the stack's last, from those of the columns (n, E)."""
        wide = np.column_stack([scale, np.full(len(scale), np.nan)])
        return np.where(self.follows, np.hypot(scale[:, [self.column]], self.noise), wide)


def learn_scatter(errors: Array, own: Array, y: Array, weight: Array) -> Scatter:
    """How far y scatters, by maximum likelihood of normal errors on held-out rows.

    Parameters
    ----------
    errors : ndarray of shape (n, E + 1)
        Out of fold, the stack's last.
    own : ndarray of shape (n, E)
        Standard deviations that columns offer, the plain mixture's last; NaN where there is none.
    y : ndarray of shape (n,)
    weight : ndarray of shape (n,)
        Zero for rows that are not judged.

    Returns
    -------
    Scatter
        The mixture's own noise; and a column without a deviation of its own follows the mixture, unless the same
        scale for all rows makes its errors likelier by two standard errors.
    """
    E = own.shape[1]
    noise = np.full(E + 1, np.nan)
    known = (weight > 0) & np.isfinite(own[:, -1]) & np.isfinite(errors).all(axis=1)
    if not known.any():
        return Scatter(E - 1, noise)
    weight, last = weight[known], own[known, -1:]
    # A constant target leaves no scale; squares must not leave the range of floats.
    least = max(LEAST * float(np.std(y[known])), np.finfo(float).tiny ** 0.5)
    silent = np.append(np.isnan(own[:, :-1]).all(axis=0), [True, True])
    for k in np.flatnonzero(silent):
        given = errors[known, k]
        unit = max(float(np.sqrt(weight @ np.square(given) / weight.sum())), least)
        log_prob = _log_prob(given, np.maximum(np.hypot(last, unit * NOISES), least))
        best = int(np.argmax(weight @ log_prob))
        loss = paired(_log_prob(given, np.full((len(given), 1), unit))[:, 0] - log_prob[:, best], weight)
        if k == E - 1 or loss.mean <= STANDARD_ERRORS * loss.standard_error:
            noise[k] = unit * NOISES[best]
    return Scatter(E - 1, noise)


def _log_prob(errors: Array, deviation: Array) -> Array:
    return np.asarray(-0.5 * np.square(errors[:, None] / deviation) - np.log(deviation))
