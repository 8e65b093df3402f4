"""Models and wrappers of the named experts: ridge regression by GCV, scaled targets, encoded labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, sparse
from sklearn import config_context
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    MetaEstimatorMixin,
    RegressorMixin,
    clone,
)
from sklearn.utils import Tags, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from metamix.data.row_keys import effective_weights
from metamix.experts.weighting import checked_weights

__all__ = ["EncodedLabels", "RidgeByGcv", "ScaledTarget", "small_leaves"]

Array = NDArray[np.float64]


class RidgeByGcv(RegressorMixin, BaseEstimator):
    """Ridge regression with the penalty selected by generalised cross-validation.

    The criterion is RSS / (N - 1.4 df)^2 (Golub, Heath & Wahba 1979; the factor 1.4 against undersmoothing is
    from Kim & Gu 2004). N is the effective number of distinct rows (Kish 1965): the unit of the weights does not
    matter, a weight of two equals a repeated row, and a weight of zero a row left out. Penalties are relative to the
    total weight and the mean variance of the columns, so units do not matter. One eigendecomposition of a d x d (or
    n x n) matrix is used for all penalties.

    Parameters
    ----------
    alphas : sequence of float, optional
        Relative penalties to choose from; by default from 1e-8 to 1e4 in half decades.

    Attributes
    ----------
    coef_ : ndarray of shape (d,) or (T, d)
    intercept_ : float or ndarray of shape (T,)
    alpha_ : float or ndarray of shape (T,)
        The selected relative penalty, for each target.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.arange(10.0)[:, None]
    >>> RidgeByGcv().fit(X, 3 * X[:, 0] + 1).predict([[20.0]]).round(3)
    array([61.])
    """

    def __init__(self, alphas: ArrayLike | None = None) -> None:
        self.alphas = alphas

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> RidgeByGcv:
        """Fit to X (n, d), y (n,) or (n, T) and weights (n,)."""
        X, y = validate_data(self, X, y, accept_sparse="csr", multi_output=True, y_numeric=True, dtype=np.float64)
        single = y.ndim == 1
        Y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        weight = checked_weights(sample_weight, len(Y))
        total = weight.sum()
        x_mean, y_mean = np.asarray(weight @ X).ravel() / total, weight @ Y / total
        root = np.sqrt(weight)[:, None]
        basis, eigenvalues, moments = _decompose(X, x_mean, root, root * (Y - y_mean))
        alphas = np.logspace(-8, 4, 25) if self.alphas is None else np.asarray(self.alphas, dtype=np.float64)
        unit = eigenvalues.sum() / X.shape[1] or 1.0
        count = float(effective_weights(weight, X, Y).sum())
        energy = (weight[:, None] * (Y - y_mean) ** 2).sum(axis=0)
        best = _select_penalty(eigenvalues, moments, energy, alphas * unit, count)
        inverse = 1.0 / (eigenvalues[:, None] + alphas[best] * unit)  # (rank, T)
        coef = (basis @ (moments * inverse)).T
        intercept = y_mean - coef @ x_mean
        self.alpha_ = alphas[best][0] if single else alphas[best]
        self.coef_ = coef[0] if single else coef
        self.intercept_ = float(intercept[0]) if single else intercept
        return self

    def predict(self, X: Any) -> Array:
        """Predict the rows of X (n, d): (n,) or (n, T)."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", reset=False, dtype=np.float64)
        return np.asarray(X @ self.coef_.T + self.intercept_)

    def predict_gradient(self, X: Any) -> Array:
        """Gradient of the prediction at the rows of X (n, d): (n, d), or (n, T, d)."""
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", reset=False, dtype=np.float64)
        return np.broadcast_to(self.coef_, (X.shape[0], *self.coef_.shape)).copy()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.target_tags.multi_output = True
        return tags


