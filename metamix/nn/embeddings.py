"""Embedding of table columns: piecewise linear encoding of numbers, embedding vectors of categories."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

#: Width of the encoding of a number, and maximum width of the embedding of a category.
WIDTH = 8
#: The outer pieces extrapolate up to this multiple of their length; in a column with a long tail an outer piece can be
#: very short, and without this bound a value a little outside the training range would dominate the input.
LARGEST_PIECE_VALUE = 10.0


class PiecewiseLinear(nn.Module):
    """Piecewise linear encoding of each column (Gorishniy et al. 2022), followed by a linear map per column.

    Piece t from b_t to b_{t+1} gives (x − b_t) / (b_{t+1} − b_t), clipped to [0, 1], except that the first piece
    is not clipped below and the last not above until ten times their lengths outside.

    Parameters
    ----------
    edges : sequence of ndarray
        Edges of the pieces of each of the q columns, at least two per column.
    width : int
        Output width per column.

    Examples
    --------
    >>> layer = PiecewiseLinear([np.array([0.0, 1.0, 3.0])], width=4)
    >>> layer.pieces(torch.tensor([[2.0]]))
    tensor([[[1.0000, 0.5000]]])
    >>> layer(torch.zeros(5, 1)).shape
    torch.Size([5, 4])
    """

    low: Tensor
    length: Tensor
    floor: Tensor
    ceiling: Tensor

    def __init__(self, edges: Sequence[NDArray[np.float64]], width: int = WIDTH) -> None:
        super().__init__()
        q, most = len(edges), max((len(e) - 1 for e in edges), default=1)
        low, length = torch.zeros(q, most), torch.full((q, most), torch.inf)
        floor, ceiling = torch.zeros(q, most), torch.ones(q, most)
        for j, e in enumerate(edges):
            pieces = len(e) - 1
            low[j, :pieces], length[j, :pieces] = torch.tensor(e[:-1]), torch.tensor(np.diff(e))
            floor[j, 0], ceiling[j, pieces - 1] = -LARGEST_PIECE_VALUE, 1 + LARGEST_PIECE_VALUE
        for name, values in (("low", low), ("length", length), ("floor", floor), ("ceiling", ceiling)):
            self.register_buffer(name, values)
        self.weight = nn.Parameter(torch.empty(q, most, width))
        self.bias = nn.Parameter(torch.zeros(q, width))
        nn.init.uniform_(self.weight, -1 / math.sqrt(most), 1 / math.sqrt(most))
        self.out_features = q * width

    def pieces(self, x: Tensor) -> Tensor:
        """Encoding (n, q, t) of rows x (n, q), padded with zeros to the largest number of pieces."""
        part = (x.unsqueeze(-1) - self.low) / self.length
        return torch.minimum(torch.maximum(part, self.floor), self.ceiling)

    def forward(self, x: Tensor) -> Tensor:
        """Embed rows x (n, q) as (n, q · width)."""
        return (torch.einsum("nqt,qtw->nqw", self.pieces(x), self.weight) + self.bias).flatten(1)


class ColumnEmbedding(nn.Module):
    """Concatenated features of numbers (n, q) and category codes (n, c).

    Parameters
    ----------
    n_numbers : int
        q.
    levels : sequence of int
        Number of codes of each of the c columns; code 0 (unknown category) has the zero vector.
    edges : sequence of ndarray or None
        Columns with edges get a `PiecewiseLinear` encoding in addition to their value.

    Examples
    --------
    >>> embedding = ColumnEmbedding(2, [5])
    >>> embedding(torch.zeros(3, 2), torch.zeros(3, 1, dtype=torch.int64)).shape == (3, embedding.out_features)
    True
    """

    def __init__(
        self, n_numbers: int, levels: Sequence[int], edges: Sequence[NDArray[np.float64]] | None = None
    ) -> None:
        super().__init__()
        self.piecewise_columns = [j for j, e in enumerate(edges or []) if len(e)]
        columns = [e for e in edges or [] if len(e)]
        self.piecewise = PiecewiseLinear(columns) if columns else None
        # Width 1.6 · count^0.56, at most WIDTH.
        widths = [min(WIDTH, math.ceil(1.6 * count**0.56)) for count in levels]
        self.tables = nn.ModuleList(
            nn.Embedding(count, width, padding_idx=0) for count, width in zip(levels, widths, strict=True)
        )
        width = 0 if self.piecewise is None else self.piecewise.out_features
        # A table without columns is embedded as a constant.
        self.out_features = max(n_numbers + width + sum(widths), 1)

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Features (n, out_features)."""
        parts = [numbers]
        if self.piecewise is not None:
            parts.append(self.piecewise(numbers[:, self.piecewise_columns]))
        parts += [table(codes[:, j]) for j, table in enumerate(self.tables)]
        joined = torch.cat(parts, 1)
        return joined if joined.shape[1] else numbers.new_ones(numbers.shape[0], 1)
