"""Labels of classes and experts: the labels that an expert is fitted to, and the classes that its columns stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import Pipeline

__all__ = ["ClassParameterError", "Fit", "align_classes", "align_labels", "fit_to_labels", "is_frozen"]

Codes = NDArray[np.intp]

#: Parameters of various libraries whose value is a label, or a list of labels.
LABEL_PARAMETERS = ("pos_label", "class_names", "classes")


class ClassParameterError(ValueError):
    """A parameter names classes, and the estimator takes codes only: the message says which."""


class Fit(Protocol):
    """Fits an estimator, or a clone of it, to a target and returns it."""

    def __call__(self, model: Any, /, y: NDArray[Any]) -> Any:
        """Fit to y (n,)."""


def fit_to_labels(model: Any, fit: Fit, labels: NDArray[Any], codes: Codes) -> tuple[Any, bool]:
    """Fit an estimator to the labels of the classes, or to codes where it refuses these.

    Parameters
    ----------
    model : estimator
        Unfitted. It is fitted in place, or a clone of it is.
    fit : callable
        Fits an estimator to labels or codes (n,).
    labels : ndarray of shape (n,)
    codes : ndarray of shape (n,)
        The same classes as 0, 1, …, as some libraries expect them.

    Returns
    -------
    (fitted estimator, bool)
        Whether it was fitted to codes.

    Raises
    ------
    Exception
        What `fit` raised for the labels, if it raises for codes, too.
    ClassParameterError
        If `fit` takes codes only, and a parameter of the estimator names classes.

    Examples
    --------
    >>> from sklearn.linear_model import LogisticRegression
    >>> labels = np.array(["no", "no", "yes", "yes"])
    >>> X, codes = np.arange(4.0)[:, None], np.array([0, 0, 1, 1])
    >>> model = LogisticRegression(class_weight={"yes": 9.0})
    >>> fitted, by_code = fit_to_labels(model, lambda one, y: one.fit(X, y), labels, codes)
    >>> fitted.predict([[1.0]]), by_code
    (array(['yes'], dtype='<U3'), False)
    """
    if labels.dtype.kind in "iu" and np.array_equal(labels, codes):
        return fit(model, y=labels), False
    by_code = clone(model)
    named = _class_parameters(by_code, labels)
    try:
        return fit(model, y=labels), False
    except Exception as error:  # a foreign fit may raise anything
        by_code.set_params(**dict.fromkeys(named))
        try:
            fitted = fit(by_code, y=codes)
        except Exception:
            raise error from None
        if named:
            listed = " and ".join(f"{name}={value!r}" for name, value in sorted(named.items()))
            raise ClassParameterError(
                f"{type(model).__name__} cannot be fitted to the labels of y ({type(error).__name__}: {error}); it "
                f"takes codes 0, 1, …, by which {listed} would name other classes. Leave that out and weight rows by "
                "sample_weight instead, or give an estimator that takes these labels."
            ) from error
        return fitted, True


def _class_parameters(model: Any, labels: NDArray[Any]) -> dict[str, Any]:
    """Parameters of an estimator, or of one inside it, that name classes."""
    known = set(labels.tolist())
    parameters = model.get_params(deep=True) if hasattr(model, "get_params") else {}
    return {name: value for name, value in parameters.items() if _names(name, value, known)}


def _names(name: str, value: Any, labels: set[Any]) -> bool:
    """Whether a parameter names classes."""
    last = name.rpartition("__")[2]
    if isinstance(value, Mapping):
        return "class" in last or bool(labels & set(value))
    return last in LABEL_PARAMETERS and value is not None


def align_classes(model: Any, labels: NDArray[Any], present: Codes, by_code: bool = False) -> Codes:
    """The class behind each column of `predict_proba`.

    Parameters
    ----------
    model : fitted classifier
        Columns of one without `classes_` are taken to be the classes that it was fitted to, in order.
    labels : ndarray of shape (C,)
        Of all classes.
    present : ndarray of int
        Positions in `labels` of the classes among the rows that it was fitted to.
    by_code : bool
        Whether it was fitted to codes of the classes present.

    Returns
    -------
    ndarray of int
        Positions in `labels`; -1 for a class that is none of them.

    Raises
    ------
    ValueError
        If it knows none of the classes.

    Examples
    --------
    >>> from sklearn.dummy import DummyClassifier
    >>> model = DummyClassifier().fit([[0.0], [0.0]], ["cow", "bee"])
    >>> align_classes(model, np.array(["ant", "bee", "cow"]), np.array([0]))
    array([1, 2])
    """
    own = getattr(model, "classes_", None)
    if own is None:
        return present
    found = _places(model, own, range(len(present)) if by_code else labels.tolist(), labels)
    return np.where(found < 0, -1, present[found]) if by_code else found


def align_labels(model: Any, y: Codes) -> tuple[Codes, ...]:
    """For each label, the code 0 or 1 behind each column of its table of probabilities.

    Parameters
    ----------
    model : fitted classifier
        Of several labels at once. One without a list of `classes_` is taken to know, of each label, what it was fitted
        to.
    y : ndarray of shape (n, L)
        What it was fitted to.

    Raises
    ------
    ValueError
        If it has another number of labels, or knows neither 0 nor 1 of one.

    Examples
    --------
    >>> from sklearn.tree import DecisionTreeClassifier
    >>> y = np.array([[0, 1], [1, 1]])
    >>> align_labels(DecisionTreeClassifier().fit([[0.0], [1.0]], y), y)
    (array([0, 1]), array([1]))
    """
    own = getattr(model, "classes_", None)
    if not isinstance(own, list):
        return tuple(np.unique(column) for column in y.T)
    if len(own) != y.shape[1]:
        raise ValueError(f"{type(model).__name__} is fitted to {len(own)} labels, and y has {y.shape[1]}")
    return tuple(_places(model, one, [0, 1], np.arange(2)) for one in own)


def _places(model: Any, own: Any, known: Iterable[Any], labels: NDArray[Any]) -> Codes:
    """Positions in `known` of a model's own classes; -1 for a class that is none of them."""
    own = np.asarray(own).tolist()
    place = {one: i for i, one in enumerate(known)}
    found = np.array([place.get(one, -1) for one in own], dtype=np.intp)
    if (found < 0).all():
        raise ValueError(
            f"{type(model).__name__} predicts the classes {_listed(own)}, and y has {_listed(labels.tolist())}; "
            "fit it to the labels of y."
        )
    return found


def _listed(labels: list[Any]) -> str:
    return ", ".join(map(repr, labels))


def is_frozen(estimator: Any) -> bool:
    """Whether what predicts is fitted already and never fitted again, at the end of pipelines too.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> is_frozen(FrozenEstimator(Ridge())), is_frozen(Ridge())
    (True, False)
    """
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    return isinstance(estimator, FrozenEstimator)
