"""Coefficients of linear experts and polynomials in the units of X and y."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from metamix.data.columns import ColumnEncoder
from metamix.experts.curves import PolynomialColumns
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
    """A model that is linear in its columns, or in products of them.

    Parameters
    ----------
    columns : list of d str
        Of categories a column for each value.
    slopes : ndarray of shape (T, d), or (T, p) with products
        In units of y per unit of the column; for classes in units of the log odds, one row for each class, or for the
        second of two.
    intercept : ndarray of shape (T,)
        The value where all columns are zero.
    products : list of p tuples of int, optional
        Of a polynomial: the positions of the columns that are multiplied.
    """

    columns: list[str]
    slopes: Array
    intercept: Array
    products: list[tuple[int, ...]] | None = None

    @property
    def names(self) -> list[str]:
        """Names of the slopes: columns, or products as scikit-learn writes them, such as ``x0^2`` and ``x0 x1``."""
        if self.products is None:
            return self.columns
        return [
            " ".join(
                self.columns[j] + (f"^{one.count(j)}" if one.count(j) > 1 else "") for j in dict.fromkeys(sorted(one))
            )
            for one in self.products
        ]


def linear_terms(model: Any, features: Sequence[str] | None = None, *, polynomials: bool = False) -> LinearTerms | None:
    """What a fitted model is linear in; None for models that are not linear.

    Pipelines are followed through selected, encoded and standardised columns, and the target's own scale is undone.
    `features` names the columns of an array. With `polynomials` products of columns are followed, too; where
    `PolynomialColumns` makes them, the polynomial holds within the range of training, extended by half of it.

    Examples
    --------
    >>> from metamix.experts.regressors import linear, quadratic
    >>> X, y = [[0.0], [10.0], [20.0], [30.0]], [1.0, 21.0, 41.0, 61.0]
    >>> found = linear_terms(linear().fit(X, y))
    >>> found.names, found.slopes.round(6), found.intercept.round(6)
    (['x0'], array([[2.]]), array([1.]))
    >>> linear_terms(quadratic().fit(X, y), polynomials=True).names
    ['x0', 'x0^2']
    """
    if isinstance(model, PerTarget):
        return _stacked([linear_terms(one, features, polynomials=polynomials) for one in model.models])
    if isinstance(model, FoldAverage):
        parts = [linear_terms(one.model, features, polynomials=polynomials) for one in model.members]
        several = any(one.n_classes is not None for one in model.members)
        return None if several else _averaged(parts)
    if isinstance(model, ScaledTarget):
        inner = linear_terms(model.regressor_, features, polynomials=polynomials)
        if inner is None:
            return None
        scale, mean = np.atleast_1d(model.scale_), np.atleast_1d(model.mean_)
        return replace(inner, slopes=inner.slopes * scale[:, None], intercept=inner.intercept * scale + mean)
    if isinstance(model, Pipeline):
        return _of_pipeline(model, features, polynomials)
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


def _of_pipeline(model: Pipeline, features: Sequence[str] | None, polynomials: bool) -> LinearTerms | None:
    *before, (_, last) = model.steps
    steps = [step for _, step in before if step not in (None, "passthrough")]
    if steps and isinstance(steps[0], ColumnSelection):
        features = [str(name) for name in steps.pop(0).get_feature_names_out(features)]
    inner = linear_terms(last, None if steps else features, polynomials=polynomials)
    for step in reversed(steps):
        if inner is None:
            continue
        if isinstance(step, PolynomialColumns | PolynomialFeatures):
            if not polynomials or inner.products is not None:
                return None
            inner = _of_products(step, inner, features if step is steps[0] else None)
            continue
        if isinstance(step, ColumnEncoder):
            factor, centre = step.factor_, step.centre_
        elif isinstance(step, StandardScaler):
            factor = 1 / step.scale_ if step.scale_ is not None else np.ones(step.n_features_in_)
            centre = step.mean_ if step.with_mean else np.zeros(step.n_features_in_)
        else:
            return None
        names = [str(name) for name in step.get_feature_names_out(features if step is steps[0] else None)]
        inner = _rescaled(replace(inner, columns=names), factor, centre)
    return inner


def _of_products(step: Any, inner: LinearTerms, features: Sequence[str] | None) -> LinearTerms:
    """A model that is linear in the products of a step, as one of the columns that are multiplied."""
    known = getattr(step, "feature_names_in_", features)
    columns = [f"x{j}" for j in range(step.n_features_in_)] if known is None else [str(name) for name in known]
    if isinstance(step, PolynomialColumns):
        slopes = inner.slopes / step.scale_
        return LinearTerms(columns, slopes, inner.intercept - slopes @ step.mean_, step.terms_)
    products = [tuple(np.repeat(np.arange(len(powers)), powers).tolist()) for powers in step.powers_]
    return _collected(LinearTerms(columns, inner.slopes, inner.intercept, products))


def _rescaled(terms: LinearTerms, factor: Array, centre: Array) -> LinearTerms:
    """Terms in (x - centre) * factor as terms in x."""
    if terms.products is None:
        slopes = terms.slopes * factor
        return replace(terms, slopes=slopes, intercept=terms.intercept - slopes @ centre)
    scaled_slopes: list[Array] = []
    products: list[tuple[int, ...]] = []
    for one, slope in zip(terms.products, terms.slopes.T, strict=True):
        scaled = slope * prod(float(factor[j]) for j in one)
        for kept in product((True, False), repeat=len(one)):  # the product of the differences, multiplied out
            products.append(tuple(j for j, keep in zip(one, kept, strict=True) if keep))
            scaled_slopes.append(
                scaled * prod(-float(centre[j]) for j, keep in zip(one, kept, strict=True) if not keep)
            )
    return _collected(replace(terms, slopes=np.array(scaled_slopes).T, products=products))


def _collected(terms: LinearTerms) -> LinearTerms:
    """Equal products added up, by degree and position; the empty product is part of the intercept."""
    total: dict[tuple[int, ...], Array] = {}
    for one, slope in zip(terms.products or [], terms.slopes.T, strict=True):
        key = tuple(sorted(one))
        total[key] = total.get(key, np.zeros(len(slope))) + slope
    intercept = terms.intercept + total.pop((), np.zeros(len(terms.intercept)))
    products = sorted(total, key=lambda one: (len(one), one))
    slopes = np.reshape([total[one] for one in products], (len(products), len(intercept))).T
    return replace(terms, slopes=slopes, intercept=intercept, products=products)


def _stacked(parts: list[LinearTerms | None]) -> LinearTerms | None:
    """One model for each target."""
    known = [one for one in parts if one is not None]
    if len(known) < len(parts):
        return None
    slopes = np.concatenate([one.slopes for one in known])
    return replace(known[0], slopes=slopes, intercept=np.concatenate([one.intercept for one in known]))


def _averaged(parts: list[LinearTerms | None]) -> LinearTerms | None:
    """The mean of models over the same columns."""
    known = [one for one in parts if one is not None]
    if len(known) < len(parts) or any(one.names != known[0].names for one in known):
        return None
    slopes, intercept = (np.mean([getattr(one, name) for one in known], axis=0) for name in ("slopes", "intercept"))
    return replace(known[0], slopes=slopes, intercept=intercept)


def coefficient_frame(
    experts: Iterable[tuple[str, Any]], classes: NDArray[Any] | None, targets: list[Any] | None = None
) -> pd.DataFrame:
    """A row for each linear or polynomial expert, target, label or class, and term; the last is the intercept.

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
        terms = linear_terms(expert if isinstance(expert, FoldAverage) else expert.model, polynomials=True)
        if terms is None:
            continue
        labels: list[Any] = [None] if targets is None else targets
        key = "target"
        if classes is not None:
            known, key = list(classes[expert.classes]), "class"
            labels = known[1:] if len(terms.slopes) == 1 else known
        for label, slopes, intercept in zip(labels, terms.slopes, terms.intercept, strict=True):
            named = {"expert": name} if label is None else {"expert": name, key: label}
            pairs = zip([*terms.names, "intercept"], [*slopes, intercept], strict=True)
            rows += [{**named, "column": column, "coefficient": float(value)} for column, value in pairs]
    if not rows:
        return pd.DataFrame(columns=["expert", "column", "coefficient"])
    return pd.DataFrame(rows)
