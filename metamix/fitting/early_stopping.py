"""Early stopping of XGBoost, LightGBM and CatBoost: on rows that are held out among those of the fit."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from metamix.data.folds import make_folds
from metamix.data.tables import take_rows
from metamix.fitting.groups import resamples_rows

__all__ = ["fit_with_validation", "stops_early", "validation_rows"]

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

#: One of so many folds decides when to stop.
VALIDATION_FOLDS = 5
#: Parameters that turn early stopping on, by library.
PARAMETERS = {
    "xgboost": ("early_stopping_rounds",),
    "lightgbm": ("early_stopping_round", "early_stopping_rounds", "early_stopping", "n_iter_no_change"),
    "catboost": ("early_stopping_rounds", "od_type", "od_wait", "od_pval"),
}


def stops_early(estimator: Any) -> bool:
    """Whether an estimator, or the last of a pipeline, needs validation rows to stop on.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> stops_early(Ridge())
    False
    """
    while isinstance(estimator, Pipeline):
        estimator = estimator.steps[-1][1]
    library = _library(estimator)
    if library is None:
        return False
    parameters = estimator.get_params(deep=False)
    callbacks = parameters.get("callbacks") or ()
    return any(parameters.get(name) for name in PARAMETERS[library]) or any(
        type(one).__name__ == "EarlyStopping" for one in callbacks
    )


def _library(estimator: Any) -> str | None:
    modules = [base.__module__.partition(".")[0] for base in type(estimator).__mro__]
    return next((one for one in modules if one in PARAMETERS), None)


def validation_rows(y: NDArray[Any], groups: NDArray[Any] | None, classify: bool, seed: int) -> tuple[Rows, Rows]:
    """Positions of the rows to fit and of those to stop on.

    Groups are kept together where there are several; a class of the second part is one of the first, too.

    Raises
    ------
    ValueError
        If there are too few rows.
    """
    groups = None if groups is None or len(np.unique(groups)) < 2 else groups
    k = min(VALIDATION_FOLDS, len(y) if groups is None else len(np.unique(groups)))
    held_out = np.zeros(len(y), dtype=bool)
    if k >= 2:
        codes = np.unique(y, return_inverse=True)[1] if classify else y
        folds = make_folds(k, np.empty((len(y), 0)), codes, groups, stratify=classify, random_state=seed)
        held_out[folds.pairs[0][1]] = True
    if classify:
        held_out &= np.isin(y, y[~held_out])
    if not held_out.any():
        raise ValueError(f"{len(y)} rows are too few to hold some out for early stopping")
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def fit_with_validation(model: Any, X: Any, y: NDArray[Any], weight: Array | None, parts: tuple[Rows, Rows]) -> Any:
    """Fit an estimator for which `stops_early` holds.

    Parameters
    ----------
    model : estimator
        Unfitted.
    X : array, sparse matrix or data frame of shape (n, d)
    y : ndarray of shape (n,) or (n, T)
    weight : ndarray of shape (n,) or None
    parts : (ndarray of int, ndarray of int)
        Rows to fit and rows to stop on, as `validation_rows` gives them.

    Returns
    -------
    fitted estimator
    """
    (X_fit, X_stop), (y_fit, y_stop) = (take_rows(X, rows) for rows in parts), (y[rows] for rows in parts)
    steps = []
    last = model
    while isinstance(last, Pipeline):
        if resamples_rows(last):
            raise ValueError("a pipeline that resamples rows cannot stop early; stop after a fixed number of trees")
        before = last[:-1]
        if len(before):
            X_fit = before.fit_transform(X_fit, y_fit)
            X_stop = before.transform(X_stop)
        steps += before.steps
        name, last = last.steps[-1]
        if not isinstance(last, Pipeline):
            steps.append((name, last))
    weights = (None, None) if weight is None else tuple(weight[rows] for rows in parts)
    library = _library(last)
    assert library is not None
    _FIT[library](last, X_fit, y_fit, X_stop, y_stop, *weights)
    return last if model is last else Pipeline(steps)


def _fit_xgboost(model: Any, X: Any, y: Any, X_stop: Any, y_stop: Any, weight: Any, weight_stop: Any) -> None:
    weights = {} if weight is None else {"sample_weight": weight, "sample_weight_eval_set": [weight_stop]}
    model.fit(X, y, eval_set=[(X_stop, y_stop)], verbose=False, **weights)


def _fit_lightgbm(model: Any, X: Any, y: Any, X_stop: Any, y_stop: Any, weight: Any, weight_stop: Any) -> None:
    weights = {} if weight is None else {"sample_weight": weight, "eval_sample_weight": [weight_stop]}
    # Releases before 4.7 know `eval_set` only, later ones warn of it.
    pairs = "eval_X" in inspect.signature(model.fit).parameters
    rows = {"eval_X": (X_stop,), "eval_y": (y_stop,)} if pairs else {"eval_set": [(X_stop, y_stop)]}
    model.fit(X, y, **rows, **weights)


def _fit_catboost(model: Any, X: Any, y: Any, X_stop: Any, y_stop: Any, weight: Any, weight_stop: Any) -> None:
    from catboost import Pool

    kinds = ("cat_features", "text_features", "embedding_features")
    known = {kind: value for kind, value in model.get_params().items() if kind in kinds}
    weights = {} if weight is None else {"sample_weight": weight}
    model.fit(X, y, eval_set=Pool(X_stop, y_stop, weight=weight_stop, **known), **weights)


_FIT: dict[str, Callable[..., None]] = {
    "xgboost": _fit_xgboost,
    "lightgbm": _fit_lightgbm,
    "catboost": _fit_catboost,
}
