"""Mixtures as ONNX models."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from metamix.estimators import MixtureClassifier, MixtureRegressor
from metamix.export.columns import filled, transformed
from metamix.export.errors import ExportError
from metamix.export.gates import gate_features, gate_weights
from metamix.export.graph import ML, ML_OPSET, OPSET, Graph
from metamix.export.models import probabilities, regression
from metamix.export.stacks import stacked
from metamix.fitting import FoldAverage
from metamix.persistence import OutputFile
from metamix.training.blend import FittedBlend
from metamix.training.mixture import FittedMixture
from metamix.training.stacking import FeatureWeightedStack

__all__ = ["to_onnx"]

# Version of the file format of OPSET, which all runtimes of that time read.
IR_VERSION = 8


def to_onnx(mixture: Any, path: str | os.PathLike[str] | None = None) -> Any:
    """Write a mixture as an ONNX model, which runs without Python and without metamix.

    Input is ``X`` (n, d), 32-bit floats in the order of the columns of training, missing values as NaN. A regressor has
    the output ``prediction`` (n,), a classifier ``label`` (n,) and ``probabilities`` (n, C). The model agrees with the
    mixture up to the rounding of 32-bit floats.

    Experts: linear models, trees and forests, boosted trees of XGBoost, LightGBM and CatBoost, multilayer perceptrons,
    networks of `metamix.nn`, splines, polynomials, kriging, naive Bayes, SVR, mixtures, and pipelines of these. Gates:
    constant, online, softmax, gmm, tree, forest and neural. All stacks of numbers and the pool of classes, blends, and
    `top_k`.

    Parameters
    ----------
    mixture : MixtureRegressor or MixtureClassifier
        Fitted to columns of numbers; of one target.
    path : str or path, optional
        Where the model is written.

    Returns
    -------
    onnx.ModelProto

    Raises
    ------
    ExportError
        If a part cannot be written as ONNX, or onnx is not installed; the message names it, and nothing is written.
    ModelFileError
        If the file cannot be written.
    sklearn.exceptions.NotFittedError
        If the mixture is not fitted.

    Examples
    --------
    >>> from metamix import MixtureRegressor
    >>> to_onnx(MixtureRegressor(["ridge"]).fit(np.arange(20.0)[:, None], np.arange(20.0)))  # doctest: +SKIP
    """
    if not isinstance(mixture, MixtureRegressor | MixtureClassifier):
        raise ExportError(
            f"to_onnx takes a MixtureRegressor or MixtureClassifier, and this is a {type(mixture).__name__}"
        )
    check_is_fitted(mixture)
    fitted = mixture._fitted
    if fitted.n_targets is not None:
        raise ExportError(f"the mixture has {fitted.n_targets} targets; ONNX is written for one: fit one for each")
    try:
        import onnx
    except ImportError as error:
        raise ExportError("to_onnx needs onnx: pip install 'metamix[onnx]'") from error
    output = None if path is None else OutputFile(path)
    names = [
        str(name) for name in getattr(mixture, "feature_names_in_", [f"x{j}" for j in range(mixture.n_features_in_)])
    ]
    graph = Graph()
    result = _combination(graph, fitted, "X")
    model = _finished(graph, result, mixture, names)
    onnx.checker.check_model(model)
    if output is not None:
        with output.open() as stream:
            stream.write(model.SerializeToString())
    return model


def _finished(graph: Graph, result: str, mixture: Any, names: list[str]) -> Any:
    from onnx import TensorProto, helper

    classes = getattr(mixture, "classes_", None)
    outputs = []

    def put(op: str, inputs: list[str], name: str, kind: int, shape: list[Any], **attributes: Any) -> None:
        graph.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        outputs.append(helper.make_tensor_value_info(name, kind, shape))

    if classes is None:
        put("Squeeze", [result, graph.constant([1], np.int64)], "prediction", TensorProto.FLOAT, ["n"])
    else:
        best = graph.add("ArgMax", result, axis=1, keepdims=0)
        numbers = classes.dtype.kind in "iub"
        labels = graph.constant(classes, np.int64) if numbers else graph.constant(classes.astype(str), object)
        kind = TensorProto.INT64 if numbers else TensorProto.STRING
        put("Gather", [labels, best], "label", kind, ["n"], axis=0)
        put("Identity", [result], "probabilities", TensorProto.FLOAT, ["n", len(classes)])
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", len(names)])]
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)]
    made = helper.make_model(
        helper.make_graph(graph.nodes, "mixture", inputs, outputs, graph.constants),
        producer_name="metamix", opset_imports=opsets, ir_version=IR_VERSION,
    )  # fmt: skip
    helper.set_model_props(made, {"columns": json.dumps(names, ensure_ascii=False)})
    return made


def _combination(graph: Graph, fitted: Any, x: str) -> str:
    """Combined predictions (n, 1), or probabilities (n, C)."""
    return _Writer(graph, fitted, x).combined()


@dataclass
class _Writer:
    """One mixture or blend on its way into a graph."""

    graph: Graph
    fitted: Any
    x: str

    def combined(self) -> str:
        fitted, graph = self.fitted, self.graph
        blend = isinstance(fitted, FittedBlend)
        constant = fitted.targets[0].constant_weights if blend else np.zeros(len(fitted.names))
        gate, inside, share, _ = fitted._gate_part(1)
        if share > 0 and len(inside) == 1:  # a gate over one column
            constant, share = constant + share * np.isin(np.arange(len(constant)), inside), 0.0
        seen = inside if share > 0 else inside[:0]
        used = np.union1d(np.flatnonzero(constant > 0), seen)
        values = self._values(used)
        table = self._table([values[k] for k in used])
        weights = graph.constant(constant[None, used])
        if share > 0:
            looks = self._table([values[k] for k in inside]) if fitted.features.asks_experts else None
            looks = None if fitted.n_classes is not None else looks
            z = gate_features(graph, fitted.features, self.x, looks)
            own = self._kept(gate_weights(graph, gate, z), len(inside))
            place = np.zeros((len(inside), len(used)))
            place[np.arange(len(inside)), np.searchsorted(used, inside)] = share
            weights = graph.add("Add", graph.add("MatMul", own, graph.constant(place)), weights)
        if fitted.n_classes is None:
            return graph.total(graph.add("Mul", table, weights), keep=True)
        mixed = graph.total(graph.add("Mul", table, graph.unsqueezed(weights, 2)))
        return str(graph.add("Div", mixed, graph.total(mixed, keep=True)))

    def _kept(self, weights: str, K: int) -> str:
        """The largest weights of each row, divided by their sum."""
        graph, k = self.graph, self.fitted.top_k
        if k is None or k >= K:
            return weights
        largest, places = graph.add("TopK", weights, graph.constant([k], np.int64), outputs=2, axis=1)
        shares = graph.add("Div", largest, graph.total(largest, keep=True))
        return str(graph.add("ScatterElements", graph.add("Sub", weights, weights), places, shares, axis=1))

    def _table(self, parts: list[str]) -> str:
        """Predictions (n, K), or (n, K, C)."""
        if self.fitted.n_classes is None:
            return self.graph.joined(parts)
        return self.graph.joined([self.graph.unsqueezed(part, 1) for part in parts])

    def _values(self, used: NDArray[np.intp]) -> dict[int, str]:
        """Predictions (n, 1) or (n, C) of the columns that are used, and of those that used stacks see."""
        fitted, graph, found = self.fitted, self.graph, {}
        stacks = fitted.targets[0].stacks if isinstance(fitted, FittedBlend) else {}
        places = {name: fitted.names.index(name) for name in stacks}
        first = set(used.tolist())
        for name, (_, width) in stacks.items():
            first |= set(range(width)) if places[name] in first else set()
        for k, column in enumerate(fitted.columns):
            if k in first:
                found[k] = self._admissible(self._expert(f"the expert {fitted.names[k]!r}", column))
        features = None
        for name, (stack, width) in stacks.items():
            if places[name] not in first:
                continue
            if features is None and isinstance(stack, FeatureWeightedStack) and fitted.stack_columns is not None:
                features = self._stack_columns()
            table = self._table([found[k] for k in range(width)])
            found[places[name]] = self._admissible(stacked(graph, name, stack, table, features))
        if isinstance(fitted, FittedBlend) and len(fitted.names) - 1 in first:
            zero = graph.total(graph.add("Mul", filled(graph, self.x, 0.0), graph.constant(0.0)), keep=True)
            found[len(fitted.names) - 1] = graph.affine(
                zero, np.zeros((1, np.size(fitted.targets[0].mean))), fitted.targets[0].mean
            )
        return found

    def _stack_columns(self) -> str:
        """The columns that the weights of a stack depend on."""
        base = gate_features(self.graph, self.fitted.features, self.x, None)
        encoder = self.fitted.stack_columns.encoder_
        return base if encoder is None else transformed(self.graph, "the feature-weighted stack", encoder, base)

    def _admissible(self, value: str) -> str:
        if hasattr(self.fitted.likelihoods[0], "admissible"):
            return str(self.graph.add("Max", value, self.graph.constant(0.0)))
        return value

    def _expert(self, what: str, column: Any) -> str:
        if isinstance(column, FoldAverage):
            parts = [self._expert(what, one) for one in column.members]
            return str(self.graph.add("Mean", *parts))
        model = getattr(column.model, "_fitted", column.model)
        if isinstance(model, FittedMixture | FittedBlend):
            return _combination(self.graph, model, self.x)
        if self.fitted.n_classes is None:
            return regression(self.graph, what, model, self.x)
        found, classes = probabilities(self.graph, what, model, self.x), column.classes
        if len(classes) == self.fitted.n_classes and (classes == np.arange(len(classes))).all():
            return found
        return str(self.graph.add("MatMul", found, self.graph.constant(np.eye(self.fitted.n_classes)[classes])))
