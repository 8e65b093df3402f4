"""A single fit of one expert: seed, threads, sample weights or resampling, and classes."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator, clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from metamix.data.row_keys import content_order
from metamix.data.tables import take_rows
from metamix.fitting.checkpoint import content_key
from metamix.fitting.class_labels import ClassParameterError, Fit, align_classes, align_labels, fit_to_labels, is_frozen
from metamix.fitting.decision_calibration import calibrate
from metamix.fitting.device_placement import Placement, move_to_cpu
from metamix.fitting.early_stopping import stop_early, stops_early, without_wrappers
from metamix.fitting.fitted import FittedExpert, PerLabel, PerTarget
from metamix.fitting.groups import group_arguments, resamples_rows, split_by_group
from metamix.fitting.problem import NamedExpert, Problem

__all__ = ["expert_key", "fit_expert", "name_and_prepare", "prepare", "takes_weights"]

Array = NDArray[np.float64]

# Rows with negligible weight are left out of a fit only if at least this many rows remain.
MIN_ROWS = 5
# Methods to which scikit-learn routes metadata.
SIMPLE_METHODS = ("fit", "partial_fit", "transform", "predict", "predict_proba", "score")
THREAD_PARAMETERS = ("n_jobs", "nthread", "thread_count", "num_threads")


def takes_weights(estimator: Any) -> str | None:
    """Return the fit parameter that passes sample weights to an estimator, inside pipelines too; None if it has none.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> takes_weights(make_pipeline(StandardScaler(), Ridge()))
    'ridge__sample_weight'
    """
    if isinstance(estimator, Pipeline):
        if resamples_rows(estimator):  # the last step gets other rows than the weights belong to
            return None
        name, last = estimator.steps[-1]
        inner = None if last in (None, "passthrough") else takes_weights(last)
        return None if inner is None else f"{name}__{inner}"
    # These pass unknown fit parameters to the inner estimator; other estimators must take weights themselves.
    if isinstance(estimator, TransformedTargetRegressor):
        return "sample_weight" if estimator.regressor is None else takes_weights(estimator.regressor)
    if isinstance(estimator, GridSearchCV | RandomizedSearchCV):
        return takes_weights(estimator.estimator)
    inner = getattr(estimator, "regressor", getattr(estimator, "classifier", None))
    if inner is not None and hasattr(inner, "fit") and takes_weights(inner) is None:
        return None  # a wrapper may accept weights that its inner estimator cannot use
    return "sample_weight" if has_fit_parameter(estimator, "sample_weight") else None


def _weight_arguments(estimator: Any, weight: Array) -> dict[str, Array] | None:
    """Fit parameters that pass the weights; None if rows must be resampled instead."""
    parameter = takes_weights(estimator)
    if parameter is None:
        return None
    if "__" not in parameter and has_fit_parameter(estimator, "sample_weight"):
        return {parameter: weight}
    if not get_config()["enable_metadata_routing"]:
        return {parameter: weight}
    # With metadata routing, meta-estimators pass weights only to estimators that request them. The mixture needs
    # weights, so on the clone the innermost estimator requests them, and those without a request decline them.
    inner = _innermost(estimator)
    for nested in [estimator, *estimator.get_params(deep=True).values()]:
        for method in SIMPLE_METHODS:
            set_request = getattr(nested, f"set_{method}_request", None)
            if set_request is None or isinstance(nested, type):
                continue
            requests = getattr(nested.get_metadata_routing(), method, None)
            if requests is None or requests.requests.get("sample_weight", False) is not None:
                continue
            set_request(sample_weight=nested is inner and method == "fit")
    inner.set_fit_request(sample_weight=True)
    return {"sample_weight": weight}


def _innermost(estimator: Any) -> Any:
    """The estimator at the end of pipelines, searches and transformed targets."""
    while not has_fit_parameter(estimator, "sample_weight") or isinstance(estimator, Pipeline):
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        else:
            estimator = estimator.regressor if hasattr(estimator, "regressor") else estimator.estimator
    return estimator


def prepare(estimator: Any, seed: int, settings: Mapping[str, Any] | None = None) -> Any:
    """Clone an estimator, set every `random_state` that is None, and use one thread where none is specified.

    Parameters
    ----------
    estimator : estimator
    seed : int
        Value for every `random_state` that is None, at any depth.
    settings : mapping, optional
        Further parameters to set, such as those of a `Placement`.

    Raises
    ------
    ValueError
        If it cannot be cloned.

    Examples
    --------
    >>> from sklearn.ensemble import RandomForestRegressor
    >>> expert = prepare(RandomForestRegressor(), seed=3)
    >>> expert.random_state, expert.n_jobs
    (3, 1)
    """
    if isinstance(estimator, FrozenEstimator):
        warnings.warn(
            "A FrozenEstimator is never refitted: if it was fitted on these rows, its predictions for them are in "
            "sample, and the gate will give it too much weight. Pass the unfrozen estimator, or out-of-fold "
            "predictions.",
            UserWarning,
            stacklevel=2,
        )
    try:
        expert = clone(estimator)
    except Exception as error:  # a foreign __init__ or get_params may raise anything
        raise ValueError(
            f"{type(estimator).__name__} cannot be cloned ({error}). Wrap it in an estimator whose __init__ stores its "
            "parameters as they are given, and which makes the model in fit."
        ) from error
    changes = dict(settings or {})
    parameters = expert.get_params(deep=True)
    for name, value in parameters.items():
        owner, _, last = name.rpartition("__")
        if value is None and last == "random_state":
            changes[name] = seed
        elif isinstance(parameters.get(owner, expert), LogisticRegression):
            continue  # its n_jobs has no effect since scikit-learn 1.8, and setting it warns
        elif value is None and last in THREAD_PARAMETERS:
            changes[name] = 1
    return expert.set_params(**changes) if changes else expert


def name_and_prepare(
    named: Sequence[tuple[str, Any]], seeds: Sequence[int], placements: Sequence[Placement]
) -> list[NamedExpert]:
    """Named experts, prepared; seeds and placements beyond them belong to other parts.

    One that cannot be prepared fails when it is fitted, as experts do that cannot be fitted.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> name_and_prepare([("line", Ridge())], [3], [Placement()])
    [NamedExpert(name='line', estimator=Ridge(random_state=3), seed=3, device='cpu')]
    """
    prepared = []
    for (name, expert), seed, place in zip(named, seeds, placements, strict=False):
        try:
            ready = prepare(expert, int(seed), place.settings)
        except Exception as error:  # parameters of a foreign estimator may refuse anything
            ready = Unprepared(str(error))
        prepared.append(NamedExpert(name, ready, int(seed), place.device))
    return prepared


def expert_key(expert: NamedExpert, problem: Problem) -> str:
    """A key that is equal for experts whose fits are the same: equal estimators that draw nothing by their seed.

    Where fits depend on the seed, name and seed count too; an expert that cannot be pickled gets a random key.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> experts = [NamedExpert(f"e{i}", one) for i, one in enumerate([Ridge(), Ridge(2.0), Ridge()])]
    >>> one, other, same = [expert_key(expert, Problem(np.zeros((3, 1)), np.zeros(3))) for expert in experts]
    >>> one == same, one == other
    (True, False)
    """
    estimator = expert.estimator
    draws = takes_weights(estimator) is None or any(map(stops_early, [estimator, *estimator.get_params().values()]))
    calibrated = problem.n_classes is not None and not hasattr(estimator, "predict_proba")
    try:
        return content_key(expert if draws or calibrated else (estimator, expert.device))
    except Exception:  # pickling a foreign estimator may raise anything
        return secrets.token_hex(16)


class Unprepared(BaseEstimator):
    """In the place of an estimator that could not be prepared: its `fit` says why.

    Parameters
    ----------
    reason : str
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason

    def fit(self, X: Any, y: Any) -> NoReturn:
        """Raise a ValueError with the reason."""
        raise ValueError(self.reason)


