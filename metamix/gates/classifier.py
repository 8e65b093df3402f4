"""Any scikit-learn classifier as a gate: rows are repeated per expert, weighted by the responsibilities."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from metamix.data.tables import take_rows
from metamix.fitting import FittedExpert, NamedExpert, Problem, fit_expert, partial_fit_expert
from metamix.gates.soft_labels import check_responsibilities, check_row_weights, count_rows
from metamix.protocols import FloatArray

Method = TypeVar("Method", bound=Callable[..., Any])

#: A row is not repeated for experts with a smaller responsibility than this.
_NEGLIGIBLE = 1e-3


def _repeated(X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None) -> Problem:
    """Rows repeated for each expert that is responsible, with the expert as class and shares as weights."""
    n = count_rows(X)
    labels = check_responsibilities(responsibilities, n)
    weight = check_row_weights(sample_weight, n)
    shares = np.count_nonzero(weight) * weight[:, None] * labels
    # Multiples of a power of two add up exactly, so ties between splits of a tree do not depend on rounding.
    shares = np.round(shares * 2.0**30) / 2.0**30
    row, expert = np.nonzero((labels > _NEGLIGIBLE) & (shares > 0))
    return Problem(take_rows(X, row), expert, shares[row, expert], n_classes=labels.shape[1])


def _learns_more(gate: ClassifierGate) -> bool:
    """Whether the classifier has a `partial_fit` that takes weights."""
    learn = getattr(gate.classifier, "partial_fit", None)
    return learn is not None and "sample_weight" in inspect.signature(learn).parameters


def _if_it_learns_more(method: Method) -> Method:
    return available_if(_learns_more)(method)


class ClassifierGate(BaseEstimator):
    """A classifier fitted to soft labels, with the experts as classes.

    Each row is repeated for every expert with a responsibility above 0.001, with the expert as its class and
    the responsibility as its weight. For a classifier without ``sample_weight``, rows are resampled in
    proportion to the weights, with the classifier's own seed. X is passed to the classifier unchanged.

    Parameters
    ----------
    classifier : estimator
        With `predict_proba`; it is cloned and not modified.

    Attributes
    ----------
    classifier_ : estimator
        The fitted clone.
    experts_ : ndarray of int
        Experts that were responsible for at least one row, in the order of the columns of `predict_proba`.
    n_experts_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> X, labels = np.array([[0.0], [1.0]]), np.array([[1.0, 0.0], [0.25, 0.75]])
    >>> ClassifierGate(DecisionTreeClassifier()).fit(X, labels).predict_proba(X)
    array([[1.  , 0.  ],
           [0.25, 0.75]])
    """

    def __init__(self, classifier: Any) -> None:
        self.classifier = classifier

    def fit(self, X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Fit a clone of the classifier to soft labels.

        Parameters
        ----------
        X : table of n rows
            Of any type that the classifier accepts.
        responsibilities : array-like of shape (n, K)
        sample_weight : array-like of shape (n,) or None

        Returns
        -------
        ClassifierGate
            Itself, fitted.

        Raises
        ------
        TypeError
            If the classifier has no predict_proba.
        ValueError
            If responsibilities or sample_weight do not match X or are not finite.
        """
        if not hasattr(self.classifier, "predict_proba"):
            raise TypeError(f"{type(self.classifier).__name__} cannot be a gate: it has no method predict_proba.")
        data = _repeated(X, responsibilities, sample_weight)
        fitted = fit_expert(NamedExpert("gate", self.classifier), data, None, None)
        self.n_experts_ = data.n_classes or 0
        self.classifier_, self.experts_ = fitted.model, fitted.classes
        return self

    @_if_it_learns_more
    def partial_fit(
        self, X: Any, responsibilities: ArrayLike, sample_weight: ArrayLike | None = None, *, step: float
    ) -> Self:
        """Let a copy of the fitted classifier learn from new rows, if it has `partial_fit` with ``sample_weight``.

        Experts that were responsible for no row in `fit` stay without weight.

        Parameters
        ----------
        X, responsibilities, sample_weight
            As in `fit`.
        step : float
            Is not used: how fast the classifier forgets is its own matter.

        Returns
        -------
        ClassifierGate
            Itself.
        """
        check_is_fitted(self)
        data = _repeated(X, responsibilities, sample_weight)
        known = np.flatnonzero(np.isin(data.y, np.asarray(self.experts_)))
        fitted = FittedExpert("gate", copy.deepcopy(self.classifier_), self.n_experts_, self.experts_)
        if len(known):
            self.classifier_ = partial_fit_expert(fitted, data.take(known))[0].model
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Weights (n, K) of the rows of X; zero for experts that were responsible for no row."""
        check_is_fitted(self)
        weights = FittedExpert("gate", self.classifier_, self.n_experts_, self.experts_).predict(X)
        total = weights.sum(axis=1, keepdims=True)
        return np.divide(weights, total, out=np.full(weights.shape, 1.0 / self.n_experts_), where=total > 0)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.classifier).input_tags
        tags.input_tags.sparse, tags.input_tags.allow_nan = inner.sparse, inner.allow_nan
        return tags
