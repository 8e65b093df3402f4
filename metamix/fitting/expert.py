"""One fit of one expert: seeded, single-threaded, weighted or drawn, its classes remembered."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from metamix.data.tables import take_rows
from metamix.fitting.device_placement import Placement, move_to_cpu
from metamix.fitting.fitted import FittedExpert, PerTarget
from metamix.fitting.problem import NamedExpert, Problem

__all__ = ["fit_expert", "name_and_prepare", "prepare", "takes_weights"]

Array = NDArray[np.float64]

# Rows are left out of a fit only where at least so many are left.
FEWEST_ROWS = 5
# Methods that scikit-learn routes metadata to.
SIMPLE_METHODS = ("fit", "partial_fit", "transform", "predict", "predict_proba", "score")
THREAD_PARAMETERS = ("n_jobs", "nthread", "thread_count", "num_threads")


def takes_weights(estimator: Any) -> str | None:
    """The keyword by which row weights reach an estimator, inside pipelines too; None if it takes none.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> takes_weights(make_pipeline(StandardScaler(), Ridge()))
    'ridge__sample_weight'
    """
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        inner = None if last in (None, "passthrough") else takes_weights(last)
        return None if inner is None else f"{name}__{inner}"
    # These hand what they do not know on to the estimator inside; others must take weights themselves.
    if isinstance(estimator, TransformedTargetRegressor):
        return "sample_weight" if estimator.regressor is None else takes_weights(estimator.regressor)
    if isinstance(estimator, GridSearchCV | RandomizedSearchCV):
        return takes_weights(estimator.estimator)
    inner = getattr(estimator, "regressor", getattr(estimator, "classifier", None))
    if inner is not None and hasattr(inner, "fit") and takes_weights(inner) is None:
        return None  # a wrapper may take what its inside cannot use
    return "sample_weight" if has_fit_parameter(estimator, "sample_weight") else None


def _weight_arguments(estimator: Any, weight: Array) -> dict[str, Array] | None:
    """Fit parameters that carry the weights; None where rows must be drawn instead."""
    path = takes_weights(estimator)
    if path is None:
        return None
    if "__" not in path and has_fit_parameter(estimator, "sample_weight"):
        return {path: weight}
    if not get_config()["enable_metadata_routing"]:
        return {path: weight}
    # With routing on, composites ask each part whether it wants the weights. A mixture cannot do without
    # them, so on our own clone the innermost estimator says yes, and parts that were not asked say no.
    inner = _innermost(estimator)
    for part in [estimator, *estimator.get_params(deep=True).values()]:
        for method in SIMPLE_METHODS:
            request = getattr(part, f"set_{method}_request", None)
            if request is None or isinstance(part, type):
                continue
            asked = part.get_metadata_routing()
            wanted = getattr(asked, method, None)
            if wanted is None or wanted.requests.get("sample_weight", False) is not None:
                continue
            request(sample_weight=part is inner and method == "fit")
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
    """A clone that is ready to be fitted: seeded where it has no seed, one thread where none is named.

    Parameters
    ----------
    estimator : estimator
    seed : int
        For every `random_state` that is None, at any depth.
    settings : mapping, optional
        Parameters to set besides, such as those of a `Placement`.

    Examples
    --------
    >>> from sklearn.ensemble import RandomForestRegressor
    >>> expert = prepare(RandomForestRegressor(), seed=3)
    >>> expert.random_state, expert.n_jobs
    (3, 1)
    """
    if isinstance(estimator, FrozenEstimator):
        warnings.warn(
            "A FrozenEstimator is never refitted: its out-of-fold answers are in sample, and the gate will "
            "trust it too much if it saw these rows. Pass the unfrozen estimator, or hand over out-of-fold answers.",
            UserWarning,
            stacklevel=2,
        )
    expert = clone(estimator)
    changes = dict(settings or {})
    parameters = expert.get_params(deep=True)
    for name, value in parameters.items():
        inside, _, last = name.rpartition("__")
        if value is None and last == "random_state":
            changes[name] = seed
        elif isinstance(parameters.get(inside, expert), LogisticRegression):
            continue  # its n_jobs does nothing any more, and warns when set
        elif value is None and last in THREAD_PARAMETERS:
            changes[name] = 1
    return expert.set_params(**changes) if changes else expert


def name_and_prepare(
    named: Sequence[tuple[str, Any]], seeds: Sequence[int], placements: Sequence[Placement]
) -> list[NamedExpert]:
    """Named experts, prepared; seeds and placements beyond them belong to other parts.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> name_and_prepare([("line", Ridge())], [3], [Placement()])
    [NamedExpert(name='line', estimator=Ridge(random_state=3), seed=3, device='cpu')]
    """
    return [
        NamedExpert(name, prepare(expert, int(seed), place.settings), int(seed), place.device)
        for (name, expert), seed, place in zip(named, seeds, placements, strict=False)
    ]


def fit_expert(
    expert: NamedExpert,
    problem: Problem,
    rows: NDArray[np.intp] | None,
    weight: Array | None,
    negligible: float = 0,
) -> FittedExpert:
    """Fit a clone of one expert on some rows.

    Parameters
    ----------
    expert : NamedExpert
    problem : Problem
    rows : ndarray or None
        Row positions; None for all.
    weight : ndarray or None
        Responsibilities of those rows, multiplied with their sample weights.
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
    model = clone(expert.estimator)
    given = problem.sample_weight
    total = given if given is None or rows is None else given[rows]
    counts = useful = None if total is None else total > 0
    if weight is not None:
        useful = weight > negligible if counts is None else (weight > negligible) & counts
        if np.count_nonzero(useful) < FEWEST_ROWS:
            useful = weight > 0 if counts is None else (weight > 0) & counts
        total = weight if total is None else weight * total
    if useful is not None and not useful.all():
        rows = np.flatnonzero(useful) if rows is None else rows[useful]
        total = total[useful] if total is not None else None
        if not len(rows):
            raise ValueError("no row has any weight for this expert")
    arguments: dict[str, Any] = {}
    if total is not None and np.ptp(total) > 0:
        carried = _weight_arguments(model, total)
        if carried is None:
            drawn = _draw(total, expert.seed)
            rows = drawn if rows is None else rows[drawn]
        else:
            arguments = carried
    X = problem.X if rows is None else take_rows(problem.X, rows)
    y = problem.y if rows is None else problem.y[rows]
    if problem.n_classes is None:
        if y.ndim == 2 and not get_tags(model).target_tags.multi_output:
            model = PerTarget([clone(model).fit(X, y[:, t], **arguments) for t in range(y.shape[1])])
        else:
            model = model.fit(X, y, **arguments)
        return FittedExpert(expert.name, _home(model, expert), n_targets=problem.n_targets, device=expert.device)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) == 1:
        # Most classifiers refuse a single class; a fold or a weight may leave no other.
        model, arguments = DummyClassifier(strategy="prior"), {}
    model = _home(model.fit(X, codes, **arguments), expert)
    return FittedExpert(expert.name, model, problem.n_classes, classes, device=expert.device)


def _home(model: Any, entry: NamedExpert) -> Any:
    return model if entry.device == "cpu" else move_to_cpu(model)


def _draw(weight: Array, seed: int) -> NDArray[np.intp]:
    """Rows in proportion to weight, for learners that take none: systematic draws of the effective number.

    Systematic sampling takes row i either floor or ceil of its expected number of times, so weights
    of 0 and 1 come out exactly, and noise is as small as draws allow (Kitagawa 1996).
    """
    size = max(round(float(weight.sum() ** 2 / np.square(weight).sum())), 1)
    edges = np.cumsum(weight) / weight.sum()
    points = (np.arange(size) + np.random.default_rng(seed).random()) / size
    return np.minimum(np.searchsorted(edges, points, side="right"), len(weight) - 1)
