"""The Gaussian gate of Xu, Jordan & Hinton (1995): one Gaussian over x per expert, in closed form."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.linalg import cho_solve, solve_triangular
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from metamix.data.row_keys import distinct_rows
from metamix.derivatives import softmax_gradient
from metamix.gates.descent import softmax
from metamix.gates.soft_labels import check_responsibilities, check_row_weights, mean_responsibilities
from metamix.gates.standardised import column_moments, row_blocks
from metamix.protocols import FloatArray

#: A sparse X of at most this many entries is converted to a dense array.
_DENSE_ENTRIES = 2**24
#: A column is treated as constant if its standard deviation is below this fraction of its mean (rounding).
_CONSTANT = 1e-12
#: Standardised columns are clipped to this range, so that their squares stay finite.
_CLIP = 1e50


class GaussianGate(BaseEstimator):
    """Weights proportional to a_k N(x; m_k, S_k), the posterior of a Gaussian discriminant analysis.

    All parameters have closed forms: a_k is the mean responsibility of expert k, m_k and S_k are the weighted
    mean and covariance of x. Columns are standardised, so their units do not matter, and constant columns are
    ignored. S_k is shrunk towards the pooled covariance of all experts, more strongly for experts with few
    rows, and a small ridge is added: duplicated columns and experts without rows are allowed. Weights are
    computed from log densities and stay finite far from the training data, where the expert whose Gaussian is
    widest in that direction gets all weight.

    Parameters
    ----------
    shrinkage : float or "auto", default "auto"
        Weight of the pooled covariance in S_k, from 0 to 1. "auto" is (q + 1) / (q + 1 + n_k), where n_k is
        the effective number of distinct rows of the expert (Kish 1965): the unit of weights does not matter, and a
        row of weight two is two rows.
    ridge : float, default 1e-6
        Added to the variances of the standardised columns.
    sharpness : float, default 1.0
        Exponent of the odds. Gaussians of adjacent regions overlap even where the regions do not; for hard
        labels, a large exponent makes the transition between regions steep without moving the boundary.

    Attributes
    ----------
    proportions_ : ndarray of shape (K,)
    means_ : ndarray of shape (K, q)
        In the units of X.
    covariances_ : ndarray of shape (K, q, q)
        In the units of X, as regularised.
    rows_ : ndarray of shape (K,)
        Effective number of distinct rows of each expert.
    n_experts_ : int

    References
    ----------
    Xu, Jordan & Hinton (1995), An alternative model for mixtures of experts; Cappé & Moulines (2009), On-line
    expectation-maximization algorithm for latent data models, for `partial_fit`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
    >>> gate = GaussianGate().fit(X, np.repeat(np.eye(2), 3, axis=0))
    >>> gate.predict_proba([[1.0], [11.0]]).round(3)
    array([[1., 0.],
           [0., 1.]])
    """

    def __init__(self, shrinkage: float | str = "auto", ridge: float = 1e-6, sharpness: float = 1.0) -> None:
        self.shrinkage = shrinkage
        self.ridge = ridge
        self.sharpness = sharpness

    def fit(self, X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Estimate the weighted proportion, mean and covariance of each expert.

        Parameters
        ----------
        X : array-like of shape (n, q)
            A sparse matrix is converted to dense.
        responsibilities : array-like of shape (n, K)
        sample_weight : array-like of shape (n,) or None

        Returns
        -------
        GaussianGate
            Itself, fitted.

        Raises
        ------
        ValueError
            If X has missing values or is a sparse matrix of more than 2²⁴ entries, shapes do not match,
            shrinkage is not in [0, 1], or sharpness is not positive.
        """
        if not self.sharpness > 0:
            raise ValueError(f"sharpness={self.sharpness!r} must be positive; 1 leaves the odds unchanged.")
        X = self._check(X, reset=True)
        n = X.shape[0]
        labels = check_responsibilities(responsibilities, n)
        row_weights = check_row_weights(sample_weight, n)
        self.n_experts_ = labels.shape[1]
        self.proportions_ = mean_responsibilities(labels, row_weights)
        self._centre, deviation = column_moments(X, row_weights)
        self._varies = np.flatnonzero(deviation > 0)
        self._unit = np.where(deviation > 0, deviation, 1.0)
        means, covariances = self._moments(X, labels, row_weights)
        self.rows_ = _effective_rows(X, labels, row_weights)
        self._moving: dict[str, FloatArray] | None = None
        return self._set(means, covariances)

    def partial_fit(
        self, X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None = None, *, step: float
    ) -> Self:
        """Let proportions, means and covariances of a fitted gate follow new rows (Cappé & Moulines 2009).

        Each statistic, the mean over rows of responsibilities and of their products with x and x², moves towards that
        of the new rows by `step`.

        Parameters
        ----------
        X, responsibilities, sample_weight
            As in `fit`.
        step : float
            Between 0 and 1; 1 forgets all earlier rows.

        Returns
        -------
        GaussianGate
            Itself.
        """
        check_is_fitted(self)
        X = np.asarray(self._check(X, reset=False), dtype=np.float64)
        labels = check_responsibilities(responsibilities, len(X))
        row_weights = check_row_weights(sample_weight, len(X))
        moving = getattr(self, "_moving", None)
        if moving is None:
            rows = getattr(self, "rows_", np.full(self.n_experts_, np.inf))  # files of earlier versions have none
            squares = np.square(self.proportions_) / np.maximum(rows, 1.0)
            moving = {"mean": self.means_, "covariance": self.covariances_, "squares": squares}
        mass, new = (1 - step) * self.proportions_, step * (row_weights @ labels)
        total = mass + new
        share = np.divide(step * row_weights[:, None] * labels, total, out=np.zeros_like(labels), where=total > 0)
        kept = np.divide(mass, total, out=np.ones_like(total), where=total > 0)
        before = moving["mean"]
        mean = before + np.stack([share[:, k] @ (X - before[k]) for k in range(self.n_experts_)])
        covariance = kept[:, None, None] * moving["covariance"]
        for k in range(self.n_experts_):
            away, moved = X - mean[k], before[k] - mean[k]
            covariance[k] += kept[k] * np.outer(moved, moved) + away.T @ (share[:, k, None] * away)
        squares = (1 - step) ** 2 * moving["squares"] + step**2 * np.square(row_weights[:, None] * labels).sum(axis=0)
        self._moving = {"mean": mean, "covariance": covariance, "squares": squares}
        self.proportions_ = total / total.sum()
        self.rows_ = np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0)
        self._centre = self.proportions_ @ mean
        variance = self.proportions_ @ (np.diagonal(covariance, axis1=1, axis2=2) + np.square(mean - self._centre))
        deviation = np.sqrt(variance)
        deviation[deviation <= _CONSTANT * np.abs(self._centre)] = 0.0
        self._varies = np.flatnonzero(deviation > 0)
        self._unit = np.where(deviation > 0, deviation, 1.0)
        units = self._unit[self._varies]
        inside = covariance[:, self._varies[:, None], self._varies] / np.outer(units, units)
        return self._set((mean - self._centre)[:, self._varies] / units, inside)

    def _set(self, means: FloatArray, covariances: FloatArray) -> Self:
        """Everything else, from means (K, v) and covariances (K, v, v) of the standardised columns that vary."""
        q, shares = len(self._unit), self._shrinkage()
        pooled = np.einsum("k,kij->ij", self.proportions_, covariances)
        ridge = self.ridge * np.eye(len(self._varies))
        covariances += shares[:, None, None] * (pooled - covariances) + ridge
        self._factors = np.stack([_lower_factor(covariance) for covariance in covariances])
        self._locations = means
        self.means_ = np.tile(self._centre, (self.n_experts_, 1))
        self.means_[:, self._varies] += means * self._unit[self._varies]
        self.covariances_ = np.zeros((self.n_experts_, q, q))
        units = np.outer(self._unit, self._unit)[np.ix_(self._varies, self._varies)]
        self.covariances_[:, self._varies[:, None], self._varies] = covariances * units
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Weights (n, K) of the rows of X (n, q)."""
        check_is_fitted(self)
        X = self._check(X, reset=False)
        weights = np.empty((X.shape[0], self.n_experts_))
        with np.errstate(divide="ignore"):
            prior = np.log(self.proportions_)
        volumes = np.log(np.diagonal(self._factors, axis1=1, axis2=2)).sum(axis=1)
        for rows in row_blocks(X.shape[0]):
            Z = np.clip(self._standardised(X[rows]), -_CLIP, _CLIP).T
            logits = np.empty((Z.shape[1], self.n_experts_))
            for k in range(self.n_experts_):
                away = solve_triangular(self._factors[k], Z - self._locations[k][:, None], lower=True)
                logits[:, k] = prior[k] - volumes[k] - 0.5 * np.einsum("in,in->n", away, away)
            weights[rows] = softmax(self.sharpness * logits)[0]
        return weights

    def weights_gradient(self, X: Any) -> FloatArray:
        """Gradient (n, K, q) of the weights with respect to x at the rows of X (n, q), in the units of X."""
        weights = self.predict_proba(X)
        X = self._check(X, reset=False)
        slopes = np.zeros((X.shape[0], self.n_experts_, X.shape[1]))
        Z = self._standardised(X)
        inside = (np.abs(Z) < _CLIP) / self._unit[self._varies]
        for k in range(self.n_experts_):
            away = (np.clip(Z, -_CLIP, _CLIP) - self._locations[k]).T
            slopes[:, k, self._varies] = -self.sharpness * inside * cho_solve((self._factors[k], True), away).T
        return softmax_gradient(weights, slopes)

    def _moments(self, X: Any, labels: FloatArray, row_weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Means (K, q) and covariances (K, q, q) of the standardised non-constant columns."""
        n, K, q = len(row_weights), labels.shape[1], len(self._varies)
        mass = row_weights @ labels
        share = np.divide(1.0, mass, out=np.zeros_like(mass), where=mass > 0)
        means, covariances = np.zeros((K, q)), np.zeros((K, q, q))
        for rows in row_blocks(n):
            means += (share * row_weights[rows, None] * labels[rows]).T @ self._standardised(X[rows])
        for rows in row_blocks(n):
            Z = self._standardised(X[rows])
            for k in range(K):
                away = Z - means[k]
                covariances[k] += away.T @ ((share[k] * row_weights[rows] * labels[rows, k])[:, None] * away)
        covariances[mass == 0] = np.eye(q)
        return means, covariances

    def _shrinkage(self) -> FloatArray:
        """Weight of the pooled covariance (K,)."""
        if self.shrinkage == "auto":
            return (len(self._varies) + 1.0) / (len(self._varies) + 1.0 + self.rows_)
        if isinstance(self.shrinkage, str) or not 0 <= self.shrinkage <= 1:
            raise ValueError(f"shrinkage={self.shrinkage!r} must be 'auto' or a number from 0 to 1.")
        return np.full(self.n_experts_, float(self.shrinkage))

    def _standardised(self, block: Any) -> FloatArray:
        varies = self._varies
        return (block[:, varies] - self._centre[varies]) / self._unit[varies]

    def _check(self, X: Any, *, reset: bool) -> Any:
        X = validate_data(self, X, accept_sparse="csr", reset=reset, ensure_min_features=0)
        if not sparse.issparse(X):
            return X
        if X.shape[0] * X.shape[1] > _DENSE_ENTRIES:
            raise ValueError(
                f"GaussianGate needs dense columns, and a sparse matrix of shape {X.shape} is too large to be "
                "converted: use SoftmaxGate, or gate features with fewer columns."
            )
        return X.toarray()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def _effective_rows(X: Any, labels: FloatArray, row_weights: FloatArray) -> FloatArray:
    """Effective number (K,) of distinct rows of each expert (Kish 1965)."""
    found = distinct_rows(row_weights, X, labels)
    masses = labels[found.rows] * found.weight[:, None]
    total, squares = masses.sum(axis=0), np.square(masses).sum(axis=0)
    return np.divide(total**2, squares, out=np.zeros_like(total), where=squares > 0)


def _lower_factor(covariance: FloatArray) -> FloatArray:
    """Lower triangular factor of a covariance; eigenvalues are raised if rounding has made it indefinite."""
    try:
        return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        raised = np.maximum(values, 1e-12 * max(float(values[-1]), 1e-12))
        factor = np.asarray(np.linalg.qr((vectors * np.sqrt(raised)).T, mode="r"), dtype=np.float64).T
        return factor * np.sign(np.diagonal(factor))
