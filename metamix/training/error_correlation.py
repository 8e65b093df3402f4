"""How much a choice between experts could gain at all: correlations of their errors, and the oracle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.training.selection import HeldOutLoss
from metamix.training.wording import short_number

__all__ = ["Headroom", "headroom"]

Array = NDArray[np.float64]
# Where the errors of every pair of experts correlate by at least this, no gate on x was ever seen to help.
ALIKE = 0.9


@dataclass(frozen=True)
class Headroom:
    """How much better than the best single expert a choice between experts could be at all.

    Parameters
    ----------
    correlation : ndarray of shape (K, K)
        Between the experts' errors; zero with an expert whose error never changes.
    effective_experts : float
        Between 1 (all err alike) and K (none like another): the participation ratio (Σλ)² / Σλ² of the
        eigenvalues of `correlation`.
    best_loss, oracle_loss : float
        Squared error or log-loss of the best single expert, and of whoever is best in each row.

    References
    ----------
    Del Giudice (2021), Effective dimensionality: a tutorial, for the participation ratio.

    Examples
    --------
    >>> print(Headroom(np.eye(2), 2.0, 1.0, 0.36))
    Knowing the best expert of every row would save 64 % of the best single expert's loss. The errors of two experts \
correlate by 0 at most: the 2 experts count as 2 with unrelated errors.
    """

    correlation: Array
    effective_experts: float
    best_loss: float
    oracle_loss: float

    @property
    def share(self) -> float:
        """Share of the best single expert's loss that the oracle does without, 0 … 1."""
        return max(1 - self.oracle_loss / self.best_loss, 0.0) if self.best_loss else 0.0

    @property
    def pairs(self) -> Array:
        """Correlations of the K (K - 1) / 2 pairs of experts."""
        return np.asarray(self.correlation[np.triu_indices(len(self.correlation), 1)])

    @property
    def alike(self) -> bool:
        """Whether every pair of experts errs so much alike that a gate on x has little to choose from."""
        return len(self.correlation) > 1 and bool((self.pairs >= ALIKE).all())

    def __str__(self) -> str:
        K = len(self.correlation)
        if K == 1:
            return "There is one expert, so that none can be chosen instead of it."
        saved = short_number(round(100 * self.share, 2))
        said = (
            f"Knowing the best expert of every row would save {saved} % of the best single "
            f"expert's loss. The errors of two experts correlate by {short_number(float(self.pairs.max()))} at most: "
            f"the {K} experts count as {short_number(self.effective_experts)} with unrelated errors."
        )
        return f"{said} They err much alike: a choice between them has little to gain." if self.alike else said


def headroom(y: NDArray[Any], answers: Array, sample_weight: Array | None = None) -> Headroom:
    """Error correlations, effective number of experts and oracle, from out-of-fold predictions.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Numbers, or class codes 0 … C-1.
    answers : ndarray of shape (n, K) or (n, K, C)
        Out of fold. Rows with NaN take no part.
    sample_weight : ndarray of shape (n,), optional

    Returns
    -------
    Headroom
        Errors of classes are the C differences between what came and its probability.

    Raises
    ------
    ValueError
        If no row of positive weight has every answer.

    Examples
    --------
    >>> room = headroom(np.zeros(4), np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 0.0], [-1.0, 0.0]]))
    >>> room.best_loss, room.oracle_loss, room.effective_experts
    (0.5, 0.5, 2.0)
    """
    weight = np.ones(len(y)) if sample_weight is None else sample_weight
    rows = np.isfinite(answers).reshape(len(y), -1).all(axis=1) & (weight > 0)
    if not rows.any():
        raise ValueError("no row has every expert's answer and a weight, so there is nothing to compare.")
    y, answers, share = y[rows], answers[rows], weight[rows] / weight[rows].sum()
    classes = None if answers.ndim == 2 else np.arange(answers.shape[2])
    loss = HeldOutLoss(y, share, np.zeros(len(y), dtype=np.intp), classes)
    losses = np.column_stack([loss.units(answers[:, k]) for k in range(answers.shape[1])])
    truth = y[:, None] if classes is None else np.eye(len(classes))[y][:, None]
    correlation = _correlation(answers - truth, share)
    return Headroom(
        correlation,
        float(len(correlation) ** 2 / np.square(correlation).sum()),
        float((share @ losses).min()),
        float(share @ losses.min(axis=1)),
    )


def _correlation(errors: Array, share: Array) -> Array:
    """Weighted correlation (K, K) of errors (n, K) or (n, K, C), over rows and classes."""
    errors = errors.reshape(*errors.shape[:2], -1)
    size = np.sqrt(np.einsum("n,nkc,nkc->k", share, errors, errors))
    errors = errors - np.einsum("n,nkc->kc", share, errors)
    covariance = np.einsum("n,nkc,nlc->kl", share, errors, errors)
    deviation = np.sqrt(np.diag(covariance))
    deviation[deviation <= 1e-10 * size] = 0.0  # an error that never changes, but for rounding
    scale = np.outer(deviation, deviation)
    correlation = np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)
    np.fill_diagonal(correlation, 1.0)
    return np.asarray(np.clip(correlation, -1, 1))
