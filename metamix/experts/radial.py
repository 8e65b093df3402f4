"""Radial basis function regression with row weights and automatic choice of kernel and smoothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, eigh, qr, solve_triangular, svd
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.cluster import kmeans_plusplus
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from metamix.experts.weighting import MergedRows, checked_weights, merge_equal_rows, standardise

__all__ = ["RadialBasis"]

Array = NDArray[np.float64]

# For each kernel, the power of the distance and the degree of the polynomial tail.
POWERS = {"cubic": (3, 1), "linear": (1, 0)}
# Smoothing parameters to choose from, relative to the mean eigenvalue of the kernel.
PENALTIES = np.logspace(-14, 5, 39)
# The linear tail is dropped if it would have more terms than this fraction of the number of rows.
MAX_TAIL_SHARE = 0.2
BLOCK = 2000


@dataclass(frozen=True)
class _Solution:
    """Coefficients of the centres (m, T) and of the tail (1 or 1 + d, T), their score (T,) and smoothing (T,)."""

    kernel: str
    coef: Array
    tail: Array
    score: Array
    smoothing: Array


class RadialBasis(RegressorMixin, BaseEstimator):
    """Smoothing with polyharmonic radial basis functions and a polynomial tail.

    The model is that of scipy's RBFInterpolator (Fasshauer 2007, chapters 6 and 19): the kernel r³ with a
    linear tail, or -r with a constant one. The smoothing maximises the generalised likelihood (Wahba 1985). The
    kernel minimises the leave-one-out error, which is exact (Rippa 1999), or with centres that of generalised
    cross-validation as in `RidgeByGcv`. A weight of two equals a repeated row, a weight of zero a row left out.
    Columns and target are standardised, so their units do not matter.

    Parameters
    ----------
    kernel : {"auto", "cubic", "linear"}, default="auto"
    exact_rows : int, default=600
        With more distinct rows, `n_centres` of them, selected by k-means++ seeding, are the centres of a penalised
        least squares fit to all rows.
    n_centres : int, default=300
    random_state : int, default=0
        Seed of the selection of centres.

    Attributes
    ----------
    kernel_ : str
    smoothing_ : ndarray of shape (T,)
        As the parameter `smoothing` of RBFInterpolator on standardised columns.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0.0, 6.0, 40)[:, None]
    >>> model = RadialBasis().fit(x, np.sin(x[:, 0]))
    >>> model.predict([[1.55]]).round(3), model.predict_gradient([[3.0]]).round(2)
    (array([1.]), array([[-0.99]]))
    """

    def __init__(
        self, kernel: str = "auto", exact_rows: int = 600, n_centres: int = 300, random_state: int = 0
    ) -> None:
        self.kernel = kernel
        self.exact_rows = exact_rows
        self.n_centres = n_centres
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> RadialBasis:
        """Fit to X (n, d), y (n,) or (n, T) and weights (n,).

        Raises
        ------
        ValueError
            If all weights are zero, one is negative, or the kernel is unknown.
        """
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64)
        if self.kernel not in ("auto", *POWERS):
            raise ValueError(f"kernel={self.kernel!r} must be one of {', '.join(POWERS)}, or 'auto'.")
        weight = checked_weights(sample_weight, len(X))
        self._single = y.ndim == 1
        used = weight > 0
        Y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        rows, self._units = standardise(merge_equal_rows(X[used], Y[used], weight[used]))
        self._centres = rows.X if len(rows.X) <= self.exact_rows else self._select_centres(rows)
        kernels = tuple(POWERS) if self.kernel == "auto" else (self.kernel,)
        solutions = [self._solve(rows, kernel) for kernel in kernels]
        best = min(solutions, key=lambda one: float(one.score.sum()))
        self.kernel_, self.smoothing_ = best.kernel, best.smoothing
        self._coef, self._tail = best.coef, best.tail
        return self

    def predict(self, X: Any) -> Array:
        """Predict the rows of X (n, d): (n,) or (n, T)."""
        check_is_fitted(self)
        Z = self._scale_columns(X)
        out = _terms(Z, len(self._tail)) @ self._tail
        for at in range(0, len(Z), BLOCK):
            out[at : at + BLOCK] += _kernel(self.kernel_, Z[at : at + BLOCK], self._centres) @ self._coef
        out = out * self._units.y_scale + self._units.y_mean
        return out[:, 0] if self._single else out

    def predict_gradient(self, X: Any) -> Array:
        """Gradient of the prediction at the rows of X (n, d): (n, d), or (n, T, d).

        The linear kernel is not differentiable at its centre, whose contribution is set to zero there.
        """
        check_is_fitted(self)
        Z = self._scale_columns(X)
        out = np.zeros((len(Z), len(self._units.y_scale), Z.shape[1]))
        if len(self._tail) > 1:
            out += self._tail[1:].T
        for at in range(0, len(Z), BLOCK):
            z = Z[at : at + BLOCK]
            distance = cdist(z, self._centres)
            if self.kernel_ == "cubic":
                slope = 3.0 * distance
            else:
                slope = -np.divide(1.0, distance, out=np.zeros_like(distance), where=distance > 0)
            for t, coef in enumerate(self._coef.T):
                pulled = slope * coef
                out[at : at + BLOCK, t] += pulled.sum(axis=1)[:, None] * z - pulled @ self._centres
        out *= self._units.y_scale[:, None] / self._units.x_scale
        return out[:, 0] if self._single else out

    def _scale_columns(self, X: Any) -> Array:
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return (X - self._units.x_mean) / self._units.x_scale

    def _select_centres(self, rows: MergedRows) -> Array:
        seeds = np.random.RandomState(self.random_state)
        number = min(self.n_centres, len(rows.X))
        centres, _ = kmeans_plusplus(rows.X, number, sample_weight=rows.weight, random_state=seeds)
        return np.unique(centres, axis=0)

    def _solve(self, rows: MergedRows, kernel: str) -> _Solution:
        P = _terms(self._centres, 1 + POWERS[kernel][1] * rows.X.shape[1])
        if kernel == "cubic" and 1 + rows.X.shape[1] > MAX_TAIL_SHARE * rows.count:
            kernel, P = "linear", P[:, :1]
        # Columns may be linearly dependent: the tail is a basis of their span.
        _, values, Vt = svd(P, full_matrices=False)
        span = Vt[values > 1e-9 * values[0]].T  # (terms, p)
        if self._centres is rows.X:
            return _interpolate(rows, kernel, P, span)
        return _regress(rows, kernel, self._centres, P, span)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def _terms(Z: Array, width: int) -> Array:
    ones = np.ones((len(Z), 1))
    return ones if width == 1 else np.hstack([ones, Z])


def _kernel(kernel: str, Z: Array, centres: Array) -> Array:
    """Kernel matrix r³ or -r, conditionally positive definite with respect to the tail."""
    distance = cdist(Z, centres)
    return distance**3 if kernel == "cubic" else -distance


def _interpolate(rows: MergedRows, kernel: str, P: Array, span: Array) -> _Solution:
    """Centres at all rows: (K + smoothing / weight) c + P b = y with P'c = 0 (Wahba 1990, section 1.3)."""
    root = np.sqrt(rows.weight)[:, None]
    K = _kernel(kernel, rows.X, rows.X)
    tail = P @ span
    Q, R = qr(root * tail)
    p = tail.shape[1]
    R, null = R[:p], Q[:, p:]
    values, vectors = eigh(null.T @ (root * K * root.T) @ null)
    basis = null @ vectors
    values, target = np.maximum(values, 0.0), basis.T @ (root * rows.Y)  # (r,), (r, T)
    unit = float(values.mean()) if len(values) and values.any() else 1.0
    smoothing = PENALTIES[_choose_penalty(values, target**2, rows.within, PENALTIES * unit, rows.count - p)] * unit
    inverse = 1.0 / (values[:, None] + smoothing)  # (r, T)
    c = root * (basis @ (target * inverse))
    # Leave-one-out errors, exact (Rippa 1999); the target itself if the row is the only one.
    own = basis**2 @ inverse
    left_out_error = np.divide(c / rows.weight[:, None], own, out=rows.Y.copy(), where=own > 0)
    score = (rows.weight @ left_out_error**2 + rows.within) / rows.count
    fitted = rows.Y - smoothing * c / rows.weight[:, None]
    b = solve_triangular(R, Q[:, :p].T @ (root * (fitted - K @ c)))
    return _Solution(kernel, c, span @ b, score, smoothing)


