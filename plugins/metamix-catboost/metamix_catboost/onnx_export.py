"""CatBoost's own export to ONNX, in the units of y."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["exported"]


def exported(model: Any, scale: float = 1.0, mean: float = 0.0) -> Any:
    """Model of onnx whose last output are predictions (n, 1) times `scale` plus `mean`, or probabilities (n, C)."""
    import onnx
    from onnx import helper, numpy_helper

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        model.save_model(str(path), format="onnx")
        made = onnx.load(path)
    if (scale, mean) != (1.0, 0.0):
        for name, number in (("scale", scale), ("mean", mean)):
            made.graph.initializer.append(numpy_helper.from_array(np.float32([number]), name))
        inner = made.graph.output[-1].name
        made.graph.node.append(helper.make_node("Mul", [inner, "scale"], ["scaled"]))
        made.graph.node.append(helper.make_node("Add", ["scaled", "mean"], ["in_units_of_y"]))
        made.graph.output[-1].name = "in_units_of_y"
    return made
