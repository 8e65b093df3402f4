"""Scales that depend on x: squared errors regressed on the columns, expert by expert."""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.decomposition import TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import GammaRegressor

from metamix.data.columns import ColumnEncoder
from metamix.likelihoods.moments import counted
from metamix.protocols import FloatArray

#: Encoded columns beyond this many are replaced by their principal directions.
_MOST = 30
#: Squared errors, in squared scales, are at least this: the regression needs logarithms.
_TINY = 1e-10
#: Rows, by weight, below which no slope is looked for.
_FEWEST = 10
#: Ridge penalties that are tried, in those under which the log variance moves by about one over the rows.
_STIFFNESS = (1.0, 10.0, 100.0)


class VaryingScale:
    """How much larger or smaller than usual the errors of each expert are at x.

    The squared errors of normal noise are gamma variables, so that a gamma regression with logarithmic
    link is the maximum-likelihood fit of a log-linear variance (Aitkin 1987). It is linear and quadratic in
    the standardised columns, with a ridge penalty; among a few penalties and a constant scale the one with
    the best log-likelihood less its effective number of parameters is taken (Takeuchi 1976). Columns are
    kept within what training held and so is the result: far from the training data the scale neither
    explodes nor vanishes. Beyond thirty encoded columns, their leading principal directions stand for them.

    Attributes
    ----------
    models_ : list of K GammaRegressor or None
        None where a constant scale does as well.
    range_ : ndarray of shape (2, K)
        Smallest and largest log factor over the rows that counted.

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
        """Learn the factors.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)
        errors, weights : ndarrays of shape (n, K)
        scale : ndarray of shape (K,)
            The usual size of the errors.

        Returns
        -------
        VaryingScale
            Itself, fitted.
        """
        Z = self._learn_columns(X)
        counts = counted(errors, weights)
        self.models_ = [_regression(Z, errors[:, k] / scale[k], weights[:, k], counts[:, k]) for k in range(len(scale))]
        self.range_ = np.zeros((2, len(scale)))
        raw = self._raw(Z)
        for k in np.flatnonzero([model is not None for model in self.models_]):
            self.range_[:, k] = raw[counts[:, k], k].min(), raw[counts[:, k], k].max()
        return self

    def predict(self, X: Any) -> FloatArray:
        """Factor (n, K) by which the scale at x differs from the usual one; finite, positive.

        Parameters
        ----------
        X : array, sparse matrix or data frame of shape (n, d)

        Returns
        -------
        ndarray of shape (n, K)
        """
        return np.exp(np.clip(self._raw(self._columns(X)), *self.range_))

    def _raw(self, Z: FloatArray) -> FloatArray:
        factors = np.zeros((len(Z), len(self.models_)))
        for k, model in enumerate(self.models_):
            if model is not None:
                factors[:, k] = 0.5 * (Z @ model.coef_ + model.intercept_)
        return factors

    def _learn_columns(self, X: Any) -> FloatArray:
        self._encoder = ColumnEncoder()
        encoded = self._encoder.fit_transform(X)
        n, D = encoded.shape
        self._directions = None
        if min(n - 1, D) > _MOST:
            self._directions = TruncatedSVD(_MOST, random_state=0).fit(encoded)
        values = self._reduced(encoded)
        self._centre, deviation = values.mean(axis=0), values.std(axis=0)
        self._factor = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-12)
        values = (values - self._centre) * self._factor
        self._bounds = values.min(axis=0), values.max(axis=0)
        # the square of a 0/1 column is the column again
        self._squared = np.flatnonzero([len(np.unique(column[:1000])) > 2 for column in values.T])
        return self._with_squares(values)

    def _columns(self, X: Any) -> FloatArray:
        values = (self._reduced(self._encoder.transform(X)) - self._centre) * self._factor
        return self._with_squares(np.clip(values, *self._bounds))

    def _reduced(self, encoded: Any) -> FloatArray:
        if self._directions is not None:
            encoded = self._directions.transform(encoded)
        return np.asarray(encoded.toarray() if sparse.issparse(encoded) else encoded, dtype=np.float64)

    def _with_squares(self, values: FloatArray) -> FloatArray:
        return np.concatenate([values, values[:, self._squared] ** 2 - 1.0], axis=1)


def _regression(Z: FloatArray, errors: FloatArray, weights: FloatArray, counts: NDArray[Any]) -> GammaRegressor | None:
    """Gamma regression of squared errors (n,) of usual size one; None where a constant does as well."""
    Z, weights = Z[counts], weights[counts]
    rows = weights.sum() ** 2 / np.square(weights).sum() if len(weights) else 0.0
    if rows < _FEWEST or not Z.shape[1]:
        return None
    squares, share = np.maximum(np.square(errors[counts]), _TINY), weights / weights.sum()
    strengths = np.linalg.eigvalsh((Z * share[:, None]).T @ Z)
    best, chosen = 0.0, None
    for stiffness in _STIFFNESS:
        # A row tells half a unit of information about log variance; a slope's prior variance is 1 / (q stiffness).
        penalty = float(2.0 * stiffness * Z.shape[1] / rows)
        model = _gamma(Z, squares, weights, penalty)
        log_variance = Z @ model.coef_ + model.intercept_
        ratio = squares * np.exp(-log_variance)
        gain = 0.5 * rows * float(share @ (squares - ratio - log_variance))
        # Takeuchi's: the squares of normal errors scatter by 2, heavy tails by more, and flatter more
        cost = max(0.5 * float(share @ np.square(ratio - 1.0)), 1.0) * float(np.sum(strengths / (strengths + penalty)))
        if gain - cost > best:
            best, chosen = gain - cost, model
    return chosen


def _gamma(Z: FloatArray, squares: FloatArray, weights: FloatArray, penalty: float) -> GammaRegressor:
    model = GammaRegressor(alpha=penalty, solver="newton-cholesky", max_iter=50, tol=1e-6)
    with warnings.catch_warnings():  # a fit that is nearly there serves as well
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(Z, squares, sample_weight=weights)
