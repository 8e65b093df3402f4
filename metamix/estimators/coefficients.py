"""Coefficients of linear experts in the units of X and y."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from metamix.data.columns import ColumnEncoder
from metamix.experts.models import ScaledTarget
from metamix.experts.on_columns import ColumnSelection
from metamix.fitting import FoldAverage
from metamix.fitting.fitted import PerTarget

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LinearTerms", "coefficient_frame", "linear_terms"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LinearTerms:
    """A model that is linear in its columns.

    Parameters
    ----------
    columns : list of d str
        Of categories a column for each value.
    slopes : ndarray of shape (T, d)
        In units of y per unit of the column; for classes in units of the log odds, one row for each class, or for the
        second of two.
    intercept : ndarray of shape (T,)
        The value where all columns are zero.
    """

    columns: list[str]
    slopes: Array
    intercept: Array


def linear_terms(model: Any, features: list[str] | None = None) -> LinearTerms | None:
    """What a fitted model is linear in; None for models that are not linear.

    Pipelines are followed through selected, encoded and standardised columns, and the target's own scale is undone.
    `features` names the columns of an array.

    Examples
    --------
    >>> from metamix.experts.regressors import linear
    >>> found = linear_terms(linear().fit([[0.0], [10.0]], [1.0, 21.0]))
    >>> found.columns, found.slopes.round(6), found.intercept.round(6)
    (['x0'], array([[2.]]), array([1.]))
    """
    if isinstance(model, PerTarget):
        return _stacked([linear_terms(one, features) for one in model.models])
    if isinstance(model, FoldAverage):
        parts = [linear_terms(one.model, features) for one in model.members]
        several = any(one.n_classes is not None for one in model.members)
        return None if several else _averaged(parts)
    if isinstance(model, ScaledTarget):
        inner = linear_terms(model.regressor_, features)
        if inner is None:
            return None
        scale, mean = np.atleast_1d(model.scale_), np.atleast_1d(model.mean_)
        return LinearTerms(inner.columns, inner.slopes * scale[:, None], inner.intercept * scale + mean)
    if isinstance(model, Pipeline):
        return _of_pipeline(model, features)
    if not hasattr(model, "coef_") or not hasattr(model, "intercept_"):
        return None
    if not isinstance(model, LogisticRegression) and (hasattr(model, "classes_") or not _predicts_linearly(model)):
        return None
    slopes = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
    known = getattr(model, "feature_names_in_", None)
    if known is None:
        known = [f"x{j}" for j in range(slopes.shape[1])] if features is None else features
    columns = [str(name) for name in known]
    intercept = np.broadcast_to(np.atleast_1d(np.asarray(model.intercept_, dtype=np.float64)), len(slopes))
    return LinearTerms(columns, slopes, intercept.copy())


def _predicts_linearly(model: Any) -> bool:
    """Whether predictions are X coef_ + intercept_, and no link or kernel is between."""
    slopes = np.asarray(model.coef_, dtype=np.float64)
    if slopes.ndim not in (1, 2) or getattr(model, "n_features_in_", None) != slopes.shape[-1]:
        return False
    row = np.ones((1, slopes.shape[-1]))
    if hasattr(model, "feature_names_in_"):
        import pandas as pd

        row = pd.DataFrame(row, columns=model.feature_names_in_)
    expected = slopes.sum(axis=-1) + model.intercept_
    return bool(np.allclose(np.ravel(model.predict(row)), np.ravel(expected), rtol=1e-8))


def _of_pipeline(model: Pipeline, features: list[str] | None) -> LinearTerms | None:
    *before, (_, last) = model.steps
    steps = [step for _, step in before if step not in (None, "passthrough")]
    if steps and isinstance(steps[0], ColumnSelection):
        features = [str(name) for name in steps.pop(0).get_feature_names_out(features)]
    inner = linear_terms(last, None if steps else features)
    for step in reversed(steps):
        if inner is None:
            continue
        if isinstance(step, ColumnEncoder):
            factor, centre = step.factor_, step.centre_
        elif isinstance(step, StandardScaler):
            d = inner.slopes.shape[1]
            factor = 1 / step.scale_ if step.scale_ is not None else np.ones(d)
            centre = step.mean_ if step.with_mean else np.zeros(d)
        else:
            return None
        slopes = inner.slopes * factor
        names = [str(name) for name in step.get_feature_names_out(features if step is steps[0] else None)]
        inner = LinearTerms(names, slopes, inner.intercept - slopes @ centre)
    return inner


def _stacked(parts: list[LinearTerms | None]) -> LinearTerms | None:
    """One model for each target."""
    known = [one for one in parts if one is not None]
    if len(known) < len(parts):
        return None
    slopes = np.concatenate([one.slopes for one in known])
    return LinearTerms(known[0].columns, slopes, np.concatenate([one.intercept for one in known]))


def _averaged(parts: list[LinearTerms | None]) -> LinearTerms | None:
    """The mean of models over the same columns."""
    known = [one for one in parts if one is not None]
    if len(known) < len(parts) or any(one.columns != known[0].columns for one in known):
        return None
    slopes, intercept = (np.mean([getattr(one, name) for one in known], axis=0) for name in ("slopes", "intercept"))
    return LinearTerms(known[0].columns, slopes, intercept)


def coefficient_frame(
    experts: Iterable[tuple[str, Any]], classes: NDArray[Any] | None, targets: list[Any] | None = None
) -> pd.DataFrame:
    """A row for each linear expert, target, label or class, and column; the last of each is the intercept.

    Parameters
    ----------
    experts : iterable of (name, FittedExpert or FoldAverage)
    classes : ndarray of shape (C,) or None
        Labels of the classes.
    targets : list of T names, optional
        Of several targets or labels; None for one.
    """
    import pandas as pd

    rows = []
    for name, expert in experts:
        terms = linear_terms(expert if isinstance(expert, FoldAverage) else expert.model)
        if terms is None:
            continue
        labels: list[Any] = [None] if targets is None else targets
        key = "target"
        if classes is not None:
            known, key = list(classes[expert.classes]), "class"
            labels = known[1:] if len(terms.slopes) == 1 else known
        for label, slopes, intercept in zip(labels, terms.slopes, terms.intercept, strict=True):
            named = {"expert": name} if label is None else {"expert": name, key: label}
            pairs = zip([*terms.columns, "intercept"], [*slopes, intercept], strict=True)
            rows += [{**named, "column": column, "coefficient": float(value)} for column, value in pairs]
    if not rows:
        return pd.DataFrame(columns=["expert", "column", "coefficient"])
    return pd.DataFrame(rows)
