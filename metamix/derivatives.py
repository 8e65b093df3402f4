"""Gradients in x of what fitted models answer and gates weigh, by the chain rule; no numerical differences."""

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

#: Rows at a time in a pipeline: between its steps stand arrays of (rows, p, d).
_BLOCK = 256
_WITH_GRADIENTS = (
    "linear models, pipelines of them with scalers, polynomial or spline terms or PCA, radial basis functions, "
    "kriging, mixtures of these, and any model with a method predict_gradient(X)"
)


class NoGradientError(TypeError):
    """A part that has no gradient in x; the message names it and says which parts have one."""


def gradient(model: Any, X: Any) -> FloatArray:
    """How the answer of a fitted model changes with each column of x.

    Parameters
    ----------
    model : fitted regressor, or list of them, which answer with their mean
        With a method `predict_gradient`, or linear, or made of such parts by Pipeline,
        TransformedTargetRegressor with a linear scale, or a search with `best_estimator_`.
    X : array or data frame of numbers of shape (n, d)

    Returns
    -------
    ndarray of shape (n, d)
        In units of y per unit of x.

    Raises
    ------
    NoGradientError
        If the model, or a part of it, has no gradient known here, or X is sparse or no numbers.

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
        return np.concatenate([_of_pipeline(model, block) for block in blocks])
    if isinstance(model, TransformedTargetRegressor):
        return _slope_of_target(model) * gradient(model.regressor_, X)
    if hasattr(model, "best_estimator_"):
        return gradient(model.best_estimator_, X)
    if isinstance(model, DummyRegressor):
        return np.zeros(numbers(X).shape)
    return _of_linear(model, X)


def _blocks(n: int) -> list[Any]:
    return [np.arange(at, min(at + _BLOCK, n)) for at in range(0, n, _BLOCK)]


def _of_pipeline(model: Pipeline, X: Any) -> FloatArray:
    inside, X = _through(model.steps[:-1], X)
    last = model.steps[-1][1]
    outer = gradient(last, X)
    return outer if inside is None else np.asarray(np.einsum("np,npd->nd", outer, inside))


def _through(steps: list[Any], X: Any) -> tuple[FloatArray | None, Any]:
    """Jacobian (n, p, d) of transformers in a row, None for none, and what they make of X."""
    inside: FloatArray | None = None
    for _, step in steps:
        if step is None or step == "passthrough":
            continue
        own = jacobian(step, X)
        inside = own if inside is None else own @ inside
        X = step.transform(X)
    return inside, X


def _slope_of_target(model: TransformedTargetRegressor) -> float:
    scaler = model.transformer_
    if isinstance(scaler, FunctionTransformer) and scaler.func is None and scaler.inverse_func is None:
        return 1.0
    slopes = _slopes(scaler)
    if slopes is None:
        raise NoGradientError(
            f"TransformedTargetRegressor with {type(scaler).__name__} has no gradient; one with StandardScaler has."
        )
    return float(1.0 / np.ravel(slopes)[0])


def _of_linear(model: Any, X: Any) -> FloatArray:
    """Gradient of whatever says ``predict(X) == X @ coef_ + intercept_`` and keeps to it in these rows."""
    coef = getattr(model, "coef_", None)
    if coef is not None and not is_classifier(model):
        known = numbers(X)
        slopes = np.asarray(coef, dtype=np.float64).reshape(-1)
        if slopes.shape == known.shape[1:]:
            level = np.ravel(np.asarray(getattr(model, "intercept_", 0.0), dtype=np.float64))[0]
            said = np.asarray(model.predict(X), dtype=np.float64).reshape(-1)
            size = np.abs(known) @ np.abs(slopes) + abs(level)
            if (np.abs(known @ slopes + level - said) <= 1e-6 * size).all():
                return np.tile(slopes, (len(known), 1))
    raise NoGradientError(f"{type(model).__name__} has no gradient in x; these have: {_WITH_GRADIENTS}.")


def jacobian(transformer: Any, X: Any) -> FloatArray:
    """How each column that a fitted transformer makes changes with each column of x.

    Parameters
    ----------
    transformer : fitted transformer
        With a method `jacobian`, a scaler, PolynomialFeatures, PCA, TruncatedSVD, a
        `metamix.data.columns.ColumnEncoder` of numbers only, or a pipeline of these.
    X : array or data frame of numbers of shape (n, d)

    Returns
    -------
    ndarray of shape (n, p, d)
        May be a view that cannot be written to.

    Raises
    ------
    NoGradientError
        If the transformer is of another kind, or X is sparse or no numbers.

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
        inside, _ = _through(transformer.steps, X)
        known = numbers(X) if inside is None else None
        return _same(np.eye(known.shape[1]), len(known)) if known is not None else np.asarray(inside)
    known = numbers(X)
    if isinstance(transformer, ColumnEncoder):
        return _of_encoder(transformer, known)
    if isinstance(transformer, PolynomialFeatures):
        return _of_powers(transformer.powers_, known)
    if isinstance(transformer, PCA | TruncatedSVD):
        whiten = getattr(transformer, "whiten", False)
        unit = np.sqrt(transformer.explained_variance_) if whiten else np.ones(len(transformer.components_))
        return _same(transformer.components_ / unit[:, None], len(known))
    slopes = _slopes(transformer)
    if slopes is None:
        raise NoGradientError(
            f"{type(transformer).__name__} has no gradient in x; scalers, PolynomialFeatures, PCA, and any "
            "transformer with a method jacobian(X) -> (n, p, d) have one."
        )
    return _same(np.diag(np.broadcast_to(slopes, known.shape[1:])), len(known))