def fit_expert(
    expert: NamedExpert,
    problem: Problem,
    rows: NDArray[np.intp] | None,
    weight: Array | None,
    negligible: float = 0,
) -> FittedExpert:
    """Fit a clone of one expert on some rows.

    Experts get the groups where they split their rows once more; a classifier without `predict_proba` is calibrated on
    rows that are held out, and one that knows one label only is fitted to each of several; XGBoost, LightGBM and
    CatBoost stop early on such rows where they are to.

    Parameters
    ----------
    expert : NamedExpert
    problem : Problem
    rows : ndarray or None
        Row positions; None for all rows.
    weight : ndarray or None
        Responsibilities of those rows; they are multiplied by the sample weights.
    negligible : float
        Rows with no more responsibility than this are left out: they cost time and change next to nothing.

    Returns
    -------
    FittedExpert

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> problem = Problem(np.array([[0.0], [1.0], [2.0]]), np.array([0.0, 1.0, 9.0]))
    >>> line = fit_expert(NamedExpert("line", LinearRegression()), problem, None, np.array([1.0, 1.0, 0.0]))
    >>> round(float(line.predict(np.array([[3.0]]))[0]), 6)
    3.0
    """
    if isinstance(expert.estimator, Unprepared):
        expert.estimator.fit(problem.X, problem.y)
    if problem.several_labels and not _takes_labels(expert.estimator):
        return _fit_each_label(expert, problem, rows, weight, negligible)
    given = problem.sample_weight
    total = given if given is None or rows is None else given[rows]
    positive = used = None if total is None else total > 0
    if weight is not None:
        used = weight > negligible if positive is None else (weight > negligible) & positive
        if np.count_nonzero(used) < MIN_ROWS:  # too few rows: use every row with positive weight
            used = weight > 0 if positive is None else (weight > 0) & positive
        total = weight if total is None else weight * total
    if used is not None and not used.all():
        rows = np.flatnonzero(used) if rows is None else rows[used]
        total = total[used] if total is not None else None
        if not len(rows):
            raise ValueError("all rows have weight 0 for this expert")
    fitted = _fit_rows(expert, problem, rows, total)
    if problem.n_classes is None or hasattr(fitted.model, "predict_proba"):
        return fitted
    every = np.arange(problem.n) if rows is None else rows
    return calibrate(fitted, partial(_fit_rows, expert, problem), problem, every, total, expert.seed)


