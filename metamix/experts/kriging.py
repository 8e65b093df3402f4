"""Gaussian process regression with row weights, kernel selection and a sparse approximation for many rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_solve, cholesky, eigh, solve_triangular
from scipy.spatial.distance import cdist
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.cluster import kmeans_plusplus
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted, validate_data

from metamix.experts.covariance import FAMILIES, JITTER, LEAST_NOISE, best_noise, correlation, search
from metamix.experts.weighting import MergedRows, checked_weights, merge_equal_rows, standardise

__all__ = ["Kriging"]

Array = NDArray[np.float64]

# With more columns than this, or than half the number of rows, all columns share one length scale.
MAX_LENGTHS = 50
# Largest number of rows on which the search for length scales begins.
START_ROWS = 100
# Largest number of rows from which centres are selected.
CENTRE_ROWS = 5000
# Added to the diagonal of the covariance of the centres.
CENTRE_JITTER = 1e-9
# Rows predicted at a time, to bound memory.
BLOCK = 2000


class Kriging(RegressorMixin, BaseEstimator):
    """Gaussian process regression with a length scale per column, estimated noise and a constant mean.

    With more than fifty columns, or more columns than half the number of rows, all columns share one length
    scale.

    Length scales and noise maximise the restricted likelihood (Rasmussen & Williams 2006, sections 2.7 and
    5.4) times a weak prior on the length scales; amplitude and mean have closed forms. A row of weight w counts
    as w equal rows, so its noise variance is divided by w, and rows of weight zero are ignored. Columns and
    target are standardised, so their units do not matter.

    With at most `exact_rows` distinct rows inference is exact. With more, it is the projected process of Seeger,
    Williams & Lawrence (2003) on `n_centres` rows selected by k-means++ seeding; the noise is then re-estimated
    on all rows.

    Parameters
    ----------
    kernel : {"auto", "smooth", "matern52", "matern32"}, default="auto"
        Squared exponential or Matérn; "auto" selects the one with the largest likelihood.
    search_rows : int, default=300
        Largest number of rows for the estimation of length scales; sampled in proportion to their weights.
    exact_rows : int, default=1500
    n_centres : int, default=500
    least_noise : float, default=1e-11
        Smallest noise variance relative to that of the process.
    random_state : int, default=0
        Seed for sampling rows and centres.

    Attributes
    ----------
    kernel_ : str
        The selected kernel.
    length_ : ndarray of shape (d,)
        Length scales in the units of the columns; a large one means that the column has little influence.
    noise_ : float or ndarray of shape (T,)
        Standard deviation of the noise, in units of y, for a row of weight one.
    amplitude_ : float or ndarray of shape (T,)
        Standard deviation of the process, in units of y.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.linspace(0.0, 6.0, 30)[:, None]
    >>> model = Kriging().fit(x, np.sin(x[:, 0]))
    >>> mean, deviation = model.predict([[1.0], [20.0]], return_std=True)
    >>> round(float(mean[0] - np.sin(1.0)), 4), bool(deviation[1] > 100 * deviation[0])
    (0.0, True)
    """

    def __init__(
        self,
        kernel: str = "auto",
        search_rows: int = 300,
        exact_rows: int = 1500,
        n_centres: int = 500,
        least_noise: float = LEAST_NOISE,
        random_state: int = 0,
    ) -> None:
        self.kernel = kernel
        self.search_rows = search_rows
        self.exact_rows = exact_rows
        self.n_centres = n_centres
        self.least_noise = least_noise
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Kriging:
        """Fit to X (n, d), y (n,) or (n, T) and weights (n,).

        Raises
        ------
        ValueError
            If all weights are zero, one is negative, or the kernel is unknown.
        """
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64)
        if self.kernel not in ("auto", *FAMILIES):
            raise ValueError(f"kernel={self.kernel!r} must be one of {', '.join(FAMILIES)}, or 'auto'.")
        weight = checked_weights(sample_weight, len(X))
        self._single = y.ndim == 1
        used = weight > 0
        Y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        rows, units = standardise(merge_equal_rows(X[used], Y[used], weight[used]))
        self._x_mean, self._x_scale = units.x_mean, units.x_scale
        self._y_mean, self._y_scale = units.y_mean, units.y_scale
        self._weight_scale = rows.count / weight.sum()
        self.kernel_, logs = self._select_kernel(rows)
        self._lengths, self._noise = np.exp(logs[:-1]), float(np.exp(logs[-1]))
        if len(rows.X) <= self.exact_rows:
            self._solve(rows)
        else:
            self._project(rows)
        self._set_attributes()
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predict the rows of X (n, d).

        Parameters
        ----------
        X : array of shape (n, d)
        return_std : bool
            Also return the predictive standard deviation of y, noise included, for a row of weight one, in units
            of y.

        Returns
        -------
        ndarray of shape (n,) or (n, T), or a tuple of two
        """
        check_is_fitted(self)
        Z = self._scale_columns(validate_data(self, X, reset=False, dtype=np.float64))
        mean, share = np.empty((len(Z), len(self._y_scale))), np.empty(len(Z))
        for at in range(0, len(Z), BLOCK):
            k, _ = correlation(self.kernel_, cdist(Z[at : at + BLOCK], self._centres, "sqeuclidean"))
            mean[at : at + BLOCK] = self._trend + k @ self._alpha
            if return_std:
                share[at : at + BLOCK] = sum(self._variance(k)) + self._noise
        mean = mean * self._y_scale + self._y_mean
        if not return_std:
            return self._match_target_shape(mean)
        deviation = np.sqrt(share)[:, None] * self._amplitude * self._y_scale
        return self._match_target_shape(mean), self._match_target_shape(deviation)

    def predict_gradient(self, X: Any) -> Array:
        """Gradient of the prediction at the rows of X (n, d): (n, d), or (n, T, d)."""
        check_is_fitted(self)
        Z = self._scale_columns(validate_data(self, X, reset=False, dtype=np.float64))
        out = np.empty((len(Z), len(self._y_scale), Z.shape[1]))
        for at in range(0, len(Z), BLOCK):
            z = Z[at : at + BLOCK]
            _, slope = correlation(self.kernel_, cdist(z, self._centres, "sqeuclidean"))
            for t, alpha in enumerate(self._alpha.T):
                pulled = slope * alpha
                out[at : at + BLOCK, t] = 2.0 * (pulled.sum(axis=1)[:, None] * z - pulled @ self._centres)
        out *= self._y_scale[:, None] / (self._lengths * self._x_scale)
        return out[:, 0] if self._single else out

    def leverage(self, X: Any, sample_weight: Any = None) -> Array:
        """Leverage: the derivative of the prediction for each training row with respect to its own target.

        With row i left out, at the same length scales and noise, its prediction is y - (y - f) / (1 - leverage),
        where f is the prediction with row i (Hastie, Tibshirani & Friedman 2009, equation 5.27).

        Parameters
        ----------
        X : array of shape (n, d)
            Training rows.
        sample_weight : array of shape (n,), optional
            Their weights in `fit`.

        Returns
        -------
        ndarray of shape (n,)
            In [0, 1]; the precision falls as noise² / amplitude² approaches the floating-point precision.
        """
        check_is_fitted(self)
        Z = self._scale_columns(validate_data(self, X, reset=False, dtype=np.float64))
        variance = np.empty(len(Z))
        for at in range(0, len(Z), BLOCK):
            k, _ = correlation(self.kernel_, cdist(Z[at : at + BLOCK], self._centres, "sqeuclidean"))
            variance[at : at + BLOCK] = self._variance(k)[0]
        return np.clip(checked_weights(sample_weight, len(Z)) * self._weight_scale * variance / self._noise, 0.0, 1.0)

    def _select_kernel(self, rows: MergedRows) -> tuple[str, Array]:
        """Select the kernel; also return the logarithms of length scales and noise (d + 1,)."""
        varied = self._y_scale > 0
        if not varied.any() or len(rows.X) < 2 or rows.count <= 2:
            return FAMILIES[1], np.append(np.full(rows.X.shape[1], np.log(2.0)), 0.0)
        rows = MergedRows(rows.X, rows.Y[:, varied], rows.weight, rows.within[varied], rows.count, rows.index)
        sample = self._sample_rows(rows, self.search_rows)
        families = FAMILIES if self.kernel == "auto" else (self.kernel,)
        small_sample = self._sample_rows(rows, START_ROWS)
        tied = rows.X.shape[1] > max(min(MAX_LENGTHS, len(rows.X) / 2), 1)
        found = {}
        for family in families:
            found[family] = search(family, small_sample, None, tied, self.least_noise)
            if small_sample is not rows:  # which kernel is best is not to be seen on so few
                found[family] = search(family, sample, found[family][0], tied, self.least_noise)
        best = min(found, key=lambda family: found[family][1])
        return best, found[best][0]

    def _sample_rows(self, rows: MergedRows, max_rows: int) -> MergedRows:
        """Sample at most `max_rows` rows in proportion to their weights; a row drawn twice has weight two."""
        if len(rows.X) <= max_rows:
            return rows
        rng = np.random.default_rng(self.random_state)
        order = rng.permutation(len(rows.X))
        edges = np.cumsum(rows.weight[order])
        points = (np.arange(max_rows) + rng.random()) / max_rows * edges[-1]
        drawn = np.minimum(np.searchsorted(edges, points, side="right"), len(order) - 1)
        at, times = np.unique(drawn, return_counts=True)
        # The within-row sum of squares is scaled to the size of the sample.
        share = float(max_rows / rows.count)
        return MergedRows(
            rows.X[order[at]], rows.Y[order[at]], times.astype(float), rows.within * share, float(max_rows), rows.index
        )

    def _solve(self, rows: MergedRows) -> None:
        """Exact inference: R = correlation + noise / weight, mean by generalised least squares."""
        Z, n = rows.X / self._lengths, len(rows.X)
        R, _ = correlation(self.kernel_, cdist(Z, Z, "sqeuclidean"))
        root = self._cholesky(R, rows.weight)
        ones = cho_solve((root, True), np.ones(n))
        self._centres, self._trend, self._ones = Z, ones @ rows.Y / ones.sum(), ones
        residual = rows.Y - self._trend
        self._alpha = cho_solve((root, True), residual)
        energy = (residual * self._alpha).sum(axis=0) + rows.within / self._noise
        self._amplitude = np.sqrt(np.maximum(energy, 0.0) / max(rows.count - 1.0, 1.0))
        self._inverse_factor, self._posterior_factor = solve_triangular(root, np.eye(n), lower=True), None

    def _cholesky(self, R: Array, weight: Array) -> Array:
        """Cholesky factor of R + noise / weight; the noise is raised if that is not positive definite."""
        while True:
            try:
                return cholesky(R + np.diag(self._noise / weight + JITTER), lower=True, check_finite=False)
            except LinAlgError:
                self._noise *= 10.0

    def _project(self, rows: MergedRows) -> None:
        """Projected process on the centres, with the noise re-estimated on all rows."""
        self._centres = self._select_centres(rows.X / self._lengths, rows.weight)
        m = len(self._centres)
        among, _ = correlation(self.kernel_, cdist(self._centres, self._centres, "sqeuclidean"))
        among[np.diag_indices(m)] += CENTRE_JITTER
        inverse_factor = solve_triangular(cholesky(among, lower=True), np.eye(m), lower=True)
        scatter, moments, power = np.zeros((m, m)), np.zeros((m, rows.Y.shape[1])), 0.0
        for at in range(0, len(rows.X), BLOCK):
            block = slice(at, at + BLOCK)
            k, _ = correlation(self.kernel_, cdist(rows.X[block] / self._lengths, self._centres, "sqeuclidean"))
            features = k @ inverse_factor.T  # (block, m), coefficients have unit prior variance
            weighted = features * rows.weight[block, None]
            scatter += weighted.T @ features
            moments += weighted.T @ rows.Y[block]
            power += float(rows.weight[block] @ np.minimum((features**2).sum(axis=1), 1.0))
        values, vectors = eigh(scatter)
        values, moments = np.maximum(values, 0.0), vectors.T @ moments
        squares = rows.weight @ rows.Y**2 + rows.within
        varied = self._y_scale > 0
        self._noise = best_noise(values, moments[:, varied], squares[varied], rows.count, self._noise)
        solved = moments / (values + self._noise)[:, None]
        energy = (squares - (moments * solved).sum(axis=0)) / self._noise
        self._amplitude = np.sqrt(np.maximum(energy, 0.0) / rows.count)
        self._trend = np.zeros(rows.Y.shape[1])  # targets are centred
        self._alpha = inverse_factor.T @ (vectors @ solved)
        self._inverse_factor, self._ones = inverse_factor, None
        self._posterior_factor = (vectors * np.sqrt(self._noise / (values + self._noise))).T @ inverse_factor
        # Mean variance not represented by the centres, which is already contained in the noise.
        self._residual_variance = 1.0 - power / rows.count

    def _select_centres(self, Z: Array, weight: Array) -> Array:
        rng = np.random.default_rng(self.random_state)
        if len(Z) > CENTRE_ROWS:
            drawn = rng.choice(len(Z), CENTRE_ROWS, replace=False, p=weight / weight.sum())
            Z, weight = Z[drawn], weight[drawn]
        seeds = np.random.RandomState(self.random_state)
        centres, _ = kmeans_plusplus(Z, min(self.n_centres, len(Z)), sample_weight=weight, random_state=seeds)
        return np.unique(centres, axis=0)

    def _variance(self, k: Array) -> tuple[Array, Array]:
        """Posterior variance of the process, relative to the prior, given correlations k (n, m) to the centres.

        Two arrays (n,): the part represented by the centres, and the rest, not represented by them.
        """
        explained = ((k @ self._inverse_factor.T) ** 2).sum(axis=1)
        if self._posterior_factor is not None:
            return ((k @ self._posterior_factor.T) ** 2).sum(axis=1), np.maximum(
                1.0 - explained - self._residual_variance, 0.0
            )
        trend = (1.0 - k @ self._ones) ** 2 / self._ones.sum()
        return np.maximum(1.0 - explained + trend, 0.0), np.zeros(len(k))

    def _set_attributes(self) -> None:
        """Set the fitted attributes in the units of the columns and of y."""
        amplitude = self._amplitude * self._y_scale
        self.length_ = self._lengths * self._x_scale
        self.amplitude_ = float(amplitude[0]) if self._single else amplitude
        self.noise_ = self.amplitude_ * np.sqrt(self._noise)

    def _scale_columns(self, X: Array) -> Array:
        return (X - self._x_mean) / (self._x_scale * self._lengths)

    def _match_target_shape(self, values: Array) -> Array:
        return values[:, 0] if self._single else values

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
