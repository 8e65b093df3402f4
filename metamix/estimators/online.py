"""Incremental learning, batch by batch: whether the experts can, and one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.metaestimators import available_if

from metamix.data.tables import n_rows
from metamix.estimators.parameters import check_parameters
from metamix.estimators.resolution import input_tags, resolve_gates
from metamix.estimators.setup import draw_seeds, set_up_online
from metamix.estimators.validation import (
    check_known_classes,
    check_new_labels,
    check_rows,
    check_weights,
    check_X,
    clean_X,
)
from metamix.fitting import Problem
from metamix.gates import OnlineGate
from metamix.training.online import begin, continue_from, learn

__all__ = ["check_batch_classes", "experts_have_partial_fit", "if_experts_have_partial_fit", "learn_batch"]

Method = TypeVar("Method", bound=Callable[..., Any])


def experts_have_partial_fit(mixture: Any) -> bool:
    """Whether every expert has `partial_fit`, as scikit-learn's `available_if` asks.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge, SGDRegressor
    >>> from metamix import MixtureRegressor
    >>> experts_have_partial_fit(MixtureRegressor([SGDRegressor()]))
    True
    >>> experts_have_partial_fit(MixtureRegressor([SGDRegressor(), Ridge()]))
    False
    """
    if mixture.experts is None or isinstance(mixture.experts, str):
        return False  # the experts of the pools prepare columns by all rows
    try:
        return all(hasattr(expert, "partial_fit") for _, expert in mixture._resolve_experts())
    except (ValueError, TypeError, KeyError, ImportError):  # reported by fit
        return False


def if_experts_have_partial_fit(method: Method) -> Method:
    """Make a method one that a mixture has if its experts have `partial_fit`."""
    return available_if(experts_have_partial_fit)(method)


def check_batch_classes(mixture: Any, y: Any, classes: Any) -> NDArray[np.intp]:
    """Codes (n,) of the classes of a batch; sets `classes_` at the first.

    Raises
    ------
    ValueError
        If the first call does not name the classes, a later one names others, or y has another class.

    Examples
    --------
    >>> from metamix import MixtureClassifier
    >>> check_batch_classes(MixtureClassifier(), ["b"], classes=["a", "b"])
    array([1])
    """
    if not hasattr(mixture, "classes_"):
        if classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit, as in classes=np.unique(y).")
        mixture.classes_ = np.unique(np.asarray(classes))
        if len(mixture.classes_) < 2:
            raise ValueError(f"classes={classes!r} is one class; a classifier needs at least two to tell apart.")
    elif classes is not None and not np.array_equal(np.unique(np.asarray(classes)), mixture.classes_):
        raise ValueError(f"classes={classes!r} is not what the mixture knows, {mixture.classes_.tolist()!r}.")
    return check_known_classes(check_new_labels(mixture, y), mixture.classes_)


def learn_batch(mixture: Any, X: Any, target: NDArray[Any], sample_weight: Any, *, first: bool) -> None:
    """Let a mixture learn from one batch; `target` are numbers, or codes of `classes_`."""
    if target.ndim == 2 or (not first and mixture._fitted.n_targets is not None):
        raise ValueError("partial_fit learns one target; fit a mixture for each, or several at once with fit.")
    if first:
        check_parameters(mixture)
        named, gates = mixture._resolve_experts(), resolve_gates(mixture.gate)
        mixture._input_tags = input_tags([expert for _, expert in named], gates, mixture.gate_features)
    X = check_X(mixture, clean_X(mixture, X, reset=first), reset=first)
    check_rows(X, target)
    weight = check_weights(sample_weight, n_rows(X))
    classes = getattr(mixture, "classes_", None)
    problem = Problem(X, target, weight, None, None if classes is None else len(classes), classes)
    if first:
        settings = set_up_online(mixture, named, gates, problem, draw_seeds(mixture.random_state, named))
        fitted, mixture._online = begin(problem, settings)
        mixture._store(fitted, np.empty(0, dtype=np.intp))
        return
    state = getattr(mixture, "_online", None)
    if state is None:
        state = continue_from(mixture._fitted, *_rows_of_fit(mixture, problem), OnlineGate())
    mixture._fitted, mixture._online = learn(mixture._fitted, state, problem)
    mixture._show()


def _rows_of_fit(mixture: Any, problem: Problem) -> tuple[float, float]:
    """Number of rows with weight that a mixture was fitted to, and their weight."""
    if hasattr(mixture, "_rows_of_fit"):
        n, total = mixture._rows_of_fit
        return n, total
    n = float(len(mixture.fold_of_row_))  # of a version that did not keep it
    return n, n * float(problem.weight[problem.weight > 0].mean())
