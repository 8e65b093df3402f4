"""Encoding of tables for networks: columns of any type as a tensor of numbers and a tensor of category codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import QuantileTransformer
from torch import Tensor
from torch.utils.data import Dataset

from metamix.data.columns import ColumnEncoder, giving_arrays
from metamix.data.frames import listed

Array = NDArray[np.float64]

NUMERIC, MISSING = ("standardise", "quantile", "piecewise"), ("error", "impute")
#: Encoded numbers are clipped at plus and minus this value, which keeps float32 from overflowing.
LARGEST_Z = 1e4
#: Maximum number of quantiles of the quantile transformer, and of pieces of the piecewise encoding.
MAX_QUANTILES, MAX_PIECES = 1000, 16
#: Maximum number of categories of a column with an embedding of their own; the rarest share one.
MAX_CATEGORIES = 200
_DATE_PARTS = ("month", "weekday", "hour")


class TableEncoder:
    """Encode a table as numbers (n, q), standardised or as normal quantiles, and category codes (n, c).

    In a column with more than 200 categories the rarest share one code, also used for unknown categories; in other
    columns unknown categories have code 0.

    Parameters
    ----------
    numeric : {"standardise", "quantile", "piecewise"}
        "quantile" maps each column of numbers to a normal distribution by ranks. "piecewise" standardises, and
        stores quantiles as edges for `metamix.nn.embeddings.PiecewiseLinear`.
    seed : int
    missing : {"error", "impute"}
        "impute" replaces missing numbers by the median, with a 0/1 indicator column where training had any;
        missing text is a category of its own.

    Attributes
    ----------
    n_numbers : int
        q.
    levels : tuple of int
        Number of codes of each of the c columns, including code 0 (unknown).
    edges : list of ndarray
        Edges of the pieces of each of the q columns; empty where there is no piecewise encoding.

    Examples
    --------
    >>> import pandas as pd
    >>> frame = pd.DataFrame({"size": [1.0, 2.0, 3.0], "city": ["Rome", "Oslo", "Rome"]})
    >>> encoder = TableEncoder().fit(frame)
    >>> encoder.transform(pd.DataFrame({"size": [2.0], "city": ["Bonn"]}))
    (array([[0.]], dtype=float32), array([[0]]))
    """

    def __init__(self, numeric: str = "standardise", seed: int = 0, missing: str = "error") -> None:
        for name, value, known in (("numeric", numeric, NUMERIC), ("missing", missing, MISSING)):
            if not isinstance(value, str) or value not in known:
                raise ValueError(f"{name}={value!r} is unknown; give one of {', '.join(map(repr, known))}.")
        self.numeric, self.seed, self.missing = numeric, seed, missing

    def fit(self, X: Any) -> TableEncoder:
        """Fit on X (n, d), an array or frame; missing values raise ValueError unless they are imputed."""
        missing = "impute" if self.missing == "impute" else "keep"
        encoder = ColumnEncoder(categories="ordinal", max_categories=MAX_CATEGORIES, missing=missing)
        self.columns = giving_arrays(encoder)
        encoded = self._check_missing(self.columns.fit_transform(X))
        kinds = self._kinds()
        self._is_categorical = np.array([kind in ("text", "category") for kind in kinds], dtype=bool)
        self._is_continuous = np.array([kind in ("number", "date") for kind in kinds], dtype=bool)[
            ~self._is_categorical
        ]
        codes, numbers = encoded[:, self._is_categorical], encoded[:, ~self._is_categorical]
        self.levels = tuple(int(column.max(initial=-1)) + 2 for column in codes.T)
        self.n_numbers = numbers.shape[1]
        self._quantile_transformer = None
        if self.numeric == "quantile" and self._is_continuous.any():
            transformer = QuantileTransformer(
                n_quantiles=min(MAX_QUANTILES, len(numbers)), output_distribution="normal", random_state=self.seed
            )
            self._quantile_transformer = transformer.fit(numbers[:, self._is_continuous])
        self.edges = [_edges(c) if smooth else c[:0] for c, smooth in zip(numbers.T, self._is_continuous, strict=True)]
        return self

    def transform(self, X: Any) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Encode X (n, d): numbers (n, q) and codes (n, c)."""
        encoded = self._check_missing(self.columns.transform(X))
        codes, numbers = encoded[:, self._is_categorical] + 1, encoded[:, ~self._is_categorical]
        codes = np.where(codes >= np.array(self.levels), 0, codes)
        if self._quantile_transformer is not None and len(numbers):
            numbers = numbers.copy()
            numbers[:, self._is_continuous] = self._quantile_transformer.transform(numbers[:, self._is_continuous])
        return np.clip(numbers, -LARGEST_Z, LARGEST_Z).astype(np.float32), codes.astype(np.int64)

    def _check_missing(self, encoded: Array) -> Array:
        """Return the encoded columns; raise if values are missing and missing='error'."""
        if self.missing == "impute":
            return encoded
        has_nan = np.asarray(np.isnan(encoded).any(axis=0))
        encoded_names = [str(name) for name in self.columns.get_feature_names_out()[has_nan]]
        incomplete = [
            name
            for name, kind in zip(self._names(), self.columns.kinds_, strict=True)
            if kind == "empty" or any(one == name or one.startswith(f"{name} (") for one in encoded_names)
        ]
        if incomplete:
            raise ValueError(
                f"X contains NaN or None in {listed(incomplete)}; fill the values in, or set missing='impute', which "
                "uses the median and adds an indicator column."
            )
        return encoded

    def piecewise_edges(self) -> list[Array] | None:
        """Edges for the piecewise encoding, or None if it is not used."""
        return self.edges if self.numeric == "piecewise" else None

    def tensors(self, X: Any, device: str = "cpu") -> dict[str, Tensor]:
        """Encode X (n, d) as the arguments of `metamix.nn.embeddings.ColumnEmbedding`."""
        numbers, codes = self.transform(X)
        return {
            "numbers": torch.as_tensor(numbers, device=device),
            "codes": torch.as_tensor(codes, device=device),
        }

    def _names(self) -> list[str]:
        """Names of the columns (d,) of X."""
        known = getattr(self.columns, "feature_names_in_", None)
        return [f"x{j}" for j in range(self.columns.n_features_in_)] if known is None else list(known)

    def _kinds(self) -> list[str]:
        """Kind of the source of each encoded column; "flag" for date parts and missing-value indicators."""
        remaining = list(self.columns.get_feature_names_out())
        kinds: list[str] = []
        for name, kind in zip(self._names(), self.columns.kinds_, strict=True):
            kinds.append(kind)
            remaining.pop(0)
            parts = {f"{name} ({part})" for part in _DATE_PARTS} if kind == "date" else set()
            while remaining and remaining[0] in parts:
                kinds.append("flag")
                remaining.pop(0)
        return kinds + ["flag"] * len(remaining)


