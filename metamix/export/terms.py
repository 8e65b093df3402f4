"""Sums of terms of the columns of X: what linear experts and softmax gates consist of.

A term is a dict with a ``coefficient`` and one of

* ``column``: the value of a column, and ``if_missing`` where it is missing;
* ``column`` and ``is``: 1 if the column is ``"missing"``, or has the value ``{"equals": text}`` or none of
  ``{"none_of": [text, ...]}`` (and is not missing), else 0; of numbers and booleans the text is that of Python,
  such as ``1.0`` and ``True``;
* ``product``: a list of such terms without coefficient, each as (value - ``centre``) / ``scale``, multiplied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline

from metamix.data.columns import ColumnEncoder
from metamix.data.gate_features import GateFeatures
from metamix.estimators.coefficients import linear_terms
from metamix.export.errors import ExportError
from metamix.gates import SoftmaxGate

__all__ = ["model_terms", "score_terms"]

Array = NDArray[np.float64]
Term = dict[str, Any]


def model_terms(what: str, model: Any, names: Sequence[str]) -> dict[str, Any]:
    """Intercept and terms of a linear model.

    Parameters
    ----------
    what : str
        The part, for errors.
    model : fitted regressor
    names : list of d str
        Columns of X.

    Raises
    ------
    ExportError
        If it is not linear in columns of numbers and categories.
    """
    found = linear_terms(model)
    if found is None or len(found.slopes) != 1:
        raise ExportError(f"{what} ({_last(model)}) is not linear in its columns, and has no formula")
    encoder = model.steps[0][1] if isinstance(model, Pipeline) else None
    bases = _encoded(what, encoder, names) if isinstance(encoder, ColumnEncoder) else [{"column": n} for n in names]
    return _sum(float(found.intercept[0]), found.slopes[0], bases)


def score_terms(gate: SoftmaxGate, features: GateFeatures, names: Sequence[str]) -> list[dict[str, Any]]:
    """Intercept and terms of the score of each expert, whose softmax are the weights.

    Raises
    ------
    ExportError
        If the gate looks at anything but columns of numbers and categories.
    """
    bases, factor, centre, rotation = _features(features, names)
    if gate.degree == 1:
        slopes = factor[:, None] * (gate.coef_ if rotation is None else rotation[0].T @ gate.coef_)
        level = gate.intercept_ - centre @ slopes
        if rotation is not None:
            level = level - rotation[1] @ rotation[0].T @ gate.coef_
        return [_sum(float(level[k]), slopes[:, k], bases) for k in range(len(level))]
    if rotation is not None:
        raise ExportError("the gate of degree 2 looks at principal components, and has no formula")
    q = len(bases)
    unit = np.where(factor > 0, factor, 1e-300)  # a column without values is always 0
    scale, middle = gate.spread_ / unit, centre + gate.centre_ / unit
    moved = [{**base, "centre": float(m), "scale": float(s)} for base, m, s in zip(bases, middle, scale, strict=True)]
    products = [[one] for one in moved]
    products += [[moved[i], moved[j]] for i, j in zip(*np.triu_indices(q), strict=True)]
    return [
        _sum(float(level), slopes, [{"product": product} for product in products])
        for level, slopes in zip(gate.intercept_, gate.coef_.T, strict=True)
    ]


def _features(features: GateFeatures, names: Sequence[str]) -> tuple[list[Term], Array, Array, Any]:
    """Bases of the columns that a gate looks at, their factors and centres, and a rotation (components, mean)."""
    if features.asks_experts or not isinstance(features.kind, str | list | tuple | np.ndarray):
        raise ExportError(f"the gate looks at gate_features={features.kind!r}, for which there is no formula")
    if features.columns_ is not None:
        names = [names[one] for one in features.columns_]
    encoder, rotation = features.encoder_, None
    if isinstance(encoder, Pipeline):
        encoder, reduction = (step for _, step in encoder.steps)
        if not isinstance(reduction, PCA):
            raise ExportError(f"the gate looks at {type(reduction).__name__}, for which there is no formula")
        rotation = reduction.components_, reduction.mean_
    if encoder is None:
        fill = [None] * len(names) if features.fill_ is None else features.fill_
        bases = [{"column": name} | _filled(value) for name, value in zip(names, fill, strict=True)]
        return bases, np.ones(len(names)), np.zeros(len(names)), rotation
    return _encoded("the gate", encoder, names), encoder.factor_, encoder.centre_, rotation


def _encoded(what: str, encoder: ColumnEncoder, names: Sequence[str]) -> list[Term]:
    """The columns that an encoder makes, before it scales them."""
    source, columns, fill = encoder.source_, encoder.get_feature_names_out(), encoder.fill_
    if len(columns) > len(source):
        raise ExportError(f"{what} looks at {columns[len(source)]!r}, for which there is no formula")
    bases: list[Term] = []
    for i, j in enumerate(source):
        kind, place = encoder.kinds_[j], i - int(np.flatnonzero(source == j)[0])
        if kind == "date" or (encoder.categories == "ordinal" and encoder.categories_[j] is not None):
            raise ExportError(f"{what} looks at {columns[i]!r}, made of a {kind}, for which there is no formula")
        if i >= len(fill):
            bases.append({"column": names[j], "is": "missing"})
        elif encoder.categories_[j] is None:
            bases.append({"column": names[j]} | _filled(fill[i]))
        else:
            bases.append({"column": names[j], "is": _category(encoder.categories_[j], str(columns[i]), place)})
    return bases


def _category(kept: list[str], column: str, place: int) -> Any:
    if place < len(kept):
        return {"equals": kept[place]}
    return "missing" if column.endswith(" (missing)") else {"none_of": kept}


def _filled(value: Any) -> Term:
    return {} if value is None else {"if_missing": float(value)}


def _sum(intercept: float, slopes: Array, bases: Sequence[Term]) -> dict[str, Any]:
    terms = [{**base, "coefficient": float(slope)} for slope, base in zip(slopes, bases, strict=True) if slope != 0]
    return {"intercept": intercept, "terms": terms}


def _last(model: Any) -> str:
    last = model.steps[-1][1] if isinstance(model, Pipeline) else model
    return type(getattr(last, "regressor", last)).__name__
