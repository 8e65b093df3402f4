"""Gradients of predictions and gate weights with respect to x, by the chain rule."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.dummy import DummyRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)

from metamix.data.columns import ColumnEncoder
from metamix.data.tables import n_rows, take_rows
from metamix.protocols import FloatArray

__all__ = [
    "NoGradientError",
    "gate_gradient",
    "gradient",
    "jacobian",
    "mixture_gradient",
    "numbers",
    "softmax_gradient",
    "spread_gradient",
    "top_gradient",
]

#: Rows processed at a time in a pipeline, whose Jacobians have shape (rows, p, d).
_BLOCK = 256
_WITH_GRADIENTS = (
    "linear models, pipelines of them with scalers, polynomial or spline terms or PCA, radial basis functions, "
    "kriging, mixtures of these, and any model with a method predict_gradient(X)"
)


class NoGradientError(TypeError):
    """Raised for a part without gradient with respect to x; the message names it and the supported parts."""


def gradient(model: Any, X: Any) -> FloatArray:
    """Gradient of the predictions of a fitted model with respect to x.

    Parameters
    ----------
    model : fitted regressor, or list of them, whose mean is the prediction
        With a method `predict_gradient`, or linear, or composed of such parts by Pipeline,
        TransformedTargetRegressor with a linear transformer, or a search with `best_estimator_`.
    X : array or data frame of numbers of shape (n, d)

    Returns
    -------
    ndarray of shape (n, d)
        In units of y per unit of x.

    Raises
    ------
    NoGradientError
        If the gradient of the model or a part of it is not supported, or X is sparse or not numeric.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> x = np.arange(5.0)[:, None]
    >>> parabola = make_pipeline(PolynomialFeatures(2), LinearRegression()).fit(x, x[:, 0] ** 2)
    >>> gradient(parabola, [[3.0]]).round(6)
    array([[6.]])
    """
    if isinstance(model, list | tuple):
        return np.asarray(np.mean([gradient(one, X) for one in model], axis=0))
    if hasattr(model, "predict_gradient"):
        return np.asarray(model.predict_gradient(X), dtype=np.float64)
    if isinstance(model, Pipeline):
        blocks = [take_rows(X, slice_) for slice_ in _blocks(n_rows(X))] if n_rows(X) > _BLOCK else [X]
        return np.concatenate([_pipeline_gradient(model, block) for block in blocks])
    if isinstance(model, TransformedTargetRegressor):
        return _target_scale(model) * gradient(model.regressor_, X)
    if hasattr(model, "best_estimator_"):
        return gradient(model.best_estimator_, X)
    if isinstance(model, DummyRegressor):
        return np.zeros(numbers(X).shape)
    return _linear_gradient(model, X)


def _blocks(n: int) -> list[Any]:
    return [np.arange(at, min(at + _BLOCK, n)) for at in range(0, n, _BLOCK)]


def _pipeline_gradient(model: Pipeline, X: Any) -> FloatArray:
    inside, X = _chain(model.steps[:-1], X)
    last = model.steps[-1][1]
    outer = gradient(last, X)
    return outer if inside is None else np.asarray(np.einsum("np,npd->nd", outer, inside))


def _chain(steps: list[Any], X: Any) -> tuple[FloatArray | None, Any]:
    """Jacobian (n, p, d) of a sequence of transformers, None if it is empty, and the transformed X."""
    inside: FloatArray | None = None
    for _, step in steps:
        if step is None or step == "passthrough":
            continue
        own = jacobian(step, X)
        inside = own if inside is None else own @ inside
        X = step.transform(X)
    return inside, X


def _target_scale(model: TransformedTargetRegressor) -> float:
    scaler = model.transformer_
    if isinstance(scaler, FunctionTransformer) and scaler.func is None and scaler.inverse_func is None:
        return 1.0
    slopes = _scale_factors(scaler)
    if slopes is None:
        raise NoGradientError(
            f"TransformedTargetRegressor with {type(scaler).__name__} has no gradient; one with StandardScaler has."
        )
    return float(1.0 / np.ravel(slopes)[0])


def _linear_gradient(model: Any, X: Any) -> FloatArray:
    """Gradient of a model for which ``predict(X) == X @ coef_ + intercept_`` holds, which is verified on X."""
    coef = getattr(model, "coef_", None)
    if coef is not None and not is_classifier(model):
        numeric = numbers(X)
        slopes = np.asarray(coef, dtype=np.float64).reshape(-1)
        if slopes.shape == numeric.shape[1:]:
            intercept = np.ravel(np.asarray(getattr(model, "intercept_", 0.0), dtype=np.float64))[0]
            predicted = np.asarray(model.predict(X), dtype=np.float64).reshape(-1)
            size = np.abs(numeric) @ np.abs(slopes) + abs(intercept)
            if (np.abs(numeric @ slopes + intercept - predicted) <= 1e-6 * size).all():
                return np.tile(slopes, (len(numeric), 1))
    raise NoGradientError(f"{type(model).__name__} has no gradient in x; these have: {_WITH_GRADIENTS}.")


def jacobian(transformer: Any, X: Any) -> FloatArray:
    """Jacobian of the output of a fitted transformer with respect to x.

    Parameters
    ----------
    transformer : fitted transformer
        With a method `jacobian`, a scaler, PolynomialFeatures, PCA, TruncatedSVD, a
        `metamix.data.columns.ColumnEncoder` of numbers only, or a pipeline of these.
    X : array or data frame of numbers of shape (n, d)

    Returns
    -------
    ndarray of shape (n, p, d)
        May be a read-only view.

    Raises
    ------
    NoGradientError
        If the transformer is not supported, or X is sparse or not numeric.

    Examples
    --------
    >>> scaler = StandardScaler().fit([[0.0, 0.0], [4.0, 20.0]])
    >>> jacobian(scaler, [[1.0, 1.0]])
    array([[[0.5, 0. ],
            [0. , 0.1]]])
    """
    if hasattr(transformer, "jacobian"):
        return np.asarray(transformer.jacobian(X), dtype=np.float64)
    if isinstance(transformer, Pipeline):
        inside, _ = _chain(transformer.steps, X)
        numeric = numbers(X) if inside is None else None
        return _broadcast_rows(np.eye(numeric.shape[1]), len(numeric)) if numeric is not None else np.asarray(inside)
    numeric = numbers(X)
    if isinstance(transformer, ColumnEncoder):
        return _encoder_jacobian(transformer, numeric)
    if isinstance(transformer, PolynomialFeatures):
        return _powers_jacobian(transformer.powers_, numeric)
    if isinstance(transformer, PCA | TruncatedSVD):
        whiten = getattr(transformer, "whiten", False)
        unit = np.sqrt(transformer.explained_variance_) if whiten else np.ones(len(transformer.components_))
        return _broadcast_rows(transformer.components_ / unit[:, None], len(numeric))
    slopes = _scale_factors(transformer)
    if slopes is None:
        raise NoGradientError(
            f"{type(transformer).__name__} has no gradient in x; scalers, PolynomialFeatures, PCA, and any "
            "transformer with a method jacobian(X) -> (n, p, d) have one."
        )
    return _broadcast_rows(np.diag(np.broadcast_to(slopes, numeric.shape[1:])), len(numeric))


def _broadcast_rows(matrix: FloatArray, n: int) -> FloatArray:
    """The matrix (p, d) broadcast to (n, p, d)."""
    return np.broadcast_to(matrix, (n, *matrix.shape))


def _scale_factors(scaler: Any) -> FloatArray | None:
    """Factors (d,) or (1,) of a scaler; None for other transformers."""
    if isinstance(scaler, MinMaxScaler):
        return None if scaler.clip else np.asarray(scaler.scale_)
    if isinstance(scaler, StandardScaler | RobustScaler | MaxAbsScaler):
        scale = scaler.scale_
        return np.ones(1) if scale is None else 1.0 / np.asarray(scale, dtype=np.float64)
    return None


def _encoder_jacobian(encoder: ColumnEncoder, X: FloatArray) -> FloatArray:
    """Jacobian of a ColumnEncoder: diagonal; zero for missing indicators and imputed values."""
    other = sorted(set(encoder.kinds_) - {"number", "boolean", "empty"})
    if other:
        raise NoGradientError(f"columns of type {' and '.join(other)} have no gradient; all columns must be numeric.")
    p, d = len(encoder.get_feature_names_out()), len(encoder.kinds_)
    slopes = np.where([kind == "empty" for kind in encoder.kinds_], 0.0, encoder.factor_[:d])
    out = np.zeros((len(X), p, d))
    out[:, np.arange(d), np.arange(d)] = np.where(np.isnan(X), 0.0, slopes)
    return out


def _powers_jacobian(powers: Any, X: FloatArray) -> FloatArray:
    """Jacobian of products of powers (p, d) of the columns."""
    out = np.empty((len(X), *powers.shape))
    for j in range(X.shape[1]):
        lowered = powers.copy()
        lowered[:, j] = np.maximum(powers[:, j] - 1, 0)
        out[:, :, j] = powers[:, j] * (X[:, None, :] ** lowered).prod(axis=2)
    return out


def numbers(X: Any) -> FloatArray:
    """Rows of X (n, d) as floats.

    Raises
    ------
    NoGradientError
        If X is sparse or not numeric.

    Examples
    --------
    >>> numbers([[1, 2]])
    array([[1., 2.]])
    """
    if sparse.issparse(X):
        raise NoGradientError("gradients of a sparse X are not supported; pass X.toarray().")
    try:
        return np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise NoGradientError("X has non-numeric columns; gradients need numeric columns only.") from error


def gate_gradient(gate: Any, Z: Any) -> FloatArray:
    """Gradient of the weights of a fitted gate with respect to its features.

    Parameters
    ----------
    gate : fitted gate with a method `weights_gradient`
        For a gate with the attribute `piecewise_constant` the gradient is zero, almost everywhere.
    Z : array of shape (n, q)

    Returns
    -------
    ndarray of shape (n, K, q)

    Raises
    ------
    NoGradientError
        If the gate has no gradient.

    Examples
    --------
    >>> gate_gradient(object(), [[1.0]])
    Traceback (most recent call last):
    ...
    metamix.derivatives.NoGradientError: the gate object has no gradient in x; constant, softmax and gmm have.
    """
    if getattr(gate, "piecewise_constant", False):
        return np.zeros((len(Z), gate.n_experts_, np.shape(Z)[1]))
    if not hasattr(gate, "weights_gradient"):
        raise NoGradientError(f"the gate {type(gate).__name__} has no gradient in x; constant, softmax and gmm have.")
    return np.asarray(gate.weights_gradient(Z), dtype=np.float64)


def softmax_gradient(weights: FloatArray, slopes: FloatArray) -> FloatArray:
    """Gradient (n, K, q) of weights (n, K) = softmax(logits), given that of the logits, (n or 1, K, q).

    Examples
    --------
    >>> softmax_gradient(np.array([[0.5, 0.5]]), np.array([[[1.0], [-1.0]]]))
    array([[[ 0.5],
            [-0.5]]])
    """
    mean = (weights[:, None, :] @ slopes)[:, 0]
    return np.asarray(weights[:, :, None] * (slopes - mean[:, None, :]))


def top_gradient(weights: FloatArray, weights_gradient: FloatArray, kept: FloatArray) -> FloatArray:
    """Gradient of weights of which some are set to zero and the rest normalised to sum to one.

    Parameters
    ----------
    weights : ndarray of shape (n, K)
        Weights of the gate.
    weights_gradient : ndarray of shape (n, K, q)
    kept : ndarray of shape (n, K)
        Result of `metamix.recombination.keep_top`, zero for experts that were left out.

    Returns
    -------
    ndarray of shape (n, K, q)
        Valid where the set of kept experts is locally constant.

    Examples
    --------
    >>> weights, slopes = np.array([[0.5, 0.3, 0.2]]), np.array([[[1.0], [-1.0], [0.0]]])
    >>> top_gradient(weights, slopes, np.array([[0.625, 0.375, 0.0]])).ravel()
    array([ 1.25, -1.25,  0.  ])
    """
    is_kept = kept > 0
    total = np.where(is_kept, weights, 0.0).sum(axis=1)[:, None, None]
    own = np.where(is_kept[:, :, None], weights_gradient, 0.0)
    return np.asarray((own - kept[:, :, None] * own.sum(axis=1, keepdims=True)) / total)


def spread_gradient(values: FloatArray, values_gradient: FloatArray) -> FloatArray:
    """Gradient (n, d) of the standard deviation over K of values (n, K), given their gradient (n, K, d).

    Zero where all K values are equal.

    Examples
    --------
    >>> spread_gradient(np.array([[0.0, 2.0]]), np.array([[[0.0], [1.0]]]))
    array([[0.5]])
    """
    deviation = values - values.mean(axis=1, keepdims=True)
    scale = values.std(axis=1, keepdims=True) * values.shape[1]
    share = np.divide(deviation, scale, out=np.zeros_like(deviation), where=scale > 0)
    return np.asarray((share[:, None, :] @ values_gradient)[:, 0])


def mixture_gradient(
    weights: FloatArray, predictions: FloatArray, weights_gradient: FloatArray, predictions_gradient: FloatArray
) -> FloatArray:
    """Gradient of the prediction sum_k g_k f_k of a mixture, by the product rule.

    Parameters
    ----------
    weights, predictions : ndarrays of shape (n, K)
        Predictions may be NaN where the weight and its gradient are zero.
    weights_gradient, predictions_gradient : ndarrays of shape (n, K, d)

    Returns
    -------
    ndarray of shape (n, d)

    Examples
    --------
    >>> half, answers = np.array([[0.5, 0.5]]), np.array([[1.0, 3.0]])
    >>> mixture_gradient(half, answers, np.array([[[-0.1], [0.1]]]), np.array([[[2.0], [4.0]]]))
    array([[3.2]])
    """
    counts = (weights > 0) | (weights_gradient != 0).any(axis=2)
    answers = np.where(counts, predictions, 0.0)
    slopes = np.where(counts[:, :, None], predictions_gradient, 0.0)
    inside = (weights[:, None, :] @ slopes)[:, 0]
    return np.asarray(inside + (answers[:, None, :] @ weights_gradient)[:, 0])