def _regress(rows: MergedRows, kernel: str, centres: Array, P: Array, span: Array) -> _Solution:
    """Centres at some rows: least squares with the penalty c'Kc (Wood 2003 for thin plate splines)."""
    m, width, p = len(centres), P.shape[1], span.shape[1]
    null = qr(P @ span)[0][:, p:]  # of coefficients orthogonal to the tail
    K = null.T @ _kernel(kernel, centres, centres) @ null
    root = cholesky(K + np.eye(m - p) * 1e-10 * np.trace(K) / (m - p), lower=True)
    turn = null @ solve_triangular(root, np.eye(m - p), lower=True).T  # c = turn @ a is penalised by |a|²
    A, L, M = np.zeros((m - p, m - p)), np.zeros((p, p)), np.zeros((p, m - p))
    right_a, right_l = np.zeros((m - p, rows.Y.shape[1])), np.zeros((p, rows.Y.shape[1]))
    for at in range(0, len(rows.X), BLOCK):
        block = slice(at, at + BLOCK)
        F, T = _kernel(kernel, rows.X[block], centres) @ turn, _terms(rows.X[block], width) @ span
        weighted_f, weighted_t = F * rows.weight[block, None], T * rows.weight[block, None]
        A, L, M = A + weighted_f.T @ F, L + weighted_t.T @ T, M + weighted_t.T @ F
        right_a, right_l = right_a + weighted_f.T @ rows.Y[block], right_l + weighted_t.T @ rows.Y[block]
    tail_root = (cholesky(L, lower=True), True)
    by_tail, of_target = cho_solve(tail_root, M), cho_solve(tail_root, right_l)
    values, vectors = eigh(A - M.T @ by_tail)
    values = np.maximum(values, 1e-14 * values[-1])
    moments = vectors.T @ (right_a - M.T @ of_target)
    explained = moments**2 / values[:, None]
    energy = rows.weight @ rows.Y**2 + rows.within - (right_l * of_target).sum(axis=0)
    unexplained = np.maximum(energy - explained.sum(axis=0), 1e-14 * energy)
    unit = float(values.mean())
    smoothing = PENALTIES[_choose_penalty(values, explained, unexplained, PENALTIES * unit, rows.count - p)] * unit
    remaining = smoothing / (values[:, None] + smoothing)
    freedom = np.maximum(rows.count - 1.4 * (p + (1.0 - remaining).sum(axis=0)), 1.0)
    score = rows.count * (unexplained + (remaining**2 * explained).sum(axis=0)) / freedom**2
    a = vectors @ (moments / (values[:, None] + smoothing))
    return _Solution(kernel, turn @ a, span @ (of_target - by_tail @ a), score, smoothing)


def _choose_penalty(values: Array, explained: Array, unexplained: Array, penalties: Array, freedom: float) -> Any:
    """Index (T,) of the penalty that maximises the generalised likelihood (Wahba 1985), for each target.

    Given the eigenvalues of the kernel (r,), squares of the target along its eigenvectors (r, T) and the
    residual sum of squares (T,). It undersmooths less often than cross-validation.
    """
    remaining = penalties / (values[:, None] + penalties)  # (r, A)
    energy = np.maximum(unexplained + remaining.T @ explained, np.finfo(float).tiny)  # (A, T)
    return (max(freedom, 1.0) * np.log(energy) - np.log(remaining).sum(axis=0)[:, None]).argmin(axis=0)
