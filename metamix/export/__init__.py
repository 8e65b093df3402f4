"""Fitted mixtures outside of Python: formulas in words and JSON, and ONNX."""

from metamix.export.errors import ExportError
from metamix.export.formula import Formula, to_formula
from metamix.export.mixtures import to_onnx

__all__ = ["ExportError", "Formula", "to_formula", "to_onnx"]