def _edges(column: Array) -> Array:
    """Edges at the quantiles of a column; empty if it has fewer than two values."""
    edges = np.unique(np.quantile(column, np.linspace(0, 1, MAX_PIECES + 1)))
    return edges if len(edges) > 1 else edges[:0]


@dataclass(frozen=True)
class Table(Dataset[Any]):
    """Rows on one device: inputs of the network and targets of the loss.

    Parameters
    ----------
    inputs : dict of str to Tensor, shape (n, ...)
    targets : dict of str to Tensor, shape (n, ...)

    Examples
    --------
    >>> len(Table({"numbers": torch.zeros(3, 2)}, {"y": torch.zeros(3)}))
    3
    """

    inputs: dict[str, Tensor]
    targets: dict[str, Tensor]

    def __len__(self) -> int:
        return int(next(iter(self.inputs.values())).shape[0])

    def __getitem__(self, rows: Any) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        inputs = {name: values[rows] for name, values in self.inputs.items()}
        return inputs, {name: values[rows] for name, values in self.targets.items()}


class Batches:
    """Batches of a table, sliced on its device; `DataLoader` collates row by row, which is slower than a small network.

    Parameters
    ----------
    dataset : Table
    batch_size : int
        -1: all rows.
    shuffle : bool

    Examples
    --------
    >>> table = Table({"numbers": torch.zeros(5, 2)}, {"y": torch.zeros(5)})
    >>> [len(targets["y"]) for _, targets in Batches(table, batch_size=2)]
    [2, 2, 1]
    """

    def __init__(self, dataset: Table, batch_size: int = -1, shuffle: bool = False) -> None:
        self.dataset, self.shuffle = dataset, shuffle
        self.batch_size = batch_size if batch_size > 0 else max(len(dataset), 1)

    def __iter__(self) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        n = len(self.dataset)
        device = next(iter(self.dataset.inputs.values())).device
        order = torch.randperm(n).to(device) if self.shuffle else None
        for begin in range(0, n, self.batch_size):
            rows = slice(begin, begin + self.batch_size)
            yield self.dataset[rows if order is None else order[rows]]

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)
