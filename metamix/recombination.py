"""What can be done with weights: keep the largest, combine answers, their spread, the one E-step.

Every function obeys the axis rule: axis 0 rows (n), axis 1 experts (K), trailing classes (C) or tasks (T).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from metamix.protocols import FloatArray

#: Rows at a time where intermediate results would outweigh what is returned.
_BLOCK = 65_536


def keep_top(weights: ArrayLike, k: int | None) -> FloatArray:
    """Keep the k largest weights of each row and renormalise; of equal weights the first expert's stays.

    Parameters
    ----------
    weights : array-like of shape (n, K)
    k : int or None
        Weights kept per row; None or k >= K changes nothing, 1 is a hard choice.

    Returns
    -------
    ndarray of shape (n, K)
        A row whose kept weights are all zero shares one evenly between them.

    Raises
    ------
    ValueError
        If k is less than 1 or not a whole number.

    Examples
    --------
    >>> keep_top([[0.5, 0.3, 0.2]], 2)
    array([[0.625, 0.375, 0.   ]])
    """
    weights = np.asarray(weights, dtype=np.float64)
    if k is None:
        return weights
    if isinstance(k, bool) or int(k) != k or k < 1:
        raise ValueError(f"top_k={k!r} keeps no whole number of experts: give 1 (hard), 2, ... or None (all).")
    if k >= weights.shape[1]:
        return weights
    kept = np.zeros(weights.shape, dtype=bool)
    order = weights.argmax(axis=1)[:, None] if k == 1 else np.argsort(-weights, axis=1, kind="stable")[:, :k]
    np.put_along_axis(kept, order, True, axis=1)
    top = np.where(kept, weights, 0.0)
    total = top.sum(axis=1, keepdims=True)
    return np.divide(top, total, out=kept / float(k), where=total > 0)


def _answers_that_count(weights: FloatArray, predictions: FloatArray) -> FloatArray:
    """Predictions with zero wherever the weight is zero, so that 0 x NaN does not spoil a row."""
    ignored = weights == 0
    if not ignored.any() or np.isfinite(predictions).all():
        return predictions
    return np.where(ignored.reshape(ignored.shape + (1,) * (predictions.ndim - 2)), 0.0, predictions)


def combine(weights: ArrayLike, predictions: ArrayLike) -> FloatArray:
    """Weighted sum of the experts' answers.

    Parameters
    ----------
    weights : array-like of shape (n, K)
    predictions : array-like of shape (n, K), (n, K, C) or (n, K, T)
        Ignored, NaN included, where the weight is zero.

    Returns
    -------
    ndarray of shape (n,), (n, C) or (n, T)

    Examples
    --------
    >>> combine([[0.25, 0.75], [1.0, 0.0]], [[0.0, 4.0], [5.0, float("nan")]])
    array([3., 5.])
    """
    weights, predictions = np.asarray(weights, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    answers = _answers_that_count(weights, predictions)
    return np.einsum("nk,nk...->n...", weights, answers)


def spread(weights: ArrayLike, predictions: ArrayLike, scale: ArrayLike) -> FloatArray:
    """Standard deviation of the mixture, by the law of total variance.

    The variance is sum_k g_k (s_k^2 + (f_k - mean)^2): the experts' own scatter and their disagreement.
    It is written around the mean because sum_k g_k f_k^2 - mean^2 loses all digits when answers are large.

    Parameters
    ----------
    weights : array-like of shape (n, K)
    predictions : array-like of shape (n, K)
    scale : array-like of shape (K,) or (n, K)
        Standard deviation of y around each expert's answer, in the units of y.

    Returns
    -------
    ndarray of shape (n,)

    Examples
    --------
    >>> spread([[0.5, 0.5]], [[-5.0, 5.0]], [0.0, 0.0])
    array([5.])
    """
    weights, predictions = np.asarray(weights, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    answers = _answers_that_count(weights, predictions)
    own = _answers_that_count(weights, np.broadcast_to(np.asarray(scale, dtype=np.float64), weights.shape))
    away = np.where(weights == 0, 0.0, answers - combine(weights, answers)[:, None])
    # hypot rather than squares: 1e-200 and 1e200 are units of y like any other
    size = np.hypot(own, away)
    largest = size.max(axis=1, initial=0.0)
    unit = np.where(largest > 0, largest, 1.0)
    return unit * np.sqrt(np.einsum("nk,nk->n", weights, (size / unit[:, None]) ** 2))


def variance_parts(weights: ArrayLike, predictions: ArrayLike, scale: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Variance of the mixture, split by the law of total variance; `spread` is the root of their sum.

    Parameters
    ----------
    weights : array-like of shape (n, K)
    predictions : array-like of shape (n, K)
    scale : array-like of shape (K,) or (n, K)
        Standard deviation of y around each expert's answer, in the units of y.

    Returns
    -------
    within : ndarray of shape (n,)
        sum_k g_k s_k^2, what no expert knows, in squared units of y.
    between : ndarray of shape (n,)
        sum_k g_k (f_k - mean)^2, what the experts disagree about.

    Examples
    --------
    >>> variance_parts([[0.5, 0.5]], [[-5.0, 5.0]], [1.0, 2.0])
    (array([2.5]), array([25.]))
    """
    weights, predictions = np.asarray(weights, dtype=np.float64), np.asarray(predictions, dtype=np.float64)
    answers = _answers_that_count(weights, predictions)
    own = _answers_that_count(weights, np.broadcast_to(np.asarray(scale, dtype=np.float64), weights.shape))
    away = np.where(weights == 0, 0.0, answers - combine(weights, answers)[:, None])
    return np.einsum("nk,nk->n", weights, own**2), np.einsum("nk,nk->n", weights, away**2)


