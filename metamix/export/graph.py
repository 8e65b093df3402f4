"""A graph of ONNX nodes that is being built."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLOAT", "ML", "ML_OPSET", "OPSET", "Graph"]

# Versions of the operators: of January 2023, which onnxruntime 1.14 and newer know.
OPSET, ML_OPSET = 18, 3
ML = "ai.onnx.ml"
# Numbers of the types of `onnx.TensorProto`.
FLOAT, DOUBLE = 1, 11
Array = NDArray[Any]


class Graph:
    """Nodes and constants; values are known by name, and have a row for each row of X."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._count = 0

    def add(self, op: str, *inputs: str, outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
        """Add a node and return the name of its output, or a list of names."""
        from onnx import helper

        made = [self._name(op) for _ in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), made, domain=domain, **attributes))
        return made[0] if outputs == 1 else made

    def constant(self, values: Any, dtype: Any = np.float32) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = self._name("constant")
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(np.asarray(values, dtype=dtype)), name))
        return name

    def affine(self, x: str, slopes: Any, intercept: Any) -> str:
        """Values x (n, q) times slopes (q, m), plus intercept (m,); in 64 bits, as large terms may cancel."""
        terms = self.constant(slopes, np.float64), self.constant(np.atleast_1d(intercept), np.float64)
        return self.narrow(self.add("Gemm", self.wide(x), *terms))

    def scaled(self, x: str, centre: Any, factor: Any) -> str:
        """Values minus a centre, times a factor; in 64 bits, as differences from large numbers lose digits in 32."""
        away = self.add("Sub", self.wide(x), self.constant(centre, np.float64))
        return self.narrow(self.add("Mul", away, self.constant(factor, np.float64)))

    def wide(self, x: str) -> str:
        """Numbers of 64 bits."""
        return str(self.add("Cast", x, to=DOUBLE))

    def narrow(self, x: str) -> str:
        """Numbers of 32 bits."""
        return str(self.add("Cast", x, to=FLOAT))

    def columns(self, x: str, columns: Any) -> str:
        """Some columns."""
        return str(self.add("Gather", x, self.constant(columns, np.int64), axis=1))

    def joined(self, parts: Sequence[str], axis: int = 1) -> str:
        """Values side by side."""
        return parts[0] if len(parts) == 1 else str(self.add("Concat", *parts, axis=axis))

    def total(self, x: str, axis: int = 1, keep: bool = False) -> str:
        """Sum along an axis."""
        return str(self.add("ReduceSum", x, self.constant([axis], np.int64), keepdims=int(keep)))

    def clipped(self, x: str, low: Any, high: Any) -> str:
        """Values within bounds, which may be one for each column."""
        return str(self.add("Min", self.add("Max", x, self.constant(low)), self.constant(high)))

    def unsqueezed(self, x: str, axis: int) -> str:
        """Values with one more axis."""
        return str(self.add("Unsqueeze", x, self.constant([axis], np.int64)))

    def embed(self, model: Any, x: str) -> list[str]:
        """Add the graph of a model with one input, and return the names of its outputs."""
        inner = model.graph
        names = {inner.input[0].name: x}
        for constant in inner.initializer:
            names[constant.name] = self._name("embedded")
            copy = type(constant)()
            copy.CopyFrom(constant)
            copy.name = names[constant.name]
            self.constants.append(copy)
        for node in inner.node:
            if node.op_type == "ZipMap":  # probabilities as a dict for each row: what it is made of is wanted
                names[node.output[0]] = names[node.input[0]]
                continue
            copy = type(node)()
            copy.CopyFrom(node)
            copy.name = ""
            for i, name in enumerate(node.input):
                copy.input[i] = names[name] if name else ""
            for i, name in enumerate(node.output):
                names[name] = self._name(node.op_type) if name else ""
                copy.output[i] = names[name]
            self.nodes.append(copy)
        return [names[output.name] for output in inner.output]

    def _name(self, what: str) -> str:
        self._count += 1
        return f"{what}_{self._count}"