def _decompose(X: Any, mean: Array, root: Array, R: Array) -> tuple[Array, Array, Array]:
    """Eigenvectors V (d, r) and eigenvalues (r,) of the weighted scatter Z'Z, and V'Z'R (r, T).

    Z = root * (X - mean) is computed for dense X only; for sparse X the products are centred instead.
    """
    n, d = X.shape
    if sparse.issparse(X):
        Z, offset = X.multiply(root).tocsr(), root * mean
        wide = (Z @ Z.T).toarray() - Z @ offset.T - (Z @ offset.T).T + offset @ offset.T if d > n else None
        cross = Z.T @ R - mean[:, None] * (root.T @ R)
        tall = None if d > n else (Z.T @ Z).toarray() - np.outer(mean, mean) * float((root**2).sum())
    else:
        Z, offset = root * (X - mean), None
        wide, tall, cross = (Z @ Z.T, None, Z.T @ R) if d > n else (None, Z.T @ Z, Z.T @ R)
    if tall is not None:
        eigenvalues, V = linalg.eigh(tall)
        return V, np.maximum(eigenvalues, 0.0), V.T @ cross
    eigenvalues, U = linalg.eigh(wide)
    kept = eigenvalues > eigenvalues[-1] * n * np.finfo(float).eps
    eigenvalues, U = eigenvalues[kept], U[:, kept]
    V = Z.T @ U if offset is None else Z.T @ U - mean[:, None] * (root.T @ U)
    V /= np.sqrt(eigenvalues)
    return V, eigenvalues, V.T @ cross


def _select_penalty(
    eigenvalues: Array, moments: Array, energy: Array, penalties: Array, count: float
) -> NDArray[np.intp]:
    """Index (T,) of the best penalty for each target."""
    shrunk = eigenvalues / (eigenvalues + penalties[:, None])  # (A, r)
    explained = np.divide(moments**2, eigenvalues[:, None], out=np.zeros_like(moments), where=eigenvalues[:, None] > 0)
    # A sum of non-negative terms, to avoid cancellation.
    residual = np.maximum(energy - explained.sum(axis=0), 1e-14 * energy) + (1 - shrunk) ** 2 @ explained
    freedom = count - 1.4 * (1.0 + shrunk.sum(axis=1))
    score = np.full(residual.shape, np.inf)
    np.divide(residual, freedom[:, None] ** 2, out=score, where=freedom[:, None] > 0)
    score[-1] = np.where(np.isfinite(score).any(axis=0), score[-1], 0.0)  # too few rows: the largest penalty
    return np.asarray(score.argmin(axis=0))


def _has_gradient(scaled: Any) -> bool:
    return hasattr(getattr(scaled, "regressor_", scaled.regressor), "predict_gradient")


class ScaledTarget(MetaEstimatorMixin, RegressorMixin, BaseEstimator):
    """A regressor fitted to a target standardised to weighted mean zero and standard deviation one.

    scikit-learn's TransformedTargetRegressor ignores weights when it scales, and with metadata routing a pipeline
    that ends in one cannot pass weights on; here `fit` accepts them and passes them on.

    Parameters
    ----------
    regressor : estimator
        Must accept `sample_weight` in `fit` if weights are used.
    leaf : str, optional
        Name of the regressor's parameter for the minimum number of rows in a leaf; it is reduced for small
        tables, see `small_leaves`.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsRegressor
    >>> ScaledTarget(KNeighborsRegressor(1)).fit([[0.0], [1.0]], [10.0, 30.0]).predict([[0.9]])
    array([30.])
    """

    #: The estimator inside is fitted to the same rows, in order.
    hands_rows_on = True

    def __init__(self, regressor: Any, leaf: str | None = None) -> None:
        self.regressor = regressor
        self.leaf = leaf

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> ScaledTarget:
        """Fit to X (n, d), y (n,) or (n, T) and weights (n,)."""
        y = np.asarray(y, dtype=np.float64)
        self.mean_ = np.average(y, axis=0, weights=sample_weight)
        scale = np.sqrt(np.average((y - self.mean_) ** 2, axis=0, weights=sample_weight))
        # Zero if the target is constant up to rounding: the prediction is then the mean.
        self.scale_ = np.where(scale <= 1e-12 * np.abs(self.mean_), 0.0, scale)
        standard = (y - self.mean_) / np.where(self.scale_ > 0, self.scale_, 1.0)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        with config_context(enable_metadata_routing=False):  # weights are passed on directly, not by request
            self.regressor_ = small_leaves(self.regressor, self.leaf, len(y)).fit(X, standard, **weights)
        return self

    def predict(self, X: Any, **parameters: Any) -> Any:
        """Predict the rows of X (n, d), in the units of y: (n,) or (n, T).

        `parameters` are passed to the regressor; with ``return_std=True`` the standard deviation is returned, too.
        """
        check_is_fitted(self)
        answer = self.regressor_.predict(X, **parameters)
        if not isinstance(answer, tuple):
            return np.asarray(answer * self.scale_ + self.mean_, dtype=np.float64)
        mean, deviation = answer
        return np.asarray(mean * self.scale_ + self.mean_), np.asarray(deviation * self.scale_)

    @available_if(_has_gradient)  # type: ignore[untyped-decorator]
    def predict_gradient(self, X: Any) -> Array:
        """Gradient of the prediction at the rows of X (n, d): (n, d), or (n, T, d)."""
        check_is_fitted(self)
        scale = self.scale_[:, None] if np.ndim(self.scale_) else self.scale_
        return np.asarray(self.regressor_.predict_gradient(X) * scale)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.regressor).input_tags
        return tags


