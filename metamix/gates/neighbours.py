"""A nearest-neighbours gate: weights are the mean responsibilities of the nearest training rows."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.validation import check_is_fitted, validate_data

from metamix.gates.soft_labels import check_responsibilities, check_row_weights, mean_responsibilities
from metamix.gates.standardised import column_moments
from metamix.protocols import FloatArray

#: Standardised columns are clipped to this range: beyond it the nearest neighbours do not change, and larger
#: squared distances would lose precision.
_CLIP = 1e3
#: `partial_fit` forgets no row before it has stored so many.
_FEWEST_KEPT = 1000
#: Rows predicted at a time.
_BLOCK = 2048


class NeighboursGate(BaseEstimator):
    """Kernel-weighted mean of the responsibilities of the k nearest training rows.

    Columns are standardised and constant columns are ignored, so the units of X do not matter. The kernel is
    that of Epanechnikov (1969), with a bandwidth equal to the distance to neighbour k + 1: weights are
    continuous in x. They stay finite far from the training data, since only ratios of distances enter. With
    ``top_k=1`` in a mixture this is dynamic selection of one expert per row.

    Parameters
    ----------
    n_neighbors : int or "auto", default "auto"
        k. "auto" is 2 √n, at least 10 and at most 100.

    Attributes
    ----------
    n_neighbors_ : int
        k, at most the number of training rows with positive weight.
    n_experts_ : int

    References
    ----------
    Woods, Kegelmeyer & Bowyer (1997), Combination of multiple classifiers using local accuracy estimates;
    Ko, Sabourin & Britto (2008), From dynamic classifier selection to dynamic ensemble selection.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> gate = NeighboursGate(n_neighbors=2).fit(X, [[1, 0], [1, 0], [0.5, 0.5], [0, 1]])
    >>> gate.predict_proba([[0.5], [10.5]]).round(2)
    array([[1.  , 0.  ],
           [0.25, 0.75]])
    """

    def __init__(self, n_neighbors: int | str = "auto") -> None:
        self.n_neighbors = n_neighbors

    def fit(self, X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Store the rows with positive weight.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n, q)
        responsibilities : array-like of shape (n, K)
        sample_weight : array-like of shape (n,) or None
            Multiplies the kernel.

        Returns
        -------
        NeighboursGate
            Itself, fitted.

        Raises
        ------
        ValueError
            If X has missing values, shapes do not match, or n_neighbors is not a positive integer or "auto".
        """
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, ensure_min_features=0)
        labels = check_responsibilities(responsibilities, X.shape[0])
        row_weights = check_row_weights(sample_weight, X.shape[0])
        kept = np.flatnonzero(row_weights > 0)
        self.n_experts_ = labels.shape[1]
        self.n_neighbors_ = self._resolve_n_neighbors(len(kept))
        self._mean = mean_responsibilities(labels, row_weights)
        self._centre, deviation = column_moments(X, row_weights)
        self._varies = np.flatnonzero(deviation > 0)
        self._inverse = 1.0 / deviation[self._varies]
        self._centre = self._centre[self._varies]
        self._search: NearestNeighbors | None = None
        self._rows = self._standardised(X[kept])
        if len(self._varies):
            self._search = NearestNeighbors().fit(self._rows)
        self._labels = row_weights[kept, None] * labels[kept]
        return self

    def partial_fit(
        self, X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None = None, *, step: float
    ) -> Self:
        """Follow new rows, which are stored, too; the weights of earlier ones shrink by 1 - `step`.

        As many of the latest rows are kept as `fit` stored, and 1,000 at least.

        Parameters
        ----------
        X, responsibilities, sample_weight
            As in `fit`.
        step : float
            Between 0 and 1; 1 forgets all earlier rows.

        Returns
        -------
        NeighboursGate
            Itself.
        """
        check_is_fitted(self)
        if step == 1:
            return self.fit(X, responsibilities, sample_weight)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False, ensure_min_features=0)
        labels = check_responsibilities(responsibilities, X.shape[0])
        row_weights = check_row_weights(sample_weight, X.shape[0])
        self._mean = (1 - step) * self._mean + step * mean_responsibilities(labels, row_weights)
        kept = np.flatnonzero(row_weights > 0)
        rows = [self._rows, self._standardised(X[kept])]
        stacked = sparse.vstack(rows, format="csr") if sparse.issparse(X) else np.concatenate(rows)
        most = max(len(self._labels), _FEWEST_KEPT)
        shares = np.concatenate([(1 - step) * self._labels, step * row_weights[kept, None] * labels[kept]])
        self._rows, self._labels = stacked[-most:], shares[-most:]
        if len(self._varies):
            self._search = NearestNeighbors().fit(self._rows)
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Weights (n, K) of the rows of X (n, q); mean responsibilities where those of all neighbours are zero."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False, ensure_min_features=0)
        weights = np.tile(self._mean, (X.shape[0], 1))
        if self._search is None:
            return weights
        for at in range(0, X.shape[0], _BLOCK):
            shares = self._kernel_sums(self._standardised(X[at : at + _BLOCK]))
            total = shares.sum(axis=1, keepdims=True)
            block = weights[at : at + _BLOCK]
            np.divide(shares, total, out=block, where=total > 0)
        return weights

    def _kernel_sums(self, Z: Any) -> FloatArray:
        """Kernel-weighted sums (n, K) of the labels of the neighbours of standardised rows (n, q)."""
        assert self._search is not None
        m = len(self._labels)
        distances, rows = self._search.kneighbors(Z, min(self.n_neighbors_ + 1, m))
        # Divided by the largest distance, so that squares neither overflow nor underflow.
        bandwidth = distances[:, -1:]
        scaled = np.divide(distances, bandwidth, out=np.ones_like(distances), where=bandwidth > 0)
        # If k is the number of training rows there is no neighbour k + 1, and the kernel stays positive at all.
        height = 1.0 if m > self.n_neighbors_ else 2.0
        kernel = np.maximum(height - scaled**2, 0.0)
        kernel[~(kernel > 0).any(axis=1)] = 1.0  # all distances are equal
        total = kernel.sum(axis=1, keepdims=True)
        return np.asarray(np.einsum("nj,njk->nk", kernel / total, self._labels[rows]))

    def _resolve_n_neighbors(self, m: int) -> int:
        if self.n_neighbors == "auto":
            return int(min(max(10, round(2 * m**0.5)), 100, m))
        number = self.n_neighbors
        if isinstance(number, bool) or not isinstance(number, int | np.integer) or number < 1:
            raise ValueError(f"n_neighbors={number!r} must be a positive integer or 'auto'.")
        return int(min(number, m))

    def _standardised(self, X: Any) -> Any:
        """Standardised non-constant columns; a sparse X is not centred, which does not change distances."""
        if sparse.issparse(X):
            scaled = (X[:, self._varies] @ sparse.diags_array(self._inverse)).tocsr()
            np.clip(scaled.data, -_CLIP, _CLIP, out=scaled.data)
            return scaled
        return np.clip((X[:, self._varies] - self._centre) * self._inverse, -_CLIP, _CLIP)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
