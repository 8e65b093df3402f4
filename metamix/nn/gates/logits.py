"""From rows to logits: a linear map or a small network, in float32 at least, small at the start."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from metamix.nn.experts import widths_of
from metamix.nn.routing import at_least_float32, full_precision, largest

#: Standard deviation of a new gate's last weights: near-equal trust at first, and no ties.
SMALL = 0.01


def check_top_k(top_k: int | None, n_experts: int, who: str) -> None:
    """Refuse a number of experts to keep that is no whole number from 1 to K.

    Raises
    ------
    ValueError

    Examples
    --------
    >>> check_top_k(2, 3, "MoE")
    """
    if top_k is None:
        return
    if isinstance(top_k, bool) or int(top_k) != top_k or not 1 <= top_k <= n_experts:
        raise ValueError(
            f"{who}: top_k={top_k!r} with {n_experts} experts; give a whole number from 1 to {n_experts}, or None."
        )


class LogitMap(nn.Module):
    """Logits of rows: linear, or a network with ReLU where ``hidden`` lists widths.

    Autocast does not reach it, and weights of less than float32 are raised before use: a choice between
    experts is where rounding shows first.

    Parameters
    ----------
    in_features, out_features : int
    hidden : int or sequence of int
        Widths of hidden layers; () is linear.

    Examples
    --------
    >>> LogitMap(3, 2, hidden=8)(torch.zeros(5, 3)).shape
    torch.Size([5, 2])
    """

    def __init__(self, in_features: int, out_features: int, hidden: int | Sequence[int] = ()) -> None:
        super().__init__()
        widths = [in_features, *widths_of(hidden), out_features]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the last layer small; the others as torch does."""
        *hidden, last = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        for layer in hidden:
            layer.reset_parameters()
        nn.init.normal_(last.weight, std=SMALL)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (n, K) of rows x (n, d)."""
        with full_precision(x):
            if next(iter(self.layers)).weight.dtype in (torch.bfloat16, torch.float16):
                raised = {name: at_least_float32(value) for name, value in self.layers.named_parameters()}
                return functional_call(self.layers, raised, (at_least_float32(x),))
            return self.layers(at_least_float32(x))


def drop_experts(logits: Tensor, probability: float, keep: int) -> Tensor:
    """Take each expert out of each row with a probability, but leave ``keep`` of them: minus infinity.

    Parameters
    ----------
    logits : Tensor of shape (n, K)
    probability : float
    keep : int

    Returns
    -------
    Tensor of shape (n, K)

    References
    ----------
    Zhao et al. (2019), Recommending what video to watch next.

    Examples
    --------
    >>> drop_experts(torch.zeros(2, 3), 1.0, keep=1).isfinite().sum(1)
    tensor([1, 1])
    """
    drawn = torch.rand_like(logits)
    gone = (drawn < probability).scatter(-1, largest(drawn, keep), False)
    return logits.masked_fill(gone, -torch.inf)