def _fit_each_label(
    expert: NamedExpert, problem: Problem, rows: NDArray[np.intp] | None, weight: Array | None, negligible: float
) -> FittedExpert:
    """Fit a clone of one expert to each label, as to the classes of a single target."""
    if is_frozen(expert.estimator):
        raise ValueError(f"{expert.name} is fitted to one label, and y has {problem.n_targets}")
    fitted: list[FittedExpert] = []
    for t in range(problem.n_targets or 0):
        try:
            fitted.append(fit_expert(expert, problem.target(t), rows, weight, negligible))
        except ClassParameterError:
            raise
        except Exception as error:  # a foreign fit may raise anything
            raise ValueError(f"label {t}: {error}") from error
    classes: Any = tuple(one.classes for one in fitted)
    return replace(fitted[0], model=PerLabel([one.model for one in fitted]), classes=classes, n_targets=len(fitted))


def _takes_labels(estimator: Any) -> bool:
    """Whether a classifier is fitted to several labels at once, and gives probabilities of each."""
    if not hasattr(estimator, "__sklearn_tags__"):
        return False
    tags = get_tags(estimator)
    several = tags.target_tags.multi_output or (tags.classifier_tags is not None and tags.classifier_tags.multi_label)
    return several and hasattr(estimator, "predict_proba")


