"""Softmax gates: over all experts, over the k largest logits, and with the same weights for all rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from metamix.nn.gates.logits import INITIAL_STD, LogitMap, check_top_k, drop_experts
from metamix.nn.recomputation import in_backward
from metamix.nn.routing import Routing, at_least_float32, from_logits


class SoftmaxGate(nn.Module):
    """Softmax of logits z(x) / τ; with ``top_k`` all but the k largest weights are zero.

    Parameters
    ----------
    in_features : int
    n_experts : int
    top_k : int or None
        Experts kept per row.
    hidden : int or sequence of int
        Widths of hidden layers of the map from x to z; () is linear.
    temperature : float
        τ; smaller values give weights closer to 0 and 1.
    raw : bool or None
        Whether the kept weights are those of the full softmax (True) or renormalised to sum to one (False); None:
        True for k = 1.
    dropout : float
        Probability that an expert is dropped for a row in training (Zhao et al. 2019).
    bias_rate : float
        Step of the bias controller, which balances the load without a loss: `update_balance`, called after each
        step of the optimiser, increases the bias of an expert with fewer rows than the mean by it and decreases
        that of one with more. The bias enters the selection, not the weights (Wang et al. 2024, there on sigmoid
        scores). Needs top_k.

    Attributes
    ----------
    bias : Tensor of float32, shape (K,), or None
        Bias of the selection; a buffer that stays in float32 whatever dtype the module is converted to.

    Raises
    ------
    ValueError
        If top_k is not from 1 to K, or is None with a bias_rate.

    Examples
    --------
    >>> SoftmaxGate(3, 4, top_k=2)(torch.zeros(5, 3)).indices.shape
    torch.Size([5, 2])
    """

    bias: Tensor | None

    def __init__(
        self,
        in_features: int,
        n_experts: int,
        top_k: int | None = None,
        *,
        hidden: int | Sequence[int] = (),
        temperature: float = 1.0,
        raw: bool | None = None,
        dropout: float = 0.0,
        bias_rate: float = 0.0,
    ) -> None:
        super().__init__()
        check_top_k(top_k, n_experts, "SoftmaxGate")
        if bias_rate and top_k is None:
            raise ValueError(f"bias_rate={bias_rate} changes which experts are selected: set top_k.")
        self.map = LogitMap(in_features, n_experts, hidden)
        self.top_k, self.temperature, self.raw = top_k, temperature, raw
        self.dropout, self.bias_rate = dropout, bias_rate
        self.register_buffer("bias", torch.zeros(n_experts, dtype=torch.float32) if bias_rate else None)
        # Not a buffer, because DistributedDataParallel copies the buffers of one process to the others.
        self._counts: Tensor | None = None

    def reset_parameters(self) -> None:
        """Initialise the map, and set the bias to zero."""
        self.map.reset_parameters()
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        self._counts = None

    def forward(self, x: Tensor) -> Routing:
        """Route rows x (n, d)."""
        logits = self.map(x)
        scores = logits if self.temperature == 1 else logits / self.temperature
        if self.training and self.dropout:
            scores = drop_experts(scores, self.dropout, self.top_k or 1)
        bias = self.bias
        choice = None if bias is None else scores + bias
        routing = from_logits(logits, self.top_k, raw=self.raw, scores=scores, choice=choice)
        if self.training and bias is not None and not in_backward() and not torch.compiler.is_exporting():
            self._count(routing)
        return routing

    def take_counts(self) -> Tensor:
        """Number of rows (K,) that selected each expert in training since the last call."""
        assert self.bias is not None
        counts, self._counts = self._counts, None
        return torch.zeros_like(self.bias, dtype=torch.int64) if counts is None else counts.to(self.bias.device)

    def _count(self, routing: Routing) -> None:
        assert self.bias is not None
        assert routing.indices is not None
        selected = routing.indices.flatten()
        # From the indices: the mask of the routing would be computed here, and not where the pass is repeated.
        counts = selected.new_zeros(len(self.bias)).index_add_(0, selected, torch.ones_like(selected))
        self._counts = counts if self._counts is None else self._counts.to(counts.device) + counts

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # Conversions of a module to another dtype arrive here. In bfloat16 the steps of the bias would be rounded away.
        bias = self.bias
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if bias is not None and self.bias is not None and self.bias.dtype != bias.dtype:
            self.bias = bias.to(self.bias.device)
        return self


class StaticGate(nn.Module):
    """The same learned weights for all rows.

    Parameters
    ----------
    in_features : int
        Not used; for a signature common to all gates.
    n_experts : int
    top_k : int or None
    temperature : float
    raw : bool or None
        See `SoftmaxGate`.

    Raises
    ------
    ValueError
        If top_k is not from 1 to K.

    Examples
    --------
    >>> StaticGate(3, 4)(torch.zeros(5, 3)).weights.shape
    torch.Size([5, 4])
    """

    def __init__(
        self,
        in_features: int,
        n_experts: int,
        top_k: int | None = None,
        *,
        temperature: float = 1.0,
        raw: bool | None = None,
    ) -> None:
        super().__init__()
        check_top_k(top_k, n_experts, "StaticGate")
        self.logits = nn.Parameter(torch.empty(n_experts))
        self.top_k, self.temperature, self.raw = top_k, temperature, raw
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the logits with small numbers."""
        nn.init.normal_(self.logits, std=INITIAL_STD)

    def forward(self, x: Tensor) -> Routing:
        """Route rows x (n, d); only their number is used."""
        logits = at_least_float32(self.logits).expand(x.shape[0], -1)
        return from_logits(logits, self.top_k, raw=self.raw, scores=logits / self.temperature)