def both_classes(proba: FloatArray) -> FloatArray:
    """Probabilities of 0 and 1 along a new last axis, from those of 1.

    Examples
    --------
    >>> both_classes(np.array([0.25, 1.0]))
    array([[0.75, 0.25],
           [0.  , 1.  ]])
    """
    return np.stack([1 - proba, proba], axis=-1)


def posterior(weights: ArrayLike, log_prob: ArrayLike, floor: float = 0.0) -> tuple[FloatArray, FloatArray]:
    """Who explained each row: responsibilities proportional to weights x density, in logs (the E-step).

    Parameters
    ----------
    weights : array-like of shape (n, K)
        The gate's weights before y is seen; zeros are allowed.
    log_prob : array-like of shape (n, K)
        Log density of y under each expert; NaN where an expert gave no answer.
    floor : float, default 0.0
        Share of the uniform distribution mixed into every row, so that no responsibility is zero.

    Returns
    -------
    responsibilities : ndarray of shape (n, K)
        A row that no expert explains (all -inf or NaN) keeps its weights.
    log_density : ndarray of shape (n,)
        Log density of the mixture, untouched by the floor; NaN where no expert gave an answer.

    References
    ----------
    Jacobs, Jordan, Nowlan & Hinton (1991); in logs as by Xu, Jordan & Hinton (1995).

    Examples
    --------
    >>> responsibilities, log_density = posterior([[0.5, 0.5]], [[-1000.0, -1000.0]])
    >>> responsibilities, log_density
    (array([[0.5, 0.5]]), array([-1000.]))
    """
    weights, log_prob = np.asarray(weights, dtype=np.float64), np.asarray(log_prob, dtype=np.float64)
    responsibilities, log_density = np.empty(log_prob.shape), np.empty(len(log_prob))
    for begin in range(0, len(log_prob), _BLOCK):  # what is between takes several times as much as the answer
        rows = slice(begin, begin + _BLOCK)
        responsibilities[rows], log_density[rows] = _explained(weights[rows], log_prob[rows])
    if floor:
        responsibilities *= 1.0 - floor
        responsibilities += floor / weights.shape[1]
    return responsibilities, log_density


def floored(responsibilities: FloatArray, floor: float) -> FloatArray:
    """Responsibilities (n, K) mixed with a share of the uniform distribution, so that none is zero.

    Examples
    --------
    >>> floored(np.array([[1.0, 0.0]]), 0.1)
    array([[0.95, 0.05]])
    """
    return (1 - floor) * responsibilities + floor / responsibilities.shape[1]


def _explained(weights: FloatArray, log_prob: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`posterior` of some rows, without a floor."""
    unanswered = np.isnan(log_prob)
    with np.errstate(divide="ignore"):
        joint = np.log(weights) + np.where(unanswered, -np.inf, log_prob)
    top = joint.max(axis=1, keepdims=True)
    explained = np.isfinite(top)
    shifted = np.exp(np.where(explained, joint - np.where(explained, top, 0.0), -np.inf))
    total = shifted.sum(axis=1, keepdims=True)
    responsibilities = np.divide(shifted, total, out=weights.copy(), where=explained)
    log_density = (top + np.log(np.where(explained, total, 1.0)))[:, 0]
    log_density[unanswered.all(axis=1)] = np.nan
    return responsibilities, log_density
