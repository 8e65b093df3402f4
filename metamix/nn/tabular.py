"""Tables for networks: columns of any kind as one tensor of numbers and one of codes, and rows with their labels."""

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

from metamix.data.columns import ColumnEncoder
from metamix.data.frames import listed

Array = NDArray[np.float64]

NUMERIC, MISSING = ("standardise", "quantile", "piecewise"), ("error", "impute")
#: Standard deviations beyond which a number says no more; float32 would leave its range further out.
FARTHEST = 1e4
#: Quantiles of a column that are learned at most, and the edges of pieces.
QUANTILES, PIECES = 1000, 16
#: Values of a column of text that have a vector of their own at most; the rarest share one.
LEVELS = 200
_DATE_PARTS = ("month", "weekday", "hour")


class TableEncoder:
    """Numbers (n, q), standardised or as normal quantiles, and codes (n, c) of text and categories.

    Of a column with more than 200 values the rarest share a code, with what training did not have; in others that
    is code 0.

    Parameters
    ----------
    numeric : {"standardise", "quantile", "piecewise"}
        "quantile": each column of numbers becomes normal by its ranks. "piecewise" standardises, and keeps
        quantiles as edges for `metamix.nn.embeddings.PiecewiseLinear`.
    seed : int
    missing : {"error", "impute"}
        "impute": missing numbers are their median, with a 0/1 column that says so where training had any, and
        text that is missing is a value of its own.

    Attributes
    ----------
    n_numbers : int
        q.
    levels : tuple of int
        (c,) codes of each column, the unknown one included.
    edges : list of ndarray
        (q,) where the pieces of each number begin and end; no entries where it is not bent.

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
            if value not in known:
                raise ValueError(f"{name}={value!r} is unknown; give one of {', '.join(map(repr, known))}.")
        self.numeric, self.seed, self.missing = numeric, seed, missing

    def fit(self, X: Any) -> TableEncoder:
        """Learn from X (n, d), an array or frame; missing values raise ValueError unless they are imputed."""
        missing = "impute" if self.missing == "impute" else "keep"
        self.columns = ColumnEncoder(categories="ordinal", max_categories=LEVELS, missing=missing)
        encoded = self._complete(self.columns.fit_transform(X))
        kinds = self._kinds()
        self._coded = np.array([kind in ("text", "category") for kind in kinds], dtype=bool)
        self._smooth = np.array([kind in ("number", "date") for kind in kinds], dtype=bool)[~self._coded]
        codes, numbers = encoded[:, self._coded], encoded[:, ~self._coded]
        self.levels = tuple(int(column.max(initial=-1)) + 2 for column in codes.T)
        self.n_numbers = numbers.shape[1]
        self._ranks = None
        if self.numeric == "quantile" and self._smooth.any():
            ranks = QuantileTransformer(
                n_quantiles=min(QUANTILES, len(numbers)), output_distribution="normal", random_state=self.seed
            )
            self._ranks = ranks.fit(numbers[:, self._smooth])
        self.edges = [_edges(c) if smooth else c[:0] for c, smooth in zip(numbers.T, self._smooth, strict=True)]
        return self

    def transform(self, X: Any) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Encode X (n, d): numbers (n, q) and codes (n, c)."""
        encoded = self._complete(self.columns.transform(X))
        codes, numbers = encoded[:, self._coded] + 1, encoded[:, ~self._coded]
        codes = np.where(codes >= np.array(self.levels), 0, codes)
        if self._ranks is not None and len(numbers):
            numbers = numbers.copy()
            numbers[:, self._smooth] = self._ranks.transform(numbers[:, self._smooth])
        return np.clip(numbers, -FARTHEST, FARTHEST).astype(np.float32), codes.astype(np.int64)

    def _complete(self, encoded: Array) -> Array:
        """The same, unless values are missing that nobody wants imputed."""
        if self.missing == "impute":
            return encoded
        holes = np.asarray(np.isnan(encoded).any(axis=0))
        hollow = [str(name) for name, hole in zip(self.columns.get_feature_names_out(), holes, strict=True) if hole]
        without = [
            name
            for name, kind in zip(self._names(), self.columns.kinds_, strict=True)
            if kind == "empty" or any(one == name or one.startswith(f"{name} (") for one in hollow)
        ]
        if without:
            raise ValueError(
                f"X contains NaN or None in {listed(without)}, and a gate would choose an expert by it; fill the "
                "values in, or set missing='impute', which takes the median and says so in a column beside it."
            )
        return encoded

    def bent_edges(self) -> list[Array] | None:
        """Edges of the numbers that are bent, where any is to be."""
        return self.edges if self.numeric == "piecewise" else None

    def tensors(self, X: Any, device: str = "cpu") -> dict[str, Tensor]:
        """Encode X (n, d) as what `metamix.nn.embeddings.ColumnEmbedding` takes."""
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
        """What each encoded column came from; the parts of a date and what marks missing values are "flag"."""
        left = list(self.columns.get_feature_names_out())
        kinds: list[str] = []
        for name, kind in zip(self._names(), self.columns.kinds_, strict=True):
            kinds.append(kind)
            left.pop(0)
            parts = {f"{name} ({part})" for part in _DATE_PARTS} if kind == "date" else set()
            while left and left[0] in parts:
                kinds.append("flag")
                left.pop(0)
        return kinds + ["flag"] * len(left)


def _edges(column: Array) -> Array:
    """Edges of the pieces between quantiles of a column; none where it has fewer than two values."""
    edges = np.unique(np.quantile(column, np.linspace(0, 1, PIECES + 1)))
    return edges if len(edges) > 1 else edges[:0]


@dataclass(frozen=True)
class Table(Dataset[Any]):
    """Rows on one device: what a network is given, and what its loss is.

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
    """Batches of a table, cut on its device: a loader that collates row by row costs more than a small network.

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
