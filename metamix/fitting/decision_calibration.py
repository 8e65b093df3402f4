"""Probabilities of classifiers without `predict_proba`: calibrated on decision values of rows that were held out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression

from metamix.data.folds import make_folds
from metamix.data.tables import take_rows
from metamix.fitting.fitted import FittedExpert
from metamix.fitting.problem import Problem

__all__ = ["CalibratedDecision", "calibrate"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

#: Folds from which the calibration learns, at most.
CALIBRATION_FOLDS = 5
#: Inverse penalty of the logistic regression, on decision values of mean square one.
CALIBRATION_C = 10.0


class CalibratedDecision(ClassifierMixin, BaseEstimator):
    """A fitted classifier and the logistic regression that turns its decision values into probabilities.

    Parameters
    ----------
    classifier : fitted classifier
        With `decision_function`, or `predict` alone.
    calibration : LogisticRegression
        Fitted on decision values, divided by `scale`, and class codes.
    scale : float
    codes : ndarray of shape (C,)
        Codes of all classes.
    shares : ndarray of shape (C,)
        Probabilities of classes that `calibration` does not know; zero for the others.
    labels : ndarray of shape (C,)
        The classes as the user names them.
    """

    def __init__(
        self, classifier: Any, calibration: Any, scale: float, codes: Rows, shares: Array, labels: NDArray[Any]
    ) -> None:
        self.classifier = classifier
        self.calibration = calibration
        self.scale = scale
        self.codes = codes
        self.shares = shares
        self.labels = labels

    @property
    def classes_(self) -> NDArray[Any]:
        """The classes, (C,)."""
        return self.labels

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the labels (n,) of the rows of X (n, d)."""
        return np.asarray(self.labels[self.predict_proba(X).argmax(axis=1)])

    def predict_proba(self, X: Any) -> Array:
        """Predict probabilities (n, C), in the order of `classes_`."""
        known = np.searchsorted(self.codes, self.calibration.classes_)
        values = _decision_values(self.classifier, X) / self.scale
        proba = np.tile(self.shares, (len(values), 1))
        proba[:, known] = self.calibration.predict_proba(values) * (1 - self.shares.sum())
        return proba


def calibrate(
    fitted: FittedExpert,
    fit: Callable[[Rows, Array | None], FittedExpert],
    problem: Problem,
    rows: Rows,
    weight: Array | None,
    seed: int,
) -> FittedExpert:
    """Give a classifier without `predict_proba` probabilities.

    A logistic regression is fitted to the decision values of rows that were held out within `rows` (Platt 1999), or to
    the predicted classes of a classifier that has no decision values. Groups are kept together. A class of too few rows
    to be held out and known at once has its share of the weight as probability.

    Parameters
    ----------
    fitted : FittedExpert
        Fitted to all `rows`.
    fit : callable
        Fits the same expert to other rows, with their weights or None.
    problem : Problem
    rows : ndarray of int
    weight : ndarray of shape (len(rows),) or None
    seed : int
        Of the folds.

    Returns
    -------
    FittedExpert

    Raises
    ------
    ValueError
        If the rows do not suffice.

    References
    ----------
    Platt (1999), Probabilistic outputs for support vector machines.
    """
    y = problem.y[rows]
    share = np.ones(len(rows)) if weight is None else weight
    values: Array | None = None
    held_out = np.zeros(len(rows), dtype=bool)
    for train, test in _folds(y, None if problem.groups is None else problem.groups[rows], seed):
        inner = fit(rows[train], None if weight is None else weight[train])
        assert inner.classes is not None
        assert fitted.classes is not None
        if not np.array_equal(inner.classes, fitted.classes):
            continue  # of a model that lacks a class the decision values are others
        found = _decision_values(inner.model, take_rows(problem.X, rows[test]))
        values = np.zeros((len(rows), found.shape[1])) if values is None else values
        values[test] = found
        held_out[test] = True
    if values is None or len(np.unique(y[held_out])) < 2:
        raise ValueError(
            f"{type(fitted.model).__name__} has no predict_proba, and {len(rows)} rows are too few to calibrate its "
            "decision values on rows that are held out; give a classifier with predict_proba."
        )
    known, share_known = values[held_out], share[held_out]
    scale = float(np.sqrt(np.average(known**2, axis=0, weights=share_known).mean())) or 1.0
    with config_context(enable_metadata_routing=False):
        calibration = LogisticRegression(C=CALIBRATION_C, max_iter=1000)
        calibration.fit(known / scale, y[held_out], sample_weight=share_known / share_known.mean())
    codes = np.unique(y)
    shares = np.array([share[y == code].sum() for code in codes]) / share.sum()
    shares[np.isin(codes, calibration.classes_)] = 0.0
    labels = problem.class_labels[codes]
    model = CalibratedDecision(fitted.model, calibration, scale, codes, shares, labels)
    return FittedExpert(fitted.name, model, problem.n_classes, codes, device=fitted.device)


def _folds(y: Rows, groups: NDArray[Any] | None, seed: int) -> list[tuple[Rows, Rows]]:
    """Folds with all classes in each, as far as possible; groups are kept together where there are several."""
    codes = np.unique(y, return_inverse=True)[1]
    groups = None if groups is None or len(np.unique(groups)) < 2 else groups
    k = min(CALIBRATION_FOLDS, len(y) if groups is None else len(np.unique(groups)))
    if k < 2:
        return []
    return list(make_folds(k, np.empty((len(y), 0)), codes, groups, stratify=True, random_state=seed).pairs)


def _decision_values(model: Any, X: Any) -> Array:
    """Decision values (n, p), or indicators of the predicted class where there are none."""
    if hasattr(model, "decision_function"):
        values = np.asarray(model.decision_function(X), dtype=np.float64)
    elif not hasattr(model, "classes_"):
        raise ValueError(
            f"{type(model).__name__} has no predict_proba, and no decision_function, or predict and classes_, to "
            "calibrate; give a classifier that has."
        )
    else:
        values = np.equal.outer(np.asarray(model.predict(X)).ravel(), np.asarray(model.classes_)).astype(np.float64)
    return values.reshape(len(values), -1)
