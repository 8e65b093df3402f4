"""Models of distances to training rows as ONNX: kriging, radial basis functions, neighbours; in 64 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metamix.experts.kriging import Kriging
from metamix.experts.radial import RadialBasis
from metamix.export.errors import ExportError
from metamix.export.graph import Graph

__all__ = ["kriging", "neighbours", "radial_basis"]


def kriging(graph: Graph, model: Kriging, x: str) -> str:
    """Predictions (n, T) of a Gaussian process, whose coefficients cancel each other."""
    z = _wide_columns(graph, x, model._x_mean, model._x_scale * model._lengths)
    squares = _squares(graph, z, model._centres)
    if model.kernel_ == "smooth":
        k = graph.add("Exp", graph.add("Mul", squares, _wide(graph, -0.5)))
    else:
        factor = 5.0 if model.kernel_ == "matern52" else 3.0
        distance = graph.add("Sqrt", graph.add("Mul", squares, _wide(graph, factor)))
        level = graph.add("Add", distance, _wide(graph, 1.0))
        if model.kernel_ == "matern52":
            level = graph.add("Add", level, graph.add("Mul", squares, _wide(graph, factor / 3.0)))
        k = graph.add("Mul", level, graph.add("Exp", graph.add("Neg", distance)))
    mean = graph.add("Add", graph.add("MatMul", k, _wide(graph, model._alpha)), _wide(graph, model._trend))
    return _narrow(graph, mean, model._y_scale, model._y_mean)


def radial_basis(graph: Graph, model: RadialBasis, x: str) -> str:
    """Predictions (n, T) of radial basis functions with a polynomial tail."""
    units, tail = model._units, model._tail
    z = _wide_columns(graph, x, units.x_mean, units.x_scale)
    distance = graph.add("Sqrt", _squares(graph, z, model._centres))
    if model.kernel_ == "cubic":
        kernel = graph.add("Mul", distance, graph.add("Mul", distance, distance))
    else:
        kernel = graph.add("Neg", distance)
    out = graph.add("Add", graph.add("MatMul", kernel, _wide(graph, model._coef)), _wide(graph, tail[:1]))
    if len(tail) > 1:
        out = graph.add("Add", out, graph.add("MatMul", z, _wide(graph, tail[1:])))
    return _narrow(graph, out, units.y_scale, units.y_mean)


def neighbours(graph: Graph, what: str, model: Any, x: str) -> str:
    """Predictions (n, 1) or probabilities (n, C) of nearest neighbours.

    Raises
    ------
    ExportError
        If distance is not Euclidean, or weights are a function of the user's.
    """
    model = getattr(model, "few_", None) or model
    if model.effective_metric_ != "euclidean" or model.weights not in ("uniform", "distance"):
        raise ExportError(
            f"{what} has metric={model.metric!r} and weights={model.weights!r}: no ONNX is written for it"
        )
    rows: NDArray[Any] = model.X_fit_
    if not isinstance(rows, np.ndarray):
        raise ExportError(f"{what} was fitted to a sparse matrix: no ONNX is written for it")
    values = np.reshape(model.y_fit_, (len(rows), -1))
    if hasattr(model, "classes_"):
        values = (values == model.classes_).astype(float)
    squares = _squares(graph, graph.wide(x), rows.astype(np.float64))
    nearest, places = graph.add(
        "TopK", squares, graph.constant([model.n_neighbors], np.int64), outputs=2, axis=1, largest=0
    )
    found = graph.add("Gather", _wide(graph, values), places, axis=0)  # (n, k, outputs)
    if model.weights == "uniform":
        mean = graph.add("ReduceMean", found, graph.constant([1], np.int64), keepdims=0)
        return graph.narrow(mean)
    # A row that was seen in training has distance zero, but for rounding.
    distance = graph.add("Sqrt", graph.add("Max", nearest, _wide(graph, 1e-24)))
    weight = graph.add("Reciprocal", distance)
    share = graph.add("Div", weight, graph.total(weight, keep=True))
    mean = graph.total(graph.add("Mul", found, graph.unsqueezed(share, 2)))
    return graph.narrow(mean)


def _wide(graph: Graph, values: Any) -> str:
    return graph.constant(values, np.float64)


def _wide_columns(graph: Graph, x: str, centre: Any, scale: Any) -> str:
    z = graph.add("Sub", graph.wide(x), _wide(graph, centre))
    return str(graph.add("Div", z, _wide(graph, scale)))


def _squares(graph: Graph, z: str, centres: NDArray[Any]) -> str:
    """Squared distances (n, m) between rows z (n, d) and centres (m, d)."""
    cross = graph.add("MatMul", z, _wide(graph, -2.0 * centres.T))
    own = graph.total(graph.add("Mul", z, z), keep=True)
    squares = graph.add("Add", graph.add("Add", cross, own), _wide(graph, (centres**2).sum(axis=1)))
    return str(graph.add("Max", squares, _wide(graph, 0.0)))


def _narrow(graph: Graph, values: str, scale: Any, mean: Any) -> str:
    """In the units of y, and in 32 bits."""
    scaled = graph.add("Add", graph.add("Mul", values, _wide(graph, scale)), _wide(graph, mean))
    return graph.narrow(scaled)
