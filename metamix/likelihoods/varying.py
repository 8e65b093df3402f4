"""Heteroscedastic scales: for each expert, squared errors are regressed on the columns."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import GammaRegressor

from metamix.data.columns import ColumnEncoder, giving_arrays
from metamix.data.row_keys import effective_weights
from metamix.likelihoods.moments import valid_errors
from metamix.protocols import FloatArray

#: More encoded columns than this are replaced by as many principal components.
_MAX_COLUMNS = 30
#: Smallest squared standardised error: gamma regression needs positive values.
_SMALLEST_SQUARE = 1e-10
#: With a smaller effective number of rows the scale is constant.
_MIN_ROWS = 10
#: Ridge penalties to choose from, as multiples of the one whose prior allows the log variance to vary by about 1.
_RELATIVE_PENALTIES = (1.0, 10.0, 100.0)


class VaryingScale:
    """Factor by which the scale of each expert's errors at x differs from its overall scale.

    Squared normal errors have a gamma distribution, so a gamma regression with logarithmic link is the maximum
    likelihood fit of a log-linear variance (Aitkin 1987). It has linear and quadratic terms in the standardised
    columns and a ridge penalty; among three penalties and a constant scale, the one with the largest
    log-likelihood minus effective number of parameters is selected (Takeuchi 1976). Columns and the result are
    clipped to their range in training, so the scale stays bounded far from the training data. More than
    thirty encoded columns are replaced by their first thirty principal components.

    Attributes
    ----------
    models_ : list of K GammaRegressor or None
        None for experts with a constant scale.
    range_ : ndarray of shape (2, K)
        Smallest and largest log factor over the training rows with weight.

    References
    ----------
    Aitkin (1987), Modelling variance heterogeneity in normal regression using GLIM; Takeuchi (1976) for
    the criterion.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.uniform(-1, 1, (2000, 1))
    >>> errors = np.exp(X) * rng.standard_normal((2000, 1))
    >>> factor = VaryingScale().fit(X, errors, np.ones((2000, 1)), np.ones(1)).predict(np.array([[-1.0], [1.0]]))
    >>> bool(6 < factor[1, 0] / factor[0, 0] < 9)  # exp(2) is 7.4
    True
    """

    def fit(self, X: Any, errors: FloatArray, weights: FloatArray, scale: FloatArray) -> Self:
        """Fit one regression per expert.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)
        errors, weights : ndarrays of shape (n, K)
        scale : ndarray of shape (K,)
            Overall scale of the errors.

        Returns
        -------
        VaryingScale
            Itself, fitted.
        """
        Z = self._fit_columns(X)
        counts = valid_errors(errors, weights)
        self.models_ = [_regression(Z, errors[:, k] / scale[k], weights[:, k], counts[:, k]) for k in range(len(scale))]
        self.range_ = np.zeros((2, len(scale)))
        raw = self._log_factors(Z)
        for k in np.flatnonzero([model is not None for model in self.models_]):
            self.range_[:, k] = raw[counts[:, k], k].min(), raw[counts[:, k], k].max()
        return self

    def predict(self, X: Any) -> FloatArray:
        """Ratio (n, K) of the scale at x to the overall scale; finite and positive.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)

        Returns
        -------
        ndarray of shape (n, K)
        """
        return np.exp(np.clip(self._log_factors(self._transform_columns(X)), *self.range_))

    def _log_factors(self, Z: FloatArray) -> FloatArray:
        factors = np.zeros((len(Z), len(self.models_)))
        for k, model in enumerate(self.models_):
            if model is not None:
                factors[:, k] = 0.5 * (Z @ model.coef_ + model.intercept_)
        return factors

    def _fit_columns(self, X: Any) -> FloatArray:
        self._encoder = giving_arrays(ColumnEncoder())
        encoded = self._encoder.fit_transform(X)
        n, D = encoded.shape
        self._directions = None
        if min(n - 1, D) > _MAX_COLUMNS:
            self._directions = giving_arrays(TruncatedSVD(_MAX_COLUMNS, random_state=0)).fit(encoded)
        values = self._project(encoded)
        self._centre, deviation = values.mean(axis=0), values.std(axis=0)
        self._factor = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-12)
        values = (values - self._centre) * self._factor
        self._bounds = values.min(axis=0), values.max(axis=0)
        # The square of a binary column is a linear function of it.
        self._squared = np.flatnonzero([len(np.unique(column[:1000])) > 2 for column in values.T])
        return self._with_squares(values)

    def _transform_columns(self, X: Any) -> FloatArray:
        values = (self._project(self._encoder.transform(X)) - self._centre) * self._factor
        return self._with_squares(np.clip(values, *self._bounds))

    def _project(self, encoded: Any) -> FloatArray:
        if self._directions is not None:
            encoded = self._directions.transform(encoded)
        return np.asarray(encoded.toarray() if sparse.issparse(encoded) else encoded, dtype=np.float64)

    def _with_squares(self, values: FloatArray) -> FloatArray:
        return np.concatenate([values, values[:, self._squared] ** 2 - 1.0], axis=1)


def _regression(Z: FloatArray, errors: FloatArray, weights: FloatArray, counts: NDArray[Any]) -> GammaRegressor | None:
    """Gamma regression of squared standardised errors (n,); None if a constant scale is selected."""
    Z, weights = Z[counts], weights[counts]
    rows = float(effective_weights(weights, Z, errors[counts]).sum())
    if rows < _MIN_ROWS or not Z.shape[1]:
        return None
    squares, share = np.maximum(np.square(errors[counts]), _SMALLEST_SQUARE), weights / weights.sum()
    eigenvalues = np.linalg.eigvalsh((Z * share[:, None]).T @ Z)
    best, chosen = 0.0, None
    for relative in _RELATIVE_PENALTIES:
        # A row has Fisher information 1/2 on the log variance; the prior variance of a slope is 1 / (q relative).
        penalty = float(2.0 * relative * Z.shape[1] / rows)
        model = _gamma(Z, squares, weights, penalty)
        log_variance = Z @ model.coef_ + model.intercept_
        ratio = squares * np.exp(-log_variance)
        gain = 0.5 * rows * float(share @ (squares - ratio - log_variance))
        # Takeuchi's information criterion: the variance of squared standardised errors is 2 if they are normal,
        # and larger for heavy tails, which then raises the effective number of parameters.
        cost = max(0.5 * float(share @ np.square(ratio - 1.0)), 1.0) * float(
            np.sum(eigenvalues / (eigenvalues + penalty))
        )
        if gain - cost > best:
            best, chosen = gain - cost, model
    return chosen


def _gamma(Z: FloatArray, squares: FloatArray, weights: FloatArray, penalty: float) -> GammaRegressor:
    model = GammaRegressor(alpha=penalty, solver="newton-cholesky", max_iter=50, tol=1e-6)
    with warnings.catch_warnings():  # an approximate optimum is sufficient
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(Z, squares, sample_weight=weights)
