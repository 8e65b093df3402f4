"""Early stopping of XGBoost, LightGBM and CatBoost: on rows that are held out among those of the fit."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
from sklearn.utils import Tags, get_tags

from metamix.data.folds import make_folds
from metamix.data.tables import take_rows
from metamix.fitting.groups import hands_rows_on

__all__ = ["EarlyStopped", "library_of", "stop_early", "stops_early", "validation_rows", "without_wrappers"]

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
    """Whether an estimator needs validation rows to stop on.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> stops_early(Ridge())
    False
    """
    library = library_of(estimator)
    if library is None or isinstance(estimator, type) or not hasattr(estimator, "get_params"):
        return False
    parameters = estimator.get_params(deep=False)
    callbacks = parameters.get("callbacks") or ()
    return any(parameters.get(name) for name in PARAMETERS[library]) or any(
        type(one).__name__ == "EarlyStopping" for one in callbacks
    )


def library_of(estimator: Any, known: Container[str] = PARAMETERS) -> str | None:
    """The library among those known whose class an estimator has, or one derived from it.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> library_of(Ridge()), library_of(Ridge(), ("sklearn",))
    (None, 'sklearn')
    """
    modules = [base.__module__.partition(".")[0] for base in type(estimator).__mro__]
    return next((one for one in modules if one in known), None)


def validation_rows(y: NDArray[Any], groups: NDArray[Any] | None, classify: bool, seed: int) -> tuple[Rows, Rows]:
    """Positions of the rows to fit and of those to stop on.

    Groups are kept together where there are several; a class of the second part is one of the first, too.

    Raises
    ------
    ValueError
        If there are too few rows.
    """
    groups = None if groups is None or len(np.unique(groups)) < 2 else groups
    classify = classify and y.ndim == 1  # rows of several labels are drawn as they come
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


class EarlyStopped(MetaEstimatorMixin, BaseEstimator):
    """An estimator that stops early on some of the rows that it is fitted to.

    Parameters
    ----------
    estimator : estimator
        For which `stops_early` holds. Its parameters are those of this one, too, as searches set them.
    groups : ndarray of shape (n,) or None
        Of the rows that `fit` will get.
    seed : int

    Attributes
    ----------
    estimator_ : estimator
        Fitted.
    """

    def __init__(self, estimator: Any, groups: NDArray[Any] | None = None, seed: int = 0) -> None:
        self.estimator = estimator
        self.groups = groups
        self.seed = seed

    def set_params(self, **params: Any) -> Self:
        """Set parameters, those of the estimator among them."""
        own = {name: params.pop(name) for name in ("estimator", "groups", "seed") if name in params}
        super().set_params(**own)
        self.estimator.set_params(**{name.removeprefix("estimator__"): value for name, value in params.items()})
        return self

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to X (n, d), y (n,) and weights (n,), part of which are held out."""
        y = np.asarray(y)
        fit, stop = validation_rows(y, self.groups, is_classifier(self.estimator), self.seed)
        weights = (None, None) if sample_weight is None else (sample_weight[fit], sample_weight[stop])
        self.estimator_ = clone(self.estimator)
        library = library_of(self.estimator_)
        assert library is not None
        _FIT[library](self.estimator_, take_rows(X, fit), y[fit], take_rows(X, stop), y[stop], *weights)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Predict the rows of X (n, d)."""
        return np.asarray(self.estimator_.predict(X))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("estimator", "estimator_"):
            raise AttributeError(name)
        return getattr(self.__dict__.get("estimator_", self.estimator), name)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "estimator_")

    def __sklearn_tags__(self) -> Tags:
        return get_tags(self.estimator)


def stop_early(model: Any, groups: NDArray[Any] | None, seed: int) -> tuple[Any, dict[str, Any]]:
    """Let an estimator, and those inside it, hold rows out where they stop early.

    With groups, those inside an estimator that does not fit them to all rows in order are left as they are.

    Returns
    -------
    (estimator, dict of str to estimator)
        The model; and parameters of it that were replaced, as they were.
    """
    if stops_early(model):
        return EarlyStopped(model, groups, seed), {}
    parameters = model.get_params(deep=True) if hasattr(model, "get_params") else {}
    found = {
        name: value
        for name, value in parameters.items()
        if stops_early(value) and (groups is None or hands_rows_on(name, model, parameters))
    }
    if found:
        model.set_params(**{name: EarlyStopped(value, groups, seed) for name, value in found.items()})
    return model, found


def without_wrappers(model: Any, replaced: Mapping[str, Any]) -> Any:
    """A fitted model with its own estimators in the place of those that `stop_early` made."""
    if isinstance(model, EarlyStopped):
        return model.estimator_
    if not replaced:
        return model
    now = model.get_params(deep=True)
    return model.set_params(**{name: getattr(now[name], "estimator_", value) for name, value in replaced.items()})


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
