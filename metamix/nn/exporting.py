"""Networks as ONNX, by torch's exporter: what `metamix.export` asks fitted parts for."""

from __future__ import annotations

import copy
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from metamix.nn.tabular import LARGEST_Z, TableEncoder
from metamix.protocols import FloatArray

__all__ = ["CombinedPrediction", "EncodedColumns", "GateWeights", "to_model"]

#: Version of the operators: of January 2023, as `metamix.export` has it.
OPSET = 18
#: Tracing, the level of a logger and the filter of warnings belong to the process: one export at a time.
_EXPORTING = threading.Lock()


class EncodedColumns(nn.Module):
    """What `TableEncoder` makes of columns of numbers (n, d): standardised numbers (n, q), and indicators of gaps.

    Raises
    ------
    ValueError
        If the encoder embeds categories or maps columns to quantiles.

    Examples
    --------
    >>> encoder = TableEncoder(missing="impute").fit(np.array([[1.0], [3.0]]))
    >>> EncodedColumns(encoder)(torch.tensor([[3.0]])).tolist()
    [[1.0]]
    """

    fixed: Tensor
    fill: Tensor
    centre: Tensor
    factor: Tensor

    def __init__(self, encoder: TableEncoder) -> None:
        super().__init__()
        kinds = set(encoder.columns.kinds_) - {"number", "boolean", "empty"}
        if kinds:
            raise ValueError(f"it encodes columns of {' and '.join(sorted(kinds))}; ONNX is for columns of numbers")
        if encoder.numeric == "quantile":
            raise ValueError("numeric='quantile' has no ONNX form; give 'standardise'")
        columns = encoder.columns
        n = len(columns.fill_)
        self.impute, self.n_numbers = columns.missing == "impute", n
        self.source = torch.from_numpy(np.asarray(columns.source_, dtype=np.int64))
        centre, factor = (columns.centre_[:n], columns.factor_[:n]) if columns.scale else (np.zeros(n), np.ones(n))
        # Columns that were empty or constant in training are 0, whatever they hold later.
        fixed = (np.asarray(columns.kinds_)[columns.source_[:n]] == "empty") | (factor == 0)
        self.register_buffer("fixed", torch.from_numpy(fixed))
        for name, values in (("fill", columns.fill_), ("centre", centre), ("factor", factor)):
            self.register_buffer(name, _doubles(values))

    def forward(self, x: Tensor) -> Tensor:
        """Encode rows (n, d)."""
        seen = x[:, self.source]
        numbers, flags = seen[:, : self.n_numbers].double(), torch.isnan(seen[:, self.n_numbers :])
        numbers = torch.where(torch.isnan(numbers) | self.fixed if self.impute else self.fixed, self.fill, numbers)
        z = ((numbers - self.centre) * self.factor).clamp(-LARGEST_Z, LARGEST_Z)
        return torch.cat([z.float(), flags.float()], 1)


class CombinedPrediction(nn.Module):
    """Predictions (n, 1), or probabilities (n, C), of a fitted neural mixture for rows (n, d).

    Raises
    ------
    ValueError
        If it has no ONNX form.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        gate = model.network_.mixture.gate
        top_k = model.network_.mixture.top_k or getattr(gate, "top_k", None)
        if top_k is not None:
            raise ValueError(
                f"the gate ({type(gate).__name__}) selects top_k={top_k} experts, which torch's exporter cannot write; "
                "give top_k=None and the gate 'softmax', 'gumbel' or 'static'"
            )
        self.columns, self.network = EncodedColumns(model.encoder_), model.network_
        self.cooperative, self.is_classifier = model.objective == "cooperative", hasattr(model, "classes_")
        self.centre, self.scale = (0.0, 1.0) if self.is_classifier else (float(model._y_mean), float(model._y_scale))

    def forward(self, x: Tensor) -> Tensor:
        """Combine the experts as `predict` and `predict_proba` do."""
        output = self.network(self.columns(x), torch.zeros((x.shape[0], 0), dtype=torch.int64))
        weights, outputs = output["weights"], output["outputs"]
        if not self.cooperative:
            weights = weights / weights.sum(1, keepdim=True)
            outputs = torch.softmax(outputs, -1) if self.is_classifier else outputs
        mixed = (weights.unsqueeze(2) * outputs).sum(1)
        if not self.is_classifier:
            return self.centre + self.scale * mixed
        return torch.softmax(mixed, -1) if self.cooperative else mixed


class GateWeights(nn.Module):
    """Weights (n, K) of a network of logits for columns (n, q), which are standardised and bounded."""

    mean: Tensor
    factor: Tensor

    def __init__(self, network: nn.Module, mean: FloatArray, scale: FloatArray, bound: float) -> None:
        super().__init__()
        self.network, self.bound = copy.deepcopy(network).float(), bound
        for name, values in (("mean", mean), ("factor", 1 / scale)):
            self.register_buffer(name, _doubles(values))

    def forward(self, z: Tensor) -> Tensor:
        """Weights of rows."""
        standardised = ((z.double() - self.mean) * self.factor).clamp(-self.bound, self.bound)
        return torch.softmax(self.network(standardised.float()), 1)


def to_model(module: nn.Module, d: int) -> Any:
    """A module of rows (n, d) as an `onnx.ModelProto` with one input.

    Raises
    ------
    ImportError
        If onnxscript is not installed.
    ValueError
        If torch's exporter cannot write it.
    """
    module.eval()
    with _EXPORTING, _quiet(), torch.no_grad(), torch.device("cpu"), torch.autocast("cpu", enabled=False):
        try:
            program = torch.onnx.export(
                module, (torch.zeros(3, d, dtype=torch.float32),), dynamo=True, opset_version=OPSET, verbose=False,
                input_names=["X"], dynamic_shapes=({0: torch.export.Dim("n", min=1)},),
            )  # fmt: skip
        except torch.onnx.OnnxExporterError as error:
            raise ValueError(f"torch's exporter fails, {_reason(error)}") from error
    assert program is not None
    return program.model_proto


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings and logs, such as of what is not installed, and not needed here."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """First line of the first cause; the text of the exporter itself is pages of advice on reporting it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().partition("\n")[0]


def _doubles(values: Any) -> Tensor:
    """A tensor of 64 bits: differences from large numbers lose digits in 32."""
    return torch.from_numpy(np.array(values, dtype=np.float64))
