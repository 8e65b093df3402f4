"""Encoders and terms of named experts and gates as ONNX; columns of numbers only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from metamix.data.columns import ColumnEncoder
from metamix.experts.curves import DenseColumns, NaturalSplines, PolynomialColumns
from metamix.export.errors import ExportError
from metamix.export.graph import FLOAT, Graph
from metamix.gates.trees import BoundedColumns

__all__ = ["filled", "transformed"]


def transformed(graph: Graph, what: str, step: Any, x: str) -> str:
    """Columns (n, m) that a fitted transformer makes of x.

    Raises
    ------
    ExportError
        If it is none that is known here, or encodes categories or dates.
    """
    if isinstance(step, Pipeline):
        for _, one in step.steps:
            x = transformed(graph, what, one, x)
        return x
    if step in (None, "passthrough"):
        return x
    for kind, write in TRANSFORMERS.items():
        if isinstance(step, kind):
            return write(graph, what, step, x)
    raise ExportError(f"{what} has the step {type(step).__name__}, which cannot be written as ONNX")


def filled(graph: Graph, x: str, values: Any) -> str:
    """Values with others in place of missing ones."""
    return str(graph.add("Where", graph.add("IsNaN", x), graph.constant(values), x))


def _encoder(graph: Graph, what: str, step: ColumnEncoder, x: str) -> str:
    names = step.get_feature_names_out()
    for kind, name in zip(step.kinds_, names, strict=False):
        if kind not in ("number", "boolean", "empty"):
            raise ExportError(
                f"{what} encodes columns of text, categories or dates, the first of them {name!r}; ONNX is written for "
                "columns of numbers: encode them before, and fit the mixture to the numbers"
            )
    source, fill = step.source_, step.fill_
    D = len(fill)
    out = x if (source[:D] == np.arange(step.n_features_in_)).all() else graph.columns(x, source[:D])
    # Columns that were empty or constant in training are 0, whatever they hold later.
    fixed = np.asarray(step.kinds_)[source[:D]] == "empty"
    if step.scale:
        fixed |= step.factor_[:D] == 0
    if fixed.any():
        out = graph.add("Where", graph.constant(fixed, np.bool_), graph.constant(fill), out)
    if step.missing == "impute":
        out = filled(graph, out, fill)
    if step.scale:
        out = graph.scaled(out, step.centre_[:D], step.factor_[:D])
    if len(source) == D:
        return out
    missing = graph.add("Cast", graph.add("IsNaN", graph.columns(x, source[D:])), to=FLOAT)
    return graph.joined([out, missing])


def _scaler(graph: Graph, what: str, step: StandardScaler, x: str) -> str:
    d = step.n_features_in_
    centre = step.mean_ if step.with_mean else np.zeros(d)
    return graph.scaled(x, centre, 1 / step.scale_ if step.scale_ is not None else np.ones(d))


def _imputer(graph: Graph, what: str, step: SimpleImputer, x: str) -> str:
    if step.add_indicator or not np.isnan(step.missing_values) or np.isnan(step.statistics_).any():
        raise ExportError(f"{what} has a SimpleImputer with settings that cannot be written as ONNX")
    return filled(graph, x, step.statistics_)


def _pca(graph: Graph, what: str, step: PCA, x: str) -> str:
    if step.whiten:
        raise ExportError(f"{what} has a PCA that whitens, which cannot be written as ONNX")
    return graph.affine(
        graph.add("Sub", x, graph.constant(step.mean_)), step.components_.T, np.zeros(len(step.components_))
    )


def _splines(graph: Graph, what: str, step: NaturalSplines, x: str) -> str:
    """Cubes (x - knot)₊³ of each column, combined linearly; centred first, since cubes of large numbers lose digits."""
    blocks, slopes = [x], []
    for j, knots in enumerate(step.knots_):
        if len(knots) < 3:
            continue
        unit = float(knots[-1] - knots[0])
        column = graph.columns(x, [j])
        above = graph.add("Max", graph.scaled(column, knots, 1 / unit), graph.constant(0.0))
        cubes = graph.add("Mul", above, graph.add("Mul", above, above))
        falls = (np.eye(len(knots))[:, :-1] - np.eye(len(knots))[:, [-1]]) / (knots[-1] - knots[:-1])
        slopes = (falls[:, :-1] - falls[:, [-1]]) * unit**3
        blocks.append(graph.add("MatMul", cubes, graph.constant(slopes)))
    return graph.scaled(graph.joined(blocks), step.mean_, 1 / step.scale_)


def _polynomial(graph: Graph, what: str, step: PolynomialColumns, x: str) -> str:
    inside = graph.clipped(x, step.low_, step.high_)
    parts = []
    for degree in sorted({len(term) for term in step.terms_}):
        terms = np.array([term for term in step.terms_ if len(term) == degree])
        part = graph.columns(x if degree == 1 else inside, terms[:, 0])
        for factor in terms[:, 1:].T:
            part = graph.add("Mul", part, graph.columns(inside, factor))
        parts.append(part)
    order = np.argsort(np.argsort([len(term) for term in step.terms_], kind="stable"), kind="stable")
    out = graph.joined(parts)
    out = out if (order == np.arange(len(order))).all() else graph.columns(out, order)
    return graph.scaled(out, step.mean_, 1 / step.scale_)


def _bounded(graph: Graph, what: str, step: BoundedColumns, x: str) -> str:
    return x  # numbers of 32 bits are within its bounds, or go the same way in every tree


def _same(graph: Graph, what: str, step: DenseColumns, x: str) -> str:
    return x


TRANSFORMERS: dict[type, Callable[[Graph, str, Any, str], str]] = {
    ColumnEncoder: _encoder, StandardScaler: _scaler, SimpleImputer: _imputer, PCA: _pca, NaturalSplines: _splines,
    PolynomialColumns: _polynomial, BoundedColumns: _bounded, DenseColumns: _same,
}  # fmt: skip