def _same(matrix: FloatArray, n: int) -> FloatArray:
    """One matrix (p, d) for each of n rows, without copies."""
    return np.broadcast_to(matrix, (n, *matrix.shape))


def _slopes(scaler: Any) -> FloatArray | None:
    """What a scaler multiplies columns with, (d,) or (); None where it is something else than a scaler."""
    if isinstance(scaler, MinMaxScaler):
        return None if scaler.clip else np.asarray(scaler.scale_)
    if isinstance(scaler, StandardScaler | RobustScaler | MaxAbsScaler):
        scale = scaler.scale_
        return np.ones(1) if scale is None else 1.0 / np.asarray(scale, dtype=np.float64)
    return None


def _of_encoder(encoder: ColumnEncoder, X: FloatArray) -> FloatArray:
    """Diagonal, with rows of zeros for columns that mark gaps, and zero where a gap is filled."""
    other = sorted(set(encoder.kinds_) - {"number", "boolean", "empty"})
    if other:
        raise NoGradientError(f"columns of {' and '.join(other)} have no gradient; give columns of numbers only.")
    p, d = len(encoder.get_feature_names_out()), len(encoder.kinds_)
    slopes = np.where([kind == "empty" for kind in encoder.kinds_], 0.0, encoder.factor_[:d])
    out = np.zeros((len(X), p, d))
    out[:, np.arange(d), np.arange(d)] = np.where(np.isnan(X), 0.0, slopes)
    return out


def _of_powers(powers: Any, X: FloatArray) -> FloatArray:
    """Products of powers (p, d): each column of x in turn has its power lowered by one."""
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
        If X is sparse or holds something else than numbers.

    Examples
    --------
    >>> numbers([[1, 2]])
    array([[1., 2.]])
    """
    if sparse.issparse(X):
        raise NoGradientError("a sparse X has no gradient here; give X.toarray().")
    try:
        return np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise NoGradientError("X holds columns that are no numbers; gradients need numbers in all.") from error


def gate_gradient(gate: Any, Z: Any) -> FloatArray:
    """How a fitted gate's weights change with each of its features.

    Parameters
    ----------
    gate : fitted gate with a method `weights_gradient`
        One that calls itself `piecewise_constant` has gradient zero, almost everywhere.
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
    """Gradient of the weights that are left when only some are kept and made to sum to one again.

    Parameters
    ----------
    weights : ndarray of shape (n, K)
        Of the gate.
    weights_gradient : ndarray of shape (n, K, q)
    kept : ndarray of shape (n, K)
        After `metamix.recombination.keep_top`, zero where an expert was left out.

    Returns
    -------
    ndarray of shape (n, K, q)
        Valid but where the choice itself changes.

    Examples
    --------
    >>> weights, slopes = np.array([[0.5, 0.3, 0.2]]), np.array([[[1.0], [-1.0], [0.0]]])
    >>> top_gradient(weights, slopes, np.array([[0.625, 0.375, 0.0]])).ravel()
    array([ 1.25, -1.25,  0.  ])
    """
    there = kept > 0
    total = np.where(there, weights, 0.0).sum(axis=1)[:, None, None]
    own = np.where(there[:, :, None], weights_gradient, 0.0)
    return np.asarray((own - kept[:, :, None] * own.sum(axis=1, keepdims=True)) / total)


def spread_gradient(values: FloatArray, values_gradient: FloatArray) -> FloatArray:
    """Gradient (n, d) of the standard deviation over K of values (n, K), given theirs, (n, K, d).

    Zero where all K are equal.

    Examples
    --------
    >>> spread_gradient(np.array([[0.0, 2.0]]), np.array([[[0.0], [1.0]]]))
    array([[0.5]])
    """
    away = values - values.mean(axis=1, keepdims=True)
    scale = values.std(axis=1, keepdims=True) * values.shape[1]
    share = np.divide(away, scale, out=np.zeros_like(away), where=scale > 0)
    return np.asarray((share[:, None, :] @ values_gradient)[:, 0])


def mixture_gradient(
    weights: FloatArray, predictions: FloatArray, weights_gradient: FloatArray, predictions_gradient: FloatArray
) -> FloatArray:
    """Gradient of sum_k g_k f_k: experts' slopes weighed, and weights that move from answer to answer.

    Parameters
    ----------
    weights, predictions : ndarrays of shape (n, K)
        Predictions may be NaN where the weight is zero and stays so.
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
