"""Experts that learn batch by batch, by their own `partial_fit`."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from metamix.fitting.class_labels import align_classes
from metamix.fitting.fitted import FittedExpert
from metamix.fitting.problem import Problem

__all__ = ["labels_by_code", "partial_fit_expert"]

Array = NDArray[np.float64]
#: A part of a row that is smaller is rounding, as of weights in other units.
ROUNDING = 1e-6


def labels_by_code(fitted: FittedExpert, n_classes: int) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Labels (C,) of the codes 0 … C-1 as a fitted model calls them, and a mask (C,) of those that it knows.

    Examples
    --------
    >>> from sklearn.naive_bayes import GaussianNB
    >>> model = GaussianNB().fit([[0.0], [1.0]], ["ant", "cow"])
    >>> labels, known = labels_by_code(FittedExpert("bayes", model, 3, np.array([0, 2])), 3)
    >>> labels[known].tolist(), known.tolist()
    (['ant', 'cow'], [True, False, True])
    """
    codes = np.asarray(fitted.classes)
    place = np.full(n_classes, -1)
    place[codes[codes >= 0]] = np.flatnonzero(codes >= 0)
    return np.asarray(fitted.model.classes_)[place], place >= 0


def partial_fit_expert(
    fitted: FittedExpert, problem: Problem, weight: Array | None = None, carried: float = 0.0, unit: float = 1.0
) -> tuple[FittedExpert, float]:
    """Let one expert learn from some rows more; its model is changed.

    Parameters
    ----------
    fitted : FittedExpert
        Its model may be unfitted yet.
    problem : Problem
        The new rows, with one target.
    weight : ndarray of shape (n,), optional
        Responsibilities, which are multiplied by the sample weights.
    carried : float
        What the last call returned, 0 at first.
    unit : float
        Weight of one row, for experts that take no sample weights.

    Returns
    -------
    (FittedExpert, float)
        The expert, and which part of a row is left over: where `partial_fit` takes no sample weights, a row is given as
        often as its weight says. Fractions add up along the stream (systematic sampling, Kitagawa 1996).

    Raises
    ------
    ValueError
        If there is no `partial_fit`, as in a model of several folds.

    Examples
    --------
    >>> from sklearn.linear_model import SGDRegressor
    >>> rows = Problem(np.array([[0.0], [1.0]]), np.array([0.0, 1.0]))
    >>> expert, _ = partial_fit_expert(FittedExpert("line", SGDRegressor(random_state=0)), rows)
    >>> expert.predict(rows.X).shape
    (2,)
    """
    model = fitted.model
    if not hasattr(model, "partial_fit"):
        kind = "the models of several folds" if isinstance(model, list) else type(model).__name__
        raise ValueError(
            f"expert {fitted.name!r} is {kind}, which cannot continue training; give experts with partial_fit and "
            "refit=True."
        )
    parameters = inspect.signature(model.partial_fit).parameters
    total = problem.sample_weight if weight is None else weight * problem.weight
    arguments: dict[str, Any] = {}
    if total is not None and "sample_weight" in parameters:
        rows = np.flatnonzero(total > 0)
        arguments["sample_weight"] = total[rows]
    elif total is not None:
        edges = carried + np.cumsum(total) / unit
        whole = np.floor(edges + ROUNDING).astype(np.intp)
        rows = np.repeat(np.arange(problem.n), np.diff(whole, prepend=0))
        carried = float(edges[-1] - whole[-1])
        if not len(rows) and not _is_fitted(model):
            rows = np.array([int(total.argmax())])
    else:
        rows = np.arange(problem.n)
    if not len(rows):
        return fitted, carried
    part = problem.take(rows)
    if part.n_classes is None:
        model.partial_fit(part.X, part.y, **arguments)
        return fitted, carried
    labels = part.class_labels
    if fitted.classes is not None and hasattr(model, "classes_"):  # it may call the classes by codes
        labels, _ = labels_by_code(fitted, part.n_classes)
    if "classes" in parameters:
        arguments["classes"] = np.unique(labels)
    model.partial_fit(part.X, labels[part.y], **arguments)
    if not hasattr(model, "predict_proba"):
        raise ValueError(
            f"expert {fitted.name!r} has no predict_proba, which classes need batch by batch; give one that has, as "
            "SGDClassifier(loss='log_loss')."
        )
    return replace(fitted, classes=align_classes(model, part.class_labels, np.arange(part.n_classes))), carried


def _is_fitted(model: Any) -> bool:
    """Whether a model has learned anything, as it says itself or by its attributes."""
    try:
        check_is_fitted(model)
    except NotFittedError:
        return False
    return True
