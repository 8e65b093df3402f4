"""Fitted mixtures outside of Python: formulas in words and JSON, and ONNX."""

from metamix.export.errors import ExportError
from metamix.export.formula import Formula, to_formula

__all__ = ["ExportError", "Formula", "to_formula"]