class EncodedLabels(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A classifier fitted to labels encoded as 0 ... C - 1, with weights passed on whatever the metadata routing.

    XGBoost does not accept other labels; a `class_weight` by label becomes one by code. With metadata routing,
    CalibratedClassifierCV requires a request of its inner classifier that cannot be set from outside.

    Parameters
    ----------
    classifier : estimator
    leaf : str, optional
        As for `ScaledTarget`.

    Examples
    --------
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> model = EncodedLabels(KNeighborsClassifier(1)).fit([[0.0], [1.0]], ["no", "yes"])
    >>> model.predict([[0.9]])
    array(['yes'], dtype='<U3')
    """

    #: The estimator inside is fitted to the same rows, in order.
    hands_rows_on = True

    def __init__(self, classifier: Any, leaf: str | None = None) -> None:
        self.classifier = classifier
        self.leaf = leaf

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> EncodedLabels:
        """Fit to X (n, d), labels y (n,) and weights (n,)."""
        self.classes_, codes = np.unique(np.asarray(y), return_inverse=True)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        with config_context(enable_metadata_routing=False):  # weights are passed on directly, not by request
            inner = small_leaves(self.classifier, self.leaf, len(codes))
            self.classifier_ = inner.set_params(**self._class_weights()).fit(X, codes, **weights)
        return self

    def _class_weights(self) -> dict[str, Any]:
        """Parameters of the classifier that are weights by label, by code."""
        codes = {label: code for code, label in enumerate(self.classes_.tolist())}
        return {
            name: {codes[label]: weight for label, weight in value.items() if label in codes}
            for name, value in self.classifier.get_params(deep=True).items()
            if name.rpartition("__")[2] == "class_weight" and isinstance(value, Mapping)
        }

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the labels (n,) of the rows of X (n, d)."""
        return np.asarray(self.classes_[self.predict_proba(X).argmax(axis=1)])

    def predict_proba(self, X: Any) -> Array:
        """Predict probabilities (n, C), in the order of `classes_`."""
        check_is_fitted(self)
        return np.asarray(self.classifier_.predict_proba(X), dtype=np.float64)

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags = get_tags(self.classifier).input_tags
        return tags


def small_leaves(estimator: Any, leaf: str | None, n: int) -> Any:
    """Clone the estimator and limit the minimum leaf size to n / 8, but to no less than two rows.

    With a minimum of twenty rows per leaf, boosted trees are constant on forty rows.

    Parameters
    ----------
    estimator : estimator
    leaf : str or None
        Name of the parameter for the minimum leaf size; None leaves all parameters unchanged.
    n : int

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeRegressor
    >>> small_leaves(DecisionTreeRegressor(min_samples_leaf=20), "min_samples_leaf", 40)
    DecisionTreeRegressor(min_samples_leaf=5)
    """
    one = clone(estimator)
    return one if leaf is None else one.set_params(**{leaf: min(getattr(one, leaf), max(n // 8, 2))})
