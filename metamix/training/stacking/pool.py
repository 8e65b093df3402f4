"""The log-opinion pool: stacking of class probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from metamix.training.stacking.base import Stack, StackData

__all__ = ["LogOpinionPool"]

Array = NDArray[np.float64]

#: Penalty on the factors of the classes, in units of the mean log-loss.
BIAS_PENALTY = 1e-4


class LogOpinionPool(Stack):
    """Product of the experts' probabilities to learned powers, times a factor for each class.

    log p_c ∝ Σ_k β_k log p_kc + b_c: one power for each expert, whatever the class, so that K + C numbers
    are learned, not K·C², by penalised maximum likelihood. The penalty pulls β towards 1/K.

    Parameters
    ----------
    penalty : float, default 1e-3
        On the powers, in units of the mean log-loss.
    eps : float, default 1e-3
        Probabilities are clipped to at least this before the logarithm.

    Attributes
    ----------
    oof_, inside_
        As of `Stack`.
    powers_ : ndarray of shape (K,)
    bias_ : ndarray of shape (C,)

    References
    ----------
    Genest & Zidek (1986), Combining probability distributions; Hinton (2002) on products of experts.

    Examples
    --------
    >>> answers = np.array([[[0.9, 0.1]], [[0.2, 0.8]], [[0.7, 0.3]], [[0.1, 0.9]]])
    >>> pairs = [(np.arange(4), np.arange(4))]
    >>> LogOpinionPool().fit(answers, np.array([0, 1, 0, 1]), pairs).predict(answers).argmax(axis=1)
    array([0, 1, 0, 1])
    """

    def __init__(self, penalty: float = 1e-3, eps: float = 1e-3) -> None:
        self.penalty = penalty
        self.eps = eps

    @property
    def powers_(self) -> Array:
        """Powers (K,) of the experts."""
        return np.asarray(self.model_[0])

    @property
    def bias_(self) -> Array:
        """Logarithms (C,) of the factors of the classes."""
        return np.asarray(self.model_[1])

    def _model(self, data: StackData, choice: Any) -> tuple[Array, Array] | None:
        if not len(data.y):
            return None
        logs = self._logs(data.predictions)
        n, K, C = logs.shape
        share = data.weight / data.weight.sum()
        hit = np.zeros((n, C))
        hit[np.arange(n), data.y] = 1
        pull = np.concatenate([np.full(K, self.penalty), np.full(C, BIAS_PENALTY)])
        anchor = np.concatenate([np.full(K, 1 / K), np.zeros(C)])

        def loss(point: Array) -> tuple[float, Array]:
            scores = log_softmax(np.einsum("nkc,k->nc", logs, point[:K]) + point[K:], axis=1)
            error = share[:, None] * (np.exp(scores) - hit)
            gradient = np.concatenate([np.einsum("nc,nkc->k", error, logs), error.sum(axis=0)])
            away = point - anchor
            value = -share @ scores[np.arange(n), data.y] + 0.5 * pull @ away**2
            return float(value), gradient + pull * away

        found = minimize(loss, anchor, jac=True, method="L-BFGS-B", options={"gtol": 1e-6}).x
        return found[:K], found[K:]

    def _answer(self, model: Any, data: StackData) -> Array:
        powers, bias = model
        return np.asarray(softmax(np.einsum("nkc,k->nc", self._logs(data.predictions), powers) + bias, axis=1))

    def _logs(self, predictions: Array) -> Array:
        clipped = np.maximum(predictions, self.eps)
        return np.asarray(np.log(clipped / clipped.sum(axis=2, keepdims=True)))
