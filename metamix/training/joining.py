"""How the plain mixture joins the stack: as one more column, halfway, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator

from metamix.judging import STANDARD_ERRORS, paired

__all__ = ["Halfway", "join"]

Array = NDArray[np.float64]


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
        """Answers (n,) or (n, C) from predictions (n, K) or (n, K, C), and features (n, q)."""
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
        Answers -> loss of each row (n,).
    weight : ndarray of shape (n,)
        Zero for rows that are not judged.
    """
    gain = paired(loss(plain[0]) - loss(joined[0]), weight)
    if gain.mean > STANDARD_ERRORS * gain.standard_error:
        return joined
    return (plain[0] + joined[0]) / 2, Halfway(plain[1], joined[1], n_experts)
