"""A router over the experts' local competence: who is better around a row, beyond chance, gets more weight there."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_is_fitted, validate_data

__all__ = ["CompetenceGate"]

#: Standardised columns are clipped to this range, so that squares of distances do not overflow.
CLIP = 1e3


class CompetenceGate(BaseEstimator):
    """Weights are mean responsibilities of the nearest rows, drawn towards those of all rows as far as chance explains.

    An expert is competent around x if its mean responsibility there differs from that over all rows by more than its
    standard error among the neighbours (Woods, Kegelmeyer & Bowyer 1997 route by local accuracy). The difference is
    multiplied by t² / (1 + t²), where t is the difference in standard errors, so that where columns say nothing the
    weights are almost constant.

    Parameters
    ----------
    n_neighbors : int, default=40
        Neighbours of equal weight.

    Examples
    --------
    >>> X = np.arange(100.0)[:, None]
    >>> shares = np.where(X < 50, [0.9, 0.1], [0.1, 0.9])
    >>> CompetenceGate(20).fit(X, shares).predict_proba([[10.0], [90.0]]).round(2)
    array([[0.9, 0.1],
           [0.1, 0.9]])
    """

    def __init__(self, n_neighbors: int = 40) -> None:
        self.n_neighbors = n_neighbors

    def fit(self, X: Any, responsibilities: Any, sample_weight: Any = None) -> CompetenceGate:
        """Fit to columns X (n, q), responsibilities (n, K) and weights (n,); rows without weight are left out."""
        X = validate_data(self, X, dtype=np.float64, ensure_min_features=0)
        shares = np.asarray(responsibilities, dtype=np.float64)
        if shares.ndim != 2 or len(shares) != len(X):
            raise ValueError(f"responsibilities have shape {shares.shape}; X has {len(X)} rows.")
        weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=np.float64)
        rows = weight > 0
        self.shares_, self.weight_ = shares[rows], weight[rows] / weight[rows].mean()
        self.mean_ = np.average(self.shares_, axis=0, weights=self.weight_)
        self.centre_ = np.average(X[rows], axis=0, weights=self.weight_)
        deviation = np.sqrt(np.average((X[rows] - self.centre_) ** 2, axis=0, weights=self.weight_))
        self.scale_ = np.where(deviation > 0, deviation, np.inf)
        self.search_ = None
        if (deviation > 0).any():
            self.search_ = NearestNeighbors(n_neighbors=min(self.n_neighbors, len(self.shares_)))
            self.search_.fit(self._standardised(X[rows]))
        return self

    def predict_proba(self, X: Any) -> Any:
        """Weights (n, K) of the experts at the rows of X (n, q)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64, ensure_min_features=0)
        if self.search_ is None:
            return np.tile(self.mean_, (len(X), 1))
        near = self.search_.kneighbors(self._standardised(X), return_distance=False)
        weight = self.weight_[near] / self.weight_[near].sum(axis=1, keepdims=True)
        local = np.einsum("nj,njk->nk", weight, self.shares_[near])
        spread = np.einsum("nj,njk->nk", weight**2, (self.shares_[near] - local[:, None]) ** 2)
        # All experts of a row are drawn by one factor, so that weights sum to one: that of the clearest difference.
        squares = (local - self.mean_) ** 2
        clear = (squares / np.maximum(squares + spread, np.finfo(float).tiny)).max(axis=1, keepdims=True)
        return self.mean_ + clear * (local - self.mean_)

    def _standardised(self, X: Any) -> Any:
        return np.clip((X - self.centre_) / self.scale_, -CLIP, CLIP)
