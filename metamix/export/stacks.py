"""Final estimators as ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np

from metamix.export.errors import ExportError
from metamix.export.graph import Graph
from metamix.export.models import regression
from metamix.training.stacking import EstimatorStack, FeatureWeightedStack, LinearStack, LogOpinionPool
from metamix.training.stacking.feature_weighted import WIDEST

__all__ = ["stacked"]


def stacked(graph: Graph, name: str, stack: Any, table: str, features: str | None) -> str:
    """Predictions of a stack.

    Parameters
    ----------
    graph : Graph
    name : str
    stack : fitted final estimator
    table : str
        Predictions (n, K) or (n, K, C) that it sees.
    features : str or None
        Columns (n, q) of a feature-weighted stack.

    Returns
    -------
    str
        Name of the predictions (n, 1) or (n, C).

    Raises
    ------
    ExportError
        If it cannot be written.
    """
    if stack.model_ is None:
        return str(graph.add("ReduceMean", table, graph.constant([1], np.int64), keepdims=1))
    if isinstance(stack, LogOpinionPool):
        return _pool(graph, stack, table)
    if isinstance(stack, LinearStack):
        raw = graph.affine(table, stack.coef_[:, None], stack.intercept_)
    elif isinstance(stack, FeatureWeightedStack):
        raw = _feature_weighted(graph, stack.model_, table, features)
    elif isinstance(stack, EstimatorStack) and stack.fitted_.n_classes is None:
        raw = regression(graph, f"the {name}", stack.fitted_.model, table)
    else:
        raise ExportError(f"the {name} ({type(stack).__name__}) cannot be written as ONNX")
    axis, margin = graph.constant([1], np.int64), graph.constant(stack.margin_)
    low = graph.add("Sub", graph.add("ReduceMin", table, axis), margin)
    high = graph.add("Add", graph.add("ReduceMax", table, axis), margin)
    return str(graph.add("Min", graph.add("Max", raw, low), high))


def _pool(graph: Graph, stack: LogOpinionPool, table: str) -> str:
    clipped = graph.add("Max", table, graph.constant(stack.eps))
    logs = graph.add("Log", graph.add("Div", clipped, graph.total(clipped, axis=2, keep=True)))
    powered = graph.add("Mul", logs, graph.constant(stack.powers_[None, :, None]))
    scores = graph.add("Add", graph.total(powered), graph.constant(stack.bias_))
    return str(graph.add("Softmax", scores, axis=1))


def _feature_weighted(graph: Graph, model: Any, table: str, features: str | None) -> str:
    """The ridge regression on blend, deviations, modulators and their products."""
    blend = graph.add("MatMul", table, graph.constant(model.blend[:, None]))
    away = graph.add("Mul", graph.add("Sub", table, blend), graph.constant(1 / model.deviation))
    blend = graph.scaled(blend, model.blend_mean, 1 / model.blend_scale)
    m = _modulators(graph, model.modulators, graph.scaled(table, model.centre, 1 / model.unit), features)
    K, M = len(model.blend), _n_modulators(model.modulators)
    each = graph.add("Mul", graph.unsqueezed(m, 2), graph.unsqueezed(away, 1))
    products = graph.add("Reshape", each, graph.constant([0, M * K], np.int64))
    loud = graph.constant(model.free**-0.5)
    plain = graph.add("Mul", graph.joined([blend, away]), loud)
    design = graph.joined([plain, products, graph.add("Mul", m, blend), m])
    # In the units of y, which the design has not.
    level = model.centre + model.unit * model.level[:1]
    return graph.affine(design, model.unit * model.slopes[:, :1], level)


def _n_modulators(modulators: Any) -> int:
    return len(modulators.mean) + int(modulators.curved.sum())


def _modulators(graph: Graph, modulators: Any, table: str, features: str | None) -> str:
    axis, parts = graph.constant([1], np.int64), []
    if features is not None and len(modulators.mean) > 2:
        x = graph.clipped(graph.scaled(features, modulators.centre, 1 / modulators.scale), -WIDEST, WIDEST)
        parts.append(x if modulators.rotation is None else graph.add("MatMul", x, graph.constant(modulators.rotation)))
    mean = graph.add("ReduceMean", table, axis)
    away = graph.add("Sub", table, mean)
    spread = graph.add("Sqrt", graph.add("ReduceMean", graph.add("Mul", away, away), axis))
    raw = graph.joined([*parts, mean, spread])
    columns = graph.scaled(raw, modulators.mean, 1 / modulators.spread)
    columns = graph.clipped(columns, -modulators.clip, modulators.clip)
    curved = np.flatnonzero(modulators.curved)
    if not len(curved):
        return columns
    some = graph.columns(columns, curved)
    squares = graph.scaled(graph.add("Mul", some, some), 1.0, 0.5)
    return graph.joined([columns, squares])
