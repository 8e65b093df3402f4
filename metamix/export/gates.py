"""Gates as ONNX: constant, softmax, Gaussian, trees, forests, and those that write themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from metamix.data.gate_features import GateFeatures
from metamix.export.columns import filled, transformed
from metamix.export.errors import ExportError
from metamix.export.graph import Graph
from metamix.export.models import HOOK, by_hook, probabilities, regression
from metamix.gates import ClassifierGate, ForestGate, GaussianGate, SoftmaxGate
from metamix.gates.constant import ConstantWeights

__all__ = ["gate_features", "gate_weights"]


def gate_features(graph: Graph, features: GateFeatures, x: str, table: str | None) -> str:
    """The columns that a gate looks at, of x (n, d) and the predictions (n, K) of regressors.

    Raises
    ------
    ExportError
        If a transformer makes them that cannot be written.
    """
    base = None
    if not isinstance(features.kind, str | list | tuple | np.ndarray):
        base = transformed(graph, "the gate", features.encoder_, x)
    elif features.columns_ is not None or features.kind != "predictions":
        if features.columns_ is not None:
            x = graph.columns(x, features.columns_)
        if features.encoder_ is not None:
            base = transformed(graph, "the gate", features.encoder_, x)
        else:
            base = x if features.fill_ is None else filled(graph, x, features.fill_)
    if not features.asks_experts:
        return str(base)
    if table is None:
        raise ExportError("the gate looks at probabilities of experts, which cannot be written as ONNX")
    away = graph.add("Sub", table, graph.add("ReduceMean", table, graph.constant([1], np.int64)))
    deviation = graph.add("Sqrt", graph.add("ReduceMean", graph.add("Mul", away, away), graph.constant([1], np.int64)))
    return graph.joined([*([] if base is None else [base]), table, deviation])


def gate_weights(graph: Graph, gate: Any, z: str) -> str:
    """Weights (n, K) of a fitted gate for its columns z.

    Raises
    ------
    ExportError
        If it cannot be written.
    """
    if isinstance(gate, ConstantWeights):
        zero = graph.total(graph.add("Mul", z, graph.constant(0.0)), keep=True)
        return str(graph.add("Add", zero, graph.constant(gate.weights_[None])))
    if isinstance(gate, SoftmaxGate):
        return _softmax(graph, gate, z)
    if isinstance(gate, GaussianGate):
        return _gaussian(graph, gate, z)
    if isinstance(gate, ForestGate):
        weights = graph.clipped(regression(graph, "the gate", gate.model_, z), 0.0, 1.0)
        largest = graph.add("ReduceMax", weights, graph.constant([1], np.int64))
        odds = graph.add("Pow", graph.add("Div", weights, largest), graph.constant(gate.sharpness))
        return str(graph.add("Div", odds, graph.total(odds, keep=True)))
    if isinstance(gate, ClassifierGate):
        found = probabilities(graph, "the gate", gate.classifier_, z)
        return str(graph.add("MatMul", found, graph.constant(np.eye(gate.n_experts_)[gate.experts_])))
    if hasattr(gate, HOOK):
        return by_hook(graph, "the gate", gate, z)
    raise ExportError(
        f"the gate ({type(gate).__name__}) cannot be written as ONNX; 'constant', 'online', 'softmax', 'gmm', 'tree', "
        "'forest' and 'neural' can"
    )


def _softmax(graph: Graph, gate: SoftmaxGate, z: str) -> str:
    if gate.degree == 1:
        return str(graph.add("Softmax", graph.affine(z, gate.coef_, gate.intercept_), axis=1))
    columns = graph.scaled(z, gate.centre_, 1 / gate.spread_)
    first, second = np.triu_indices(len(gate.centre_))
    products = graph.add("Mul", graph.columns(columns, first), graph.columns(columns, second))
    terms = graph.joined([columns, products])
    return str(graph.add("Softmax", graph.affine(terms, gate.coef_, gate.intercept_), axis=1))


def _gaussian(graph: Graph, gate: GaussianGate, z: str) -> str:
    varies = gate._varies
    columns = graph.scaled(graph.columns(z, varies), gate._centre[varies], 1 / gate._unit[varies])
    logits = []
    for proportion, location, factor in zip(gate.proportions_, gate._locations, gate._factors, strict=True):
        away = graph.affine(columns, np.linalg.inv(factor).T, -np.linalg.solve(factor, location))
        level = np.log(max(proportion, 1e-300)) - np.log(np.diagonal(factor)).sum()
        half = graph.add("Mul", graph.total(graph.add("Mul", away, away), keep=True), graph.constant(-0.5))
        logits.append(graph.add("Add", half, graph.constant(level)))
    scores = graph.add("Mul", graph.joined(logits), graph.constant(gate.sharpness))
    return str(graph.add("Softmax", scores, axis=1))
