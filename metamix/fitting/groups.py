"""Groups of rows, for experts that split their rows once more: searches, mixtures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray
from sklearn import get_config
from sklearn.compose import TransformedTargetRegressor
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import has_fit_parameter

__all__ = ["group_arguments", "hands_rows_on", "resamples_rows", "split_by_group"]

#: These hand all rows on to the estimators inside them, in order; so do others with an attribute `hands_rows_on`.
HAND_ROWS_ON = (Pipeline, TransformedTargetRegressor, OneVsRestClassifier, MultiOutputClassifier, MultiOutputRegressor)


def split_by_group(model: Any, X: Any, y: NDArray[Any], groups: NDArray[Any]) -> dict[str, Any]:
    """Give the splitters in an estimator that split by group the folds that they make of these rows.

    Few meta-estimators hand groups on to their splitter, and those in different ways; all take a list of folds.

    Parameters
    ----------
    model : estimator
        Unfitted; its parameters `cv` are set, in pipelines and the like too.
    X : array, sparse matrix or data frame of shape (n, d)
    y : ndarray of shape (n,) or (n, T)
    groups : ndarray of shape (n,)

    Returns
    -------
    dict of str to splitter
        The parameters as they were, to be set again after the fit.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.model_selection import GridSearchCV, GroupKFold
    >>> search = GridSearchCV(Ridge(), {}, cv=GroupKFold(2))
    >>> before = split_by_group(search, np.zeros((4, 1)), np.zeros(4), np.array([0, 0, 1, 1]))
    >>> [test.tolist() for _, test in search.cv], before
    ([[2, 3], [0, 1]], {'cv': GroupKFold(n_splits=2, random_state=None, shuffle=False)})
    """
    parameters = model.get_params(deep=True) if hasattr(model, "get_params") else {}
    found = {}
    for name, value in parameters.items():
        owner, _, last = name.rpartition("__")
        if last == "cv" and _splits_by_group(value) and hands_rows_on(owner, model, parameters):
            found[name] = value
    if found:
        model.set_params(**{name: list(value.split(X, y, groups)) for name, value in found.items()})
    return found


def _splits_by_group(splitter: Any) -> bool:
    if not hasattr(splitter, "split") or isinstance(splitter, str | bytes | type):
        return False
    if not hasattr(splitter, "get_metadata_routing"):
        return True  # a splitter of the user's may
    return splitter.get_metadata_routing().split.requests.get("groups") is True


def hands_rows_on(name: str, model: Any, parameters: Mapping[str, Any]) -> bool:
    """Whether an estimator inside another is fitted to the very rows that the outermost one is.

    Parameters
    ----------
    name : str
        Of the inner estimator, as in `get_params` of the outermost; "" is the outermost itself.
    model : estimator
        The outermost estimator.
    parameters : mapping
        Its parameters, those of estimators inside it among them.
    """
    while name:
        name = name.rpartition("__")[0]
        outer = parameters.get(name) if name else model
        hands_on = isinstance(outer, HAND_ROWS_ON) or getattr(outer, "hands_rows_on", False)
        if hasattr(outer, "fit") and (not hands_on or resamples_rows(outer)):
            return False
    return True


def resamples_rows(estimator: Any) -> bool:
    """Whether a pipeline has a step that changes the number of rows, as those of imbalanced-learn.

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> resamples_rows(Pipeline([("scale", StandardScaler())]))
    False
    """
    return isinstance(estimator, Pipeline) and any(hasattr(step, "fit_resample") for _, step in estimator.steps)


def group_arguments(model: Any, groups: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Parameters of `fit` by which an estimator that names `groups` there, as mixtures do, gets them.

    scikit-learn's own take them for their splitter alone, see `split_by_group`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.linear_model import Ridge
    >>> group_arguments(Ridge(), np.array([0, 1]))
    {}
    """
    path: list[str] = []
    inner = model
    while isinstance(inner, Pipeline | TransformedTargetRegressor):
        if resamples_rows(inner):
            return {}
        if isinstance(inner, Pipeline):
            path.append(inner.steps[-1][0])
            inner = inner.steps[-1][1]
        else:
            inner = inner.regressor
    own = type(inner).__module__.partition(".")[0] == "sklearn"
    if own or not hasattr(inner, "fit") or not has_fit_parameter(inner, "groups"):
        return {}
    if get_config()["enable_metadata_routing"] and inner is not model:
        inner.set_fit_request(groups=True)
        path = []
    return {"__".join([*path, "groups"]): groups}
