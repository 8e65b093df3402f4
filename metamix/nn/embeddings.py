"""The first layer of a network on tables: numbers bent piece by piece, categories as vectors, all side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

#: Numbers that stand for a bent column, and at most for a category.
WIDTH = 8
#: So many lengths of the outer piece beyond the training rows a number still counts: of a column with a long tail the
#: piece at the other end is minute, and a row a little further out would be all that the network sees.
FARTHEST_PIECE = 10.0


class PiecewiseLinear(nn.Module):
    """Each number as the part of every piece that lies below it, then a linear map of its own.

    Piece t from b_t to b_{t+1} gives (x − b_t) / (b_{t+1} − b_t), cut at 0 and 1, except that the first is
    open below and the last above (piecewise linear encoding, Gorishniy et al. 2022), here for ten of its lengths.

    Parameters
    ----------
    edges : sequence of ndarray
        (q,) edges of each column, at least two.
    width : int
        Numbers that a column becomes.

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
            floor[j, 0], ceiling[j, pieces - 1] = -FARTHEST_PIECE, 1 + FARTHEST_PIECE
        for name, values in (("low", low), ("length", length), ("floor", floor), ("ceiling", ceiling)):
            self.register_buffer(name, values)
        self.weight = nn.Parameter(torch.empty(q, most, width))
        self.bias = nn.Parameter(torch.zeros(q, width))
        nn.init.uniform_(self.weight, -1 / math.sqrt(most), 1 / math.sqrt(most))
        self.out_features = q * width

    def pieces(self, x: Tensor) -> Tensor:
        """Pieces (n, q, t) of rows x (n, q); a column with fewer pieces than the others has zeros."""
        part = (x.unsqueeze(-1) - self.low) / self.length
        return torch.minimum(torch.maximum(part, self.floor), self.ceiling)

    def forward(self, x: Tensor) -> Tensor:
        """Rows x (n, q) as (n, q · width)."""
        return (torch.einsum("nqt,qtw->nqw", self.pieces(x), self.weight) + self.bias).flatten(1)


class ColumnEmbedding(nn.Module):
    """Numbers (n, q) and codes (n, c) as one row of features.

    Parameters
    ----------
    n_numbers : int
        q.
    levels : sequence of int
        (c,) codes of each column; code 0, a value never seen, is the zero vector.
    edges : sequence of ndarray or None
        Bends the numbers that have edges, see `PiecewiseLinear`; they are handed on straight as well.

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
        self.bent = [] if edges is None else [j for j, e in enumerate(edges) if len(e)]
        self.bend = None if edges is None or not self.bent else PiecewiseLinear([edges[j] for j in self.bent])
        # A root of the number of values, as wide as needed and no wider.
        widths = [min(WIDTH, math.ceil(1.6 * count**0.56)) for count in levels]
        self.tables = nn.ModuleList(
            nn.Embedding(count, width, padding_idx=0) for count, width in zip(levels, widths, strict=True)
        )
        wide = 0 if self.bend is None else self.bend.out_features
        # A table without any column still has a constant to look at.
        self.out_features = max(n_numbers + wide + sum(widths), 1)

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        """Features (n, out_features) of rows."""
        parts = [numbers]
        if self.bend is not None:
            parts.append(self.bend(numbers[:, self.bent]))
        parts += [table(codes[:, j]) for j, table in enumerate(self.tables)]
        joined = torch.cat(parts, 1)
        return joined if joined.shape[1] else numbers.new_ones(numbers.shape[0], 1)
