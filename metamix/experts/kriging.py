"""Gaussian processes that take row weights, choose their kernel and stay quick on large tables."""

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
from metamix.experts.weighting import Rows, checked_weights, gather, standardise

__all__ = ["Kriging"]

Array = NDArray[np.float64]

# With more columns than this, or than half the rows, all share one length: rows do not tell so many apart.
MOST_LENGTHS = 50
# Rows on which the family is chosen where there are more than `search_rows`.
FAMILY_ROWS = 100
# Rows among which centres are chosen.
CENTRE_ROWS = 5000
# On the diagonal of the centres.
CENTRE_JITTER = 1e-9
# Rows answered at a time, so that memory does not grow with the rows asked about.
BLOCK = 2000


class Kriging(RegressorMixin, BaseEstimator):
    """Regression by a Gaussian process: a length for each column, a learned noise and a constant trend.

    With more than fifty columns, or columns than half the rows, one length serves all.

    Lengths and noise have the highest restricted likelihood (Rasmussen & Williams 2006, sections 2.7 and
    5.4) under a weak prior on the lengths; amplitude and trend have closed forms. A row of weight w counts
    as w equal rows, so its noise is divided by w, and a row of weight zero is absent. Columns and target
    are standardised first, so units do not matter.

    Up to `exact_rows` different rows the answer is exact. Above, it rests on `n_centres` of the rows, spread
    by k-means++ seeding, and is the projected process of Seeger, Williams & Lawrence (2003), whose noise is
    found anew on all rows.

    Parameters
    ----------
    kernel : {"auto", "smooth", "matern52", "matern32"}, default="auto"
        Squared exponential or Matérn; "auto" takes the one of the highest likelihood.
    search_rows : int, default=300
        Lengths are found on so many rows at most, drawn in proportion to their weights.
    exact_rows : int, default=1500
    n_centres : int, default=500
    least_noise : float, default=1e-11
        Variance of the noise as a share of the amplitude's, at least.
    random_state : int, default=0
        For the draws of rows and centres, where there are too many.

    Attributes
    ----------
    kernel_ : str
        The family that was chosen.
    length_ : ndarray of shape (d,)
        In the units of the columns; a long one says that the column matters little.
    noise_ : float or ndarray of shape (T,)
        Standard deviation of y about the curve, in units of y, for a row of weight one.
    amplitude_ : float or ndarray of shape (T,)
        Standard deviation of the curve itself, in units of y.

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
        """Learn from X (n, d), y (n,) or (n, T) and weights (n,).

        Raises
        ------
        ValueError
            Every weight is zero, one is negative, or the kernel has no such name.
        """
        X, y = validate_data(self, X, y, multi_output=True, y_numeric=True, dtype=np.float64)
        if self.kernel not in ("auto", *FAMILIES):
            raise ValueError(f"kernel={self.kernel!r}: one of {', '.join(FAMILIES)}, or 'auto', would do")
        weight = checked_weights(sample_weight, len(X))
        self._single = y.ndim == 1
        used = weight > 0
        Y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        rows, units = standardise(gather(X[used], Y[used], weight[used]))
        self._x_mean, self._x_scale = units.x_mean, units.x_scale
        self._y_mean, self._y_scale = units.y_mean, units.y_scale
        self._share = rows.count / weight.sum()
        self.kernel_, logs = self._search(rows)
        self._lengths, self._noise = np.exp(logs[:-1]), float(np.exp(logs[-1]))
        if len(rows.X) <= self.exact_rows:
            self._solve(rows)
        else:
            self._project(rows)
        self._keep()
        return self

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Answer the rows of X (n, d).

        Parameters
        ----------
        X : array of shape (n, d)
        return_std : bool
            Also the predictive standard deviation of y: uncertainty about the curve and noise together, for
            a row of weight one, in units of y.

        Returns
        -------
        ndarray of shape (n,) or (n, T), or a pair of them
        """
        check_is_fitted(self)
        Z = self._scaled(validate_data(self, X, reset=False, dtype=np.float64))
        mean, share = np.empty((len(Z), len(self._y_scale))), np.empty(len(Z))
        for at in range(0, len(Z), BLOCK):
            k, _ = correlation(self.kernel_, cdist(Z[at : at + BLOCK], self._centres, "sqeuclidean"))
            mean[at : at + BLOCK] = self._trend + k @ self._alpha
            if return_std:
                share[at : at + BLOCK] = sum(self._variance(k)) + self._noise
        mean = mean * self._y_scale + self._y_mean
        if not return_std:
            return self._shaped(mean)
        deviation = np.sqrt(share)[:, None] * self._amplitude * self._y_scale
        return self._shaped(mean), self._shaped(deviation)

    def predict_gradient(self, X: Any) -> Array:
        """Derivatives of the answer by the columns at the rows of X (n, d): (n, d), or (n, T, d)."""
        check_is_fitted(self)
        Z = self._scaled(validate_data(self, X, reset=False, dtype=np.float64))
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
        """Share of its own target in the answer to each training row.

        Without row i, at the same lengths and noise, its answer a would be y - (y - a) / (1 - leverage):
        so for every linear smoother (Hastie, Tibshirani & Friedman 2009, equation 5.27).

        Parameters
        ----------
        X : array of shape (n, d)
            Rows that were fitted.
        sample_weight : array of shape (n,), optional
            With the weights they were fitted with.

        Returns
        -------
        ndarray of shape (n,)
            From 0 to 1, to the digits of noise² / amplitude² that floating point leaves.
        """
        check_is_fitted(self)
        Z = self._scaled(validate_data(self, X, reset=False, dtype=np.float64))
        open_ = np.empty(len(Z))
        for at in range(0, len(Z), BLOCK):
            k, _ = correlation(self.kernel_, cdist(Z[at : at + BLOCK], self._centres, "sqeuclidean"))
            open_[at : at + BLOCK] = self._variance(k)[0]
        return np.clip(checked_weights(sample_weight, len(Z)) * self._share * open_ / self._noise, 0.0, 1.0)

    def _search(self, rows: Rows) -> tuple[str, Array]:
        """The family and the logs of lengths and noise (d + 1,)."""
        varied = self._y_scale > 0
        if not varied.any() or len(rows.X) < 2 or rows.count <= 2:
            return FAMILIES[1], np.append(np.full(rows.X.shape[1], np.log(2.0)), 0.0)
        rows = Rows(rows.X, rows.Y[:, varied], rows.weight, rows.within[varied], rows.count, rows.place)
        few = self._draw(rows, self.search_rows)
        families = FAMILIES if self.kernel == "auto" else (self.kernel,)
        fewer = self._draw(rows, FAMILY_ROWS)
        tied = rows.X.shape[1] > max(min(MOST_LENGTHS, len(rows.X) / 2), 1)
        found = {family: search(family, fewer, None, tied, self.least_noise) for family in families}
        best = min(found, key=lambda family: found[family][1])
        logs = found[best][0]
        return best, logs if fewer is rows else search(best, few, logs, tied, self.least_noise)[0]

    def _draw(self, rows: Rows, most: int) -> Rows:
        """At most so many rows, in proportion to their weights; a row drawn twice weighs two."""
        if len(rows.X) <= most:
            return rows
        rng = np.random.default_rng(self.random_state)
        order = rng.permutation(len(rows.X))
        edges = np.cumsum(rows.weight[order])
        points = (np.arange(most) + rng.random()) / most * edges[-1]
        drawn = np.minimum(np.searchsorted(edges, points, side="right"), len(order) - 1)
        at, times = np.unique(drawn, return_counts=True)
        # What equal rows differ by stays with them, as far as they were drawn.
        share = float(most / rows.count)
        return Rows(
            rows.X[order[at]], rows.Y[order[at]], times.astype(float), rows.within * share, float(most), rows.place
        )

    def _solve(self, rows: Rows) -> None:
        """Condition on every row: R = correlation + noise / weight, trend by generalised least squares."""
        Z, n = rows.X / self._lengths, len(rows.X)
        R, _ = correlation(self.kernel_, cdist(Z, Z, "sqeuclidean"))
        root = self._root(R, rows.weight)
        ones = cho_solve((root, True), np.ones(n))
        self._centres, self._trend, self._ones = Z, ones @ rows.Y / ones.sum(), ones
        residual = rows.Y - self._trend
        self._alpha = cho_solve((root, True), residual)
        energy = (residual * self._alpha).sum(axis=0) + rows.within / self._noise
        self._amplitude = np.sqrt(np.maximum(energy, 0.0) / max(rows.count - 1.0, 1.0))
        self._shrink, self._widen = solve_triangular(root, np.eye(n), lower=True), None

    def _root(self, R: Array, weight: Array) -> Array:
        """Cholesky root of R + noise / weight; where rounding forbids it, of more noise."""
        while True:
            try:
                return cholesky(R + np.diag(self._noise / weight + JITTER), lower=True, check_finite=False)
            except LinAlgError:
                self._noise *= 10.0

    def _project(self, rows: Rows) -> None:
        """Condition on what the centres can express, with the noise that all rows have about it."""
        self._centres = self._choose_centres(rows.X / self._lengths, rows.weight)
        m = len(self._centres)
        among, _ = correlation(self.kernel_, cdist(self._centres, self._centres, "sqeuclidean"))
        among[np.diag_indices(m)] += CENTRE_JITTER
        down = solve_triangular(cholesky(among, lower=True), np.eye(m), lower=True)
        scatter, moments, power = np.zeros((m, m)), np.zeros((m, rows.Y.shape[1])), 0.0
        for at in range(0, len(rows.X), BLOCK):
            block = slice(at, at + BLOCK)
            k, _ = correlation(self.kernel_, cdist(rows.X[block] / self._lengths, self._centres, "sqeuclidean"))
            features = k @ down.T  # (block, m), of unit prior variance
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
        self._alpha = down.T @ (vectors @ solved)
        self._shrink, self._ones = down, None
        self._widen = (vectors * np.sqrt(self._noise / (values + self._noise))).T @ down
        # What the centres cannot express is part of that noise already, as much as it is on average.
        self._beyond = 1.0 - power / rows.count

    def _choose_centres(self, Z: Array, weight: Array) -> Array:
        rng = np.random.default_rng(self.random_state)
        if len(Z) > CENTRE_ROWS:
            drawn = rng.choice(len(Z), CENTRE_ROWS, replace=False, p=weight / weight.sum())
            Z, weight = Z[drawn], weight[drawn]
        seeds = np.random.RandomState(self.random_state)
        centres, _ = kmeans_plusplus(Z, min(self.n_centres, len(Z)), sample_weight=weight, random_state=seeds)
        return np.unique(centres, axis=0)

    def _variance(self, k: Array) -> tuple[Array, Array]:
        """Variances of the curve at rows with correlations k (n, m) to the centres, as shares of the amplitude's.

        What training rows left open, and what the centres cannot express: (n,) each.
        """
        known = ((k @ self._shrink.T) ** 2).sum(axis=1)
        if self._widen is not None:
            return ((k @ self._widen.T) ** 2).sum(axis=1), np.maximum(1.0 - known - self._beyond, 0.0)
        trend = (1.0 - k @ self._ones) ** 2 / self._ones.sum()
        return np.maximum(1.0 - known + trend, 0.0), np.zeros(len(k))

    def _keep(self) -> None:
        """What was found, in the units of the columns and of y."""
        amplitude = self._amplitude * self._y_scale
        self.length_ = self._lengths * self._x_scale
        self.amplitude_ = float(amplitude[0]) if self._single else amplitude
        self.noise_ = self.amplitude_ * np.sqrt(self._noise)

    def _scaled(self, X: Array) -> Array:
        return (X - self._x_mean) / (self._x_scale * self._lengths)

    def _shaped(self, values: Array) -> Array:
        return values[:, 0] if self._single else values

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