def _fit_rows(
    expert: NamedExpert, problem: Problem, rows: NDArray[np.intp] | None, weight: Array | None
) -> FittedExpert:
    """Fit a clone of one expert on some rows with these weights."""
    model = clone(expert.estimator)
    arguments: dict[str, Any] = {}
    if weight is not None and np.ptp(weight) > 0:
        weight_arguments = _weight_arguments(model, weight)
        if weight_arguments is None:
            rows = np.arange(problem.n) if rows is None else rows
            order = content_order(take_rows(problem.X, rows), problem.y[rows])
            rows = rows[order[systematic_sample(weight[order], expert.seed)]]
        else:
            arguments = weight_arguments
    part = problem if rows is None else problem.take(rows)
    X, y = part.X, part.y
    labels = None if part.n_classes is None or part.several_labels else part.class_labels[y]
    splitters = {}
    if part.groups is not None:
        splitters = split_by_group(model, X, y if labels is None else labels, part.groups)
        arguments |= group_arguments(model, part.groups)
    model, early = stop_early(model, part.groups, expert.seed)
    fit: Fit = partial(_fit, X=X, arguments=arguments)
    if part.several_labels:
        model = _on_cpu(_restored(fit(model, y=y), splitters, early), expert)
        return FittedExpert(
            expert.name, model, part.n_classes, align_labels(model, y), n_targets=part.n_targets, device=expert.device
        )
    if labels is None:
        if y.ndim == 2 and not get_tags(model).target_tags.multi_output:
            if is_frozen(model):
                raise ValueError(f"{expert.name} is fitted to one target, and y has {y.shape[1]}")
            model = PerTarget([_restored(fit(clone(model), y=y[:, t]), splitters, early) for t in range(y.shape[1])])
        else:
            model = _restored(fit(model, y=y), splitters, early)
        return FittedExpert(expert.name, _on_cpu(model, expert), n_targets=problem.n_targets, device=expert.device)
    present, codes = np.unique(y, return_inverse=True)
    if len(present) == 1 and not is_frozen(model):
        # Most classifiers reject a single class; the rows of a fold, or those with weight, may have only one.
        model, fit = DummyClassifier(strategy="prior"), partial(_fit, X=X, arguments={})
        splitters, early = {}, {}
    model, by_code = fit_to_labels(model, fit, labels, codes)
    classes = align_classes(model, part.class_labels, present, by_code)
    model = _on_cpu(_restored(model, splitters, early), expert)
    return FittedExpert(expert.name, model, problem.n_classes, classes, device=expert.device)


def _fit(model: Any, y: NDArray[Any], X: Any, arguments: Mapping[str, Any]) -> Any:
    return model.fit(X, y, **arguments)


def _restored(model: Any, splitters: Mapping[str, Any], early: Mapping[str, Any]) -> Any:
    """A fitted model with the parameters that the user gave."""
    model = without_wrappers(model, early)
    return model.set_params(**splitters) if splitters else model


def _on_cpu(model: Any, entry: NamedExpert) -> Any:
    return model if entry.device == "cpu" else move_to_cpu(model)


def systematic_sample(weight: Array, seed: int) -> NDArray[np.intp]:
    """Systematic sample of rows in proportion to weight, for estimators without sample weights.

    The size is the effective sample size (Σ w)² / Σ w². Systematic sampling takes row i either floor or ceil of
    its expected number of times, so weights of 0 and 1 are reproduced exactly (Kitagawa 1996).
    """
    size = max(round(float(weight.sum() ** 2 / np.square(weight).sum())), 1)
    edges = np.cumsum(weight) / weight.sum()
    points = (np.arange(size) + np.random.default_rng(seed).random()) / size
    return np.minimum(np.searchsorted(edges, points, side="right"), len(weight) - 1)
